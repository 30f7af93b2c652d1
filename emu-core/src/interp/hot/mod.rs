//! What is hot: counting how often blocks are entered, asking for their translation, running what comes back.
//!
//! While a CPU has a [`Translator`], every block begins with an entry of no length that stands for no
//! instruction of the guest:
//!
//! | its handler | does |
//! |---|---|
//! | [`count`] | counts down; at zero looks for a translation, or asks for one |
//! | [`region`] | runs the translated region that begins here |
//! | translated code | the same: a region that is a handler itself, see [`Entry::Handler`] |
//!
//! A region is made of blocks that this CPU has decoded and linked, that is, executed: see `source`. When
//! any of them becomes stale, the region is forgotten ([`BlockCache::invalidate`](super::BlockCache)). Its
//! [`Instance`] lives until the run loop comes by, because it may be running.

mod attach;
mod handlers;
mod instance;
mod links;
mod remake;
mod requests;

pub use handlers::{at, enter_region, exact_within_region, heat, indirect, look_around, returned, unlinked};
pub use instance::Instance;

use super::{blocks::BlockRef, jumps::Jumps};
use crate::{
    cpu::Mode,
    decode::{Insn, flag},
    region::{BlockKey, Eviction, Inlet, Thresholds, Tier, Translator},
};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Entries of a block before a translation of another CPU, or from before, is looked for.
const FIRST_LOOK: u64 = 16;
/// Times that a block may be decoded anew before it is left to the interpreter for good.
const REWRITES: u8 = 16;

/// What this CPU knows of hot code.
pub struct Hot {
    translator: Option<Arc<dyn Translator>>,
    thresholds: Option<Thresholds>,
    eviction: Eviction,
    /// Regions were let go of because of it, and the translator does not know yet.
    let_go: bool,
    /// By the block that a region begins with.
    instances: FxHashMap<BlockKey, Box<Instance>>,
    /// For each block of a region, the first blocks of the regions that it is in.
    members: FxHashMap<BlockKey, Vec<BlockKey>>,
    /// By block: where its indirect branch has led out of hot regions, as blocks and distances of their pages.
    strays: FxHashMap<BlockKey, Vec<(BlockKey, u64)>>,
    /// How often the region that begins with a block has been made anew for their sake.
    remade: FxHashMap<BlockKey, u8>,
    /// Forgotten, but perhaps still running: they must not move.
    #[expect(clippy::vec_box, reason = "who runs one has its address")]
    retired: Vec<Box<Instance>>,
    /// The instance that has just been left by a link: see [`unlinked`].
    leaving: *mut Instance,
    /// Instances made.
    made: u64,
    /// Instructions of the largest region that was ever attached: what is executed at most without a look at the budget.
    longest: u64,
    /// How regions that are called are entered and left by links, once that is known.
    inlet: Option<Inlet>,
}

// SAFETY: the pointers are into the arena of the CPU that owns this, and to instances that it owns itself.
unsafe impl Send for Hot {}

impl Default for Hot {
    fn default() -> Self {
        Hot {
            translator: None,
            thresholds: None,
            eviction: Eviction::default(),
            let_go: false,
            instances: FxHashMap::default(),
            members: FxHashMap::default(),
            strays: FxHashMap::default(),
            remade: FxHashMap::default(),
            retired: Vec::new(),
            leaving: std::ptr::null_mut(),
            made: 0,
            longest: 0,
            inlet: None,
        }
    }
}

impl Hot {
    /// Offset of the pointer to the instance that has just been left by a link.
    pub const LEAVING: usize = std::mem::offset_of!(Hot, leaving);

    /// Whether blocks are counted.
    pub fn is_on(&self) -> bool {
        self.translator.is_some()
    }

    /// Instructions that regions execute at most without a look at the budget.
    pub(in crate::interp) fn longest(&self) -> u64 {
        self.longest
    }

    /// Tier of the region that begins with block `key`.
    pub(in crate::interp) fn tier(&self, key: BlockKey) -> Option<Tier> {
        self.instances.get(&key).map(|instance| instance.region.tier)
    }

    /// Where the indirect branch of block `key` has led out of hot regions: blocks, distances of their pages.
    pub(in crate::interp) fn strays(&self, key: BlockKey) -> &[(BlockKey, u64)] {
        self.strays.get(&key).map_or(&[], Vec::as_slice)
    }

    /// Forgets the regions that block `key` is in. Returns their first blocks.
    pub fn forget(&mut self, key: BlockKey, jumps: &mut Jumps) -> Vec<BlockKey> {
        let firsts = self.members.remove(&key).unwrap_or_default();
        for first in &firsts {
            self.retire(*first, jumps);
        }
        firsts
    }

    /// Forgets the region that begins with block `first`.
    fn retire(&mut self, first: BlockKey, jumps: &mut Jumps) {
        let Some(mut instance) = self.instances.remove(&first) else { return };
        for (key, _) in &instance.region.blocks {
            if let Some(firsts) = self.members.get_mut(key) {
                firsts.retain(|other| *other != first);
                if firsts.is_empty() {
                    self.members.remove(key);
                }
            }
        }
        self.isolate(&mut instance, jumps);
        self.retired.push(instance);
    }

    /// Forgets all regions.
    pub fn forget_all(&mut self) {
        // Who knew of them has been forgotten as well.
        self.retired.extend(self.instances.drain().map(|(_, instance)| instance));
        self.members.clear();
        self.strays.clear();
        self.remade.clear();
    }

    /// Lets go of what was forgotten. Not while a region is running.
    pub fn bury(&mut self) {
        self.retired.clear();
    }

    /// The entry that a block begins with: one that counts. `rewrites` times it has been decoded before.
    pub fn entry(&self, key: BlockKey, rewrites: u8) -> Insn {
        let warm = self.thresholds.map_or(u64::MAX, |thresholds| thresholds.warm.into());
        let left = if rewrites < REWRITES { FIRST_LOOK.min(warm) } else { u64::MAX };
        Insn {
            off: (key.0 & 0xFFF) as u16,
            imm: left,
            disp: key.0,
            flags: flag::ENTRY,
            ..Insn::blank(handlers::count)
        }
    }
}

/// Whether this is an entry of no instruction, before a block's first.
pub fn is_entry(i: &Insn) -> bool {
    i.has(flag::ENTRY) && !i.has(flag::GONE)
}

/// The instructions of a block, without the entry before them.
pub(in crate::interp) fn insns_of(block: &BlockRef) -> &[Insn] {
    // SAFETY: a block in the arena has that many entries.
    let all = unsafe { std::slice::from_raw_parts(block.entry.cast_const(), block.len as usize) };
    if all.first().is_some_and(is_entry) { &all[1..] } else { all }
}

/// Whether blocks decoded for `mode` are counted.
pub fn counts(mode: Mode) -> bool {
    !mode.is_stepping() && !mode.is_observed() && !mode.is_limited() && !mode.checks_alignment()
}
