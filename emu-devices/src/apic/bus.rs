//! The fabric that carries interrupt messages to the local APICs, and the vCPUs' way to their own.

use super::{
    Acknowledge, ApicConfig, DeliveryMode, Destination, Effect, EoiSink, Ipi, LocalApic, LocalApicState,
    Message, Shorthand,
};
use emu_core::{
    bus::{IrqSink, MsiSink, Snapshot},
    clock::Timer,
    engine::VcpuSignal,
};
use parking_lot::{Mutex, RwLock};
use std::sync::{
    Arc, Weak,
    atomic::{AtomicU64, Ordering},
};

/// The register page of a local APIC that has none.
const NO_PAGE: u64 = u64::MAX;

/// What one vCPU brings to the fabric.
pub struct ApicWires {
    /// Its APIC ID.
    pub apic_id: u32,
    /// A timer of the machine for its local APIC alone.
    pub timer: Timer,
    /// The wires into it.
    pub signal: Arc<VcpuSignal>,
}

struct Slot {
    apic_id: u32,
    timer: Timer,
    apic: Mutex<LocalApic>,
    /// Copy of [`LocalApic::page`], so that an access to device memory is routed without a lock.
    page: AtomicU64,
}

/// All local APICs of one machine. vCPU numbers count from 0; vCPU 0 is the bootstrap processor.
///
/// As an [`IrqSink`] it is the pins of the bootstrap processor's local APIC: 0 is LINT0, where a PC has the
/// 8259's INTR, and 1 is LINT1, where it has NMI. As an [`MsiSink`] it is the interrupt address range.
pub struct ApicBus {
    slots: Vec<Slot>,
    eoi_sinks: RwLock<Vec<Weak<dyn EoiSink>>>,
}

impl ApicBus {
    /// One local APIC per element of `vcpus`, at power-on.
    pub fn new(config: &ApicConfig, vcpus: Vec<ApicWires>) -> Self {
        let apics = vcpus.into_iter().enumerate().map(|(number, wires)| {
            let ApicWires { apic_id, timer, signal } = wires;
            (timer.clone(), LocalApic::new(config, apic_id, number == 0, timer, signal))
        });
        Self::with(apics.collect())
    }

    fn with(apics: Vec<(Timer, LocalApic)>) -> Self {
        let slots = apics.into_iter().map(|(timer, apic)| Slot {
            apic_id: apic.id(),
            timer,
            page: AtomicU64::new(apic.page().unwrap_or(NO_PAGE)),
            apic: Mutex::new(apic),
        });
        ApicBus { slots: slots.collect(), eoi_sinks: RwLock::default() }
    }

    /// Makes the fabric shareable and connects the local APICs' timers.
    pub fn share(self) -> Arc<Self> {
        let bus = Arc::new(self);
        for (number, slot) in bus.slots.iter().enumerate() {
            let fabric = Arc::downgrade(&bus);
            slot.timer.on_expiry(move || {
                if let Some(bus) = fabric.upgrade() {
                    bus.slots[number].apic.lock().timer_expired();
                }
            });
        }
        bus
    }

    /// Adds somebody who hears of the end of level-triggered interrupts.
    pub fn add_eoi_sink(&self, sink: Weak<dyn EoiSink>) {
        self.eoi_sinks.write().push(sink);
    }

    /// RESET# of every local APIC.
    pub fn reset(&self) {
        for slot in &self.slots {
            let mut apic = slot.apic.lock();
            apic.reset();
            slot.page.store(apic.page().unwrap_or(NO_PAGE), Ordering::Release);
        }
    }

    /// The local APIC of `vcpu`, for an engine that keeps its registers elsewhere and for debuggers.
    pub fn local_apic(&self, vcpu: usize) -> &Mutex<LocalApic> {
        &self.slots[vcpu].apic
    }

    // Messages.

    /// Delivers a message. False: nobody could take it.
    pub fn deliver(&self, message: &Message) -> bool {
        match (message.mode, message.destination) {
            (DeliveryMode::LowestPriority, _) => self.deliver_to_lowest(message, None),
            (_, Destination::Physical(id)) if id != super::BROADCAST => {
                let slot = self.slots.iter().find(|slot| slot.apic_id == id);
                slot.is_some_and(|slot| slot.apic.lock().deliver(message))
            }
            _ => self.deliver_to_all(message, None),
        }
    }

    fn deliver_to_all(&self, message: &Message, except: Option<usize>) -> bool {
        let mut taken = false;
        for (number, slot) in self.slots.iter().enumerate() {
            if Some(number) != except {
                let mut apic = slot.apic.lock();
                taken |= apic.is_addressed(message.destination) && apic.deliver(message);
            }
        }
        taken
    }

    /// Delivers to the destination with the lowest processor priority, the first of equals.
    fn deliver_to_lowest(&self, message: &Message, except: Option<usize>) -> bool {
        let candidates = self.slots.iter().enumerate().filter(|(number, _)| Some(*number) != except);
        let priorities = candidates.filter_map(|(_, slot)| {
            let apic = slot.apic.lock();
            let eligible = apic.is_addressed(message.destination) && apic.accepts_fixed();
            eligible.then(|| (apic.processor_priority(), slot))
        });
        let lowest = priorities.min_by_key(|(priority, _)| *priority);
        lowest.is_some_and(|(_, slot)| slot.apic.lock().deliver(message))
    }

