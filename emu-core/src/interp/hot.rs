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

use super::{
    blocks::{BlockRef, JumpEntry},
    emit::Fast,
    handlers::{self, LOOK_UP, follow, go, jump_to},
    source,
};
use crate::{
    arch::{Exception, Seg},
    cpu::{Cpu, LazyFlags, Mode, slot},
    decode::{Handler, Insn, flag},
    lane::fp::mxcsr::{CONTROL, DEFAULT},
    region::{
        BlockKey, Called, Entry, Eviction, Next, Point, Region, Source, SourceBlock, Thresholds, Tier,
        Translator, digest, exit, fill, layout::GO_ON,
    },
    semantics::integer::deferred::{Deferred, SETTLED},
};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Entries of a block before a translation of another CPU, or from before, is looked for.
const FIRST_LOOK: u64 = 16;
/// Entries after asking before it is asked again.
const PATIENCE: u64 = 1 << 20;
/// Times that a region may leave for a range in two pages before it is looked at how often that is.
const SPLITS: u32 = 1000;
/// Instructions in a region that pay for leaving it once.
const BETWEEN_SPLITS: i64 = 400;
/// Times that a hot region may leave by an indirect branch before it is looked at how often that is.
const STRAYS: u32 = 1 << 16;
/// Instructions in a region that pay for leaving it by an indirect branch once.
const BETWEEN_STRAYS: i64 = 200;
/// One in so many of those times it is noted where the branch led.
const NOTED: u32 = 1 << 8;
/// Places noted for one branch.
const PLACES: usize = 16;
/// Times that a region is made anew for their sake.
const REMADE: u8 = 3;
/// Times that a hot region that was not used is spared when room is needed.
const SPARED: u8 = 1;
/// Times that a block may be decoded anew before it is left to the interpreter for good.
const REWRITES: u8 = 16;

/// A region as this CPU runs it.
#[repr(C)]
pub struct Instance {
    /// This CPU's instruction for every point: those of `all_points`. Translated code reads it.
    pub points: *const *const Insn,
    /// What is left until it is worth a better one: instructions, or as [`layout`](crate::region::layout) says if the region
    /// is a handler, which then counts them itself.
    pub left: i64,
    /// Of the region, what every passage must know.
    default_mxcsr: bool,
    one_page: bool,
    called: Option<Called>,
    region: Arc<Region>,
    all_points: Vec<*const Insn>,
    /// Times that it has left because a range of accesses was in two pages, and `left` when counting began; `None` when
    /// it is to be replaced: see [`Cpu::split_up`].
    splits: Option<(u32, i64)>,
    /// Times that it has left by an indirect branch, and `left` when counting began.
    strays: (u32, i64),
    /// `left` when room was needed last: if it is another now, the region has been used since.
    seen: i64,
    /// Times since that it may be spared though it was not used.
    spared: u8,
    /// If it has several pages: the RIP base for which they are known to be where they should, and the stamp under which.
    placed: (u32, u64),
}

/// What this CPU knows of hot code.
#[derive(Default)]
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
}

impl Instance {
    fn new(region: Arc<Region>, all_points: Vec<*const Insn>, left: i64) -> Self {
        Instance {
            points: all_points.as_ptr(),
            left,
            default_mxcsr: region.default_mxcsr,
            one_page: region.pages.is_empty(),
            called: match region.entry {
                Entry::Called(called) => Some(called),
                Entry::Handler(_) => None,
            },
            region,
            all_points,
            splits: Some((0, left)),
            strays: (0, left),
            // Who has just been attached counts as used.
            seen: i64::MIN,
            spared: 0,
            placed: (0, 0),
        }
    }

    /// Whether it is to be kept though room is needed: it has been used since that was so the last time, or is worth
    /// more than most.
    fn is_spared(&mut self) -> bool {
        if self.left != self.seen {
            self.spared = if self.region.tier == Tier::Hot { SPARED } else { 0 };
            self.seen = self.left;
            return true;
        }
        let spared = self.spared > 0;
        self.spared = self.spared.saturating_sub(1);
        spared
    }

    /// What executes it, as the handler of an entry.
    fn handler(&self) -> Handler {
        match self.region.entry {
            Entry::Called(_) => region,
            Entry::Handler(handler) => handler,
        }
    }
}

