//! The power management block: PM1a, PM timer, GPE0, and the APM port pair that switches ACPI on.

#[cfg(test)]
mod tests;

use super::{ACPI_DISABLE, ACPI_ENABLE, PM_TIMER_HZ, S5_SLP_TYP};
use bitflags::bitflags;
use emu_core::{
    bus::{Device, IoError, IoResult, IrqLine, PortIo, Snapshot},
    clock::{Timer, VmClock, nanos_to_ticks, ticks_to_nanos},
};
use serde::{Deserialize, Serialize};

bitflags! {
    /// PM1_STS and PM1_EN.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    pub struct PmEvents: u16 {
        /// The PM timer's top bit has changed.
        const TMR = 1 << 0;
        /// The firmware has released the global lock.
        const GBL = 1 << 5;
        /// The power button was pressed.
        const PWRBTN = 1 << 8;
        /// The RTC's alarm.
        const RTC = 1 << 10;
    }
}

/// Region numbers on the bus.
mod region {
    pub(super) const PM: u8 = 0;
    pub(super) const APM: u8 = 1;
}

/// Offsets in the power management block, in 16-bit cells.
mod reg {
    pub(super) const PM1_STS: u16 = 0x00;
    pub(super) const PM1_EN: u16 = 0x02;
    pub(super) const PM1_CNT: u16 = 0x04;
    pub(super) const PM1_CNT_HIGH: u16 = 0x06;
    pub(super) const PM_TMR: u16 = 0x08;
    pub(super) const PM_TMR_LAST: u16 = 0x0B;
    pub(super) const GPE0_STS: u16 = 0x20;
    pub(super) const GPE0_EN: u16 = 0x28;
    pub(super) const SMI_EN: u16 = 0x30;
    pub(super) const SMI_STS: u16 = 0x34;
    pub(super) const SMI_LAST: u16 = 0x37;
}

/// PM1_CNT.
mod cnt {
    pub(super) const SCI_EN: u16 = 1 << 0;
    pub(super) const BM_RLD: u16 = 1 << 1;
    pub(super) const SLP_TYP_SHIFT: u32 = 10;
    pub(super) const SLP_TYP: u16 = 7 << SLP_TYP_SHIFT;
    pub(super) const SLP_EN: u16 = 1 << 13;
}

/// Width of the PM timer; the FADT's TMR_VAL_EXT flag says which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimerWidth {
    /// As every chipset has it.
    Bits24,
    /// TMR_VAL_EXT.
    Bits32,
}

impl TimerWidth {
    fn bits(self) -> u32 {
        match self {
            TimerWidth::Bits24 => 24,
            TimerWidth::Bits32 => 32,
        }
    }
}

/// What the power management block drives.
pub struct PmWires {
    /// The system control interrupt, level.
    pub sci: IrqLine,
    /// The guest has entered S5. Called on the vCPU's thread with the device locked: it has to note the request
    /// and return.
    pub power_off: Box<dyn Fn() + Send + Sync>,
}

/// Registers of the power management block, as saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PmState {
    pm1_sts: PmEvents,
    pm1_en: PmEvents,
    pm1_cnt: u16,
    gpe0_sts: u64,
    gpe0_en: u64,
    smi_en: u32,
    apm_cnt: u8,
    apm_sts: u8,
    /// How often the PM timer's top bit had changed when it was last looked at.
    timer_toggles: u64,
}

impl PmState {
    const AT_RESET: PmState = PmState {
        pm1_sts: PmEvents::empty(),
        pm1_en: PmEvents::empty(),
        pm1_cnt: 0,
        gpe0_sts: 0,
        gpe0_en: 0,
        smi_en: 0,
        apm_cnt: 0,
        apm_sts: 0,
        timer_toggles: 0,
    };
}

/// The power management block. Region 0 on the bus is the block itself, region 1 the APM port pair.
pub struct Pm {
    clock: VmClock,
    timer: Timer,
    width: TimerWidth,
    wires: PmWires,
    regs: PmState,
}

impl Pm {
    /// The block at power-on. `timer` is its timer of the machine, whose expiry is to call
    /// [`expire`](Self::expire).
    pub fn new(clock: VmClock, timer: Timer, width: TimerWidth, wires: PmWires) -> Self {
        let mut pm = Pm { clock, timer, width, wires, regs: PmState::AT_RESET };
        pm.reset();
        pm
    }

