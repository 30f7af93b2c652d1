//! The cache for indirect jumps: blocks by instruction pointer.

use crate::{decode::Insn, region::ways::Door};

/// Entries, a power of two.
const ENTRIES: usize = 16384;
/// How their number is made of RIP.
const FOLD: u32 = 12;

/// One entry. Translated code reads it.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct JumpEntry {
    /// RIP jumped to.
    pub rip: u64,
    /// RIP base there.
    pub rip_base: u64,
    /// Where translated code enters the block. Null: it cannot, or that is not known yet.
    pub door: *const Door,
    /// Mode bits.
    pub mode: u32,
    /// As long as the code is where it was: see [`Mmu::is_current`](crate::mmu::Mmu::is_current).
    pub stamp: u32,
    /// Block.
    pub entry: *const Insn,
}

impl JumpEntry {
    /// Matches no mode.
    const NONE: Self = JumpEntry {
        rip: 0,
        rip_base: 0,
        door: std::ptr::null(),
        mode: u32::MAX,
        stamp: 0,
        entry: std::ptr::null(),
    };
}

/// See the module.
pub struct Jumps {
    entries: Box<[JumpEntry; ENTRIES]>,
}

/// Number of the entry for `rip`.
#[inline(always)]
fn number(rip: u64) -> usize {
    ((rip ^ rip >> FOLD) as usize) & (ENTRIES - 1)
}

impl Jumps {
    /// Offset of the pointer to the entries.
    pub const TABLE: usize = std::mem::offset_of!(Jumps, entries);
    /// How many there are: a power of two.
    pub const ENTRIES: usize = ENTRIES;
    /// The number of an entry is the low bits of `rip ^ rip >> FOLD`.
    pub const FOLD: u32 = FOLD;

    /// Nothing is known.
    pub fn new() -> Self {
        let entries = vec![JumpEntry::NONE; ENTRIES];
        Jumps { entries: entries.try_into().unwrap_or_else(|_| unreachable!("the length is ENTRIES")) }
    }

    /// The entry for `rip`, if any.
    #[inline(always)]
    pub fn entry(&self, rip: u64) -> &JumpEntry {
        &self.entries[number(rip)]
    }

    /// Enters a target. How translated code enters its block is known if it was before, and is not told.
    pub fn set(&mut self, new: JumpEntry) {
        let old = &mut self.entries[number(new.rip)];
        let door = if old.entry == new.entry { old.door } else { std::ptr::null() };
        *old = JumpEntry { door, ..new };
    }

    /// Has translated code enter the block that is known for `rip` by `door`. Returns the number of the entry.
    pub fn link(&mut self, rip: u64, door: *const Door) -> u32 {
        self.entries[number(rip)].door = door;
        number(rip) as u32
    }

    /// Whether entry `number` leads translated code to `door`.
    pub fn leads_to(&self, number: u32, door: *const Door) -> bool {
        self.entries[number as usize].door == door
    }

    /// Has entry `number` lead translated code nowhere, if it leads to `door`.
    pub fn unlink(&mut self, number: u32, door: *const Door) {
        if self.leads_to(number, door) {
            self.entries[number as usize].door = std::ptr::null();
        }
    }

    /// The RIP base under which `block` was entered last, if it is known under a stamp that `is_current`.
    pub fn rip_base_of(&self, block: *const Insn, is_current: impl Fn(u32) -> bool) -> Option<u64> {
        let known = |jump: &&JumpEntry| jump.entry == block && is_current(jump.stamp);
        self.entries.iter().find(known).map(|jump| jump.rip_base)
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.entries.fill(JumpEntry::NONE);
    }
}

impl Default for Jumps {
    fn default() -> Self {
        Self::new()
    }
}
