//! Sense data: why a packet failed. SPC-3, 4.5.

use serde::{Deserialize, Serialize};

/// Sense key, additional sense code, and its qualifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sense {
    key: u8,
    asc: u8,
    ascq: u8,
}

/// Sense keys.
mod key {
    pub(super) const NO_SENSE: u8 = 0x0;
    pub(super) const NOT_READY: u8 = 0x2;
    pub(super) const MEDIUM_ERROR: u8 = 0x3;
    pub(super) const ILLEGAL_REQUEST: u8 = 0x5;
    pub(super) const UNIT_ATTENTION: u8 = 0x6;
}

const ABRT: u8 = 1 << 2;
/// Bytes of sense data in the fixed format.
const FIXED: usize = 18;

impl Sense {
    pub(super) const NONE: Sense = Sense::new(key::NO_SENSE, 0x00, 0x00);
    pub(super) const NO_MEDIUM_TRAY_CLOSED: Sense = Sense::new(key::NOT_READY, 0x3A, 0x01);
    pub(super) const NO_MEDIUM_TRAY_OPEN: Sense = Sense::new(key::NOT_READY, 0x3A, 0x02);
    pub(super) const UNRECOVERED_READ_ERROR: Sense = Sense::new(key::MEDIUM_ERROR, 0x11, 0x00);
    pub(super) const INVALID_OPERATION_CODE: Sense = Sense::new(key::ILLEGAL_REQUEST, 0x20, 0x00);
    pub(super) const OUT_OF_RANGE: Sense = Sense::new(key::ILLEGAL_REQUEST, 0x21, 0x00);
    pub(super) const INVALID_FIELD: Sense = Sense::new(key::ILLEGAL_REQUEST, 0x24, 0x00);
    pub(super) const SAVING_NOT_SUPPORTED: Sense = Sense::new(key::ILLEGAL_REQUEST, 0x39, 0x00);
    pub(super) const REMOVAL_PREVENTED: Sense = Sense::new(key::ILLEGAL_REQUEST, 0x53, 0x02);
    pub(super) const MEDIUM_CHANGED: Sense = Sense::new(key::UNIT_ATTENTION, 0x28, 0x00);
    pub(super) const RESET: Sense = Sense::new(key::UNIT_ATTENTION, 0x29, 0x00);

    const fn new(key: u8, asc: u8, ascq: u8) -> Self {
        Sense { key, asc, ascq }
    }

    /// The error register: the key, and abort where the request was wrong.
    pub(super) fn error_register(self) -> u8 {
        self.key << 4 | if self.key == key::ILLEGAL_REQUEST { ABRT } else { 0 }
    }

    /// The answer to REQUEST SENSE.
    pub(super) fn bytes(self) -> Vec<u8> {
        let mut bytes = vec![0; FIXED];
        bytes[0] = 0x70;
        bytes[2] = self.key;
        bytes[7] = (FIXED - 8) as u8;
        (bytes[12], bytes[13]) = (self.asc, self.ascq);
        bytes
    }
}