// SAFETY: the pointers are into the arena of the CPU that owns this.
unsafe impl Send for Hot {}

impl Hot {
    /// Whether blocks are counted.
    pub fn is_on(&self) -> bool {
        self.translator.is_some()
    }

    /// Tier of the region that begins with block `key`.
    pub(super) fn tier(&self, key: BlockKey) -> Option<Tier> {
        self.instances.get(&key).map(|instance| instance.region.tier)
    }

    /// Where the indirect branch of block `key` has led out of hot regions: blocks, distances of their pages.
    pub(super) fn strays(&self, key: BlockKey) -> &[(BlockKey, u64)] {
        self.strays.get(&key).map_or(&[], Vec::as_slice)
    }

    /// Forgets the regions that block `key` is in. Returns their first blocks.
    pub fn forget(&mut self, key: BlockKey) -> Vec<BlockKey> {
        let firsts = self.members.remove(&key).unwrap_or_default();
        for first in &firsts {
            self.retire(*first);
        }
        firsts
    }

    /// Forgets the region that begins with block `first`.
    fn retire(&mut self, first: BlockKey) {
        let Some(instance) = self.instances.remove(&first) else { return };
        for (key, _) in &instance.region.blocks {
            if let Some(firsts) = self.members.get_mut(key) {
                firsts.retain(|other| *other != first);
                if firsts.is_empty() {
                    self.members.remove(key);
                }
            }
        }
        self.retired.push(instance);
    }

    /// Forgets all regions.
    pub fn forget_all(&mut self) {
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
        Insn { off: (key.0 & 0xFFF) as u16, imm: left, disp: key.0, flags: flag::ENTRY, ..Insn::blank(count) }
    }
}

/// Whether this is an entry of no instruction, before a block's first.
pub fn is_entry(i: &Insn) -> bool {
    i.has(flag::ENTRY) && !i.has(flag::GONE)
}

/// Counts an entry into the block.
///
/// # Safety
/// As [`go`].
pub unsafe extern "C-unwind" fn count(cpu: &mut Cpu, i: *const Insn) -> u32 {
    // SAFETY: the entry is this CPU's, and nothing else refers to it now.
    let left = unsafe {
        let entry = &mut *i.cast_mut();
        entry.imm = entry.imm.wrapping_sub(1);
        entry.imm
    };
    if left == 0 {
        cpu.warm_up(i);
    }
    // SAFETY: instructions of a block follow each other.
    unsafe { go(cpu, i.add(1)) }
}

/// Runs the region that begins here.
///
/// # Safety
/// As [`go`].
pub unsafe extern "C-unwind" fn region(cpu: &mut Cpu, i: *const Insn) -> u32 {
    // SAFETY: `imm` points to an instance, which lives at least until the run loop comes by, and which nothing else
    // refers to now.
    let instance = unsafe { &mut *((*i).imm as *mut Instance) };
    if !cpu.can_run(instance) {
        // SAFETY: instructions of a block follow each other.
        return unsafe { go(cpu, i.add(1)) };
    }
    let (budget, base) = (cpu.budget, cpu.regs[usize::from(slot::RIP_BASE)]);
    let Some(entry) = instance.called else { unreachable!("a region that is a handler itself") };
    cpu.filled = fill::NO;
    // SAFETY: host code made for this CPU's layout, and the points that it knows by number.
    let left = unsafe { entry(cpu, instance.points) };
    let (kind, number) = exit::unpack(left);
    instance.left -= budget - cpu.budget;
    if cpu.filled == fill::PART {
        cpu.split_up(i, base);
    }
    if instance.left < 0 {
        cpu.heat_up(i, base);
    }
    if kind == exit::CODE {
        return number as u32;
    }
    if kind == exit::INDIRECT {
        instance.strays.0 += 1;
        if instance.strays.0.is_multiple_of(NOTED) {
            cpu.note_stray(i, base, number);
        }
    }
    let i = instance.all_points[number];
    // SAFETY: points are instructions of blocks in the arena; those of branches are the last of theirs.
    unsafe {
        match kind {
            exit::AT => go(cpu, i),
            exit::UNTAKEN => follow(cpu, i, false),
            exit::TAKEN => follow(cpu, i, true),
            exit::INDIRECT => {
                let target = cpu.rip;
                jump_to(cpu, i, target)
            }
            _ => {
                cpu.rip = cpu.rip_of(&*i);
                LOOK_UP
            }
        }
    }
}

