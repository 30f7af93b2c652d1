//! A submission queue entry. NVM Express 1.4, 4.2; opcodes: figures 138 and 346.

use super::status::Status;
use serde::{Deserialize, Serialize};

/// Bytes of a submission queue entry.
pub(super) const COMMAND_LEN: usize = 64;
/// Addresses all namespaces.
pub(super) const ALL_NAMESPACES: u32 = u32::MAX;

/// Admin command opcodes.
pub(super) mod admin {
    pub const DELETE_IO_SQ: u8 = 0x00;
    pub const CREATE_IO_SQ: u8 = 0x01;
    pub const GET_LOG_PAGE: u8 = 0x02;
    pub const DELETE_IO_CQ: u8 = 0x04;
    pub const CREATE_IO_CQ: u8 = 0x05;
    pub const IDENTIFY: u8 = 0x06;
    pub const ABORT: u8 = 0x08;
    pub const SET_FEATURES: u8 = 0x09;
    pub const GET_FEATURES: u8 = 0x0A;
    pub const ASYNC_EVENT_REQUEST: u8 = 0x0C;
}

/// NVM command opcodes.
pub(super) mod nvm {
    pub const FLUSH: u8 = 0x00;
    pub const WRITE: u8 = 0x01;
    pub const READ: u8 = 0x02;
    pub const COMPARE: u8 = 0x05;
    pub const WRITE_ZEROES: u8 = 0x08;
    pub const DATASET_MANAGEMENT: u8 = 0x09;
}

/// One command, as 32-bit words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Command([u32; COMMAND_LEN / 4]);

impl Command {
    /// For what the controller asks for on its own.
    pub(super) const NONE: Self = Command([0; COMMAND_LEN / 4]);

    /// From the bytes in the queue; panics if there are not [`COMMAND_LEN`] of them.
    pub(super) fn new(bytes: &[u8]) -> Self {
        let word = |n: usize| u32::from_le_bytes([bytes[n], bytes[n + 1], bytes[n + 2], bytes[n + 3]]);
        Command(std::array::from_fn(|index| word(4 * index)))
    }

    pub(super) fn opcode(&self) -> u8 {
        self.0[0] as u8
    }

    /// Command identifier: with the submission queue's, what the host knows it by.
    pub(super) fn id(&self) -> u16 {
        (self.0[0] >> 16) as u16
    }

    pub(super) fn namespace(&self) -> u32 {
        self.0[1]
    }

    /// Command dword `number`.
    pub(super) fn dword(&self, number: usize) -> u32 {
        self.0[number]
    }

    /// The two physical region page entries.
    pub(super) fn prp(&self) -> [u64; 2] {
        [self.qword(6), self.qword(8)]
    }

    /// First logical block of commands that have one.
    pub(super) fn first_block(&self) -> u64 {
        self.qword(10)
    }

    /// Logical blocks of commands that have such a number.
    pub(super) fn blocks(&self) -> u64 {
        u64::from(self.0[12] & 0xFFFF) + 1
    }

    fn qword(&self, at: usize) -> u64 {
        u64::from(self.0[at + 1]) << 32 | u64::from(self.0[at])
    }

    /// Fused operations and scatter-gather lists are not supported.
    pub(super) fn check_format(&self) -> Result<(), Status> {
        const FUSED_OR_SGL: u32 = 0b11 << 8 | 0b11 << 14;
        if self.0[0] & FUSED_OR_SGL == 0 { Ok(()) } else { Err(Status::INVALID_FIELD) }
    }
}
