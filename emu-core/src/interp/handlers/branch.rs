//! Direct branches, and how blocks are linked.

use super::{
    LOOK_UP,
    crossing::cross,
    go,
    straight::{leave_after, raise, run_exact},
};
use crate::{
    arch::Width,
    cpu::{Cpu, slot},
    decode::{Insn, flag},
    interp::{
        blocks::{Crossing, Tail},
        emit::Fast,
    },
    semantics::Semantics,
};
use std::sync::atomic::Ordering;

/// A direct branch on the fast path: conditional or not.
///
/// # Safety
/// As [`go`]; the tail follows.
pub unsafe extern "C-unwind" fn branch<S: Semantics>(cpu: &mut Cpu, i: *const Insn) -> u32 {
    // SAFETY: as in `fast`.
    let (insn, mut e) = unsafe { (&*i, Fast::new(cpu)) };
    match S::run(&mut e, insn) {
        Ok(()) => {
            let taken = e.taken;
            // SAFETY: the branch is the last of its block.
            unsafe { follow(cpu, i, taken) }
        }
        // SAFETY: the same instruction.
        Err(_) => unsafe { branch_exact(cpu, i) },
    }
}

/// A direct branch, exactly.
///
/// # Safety
/// As [`branch`].
pub unsafe extern "C-unwind" fn branch_exact(cpu: &mut Cpu, i: *const Insn) -> u32 {
    // SAFETY: the caller's promise.
    let insn = unsafe { &*i };
    match run_exact(cpu, insn) {
        Ok((taken, _)) if cpu.leave_block => {
            let next = branch_target(cpu, insn, taken);
            leave_after(cpu, insn, next)
        }
        // SAFETY: the branch is the last of its block.
        Ok((taken, _)) => unsafe { follow(cpu, i, taken) },
        Err(exception) => raise(cpu, insn, exception),
    }
}

/// Goes on after the direct branch `i` to wherever it leads.
///
/// # Safety
/// `i` is the last instruction of its block: the tail follows.
#[inline(always)]
pub unsafe fn follow(cpu: &mut Cpu, i: *const Insn, taken: bool) -> u32 {
    // SAFETY: the caller's promise.
    let tail = unsafe { &*i.add(1).cast::<Tail>() };
    cpu.budget -= tail.count;
    let link = tail.link[usize::from(taken)];
    let attention = cpu.signal.attention().load(Ordering::Relaxed);
    if cpu.budget < 0 || attention != 0 || link.is_null() {
        // SAFETY: as above.
        return unsafe { leave(cpu, i, taken) };
    }
    // SAFETY: links lead to instructions in the arena as long as the block with the link exists.
    unsafe { go(cpu, link) }
}

/// RIP after the direct branch `i`.
fn branch_target(cpu: &Cpu, i: &Insn, taken: bool) -> u64 {
    if taken { cpu.direct_target(i) } else { cpu.rip_after(i) }
}

/// Whether a direct branch that leads to a good target always will: the limit of CS can be another the next time.
fn can_link(cpu: &Cpu, i: &Insn, taken: bool) -> bool {
    let wide = taken && cpu.mode.bitness() == 16 && i.width[0] != Width::W16;
    !cpu.mode.is_limited() && !wide
}

/// The end of a block whose successor is not linked, or the run loop must look around.
///
/// # Safety
/// As [`follow`].
#[cold]
unsafe extern "C-unwind" fn leave(cpu: &mut Cpu, i: *const Insn, taken: bool) -> u32 {
    // SAFETY: the caller's promise.
    let insn = unsafe { &*i };
    let target = branch_target(cpu, insn, taken);
    if taken && !cpu.can_jump_to(target) {
        // SAFETY: the caller's promise. It is a conditional jump, which has committed nothing.
        return unsafe { branch_exact(cpu, i) };
    }
    cpu.rip = target;
    if cpu.budget < 0 || cpu.signal.attention().load(Ordering::Relaxed) != 0 || cpu.blocks.is_full() {
        return LOOK_UP;
    }
    let from_base = cpu.regs[usize::from(slot::RIP_BASE)];
    let Ok(found) = cpu.look_up() else { return LOOK_UP };
    if found.second_page.is_none() && can_link(cpu, insn, taken) {
        let link = if found.rip_base == from_base {
            found.entry
        } else {
            let crossing = Crossing {
                handler: cross,
                entry: found.entry,
                from_base,
                to_base: found.rip_base,
                stamp: found.stamp,
                unused: [0; 2],
                flags: flag::CROSSING,
            };
            cpu.blocks.insert_crossing(crossing)
        };
        // SAFETY: the tail follows; nothing else refers to it now.
        unsafe { (*i.add(1).cast_mut().cast::<Tail>()).link[usize::from(taken)] = link };
    }
    cpu.regs[usize::from(slot::RIP_BASE)] = found.rip_base;
    // SAFETY: just looked up.
    unsafe { go(cpu, found.entry) }
}