    /// The user presses the power button. False: nobody listens, so the machine may act on its own.
    pub fn press_power_button(&mut self) -> bool {
        self.regs.pm1_sts |= PmEvents::PWRBTN;
        self.update();
        self.regs.pm1_cnt & cnt::SCI_EN != 0 && self.regs.pm1_en.contains(PmEvents::PWRBTN)
    }

    /// Sets general purpose event `number`.
    pub fn raise_gpe(&mut self, number: u8) {
        self.regs.gpe0_sts |= 1 << (number & 63);
        self.update();
    }

    /// The machine's timer has expired: the PM timer's top bit has changed.
    pub fn expire(&mut self) {
        self.sync();
        self.update();
    }

    /// Which half of the PM timer's range machine time is in, counted from power-on.
    fn toggles(&self) -> u64 {
        nanos_to_ticks(self.clock.now(), PM_TIMER_HZ) >> (self.width.bits() - 1)
    }

    fn sync(&mut self) {
        let toggles = self.toggles();
        if toggles != self.regs.timer_toggles {
            self.regs.timer_toggles = toggles;
            self.regs.pm1_sts |= PmEvents::TMR;
        }
    }

    /// Makes SCI and the machine's timer follow the registers.
    fn update(&self) {
        let enabled = self.regs.pm1_cnt & cnt::SCI_EN != 0;
        let events = self.regs.pm1_sts.intersects(self.regs.pm1_en);
        self.wires.sci.set(enabled && (events || self.regs.gpe0_sts & self.regs.gpe0_en != 0));
        if enabled && self.regs.pm1_en.contains(PmEvents::TMR) && !self.regs.pm1_sts.contains(PmEvents::TMR) {
            let ticks = (self.regs.timer_toggles + 1) << (self.width.bits() - 1);
            self.timer.arm(ticks_to_nanos(ticks, PM_TIMER_HZ));
        } else {
            self.timer.cancel();
        }
    }

    fn pm_timer(&self) -> u32 {
        let ticks = nanos_to_ticks(self.clock.now(), PM_TIMER_HZ);
        (ticks & ((1 << self.width.bits()) - 1)) as u32
    }

    /// The 16 bits at the even offset `cell`.
    fn read_cell(&self, cell: u16) -> IoResult<u16> {
        Ok(match cell {
            reg::PM1_STS => self.regs.pm1_sts.bits(),
            reg::PM1_EN => self.regs.pm1_en.bits(),
            reg::PM1_CNT => self.regs.pm1_cnt,
            reg::PM1_CNT_HIGH => 0,
            reg::GPE0_STS..reg::GPE0_EN => (self.regs.gpe0_sts >> (8 * (cell - reg::GPE0_STS))) as u16,
            reg::GPE0_EN..reg::SMI_EN => (self.regs.gpe0_en >> (8 * (cell - reg::GPE0_EN))) as u16,
            reg::SMI_EN..reg::SMI_STS => (self.regs.smi_en >> (8 * (cell - reg::SMI_EN))) as u16,
            reg::SMI_STS..=reg::SMI_LAST => 0,
            _ => return Err(IoError::UnknownRegister),
        })
    }

    /// Writes the bits of `mask` at the even offset `cell`.
    fn write_cell(&mut self, cell: u16, value: u16, mask: u16) -> IoResult {
        let ones = value & mask;
        match cell {
            reg::PM1_STS => self.regs.pm1_sts.remove(PmEvents::from_bits_truncate(ones)),
            reg::PM1_EN => {
                let kept = self.regs.pm1_en.bits() & !mask;
                self.regs.pm1_en = PmEvents::from_bits_truncate(kept | ones);
            }
            reg::PM1_CNT => self.write_pm1_cnt(ones, mask),
            reg::PM1_CNT_HIGH | reg::PM_TMR..=reg::PM_TMR_LAST | reg::SMI_STS..=reg::SMI_LAST => {}
            reg::GPE0_STS..reg::GPE0_EN => {
                self.regs.gpe0_sts &= !(u64::from(ones) << (8 * (cell - reg::GPE0_STS)));
            }
            reg::GPE0_EN..reg::SMI_EN => {
                let shift = 8 * (cell - reg::GPE0_EN);
                self.regs.gpe0_en =
                    self.regs.gpe0_en & !(u64::from(mask) << shift) | u64::from(ones) << shift;
            }
            reg::SMI_EN..reg::SMI_STS => {
                let shift = 8 * (cell - reg::SMI_EN);
                self.regs.smi_en = self.regs.smi_en & !(u32::from(mask) << shift) | u32::from(ones) << shift;
            }
            _ => return Err(IoError::UnknownRegister),
        }
        Ok(())
    }

