//! The serial EEPROM: a Microwire chip behind the pins of EECD, and behind EERD. 8254x manual, sections 5 and 13.4.3.

use super::super::{
    MacAddress,
    microwire::{Microwire, Pins, WORDS},
};
use serde::{Deserialize, Serialize};

/// All words together are this.
const SUM: u16 = 0xBABA;

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

/// The chip and the registers before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Eeprom {
    chip: Microwire,
    eecd: u32,
    eerd: u32,
}

impl Eeprom {
    /// A card with `mac`.
    pub(super) fn new(mac: MacAddress) -> Self {
        let mut words = [0xFFFF; WORDS];
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
        Eeprom { chip: Microwire::new(words), eecd: 0, eerd: DONE }
    }

    /// Whether a saved one is as large.
    pub(super) fn is_whole(&self) -> bool {
        self.chip.is_whole()
    }

    /// The pins at rest; the words stay.
    pub(super) fn reset(&mut self) {
        self.write_pins(0);
        self.eerd = DONE;
    }

    /// The address that the card has after reset.
    pub(super) fn mac(&self) -> MacAddress {
        std::array::from_fn(|at| self.chip.word(at as u16 / 2).to_le_bytes()[at % 2])
    }

    /// What EECD reads.
    pub(super) fn read_pins(&self) -> u32 {
        let grant = if self.eecd & eecd::REQ != 0 { eecd::GNT } else { 0 };
        let output = if self.chip.output() { eecd::DO } else { 0 };
        self.eecd | grant | output | eecd::PRES
    }

    /// EECD is written.
    pub(super) fn write_pins(&mut self, value: u32) {
        self.eecd = value & eecd::WRITABLE;
        let level = |pin| value & pin != 0;
        self.chip.drive(Pins { select: level(eecd::CS), clock: level(eecd::SK), input: level(eecd::DI) });
    }

    /// What EERD reads.
    pub(super) fn read_word(&self) -> u32 {
        self.eerd
    }

    /// EERD is written: the word is there at once.
    pub(super) fn address_word(&mut self, value: u32) {
        if value & START != 0 {
            let address = (value >> 8) as u8;
            self.eerd = u32::from(self.chip.word(address.into())) << 16 | u32::from(address) << 8 | DONE;
        }
    }
}
