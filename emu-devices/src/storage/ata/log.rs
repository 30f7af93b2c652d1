//! General purpose logs: the directory, and what became of a queued command. ATA8-ACS, annex A.

use super::Ending;
use serde::{Deserialize, Serialize};

/// The list of logs.
const DIRECTORY: u8 = 0x00;
/// What became of queued commands.
pub(super) const NCQ_ERROR: u8 = 0x10;
const PAGE: usize = 512;
/// The command that failed was not queued.
const NOT_QUEUED: u8 = 1 << 7;

/// A failure that ended all queued commands. Until it is read, further commands fail too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct QueueFailure {
    pub(super) tag: Option<u8>,
    pub(super) ending: Ending,
}

impl QueueFailure {
    /// Page 10h.
    fn page(&self) -> Vec<u8> {
        let mut page = vec![0; PAGE];
        let Ending { status, error, count, lba, device } = self.ending;
        page[0] = self.tag.unwrap_or(NOT_QUEUED);
        (page[2], page[3]) = (status, error);
        page[4..7].copy_from_slice(&lba[..3]);
        page[7] = device;
        page[8..11].copy_from_slice(&lba[3..]);
        page[12..14].copy_from_slice(&count.to_le_bytes());
        page[511] = page.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte));
        page
    }
}

/// `count` pages of a log; `None` if there are none such.
pub(super) fn read(address: u8, page: u16, count: u16, failure: Option<&QueueFailure>) -> Option<Vec<u8>> {
    if page != 0 || count != 1 {
        return None;
    }
    match address {
        DIRECTORY => {
            let mut directory = vec![0; PAGE];
            // Version 1; one page at 10h.
            directory[0] = 1;
            directory[2 * usize::from(NCQ_ERROR)] = 1;
            Some(directory)
        }
        NCQ_ERROR => Some(failure.map_or_else(|| vec![0; PAGE], QueueFailure::page)),
        _ => None,
    }
}
