//! A 93C46: 64 words behind three wires, as cards have their address in. Microchip 93C46B data sheet.
//!
//! A driver selects the chip, clocks in a start bit, an opcode and an address, and clocks a word out, highest bit first.
//! Words can be read, and not written.

use serde::{Deserialize, Serialize};

/// Words of the chip.
pub const WORDS: usize = 64;
/// Start bit and opcode of a read, and bits of them and the address.
const READ: u16 = 0b110;
const ADDRESS_BITS: u32 = 6;
const COMMAND_BITS: u32 = 3 + ADDRESS_BITS;

/// The levels that a card drives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pins {
    /// The chip is selected.
    pub select: bool,
    /// Its clock.
    pub clock: bool,
    /// Its data input.
    pub input: bool,
}

/// The chip.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Microwire {
    words: Vec<u16>,
    clock: bool,
    /// Bits that were clocked in since the chip was selected, the last one lowest.
    command: u16,
    /// How many: the command's, then the words'.
    clocks: u32,
}

impl Microwire {
    /// A chip with these words.
    pub fn new(words: [u16; WORDS]) -> Self {
        Microwire { words: words.to_vec(), clock: false, command: 0, clocks: 0 }
    }

    /// Whether a saved one is as large.
    pub fn is_whole(&self) -> bool {
        self.words.len() == WORDS
    }

    /// The word at `address`, of which the chip looks at six bits.
    pub fn word(&self, address: u16) -> u16 {
        self.words[usize::from(address) % WORDS]
    }

    /// The level of the data output. It floats high but while words are clocked out, before which comes a zero.
    pub fn output(&self) -> bool {
        if self.clocks < COMMAND_BITS || self.command >> ADDRESS_BITS != READ {
            return true;
        }
        let Some(bit) = (self.clocks - COMMAND_BITS).checked_sub(1) else { return false };
        // Words behind the addressed one follow without end.
        let word = self.word(self.command.wrapping_add((bit / 16) as u16));
        word >> (15 - bit % 16) & 1 != 0
    }

    /// Pins change.
    pub fn drive(&mut self, pins: Pins) {
        let rising = pins.clock && !self.clock;
        self.clock = pins.clock;
        if !pins.select {
            (self.command, self.clocks) = (0, 0);
        } else if rising && self.clocks >= COMMAND_BITS {
            // After the last word comes the first again.
            self.clocks = COMMAND_BITS + 1 + (self.clocks - COMMAND_BITS) % (16 * WORDS as u32);
        } else if rising && (self.clocks != 0 || pins.input) {
            // Zeroes before the start bit are nothing.
            self.command = self.command << 1 | u16::from(pins.input);
            self.clocks += 1;
        }
    }
}
