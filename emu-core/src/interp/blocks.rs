//! The cache of decoded blocks: an arena of instructions, and the ways to find a block in it.
//!
//! Blocks are known by the guest-physical address of their first byte and the mode they were decoded for. When
//! code is written, the blocks it touches become *stale*: their first instruction is replaced by one that
//! looks the block up again. They are decoded anew in the same place if they still fit, so that links from
//! other blocks stay good; otherwise the old place forwards to the new one. Memory is only given back all at
//! once, when the arena is full.

use super::{
    handlers,
    hot::{self, Hot},
    jumps::Jumps,
};
use crate::{
    cpu::Mode,
    decode::{Checks, Insn, flag},
    region::BlockKey,
    semantics::Table,
};
use rustc_hash::FxHashMap;
use std::{mem::MaybeUninit, sync::LazyLock};

/// The opcode table of the exact interpreter.
pub static TABLE: LazyLock<Table<super::Exact>> = LazyLock::new(Table::new);

/// Instructions per arena chunk.
const CHUNK: usize = 4096;
/// Bytes of instructions that all CPUs of a machine keep together, and the least that each may keep. A boot of
/// Linux decodes about 20 MB; what is thrown away of it is mostly code that ran once.
const TOTAL_BYTES: usize = 14 << 20;
const LEAST_BYTES: usize = 3 << 20;
/// What follows the last instruction of a block, in the space of an [`Insn`].
#[repr(C)]
pub struct Tail {
    /// First instruction of the block after (0) an untaken, (1) a taken branch; null until it is known. After an
    /// indirect branch: of the blocks that it led to last, the later one second.
    pub link: [*const Insn; 2],
    /// Instructions in the block.
    pub count: i64,
}

/// A link into another page, in the space of an [`Insn`]: good only for the translations it was made under,
/// and for the linear page it was made from.
#[repr(C)]
pub struct Crossing {
    /// `handlers::cross`.
    pub handler: crate::decode::Handler,
    /// First instruction of the block linked to.
    pub entry: *const Insn,
    /// RIP base the link was made at.
    pub from_base: u64,
    /// RIP base of the block linked to.
    pub to_base: u64,
    /// As long as the code is where it was: see [`Mmu::is_current`](crate::mmu::Mmu::is_current).
    pub stamp: u32,
    /// Nothing.
    pub unused: [u32; 2],
    /// [`flag::CROSSING`], in the place of an instruction's flags.
    pub flags: u16,
}

const _: () = assert!(std::mem::offset_of!(Crossing, flags) == std::mem::offset_of!(Insn, flags));
const _: () = assert!(size_of::<Tail>() <= size_of::<Insn>() && size_of::<Crossing>() <= size_of::<Insn>());

/// A block in the arena.
#[derive(Debug, Clone, Copy)]
pub struct BlockRef {
    /// First instruction.
    pub entry: *mut Insn,
    /// Instructions it has room for, tail excluded.
    pub room: u32,
    /// Instructions it has, tail excluded.
    pub len: u32,
    /// How often it has been decoded anew.
    pub rewrites: u8,
    /// Must be decoded again.
    pub stale: bool,
    /// The block is one instruction that continues in this guest-physical page.
    pub second_page: Option<u64>,
}

/// A block as the list of its page knows it.
struct PageEntry {
    key: BlockKey,
    granules: u32,
}

/// See the module.
pub struct BlockCache {
    /// Chunks until everything is thrown away.
    max_chunks: usize,
    chunks: Vec<Box<[MaybeUninit<Insn>]>>,
    /// Bit n of a chunk's: a block begins at its instruction n.
    starts: Vec<[u64; CHUNK / 64]>,
    /// Instructions used in the last chunk.
    used: usize,
    map: FxHashMap<BlockKey, BlockRef>,
    pages: FxHashMap<u64, Vec<PageEntry>>,
    /// Where indirect jumps have led.
    pub jumps: Jumps,
    /// What is known of instruction forms under the CPU's model.
    pub checks: Checks,
    /// In debug builds handlers return here instead of calling each other.
    pub next: *const Insn,
    /// Space for decoding.
    pub scratch: Vec<Insn>,
    /// What the instructions in it do with the flags.
    pub flag_uses: Vec<super::liveness::FlagUse>,
    /// Blocks decoded since the start.
    pub decoded: u64,
}

