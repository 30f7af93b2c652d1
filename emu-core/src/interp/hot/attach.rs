//! Beginning to use regions, whether they can run now, and letting go of them.

use super::{Hot, Instance, counts, insns_of, is_entry};
use crate::{
    arch::{Exception, Seg},
    cpu::{Cpu, slot},
    decode::{Insn, flag},
    interp::{blocks, build::Found, handlers, source},
    lane::fp::mxcsr::{CONTROL, DEFAULT},
    region::{Next, Point, Region, Source, SourceBlock, Thresholds, Tier, Translator, digest},
};
use std::sync::Arc;

impl Cpu {
    /// Lets `translator` translate what is hot from now on.
    pub fn set_translator(&mut self, translator: Arc<dyn Translator>) {
        self.blocks.flush();
        self.mmu.flush_all();
        let thresholds = Some(translator.thresholds());
        let eviction = translator.eviction();
        self.hot = Hot { translator: Some(translator), thresholds, eviction, ..Hot::default() };
    }

    /// Translates nothing any more.
    pub fn remove_translator(&mut self) {
        self.forget_code();
        self.hot = Hot::default();
    }

    /// Forgets all decoded and translated code, and all translations of addresses. Not while code runs.
    pub fn forget_code(&mut self) {
        self.blocks.flush();
        self.hot.forget_all();
        self.hot.bury();
        self.mmu.flush_all();
    }

    /// As [`execute_one`](Self::execute_one), by a region made of that instruction alone: for comparing engines with
    /// each other. The region is made for tier `tier`; where `translate` makes none, or what it takes for granted is
    /// not so, the interpreter executes the instruction.
    pub fn execute_one_translated(
        &mut self,
        tier: Tier,
        translate: impl FnOnce(&Source) -> Option<Region>,
    ) -> Result<(), Exception> {
        let found = self.look_up_in(self.mode.stepping())?;
        let physical = self.mmu.translate_fetch(self.code_address())?;
        let key = blocks::key(physical, self.mode.stepping());
        let across = found.second_page.is_some() && !source::can_be_across(self.mode);
        let alone = self.blocks.find(key).filter(|_| counts(self.mode) && !across);
        let region = alone.and_then(|block| {
            // Beyond the limit of CS a branch of a wider operand size may lead.
            let way = if self.mode.bitness() == 16 { Next::Unknown } else { Next::Outside };
            let insns = insns_of(&block).to_vec();
            let (second_page, next) = (block.second_page, [way; 2]);
            let block = SourceBlock { key, insns, page_distance: 0, second_page, next, targets: Vec::new() };
            let source = Source { mode: self.mode, rip: self.rip, tier, apart: false, blocks: vec![block] };
            translate(&source).map(Arc::new)
        });
        let Some(region) = region else { return self.execute_one() };
        // SAFETY: points are instructions of this block.
        let points = region.points.iter().map(|p| unsafe { found.entry.add(p.insn.into()) }).collect();
        let mut instance = Instance::new(region, points, std::ptr::null(), i64::MAX);
        let imm = &raw const *instance as u64;
        let entry = Insn { imm, flags: flag::ENTRY, ..Insn::blank(self.hot.handler_of(&instance)) };
        instance.entry = &raw const entry;
        // The handler goes on to the instruction behind its entry where the region cannot run.
        if !self.can_run(&mut instance) {
            return self.execute_one();
        }
        self.enter_mxcsr();
        let code = self.enter(&Found { entry: &raw const entry, ..found }, 0);
        let result = if code == handlers::RAISED { self.raised.take().map_or(Ok(()), Err) } else { Ok(()) };
        self.sync_mxcsr();
        result
    }

    /// Whether an instance can be run now: whether what it takes for granted is so.
    #[inline(always)]
    pub(super) fn can_run(&mut self, instance: &mut Instance) -> bool {
        if instance.default_mxcsr && self.simd.mxcsr & CONTROL != DEFAULT {
            return false;
        }
        let (stamp, base) = instance.placed;
        let known = self.mmu.is_current(stamp) && base == self.regs[usize::from(slot::RIP_BASE)];
        instance.one_page || known || self.place(instance)
    }

