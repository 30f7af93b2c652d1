//! The bus master of a channel: its registers, and the list of places for data.
//! Programming Interface for Bus Master IDE Controller 1.0; PIIX4 datasheet, 5.2.

use emu_core::memory::{Dma, DmaBuffer, MemoryError};
use serde::{Deserialize, Serialize};

/// Ports of one channel.
pub const PORTS: u16 = 8;

/// Offsets.
mod reg {
    pub(super) const COMMAND: u16 = 0;
    pub(super) const STATUS: u16 = 2;
    pub(super) const TABLE: u16 = 4;
    pub(super) const TABLE_END: u16 = 7;
}

/// Command.
mod command {
    pub(super) const START: u8 = 1 << 0;
    pub(super) const TO_MEMORY: u8 = 1 << 3;
}

/// Status.
mod status {
    pub(super) const ACTIVE: u8 = 1 << 0;
    pub(super) const ERROR: u8 = 1 << 1;
    pub(super) const INTERRUPT: u8 = 1 << 2;
    /// Device 0 and device 1 can do DMA: the host notes it here.
    pub(super) const CAPABLE: u8 = 0b11 << 5;
}

const END_OF_TABLE: u32 = 1 << 31;
/// A table is within 64 KiB, and so has at most this many entries.
const MOST_ENTRIES: u64 = 8192;

/// The registers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BusMaster {
    command: u8,
    status: u8,
    table: u32,
}

/// Places for data.
pub struct Places {
    /// They.
    pub buffer: DmaBuffer,
    /// The table ends with the data.
    pub exact: bool,
}

/// Why there are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    /// Not in RAM.
    NotRam,
    /// There is more data than places.
    Short,
}

impl From<MemoryError> for Gap {
    fn from(_: MemoryError) -> Self {
        Gap::NotRam
    }
}

impl BusMaster {
    /// Started, and not at its end.
    pub fn is_active(&self) -> bool {
        self.status & status::ACTIVE != 0
    }

    /// The interrupt wire has risen.
    pub fn interrupted(&mut self) {
        self.status |= status::INTERRUPT;
    }

    /// At the end of its table.
    pub fn finish(&mut self) {
        self.status &= !status::ACTIVE;
    }

    /// Memory did not answer.
    pub fn fail(&mut self) {
        self.finish();
        self.status |= status::ERROR;
    }

    /// The byte at `offset`. `carrying`: memory is being accessed.
    pub fn read(&self, offset: u16, carrying: bool) -> u8 {
        match offset {
            reg::COMMAND => self.command,
            reg::STATUS => self.status | if carrying { status::ACTIVE } else { 0 },
            reg::TABLE..=reg::TABLE_END => self.table.to_le_bytes()[usize::from(offset - reg::TABLE)],
            _ => 0,
        }
    }

    /// Writes a byte.
    pub fn write(&mut self, offset: u16, value: u8) {
        match offset {
            reg::COMMAND => {
                let was_started = self.command & command::START != 0;
                self.command = value & (command::START | command::TO_MEMORY);
                match (was_started, value & command::START != 0) {
                    (false, true) => self.status |= status::ACTIVE,
                    (_, false) => self.finish(),
                    (true, true) => {}
                }
            }
            reg::STATUS => {
                self.status &= !(value & (status::ERROR | status::INTERRUPT));
                self.status = self.status & !status::CAPABLE | value & status::CAPABLE;
            }
            reg::TABLE..=reg::TABLE_END => {
                let mut bytes = self.table.to_le_bytes();
                bytes[usize::from(offset - reg::TABLE)] = value;
                self.table = u32::from_le_bytes(bytes) & !0b11;
            }
            _ => {}
        }
    }

    /// Places for `len` bytes, as the table has them.
    pub fn places(&self, dma: &Dma, len: usize) -> Result<Places, Gap> {
        let (mut places, mut missing) = (Vec::new(), len);
        for number in 0..MOST_ENTRIES {
            let mut bytes = [0; 8];
            dma.read(u64::from(self.table) + 8 * number, &mut bytes)?;
            let (address, word) = bytes.split_at(4);
            let address = u32::from_le_bytes(std::array::from_fn(|n| address[n])) & !1;
            let word = u32::from_le_bytes(std::array::from_fn(|n| word[n]));
            // Zero is 64 KiB.
            let room = match (word & 0xFFFE) as usize {
                0 => 1 << 16,
                room => room,
            };
            let used = room.min(missing);
            missing -= used;
            places.push((u64::from(address), used));
            let last = word & END_OF_TABLE != 0;
            if missing == 0 {
                return Ok(Places { buffer: dma.buffer(places)?, exact: last && used == room });
            }
            if last {
                break;
            }
        }
        Err(Gap::Short)
    }
}