    fn write_pm1_cnt(&mut self, ones: u16, mask: u16) {
        const WRITABLE: u16 = cnt::SCI_EN | cnt::BM_RLD | cnt::SLP_TYP;
        self.regs.pm1_cnt = (self.regs.pm1_cnt & !mask | ones) & WRITABLE;
        if ones & cnt::SLP_EN != 0 {
            let slp_typ = (self.regs.pm1_cnt & cnt::SLP_TYP) >> cnt::SLP_TYP_SHIFT;
            if slp_typ == u16::from(S5_SLP_TYP) {
                (self.wires.power_off)();
            } else {
                log::warn!("the guest asked for sleep type {slp_typ}, which this machine does not have");
            }
        }
    }

    fn write_apm(&mut self, offset: u16, value: u8) {
        if offset != 0 {
            self.regs.apm_sts = value;
            return;
        }
        self.regs.apm_cnt = value;
        match value {
            ACPI_ENABLE => self.regs.pm1_cnt |= cnt::SCI_EN,
            ACPI_DISABLE => self.regs.pm1_cnt &= !cnt::SCI_EN,
            _ => {}
        }
    }
}

impl Device for Pm {
    fn name(&self) -> &'static str {
        "acpi-pm"
    }

    fn reset(&mut self) {
        // The PM timer is not reset: it counts machine time.
        self.regs = PmState { timer_toggles: self.toggles(), ..PmState::AT_RESET };
        self.update();
    }
}

impl PortIo for Pm {
    fn port_read(&mut self, region: u8, offset: u16, size: u8) -> IoResult<u32> {
        match (region, offset) {
            (region::APM, _) if size != 1 => Err(IoError::Size),
            (region::APM, 0) => Ok(self.regs.apm_cnt.into()),
            (region::APM, _) => Ok(self.regs.apm_sts.into()),
            (region::PM, reg::PM_TMR..=reg::PM_TMR_LAST)
                if offset + u16::from(size) <= reg::PM_TMR_LAST + 1 =>
            {
                Ok(self.pm_timer() >> (8 * (offset - reg::PM_TMR)))
            }
            (region::PM, _) if size == 4 || size == 2 && offset & 1 != 0 => Err(IoError::Size),
            (region::PM, _) => {
                self.sync();
                Ok(u32::from(self.read_cell(offset & !1)?) >> (8 * (offset & 1)))
            }
            _ => Err(IoError::UnknownRegister),
        }
    }

    fn port_write(&mut self, region: u8, offset: u16, size: u8, value: u32) -> IoResult {
        match region {
            region::APM if size != 1 => return Err(IoError::Size),
            region::APM => self.write_apm(offset, value as u8),
            region::PM if size == 4 || size == 2 && offset & 1 != 0 => return Err(IoError::Size),
            region::PM => {
                self.sync();
                let shift = 8 * (offset & 1);
                let mask = if size == 1 { 0xFF << shift } else { 0xFFFF };
                self.write_cell(offset & !1, (value as u16) << shift, mask)?;
            }
            _ => return Err(IoError::UnknownRegister),
        }
        self.update();
        Ok(())
    }
}

impl Snapshot for Pm {
    type State = PmState;
    type Args = (VmClock, Timer, TimerWidth, PmWires);

    fn save(&self) -> PmState {
        let Pm { clock: _, timer: _, width: _, wires: _, regs } = self;
        regs.clone()
    }

    fn restore((clock, timer, width, wires): Self::Args, state: PmState) -> Result<Self, String> {
        let pm = Pm { clock, timer, width, wires, regs: state };
        pm.update();
        Ok(pm)
    }
}
