//! Registers of the MC146818 and the places in its RAM that a PC gives a meaning.

use bitflags::bitflags;

/// Indices of registers.
pub mod index {
    pub const SECONDS: u8 = 0x00;
    pub const SECONDS_ALARM: u8 = 0x01;
    pub const MINUTES: u8 = 0x02;
    pub const MINUTES_ALARM: u8 = 0x03;
    pub const HOURS: u8 = 0x04;
    pub const HOURS_ALARM: u8 = 0x05;
    pub const WEEKDAY: u8 = 0x06;
    pub const DAY: u8 = 0x07;
    pub const MONTH: u8 = 0x08;
    pub const YEAR: u8 = 0x09;
    pub const A: u8 = 0x0A;
    pub const B: u8 = 0x0B;
    pub const C: u8 = 0x0C;
    pub const D: u8 = 0x0D;
    pub const CENTURY: u8 = 0x32;
}

/// Register A: update in progress.
pub const UIP: u8 = 0x80;
/// Register D: valid RAM and time.
pub const VRT: u8 = 0x80;

bitflags! {
    /// Register B.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct B: u8 {
        const DSE = 1 << 0;
        const HOURS_24 = 1 << 1;
        const DM = 1 << 2;
        const SQWE = 1 << 3;
        const UIE = 1 << 4;
        const AIE = 1 << 5;
        const PIE = 1 << 6;
        const SET = 1 << 7;
    }

    /// Register C. Its flags are where B has their enables.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct C: u8 {
        const UF = 1 << 4;
        const AF = 1 << 5;
        const PF = 1 << 6;
        const IRQF = 1 << 7;
    }
}

/// Bytes of CMOS RAM with a meaning to firmware and operating systems.
pub mod cmos {
    /// How the machine was last shut down: what firmware does after a reset.
    pub const SHUTDOWN: u8 = 0x0F;
    /// Conventional memory in KiB.
    pub const BASE_MEMORY: u8 = 0x15;
    /// Memory above 1 MiB in KiB, as configured.
    pub const EXTENDED_MEMORY: u8 = 0x17;
    /// First and last byte that the checksum covers.
    pub const CHECKED: std::ops::RangeInclusive<u8> = 0x10..=0x2D;
    /// Their sum, high byte first.
    pub const CHECKSUM: u8 = 0x2E;
    /// Memory above 1 MiB in KiB, as found.
    pub const EXTENDED_MEMORY_FOUND: u8 = 0x30;
    /// Memory above 16 MiB and below 4 GiB, in units of 64 KiB.
    pub const MEMORY_ABOVE_16M: u8 = 0x34;
    /// Memory above 4 GiB, in units of 64 KiB; three bytes.
    pub const MEMORY_ABOVE_4G: u8 = 0x5B;
}
