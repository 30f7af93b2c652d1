//! Page tables that a KVM walks for user code: 4 levels, SDM vol. 3, 4.5, for several address spaces of one vCPU.
//!
//! KVM remembers what it has read from them, and nothing that we write to them makes it forget (ADR 0016). What it does
//! see is an entry that was not present, or allowed less. So a table that KVM may have read only ever gains. To take
//! something away, the tables on the way to it are copied, with a new root: what was not copied is shared, and KVM's
//! memory of it stays. Tables are not used again until [`clear`](Tables::clear), for which the memory slot they are in
//! has to be made anew.

use std::{
    io,
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

/// Bytes of a table, and of a small page.
const PAGE: usize = 4096;
/// log2 of the sizes of pages that a table of the two lowest levels leads to.
pub const SMALL: u32 = 12;
pub const LARGE: u32 = 21;
/// log2 of what an entry of the root covers.
const TOP: u32 = 39;
/// The user's half.
pub const END: u64 = 1 << 47;

/// Bits of entries.
mod entry {
    pub const P: u64 = 1 << 0;
    pub const RW: u64 = 1 << 1;
    pub const US: u64 = 1 << 2;
    pub const A: u64 = 1 << 5;
    pub const D: u64 = 1 << 6;
    pub const PS: u64 = 1 << 7;
    pub const XD: u64 = 1 << 63;
    pub const ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;
    /// Of a table.
    pub const TABLE: u64 = P | RW | US | A;
}

/// A mapping: a page of 2^`shift` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping {
    /// Guest-physical address.
    pub physical: u64,
    /// [`SMALL`] or [`LARGE`].
    pub shift: u32,
    /// It can be written.
    pub writable: bool,
    /// It can be executed.
    pub executable: bool,
}

impl Mapping {
    fn entry(&self) -> u64 {
        let flag = |set: bool, bit: u64| if set { bit } else { 0 };
        self.physical
            | entry::P
            | entry::US
            | entry::A
            | entry::D
            | flag(self.writable, entry::RW)
            | flag(!self.executable, entry::XD)
            | flag(self.shift == LARGE, entry::PS)
    }

    fn of(value: u64, shift: u32) -> Option<Self> {
        (value & entry::P != 0).then_some(Mapping {
            physical: value & entry::ADDRESS & !((1 << shift) - 1),
            shift,
            writable: value & entry::RW != 0,
            executable: value & entry::XD == 0,
        })
    }
}

/// There is no room for another table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// An address space of the guest's.
struct Space {
    cr3: u64,
    root: usize,
}

/// See the module.
pub struct Tables {
    memory: Pages,
    /// Guest-physical address of the first table.
    base: u64,
    /// Tables in use.
    used: usize,
    /// Tables that KVM may have read.
    sealed: usize,
    /// The one used last comes last.
    spaces: Vec<Space>,
}

/// Address spaces that are remembered.
const SPACES: usize = 8;

impl Tables {
    /// None, with room for `bytes` of them at guest-physical `base`.
    pub fn new(base: u64, bytes: usize) -> io::Result<Self> {
        Ok(Tables { memory: Pages::new(bytes)?, base, used: 0, sealed: 0, spaces: Vec::new() })
    }

    /// Where they are: guest-physical address, host address, length in bytes.
    pub fn place(&self) -> (u64, *mut u8, usize) {
        (self.base, self.memory.start.as_ptr().cast(), self.memory.len)
    }

    /// Forgets everything. KVM must have forgotten it before it runs again.
    pub fn clear(&mut self) {
        (self.used, self.sealed) = (0, 0);
        self.spaces.clear();
    }

    /// KVM is about to run with these.
    pub fn seal(&mut self) {
        self.sealed = self.used;
    }

    /// Guest-physical address of the root for the guest's `cr3`, which is made if need be.
    pub fn root(&mut self, cr3: u64) -> Result<u64, Full> {
        let known = self.spaces.iter().position(|space| space.cr3 == cr3);
        let space = match known {
            Some(at) => self.spaces.remove(at),
            None => Space { cr3, root: self.fresh()? },
        };
        let root = self.base + (space.root * PAGE) as u64;
        if self.spaces.len() == SPACES {
            self.spaces.remove(0);
        }
        self.spaces.push(space);
        Ok(root)
    }

    /// Forgets the address spaces with this PCID.
    pub fn forget_spaces(&mut self, pcid: u64) {
        self.spaces.retain(|space| (space.cr3 ^ pcid) & 0xFFF != 0);
    }

    /// Forgets all address spaces.
    pub fn forget_all(&mut self) {
        self.spaces.clear();
    }

    /// Forgets the page at `linear` in the address spaces with this PCID.
    pub fn forget_page(&mut self, pcid: u64, linear: u64) -> Result<(), Full> {
        for at in 0..self.spaces.len() {
            if (self.spaces[at].cr3 ^ pcid) & 0xFFF == 0 {
                self.withdraw(at, linear)?;
            }
        }
        Ok(())
    }

