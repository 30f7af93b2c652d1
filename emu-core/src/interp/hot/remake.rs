//! Regions that turn out to have been made on wrong assumptions, and are made anew: with a check for each access, or with
//! the blocks that indirect branches really lead to.

use super::{Instance, is_entry};
use crate::{
    cpu::{Cpu, slot},
    interp::jumps::JumpEntry,
    region::{Source, Tier},
};

/// Times that a region may leave for a range in two pages before it is looked at how often that is.
const SPLITS: u32 = 1000;
/// Instructions in a region that pay for leaving it once.
const BETWEEN_SPLITS: i64 = 400;
/// Times that a hot region may leave by an indirect branch before it is looked at how often that is.
const STRAYS: u32 = 1 << 16;
/// Instructions in a region that pay for leaving it by an indirect branch once.
const BETWEEN_STRAYS: i64 = 200;
/// Places noted for one branch.
const PLACES: usize = 16;
/// Times that a region is made anew for their sake.
const REMADE: u8 = 3;

impl Cpu {
    /// The region of `instance`, entered with RIP base `base`, has left because accesses that it checks
    /// together were not all possible directly, though the first one was. If that happens all the time, it is made anew
    /// with a check for each.
    #[cold]
    pub(super) fn split_up(&mut self, instance: &mut Instance, base: u64) {
        let (key, _) = instance.region.blocks[0];
        let Some((splits, since)) = instance.splits else { return };
        if splits < SPLITS {
            instance.splits = Some((splits + 1, since));
            return;
        }
        instance.splits = Some((0, instance.door.left));
        // `left` was set anew meanwhile, or the exits are rare.
        if !(0..i64::from(SPLITS) * BETWEEN_SPLITS).contains(&(since - instance.door.left)) {
            return;
        }
        let Some(translator) = self.hot.translator.clone() else { return };
        instance.splits = None;
        let tier = instance.region.tier;
        if let Some(source) = self.source(key, base, tier) {
            let source = Source { apart: true, ..source };
            self.ask(&*translator, source);
        }
    }

    /// The region of `instance`, entered with RIP base `base`, has left by the indirect branch at its point
    /// `number`. If it does that all the time, it is made anew with the blocks that such branches lead to.
    #[cold]
    pub(super) fn note_stray(&mut self, instance: &mut Instance, base: u64, number: usize) {
        let (key, _) = instance.region.blocks[0];
        let (from, _) = instance.region.blocks[usize::from(instance.region.points[number].block)];
        let JumpEntry { rip, rip_base, entry, mode, stamp, .. } = *self.blocks.jumps.entry(self.rip);
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
        instance.strays = (0, instance.door.left);
        // `left` was set anew meanwhile, or the exits are rare.
        let often = (0..i64::from(STRAYS) * BETWEEN_STRAYS).contains(&(since - instance.door.left));
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
}
