//! The MSRs of the local APIC: IA32_APIC_BASE, IA32_TSC_DEADLINE and the x2APIC register view.
//! SDM vol. 3, 11.4.3, 11.4.4, 11.12.

use super::{Effect, LocalApic, LocalApicState, base, icr, lvt, registers::reg};

const IA32_APIC_BASE: u32 = 0x1B;
const IA32_TSC_DEADLINE: u32 = 0x6E0;
const X2APIC: u32 = 0x800;
const X2APIC_LAST: u32 = 0x8FF;
/// Physical addresses have at most 52 bits; the base is page-aligned.
const APIC_BASE_ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;

impl LocalApic {
    /// RDMSR. `None`: #GP(0).
    pub fn msr_read(&mut self, msr: u32) -> Option<u64> {
        match msr {
            IA32_APIC_BASE => Some(self.apic_base),
            IA32_TSC_DEADLINE if self.tsc_deadline_offered => {
                self.sync_timer();
                Some(self.timer.tsc_deadline())
            }
            X2APIC..=X2APIC_LAST if self.x2apic_mode() => self.x2apic_read((msr - X2APIC) as u8),
            _ => None,
        }
    }

    /// WRMSR. `None`: #GP(0).
    pub fn msr_write(&mut self, msr: u32, value: u64) -> Option<Effect> {
        match msr {
            IA32_APIC_BASE => self.set_apic_base(value).map(|()| Effect::None),
            IA32_TSC_DEADLINE if self.tsc_deadline_offered => {
                self.sync_timer();
                self.timer.set_tsc_deadline(value);
                self.sync_timer();
                Some(Effect::None)
            }
            X2APIC..=X2APIC_LAST if self.x2apic_mode() => self.x2apic_write((msr - X2APIC) as u8, value),
            _ => None,
        }
    }

    /// The legal transitions are those of SDM vol. 3, figure 11-27.
    fn set_apic_base(&mut self, value: u64) -> Option<()> {
        if value & !(APIC_BASE_ADDRESS | base::BSP | base::EXTD | base::EN) != 0 {
            return None;
        }
        let (old, new) = (self.apic_base & (base::EN | base::EXTD), value & (base::EN | base::EXTD));
        let x2apic = base::EN | base::EXTD;
        let legal = match (old, new) {
            (_, base::EXTD) => false,
            (_, new) if new == x2apic && !self.x2apic_offered => false,
            (0, new) if new == x2apic => false,
            (old, base::EN) if old == x2apic => false,
            _ => true,
        };
        if !legal {
            return None;
        }
        self.apic_base = value;
        if old != 0 && new == 0 {
            // A disabled local APIC forgets its registers.
            self.init();
        }
        self.update_signal();
        Some(())
    }

    fn x2apic_read(&mut self, register: u8) -> Option<u64> {
        match register {
            reg::APR | reg::EOI | reg::RRD | reg::DFR | reg::ICR_HIGH | reg::SELF_IPI => None,
            reg::ICR => Some(self.icr),
            _ => self.read_register(register).map(u64::from),
        }
    }

    fn x2apic_write(&mut self, register: u8, value: u64) -> Option<Effect> {
        let writable: u64 = match register {
            reg::EOI | reg::ESR => 0,
            reg::TPR | reg::SELF_IPI => 0xFF,
            reg::SVR => 0x11FF,
            reg::ICR => !icr::X2APIC_RESERVED,
            reg::LVT..=reg::LVT_LAST => self.x2apic_lvt_bits(usize::from(register - reg::LVT)).into(),
            reg::INITIAL_COUNT => 0xFFFF_FFFF,
            reg::DIVIDE_CONFIGURATION => 0b1011,
            // Read-only here, or nothing at all.
            _ => return None,
        };
        if value & !writable != 0 {
            return None;
        }
        match register {
            reg::ICR => Some(self.command(value)),
            _ => self.write_register(register, value as u32),
        }
    }

    /// Bits of an LVT register that may be written as one: status bits are ignored, not reserved.
    fn x2apic_lvt_bits(&self, index: usize) -> u32 {
        const DELIVERY_STATUS: u32 = 1 << 12;
        let status = match index {
            lvt::LINT0..lvt::ERROR => DELIVERY_STATUS | lvt::REMOTE_IRR,
            _ => DELIVERY_STATUS,
        };
        let absent = if index == lvt::TIMER && !self.tsc_deadline_offered { lvt::TSC_DEADLINE } else { 0 };
        lvt::WRITABLE[index] & !absent | status
    }

    /// The registers, as saved.
    pub fn save(&self) -> LocalApicState {
        let LocalApic {
            signal: _,
            timer,
            lint,
            id,
            bsp: _,
            x2apic_offered: _,
            tsc_deadline_offered: _,
            apic_base,
            tpr,
            ldr,
            dfr,
            svr,
            isr,
            tmr,
            irr,
            esr,
            esr_collected,
            icr,
            lvt,
            external,
        } = self;
        LocalApicState {
            lint: *lint,
            id: *id,
            apic_base: *apic_base,
            tpr: *tpr,
            ldr: *ldr,
            dfr: *dfr,
            svr: *svr,
            isr: *isr,
            tmr: *tmr,
            irr: *irr,
            esr: *esr,
            esr_collected: *esr_collected,
            icr: *icr,
            lvt: *lvt,
            external: *external,
            timer: timer.save(),
        }
    }

    /// Gives a new local APIC the registers of a saved one.
    pub(in crate::apic) fn with_state(mut self, state: LocalApicState) -> Result<Self, String> {
        let LocalApicState {
            lint,
            id,
            apic_base,
            tpr,
            ldr,
            dfr,
            svr,
            isr,
            tmr,
            irr,
            esr,
            esr_collected,
            icr,
            lvt,
            external,
            timer,
        } = state;
        if id != self.id {
            return Err(format!("local APIC ID {id} where this machine has {}", self.id));
        }
        if apic_base & base::EXTD != 0 && (!self.x2apic_offered || apic_base & base::EN == 0) {
            return Err(format!("IA32_APIC_BASE {apic_base:#x} is a mode this CPU does not have"));
        }
        timer.check()?;
        self.lint = lint;
        self.apic_base = apic_base;
        (self.tpr, self.ldr, self.dfr, self.svr) = (tpr, ldr, dfr, svr);
        (self.isr, self.tmr, self.irr) = (isr, tmr, irr);
        (self.esr, self.esr_collected, self.icr) = (esr, esr_collected, icr);
        (self.lvt, self.external) = (lvt, external);
        self.timer.load(timer, lvt[lvt::TIMER]);
        self.update_signal();
        Ok(self)
    }
}
