//! The serial EEPROM: 64 words behind the Microwire pins of EECD, and behind EERD. 8254x manual, sections 5 and 13.4.3.
//!
//! A driver selects the chip, clocks in a start bit, an opcode and an address, and clocks a word out, highest bit first.
//! Words can be read, and not written.

use super::super::MacAddress;
use serde::{Deserialize, Serialize};

pub(super) const WORDS: usize = 64;
/// All words together are this.
const SUM: u16 = 0xBABA;
/// Start bit and opcode of a read, and bits of them and the address.
const READ: u16 = 0b110;
const ADDRESS_BITS: u32 = 6;
const COMMAND_BITS: u32 = 3 + ADDRESS_BITS;

/// Bits of EECD.
mod eecd {
    pub(super) const SK: u32 = 1 << 0;
    pub(super) const CS: u32 = 1 << 1;
    pub(super) const DI: u32 = 1 << 2;
    pub(super) const DO: u32 = 1 << 3;
    pub(super) const REQ: u32 = 1 << 6;
    pub(super) const GNT: u32 = 1 << 7;
    pub(super) const PRES: u32 = 1 << 8;
    /// The pins that software drives, and the flash's write enable.
    pub(super) const WRITABLE: u32 = SK | CS | DI | 0x30 | REQ;
}

/// Bits of EERD.
const START: u32 = 1 << 0;
const DONE: u32 = 1 << 4;

/// The chip and its pins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Eeprom {
    words: Vec<u16>,
    pins: u32,
    /// Bits that were clocked in since the chip was selected, the last one lowest.
    command: u16,
    /// How many: the command's, then the word's.
    clocks: u32,
    eerd: u32,
}

impl Eeprom {
    /// A card with `mac`.
    pub(super) fn new(mac: MacAddress) -> Self {
        let mut words = vec![0xFFFF; WORDS];
        for (word, pair) in words.iter_mut().zip(mac.chunks(2)) {
            *word = u16::from_le_bytes([pair[0], pair[1]]);
        }
        words[3] = 0; // compatibility: nothing special
        words[5..8].fill(0); // OEM
        (words[8], words[9]) = (0x3000, 0x1000); // printed board assembly
        words[10] = 0x6403; // initialization control 1: device and subsystem IDs are from here
        (words[11], words[12]) = (super::SUBSYSTEM.1, super::SUBSYSTEM.0);
        (words[13], words[14]) = (super::DEVICE, super::VENDOR);
        words[15] = 0x3040; // initialization control 2
        let sum = words[..WORDS - 1].iter().fold(0_u16, |sum, word| sum.wrapping_add(*word));
        words[WORDS - 1] = SUM.wrapping_sub(sum);
        Eeprom { words, pins: 0, command: 0, clocks: 0, eerd: DONE }
    }

    /// Whether a saved one is as large.
    pub(super) fn is_whole(&self) -> bool {
        self.words.len() == WORDS
    }

    /// The pins at rest; the words stay.
    pub(super) fn reset(&mut self) {
        (self.pins, self.command, self.clocks, self.eerd) = (0, 0, 0, DONE);
    }

    /// The address that the card has after reset.
    pub(super) fn mac(&self) -> MacAddress {
        std::array::from_fn(|at| self.words[at / 2].to_le_bytes()[at % 2])
    }

    fn word(&self, address: u16) -> u16 {
        self.words[usize::from(address) % WORDS]
    }

    /// What EECD reads.
    pub(super) fn read_pins(&self) -> u32 {
        let grant = if self.pins & eecd::REQ != 0 { eecd::GNT } else { 0 };
        let output = if self.output() { eecd::DO } else { 0 };
        self.pins | grant | output | eecd::PRES
    }

    /// The level of the data output. It floats high but while a word is clocked out, before which comes a zero.
    fn output(&self) -> bool {
        if self.clocks < COMMAND_BITS || self.command >> ADDRESS_BITS != READ {
            return true;
        }
        let bit = self.clocks - COMMAND_BITS;
        // Words behind the addressed one follow without end.
        let word = self.word(self.command.wrapping_add((bit.saturating_sub(1) / 16) as u16));
        bit != 0 && word >> (15 - (bit - 1) % 16) & 1 != 0
    }

    /// EECD is written.
    pub(super) fn write_pins(&mut self, value: u32) {
        let value = value & eecd::WRITABLE;
        let rising = value & !self.pins & eecd::SK != 0;
        self.pins = value;
        if value & eecd::CS == 0 {
            (self.command, self.clocks) = (0, 0);
            return;
        }
        if !rising {
            return;
        }
        let bit = u16::from(value & eecd::DI != 0);
        if self.clocks >= COMMAND_BITS {
            self.clocks = (self.clocks - COMMAND_BITS + 1) % (16 * WORDS as u32 + 1) + COMMAND_BITS;
        } else if self.clocks != 0 || bit != 0 {
            // Zeroes before the start bit are nothing.
            self.command = self.command << 1 | bit;
            self.clocks += 1;
        }
    }

    /// What EERD reads.
    pub(super) fn read_word(&self) -> u32 {
        self.eerd
    }

    /// EERD is written: the word is there at once.
    pub(super) fn address_word(&mut self, value: u32) {
        if value & START != 0 {
            let address = (value >> 8) as u8;
            self.eerd = u32::from(self.word(address.into())) << 16 | u32::from(address) << 8 | DONE;
        }
    }
}
