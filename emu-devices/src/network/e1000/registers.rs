//! The registers of the 82540EM by their names in the manual (section 13.4), and which bits of them a driver may write.

use serde::{Deserialize, Serialize};
use std::ops::{Index, IndexMut};

/// Offsets in the memory window.
pub(super) mod reg {
    pub const CTRL: u32 = 0x0000;
    /// The manual has it twice.
    pub const CTRL_DUP: u32 = 0x0004;
    pub const STATUS: u32 = 0x0008;
    pub const EECD: u32 = 0x0010;
    pub const EERD: u32 = 0x0014;
    pub const CTRL_EXT: u32 = 0x0018;
    pub const MDIC: u32 = 0x0020;
    pub const VET: u32 = 0x0038;
    pub const ICR: u32 = 0x00C0;
    pub const ICS: u32 = 0x00C8;
    pub const IMS: u32 = 0x00D0;
    pub const IMC: u32 = 0x00D8;
    pub const RCTL: u32 = 0x0100;
    pub const TCTL: u32 = 0x0400;
    pub const PBA: u32 = 0x1000;
    pub const RDBAL: u32 = 0x2800;
    pub const RDBAH: u32 = 0x2804;
    pub const RDLEN: u32 = 0x2808;
    pub const RDH: u32 = 0x2810;
    pub const RDT: u32 = 0x2818;
    pub const TDBAL: u32 = 0x3800;
    pub const TDBAH: u32 = 0x3804;
    pub const TDLEN: u32 = 0x3808;
    pub const TDH: u32 = 0x3810;
    pub const TDT: u32 = 0x3818;
    /// Statistics: from here to [`LAST_STATISTIC`].
    pub const STATISTICS: u32 = 0x4000;
    pub const PRC64: u32 = 0x405C;
    pub const GPRC: u32 = 0x4074;
    pub const BPRC: u32 = 0x4078;
    pub const MPRC: u32 = 0x407C;
    pub const GPTC: u32 = 0x4080;
    pub const GORCL: u32 = 0x4088;
    pub const GOTCL: u32 = 0x4090;
    pub const TORL: u32 = 0x40C0;
    pub const TOTL: u32 = 0x40C8;
    pub const TPR: u32 = 0x40D0;
    pub const TPT: u32 = 0x40D4;
    pub const PTC64: u32 = 0x40D8;
    pub const MPTC: u32 = 0x40F0;
    pub const BPTC: u32 = 0x40F4;
    pub const TSCTC: u32 = 0x40F8;
    pub const LAST_STATISTIC: u32 = 0x4120;
    pub const RXCSUM: u32 = 0x5000;
    pub const MTA: u32 = 0x5200;
    pub const RAL0: u32 = 0x5400;
    pub const RAH0: u32 = 0x5404;
    pub const VFTA: u32 = 0x5600;
}

/// Device control.
pub(super) mod ctrl {
    pub const FD: u32 = 1 << 0;
    pub const SLU: u32 = 1 << 6;
    pub const SPEED_1000: u32 = 2 << 8;
    pub const RST: u32 = 1 << 26;
    pub const VME: u32 = 1 << 30;
    pub const PHY_RST: u32 = 1 << 31;
}

/// Device status: full duplex, link up, 1000 Mb/s as configured and as sensed.
pub(super) mod status {
    pub const FD: u32 = 1 << 0;
    pub const LU: u32 = 1 << 1;
    pub const SPEED_1000: u32 = 2 << 6;
    pub const ASDV_1000: u32 = 2 << 8;
}

/// Interrupt causes.
pub(super) mod cause {
    pub const TXDW: u32 = 1 << 0;
    pub const TXQE: u32 = 1 << 1;
    pub const LSC: u32 = 1 << 2;
    pub const RXDMT0: u32 = 1 << 4;
    pub const RXT0: u32 = 1 << 7;
    pub const MDAC: u32 = 1 << 9;
    /// Those that there are.
    pub const ALL: u32 = 0x1_FFFF;
}

/// Receive control.
pub(super) mod rctl {
    pub const EN: u32 = 1 << 1;
    pub const UPE: u32 = 1 << 3;
    pub const MPE: u32 = 1 << 4;
    pub const LPE: u32 = 1 << 5;
    pub const RDMTS_SHIFT: u32 = 8;
    pub const MO_SHIFT: u32 = 12;
    pub const BAM: u32 = 1 << 15;
    pub const BSIZE_SHIFT: u32 = 16;
    pub const VFE: u32 = 1 << 18;
    pub const BSEX: u32 = 1 << 25;
    pub const SECRC: u32 = 1 << 26;
}

/// Transmit control.
pub(super) mod tctl {
    pub const EN: u32 = 1 << 1;
}

/// Address valid, in a receive address.
pub(super) const RAH_AV: u32 = 1 << 31;
/// Receive checksum control: which checksums are checked.
pub(super) const RXCSUM_IPOFL: u32 = 1 << 8;
pub(super) const RXCSUM_TUOFL: u32 = 1 << 9;
/// What VET is after reset.
const VLAN: u32 = 0x8100;