    fn send_ipi(&self, sender: usize, ipi: Ipi) {
        let everybody = Message { destination: Destination::Physical(super::BROADCAST), ..ipi.message };
        // As in hardware, an IPI that nobody takes is lost without a sign.
        let _taken = match ipi.shorthand {
            Shorthand::None => self.deliver(&ipi.message),
            Shorthand::AllIncludingSelf => self.deliver_to_all(&everybody, None),
            Shorthand::AllExcludingSelf if ipi.message.mode == DeliveryMode::LowestPriority => {
                self.deliver_to_lowest(&everybody, Some(sender))
            }
            Shorthand::AllExcludingSelf => self.deliver_to_all(&everybody, Some(sender)),
        };
    }

    /// Does what a register write of `vcpu` asked for. No APIC is locked.
    fn perform(&self, vcpu: usize, effect: Effect) {
        match effect {
            Effect::None => {}
            Effect::Ipi(ipi) => self.send_ipi(vcpu, ipi),
            Effect::EndOfInterrupt(vector) => {
                for sink in self.eoi_sinks.read().iter().filter_map(Weak::upgrade) {
                    sink.end_of_interrupt(vector);
                }
            }
        }
    }

    // The vCPU's side.

    /// Offset in the local APIC's register page, if `vcpu` has it at `address`.
    #[inline]
    pub fn page_offset(&self, vcpu: usize, address: u64) -> Option<u16> {
        (self.slots[vcpu].page.load(Ordering::Acquire) == address & !0xFFF)
            .then_some((address & 0xFFF) as u16)
    }

    /// Load of `size` bytes at `offset` of the register page.
    pub fn mmio_read(&self, vcpu: usize, offset: u16, size: u8) -> u64 {
        self.slots[vcpu].apic.lock().mmio_read(offset, size)
    }

    /// Store at `offset` of the register page.
    pub fn mmio_write(&self, vcpu: usize, offset: u16, size: u8, value: u64) {
        let effect = self.slots[vcpu].apic.lock().mmio_write(offset, size, value);
        self.perform(vcpu, effect);
    }

    /// RDMSR of IA32_APIC_BASE, IA32_TSC_DEADLINE or 0x800..0x8FF. `None`: #GP(0).
    pub fn msr_read(&self, vcpu: usize, msr: u32) -> Option<u64> {
        self.slots[vcpu].apic.lock().msr_read(msr)
    }

    /// WRMSR of such an MSR. `None`: #GP(0).
    pub fn msr_write(&self, vcpu: usize, msr: u32, value: u64) -> Option<()> {
        let slot = &self.slots[vcpu];
        let mut apic = slot.apic.lock();
        let effect = apic.msr_write(msr, value)?;
        slot.page.store(apic.page().unwrap_or(NO_PAGE), Ordering::Release);
        drop(apic);
        self.perform(vcpu, effect);
        Some(())
    }

    /// INTA of `vcpu`.
    pub fn acknowledge(&self, vcpu: usize) -> Acknowledge {
        self.slots[vcpu].apic.lock().acknowledge()
    }

    /// Whether an interrupt waits that `vcpu` may take.
    pub fn has_interrupt(&self, vcpu: usize) -> bool {
        self.slots[vcpu].apic.lock().has_interrupt()
    }

    /// CR8 of `vcpu`.
    pub fn cr8(&self, vcpu: usize) -> u8 {
        self.slots[vcpu].apic.lock().cr8()
    }

    /// MOV to CR8.
    pub fn set_cr8(&self, vcpu: usize, priority: u8) {
        self.slots[vcpu].apic.lock().set_cr8(priority);
    }

    /// What the TSC of `vcpu` is ahead of the machine's.
    pub fn set_tsc_adjust(&self, vcpu: usize, adjust: u64) {
        self.slots[vcpu].apic.lock().set_tsc_adjust(adjust);
    }

    /// Drives LINT0 (`pin` 0) or LINT1 (1) of `vcpu`.
    pub fn set_lint(&self, vcpu: usize, pin: usize, level: bool) {
        self.slots[vcpu].apic.lock().set_lint(pin, level);
    }
}

impl IrqSink for ApicBus {
    fn set_level(&self, pin: u32, level: bool) {
        if pin < 2 && !self.slots.is_empty() {
            self.set_lint(0, pin as usize, level);
        }
    }
}

impl MsiSink for ApicBus {
    fn send_msi(&self, address: u64, data: u32) {
        if let Some(message) = Message::from_msi(address, data) {
            self.deliver(&message);
        } else {
            log::debug!("no interrupt message: {data:#x} to {address:#x}");
        }
    }
}

impl Snapshot for ApicBus {
    type State = Vec<LocalApicState>;
    type Args = (ApicConfig, Vec<ApicWires>);

    fn save(&self) -> Self::State {
        let ApicBus { slots, eoi_sinks: _ } = self;
        slots.iter().map(|slot| slot.apic.lock().save()).collect()
    }

    fn restore((config, vcpus): Self::Args, state: Self::State) -> Result<Self, String> {
        if vcpus.len() != state.len() {
            return Err(format!("{} local APICs for {} vCPUs", state.len(), vcpus.len()));
        }
        let apics = vcpus.into_iter().zip(state).enumerate().map(|(number, (wires, state))| {
            let ApicWires { apic_id, timer, signal } = wires;
            let apic = LocalApic::new(&config, apic_id, number == 0, timer.clone(), signal);
            Ok((timer, apic.with_state(state)?))
        });
        Ok(Self::with(apics.collect::<Result<_, String>>()?))
    }
}

#[cfg(test)]
mod tests;
