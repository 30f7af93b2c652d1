//! Indirect branches, and other instructions after which the next one is looked for by RIP.

use super::{
    LOOK_UP, go,
    straight::{leave_after, raise, run_exact},
};
use crate::{
    arch::Flags,
    cpu::{Cpu, slot},
    decode::Insn,
    interp::{blocks::Tail, emit::Fast, jumps::JumpEntry},
    semantics::Semantics,
    state::Activity,
};
use std::sync::atomic::Ordering;

/// An indirect branch on the fast path.
///
/// # Safety
/// As [`branch`].
pub unsafe extern "C-unwind" fn indirect<S: Semantics>(cpu: &mut Cpu, i: *const Insn) -> u32 {
    // SAFETY: as in `fast`.
    let (insn, mut e) = unsafe { (&*i, Fast::new(cpu)) };
    match S::run(&mut e, insn) {
        Ok(()) => {
            let target = e.target;
            // SAFETY: the branch is the last of its block.
            unsafe { jump_to(cpu, i, target) }
        }
        // SAFETY: the same instruction.
        Err(_) => unsafe { indirect_exact(cpu, i) },
    }
}

/// An indirect branch, exactly.
///
/// # Safety
/// As [`branch`].
pub unsafe extern "C-unwind" fn indirect_exact(cpu: &mut Cpu, i: *const Insn) -> u32 {
    // SAFETY: the caller's promise.
    let insn = unsafe { &*i };
    match run_exact(cpu, insn) {
        Ok((_, target)) if cpu.leave_block => leave_after(cpu, insn, target),
        // SAFETY: the branch is the last of its block.
        Ok((_, target)) => unsafe { jump_to(cpu, i, target) },
        Err(exception) => raise(cpu, insn, exception),
    }
}

/// Goes on at RIP `target`.
///
/// # Safety
/// As [`follow`].
#[inline(always)]
pub unsafe fn jump_to(cpu: &mut Cpu, i: *const Insn, target: u64) -> u32 {
    // SAFETY: the caller's promise; nothing else refers to the tail now.
    let tail = unsafe { &mut *i.add(1).cast_mut().cast::<Tail>() };
    cpu.budget -= tail.count;
    let JumpEntry { rip, rip_base, entry, mode, stamp, .. } = *cpu.blocks.jumps.entry(target);
    let attention = cpu.signal.attention().load(Ordering::Relaxed);
    let known = rip == target && mode == cpu.mode.bits() && cpu.mmu.is_current(stamp);
    if !known || cpu.budget < 0 || attention != 0 {
        cpu.rip = target;
        if cpu.budget < 0 || attention != 0 || rip != target || mode != cpu.mode.bits() {
            return LOOK_UP;
        }
        // SAFETY: the cache names a block of this arena, and the caller's promise.
        return unsafe { jump_again(cpu, entry) };
    }
    if tail.link[1] != entry {
        tail.link = [tail.link[1], entry];
    }
    cpu.regs[usize::from(slot::RIP_BASE)] = rip_base;
    // SAFETY: entries that are current lead to blocks of this arena.
    unsafe { go(cpu, entry) }
}

/// Goes on at RIP, where the block `entry` was when the cache for indirect jumps was told.
///
/// # Safety
/// As [`go`].
#[cold]
unsafe extern "C-unwind" fn jump_again(cpu: &mut Cpu, entry: *const Insn) -> u32 {
    let Some(stamp) = cpu.is_still_at_rip(entry) else { return LOOK_UP };
    // SAFETY: as above.
    let rip_base = cpu.rip.wrapping_sub(unsafe { (*entry).off }.into());
    cpu.blocks.jumps.set(JumpEntry {
        door: std::ptr::null(),
        rip: cpu.rip,
        rip_base,
        entry,
        mode: cpu.mode.bits(),
        stamp,
    });
    cpu.regs[usize::from(slot::RIP_BASE)] = rip_base;
    // SAFETY: the caller's promise.
    unsafe { go(cpu, entry) }
}

/// A row after which nothing may be executed without a look at the state.
///
/// # Safety
/// As [`go`].
pub unsafe extern "C-unwind" fn ends_block(cpu: &mut Cpu, i: *const Insn) -> u32 {
    // SAFETY: the caller's promise.
    let insn = unsafe { &*i };
    cpu.rip = cpu.rip_after(insn);
    match run_exact(cpu, insn) {
        Ok(_) if !wants_run_loop(cpu) => {
            // It holds for one instruction, and without breakpoints has nothing to hold back.
            cpu.eflags.remove(Flags::RF);
            if cpu.events.shadow {
                // SAFETY: the row is the last of its block.
                return unsafe { enter_in_shadow(cpu, i) };
            }
            let target = cpu.rip;
            // SAFETY: the row is the last of its block.
            unsafe { jump_to(cpu, i, target) }
        }
        Ok(_) => {
            // SAFETY: as above: the tail follows.
            cpu.budget -= unsafe { (*i.add(1).cast::<Tail>()).count };
            cpu.observe.last = cpu.rip_of(insn);
            LOOK_UP
        }
        Err(exception) => raise(cpu, insn, exception),
    }
}

/// Goes on behind STI, which holds interrupts back for one instruction: that one comes now, whatever is raised meanwhile,
/// and then there is nothing to hold back any more. It is looked up here, as the run loop would only do so for itself.
///
/// # Safety
/// As [`jump_to`].
unsafe fn enter_in_shadow(cpu: &mut Cpu, i: *const Insn) -> u32 {
    // SAFETY: the caller's promise.
    cpu.budget -= unsafe { (*i.add(1).cast::<Tail>()).count };
    let attention = cpu.signal.attention().load(Ordering::Relaxed);
    if cpu.budget < 0 || attention != 0 || cpu.blocks.is_full() {
        return LOOK_UP;
    }
    let Ok(found) = cpu.look_up() else { return LOOK_UP };
    cpu.events.shadow = false;
    cpu.regs[usize::from(slot::RIP_BASE)] = found.rip_base;
    // SAFETY: just looked up.
    unsafe { go(cpu, found.entry) }
}

/// Whether the state calls for what only the run loop does between instructions.
fn wants_run_loop(cpu: &Cpu) -> bool {
    let events = &cpu.events;
    events.activity != Activity::Active
        || cpu.mode.is_stepping()
        // After STI nothing needs to be done that `enter_in_shadow` does not do.
        || events.shadow && (events.shadow_from_mov_ss || cpu.mode.is_observed())
        || events.pending_debug != 0
        || cpu.leave_block
        // Saved with the interrupt that comes now.
        || cpu.eflags.contains(Flags::RF) && cpu.signal.attention().load(Ordering::Relaxed) != 0
}