    /// Forgets every mapping of which `is_bad`.
    pub fn forget_where(&mut self, is_bad: impl Fn(&Mapping) -> bool) -> Result<(), Full> {
        for at in 0..self.spaces.len() {
            let mut bad = Vec::new();
            self.each(self.spaces[at].root, TOP, 0, &mut |linear, mapping| {
                if is_bad(mapping) {
                    bad.push(linear);
                }
            });
            for linear in bad {
                self.withdraw(at, linear)?;
            }
        }
        Ok(())
    }

    /// What is mapped at `linear` for `cr3`, which has a root.
    pub fn at(&self, cr3: u64, linear: u64) -> Option<Mapping> {
        let mut table = self.root_of(cr3)?;
        let mut shift = TOP;
        loop {
            let value = self.entry(table, index(linear, shift)).load(Ordering::Relaxed);
            if shift == SMALL || value & entry::PS != 0 {
                return Mapping::of(value, shift);
            }
            table = self.child(value)?;
            shift -= 9;
        }
    }

    /// Adds a mapping to the address space of `cr3`, which has a root; where there is one already it may only gain.
    pub fn map(&mut self, cr3: u64, linear: u64, mapping: &Mapping) -> Result<(), Full> {
        let Some(mut table) = self.root_of(cr3) else { return Ok(()) };
        let mut shift = TOP;
        while shift > mapping.shift {
            let place = index(linear, shift);
            let value = self.entry(table, place).load(Ordering::Relaxed);
            if value & entry::PS != 0 {
                // A large page is there: it allows as much, or will be withdrawn.
                return Ok(());
            }
            table = match self.child(value) {
                Some(child) => child,
                None => {
                    let child = self.fresh()?;
                    self.entry(table, place).store(self.address(child) | entry::TABLE, Ordering::Release);
                    child
                }
            };
            shift -= 9;
        }
        let place = self.entry(table, index(linear, shift));
        let old = place.load(Ordering::Relaxed);
        if shift == LARGE && old & entry::P != 0 && old & entry::PS == 0 {
            // Small pages are there.
            return Ok(());
        }
        place.store(mapping.entry(), Ordering::Release);
        Ok(())
    }

    /// Takes the mapping of `linear` away from a space, if there is one.
    fn withdraw(&mut self, space: usize, linear: u64) -> Result<(), Full> {
        if linear >= END || self.at(self.spaces[space].cr3, linear).is_none() {
            return Ok(());
        }
        let root = self.unsealed(self.spaces[space].root)?;
        self.spaces[space].root = root;
        let (mut table, mut shift) = (root, TOP);
        loop {
            let place = index(linear, shift);
            let value = self.entry(table, place).load(Ordering::Relaxed);
            if shift == SMALL || value & entry::PS != 0 {
                self.entry(table, place).store(0, Ordering::Release);
                return Ok(());
            }
            let Some(child) = self.child(value) else { return Ok(()) };
            let own = self.unsealed(child)?;
            self.entry(table, place).store(self.address(own) | entry::TABLE, Ordering::Release);
            (table, shift) = (own, shift - 9);
        }
    }

    /// `table`, or a copy of it if KVM may have read it.
    fn unsealed(&mut self, table: usize) -> Result<usize, Full> {
        if table >= self.sealed {
            return Ok(table);
        }
        let copy = self.fresh()?;
        for place in 0..512 {
            let value = self.entry(table, place).load(Ordering::Relaxed);
            self.entry(copy, place).store(value, Ordering::Relaxed);
        }
        Ok(copy)
    }

    fn each(&self, table: usize, shift: u32, linear: u64, see: &mut impl FnMut(u64, &Mapping)) {
        for place in 0..512 {
            let value = self.entry(table, place).load(Ordering::Relaxed);
            let linear = linear | (place as u64) << shift;
            if value & entry::P == 0 {
                continue;
            }
            if shift == SMALL || value & entry::PS != 0 {
                Mapping::of(value, shift).iter().for_each(|mapping| see(linear, mapping));
            } else if let Some(child) = self.child(value) {
                self.each(child, shift - 9, linear, see);
            }
        }
    }

    fn root_of(&self, cr3: u64) -> Option<usize> {
        self.spaces.iter().find(|space| space.cr3 == cr3).map(|space| space.root)
    }

    /// An empty table.
    fn fresh(&mut self) -> Result<usize, Full> {
        let table = self.used;
        if (table + 1) * PAGE > self.memory.len {
            return Err(Full);
        }
        self.used += 1;
        (0..512).for_each(|place| self.entry(table, place).store(0, Ordering::Relaxed));
        Ok(table)
    }

    fn address(&self, table: usize) -> u64 {
        self.base + (table * PAGE) as u64
    }

