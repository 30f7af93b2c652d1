//! The receive FIFO, with the errors that travel with each character.

use super::registers::Lsr;
use serde::{Deserialize, Serialize};

/// Characters the FIFO holds.
pub const DEPTH: usize = 16;

/// One received character.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Character {
    pub byte: u8,
    /// PE, FE and BI as in LSR.
    pub errors: u8,
}

/// Sixteen characters, or one when the FIFO is off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fifo {
    ring: [Character; DEPTH],
    first: u8,
    len: u8,
    /// What RBR reads as when nothing is there: the last character.
    last: u8,
}

impl Fifo {
    pub fn new() -> Self {
        Fifo { ring: [Character::default(); DEPTH], first: 0, len: 0, last: 0 }
    }

    /// Whether the indices are within the ring: saved state may say anything.
    pub fn is_sound(&self) -> bool {
        usize::from(self.first) < DEPTH && usize::from(self.len) <= DEPTH
    }

    pub fn len(&self) -> usize {
        self.len.into()
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn is_full(&self) -> bool {
        self.len() == DEPTH
    }

    fn slot(&self, index: u8) -> usize {
        usize::from(self.first + index) % DEPTH
    }

    /// Adds a character; the caller has made sure of room.
    pub fn push(&mut self, character: Character) {
        let slot = self.slot(self.len);
        self.ring[slot] = character;
        self.len = (self.len + 1).min(DEPTH as u8);
    }

    /// Takes the oldest byte, or the last one again.
    pub fn pop(&mut self) -> u8 {
        if self.len > 0 {
            self.last = self.ring[self.slot(0)].byte;
            self.first = self.slot(1) as u8;
            self.len -= 1;
        }
        self.last
    }

    pub fn clear(&mut self) {
        self.first = 0;
        self.len = 0;
    }

    /// Errors of the oldest character.
    pub fn front_errors(&self) -> Lsr {
        if self.is_empty() {
            return Lsr::empty();
        }
        Lsr::from_bits_truncate(self.ring[self.slot(0)].errors)
    }

    /// LSR was read: the oldest character's errors are known.
    pub fn forget_front_errors(&mut self) {
        let slot = self.slot(0);
        self.ring[slot].errors = 0;
    }

    /// Whether any character has an error.
    pub fn has_errors(&self) -> bool {
        (0..self.len).any(|index| self.ring[self.slot(index)].errors != 0)
    }
}
