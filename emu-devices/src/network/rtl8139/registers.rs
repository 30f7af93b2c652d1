//! The registers of the RTL8139C+: names, widths, and which of their bits a driver may write. Data sheet, chapter 6.

use serde::{Deserialize, Serialize};

/// Offsets.
pub(super) mod reg {
    pub const IDR: u8 = 0x00;
    pub const MAR: u8 = 0x08;
    /// Transmit status of four buffers; in C+ mode the first is [`DTCCR`].
    pub const TSD: u8 = 0x10;
    /// Where the tally counters are to be dumped.
    pub const DTCCR: u8 = 0x10;
    pub const LAST_TSD: u8 = 0x1C;
    /// Transmit addresses of four buffers; in C+ mode two rings.
    pub const TSAD: u8 = 0x20;
    pub const TNPDS: u8 = 0x20;
    pub const THPDS: u8 = 0x28;
    pub const RBSTART: u8 = 0x30;
    pub const CR: u8 = 0x37;
    pub const CAPR: u8 = 0x38;
    pub const CBR: u8 = 0x3A;
    pub const IMR: u8 = 0x3C;
    pub const ISR: u8 = 0x3E;
    pub const TCR: u8 = 0x40;
    pub const RCR: u8 = 0x44;
    pub const CR9346: u8 = 0x50;
    pub const CONFIG0: u8 = 0x51;
    pub const CONFIG1: u8 = 0x52;
    pub const MSR: u8 = 0x58;
    pub const CONFIG3: u8 = 0x59;
    pub const CONFIG4: u8 = 0x5A;
    pub const TSAD_STATUS: u8 = 0x60;
    pub const BMCR: u8 = 0x62;
    pub const BMSR: u8 = 0x64;
    pub const ANAR: u8 = 0x66;
    pub const ANLPAR: u8 = 0x68;
    pub const CONFIG5: u8 = 0xD8;
    pub const TPPOLL: u8 = 0xD9;
    pub const CPCR: u8 = 0xE0;
    pub const RDSAR: u8 = 0xE4;
}

/// Command register.
pub(super) mod cr {
    pub const BUFE: u8 = 1 << 0;
    pub const TE: u8 = 1 << 2;
    pub const RE: u8 = 1 << 3;
    pub const RST: u8 = 1 << 4;
}

/// Interrupts.
pub(super) mod isr {
    pub const ROK: u16 = 1 << 0;
    pub const TOK: u16 = 1 << 2;
    /// No receive descriptor in C+ mode.
    pub const RDU: u16 = 1 << 4;
    pub const TDU: u16 = 1 << 7;
    pub const SW_INT: u16 = 1 << 8;
}

/// Transmit status.
pub(super) mod tsd {
    pub const SIZE: u32 = 0x1FFF;
    pub const OWN: u32 = 1 << 13;
    pub const TUN: u32 = 1 << 14;
    pub const TOK: u32 = 1 << 15;
    pub const TABT: u32 = 1 << 30;
}

/// Receive configuration.
pub(super) mod rcr {
    pub const AAP: u32 = 1 << 0;
    pub const APM: u32 = 1 << 1;
    pub const AM: u32 = 1 << 2;
    pub const AB: u32 = 1 << 3;
    pub const WRAP: u32 = 1 << 7;
    pub const RBLEN_SHIFT: u32 = 11;
}

/// C+ command register.
pub(super) mod cpcr {
    pub const TX: u16 = 1 << 0;
    pub const RX: u16 = 1 << 1;
    pub const RX_CHECKSUM: u16 = 1 << 5;
    pub const RX_VLAN: u16 = 1 << 6;
}

/// Transmit configuration: the chip's version, 8139C+.
pub(super) const TCR_VERSION: u32 = 0x7480_0000;

/// A register: offset, bytes, value after reset, bits that can be written.
pub(super) struct Register {
    pub offset: u8,
    pub size: u8,
    reset: u32,
    pub writable: u32,
}

const fn row(offset: u8, size: u8, reset: u32, writable: u32) -> Register {
    Register { offset, size, reset, writable }
}

