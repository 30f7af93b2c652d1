//! Which blocks make a region.
//!
//! From the block that is hot, over branches that have been executed, as far as blocks have been decoded: a loop, the
//! loops in it, the functions that it calls. A block that a region begins with already is left out, unless the new
//! region is worth more than that: what is translated twice costs twice.
//!
//! An instruction across two pages is a block of its own. No link leads to it, as what it goes on in may change; hot
//! regions find it by its place in the page, and look up where both its pages are like all their pages.

use super::{
    blocks::{BlockRef, Crossing, Tail},
    hot::{insns_of, is_entry},
};
use crate::{
    cpu::{Cpu, Mode},
    decode::{Insn, flag},
    region::{BlockKey, Next, Source, SourceBlock, Tier},
    semantics::{Attr, NO_ROW},
};

/// Blocks and instructions in a region.
const WARM: (usize, usize) = (16, 120);
const HOT: (usize, usize) = (64, 500);
/// Return points in a region.
const MAX_RETURNS: usize = 4;
/// Blocks that an indirect branch is compared with.
const MAX_TARGETS: usize = 16;

/// The region as it grows.
struct Growing<'a> {
    cpu: &'a Cpu,
    /// RIP base of the first block.
    base: u64,
    tier: Tier,
    /// Blocks found: identity, distance of the page.
    found: Vec<(BlockKey, u64)>,
    insns: usize,
    returns: Vec<usize>,
}

impl Cpu {
    /// The region that begins with block `key`, which was entered with RIP base `base`, for tier `tier`.
    pub(super) fn source(&self, key: BlockKey, base: u64, tier: Tier) -> Option<Source> {
        let mut growing =
            Growing { cpu: self, base, tier, found: vec![(key, 0)], insns: 0, returns: Vec::new() };
        let mut blocks = Vec::new();
        while let Some(&(key, page_distance)) = growing.found.get(blocks.len()) {
            let block = growing.usable(key)?;
            blocks.push(growing.take(key, page_distance, &block));
        }
        for block in &mut blocks {
            if ends_with(block, Attr::RETURN) {
                let expected = growing.returns.iter().filter(|number| !block.targets.contains(number));
                block.targets = block.targets.iter().chain(expected).copied().take(MAX_TARGETS).collect();
            }
        }
        let rip = base.wrapping_add(key.0 & 0xFFF);
        Some(Source { mode: self.mode, rip, tier, apart: false, blocks })
    }
}

