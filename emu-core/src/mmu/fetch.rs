//! Translations of instruction fetches: a small direct-mapped table apart from those for data.

/// Entries of the table.
const ENTRIES: usize = 512;

/// One translation for fetches.
#[derive(Debug, Clone, Copy)]
pub struct FetchEntry {
    /// Linear page; bit 0: for user mode.
    pub page: u64,
    /// Guest-physical page.
    pub physical: u64,
    /// Global.
    pub global: bool,
    /// Piece of a page larger than 4 KiB.
    pub large: bool,
}

impl FetchEntry {
    /// Matches nothing: fetch tags have bits 11:1 clear.
    const INVALID: Self = FetchEntry { page: 2, physical: 0, global: false, large: false };

    fn is_valid(&self) -> bool {
        self.page != Self::INVALID.page
    }
}

/// See the module.
pub struct FetchTlb {
    entries: Box<[FetchEntry; ENTRIES]>,
    /// Numbers of the entries that are not global, and of some that are no more.
    local: Vec<u16>,
}

impl FetchTlb {
    /// An empty table.
    pub fn new() -> Self {
        FetchTlb { entries: Box::new([FetchEntry::INVALID; ENTRIES]), local: Vec::new() }
    }

    /// The entry where a translation of `linear` would be.
    #[inline(always)]
    pub fn at(&self, linear: u64) -> &FetchEntry {
        &self.entries[index(linear)]
    }

    /// Enters a translation of `linear`.
    pub fn fill(&mut self, entry: FetchEntry) {
        let at = index(entry.page);
        let was_local = self.entries[at].is_valid() && !self.entries[at].global;
        if !entry.global && !was_local {
            self.local.push(at as u16);
        }
        self.entries[at] = entry;
        if self.local.len() > 2 * ENTRIES {
            self.tidy();
        }
    }

    /// Takes from the list what is named twice, or is not local any more.
    #[cold]
    fn tidy(&mut self) {
        let entries = &self.entries;
        self.local.sort_unstable();
        self.local.dedup();
        self.local.retain(|at| entries[usize::from(*at)].is_valid() && !entries[usize::from(*at)].global);
    }

    /// All translations there are.
    pub fn iter(&self) -> impl Iterator<Item = &FetchEntry> {
        self.entries.iter().filter(|entry| entry.is_valid())
    }

    /// Forgets everything.
    pub fn flush_all(&mut self) {
        *self.entries = [FetchEntry::INVALID; ENTRIES];
        self.local.clear();
    }

    /// Takes out everything not global, and gives it to `taker`.
    pub fn take_local(&mut self, mut taker: impl FnMut(FetchEntry)) {
        for at in self.local.drain(..) {
            let entry = &mut self.entries[usize::from(at)];
            if entry.is_valid() && !entry.global {
                taker(std::mem::replace(entry, FetchEntry::INVALID));
            }
        }
    }

    /// Forgets the page at `linear`, all of it if it is larger than 4 KiB.
    pub fn flush_page(&mut self, linear: u64) {
        let same_gib = |entry: &&mut FetchEntry| entry.large && (entry.page ^ linear) >> 30 == 0;
        self.entries.iter_mut().filter(same_gib).for_each(|entry| *entry = FetchEntry::INVALID);
        self.entries[index(linear)] = FetchEntry::INVALID;
    }
}

/// Index of the entry for `linear`.
#[inline(always)]
fn index(linear: u64) -> usize {
    ((linear >> 12) ^ (linear >> 21)) as usize & (ENTRIES - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(page: u64, global: bool, large: bool) -> FetchEntry {
        FetchEntry { page, physical: page + 0x10_0000, global, large }
    }

    #[test]
    fn what_is_not_global_can_be_taken_out() {
        let mut fetch = FetchTlb::new();
        for (page, global) in [(0x1000, false), (0x2000, true), (0x3000, false)] {
            fetch.fill(entry(page, global, false));
        }
        // Two that take the place of one of the other kind.
        fetch.fill(entry(0x1000, true, false));
        fetch.fill(entry(0x2000, false, false));
        let mut taken = Vec::new();
        fetch.take_local(|entry| taken.push(entry.page));
        taken.sort_unstable();
        assert_eq!(taken, [0x2000, 0x3000]);
        assert_eq!(fetch.iter().map(|entry| entry.page).collect::<Vec<_>>(), [0x1000]);
    }

    #[test]
    fn a_large_page_is_forgotten_whole() {
        let mut fetch = FetchTlb::new();
        fetch.fill(entry(0x4000_1000, true, true));
        fetch.fill(entry(0x4000_2000, true, false));
        fetch.flush_page(0x4010_0000);
        assert_eq!(fetch.iter().map(|entry| entry.page).collect::<Vec<_>>(), [0x4000_2000]);
    }
}