/// An instruction that a region which is a handler goes on to, whatever it is.
///
/// # Safety
/// As [`go`].
pub unsafe extern "C-unwind" fn at(cpu: &mut Cpu, i: *const Insn) -> u32 {
    cpu.settle_flags();
    // SAFETY: the caller's promise.
    unsafe { go(cpu, i) }
}

/// The region that begins here, which is a handler, has been passed through often enough to be translated better.
///
/// # Safety
/// As [`go`].
pub unsafe extern "C-unwind" fn heat(cpu: &mut Cpu, i: *const Insn) -> u32 {
    cpu.settle_flags();
    let base = cpu.regs[usize::from(slot::RIP_BASE)];
    cpu.heat_up(i, base);
    // SAFETY: instructions of a block follow each other.
    unsafe { go(cpu, i.add(1)) }
}

/// Behind the direct branch `i`, which a region has executed and not taken.
///
/// # Safety
/// As [`follow`].
pub unsafe extern "C-unwind" fn untaken(cpu: &mut Cpu, i: *const Insn) -> u32 {
    cpu.settle_flags();
    // SAFETY: the caller's promise.
    unsafe { follow(cpu, i, false) }
}

/// Behind the direct branch `i`, which a region has executed and taken.
///
/// # Safety
/// As [`follow`].
pub unsafe extern "C-unwind" fn taken(cpu: &mut Cpu, i: *const Insn) -> u32 {
    cpu.settle_flags();
    // SAFETY: the caller's promise.
    unsafe { follow(cpu, i, true) }
}

/// Behind the indirect branch `i`, which a region has executed; it leads to `cpu.rip`.
///
/// # Safety
/// As [`jump_to`].
pub unsafe extern "C-unwind" fn indirect(cpu: &mut Cpu, i: *const Insn) -> u32 {
    cpu.settle_flags();
    let target = cpu.rip;
    // SAFETY: the caller's promise.
    unsafe { jump_to(cpu, i, target) }
}

/// Before `i`: the run loop has something to do.
///
/// # Safety
/// As [`go`].
pub unsafe extern "C-unwind" fn look_around(cpu: &mut Cpu, i: *const Insn) -> u32 {
    cpu.settle_flags();
    // SAFETY: the caller's promise.
    cpu.rip = cpu.rip_of(unsafe { &*i });
    LOOK_UP
}

/// An instruction that a region leaves to the interpreter, without leaving itself: see
/// [`layout::exact`](crate::region::layout::exact).
///
/// # Safety
/// As [`go`].
pub unsafe fn exact_within_region(cpu: &mut Cpu, i: *const Insn) -> u64 {
    cpu.settle_flags();
    // SAFETY: the caller's promise.
    match handlers::exact_alone(cpu, unsafe { &*i }) {
        None => GO_ON,
        Some(code) => exit::pack(exit::CODE, code.into()),
    }
}

impl Cpu {
    /// Makes the flags, if translated code has deferred that.
    #[inline(always)]
    pub fn settle_flags(&mut self) {
        if self.deferred != SETTLED {
            self.settle_deferred();
        }
    }

    fn settle_deferred(&mut self) {
        let LazyFlags { result, aux } = self.flags;
        let deferred = Deferred::unpack(std::mem::replace(&mut self.deferred, SETTLED));
        if let Some(deferred) = deferred {
            // SAFETY: the emitter does not outlive the borrow.
            let mut e = unsafe { Fast::new(self) };
            deferred.settle(&mut e, result, aux);
        }
    }

    /// Lets `translator` translate what is hot from now on.
    pub fn set_translator(&mut self, translator: Arc<dyn Translator>) {
        self.blocks.flush();
        self.mmu.flush_all();
        let thresholds = Some(translator.thresholds());
        let eviction = translator.eviction();
        self.hot = Hot { translator: Some(translator), thresholds, eviction, ..Hot::default() };
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
        let key = super::blocks::key(physical, self.mode.stepping());
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
        let mut instance = Instance::new(region, points, i64::MAX);
        let imm = &raw mut instance as u64;
        let entry = Insn { imm, flags: flag::ENTRY, ..Insn::blank(instance.handler()) };
        // The handler goes on to the instruction behind its entry where the region cannot run.
        if !self.can_run(&mut instance) {
            return self.execute_one();
        }
        self.enter_mxcsr();
        let code = self.enter(&super::build::Found { entry: &raw const entry, ..found }, 0);
        let result = if code == handlers::RAISED { self.raised.take().map_or(Ok(()), Err) } else { Ok(()) };
        self.sync_mxcsr();
        result
    }

