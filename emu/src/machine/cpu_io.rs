//! What a running vCPU reaches of the machine: [`CpuIo`] over bus, APICs and clock.
//!
//! The way of a port access: the bus finds the device, which is locked, does its work, and is unlocked, all under a
//! reader's lock on the bus' table. No allocation, and no lock that two vCPUs at different devices would share.

use super::{
    chipset::Chipset,
    lifecycle::{Event, Lifecycle},
    relocation::{Movable, Relocations},
    trace::TraceOutput,
};
use emu_core::{
    bus::Bus,
    clock::{VmClock, nanos_to_ticks},
    cpu_model::TSC_HERTZ,
    engine::CpuIo,
};
use emu_devices::{
    apic::{Acknowledge, ApicBus},
    ferr::FerrLatch,
    i8259::I8259Pair,
};
use parking_lot::Mutex;
use std::sync::Arc;

/// The machine around its vCPUs.
pub struct MachineIo {
    bus: Arc<Bus>,
    apics: Arc<ApicBus>,
    pic: Arc<Mutex<I8259Pair>>,
    ferr: Arc<Mutex<FerrLatch>>,
    clock: VmClock,
    lifecycle: Arc<Lifecycle>,
    relocations: Arc<Relocations>,
    movable: Arc<Movable>,
    trace: Option<TraceOutput>,
}

impl MachineIo {
    /// The machine of `chipset`; accesses are told to `trace`.
    pub fn new(
        chipset: &Chipset,
        clock: VmClock,
        lifecycle: Arc<Lifecycle>,
        trace: Option<TraceOutput>,
    ) -> Self {
        MachineIo {
            bus: chipset.bus.clone(),
            apics: chipset.apics.clone(),
            pic: chipset.pic.clone(),
            ferr: chipset.ferr.clone(),
            clock,
            lifecycle,
            relocations: chipset.relocations.clone(),
            movable: chipset.movable.clone(),
            trace,
        }
    }

    #[inline]
    fn trace(&self, vcpu: usize, what: &str, address: u64, size: u8, value: u64) {
        if let Some(trace) = &self.trace {
            trace.line(format_args!("{vcpu} {what} {address:#x} {size} {value:#x}"));
        }
    }
}

impl CpuIo for MachineIo {
    fn port_read(&self, vcpu: usize, port: u16, size: u8) -> u32 {
        let value = self.bus.port_read(port, size);
        self.trace(vcpu, "in", port.into(), size, value.into());
        value
    }

    fn port_write(&self, vcpu: usize, port: u16, size: u8, value: u32) {
        self.trace(vcpu, "out", port.into(), size, value.into());
        self.bus.port_write(port, size, value);
        self.relocations.apply(&self.bus, &self.movable);
    }

    fn mmio_read(&self, vcpu: usize, address: u64, size: u8) -> u64 {
        let value = match self.apics.page_offset(vcpu, address) {
            Some(offset) => self.apics.mmio_read(vcpu, offset, size),
            None => self.bus.mmio_read(address, size),
        };
        self.trace(vcpu, "load", address, size, value);
        value
    }

    fn mmio_write(&self, vcpu: usize, address: u64, size: u8, value: u64) {
        self.trace(vcpu, "store", address, size, value);
        match self.apics.page_offset(vcpu, address) {
            Some(offset) => self.apics.mmio_write(vcpu, offset, size, value),
            None => {
                self.bus.mmio_write(address, size, value);
                self.relocations.apply(&self.bus, &self.movable);
            }
        }
    }

    fn acknowledge_interrupt(&self, vcpu: usize) -> Option<u8> {
        match self.apics.acknowledge(vcpu) {
            Acknowledge::Nothing => None,
            Acknowledge::Vector(vector) => Some(vector),
            Acknowledge::External => Some(self.pic.lock().acknowledge()),
        }
    }

    fn task_priority(&self, vcpu: usize) -> u8 {
        self.apics.cr8(vcpu)
    }

    fn set_task_priority(&self, vcpu: usize, priority: u8) {
        self.apics.set_cr8(vcpu, priority);
    }

    fn apic_msr_read(&self, vcpu: usize, msr: u32) -> Option<u64> {
        self.apics.msr_read(vcpu, msr)
    }

    fn apic_msr_write(&self, vcpu: usize, msr: u32, value: u64) -> Option<()> {
        self.apics.msr_write(vcpu, msr, value)
    }

    #[inline]
    fn time_stamp_counter(&self) -> u64 {
        nanos_to_ticks(self.clock.now(), TSC_HERTZ)
    }

    fn set_ferr(&self, vcpu: usize, asserted: bool) -> bool {
        self.ferr.lock().set_ferr(vcpu, asserted)
    }

    fn shutdown(&self, vcpu: usize) {
        self.lifecycle.request(Event::TripleFault(vcpu));
    }
}
