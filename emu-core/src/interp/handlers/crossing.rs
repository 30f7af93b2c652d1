//! Links into other pages, which hold as long as translations do.

use super::{LOOK_UP, entry::is_usable, go};
use crate::{
    cpu::{Cpu, slot},
    decode::{Insn, flag},
    interp::blocks::Crossing,
};

/// A link into another page.
///
/// # Safety
/// `i` points to a [`Crossing`].
pub unsafe extern "C-unwind" fn cross(cpu: &mut Cpu, i: *const Insn) -> u32 {
    // SAFETY: the caller's promise.
    let crossing = unsafe { &*i.cast::<Crossing>() };
    let base = cpu.regs[usize::from(slot::RIP_BASE)];
    if cpu.mmu.is_current(crossing.stamp) && crossing.from_base == base {
        cpu.regs[usize::from(slot::RIP_BASE)] = crossing.to_base;
        // SAFETY: a block of this arena.
        return unsafe { go(cpu, crossing.entry) };
    }
    // SAFETY: as above.
    unsafe { cross_again(cpu, i) }
}

/// The link was made under other translations, or from another linear page: look up, and link anew.
///
/// # Safety
/// As [`cross`].
#[cold]
unsafe extern "C-unwind" fn cross_again(cpu: &mut Cpu, i: *const Insn) -> u32 {
    // SAFETY: the caller's promise; nothing else refers to it now.
    let crossing = unsafe { &mut *i.cast_mut().cast::<Crossing>() };
    let base = cpu.regs[usize::from(slot::RIP_BASE)];
    if cpu.renew(crossing) {
        cpu.regs[usize::from(slot::RIP_BASE)] = crossing.to_base;
        // SAFETY: a block of this arena.
        return unsafe { go(cpu, crossing.entry) };
    }
    if cpu.blocks.is_full() {
        return LOOK_UP;
    }
    let Ok(found) = cpu.look_up() else { return LOOK_UP };
    if found.second_page.is_none() {
        crossing.entry = found.entry;
        crossing.from_base = base;
        crossing.to_base = found.rip_base;
        crossing.stamp = found.stamp;
    }
    cpu.regs[usize::from(slot::RIP_BASE)] = found.rip_base;
    // SAFETY: just looked up.
    unsafe { go(cpu, found.entry) }
}

impl Cpu {
    /// Sees to it that the link into another page is good here and now, and leads where it led before. RIP is then where
    /// it leads; also if that is not so.
    pub(in crate::interp) fn renew(&mut self, crossing: &mut Crossing) -> bool {
        let base = self.regs[usize::from(slot::RIP_BASE)];
        if self.mmu.is_current(crossing.stamp) && crossing.from_base == base {
            return true;
        }
        let distance = crossing.to_base.wrapping_sub(crossing.from_base);
        // SAFETY: a block of this arena.
        let offset = u64::from(unsafe { (*crossing.entry).off });
        self.rip = self.wrap_ip(base.wrapping_add(distance).wrapping_add(offset));
        let Some(stamp) = self.is_still_at_rip(crossing.entry) else { return false };
        (crossing.from_base, crossing.to_base) = (base, self.rip.wrapping_sub(offset));
        crossing.stamp = stamp;
        true
    }

    /// Whether the block at `entry`, decoded in this mode, is what is at RIP now: in which case it has not to be looked
    /// up. Returns the stamp of what leads there.
    pub(super) fn is_still_at_rip(&mut self, entry: *const Insn) -> Option<u32> {
        // SAFETY: a block of this arena.
        let first = unsafe { &*entry };
        // Only an entry that counts knows where it is.
        let known = is_usable(entry) && first.has(flag::ENTRY) && self.observe.code.is_empty();
        let unlimited = match self.mode.bitness() {
            64 => self.is_canonical(self.rip),
            32 => !self.mode.is_limited(),
            _ => false,
        };
        if !known || !unlimited {
            return None;
        }
        let linear = self.code_address();
        let there = self.mmu.translate_fetch(linear) == Ok(first.disp);
        there.then(|| self.mmu.link_stamp(linear))
    }
}