    /// Looks whether the pages of a region are where they were when it was made.
    #[cold]
    pub(super) fn place(&mut self, instance: &mut Instance) -> bool {
        let base = self.regs[usize::from(slot::RIP_BASE)];
        let code = self.regs[usize::from(slot::SEGMENT_BASE) + Seg::Cs as usize];
        let mut lasting = true;
        let placed = instance.region.pages.iter().all(|&(distance, page)| {
            let rip = base.wrapping_add(distance);
            let linear = code.wrapping_add(rip) & self.linear_mask;
            // Outside 64-bit mode no instruction goes on behind the last offset.
            let is_code = if self.mode.is_64bit() { self.is_canonical(linear) } else { rip >> 32 == 0 };
            let there = is_code && self.mmu.translate_fetch(linear).is_ok_and(|physical| physical == page);
            lasting &= there && self.mmu.is_global_code(linear);
            there
        });
        // What is not there raises nothing here.
        self.mmu.denied = None;
        if placed {
            instance.placed = (self.mmu.stamp(lasting), base);
        }
        placed
    }

    /// Begins to use what has been translated for this CPU.
    pub(in crate::interp) fn attach_ready(&mut self) {
        let Some(translator) = self.hot.translator.clone() else { return };
        let eviction = translator.eviction();
        if eviction != self.hot.eviction {
            let all = eviction.all != self.hot.eviction.all;
            self.hot.eviction = eviction;
            self.let_go(all);
        }
        for region in translator.take_ready(self.id) {
            self.attach(&region);
        }
    }

    /// Stops using all regions, or those that have not been used for a while.
    pub(super) fn let_go(&mut self, all: bool) {
        self.hot.let_go = true;
        let instances = self.hot.instances.iter_mut();
        let cold = instances.filter_map(|(first, instance)| (all || !instance.is_spared()).then_some(*first));
        for first in cold.collect::<Vec<_>>() {
            if let Some(block) = self.blocks.find(first) {
                // SAFETY: the block is in the arena. A region that runs has read its entry already.
                unsafe {
                    if is_entry(&*block.entry) {
                        *block.entry = self.hot.entry(first, block.rewrites);
                    }
                }
            }
            self.hot.retire(first, &mut self.blocks.jumps);
        }
    }

    /// Gives back what was let go of. Not while a region is running.
    pub(in crate::interp) fn release_regions(&mut self) {
        if !std::mem::take(&mut self.hot.let_go) {
            return;
        }
        self.hot.bury();
        if let Some(translator) = &self.hot.translator {
            translator.released();
        }
    }

    /// Begins to use `region`, if all its blocks are known here and have not changed since.
    pub(super) fn attach(&mut self, region: &Arc<Region>) -> bool {
        let Some(&(first, _)) = region.blocks.first() else { return false };
        let mut entries = Vec::with_capacity(region.blocks.len());
        let mut length = 0;
        for &(key, digest_then) in &region.blocks {
            let Some(block) = self.blocks.find(key) else { return false };
            let insns = insns_of(&block);
            if digest(insns, block.second_page) != digest_then {
                return false;
            }
            entries.push(insns.as_ptr());
            length += insns.len() as u64;
        }
        let hot =
            self.hot.thresholds.map(|thresholds| thresholds.hot).filter(|hot| *hot != Thresholds::NEVER);
        let hot = hot.map_or(i64::MAX, i64::from);
        // SAFETY: points are within the blocks they name: the digests agree.
        let point = |p: &Point| unsafe { entries[usize::from(p.block)].add(p.insn.into()) };
        let points = region.points.iter().map(point).collect();
        let Some(block) = self.blocks.find(first) else { return false };
        let mut instance = Instance::new(region.clone(), points, block.entry, hot);
        self.hot.number(&mut instance);
        // SAFETY: the first entry of a block in the arena. If it is executed now, that is done with it.
        unsafe {
            if !is_entry(&*block.entry) {
                return false;
            }
            (*block.entry).imm = &raw const *instance as u64;
            (*block.entry).handler = self.hot.handler_of(&instance);
        }
        self.hot.retire(first, &mut self.blocks.jumps);
        if length > self.hot.longest {
            self.hot.longest = length;
            // Whoever counts on what was the longest until now has to look again before this one runs.
            self.signal.poll_again();
        }
        for &(key, _) in &region.blocks {
            let firsts = self.hot.members.entry(key).or_default();
            if !firsts.contains(&first) {
                firsts.push(first);
            }
        }
        self.hot.instances.insert(first, instance);
        true
    }
}
