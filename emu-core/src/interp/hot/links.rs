//! Linking regions to each other, so that translated code goes from one to the next by itself: direct branches by the
//! links of their instances, indirect ones by the cache for them. Regions that are called take part by a handler that
//! calls them, where the translator has one ([`Inlet::called`](crate::region::Inlet::called)).
//!
//! An instance knows who leads to it, and when it is retired nobody does any more. An instance that is retired leads
//! nowhere: it may still be running.

use super::{Hot, Instance, is_entry};
use crate::{
    cpu::{Cpu, slot},
    decode::{Handler, Insn, flag},
    interp::{
        blocks::{Crossing, Tail},
        jumps::Jumps,
    },
    region::{BlockKey, Entry, ways::Door},
};

/// Those who lead to an instance are looked through when there are so many more of them than were good the last time.
const INCOMING: usize = 64;

impl Hot {
    /// Makes an instance one that others can be linked to.
    pub(super) fn number(&mut self, instance: &mut Instance) {
        self.made += 1;
        instance.serial = self.made;
        match (instance.region.entry, self.inlet) {
            (Entry::Handler(inlet), _) => self.inlet = Some(inlet),
            (Entry::Called(_), Some(inlet)) => {
                (instance.door.inside, instance.unlinked.inside) = (inlet.called, inlet.unlinked);
            }
            (Entry::Called(_), None) => {}
        }
    }

    /// What executes `instance`, as the handler of an entry.
    pub(super) fn handler_of(&self, instance: &Instance) -> Handler {
        match (instance.region.entry, self.inlet) {
            (Entry::Handler(inlet), _) => inlet.handler,
            (Entry::Called(_), Some(inlet)) => inlet.called_handler,
            (Entry::Called(_), None) => super::handlers::region,
        }
    }

    /// Sees to it that nothing leads to `instance`, which is no longer among the instances, and it nowhere.
    pub(super) fn isolate(&mut self, instance: &mut Instance, jumps: &mut Jumps) {
        let door = &raw const instance.door;
        for (first, serial, way) in std::mem::take(&mut instance.incoming) {
            if let Some(other) = self.instances.get_mut(&first).filter(|other| other.serial == serial) {
                other.unlink(way, door);
            }
        }
        for number in std::mem::take(&mut instance.jumps) {
            jumps.unlink(number, door);
        }
        instance.serial = 0;
        instance.unlink_all();
    }

    /// Notes that way `way` of the instance `from`, which begins with block `first`, leads to `to`.
    fn note_incoming(&self, to: &mut Instance, from: (BlockKey, u64), way: usize) {
        if to.incoming.len() == to.incoming.capacity() && to.incoming.len() >= INCOMING {
            let door = &raw const to.door;
            to.incoming.retain(|(first, serial, way)| {
                let other = self.instances.get(first).filter(|other| other.serial == *serial);
                other.is_some_and(|other| other.link(*way) == door)
            });
        }
        to.incoming.push((from.0, from.1, way));
    }
}

/// The instance of the region that block `entry` begins with, if others can enter it.
///
/// # Safety
/// A block in the arena. Nothing else refers to the instance while the caller does.
unsafe fn instance_at<'a>(entry: *const Insn) -> Option<&'a mut Instance> {
    // SAFETY: the caller's promise.
    let first = unsafe { &*entry };
    if !is_entry(first) || first.handler as usize == super::handlers::count as *const () as usize {
        return None;
    }
    // SAFETY: what does not count has an instance.
    let instance = unsafe { &mut *(first.imm as *mut Instance) };
    (instance.serial != 0 && instance.door.inside != 0).then_some(instance)
}

impl Cpu {
    /// Links way `number` of `from`, by the direct branch `i`, to the region that it leads to, if it is known to lead to
    /// one.
    ///
    /// # Safety
    /// `i` is the last of its block.
    pub(super) unsafe fn link_up(&mut self, from: &mut Instance, number: usize, i: *const Insn) {
        let way = from.region.ways[number];
        // SAFETY: the caller's promise.
        let link = unsafe { (*i.add(1).cast::<Tail>()).link[usize::from(way.taken)] };
        // SAFETY: links lead to instructions in the arena.
        let crosses = !link.is_null() && unsafe { (*link).has(flag::CROSSING) };
        if from.serial == 0 || link.is_null() || crosses && !way.crosses {
            return;
        }
        let base = self.regs[usize::from(slot::RIP_BASE)];
        let mut across = (base, base, self.mmu.stamp(true));
        let mut entry = link;
        if crosses {
            // SAFETY: it is a link into another page; nothing else refers to it now.
            let crossing = unsafe { &mut *link.cast_mut().cast::<Crossing>() };
            if !self.renew(crossing) {
                return;
            }
            across = (crossing.from_base, crossing.to_base, crossing.stamp);
            entry = crossing.entry;
        }
        let (first, _) = from.region.blocks[0];
        // A region that leads to itself has to be told apart.
        if entry == from.entry {
            from.set_link(number, &raw const from.door, across);
            return;
        }
        // SAFETY: a block in the arena, and not that of `from`.
        let Some(to) = (unsafe { instance_at(entry) }) else { return };
        let door: *const Door = &raw const to.door;
        if from.link(number) != door {
            self.hot.note_incoming(to, (first, from.serial), number);
        }
        from.set_link(number, door, across);
    }

    /// Has the cache for indirect jumps tell translated code which region begins at `rip`, if that is known.
    pub(super) fn link_jump(&mut self, rip: u64) {
        let jump = *self.blocks.jumps.entry(rip);
        if jump.rip != rip || !jump.door.is_null() || jump.entry.is_null() {
            return;
        }
        // SAFETY: the cache names blocks of the arena.
        let Some(to) = (unsafe { instance_at(jump.entry) }) else { return };
        let door = &raw const to.door;
        if to.jumps.len() == to.jumps.capacity() && to.jumps.len() >= INCOMING {
            to.jumps.retain(|number| self.blocks.jumps.leads_to(*number, door));
        }
        to.jumps.push(self.blocks.jumps.link(rip, door));
    }
}