// SAFETY: all pointers are into `chunks`, which the cache owns.
unsafe impl Send for BlockCache {}

impl BlockCache {
    /// Offset of the cache for indirect jumps.
    pub const JUMPS: usize = std::mem::offset_of!(BlockCache, jumps);

    /// An empty cache for one CPU of `cpus`.
    pub fn new(cpus: usize) -> Self {
        let bytes = (TOTAL_BYTES / cpus.max(1)).max(LEAST_BYTES);
        BlockCache {
            max_chunks: bytes / (CHUNK * size_of::<Insn>()),
            chunks: Vec::new(),
            starts: Vec::new(),
            used: CHUNK,
            map: FxHashMap::default(),
            pages: FxHashMap::default(),
            jumps: Jumps::new(),
            checks: Checks::new(),
            next: std::ptr::null(),
            scratch: Vec::with_capacity(64),
            flag_uses: Vec::with_capacity(64),
            decoded: 0,
        }
    }

    /// How often the block `key` has been decoded.
    pub fn rewrites(&self, key: BlockKey) -> u8 {
        self.map.get(&key).map_or(0, |block| block.rewrites.saturating_add(1))
    }

    /// The block `key`, if it is decoded and not stale.
    #[inline]
    pub fn find(&self, key: BlockKey) -> Option<BlockRef> {
        self.map.get(&key).filter(|block| !block.stale).copied()
    }

    /// Puts a decoded block into the arena. `insns` ends with the block's branch; `pages` are the pages it lies
    /// in with the granules it takes there.
    pub fn insert(
        &mut self,
        key: BlockKey,
        insns: &[Insn],
        pages: &[(u64, u32)],
        second_page: Option<u64>,
    ) -> BlockRef {
        self.decoded += 1;
        let old = self.map.get(&key).copied();
        let reuse = old.filter(|old| old.stale && old.room as usize >= insns.len());
        let (entry, room) = match reuse {
            Some(old) => (old.entry, old.room),
            None => (self.allocate_block(insns.len()), insns.len() as u32),
        };
        // The jump that ends a block which just stops is no instruction of the guest.
        let count = insns.iter().filter(|i| i.len != 0).count() as i64;
        let tail = Tail { link: [std::ptr::null(); 2], count };
        // SAFETY: `entry` has room for the instructions and the tail, and no handler is running in it: blocks
        // are decoded only between blocks.
        unsafe {
            std::ptr::copy_nonoverlapping(insns.as_ptr(), entry, insns.len());
            entry.add(insns.len()).cast::<Tail>().write(tail);
        }
        if let (Some(old), None) = (old, reuse) {
            // SAFETY: as above; `old` is a block of this arena (the map is emptied with the arena).
            unsafe {
                (*old.entry).handler = handlers::forward;
                (*old.entry).flags |= flag::GONE;
                (*old.entry).imm = entry as u64;
            }
        }
        let rewrites = old.map_or(0, |old| old.rewrites.saturating_add(1));
        let block = BlockRef { entry, room, len: insns.len() as u32, rewrites, stale: false, second_page };
        self.map.insert(key, block);
        for &(page, granules) in pages {
            self.pages.entry(page).or_default().push(PageEntry { key, granules });
        }
        block
    }

    /// Space for a link into another page.
    pub fn insert_crossing(&mut self, crossing: Crossing) -> *const Insn {
        let place = self.allocate(1);
        // SAFETY: fresh space for one instruction.
        unsafe { place.cast::<Crossing>().write(crossing) };
        place
    }