    /// The table that an entry leads to.
    fn child(&self, value: u64) -> Option<usize> {
        (value & entry::P != 0).then(|| ((value & entry::ADDRESS) - self.base) as usize / PAGE)
    }

    fn entry(&self, table: usize, place: usize) -> &AtomicU64 {
        self.memory.word(table * 512 + place)
    }
}

/// Number of the entry for `linear` in a table whose entries cover 2^`shift` bytes.
fn index(linear: u64, shift: u32) -> usize {
    (linear >> shift) as usize & 511
}

/// Memory of whole pages, zeroed at first, that is read by KVM while it is written.
struct Pages {
    start: NonNull<AtomicU64>,
    len: usize,
}

// SAFETY: it is memory of the process, all access to which is atomic.
unsafe impl Send for Pages {}

impl Pages {
    fn new(len: usize) -> io::Result<Self> {
        // SAFETY: a new mapping, where the host likes.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Pages { start, len })
    }

    fn word(&self, number: usize) -> &AtomicU64 {
        assert!(number < self.len / size_of::<u64>(), "table beyond its memory");
        // SAFETY: within the mapping, aligned, and all access is atomic.
        unsafe { self.start.add(number).as_ref() }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no reference into it outlives `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u64 = 1 << 38;

    fn page(physical: u64) -> Mapping {
        Mapping { physical, shift: SMALL, writable: true, executable: false }
    }

    fn tables() -> Tables {
        let mut tables = Tables::new(BASE, 1 << 20).unwrap();
        tables.root(0x1000).unwrap();
        tables
    }

    #[test]
    fn what_is_mapped_is_found_in_its_space_only() {
        let mut tables = tables();
        let large = Mapping { physical: 0x40_0000, shift: LARGE, ..page(0) };
        tables.map(0x1000, 0x7FFF_1234_5000, &page(0x9000)).unwrap();
        tables.map(0x1000, 0x20_0000, &large).unwrap();
        tables.root(0x2000).unwrap();
        assert_eq!(tables.at(0x1000, 0x7FFF_1234_5678), Some(page(0x9000)));
        assert_eq!(tables.at(0x1000, 0x3F_FFFF), Some(large));
        assert_eq!(tables.at(0x1000, 0x40_0000), None);
        assert_eq!(tables.at(0x2000, 0x7FFF_1234_5000), None);
    }

    /// What KVM may have read is never taken away from: the old root still leads to what it led to.
    #[test]
    fn withdrawing_leaves_what_was_sealed_as_it_was() {
        let mut tables = tables();
        for n in 0..3 {
            tables.map(0x1000, n << 12, &page(0x10_0000 + (n << 12))).unwrap();
        }
        let old = tables.root(0x1000).unwrap();
        tables.seal();
        let before: Vec<u64> =
            (0..tables.used * 512).map(|n| tables.memory.word(n).load(Ordering::Relaxed)).collect();
        tables.forget_page(0, 0x1000).unwrap();
        assert_ne!(tables.root(0x1000).unwrap(), old);
        for (n, value) in before.iter().enumerate() {
            assert_eq!(tables.memory.word(n).load(Ordering::Relaxed), *value);
        }
        assert_eq!(tables.at(0x1000, 0x1000), None);
        assert_eq!(tables.at(0x1000, 0x2000), Some(page(0x10_2000)), "its neighbour stays");
        let used = tables.used;
        tables.forget_page(0, 0x2000).unwrap();
        assert_eq!(tables.used, used, "what is not sealed is changed in its place");
    }

    #[test]
    fn pages_are_forgotten_by_what_they_lead_to() {
        let mut tables = tables();
        tables.root(0x2003).unwrap();
        for cr3 in [0x1000, 0x2003] {
            tables.map(cr3, 0x5000, &page(0x9000)).unwrap();
            tables.map(cr3, 0x6000, &page(0xA000)).unwrap();
        }
        tables.forget_where(|mapping| mapping.physical == 0x9000).unwrap();
        assert!([0x1000, 0x2003].iter().all(|&cr3| tables.at(cr3, 0x5000).is_none()));
        tables.forget_spaces(3);
        assert_eq!(tables.at(0x2003, 0x6000), None);
        assert_eq!(tables.at(0x1000, 0x6000), Some(page(0xA000)));
    }

    #[test]
    fn running_out_of_room_is_told_and_clearing_helps() {
        let mut tables = Tables::new(BASE, 8 * PAGE).unwrap();
        tables.root(0x1000).unwrap();
        tables.map(0x1000, 0, &page(0)).unwrap();
        tables.map(0x1000, 1 << 39, &page(0)).unwrap();
        assert_eq!(tables.map(0x1000, 2 << 39, &page(0)), Err(Full));
        tables.clear();
        tables.root(0x1000).unwrap();
        assert_eq!(tables.map(0x1000, 2 << 39, &page(0)), Ok(()));
    }
}
