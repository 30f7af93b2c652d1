//! A region as one CPU runs it.

use crate::{
    decode::Insn,
    region::{
        BlockKey, Called, Entry, Region, Tier,
        layout::NEAR,
        ways::{Door, FarLink, Place, Places},
    },
};
use std::sync::Arc;

/// Times that a hot region that was not used is spared when room is needed.
const SPARED: u8 = 1;

/// Of a link that leads nowhere: RIP bases and stamp.
const NOWHERE: (u64, u64, u32) = (0, 0, 0);

/// A region as this CPU runs it.
///
/// Translated code reads its first fields: see [`layout`](crate::region::layout). The first line of the host's cache is
/// all that it needs for going from one region to the next.
#[repr(C, align(64))]
pub struct Instance {
    /// Where it is entered by others, if it can be. What is left until it is worth a better one are instructions, or as
    /// `layout` says if the region is a handler, which then counts them itself.
    pub door: Door,
    /// Its far links.
    pub far: *mut FarLink,
    /// Its near links.
    pub near: [*const Door; NEAR],
    /// This CPU's instruction for every point: those of `all_points`.
    pub points: *const *const Insn,
    /// The entry of the block that it begins with.
    pub entry: *const Insn,
    /// Where links lead that lead nowhere.
    pub(super) unlinked: Door,
    /// The far links; nothing but `far` refers to them.
    _far_links: Vec<FarLink>,
    /// By way: where its link is.
    places: Box<[Place]>,
    /// Tells apart instances of regions that begin with the same block; zero if it is not to be linked.
    pub(super) serial: u64,
    /// Who has linked to it: the block and serial number of the instance, number of the way.
    pub(super) incoming: Vec<(BlockKey, u64, usize)>,
    /// Entries of the cache for indirect jumps that have been told of it.
    pub(super) jumps: Vec<u32>,
    /// The function, if it is called.
    pub called: Option<Called>,
    /// What it takes for granted: that MXCSR has the default control bits, or that pages are where they were.
    pub default_mxcsr: bool,
    /// See above: nothing of the latter kind.
    pub one_page: bool,
    /// See above: nothing at all.
    pub free: bool,
    pub(super) region: Arc<Region>,
    pub(super) all_points: Vec<*const Insn>,
    /// Times that it has left because a range of accesses was in two pages, and `left` when counting began; `None` when
    /// it is to be replaced: see [`Cpu::split_up`].
    pub(super) splits: Option<(u32, i64)>,
    /// Times that it has left by an indirect branch, and `left` when counting began.
    pub strays: (u32, i64),
    /// `left` when room was needed last: if it is another now, the region has been used since.
    pub(super) seen: i64,
    /// Times since that it may be spared though it was not used.
    pub(super) spared: u8,
    /// If it has several pages: the RIP base for which they are known to be where they should, and the stamp under which.
    pub placed: (u32, u64),
}

const _: () = assert!(std::mem::offset_of!(Instance, points) == 64);

impl Instance {
    /// An instance whose points are `all_points`, for the block that begins with `entry`. `left`: see [`Door`]. It leads
    /// nowhere, and nobody to it.
    pub(super) fn new(
        region: Arc<Region>,
        all_points: Vec<*const Insn>,
        entry: *const Insn,
        left: i64,
    ) -> Box<Self> {
        let mut places = Places::default();
        let by_way = region.ways.iter().map(|way| places.next(way.crosses)).collect();
        let nowhere = FarLink { door: std::ptr::null(), from_base: 0, to_base: 0, stamp: 0 };
        let mut far_links = vec![nowhere; places.far];
        let (called, inside, unlinked) = match region.entry {
            Entry::Called(called) => (Some(called), 0, 0),
            Entry::Handler(inlet) => (None, inlet.inside, inlet.unlinked),
        };
        let mut instance = Box::new(Instance {
            door: Door { left, inside },
            far: far_links.as_mut_ptr(),
            near: [std::ptr::null(); NEAR],
            points: all_points.as_ptr(),
            entry,
            unlinked: Door { left: 0, inside: unlinked },
            _far_links: far_links,
            places: by_way,
            serial: 0,
            incoming: Vec::new(),
            jumps: Vec::new(),
            default_mxcsr: region.default_mxcsr,
            one_page: region.pages.is_empty(),
            free: region.pages.is_empty() && !region.default_mxcsr,
            called,
            region,
            all_points,
            splits: Some((0, left)),
            strays: (0, left),
            // Who has just been attached counts as used.
            seen: i64::MIN,
            spared: 0,
            placed: (0, 0),
        });
        instance.unlink_all();
        instance
    }

    /// Has no way lead anywhere.
    pub(super) fn unlink_all(&mut self) {
        for number in 0..self.places.len() {
            self.set_link(number, &raw const self.unlinked, NOWHERE);
        }
    }

    /// Has way `number` lead nowhere, if it leads to `door`.
    pub(super) fn unlink(&mut self, number: usize, door: *const Door) {
        if self.link(number) == door {
            self.set_link(number, &raw const self.unlinked, NOWHERE);
        }
    }

    /// Whether way `number` leads anywhere.
    pub(super) fn is_linked(&self, number: usize) -> bool {
        self.link(number) != &raw const self.unlinked
    }

    /// Where way `number` leads.
    pub(super) fn link(&self, number: usize) -> *const Door {
        match self.places[number] {
            Place::Near(n) => self.near[n],
            // SAFETY: there are as many far links as there are places for them, and translated code does not run.
            Place::Far(n) => unsafe { (*self.far.add(n)).door },
        }
    }

    /// Has way `number` lead to `door`; if it may cross pages, for the RIP bases and under the stamp `across`.
    pub(super) fn set_link(&mut self, number: usize, door: *const Door, across: (u64, u64, u32)) {
        match self.places[number] {
            Place::Near(n) => self.near[n] = door,
            Place::Far(n) => {
                let (from_base, to_base, stamp) = across;
                // SAFETY: as in `link`.
                unsafe { *self.far.add(n) = FarLink { door, from_base, to_base, stamp } }
            }
        }
    }

    /// The way whose link is at that address.
    pub(super) fn way_at(&self, link: usize) -> usize {
        let is_there = |place: &Place| match *place {
            Place::Near(n) => &raw const self.near[n] as usize == link,
            Place::Far(n) => self.far as usize + n * size_of::<FarLink>() == link,
        };
        self.places.iter().position(is_there).expect("regions leave by their own links")
    }

    /// Whether it is to be kept though room is needed: it has been used since that was so the last time, or is worth
    /// more than most.
    pub(super) fn is_spared(&mut self) -> bool {
        if self.door.left != self.seen {
            self.spared = if self.region.tier == Tier::Hot { SPARED } else { 0 };
            self.seen = self.door.left;
            return true;
        }
        let spared = self.spared > 0;
        self.spared = self.spared.saturating_sub(1);
        spared
    }
}
