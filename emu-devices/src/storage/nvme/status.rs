//! How a command ended: the status field of a completion. NVM Express 1.4, 4.6.1.

use serde::{Deserialize, Serialize};

/// Status code in bits 7:0, its type in bits 10:8, "do not retry" in bit 14: the field without the phase tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Status(u16);

const DO_NOT_RETRY: u16 = 1 << 14;

impl Status {
    /// Nobody but the submitter can do something about it: the same command would fail again.
    const fn refused(code: u16) -> Self {
        Status(code | DO_NOT_RETRY)
    }

    pub(super) const SUCCESS: Self = Status(0);

    // Generic command status.
    pub(super) const INVALID_OPCODE: Self = Self::refused(0x001);
    pub(super) const INVALID_FIELD: Self = Self::refused(0x002);
    pub(super) const DATA_TRANSFER: Self = Self::refused(0x004);
    pub(super) const INTERNAL: Self = Status(0x006);
    pub(super) const ABORT_REQUESTED: Self = Status(0x007);
    pub(super) const INVALID_NAMESPACE: Self = Self::refused(0x00B);
    pub(super) const COMMAND_SEQUENCE: Self = Self::refused(0x00C);
    pub(super) const INVALID_PRP_OFFSET: Self = Self::refused(0x013);
    pub(super) const WRITE_PROTECTED: Self = Self::refused(0x020);
    pub(super) const LBA_RANGE: Self = Self::refused(0x080);

    // Command specific status.
    pub(super) const INVALID_COMPLETION_QUEUE: Self = Self::refused(0x100);
    pub(super) const INVALID_QUEUE: Self = Self::refused(0x101);
    pub(super) const INVALID_QUEUE_SIZE: Self = Self::refused(0x102);
    pub(super) const EVENT_REQUEST_LIMIT: Self = Self::refused(0x105);
    pub(super) const INVALID_VECTOR: Self = Self::refused(0x108);
    pub(super) const INVALID_LOG_PAGE: Self = Self::refused(0x109);
    pub(super) const INVALID_QUEUE_DELETION: Self = Self::refused(0x10C);
    pub(super) const NOT_SAVEABLE: Self = Self::refused(0x10D);
    pub(super) const NOT_NAMESPACE_SPECIFIC: Self = Self::refused(0x10F);

    // Media and data integrity errors.
    pub(super) const WRITE_FAULT: Self = Status(0x280);
    pub(super) const UNRECOVERED_READ: Self = Status(0x281);
    pub(super) const COMPARE_FAILURE: Self = Self::refused(0x285);

    /// The status field with the phase tag in its lowest bit: the last two bytes of a completion.
    pub(super) fn with_phase(self, phase: bool) -> u16 {
        self.0 << 1 | u16::from(phase)
    }

    /// Whether the medium failed, not the command.
    pub(super) fn is_media(self) -> bool {
        self.0 >> 8 & 7 == 2 && self != Self::COMPARE_FAILURE
    }
}
