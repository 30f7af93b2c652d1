//! An entry of the redirection table. 82093AA datasheet, 3.2.4.

use super::super::{DeliveryMode, Destination, Message};
use serde::{Deserialize, Serialize};

const REMOTE_IRR: u64 = 1 << 14;
const LEVEL: u64 = 1 << 15;
const MASKED: u64 = 1 << 16;
const LOGICAL: u64 = 1 << 11;
/// All but remote IRR, delivery status and the reserved bits.
const WRITABLE: u64 = 0xFF00_0000_0001_AFFF;

/// One 64-bit entry: what an interrupt at its pin becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry(u64);

impl Entry {
    /// Masked, all else zero.
    pub(super) const AT_RESET: Entry = Entry(MASKED);

    /// The low or high 32 bits.
    pub(super) fn half(self, high: bool) -> u32 {
        (if high { self.0 >> 32 } else { self.0 }) as u32
    }

    pub(super) fn set_half(&mut self, high: bool, value: u32) {
        let (half, shift) = if high { (0xFFFF_FFFF << 32, 32) } else { (0xFFFF_FFFF, 0) };
        let writable = WRITABLE & half;
        self.0 = self.0 & !writable | u64::from(value) << shift & writable;
        if self.0 & LEVEL == 0 {
            // Making an entry an edge forgets the remote IRR; systems without the EOI register depend on it.
            self.0 &= !REMOTE_IRR;
        }
    }

    /// The message that an interrupt becomes now; `None` while masked, and for a reserved delivery mode.
    pub(super) fn message(self) -> Option<Message> {
        let mode = DeliveryMode::from_bits((self.0 >> 8) as u32)?;
        if self.0 & MASKED != 0 || mode == DeliveryMode::StartUp {
            return None;
        }
        Some(Message {
            destination: Destination::from_byte((self.0 >> 56) as u8, self.0 & LOGICAL != 0),
            mode,
            vector: self.0 as u8,
            // SMI, NMI, INIT and ExtINT are edges whatever the entry says.
            level: self.0 & LEVEL != 0 && mode.has_vector(),
        })
    }

    pub(super) fn remote_irr(self) -> bool {
        self.0 & REMOTE_IRR != 0
    }

    pub(super) fn set_remote_irr(&mut self, set: bool) {
        self.0 = if set { self.0 | REMOTE_IRR } else { self.0 & !REMOTE_IRR };
    }

    /// Whether an EOI of `vector` is for this entry.
    pub(super) fn ends_with(self, vector: u8) -> bool {
        self.remote_irr() && self.0 as u8 == vector
    }
}
