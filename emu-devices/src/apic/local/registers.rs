//! The register file and its view through the memory page. SDM vol. 3, 11.4.1.

use super::{Effect, LocalApic, esr, icr, lvt, svr};

/// Register numbers: the page offset divided by 16, which is also the MSR number less 0x800.
pub(super) mod reg {
    pub const ID: u8 = 0x02;
    pub const VERSION: u8 = 0x03;
    pub const TPR: u8 = 0x08;
    pub const APR: u8 = 0x09;
    pub const PPR: u8 = 0x0A;
    pub const EOI: u8 = 0x0B;
    pub const RRD: u8 = 0x0C;
    pub const LDR: u8 = 0x0D;
    pub const DFR: u8 = 0x0E;
    pub const SVR: u8 = 0x0F;
    pub const ISR: u8 = 0x10;
    pub const TMR: u8 = 0x18;
    pub const IRR: u8 = 0x20;
    pub const ESR: u8 = 0x28;
    pub const ICR: u8 = 0x30;
    pub const ICR_HIGH: u8 = 0x31;
    pub const LVT: u8 = 0x32;
    pub const LVT_LAST: u8 = 0x37;
    pub const INITIAL_COUNT: u8 = 0x38;
    pub const CURRENT_COUNT: u8 = 0x39;
    pub const DIVIDE_CONFIGURATION: u8 = 0x3E;
    pub const SELF_IPI: u8 = 0x3F;
}

/// Version 0x14, six LVT entries, EOI broadcasts can be suppressed.
const VERSION: u32 = 0x14 | (lvt::COUNT as u32 - 1) << 16 | 1 << 24;
/// Bits of DFR that do not exist read as ones.
const DFR_ONES: u32 = 0x0FFF_FFFF;
const ICR_DELIVERY_STATUS: u64 = 1 << 12;

impl LocalApic {
    /// Reads `size` bytes at `offset` of the register page. Registers are 32 bits wide, one in each 16 bytes;
    /// what is between them reads as zero.
    pub fn mmio_read(&mut self, offset: u16, size: u8) -> u64 {
        let value = self.read_register((offset >> 4) as u8).unwrap_or_else(|| {
            self.report_error(esr::ILLEGAL_REGISTER_ADDRESS);
            0
        });
        let shifted = u64::from(value) >> (8 * u32::from(offset & 0xF).min(4));
        shifted & u64::MAX >> (64 - 8 * u32::from(size.clamp(1, 8)))
    }

    /// Writes at `offset` of the register page. Only aligned 32-bit writes reach a register, as the manual
    /// demands of software.
    pub fn mmio_write(&mut self, offset: u16, size: u8, value: u64) -> Effect {
        if size != 4 || offset & 0xF != 0 {
            return Effect::None;
        }
        let register = (offset >> 4) as u8;
        if register == reg::SELF_IPI {
            self.report_error(esr::ILLEGAL_REGISTER_ADDRESS);
            return Effect::None;
        }
        self.write_register(register, value as u32).unwrap_or_else(|| {
            self.report_error(esr::ILLEGAL_REGISTER_ADDRESS);
            Effect::None
        })
    }

    /// `None`: there is no such register.
    pub(super) fn read_register(&mut self, register: u8) -> Option<u32> {
        Some(match register {
            reg::ID if self.x2apic_mode() => self.id,
            reg::ID => self.id << 24,
            reg::VERSION => VERSION,
            reg::TPR => self.tpr.into(),
            reg::APR => self.arbitration_priority().into(),
            reg::PPR => self.processor_priority().into(),
            // Write-only, and not supported: both read as zero.
            reg::EOI | reg::RRD => 0,
            reg::LDR if self.x2apic_mode() => self.x2apic_ldr(),
            reg::LDR => u32::from(self.ldr) << 24,
            reg::DFR => self.dfr,
            reg::SVR => self.svr,
            reg::ISR..reg::TMR => self.isr.word(register - reg::ISR),
            reg::TMR..reg::IRR => self.tmr.word(register - reg::TMR),
            reg::IRR..reg::ESR => self.irr.word(register - reg::IRR),
            reg::ESR => self.esr,
            reg::ICR => self.icr as u32,
            reg::ICR_HIGH => (self.icr >> 32) as u32,
            reg::LVT..=reg::LVT_LAST => self.lvt[usize::from(register - reg::LVT)],
            reg::INITIAL_COUNT => self.timer.initial_count(),
            reg::CURRENT_COUNT => {
                self.sync_timer();
                self.timer.current_count()
            }
            reg::DIVIDE_CONFIGURATION => self.timer.divide_configuration(),
            _ => return None,
        })
    }

