//! Physical region pages: where in memory a command's data is. NVM Express 1.4, 4.3.
//!
//! The first entry may begin anywhere in a page. The second is the second page if that is the last one, else the
//! address of a list, whose last entry in a page of memory leads to the next list if there is more.

use super::{command::Command, status::Status};
use emu_core::memory::{Dma, DmaBuffer};

/// Bytes of a list entry.
const ENTRY: u64 = 8;
/// List entries that are read at a time.
const CHUNK: usize = 64;

/// The memory of `command`'s data: `len` bytes, in pages of `page` bytes.
pub(super) fn buffer(dma: &Dma, page: u64, command: &Command, len: usize) -> Result<DmaBuffer, Status> {
    let [first, second] = command.prp();
    if !first.is_multiple_of(4) {
        return Err(Status::INVALID_PRP_OFFSET);
    }
    let head = (page - first % page).min(len as u64) as usize;
    let rest = len - head;
    let found = if rest == 0 {
        dma.buffer([(first, len)])
    } else if rest as u64 <= page {
        dma.buffer([(first, head), (whole_page(second, page)?, rest)])
    } else {
        let mut places = Places { list: Vec::with_capacity(16), last: (first, head) };
        follow_lists(dma, page, second, rest, &mut places)?;
        places.list.push(places.last);
        dma.buffer(places.list)
    };
    found.map_err(|_| Status::DATA_TRANSFER)
}

/// An entry other than the first: no offset into its page.
fn whole_page(entry: u64, page: u64) -> Result<u64, Status> {
    if entry.is_multiple_of(page) { Ok(entry) } else { Err(Status::INVALID_PRP_OFFSET) }
}

/// Places in order; what follows directly upon the last lengthens it.
struct Places {
    list: Vec<(u64, usize)>,
    last: (u64, usize),
}

impl Places {
    fn add(&mut self, address: u64, len: usize) {
        if self.last.0.checked_add(self.last.1 as u64) == Some(address) {
            self.last.1 += len;
        } else {
            self.list.push(std::mem::replace(&mut self.last, (address, len)));
        }
    }
}

/// Adds `left` bytes in the pages that the list at `list` names, and the lists behind it. Each list but the first is a
/// whole page of memory with many entries, so this ends.
fn follow_lists(dma: &Dma, page: u64, list: u64, mut left: usize, places: &mut Places) -> Result<(), Status> {
    if !list.is_multiple_of(ENTRY) {
        return Err(Status::INVALID_PRP_OFFSET);
    }
    let mut at = list;
    while left != 0 {
        let in_list = (page - at % page) / ENTRY;
        let wanted = (left as u64).div_ceil(page);
        let count = in_list.min(wanted).min(CHUNK as u64) as usize;
        let mut bytes = [0; CHUNK * ENTRY as usize];
        let bytes = &mut bytes[..count * ENTRY as usize];
        dma.read(at, bytes).map_err(|_| Status::DATA_TRANSFER)?;
        let mut next = at + bytes.len() as u64;
        for (index, entry) in bytes.as_chunks().0.iter().map(|entry| u64::from_le_bytes(*entry)).enumerate() {
            let entry = whole_page(entry, page)?;
            let is_link = index as u64 + 1 == in_list && left as u64 > page;
            if is_link {
                next = entry;
            } else {
                let len = (left as u64).min(page) as usize;
                places.add(entry, len);
                left -= len;
            }
        }
        at = next;
    }
    Ok(())
}