impl Growing<'_> {
    /// The block `key`, if it can be in a region.
    fn usable(&self, key: BlockKey) -> Option<BlockRef> {
        let across = self.tier == Tier::Hot && can_be_across(self.cpu.mode);
        self.cpu.blocks.find(key).filter(|block| across || block.second_page.is_none())
    }

    fn take(&mut self, key: BlockKey, page_distance: u64, block: &BlockRef) -> SourceBlock {
        let insns = insns_of(block);
        self.insns += insns.len();
        let mut next = [Next::Unknown; 2];
        let mut targets = Vec::new();
        let branches = insns.last().is_some_and(|i| has(i, Attr::BRANCH));
        if insns.last().is_some_and(|i| has(i, Attr::INDIRECT)) {
            targets = self.seen(key, &tail_of(block).link);
            self.follow_strays(key, page_distance, &mut targets);
        }
        for (way, link) in tail_of(block).link.into_iter().enumerate() {
            if !branches {
                continue;
            }
            // SAFETY: a link leads to an entry in the arena, or to a crossing.
            let to = match unsafe { link.as_ref() } {
                Some(to) => self.target(key, page_distance, to),
                None => match insns.last().and_then(|last| self.across(key, last, way)) {
                    Some(to) => Some((to, page_distance)),
                    None => continue,
                },
            };
            let reached = to.and_then(|(to, distance)| self.reach(to, distance));
            next[way] = reached.map_or(Next::Outside, Next::Block);
        }
        if matches!(next[1], Next::Block(_)) || !targets.is_empty() {
            self.expect_return(key, page_distance, insns);
        }
        let second_page = block.second_page;
        SourceBlock { key, insns: insns.to_vec(), page_distance, second_page, next, targets }
    }

    /// The instruction across two pages to which the branch `last` of block `from` leads by `way`, if there is one.
    fn across(&self, from: BlockKey, last: &Insn, way: usize) -> Option<BlockKey> {
        let offset = if way == 1 { last.imm } else { u64::from(last.off) + u64::from(last.len) };
        let key = ((from.0 & !0xFFF) | offset, from.1);
        let block = self.usable(key).filter(|_| offset < 0x1000)?;
        block.second_page.map(|_| key)
    }

    /// The blocks of the region to which an indirect branch has led, the last one first.
    fn seen(&mut self, from: BlockKey, links: &[*const Insn; 2]) -> Vec<usize> {
        let mut targets = Vec::new();
        for link in links.iter().rev() {
            // SAFETY: a link leads to an entry in the arena.
            let Some(to) = (unsafe { link.as_ref() }).filter(|to| is_entry(to)) else { continue };
            let is_current = |stamp| self.cpu.mmu.is_current(stamp);
            let Some(base) = self.cpu.blocks.jumps.rip_base_of(*link, is_current) else { continue };
            let distance = base.wrapping_sub(self.base);
            if self.tier == Tier::Hot || distance == 0 {
                targets.extend(self.reach((to.disp, from.1), distance));
            }
        }
        targets
    }

    /// Adds where an indirect branch has led out of hot regions all the time, even if regions begin there.
    fn follow_strays(&mut self, from: BlockKey, from_distance: u64, targets: &mut Vec<usize>) {
        if self.tier != Tier::Hot {
            return;
        }
        let cpu = self.cpu;
        for &(to, distance) in cpu.hot.strays(from) {
            let number = self.take_in(to, from_distance.wrapping_add(distance));
            targets.extend(number.filter(|number| !targets.contains(number)));
        }
        targets.truncate(MAX_TARGETS);
    }

    /// The block that a link leads to, and the distance of its page.
    fn target(&self, from: BlockKey, from_distance: u64, link: &Insn) -> Option<(BlockKey, u64)> {
        if !link.has(flag::CROSSING) {
            return Some((((from.0 & !0xFFF) | u64::from(link.off), from.1), from_distance));
        }
        // SAFETY: a crossing is what has that flag.
        let crossing = unsafe { &*std::ptr::from_ref(link).cast::<Crossing>() };
        // SAFETY: it leads to an entry in the arena.
        let entry = unsafe { &*crossing.entry };
        let current = self.cpu.mmu.is_current(crossing.stamp);
        if self.tier != Tier::Hot || !current || !is_entry(entry) {
            return None;
        }
        let distance = crossing.to_base.wrapping_sub(crossing.from_base);
        Some(((entry.disp, from.1), from_distance.wrapping_add(distance)))
    }

    /// Number of the block `to`, which is taken into the region if there is room.
    fn reach(&mut self, to: BlockKey, distance: u64) -> Option<usize> {
        if let Some(known) = self.found.iter().position(|found| *found == (to, distance)) {
            return Some(known);
        }
        let taken = self.cpu.hot.tier(to).is_some_and(|tier| tier >= self.tier);
        if taken { None } else { self.take_in(to, distance) }
    }

    /// The same, even if a region begins with it.
    fn take_in(&mut self, to: BlockKey, distance: u64) -> Option<usize> {
        if let Some(known) = self.found.iter().position(|found| *found == (to, distance)) {
            return Some(known);
        }
        let (blocks, insns) = if self.tier == Tier::Hot { HOT } else { WARM };
        let room = self.found.len() < blocks && self.insns < insns;
        if !room || self.usable(to).is_none() {
            return None;
        }
        self.found.push((to, distance));
        Some(self.found.len() - 1)
    }

    /// After a call, whose target is in the region: the block to which it returns.
    fn expect_return(&mut self, key: BlockKey, distance: u64, insns: &[Insn]) {
        let Some(call) = insns.last().filter(|i| has(i, Attr::CALL)) else { return };
        let after = u64::from(call.off) + u64::from(call.len);
        if after >= 0x1000 || self.returns.len() == MAX_RETURNS {
            return;
        }
        if let Some(number) = self.reach(((key.0 & !0xFFF) | after, key.1), distance)
            && !self.returns.contains(&number)
        {
            self.returns.push(number);
        }
    }
}

/// Whether regions of `mode` can have instructions across two pages. With 16-bit offsets they may be beyond the limit.
pub(super) fn can_be_across(mode: Mode) -> bool {
    mode.bitness() != 16
}

fn has(i: &Insn, attr: Attr) -> bool {
    i.row != NO_ROW && super::blocks::TABLE.row(i.row).attr.contains(attr)
}

fn ends_with(block: &SourceBlock, attr: Attr) -> bool {
    block.insns.last().is_some_and(|i| has(i, attr))
}

fn tail_of(block: &BlockRef) -> &Tail {
    // SAFETY: the tail follows the last instruction.
    unsafe { &*block.entry.add(block.len as usize).cast::<Tail>() }
}