    /// The counter of entry `i` has come to zero.
    #[cold]
    fn warm_up(&mut self, i: *const Insn) {
        let Some(translator) = self.hot.translator.clone() else { return };
        // SAFETY: an entry of a block in the arena.
        let (page, looked) = unsafe { ((*i).disp, (*i).imm2) };
        let key = super::blocks::key(page, self.mode);
        let known = translator.find(key).is_some_and(|region| self.attach(&region));
        if known {
            return;
        }
        let left = match looked {
            0 => u64::from(translator.thresholds().warm),
            _ => PATIENCE,
        };
        let first = if translator.thresholds().hot == 0 { Tier::Hot } else { Tier::Warm };
        // SAFETY: as above; nothing else refers to it now.
        unsafe {
            let entry = &mut *i.cast_mut();
            (entry.imm, entry.imm2) = (left.max(1), 1);
        }
        if looked != 0
            && let Some(source) = self.source(key, self.regs[usize::from(slot::RIP_BASE)], first)
        {
            self.ask(&*translator, source);
        }
    }

    /// Whether an instance can be run now: whether what it takes for granted is so.
    #[inline(always)]
    fn can_run(&mut self, instance: &mut Instance) -> bool {
        if instance.default_mxcsr && self.simd.mxcsr & CONTROL != DEFAULT {
            return false;
        }
        let (stamp, base) = instance.placed;
        let known = self.mmu.is_current(stamp) && base == self.regs[usize::from(slot::RIP_BASE)];
        instance.one_page || known || self.place(instance)
    }

