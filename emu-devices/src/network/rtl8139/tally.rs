//! The tally counters of the C+, which it dumps to memory at the address in DTCCR.

use serde::{Deserialize, Serialize};

/// What has happened to packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tally {
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) sent_errors: u64,
    pub(super) missed: u16,
    pub(super) received_physical: u64,
    pub(super) received_broadcasts: u64,
    pub(super) received_multicasts: u32,
}

impl Tally {
    /// As it is dumped to memory.
    pub(super) fn bytes(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[..8].copy_from_slice(&self.sent.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.received.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.sent_errors.to_le_bytes());
        bytes[28..30].copy_from_slice(&self.missed.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.received_physical.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.received_broadcasts.to_le_bytes());
        bytes[56..60].copy_from_slice(&self.received_multicasts.to_le_bytes());
        bytes
    }
}
