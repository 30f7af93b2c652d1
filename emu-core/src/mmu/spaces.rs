//! What is known of address spaces that are not the current one, by PCID. SDM vol. 3, 4.10.1 and 4.10.4.
//!
//! When a guest goes on to another PCID, the translations that are not global are *parked*: taken out of the tables,
//! as many as there are. When it comes back and lets the CPU keep them (bit 63 of what is written to CR3), they are
//! put back, and so is the stamp of the links between its pages. So tables and translated code know nothing of PCIDs.

use super::{
    fetch::FetchEntry,
    tlb::{Parked, Tlb},
};

/// Address spaces that are remembered. Linux uses six PCIDs.
const SPACES: usize = 6;
/// PCID in CR3.
pub const PCID: u64 = 0xFFF;

/// One of them.
#[derive(Default)]
pub struct Space {
    /// CR3.
    pub cr3: u64,
    /// Entries of the tables for data accesses.
    pub data: [Vec<Parked>; 3],
    /// Translations of fetches.
    pub fetches: Vec<FetchEntry>,
    /// Stamp of links into pages that are not global; `None` if they are not good any more.
    pub stamp: Option<u32>,
}

/// See the module.
#[derive(Default)]
pub struct Spaces {
    /// The one left last comes last.
    parked: Vec<Space>,
    /// One that is empty but has room.
    spare: Option<Space>,
}

impl Spaces {
    /// An empty one to be filled.
    pub fn fresh(&mut self) -> Space {
        if let Some(space) = self.spare.take() {
            return space;
        }
        if self.parked.len() < SPACES { Space::default() } else { self.parked.remove(0).emptied() }
    }

    /// Remembers `space`.
    pub fn park(&mut self, space: Space) {
        if self.parked.len() >= SPACES {
            let oldest = self.parked.remove(0);
            self.put_by(oldest);
        }
        self.parked.push(space);
    }

    /// Takes out the space of `cr3`, if it is to be kept. Any other of its PCID is forgotten.
    pub fn take(&mut self, cr3: u64, keep: bool) -> Option<Space> {
        let at = self.parked.iter().position(|space| (space.cr3 ^ cr3) & PCID == 0)?;
        let space = self.parked.remove(at);
        if keep && space.cr3 == cr3 {
            return Some(space);
        }
        self.put_by(space);
        None
    }

    /// Forgets the space with PCID `pcid`.
    pub fn forget(&mut self, pcid: u64) {
        let _ = self.take(pcid, false);
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.parked.clear();
    }

    /// No links are good any more.
    pub fn drop_links(&mut self) {
        self.parked.iter_mut().for_each(|space| space.stamp = None);
    }

    /// As [`Tlb::protect`].
    pub fn protect(&mut self, page: u64) -> bool {
        let entries = self.parked.iter_mut().flat_map(|space| space.data.iter_mut().flatten());
        entries.fold(false, |any, entry| entry.protect(page) | any)
    }

    /// Guest-physical pages of all data entries.
    pub fn pages(&self) -> impl Iterator<Item = u64> + '_ {
        self.parked.iter().flat_map(|space| space.data.iter().flatten().map(Parked::page))
    }

    /// Keeps `space`, which is not needed any more, for its room.
    pub fn put_by(&mut self, space: Space) {
        self.spare = Some(space.emptied());
    }
}

impl Space {
    fn emptied(mut self) -> Self {
        self.data.iter_mut().for_each(Vec::clear);
        self.fetches.clear();
        self
    }

    /// Moves what is not global out of `tables`.
    pub fn fill(&mut self, tables: &mut [Tlb; 3]) {
        for (table, parked) in tables.iter_mut().zip(&mut self.data) {
            table.park(parked);
        }
    }

    /// Moves it back.
    pub fn restore(&self, tables: &mut [Tlb; 3]) {
        for (table, parked) in tables.iter_mut().zip(&self.data) {
            table.unpark(parked);
        }
    }
}
