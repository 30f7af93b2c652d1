//! Permissions by guest-physical page, for who embeds a CPU: what an EPT or a stage-2 table is to a hypervisor.
//!
//! A machine has none: then everything is allowed and nothing looks here. With permissions, what is not
//! allowed is denied to the CPU's accesses (page walks apart), whether there is RAM or not.

use bitflags::bitflags;
use parking_lot::RwLock;
use std::{collections::BTreeMap, ops::Range};

bitflags! {
    /// What a CPU may do with a page.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct PageRights: u8 {
        /// Loads.
        const READ = 1 << 0;
        /// Stores.
        const WRITE = 1 << 1;
        /// Instruction fetches.
        const FETCH = 1 << 2;
    }
}

/// See the module. Addresses that no range covers have no rights at all.
#[derive(Debug, Default)]
pub struct PhysicalRights {
    /// First address of a range: the address behind it, and what is allowed.
    ranges: RwLock<BTreeMap<u64, (u64, PageRights)>>,
}

impl PhysicalRights {
    /// What is allowed at `address`.
    pub fn at(&self, address: u64) -> PageRights {
        let ranges = self.ranges.read();
        let below = ranges.range(..=address).next_back();
        below.filter(|(_, (end, _))| address < *end).map_or(PageRights::empty(), |(_, (_, rights))| *rights)
    }

    /// Gives `range`, whole pages, exactly `rights`. CPUs that have translations of it must flush their TLBs.
    pub fn set(&self, range: Range<u64>, rights: PageRights) {
        let mut ranges = self.ranges.write();
        let before: Vec<_> = ranges.range(..range.end).map(|(start, (end, r))| (*start, *end, *r)).collect();
        for (start, end, old) in before.into_iter().filter(|(_, end, _)| *end > range.start) {
            ranges.remove(&start);
            if start < range.start {
                ranges.insert(start, (range.start, old));
            }
            if end > range.end {
                ranges.insert(range.end, (end, old));
            }
        }
        if !rights.is_empty() {
            ranges.insert(range.start, (range.end, rights));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_cuts_what_it_overlaps() {
        let rights = PhysicalRights::default();
        rights.set(0x1000..0x5000, PageRights::all());
        rights.set(0x2000..0x3000, PageRights::READ);
        rights.set(0x4000..0x9000, PageRights::empty());
        let at = |address| rights.at(address).bits();
        assert_eq!([at(0xFFF), at(0x1FFF), at(0x2000), at(0x3000), at(0x4000)], [0, 7, 1, 7, 0]);
    }
}