    /// Whether the arena is so full that the next block may not fit: the caller flushes, between blocks.
    pub fn is_full(&self) -> bool {
        self.chunks.len() >= self.max_chunks && self.used + 512 > CHUNK
    }

    /// Space for a block of `len` instructions and its tail.
    fn allocate_block(&mut self, len: usize) -> *mut Insn {
        let place = self.allocate(len + 1);
        let at = self.used - (len + 1);
        if let Some(starts) = self.starts.last_mut() {
            starts[at / 64] |= 1 << (at % 64);
        }
        place
    }

    /// How many of the guest's instructions come before `i` in its block.
    pub fn ordinal(&self, i: *const Insn) -> i64 {
        let holds = |chunk: &[MaybeUninit<Insn>]| chunk.as_ptr_range().contains(&i.cast());
        let Some(number) = self.chunks.iter().rposition(|chunk| holds(chunk)) else { return 0 };
        let first: *const Insn = self.chunks[number].as_ptr().cast();
        let at = (i as usize - first as usize) / size_of::<Insn>();
        let starts = &self.starts[number];
        let Some(start) = (0..=at).rev().find(|n| starts[n / 64] >> (n % 64) & 1 != 0) else { return 0 };
        // SAFETY: a block begins there, and is written.
        let pauses = unsafe { (*first.add(start)).len } == 0 && start != at;
        (at - start) as i64 - i64::from(pauses)
    }

    fn allocate(&mut self, count: usize) -> *mut Insn {
        if self.used + count > CHUNK {
            self.chunks.push(Box::new_uninit_slice(CHUNK));
            self.starts.push([0; CHUNK / 64]);
            self.used = 0;
        }
        let chunk = self.chunks.last_mut().expect("a chunk has just been made sure of");
        let place = chunk[self.used..].as_mut_ptr().cast();
        self.used += count;
        place
    }

    /// Makes the blocks stale that touch `granules` of `page`. Returns whether there were any.
    pub fn invalidate(&mut self, page: u64, granules: u32, hot: &mut Hot) -> bool {
        let Some(entries) = self.pages.get_mut(&page) else { return false };
        let before = entries.len();
        let map = &mut self.map;
        let mut regions = Vec::new();
        entries.retain(|entry| {
            if entry.granules & granules == 0 {
                return true;
            }
            if let Some(block) = map.get_mut(&entry.key).filter(|block| !block.stale) {
                block.stale = true;
                // SAFETY: the block is in the arena. Its first instruction may be running: replacing the
                // handler does not disturb it.
                unsafe {
                    (*block.entry).handler = handlers::stale;
                    (*block.entry).flags |= flag::GONE;
                }
                regions.extend(hot.forget(entry.key, &mut self.jumps));
            }
            false
        });
        let changed = before != entries.len();
        self.count_again(&regions, hot);
        changed
    }

    /// Forgets the regions that block `key` is in, as it is decoded anew without having become stale.
    pub fn forget_regions(&mut self, key: BlockKey, hot: &mut Hot) {
        let regions = hot.forget(key, &mut self.jumps);
        self.count_again(&regions, hot);
    }

    /// Lets blocks count again with which regions began that are forgotten.
    fn count_again(&mut self, firsts: &[BlockKey], hot: &Hot) {
        for &first in firsts {
            let Some(block) = self.map.get(&first).filter(|block| !block.stale) else { continue };
            // SAFETY: the block is in the arena. A region that runs has read its entry already.
            unsafe {
                if hot::is_entry(&*block.entry) {
                    *block.entry = hot.entry(first, block.rewrites);
                }
            }
        }
    }

    /// Throws everything away. Not while a block is running.
    pub fn flush(&mut self) {
        self.chunks.clear();
        self.starts.clear();
        self.used = CHUNK;
        self.map.clear();
        self.pages.clear();
        self.jumps.clear();
    }
}

/// Key of the block at guest-physical address `physical` in `mode`.
pub fn key(physical: u64, mode: Mode) -> BlockKey {
    (physical, mode.bits())
}
