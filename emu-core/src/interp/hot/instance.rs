//! A region as one CPU runs it.

use super::handlers::region;
use crate::{
    decode::{Handler, Insn},
    region::{Called, Entry, Region, Tier},
};
use std::sync::Arc;

/// Times that a hot region that was not used is spared when room is needed.
const SPARED: u8 = 1;

/// A region as this CPU runs it.
#[repr(C)]
pub struct Instance {
    /// This CPU's instruction for every point: those of `all_points`. Translated code reads it.
    pub points: *const *const Insn,
    /// What is left until it is worth a better one: instructions, or as [`layout`](crate::region::layout) says if the region
    /// is a handler, which then counts them itself.
    pub left: i64,
    /// Of the region, what every passage must know.
    pub(super) default_mxcsr: bool,
    pub(super) one_page: bool,
    pub(super) called: Option<Called>,
    pub(super) region: Arc<Region>,
    pub(super) all_points: Vec<*const Insn>,
    /// Times that it has left because a range of accesses was in two pages, and `left` when counting began; `None` when
    /// it is to be replaced: see [`Cpu::split_up`].
    pub(super) splits: Option<(u32, i64)>,
    /// Times that it has left by an indirect branch, and `left` when counting began.
    pub(super) strays: (u32, i64),
    /// `left` when room was needed last: if it is another now, the region has been used since.
    pub(super) seen: i64,
    /// Times since that it may be spared though it was not used.
    pub(super) spared: u8,
    /// If it has several pages: the RIP base for which they are known to be where they should, and the stamp under which.
    pub(super) placed: (u32, u64),
}

impl Instance {
    pub(super) fn new(region: Arc<Region>, all_points: Vec<*const Insn>, left: i64) -> Self {
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
    pub(super) fn is_spared(&mut self) -> bool {
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
    pub(super) fn handler(&self) -> Handler {
        match self.region.entry {
            Entry::Called(_) => region,
            Entry::Handler(handler) => handler,
        }
    }
}
