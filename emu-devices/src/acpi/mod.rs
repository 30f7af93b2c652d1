//! ACPI fixed hardware as in the ICH9: power management block, APM port, reset register.
//!
//! ACPI specification 6.5, chapter 4.8; ICH9 datasheet, 13.8. There is no SMM code behind the SMI command port:
//! the two ACPI commands act at once. Sleeping states other than soft-off are not offered. Not modelled: TCO,
//! processor power control (P_CNT, P_LVLx), bus master and wake events.
//!
//! The constants here are what the firmware's tables and the board's wiring must agree on.

mod pm;
mod reset;

pub use pm::{Pm, PmEvents, PmState, PmWires, TimerWidth};
pub use reset::{ResetControl, ResetKind};

/// First port of the power management block.
pub const PM_BASE: u16 = 0x600;
/// Length of the power management block.
pub const PM_LEN: u16 = 0x80;
/// PM1a event block (status, enable): FADT PM1a_EVT_BLK.
pub const PM1A_EVT_BLK: u16 = PM_BASE;
/// Length of the PM1a event block.
pub const PM1_EVT_LEN: u8 = 4;
/// PM1a control block: FADT PM1a_CNT_BLK.
pub const PM1A_CNT_BLK: u16 = PM_BASE + 4;
/// Length of the PM1a control block.
pub const PM1_CNT_LEN: u8 = 2;
/// PM timer: FADT PM_TMR_BLK.
pub const PM_TMR_BLK: u16 = PM_BASE + 8;
/// Length of the PM timer block.
pub const PM_TMR_LEN: u8 = 4;
/// General purpose event block 0: FADT GPE0_BLK.
pub const GPE0_BLK: u16 = PM_BASE + 0x20;
/// Length of general purpose event block 0, status and enable.
pub const GPE0_BLK_LEN: u8 = 16;
/// Rate of the PM timer.
pub const PM_TIMER_HZ: u64 = 3_579_545;

/// SMI command port: FADT SMI_CMD. The status port follows it.
pub const SMI_CMD: u16 = 0xB2;
/// Length of the SMI command and status ports.
pub const SMI_LEN: u16 = 2;
/// Written to [`SMI_CMD`], gives the power management block to the operating system.
pub const ACPI_ENABLE: u8 = 0x02;
/// Written to [`SMI_CMD`], takes it back.
pub const ACPI_DISABLE: u8 = 0x03;

/// ISA interrupt and global system interrupt of the SCI; level-triggered.
pub const SCI_IRQ: u8 = 9;
/// SLP_TYPa that means S5, as `\_S5` names it. The chipset's own encoding.
pub const S5_SLP_TYP: u8 = 7;

/// Reset control register: FADT RESET_REG.
pub const RESET_REG: u16 = 0xCF9;
/// Written to [`RESET_REG`], resets the machine: FADT RESET_VALUE.
pub const RESET_VALUE: u8 = 0x06;
