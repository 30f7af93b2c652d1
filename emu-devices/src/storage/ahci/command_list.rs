//! The command list in memory: headers, command tables and their lists of places for data. AHCI 1.3.1, 4.2.2 and 4.2.3.

use super::fis::COMMAND_LEN;
use emu_core::memory::{Dma, DmaBuffer, MemoryError};

/// Bytes of a command header.
const HEADER: u64 = 32;
/// Where PRDBC is in a header.
const PRDBC: u64 = 4;
/// Offsets in a command table.
const ATAPI_COMMAND: u64 = 0x40;
const PRDT: u64 = 0x80;
/// Bytes of an entry of the PRDT.
const ENTRY: u64 = 16;
const BYTE_COUNT: u32 = 0x003F_FFFF;
const INTERRUPT: u32 = 1 << 31;

/// Why there is no buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    /// It leads out of RAM.
    NotRam,
    /// There is less room than data.
    Short,
}

impl From<MemoryError> for Gap {
    fn from(_: MemoryError) -> Self {
        Gap::NotRam
    }
}

/// A command header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandHeader {
    address: u64,
    flags: u32,
    table: u64,
}

/// Places for data.
pub struct Places {
    /// They.
    pub buffer: DmaBuffer,
    /// An interrupt is asked for when one of them is full.
    pub interrupt: bool,
}

impl CommandHeader {
    /// Reads header `slot` of the list at `list`.
    pub fn read(dma: &Dma, list: u64, slot: u8) -> Result<Self, MemoryError> {
        let address = list + HEADER * u64::from(slot);
        let mut bytes = [0; 16];
        dma.read(address, &mut bytes)?;
        let words: [u32; 4] =
            std::array::from_fn(|n| u32::from_le_bytes(std::array::from_fn(|byte| bytes[4 * n + byte])));
        let table = u64::from(words[3]) << 32 | u64::from(words[2] & !0x7F);
        Ok(CommandHeader { address, flags: words[0], table })
    }

    /// There is a packet.
    pub fn has_packet(self) -> bool {
        self.flags & 1 << 5 != 0
    }

    /// The port is not busy once the FIS has been sent.
    pub fn clears_busy(self) -> bool {
        self.flags & 1 << 10 != 0
    }

    fn entries(self) -> u64 {
        u64::from(self.flags >> 16)
    }

    /// The command FIS.
    pub fn command_fis(self, dma: &Dma) -> Result<[u8; COMMAND_LEN], MemoryError> {
        let mut bytes = [0; COMMAND_LEN];
        // In double words, at most sixteen.
        let len = (4 * (self.flags & 0x1F) as usize).min(COMMAND_LEN);
        dma.read(self.table, &mut bytes[..len])?;
        Ok(bytes)
    }

    /// The packet.
    pub fn packet(self, dma: &Dma) -> Result<[u8; 12], MemoryError> {
        let mut bytes = [0; 12];
        dma.read(self.table.wrapping_add(ATAPI_COMMAND), &mut bytes)?;
        Ok(bytes)
    }

    /// Places for `len` bytes.
    pub fn places(self, dma: &Dma, len: usize) -> Result<Places, Gap> {
        let (mut places, mut missing, mut interrupt) = (Vec::new(), len, false);
        for number in 0..self.entries() {
            if missing == 0 {
                break;
            }
            let mut bytes = [0; ENTRY as usize];
            dma.read(self.table.wrapping_add(PRDT + ENTRY * number), &mut bytes)?;
            let (address, count) = bytes.split_at(12);
            let address = u64::from_le_bytes(std::array::from_fn(|n| address[n])) & !1;
            let count = u32::from_le_bytes(std::array::from_fn(|n| count[n]));
            // One less than the bytes, which are even.
            let room = (count & BYTE_COUNT | 1) as usize + 1;
            let used = room.min(missing);
            missing -= used;
            interrupt |= count & INTERRUPT != 0;
            places.push((address, used));
        }
        if missing != 0 {
            return Err(Gap::Short);
        }
        Ok(Places { buffer: dma.buffer(places)?, interrupt })
    }

    /// Notes how many bytes have been carried.
    pub fn set_carried(self, dma: &Dma, bytes: u32) -> Result<(), MemoryError> {
        dma.write(self.address + PRDBC, &bytes.to_le_bytes())
    }
}
