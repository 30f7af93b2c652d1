//! The ways on from a region: its direct branches that lead out of it.
//!
//! Each has a *link* in the [`Instance`](crate::interp::Instance), which leads to the [`Door`] of another region; or to
//! one that stands for the handler [`UNLINKED`](super::layout::handlers::UNLINKED), which knows the way by its link. So
//! translated code has nothing to look up, and entering another region touches one line of its instance. Links are
//! *near*, next to the door of their own instance, as long as there is room and they stay in their page; else *far*. Those
//! of regions that are called are all far, in the order of the ways.

use super::layout::NEAR;

/// A direct branch that leads out of a region, one of its ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// Number of its point.
    pub point: u32,
    /// The branch is taken.
    pub taken: bool,
    /// It may lead to another page, and host code looks whether the link is good. One that does though this says
    /// otherwise is never linked.
    pub crosses: bool,
}

/// Where a region is entered by others. Translated code reads it.
#[derive(Debug)]
#[repr(C)]
pub struct Door {
    /// See [`INSTANCE_LEFT`](super::layout::INSTANCE_LEFT).
    pub left: i64,
    /// Address of the host code.
    pub inside: usize,
}

/// A link that leads to another page, or for which there is no room elsewhere. Translated code reads it.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct FarLink {
    /// Where it leads.
    pub door: *const Door,
    /// If it crosses: RIP base it was made at.
    pub from_base: u64,
    /// RIP base it leads to.
    pub to_base: u64,
    /// How long it does: see [`STAMPS`](super::layout::STAMPS). Zero: not at all.
    pub stamp: u32,
}

/// Where a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Number `n` of the near ones.
    Near(usize),
    /// Number `n` of the far ones.
    Far(usize),
}

/// Gives links their places, in the order of the ways.
#[derive(Debug, Default)]
pub struct Places {
    near: usize,
    /// Far ones until now.
    pub far: usize,
}

impl Places {
    /// The place of the next way's link.
    pub fn next(&mut self, crosses: bool) -> Place {
        if !crosses && self.near < NEAR {
            self.near += 1;
            return Place::Near(self.near - 1);
        }
        self.far += 1;
        Place::Far(self.far - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_links_are_for_ways_within_the_page_while_there_is_room() {
        let mut places = Places::default();
        assert_eq!([true, false].map(|crosses| places.next(crosses)), [Place::Far(0), Place::Near(0)]);
        for n in 1..NEAR {
            assert_eq!(places.next(false), Place::Near(n));
        }
        assert_eq!((places.next(false), places.far), (Place::Far(1), 2));
    }
}