    /// `None`: there is no such register.
    pub(super) fn write_register(&mut self, register: u8, value: u32) -> Option<Effect> {
        match register {
            reg::EOI => return Some(self.end_of_interrupt()),
            reg::ICR => return Some(self.command(self.icr & !0xFFFF_FFFF | u64::from(value))),
            reg::SELF_IPI => return Some(self.self_ipi(value as u8)),
            reg::ICR_HIGH => self.icr = self.icr & 0xFFFF_FFFF | u64::from(value & 0xFF00_0000) << 32,
            reg::TPR => self.set_tpr(value as u8),
            reg::LDR => self.ldr = (value >> 24) as u8,
            reg::DFR => self.dfr = value | DFR_ONES,
            reg::SVR => self.set_svr(value),
            // Reading ESR takes a write first, which latches what was collected.
            reg::ESR => (self.esr, self.esr_collected) = (self.esr_collected, 0),
            reg::LVT..=reg::LVT_LAST => self.set_lvt(usize::from(register - reg::LVT), value),
            reg::INITIAL_COUNT => {
                self.sync_timer();
                self.timer.set_initial_count(value);
                self.sync_timer();
            }
            reg::DIVIDE_CONFIGURATION => {
                self.sync_timer();
                self.timer.set_divide_configuration(value);
                self.sync_timer();
            }
            // Read-only; a write changes nothing. The ID is fixed, as on processors since Ice Lake.
            reg::ID | reg::VERSION | reg::APR | reg::PPR | reg::RRD | reg::CURRENT_COUNT => {}
            reg::ISR..reg::ESR => {}
            _ => return None,
        }
        Some(Effect::None)
    }

    fn set_svr(&mut self, value: u32) {
        self.svr = value & svr::WRITABLE;
        if !self.software_enabled() {
            for index in 0..lvt::COUNT {
                self.set_lvt(index, self.lvt[index]);
            }
        }
        self.update_signal();
    }

    fn set_lvt(&mut self, index: usize, value: u32) {
        if index == lvt::TIMER {
            // What the timer owes under the old entry is delivered first.
            self.sync_timer();
        }
        let mut entry = self.lvt[index] & !lvt::WRITABLE[index] | value & lvt::WRITABLE[index];
        if !self.software_enabled() {
            entry |= lvt::MASKED;
        }
        if entry & lvt::LEVEL == 0 {
            entry &= !lvt::REMOTE_IRR;
        }
        self.lvt[index] = entry;
        match index {
            lvt::TIMER => {
                self.timer.set_lvt(if self.tsc_deadline_offered {
                    entry
                } else {
                    entry & !lvt::TSC_DEADLINE
                });
                self.sync_timer();
            }
            lvt::LINT0..lvt::ERROR => self.evaluate_lint(index - lvt::LINT0, false),
            _ => {}
        }
    }

    /// A write to the command register.
    pub(super) fn command(&mut self, value: u64) -> Effect {
        // Delivery is immediate: the status bit never reads as pending.
        self.icr = value & !ICR_DELIVERY_STATUS;
        match icr::decode(self.icr, self.x2apic_mode()) {
            icr::Command::Nothing => Effect::None,
            icr::Command::Send(ipi) => Effect::Ipi(ipi),
            icr::Command::Myself(vector) => self.self_ipi(vector),
            icr::Command::IllegalVector => {
                self.report_error(esr::SEND_ILLEGAL_VECTOR);
                Effect::None
            }
        }
    }

    fn self_ipi(&mut self, vector: u8) -> Effect {
        if vector < 16 {
            self.report_error(esr::SEND_ILLEGAL_VECTOR);
        } else {
            self.accept(vector, false);
        }
        Effect::None
    }
}
