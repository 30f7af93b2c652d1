//! What reaches a local APIC: messages, its two pins, its timer, its own errors. SDM vol. 3, 11.5, 11.6, 11.8.

use super::{LocalApic, esr, lvt};
use crate::apic::{BROADCAST, DeliveryMode, Destination, Message};
use emu_core::engine::request;

impl LocalApic {
    /// Whether a message to `destination` is for this APIC. SDM vol. 3, 11.6.2 and 11.12.10.2.
    pub fn is_addressed(&self, destination: Destination) -> bool {
        match destination {
            _ if !self.globally_enabled() => false,
            Destination::Physical(BROADCAST) | Destination::Logical(BROADCAST) => true,
            Destination::Physical(id) => id == self.id,
            Destination::Logical(set) if self.x2apic_mode() => {
                let logical_id = self.x2apic_ldr();
                set >> 16 == logical_id >> 16 && set & logical_id & 0xFFFF != 0
            }
            Destination::Logical(set) if self.dfr >> 28 == 0xF => set & u32::from(self.ldr) != 0,
            Destination::Logical(set) => {
                let cluster = set >> 4;
                (cluster == u32::from(self.ldr >> 4) || cluster == 0xF)
                    && set & u32::from(self.ldr) & 0xF != 0
            }
        }
    }

    pub(super) fn x2apic_ldr(&self) -> u32 {
        (self.id >> 4) << 16 | 1 << (self.id & 0xF)
    }

    /// Whether fixed interrupts are accepted: enabled, by base register and software.
    pub fn accepts_fixed(&self) -> bool {
        self.globally_enabled() && self.software_enabled()
    }

    /// Takes a message that is for this APIC. False: it cannot take it in its present state.
    pub fn deliver(&mut self, message: &Message) -> bool {
        match message.mode {
            _ if !self.globally_enabled() => return false,
            DeliveryMode::Fixed | DeliveryMode::LowestPriority => {
                return self.accept(message.vector, message.level);
            }
            DeliveryMode::Smi => self.signal.raise(request::SMI),
            DeliveryMode::Nmi => self.signal.raise(request::NMI),
            DeliveryMode::Init => self.init_vcpu(),
            DeliveryMode::StartUp => self.signal.raise_startup(message.vector),
            DeliveryMode::ExtInt if !self.software_enabled() => return false,
            DeliveryMode::ExtInt => {
                self.external = true;
                self.update_signal();
            }
        }
        true
    }

    /// INIT, here and in the vCPU. A start-up that came before it and was not looked at yet is void.
    pub(super) fn init_vcpu(&mut self) {
        self.init();
        self.signal.clear(request::STARTUP);
        self.signal.raise(request::INIT);
    }

    /// Accepts a fixed interrupt into IRR.
    pub(super) fn accept(&mut self, vector: u8, level: bool) -> bool {
        if !self.accepts_fixed() {
            return false;
        }
        if vector < 16 {
            self.report_error(esr::RECEIVE_ILLEGAL_VECTOR);
            return true;
        }
        self.irr.insert(vector);
        if level {
            self.tmr.insert(vector);
        } else {
            self.tmr.remove(vector);
        }
        self.update_signal();
        true
    }

    /// Drives local interrupt pin 0 (INTR when the APIC is off) or 1 (NMI when the APIC is off).
    pub fn set_lint(&mut self, pin: usize, level: bool) {
        let rising = level && !self.lint[pin];
        self.lint[pin] = level;
        self.evaluate_lint(pin, rising);
    }

    pub(super) fn evaluate_lint(&mut self, pin: usize, rising: bool) {
        let entry = self.lvt[lvt::LINT0 + pin];
        let mode = if self.globally_enabled() {
            DeliveryMode::from_bits(entry >> 8).filter(|_| entry & lvt::MASKED == 0)
        } else {
            Some(if pin == 0 { DeliveryMode::ExtInt } else { DeliveryMode::Nmi })
        };
        match mode {
            Some(DeliveryMode::Fixed) if entry & lvt::LEVEL != 0 => {
                let due = self.lint[pin] && entry & lvt::REMOTE_IRR == 0;
                if due && self.accept(entry as u8, true) {
                    self.lvt[lvt::LINT0 + pin] |= lvt::REMOTE_IRR;
                }
            }
            Some(DeliveryMode::Fixed) if rising => {
                self.accept(entry as u8, false);
            }
            Some(DeliveryMode::Nmi) if rising => self.signal.raise(request::NMI),
            Some(DeliveryMode::Smi) if rising => self.signal.raise(request::SMI),
            Some(DeliveryMode::Init) if rising => self.init_vcpu(),
            _ => {}
        }
        // ExtINT follows the pin, whatever happened above.
        self.update_signal();
    }

    /// The timer of this APIC has expired.
    pub fn timer_expired(&mut self) {
        self.timer.wire_fired();
        self.sync_timer();
    }

    /// Brings the timer to the present, delivers what it owes and arms it for what comes.
    pub(super) fn sync_timer(&mut self) {
        let entry = self.lvt[lvt::TIMER];
        if self.timer.poll() && entry & lvt::MASKED == 0 {
            self.accept(entry as u8, false);
        }
        self.timer.arm();
    }

    pub(super) fn report_error(&mut self, error: u32) {
        let new = self.esr_collected & error == 0;
        self.esr_collected |= error;
        let entry = self.lvt[lvt::ERROR];
        if new && entry & lvt::MASKED == 0 && entry as u8 >= 16 {
            self.accept(entry as u8, false);
        }
    }
}
