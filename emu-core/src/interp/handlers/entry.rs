//! What can stand at the beginning of a block beside an instruction.

use super::{LOOK_UP, PAUSED, go};
use crate::{
    cpu::Cpu,
    decode::{Insn, flag},
};

/// Before an instruction that is observed.
///
/// # Safety
/// As [`go`].
pub unsafe extern "C-unwind" fn pause(cpu: &mut Cpu, i: *const Insn) -> u32 {
    // SAFETY: the caller's promise.
    cpu.rip = cpu.rip_of(unsafe { &*i });
    if cpu.pauses_here() {
        return PAUSED;
    }
    // SAFETY: instructions of a block follow each other.
    unsafe { go(cpu, i.add(1)) }
}

/// Whether the block at `entry`, which is in the arena of its CPU, is good and where it has always been.
pub fn is_usable(entry: *const Insn) -> bool {
    // SAFETY: the caller's promise.
    unsafe { !(*entry).has(flag::GONE) }
}

/// First instruction of a block that must be decoded again.
///
/// # Safety
/// As [`go`].
pub unsafe extern "C-unwind" fn stale(cpu: &mut Cpu, i: *const Insn) -> u32 {
    // SAFETY: the caller's promise.
    cpu.rip = cpu.rip_of(unsafe { &*i });
    LOOK_UP
}

/// First instruction of a block that has moved to `imm`.
///
/// # Safety
/// As [`go`].
pub unsafe extern "C-unwind" fn forward(cpu: &mut Cpu, i: *const Insn) -> u32 {
    // SAFETY: the caller's promise; `imm` is the address of a block in this arena, and so is that of another
    // forwarding block, which is skipped from now on.
    unsafe {
        let target = (*i).imm as *const Insn;
        if (*target).has(flag::GONE) && (*target).handler as usize == forward as *const () as usize {
            (*i.cast_mut()).imm = (*target).imm;
        }
        go(cpu, target)
    }
}
