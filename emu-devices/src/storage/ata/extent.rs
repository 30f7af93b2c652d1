//! Where on the disk a command goes: 28-bit and 48-bit LBA, and cylinder, head and sector. ATA/ATAPI-7, 4.2 and 6.2.

use super::{Taskfile, device, error};
use serde::{Deserialize, Serialize};

/// How a command says where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Addressing {
    /// 28 bits of LBA or CHS, and 8 bits of count.
    Short,
    /// 48 bits of LBA, and 16 bits of count.
    Extended,
    /// The same, with the count in the features.
    Queued,
}

/// Heads and sectors of a track, as the host counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Translation {
    pub(super) heads: u8,
    pub(super) sectors: u8,
}

/// The most cylinders that 16 heads and 63 sectors are given.
const MOST_CYLINDERS: u64 = 16383;

impl Translation {
    /// After power-on.
    pub(super) const DEFAULT: Translation = Translation { heads: 16, sectors: 63 };

    /// Cylinders of a disk of `total` sectors.
    pub(super) fn cylinders(self, total: u64) -> u16 {
        let tracks = u64::from(self.heads.max(1)) * u64::from(self.sectors.max(1));
        (total / tracks).min(MOST_CYLINDERS) as u16
    }

    /// The sector at the address in `taskfile`.
    fn sector(self, taskfile: &Taskfile) -> Option<u64> {
        let [sector, low, high, ..] = taskfile.lba;
        let head = taskfile.device & device::HEAD;
        if sector == 0 || sector > self.sectors || head >= self.heads {
            return None;
        }
        let track = u64::from(u16::from_le_bytes([low, high])) * u64::from(self.heads) + u64::from(head);
        Some(track * u64::from(self.sectors) + u64::from(sector - 1))
    }
}

/// Sectors on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) first: u64,
    pub(super) count: u64,
}

impl Taskfile {
    /// The 48-bit address.
    pub(super) fn lba48(&self) -> u64 {
        let mut bytes = [0; 8];
        bytes[..6].copy_from_slice(&self.lba);
        u64::from_le_bytes(bytes)
    }

    fn lba28(&self) -> u64 {
        let [low, mid, high, ..] = self.lba;
        u64::from(u32::from_le_bytes([low, mid, high, self.device & device::HEAD]))
    }
}

impl Extent {
    /// Where `taskfile` goes on a disk of `total` sectors, or the error bits.
    pub(super) fn of(
        taskfile: &Taskfile,
        addressing: Addressing,
        translation: Translation,
        total: u64,
    ) -> Result<Self, u8> {
        let first = match addressing {
            Addressing::Short if taskfile.device & device::LBA != 0 => taskfile.lba28(),
            Addressing::Short => translation.sector(taskfile).ok_or(error::IDNF)?,
            Addressing::Extended | Addressing::Queued => taskfile.lba48(),
        };
        let (count, most) = match addressing {
            Addressing::Short => (taskfile.count & 0xFF, 1 << 8),
            Addressing::Extended => (taskfile.count, 1 << 16),
            Addressing::Queued => (taskfile.feature, 1 << 16),
        };
        // Zero is as many as the register cannot say.
        let count = if count == 0 { most } else { u64::from(count) };
        let inside = first.checked_add(count).is_some_and(|end| end <= total);
        if inside { Ok(Extent { first, count }) } else { Err(error::IDNF) }
    }
}
