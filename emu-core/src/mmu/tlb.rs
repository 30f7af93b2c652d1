//! The software TLB: direct-mapped tables of tags and host addends.

/// Entries per table.
pub const TLB_ENTRIES: usize = 2048;

/// One translation for data accesses. `linear - tag <= 4096 - size` (unsigned) is true exactly if the access
/// lies in the page, aligned or not.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct TlbEntry {
    /// Linear page if direct reads are allowed, else a tag that nothing matches.
    pub read: u64,
    /// Linear page if direct writes are allowed (permission, dirty bit set, no code in it).
    pub write: u64,
    /// Host address minus linear address.
    pub addend: u64,
    /// Guest-physical page; bit 0: the page is writable and dirty, though perhaps not
    /// directly; bits 1 and 2: it is a piece of a larger page.
    physical: u64,
}

/// Writable, in [`TlbEntry::physical`].
const WRITABLE: u64 = 1;
/// Piece of a page of 2 MiB or 4 MiB, in [`TlbEntry::physical`].
const LARGE: u64 = 2;
/// Piece of a page of 1 GiB.
const HUGE: u64 = 4;

/// Distance of the bits that are mixed into an index, from bit 0.
pub const FOLD: u32 = 23;

/// Index of the entry for `linear`. Two buffers at a distance of the table's reach would collide at every
/// page, so higher bits are mixed in.
#[inline(always)]
pub fn index(linear: u64) -> usize {
    ((linear >> 12) ^ (linear >> FOLD)) as usize & (TLB_ENTRIES - 1)
}

/// Part of every tag that matches nothing: not canonical, and completed so that its index is another entry's.
const NO_TAG: u64 = 0x8000_0000_0000_0000;

impl TlbEntry {
    /// Entry number `at`, matching nothing: a tag whose own index is another.
    const fn invalid(at: usize) -> Self {
        let tag = NO_TAG | ((at as u64 ^ 1) << 12);
        TlbEntry { read: tag, write: tag, addend: 0, physical: 0 }
    }
}

/// What goes into an entry.
pub struct Fill {
    /// Linear address.
    pub linear: u64,
    /// Guest-physical address.
    pub physical: u64,
    /// Host address of the page.
    pub host: *mut u8,
    /// Direct reads.
    pub readable: bool,
    /// May be written.
    pub writable: bool,
    /// May be written directly.
    pub direct_write: bool,
    /// Survives a CR3 write.
    pub global: bool,
    /// log2 of the size of the page it is part of.
    pub page_shift: u32,
}

const WORDS: usize = TLB_ENTRIES / 64;
/// Words of the filter of large pages.
const FILTER: usize = 64;

/// One table, with a record of which entries are filled, so that flushing costs what was used.
pub struct Tlb {
    entries: Box<[TlbEntry; TLB_ENTRIES]>,
    used: [u64; WORDS],
    global: [u64; WORDS],
    /// A filter: a bit for each large page that a piece of may be in the table, by the hash of its 4 MiB or its GiB.
    large: [u64; FILTER],
}

/// An entry that has been taken out of its table.
#[derive(Debug, Clone, Copy)]
pub struct Parked {
    at: u16,
    entry: TlbEntry,
}

impl Parked {
    /// Guest-physical page.
    pub fn page(&self) -> u64 {
        self.entry.physical & !0xFFF
    }

    /// As [`Tlb::protect`].
    pub fn protect(&mut self, page: u64) -> bool {
        let none = TlbEntry::invalid(self.at.into()).write;
        let direct = self.page() == page && self.entry.write != none;
        if direct {
            self.entry.write = none;
        }
        direct
    }
}

/// Word and bit of the filter for the large page of 2^`shift` bytes, or two of them, at `linear`.
fn large_bit(linear: u64, shift: u32) -> (usize, u64) {
    let hash = (linear >> shift).wrapping_add(u64::from(shift) << 56).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    ((hash >> 58) as usize, 1 << (hash >> 52 & 63))
}

impl Tlb {
    /// An empty table.
    pub fn new() -> Self {
        let entries: Vec<_> = (0..TLB_ENTRIES).map(TlbEntry::invalid).collect();
        let entries = entries
            .into_boxed_slice()
            .try_into()
            .unwrap_or_else(|_| unreachable!("the length is TLB_ENTRIES"));
        Tlb { entries, used: [0; WORDS], global: [0; WORDS], large: [0; FILTER] }
    }

    /// Pointer to the first entry; stable for the table's life.
    pub fn first(&mut self) -> *mut TlbEntry {
        self.entries.as_mut_ptr()
    }

    /// The entry where a translation of `linear` would be.
    #[inline(always)]
    pub fn entry(&self, linear: u64) -> &TlbEntry {
        &self.entries[index(linear)]
    }

    /// Guest-physical page of `linear`, if it is known and `write` is allowed.
    #[inline]
    pub fn lookup(&self, linear: u64, write: bool) -> Option<u64> {
        let entry = &self.entries[index(linear)];
        let hit = entry.read == linear & !0xFFF && (!write || entry.physical & WRITABLE != 0);
        hit.then_some(entry.physical & !0xFFF)
    }

