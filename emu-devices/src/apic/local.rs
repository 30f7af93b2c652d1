//! The local APIC of one vCPU. SDM vol. 3, chapter 11.
//!
//! Two departures from the manual, both towards how PCs behave. A software-disabled local APIC lets INTR at
//! LINT0 through, so that the 8259 works from power-on without a firmware that sets virtual wire mode up first.
//! And INTA is one atomic step here, so the race that makes hardware answer with the spurious vector does not
//! exist: [`LocalApic::acknowledge`] then says that there is nothing.

mod accept;
mod icr;
mod msr;
mod registers;
#[cfg(test)]
mod tests;
mod timer;
mod vectors;

use super::{DeliveryMode, LOCAL_APIC_BASE};
use emu_core::{
    clock::{Timer, VmClock},
    engine::{VcpuSignal, request},
};
pub use icr::{Ipi, Shorthand};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use timer::{ApicTimer, TimerState};
use vectors::VectorSet;

/// What all local APICs of a machine have in common.
#[derive(Debug, Clone)]
pub struct ApicConfig {
    /// Machine time.
    pub clock: VmClock,
    /// Rate of the timer before its divider.
    pub bus_hz: u64,
    /// Rate of the time-stamp counter.
    pub tsc_hz: u64,
    /// CPUID offers x2APIC mode.
    pub x2apic: bool,
    /// CPUID offers TSC-deadline mode.
    pub tsc_deadline: bool,
}

/// Answer to INTA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledge {
    /// Nothing is pending any more.
    Nothing,
    /// This vector is now in service.
    Vector(u8),
    /// The 8259 has the vector: run its INTA cycle.
    External,
}

/// What a register write asks of the other APICs. To be done with no APIC locked.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// Send this.
    Ipi(Ipi),
    /// Tell the I/O APICs that this level-triggered vector has ended.
    EndOfInterrupt(u8),
}

/// IA32_APIC_BASE.
mod base {
    pub(super) const BSP: u64 = 1 << 8;
    pub(super) const EXTD: u64 = 1 << 10;
    pub(super) const EN: u64 = 1 << 11;
}

/// Error status register.
mod esr {
    pub(super) const SEND_ILLEGAL_VECTOR: u32 = 1 << 5;
    pub(super) const RECEIVE_ILLEGAL_VECTOR: u32 = 1 << 6;
    pub(super) const ILLEGAL_REGISTER_ADDRESS: u32 = 1 << 7;
}

/// Spurious-interrupt vector register.
mod svr {
    pub(super) const ENABLE: u32 = 1 << 8;
    pub(super) const SUPPRESS_EOI_BROADCAST: u32 = 1 << 12;
    pub(super) const WRITABLE: u32 = 0x11FF;
    pub(super) const AT_RESET: u32 = 0xFF;
}

/// Local vector table registers.
mod lvt {
    pub(super) const TIMER: usize = 0;
    pub(super) const LINT0: usize = 3;
    pub(super) const ERROR: usize = 5;
    pub(super) const COUNT: usize = 6;
    pub(super) const REMOTE_IRR: u32 = 1 << 14;
    pub(super) const LEVEL: u32 = 1 << 15;
    pub(super) const MASKED: u32 = 1 << 16;
    pub(super) const TSC_DEADLINE: u32 = 1 << 18;
    /// What a guest can change: timer, thermal, performance, LINT0, LINT1, error.
    pub(super) const WRITABLE: [u32; COUNT] = [0x7_00FF, 0x1_07FF, 0x1_07FF, 0x1_A7FF, 0x1_A7FF, 0x1_00FF];
}

/// One local APIC.
pub struct LocalApic {
    // Wires.
    signal: Arc<VcpuSignal>,
    timer: ApicTimer,
    lint: [bool; 2],
    // What it is.
    id: u32,
    bsp: bool,
    x2apic_offered: bool,
    tsc_deadline_offered: bool,
    // Registers.
    apic_base: u64,
    tpr: u8,
    ldr: u8,
    /// The model: flat if all ones in 31:28, else cluster.
    dfr: u32,
    svr: u32,
    isr: VectorSet,
    tmr: VectorSet,
    irr: VectorSet,
    esr: u32,
    /// Errors since ESR was last written.
    esr_collected: u32,
    icr: u64,
    lvt: [u32; lvt::COUNT],
    /// An ExtINT message has arrived and not been acknowledged.
    external: bool,
}

/// Saved registers of a local APIC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalApicState {
    lint: [bool; 2],
    id: u32,
    apic_base: u64,
    tpr: u8,
    ldr: u8,
    dfr: u32,
    svr: u32,
    isr: VectorSet,
    tmr: VectorSet,
    irr: VectorSet,
    esr: u32,
    esr_collected: u32,
    icr: u64,
    lvt: [u32; lvt::COUNT],
    external: bool,
    timer: TimerState,
}

impl LocalApic {
    /// A local APIC at power-on. `timer` is its own timer of the machine, `signal` the wires into its vCPU.
    pub fn new(config: &ApicConfig, id: u32, bsp: bool, timer: Timer, signal: Arc<VcpuSignal>) -> Self {
        let mut apic = LocalApic {
            signal,
            timer: ApicTimer::new(config.clock.clone(), timer, config.bus_hz.max(1), config.tsc_hz.max(1)),
            lint: [false; 2],
            id,
            bsp,
            x2apic_offered: config.x2apic,
            tsc_deadline_offered: config.tsc_deadline,
            apic_base: 0,
            tpr: 0,
            ldr: 0,
            dfr: 0,
            svr: 0,
            isr: VectorSet::default(),
            tmr: VectorSet::default(),
            irr: VectorSet::default(),
            esr: 0,
            esr_collected: 0,
            icr: 0,
            lvt: [lvt::MASKED; lvt::COUNT],
            external: false,
        };
        apic.reset();
        apic
    }