pub(super) const REGISTERS: &[Register] = &[
    row(reg::IDR, 4, 0, !0),
    row(reg::IDR + 4, 2, 0, !0),
    row(reg::MAR, 4, 0, !0),
    row(reg::MAR + 4, 4, 0, !0),
    row(reg::TSD, 4, tsd::OWN, !0),
    row(reg::TSD + 4, 4, tsd::OWN, !0),
    row(reg::TSD + 8, 4, tsd::OWN, !0),
    row(reg::LAST_TSD, 4, tsd::OWN, !0),
    row(reg::TSAD, 4, 0, !0),
    row(reg::TSAD + 4, 4, 0, !0),
    row(reg::TSAD + 8, 4, 0, !0),
    row(reg::TSAD + 12, 4, 0, !0),
    row(reg::RBSTART, 4, 0, !0),
    row(0x34, 2, 0, 0), // ERBCR: early receive byte count
    row(0x36, 1, 0, 0), // ERSR: early receive status
    row(reg::CR, 1, 0, (cr::TE | cr::RE) as u32),
    row(reg::CAPR, 2, 0xFFF0, !0),
    row(reg::CBR, 2, 0, 0),
    row(reg::IMR, 2, 0, 0xE1FF),
    row(reg::ISR, 2, 0, 0),
    row(reg::TCR, 4, TCR_VERSION, 0x0307_07F1),
    row(reg::RCR, 4, 0, 0x0F03_FFFF),
    row(0x48, 4, 0, 0), // TCTR: timer count
    row(0x4C, 4, 0, 0), // MPC: missed packets
    row(reg::CR9346, 1, 0, 0xCE),
    row(reg::CONFIG0, 1, 0, 0),
    row(reg::CONFIG1, 1, 0x0C, 0xF1),
    row(0x54, 4, 0, !0), // TimerInt
    row(reg::MSR, 1, 0x10, 0xC0),
    row(reg::CONFIG3, 1, 0x01, 0xF9),
    row(reg::CONFIG4, 1, 0, 0xFF),
    row(0x5B, 1, 0, 0),      // HLTCLK: halt clock
    row(0x5C, 2, 0, 0xFFFF), // MULINT: multiple interrupt select
    row(0x5E, 1, 0x10, 0),   // RERID: PCI revision
    row(reg::TSAD_STATUS, 2, 0, 0),
    row(reg::BMCR, 2, 0x3100, 0x3300),
    row(reg::BMSR, 2, 0x7809, 0),
    row(reg::ANAR, 2, 0x05E1, 0x2FE0),
    row(reg::ANLPAR, 2, 0x45E1, 0),
    row(0x6A, 2, 0x0001, 0), // ANER: negotiation expansion
    row(0x6C, 2, 0, 0),      // DIS: disconnects
    row(0x6E, 2, 0, 0),      // FCSC: false carriers
    row(0x70, 2, 0, 0xFF),   // NWAYTR: negotiation test
    row(0x72, 2, 0, 0),      // REC: receive errors
    row(0x74, 2, 0x88C0, 0), // CSCR: configuration and status
    row(0x78, 4, 0, !0),     // PHY1_PARM
    row(0x7C, 4, 0, !0),     // TW_PARM
    row(0x80, 1, 0, 0xFF),   // PHY2_PARM
    row(reg::CONFIG5, 1, 0, 0x7F),
    row(reg::TPPOLL, 1, 0, 0),
    row(reg::CPCR, 2, 0, 0x02FF),
    row(reg::RDSAR, 4, 0, !0xFF),
    row(reg::RDSAR + 4, 4, 0, !0),
    row(0xEC, 1, 0, 0x3F), // ETThR: early transmit threshold
];

/// The registers' bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Registers(Vec<u8>);

impl Registers {
    /// As after reset.
    pub(super) fn new() -> Self {
        let mut registers = Registers(vec![0; 256]);
        for row in REGISTERS {
            registers.set(row.offset, row.size, row.reset);
        }
        registers
    }

    /// Whether saved ones are as many.
    pub(super) fn is_whole(&self) -> bool {
        self.0.len() == 256
    }

    /// `size` bytes from `offset` on, within the 256.
    pub(super) fn get(&self, offset: u8, size: u8) -> u32 {
        let mut word = [0; 4];
        let (from, len) = (usize::from(offset), usize::from(size));
        word[..len].copy_from_slice(&self.0[from..from + len]);
        u32::from_le_bytes(word)
    }

    pub(super) fn set(&mut self, offset: u8, size: u8, value: u32) {
        let (from, len) = (usize::from(offset), usize::from(size));
        self.0[from..from + len].copy_from_slice(&value.to_le_bytes()[..len]);
    }

    pub(super) fn byte(&self, offset: u8) -> u8 {
        self.0[usize::from(offset)]
    }

    pub(super) fn word(&self, offset: u8) -> u16 {
        self.get(offset, 2) as u16
    }

    pub(super) fn dword(&self, offset: u8) -> u32 {
        self.get(offset, 4)
    }

    /// A register of two words, the lower first.
    pub(super) fn wide(&self, offset: u8) -> u64 {
        u64::from(self.dword(offset + 4)) << 32 | u64::from(self.dword(offset))
    }
}