    /// Enters a translation.
    pub fn fill(&mut self, fill: &Fill) {
        let at = index(fill.linear);
        let page = fill.linear & !0xFFF;
        let none = TlbEntry::invalid(at);
        let piece = match fill.page_shift {
            12 => 0,
            30 => HUGE,
            _ => LARGE,
        };
        self.entries[at] = TlbEntry {
            read: if fill.readable { page } else { none.read },
            write: if fill.direct_write { page } else { none.write },
            addend: (fill.host as u64).wrapping_sub(page),
            physical: fill.physical & !0xFFF | u64::from(fill.writable) | piece,
        };
        let bit = 1 << (at % 64);
        self.used[at / 64] |= bit;
        if fill.global {
            self.global[at / 64] |= bit;
        } else {
            self.global[at / 64] &= !bit;
        }
        if piece != 0 {
            let (word, bit) = large_bit(fill.linear, if piece == HUGE { 30 } else { 22 });
            self.large[word] |= bit;
        }
    }

    /// Guest-physical pages of the entries filled.
    pub fn pages(&self) -> impl Iterator<Item = u64> + '_ {
        (0..WORDS).filter(|word| self.used[*word] != 0).flat_map(move |word| {
            let filled = (0..64).filter(move |bit| self.used[word] >> bit & 1 != 0);
            filled.map(move |bit| self.entries[word * 64 + bit].physical & !0xFFF)
        })
    }

    /// Forgets everything.
    pub fn flush_all(&mut self) {
        self.global = [0; WORDS];
        self.large = [0; FILTER];
        self.flush_non_global();
    }

    /// Forgets everything not global.
    pub fn flush_non_global(&mut self) {
        for word in 0..WORDS {
            let mut bits = self.used[word] & !self.global[word];
            self.used[word] &= self.global[word];
            while bits != 0 {
                let at = word * 64 + bits.trailing_zeros() as usize;
                self.entries[at] = TlbEntry::invalid(at);
                bits &= bits - 1;
            }
        }
    }

    /// Moves everything not global to the end of `parked`.
    pub fn park(&mut self, parked: &mut Vec<Parked>) {
        for word in 0..WORDS {
            let mut bits = self.used[word] & !self.global[word];
            self.used[word] &= self.global[word];
            while bits != 0 {
                let at = word * 64 + bits.trailing_zeros() as usize;
                let entry = std::mem::replace(&mut self.entries[at], TlbEntry::invalid(at));
                if entry.addend != 0 {
                    parked.push(Parked { at: at as u16, entry });
                }
                bits &= bits - 1;
            }
        }
    }

    /// Puts back what was parked, where no global entry has taken its place.
    pub fn unpark(&mut self, parked: &[Parked]) {
        for &Parked { at, entry } in parked {
            let (at, bit) = (usize::from(at), 1u64 << (at % 64));
            if self.used[at / 64] & bit == 0 {
                self.entries[at] = entry;
                self.used[at / 64] |= bit;
                self.global[at / 64] &= !bit;
            }
        }
    }

    /// Forgets the page at `linear`, all of it if it is larger than 4 KiB.
    pub fn flush_page(&mut self, linear: u64) {
        let (at, bit) = (index(linear), 1 << (index(linear) % 64));
        self.entries[at] = TlbEntry::invalid(at);
        self.used[at / 64] &= !bit;
        let may_be_large = [22, 30].into_iter().any(|shift| {
            let (word, bit) = large_bit(linear, shift);
            self.large[word] & bit != 0
        });
        if may_be_large {
            self.flush_pieces(linear);
        }
    }

    fn flush_pieces(&mut self, linear: u64) {
        for word in 0..WORDS {
            let mut bits = self.used[word];
            while bits != 0 {
                let at = word * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let entry = &self.entries[at];
                let distance = entry.read ^ linear;
                if entry.physical & LARGE != 0 && distance >> 22 == 0
                    || entry.physical & HUGE != 0 && distance >> 30 == 0
                {
                    self.entries[at] = TlbEntry::invalid(at);
                }
            }
        }
    }

    /// The page at `linear`, which a lookup has found writable, may now be written directly.
    pub fn allow_direct_writes(&mut self, linear: u64) {
        self.entries[index(linear)].write = linear & !0xFFF;
    }

    /// Takes away direct write access to guest-physical `page`; returns whether there was any.
    pub fn protect(&mut self, page: u64) -> bool {
        let mut any = false;
        for word in 0..WORDS {
            let mut bits = self.used[word];
            while bits != 0 {
                let at = word * 64 + bits.trailing_zeros() as usize;
                let none = TlbEntry::invalid(at).write;
                let entry = &mut self.entries[at];
                if entry.physical & !0xFFF == page && entry.write != none {
                    entry.write = none;
                    any = true;
                }
                bits &= bits - 1;
            }
        }
        any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_entry_matches_no_address_at_all() {
        for at in [0, 1, 2, 777, TLB_ENTRIES - 1] {
            let tag = TlbEntry::invalid(at).read;
            for linear in (0..4096).map(|d| tag.wrapping_add(d)) {
                assert!(index(linear) != at, "address {linear:#x} finds entry {at} and would match it");
            }
        }
    }

    #[test]
    fn global_entries_survive_what_others_do_not() {
        let mut tlb = Tlb::new();
        let mut fill = Fill {
            linear: 0x5000,
            physical: 0x9000,
            host: std::ptr::null_mut(),
            readable: true,
            writable: true,
            direct_write: true,
            global: true,
            page_shift: 12,
        };
        tlb.fill(&fill);
        fill = Fill { linear: 0x6000, global: false, ..fill };
        tlb.fill(&fill);
        tlb.flush_non_global();
        assert_eq!(tlb.lookup(0x5123, true), Some(0x9000));
        assert_eq!(tlb.lookup(0x6123, false), None);
        assert!(tlb.protect(0x9000) && !tlb.protect(0x9000));
        assert_eq!(tlb.lookup(0x5123, true), Some(0x9000), "still writable, though not directly");
    }
}