    /// RESET#: also the base register returns to its power-on value.
    pub fn reset(&mut self) {
        self.apic_base = LOCAL_APIC_BASE | base::EN | if self.bsp { base::BSP } else { 0 };
        self.init();
    }

    /// What INIT does to the registers: all but ID and base. SDM vol. 3, 11.4.7.3.
    fn init(&mut self) {
        (self.tpr, self.ldr, self.dfr, self.svr) = (0, 0, u32::MAX, svr::AT_RESET);
        (self.isr, self.tmr, self.irr) = (VectorSet::default(), VectorSet::default(), VectorSet::default());
        (self.esr, self.esr_collected, self.icr) = (0, 0, 0);
        self.lvt = [lvt::MASKED; lvt::COUNT];
        self.external = false;
        self.timer.reset();
        self.update_signal();
    }

    /// The APIC ID.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// IA32_APIC_BASE.
    pub fn apic_base(&self) -> u64 {
        self.apic_base
    }

    /// Where the register page is, while registers are reached through memory.
    pub fn page(&self) -> Option<u64> {
        (self.apic_base & (base::EN | base::EXTD) == base::EN).then_some(self.apic_base & !0xFFF)
    }

    fn globally_enabled(&self) -> bool {
        self.apic_base & base::EN != 0
    }

    fn x2apic_mode(&self) -> bool {
        self.apic_base & base::EXTD != 0
    }

    fn software_enabled(&self) -> bool {
        self.svr & svr::ENABLE != 0
    }

    // The vCPU's side.

    /// Whether an interrupt waits that its vCPU may take.
    pub fn has_interrupt(&self) -> bool {
        self.external_pending() || self.deliverable().is_some()
    }

    /// INTA: the interrupt of the highest priority goes into service.
    pub fn acknowledge(&mut self) -> Acknowledge {
        if self.external_pending() {
            self.external = false;
            self.update_signal();
            return Acknowledge::External;
        }
        let Some(vector) = self.deliverable() else {
            self.update_signal();
            return Acknowledge::Nothing;
        };
        self.irr.remove(vector);
        self.isr.insert(vector);
        self.update_signal();
        Acknowledge::Vector(vector)
    }

    /// The vector of IRR that is above the processor priority.
    fn deliverable(&self) -> Option<u8> {
        let vector = self.irr.highest()?;
        (self.globally_enabled() && vector >> 4 > self.processor_priority() >> 4).then_some(vector)
    }

    fn external_pending(&self) -> bool {
        let entry = self.lvt[lvt::LINT0];
        let wired =
            entry & lvt::MASKED == 0 && DeliveryMode::from_bits(entry >> 8) == Some(DeliveryMode::ExtInt);
        self.external || self.lint[0] && (wired || !self.accepts_fixed())
    }

    /// PPR. SDM vol. 3, 11.8.3.1.
    pub fn processor_priority(&self) -> u8 {
        let in_service = self.isr.highest().unwrap_or(0);
        if self.tpr >> 4 >= in_service >> 4 { self.tpr } else { in_service & 0xF0 }
    }

    /// APR. SDM vol. 3, 11.6.2.4.
    fn arbitration_priority(&self) -> u8 {
        let (requested, in_service) = (self.irr.highest().unwrap_or(0), self.isr.highest().unwrap_or(0));
        if self.tpr >> 4 >= requested >> 4 && self.tpr >> 4 > in_service >> 4 {
            self.tpr
        } else {
            (self.tpr & 0xF0).max(in_service & 0xF0).max(requested & 0xF0)
        }
    }

    /// CR8: bits 7:4 of the task priority.
    pub fn cr8(&self) -> u8 {
        self.tpr >> 4
    }

    /// MOV to CR8.
    pub fn set_cr8(&mut self, priority: u8) {
        self.set_tpr(priority << 4);
    }

    fn set_tpr(&mut self, tpr: u8) {
        self.tpr = tpr;
        self.update_signal();
    }

    /// IA32_TSC_ADJUST of this vCPU, plus whatever else its TSC is ahead of the machine's: deadlines count with
    /// it.
    pub fn set_tsc_adjust(&mut self, adjust: u64) {
        self.timer.set_tsc_adjust(adjust);
        self.sync_timer();
    }

    /// Ends the interrupt in service.
    fn end_of_interrupt(&mut self) -> Effect {
        let Some(vector) = self.isr.highest() else {
            return Effect::None;
        };
        self.isr.remove(vector);
        if !self.tmr.contains(vector) {
            self.update_signal();
            return Effect::None;
        }
        for pin in 0..self.lint.len() {
            let entry = &mut self.lvt[lvt::LINT0 + pin];
            if *entry & lvt::REMOTE_IRR != 0 && *entry as u8 == vector {
                *entry &= !lvt::REMOTE_IRR;
                self.evaluate_lint(pin, false);
            }
        }
        self.update_signal();
        let silent = self.svr & svr::SUPPRESS_EOI_BROADCAST != 0;
        if silent { Effect::None } else { Effect::EndOfInterrupt(vector) }
    }

    /// Makes the vCPU's interrupt request follow the registers.
    fn update_signal(&self) {
        let raised = self.signal.requests() & request::INTERRUPT != 0;
        match (self.has_interrupt(), raised) {
            (true, false) => self.signal.raise(request::INTERRUPT),
            (false, true) => self.signal.clear(request::INTERRUPT),
            _ => {}
        }
    }
}
