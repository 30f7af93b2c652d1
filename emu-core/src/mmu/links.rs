//! How long what is known of where code is stays true: links between pages, and targets by instruction pointer.
//!
//! They carry a *stamp*. There are two current ones: one for pages that are global, one for the others, so that a new
//! page directory (CR3) leaves the kernel's links alone. INVLPG of a page that no code was fetched from changes neither.

/// Words of the filter.
const WORDS: usize = 512;

/// The stamps that are good now, and the pages that code has been fetched from.
pub struct Links {
    local: u32,
    global: u32,
    last: u32,
    /// A filter: a bit for each page, by a hash of its number and size.
    fetched: Box<[u64; WORDS]>,
}

impl Default for Links {
    fn default() -> Self {
        Self::new()
    }
}

impl Links {
    /// Offset of the stamp of pages that are not global.
    pub const LOCAL: usize = std::mem::offset_of!(Links, local);
    /// Offset of the stamp of global pages.
    pub const GLOBAL: usize = std::mem::offset_of!(Links, global);

    /// Nothing is known.
    pub fn new() -> Self {
        Links { local: 1, global: 2, last: 2, fetched: Box::new([0; WORDS]) }
    }

    /// The stamp of what leads to a page that is global, or is not.
    #[inline(always)]
    pub fn stamp(&self, global: bool) -> u32 {
        if global { self.global } else { self.local }
    }

    /// Whether what has that stamp is still good. Zero never is.
    #[inline(always)]
    pub fn is_current(&self, stamp: u32) -> bool {
        stamp == self.global || stamp == self.local
    }

    /// Code is fetched from `linear`, in a page of 2^`shift` bytes.
    pub fn note(&mut self, linear: u64, shift: u32) {
        let (word, bit) = place(linear, shift);
        self.fetched[word] |= bit;
    }

    /// Pages that are not global may be elsewhere.
    pub fn drop_local(&mut self) {
        self.local = self.next();
    }

    /// All pages may be elsewhere. Pages that code was fetched from still count as such: who remembers their
    /// translation does not tell again.
    pub fn drop_all(&mut self) {
        (self.local, self.global) = (self.next(), self.next());
    }

    /// No translation for fetches is remembered any more.
    pub fn forget_fetches(&mut self) {
        *self.fetched = [0; WORDS];
    }

    /// Whether code may have been fetched from the page at `linear`.
    pub fn was_fetched(&self, linear: u64) -> bool {
        [12, 21, 22, 30].into_iter().any(|shift| {
            let (word, bit) = place(linear, shift);
            self.fetched[word] & bit != 0
        })
    }

    fn next(&mut self) -> u32 {
        self.last = self.last.wrapping_add(1).max(1);
        self.last
    }
}

/// Word and bit of the filter.
fn place(linear: u64, shift: u32) -> (usize, u64) {
    let hash = (linear >> shift).wrapping_add(u64::from(shift) << 56).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    ((hash >> 55) as usize % WORDS, 1 << (hash >> 49 & 63))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_page_directory_leaves_links_to_global_pages_alone() {
        let mut links = Links::new();
        let (local, global) = (links.stamp(false), links.stamp(true));
        links.drop_local();
        assert_eq!((links.is_current(local), links.is_current(global)), (false, true));
        links.drop_all();
        assert_eq!(
            (links.is_current(local), links.is_current(global), links.is_current(0)),
            (false, false, false)
        );
    }

    #[test]
    fn pages_of_all_sizes_are_known_to_have_been_fetched_from() {
        let mut links = Links::new();
        links.note(0x7000, 12);
        links.note(0x4000_0000, 21);
        let pages = [0x7FFF, 0x9000, 0x4012_3000, 0x4020_0000];
        assert_eq!(pages.map(|page| links.was_fetched(page)), [true, false, true, false]);
        links.drop_all();
        assert!(links.was_fetched(0x7000), "its translation may still be remembered");
        links.forget_fetches();
        assert!(!links.was_fetched(0x7000));
    }
}