    /// Looks whether the pages of a region are where they were when it was made.
    #[cold]
    fn place(&mut self, instance: &mut Instance) -> bool {
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

    /// The region that begins at entry `i`, entered with RIP base `base`, has executed so much that a better one is asked for.
    #[cold]
    fn heat_up(&mut self, i: *const Insn, base: u64) {
        let Some(translator) = self.hot.translator.clone() else { return };
        // SAFETY: an entry of a block in the arena, and its instance, as in `region`.
        let (page, instance) = unsafe { ((*i).disp, &mut *((*i).imm as *mut Instance)) };
        instance.left = i64::MAX;
        if instance.region.tier == Tier::Hot {
            return;
        }
        let key = super::blocks::key(page, self.mode);
        if let Some(source) = self.source(key, base, Tier::Hot) {
            self.ask(&*translator, source);
        }
    }

    /// The region that begins at entry `i`, entered with RIP base `base`, has left because accesses that it checks
    /// together were not all possible directly, though the first one was. If that happens all the time, it is made anew
    /// with a check for each.
    #[cold]
    fn split_up(&mut self, i: *const Insn, base: u64) {
        // SAFETY: as in `heat_up`.
        let (page, instance) = unsafe { ((*i).disp, &mut *((*i).imm as *mut Instance)) };
        let Some((splits, since)) = instance.splits else { return };
        if splits < SPLITS {
            instance.splits = Some((splits + 1, since));
            return;
        }
        instance.splits = Some((0, instance.left));
        // `left` was set anew meanwhile, or the exits are rare.
        if !(0..i64::from(SPLITS) * BETWEEN_SPLITS).contains(&(since - instance.left)) {
            return;
        }
        let Some(translator) = self.hot.translator.clone() else { return };
        instance.splits = None;
        let tier = instance.region.tier;
        if let Some(source) = self.source(super::blocks::key(page, self.mode), base, tier) {
            let source = Source { apart: true, ..source };
            self.ask(&*translator, source);
        }
    }

    /// The region that begins at entry `i`, entered with RIP base `base`, has left by the indirect branch at its point
    /// `number`. If it does that all the time, it is made anew with the blocks that such branches lead to.
    #[cold]
    fn note_stray(&mut self, i: *const Insn, base: u64, number: usize) {
        // SAFETY: as in `heat_up`.
        let (page, instance) = unsafe { ((*i).disp, &mut *((*i).imm as *mut Instance)) };
        let (from, _) = instance.region.blocks[usize::from(instance.region.points[number].block)];
        let JumpEntry { rip, rip_base, entry, mode, stamp } = *self.blocks.jump(self.rip);
        let known = rip == self.rip && mode == self.mode.bits() && self.mmu.is_current(stamp);
        // SAFETY: entries that are current lead to blocks of this arena.
        if let Some(to) = known.then(|| unsafe { &*entry }).filter(|to| is_entry(to)) {
            let distance = rip_base.wrapping_sub(self.regs[usize::from(slot::RIP_BASE)]);
            let place = ((to.disp, from.1), distance);
            let places = self.hot.strays.entry(from).or_default();
            if places.len() < PLACES && !places.contains(&place) {
                places.push(place);
            }
        }
        let (strays, since) = instance.strays;
        if strays < STRAYS {
            return;
        }
        instance.strays = (0, instance.left);
        // `left` was set anew meanwhile, or the exits are rare.
        let often = (0..i64::from(STRAYS) * BETWEEN_STRAYS).contains(&(since - instance.left));
        let key = super::blocks::key(page, self.mode);
        let remade = self.hot.remade.entry(key).or_default();
        if !often || *remade == REMADE || instance.region.tier != Tier::Hot {
            return;
        }
        *remade += 1;
        let Some(translator) = self.hot.translator.clone() else { return };
        if let Some(source) = self.source(key, base, Tier::Hot) {
            self.ask(&*translator, source);
        }
    }

    /// Asks for a translation, and begins to use what is there.
    fn ask(&mut self, translator: &dyn Translator, source: Source) {
        // Who translates at once computes with the host's MXCSR, in which the guest's flags are.
        self.sync_mxcsr();
        translator.request(self.id, &self.signal.clone(), source);
        self.enter_mxcsr();
        self.attach_ready();
    }

    /// Begins to use what has been translated for this CPU.
    pub(super) fn attach_ready(&mut self) {
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
    fn let_go(&mut self, all: bool) {
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
            self.hot.retire(first);
        }
    }

    /// Gives back what was let go of. Not while a region is running.
    pub(super) fn release_regions(&mut self) {
        if !std::mem::take(&mut self.hot.let_go) {
            return;
        }
        self.hot.bury();
        if let Some(translator) = &self.hot.translator {
            translator.released();
        }
    }

    /// Begins to use `region`, if all its blocks are known here and have not changed since.
    fn attach(&mut self, region: &Arc<Region>) -> bool {
        let Some(&(first, _)) = region.blocks.first() else { return false };
        let mut entries = Vec::with_capacity(region.blocks.len());
        for &(key, digest_then) in &region.blocks {
            let Some(block) = self.blocks.find(key) else { return false };
            let insns = insns_of(&block);
            if digest(insns, block.second_page) != digest_then {
                return false;
            }
            entries.push(insns.as_ptr());
        }
        let hot =
            self.hot.thresholds.map(|thresholds| thresholds.hot).filter(|hot| *hot != Thresholds::NEVER);
        let hot = hot.map_or(i64::MAX, i64::from);
        // SAFETY: points are within the blocks they name: the digests agree.
        let point = |p: &Point| unsafe { entries[usize::from(p.block)].add(p.insn.into()) };
        let points = region.points.iter().map(point).collect();
        let instance = Box::new(Instance::new(region.clone(), points, hot));
        let Some(block) = self.blocks.find(first) else { return false };
        // SAFETY: the first entry of a block in the arena. If it is executed now, that is done with it.
        unsafe {
            if !is_entry(&*block.entry) {
                return false;
            }
            (*block.entry).imm = &raw const *instance as u64;
            (*block.entry).handler = instance.handler();
        }
        self.hot.retire(first);
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

/// The instructions of a block, without the entry before them.
pub(super) fn insns_of(block: &BlockRef) -> &[Insn] {
    // SAFETY: a block in the arena has that many entries.
    let all = unsafe { std::slice::from_raw_parts(block.entry.cast_const(), block.len as usize) };
    if all.first().is_some_and(is_entry) { &all[1..] } else { all }
}

/// Whether blocks decoded for `mode` are counted.
pub fn counts(mode: Mode) -> bool {
    !mode.is_stepping() && !mode.is_observed() && !mode.is_limited() && !mode.checks_alignment()
}