/// Registers that keep what is written: first and last offset, and the bits that can be.
const PLAIN: &[(u32, u32, u32)] = &[
    (reg::CTRL, reg::CTRL_DUP, !(ctrl::RST | ctrl::PHY_RST)),
    (reg::CTRL_EXT, reg::CTRL_EXT, !0),
    (0x001C, 0x001C, !0), // FLA
    (0x0028, 0x0030, !0), // FCAL, FCAH, FCT
    (reg::VET, reg::VET, 0xFFFF),
    (0x00C4, 0x00C4, 0xFFFF), // ITR
    (reg::RCTL, reg::RCTL, 0x0FFF_FFFF),
    (0x0170, 0x0170, !0), // FCTTV
    (0x0178, 0x0178, !0), // TXCW
    (reg::TCTL, reg::TCTL, !0),
    (0x0410, 0x0410, !0),     // TIPG
    (0x0458, 0x0458, 0xFFFF), // AIT
    (0x0E00, 0x0E00, !0),     // LEDCTL
    (reg::PBA, reg::PBA, 0xFFFF),
    (0x2160, 0x2168, !0),     // FCRTL, FCRTH
    (0x2410, 0x2430, 0x1FFF), // receive FIFO pointers
    (reg::RDBAL, reg::RDBAL, !0xF),
    (reg::RDBAH, reg::RDBAH, !0),
    (reg::RDLEN, reg::RDLEN, 0xF_FF80),
    (reg::RDH, reg::RDH, 0xFFFF),
    (reg::RDT, reg::RDT, 0xFFFF),
    (0x2820, 0x2820, 0xFFFF), // RDTR
    (0x2828, 0x2828, !0),     // RXDCTL
    (0x282C, 0x282C, 0xFFFF), // RADV
    (0x2C00, 0x2C00, 0xFFF),  // RSRPD
    (0x3000, 0x3000, !0),     // TXDMAC
    (0x3410, 0x3430, 0x1FFF), // transmit FIFO pointers
    (reg::TDBAL, reg::TDBAL, !0xF),
    (reg::TDBAH, reg::TDBAH, !0),
    (reg::TDLEN, reg::TDLEN, 0xF_FF80),
    (reg::TDH, reg::TDH, 0xFFFF),
    (reg::TDT, reg::TDT, 0xFFFF),
    (0x3820, 0x3820, 0xFFFF), // TIDV
    (0x3828, 0x3828, !0),     // TXDCTL
    (0x382C, 0x3830, !0),     // TADV, TSPMT
    (reg::RXCSUM, reg::RXCSUM, 0x7FF),
    (reg::MTA, 0x53FC, !0),
    (reg::RAL0, 0x547C, !0),
    (reg::VFTA, 0x57FC, !0),
    (0x5800, 0x5838, !0), // WUC, WUFC, WUS, MANC, IPAV
    (0x5840, 0x5858, !0), // IP4AT
    (0x5880, 0x588C, !0), // IP6AT
    (0x5900, 0x5900, !0), // WUPL
    (0x5F00, 0x5F18, !0), // FFLT
];

/// Registers that can only be read as plain words.
const READ_ONLY: &[(u32, u32)] =
    &[(reg::STATUS, reg::STATUS), (0x0180, 0x0180), (reg::STATISTICS, reg::LAST_STATISTIC)];

const BYTES: u32 = 0x6000;

/// The registers as words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Registers(Vec<u32>);

impl Registers {
    /// As after reset.
    pub(super) fn new() -> Self {
        let mut registers = Registers(vec![0; BYTES as usize / 4]);
        registers[reg::CTRL] = ctrl::FD | ctrl::SLU | ctrl::SPEED_1000;
        registers[reg::VET] = VLAN;
        // 48 KiB of the buffer receive, 16 send.
        registers[reg::PBA] = 0x0010_0030;
        registers
    }

    /// Whether saved ones are as many.
    pub(super) fn is_whole(&self) -> bool {
        self.0.len() == BYTES as usize / 4
    }

    /// The bits of the register at `offset` that can be written; `None` if it is no plain one.
    pub(super) fn writable(offset: u32) -> Option<u32> {
        let row = PLAIN.iter().find(|(first, last, _)| (*first..=*last).contains(&offset));
        row.map(|(_, _, mask)| *mask)
    }

    /// Whether the register at `offset` can be read as a plain word.
    pub(super) fn is_readable(offset: u32) -> bool {
        let fixed = || READ_ONLY.iter().any(|(first, last)| (*first..=*last).contains(&offset));
        Self::writable(offset).is_some() || fixed()
    }

    /// A register of two words, the lower first.
    pub(super) fn wide(&self, offset: u32) -> u64 {
        u64::from(self[offset + 4]) << 32 | u64::from(self[offset])
    }

    /// Counts `by` more; a statistic stays at its end.
    pub(super) fn count(&mut self, offset: u32, by: u32) {
        self[offset] = self[offset].saturating_add(by);
    }

    /// As [`count`](Self::count), in a register of two words.
    pub(super) fn count_wide(&mut self, offset: u32, by: usize) {
        let sum = self.wide(offset).saturating_add(by as u64);
        self[offset] = sum as u32;
        self[offset + 4] = (sum >> 32) as u32;
    }
}

impl Index<u32> for Registers {
    type Output = u32;
    fn index(&self, offset: u32) -> &u32 {
        &self.0[offset as usize / 4]
    }
}

impl IndexMut<u32> for Registers {
    fn index_mut(&mut self, offset: u32) -> &mut u32 {
        &mut self.0[offset as usize / 4]
    }
}
