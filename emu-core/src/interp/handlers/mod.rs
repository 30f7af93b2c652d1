//! Handlers: the functions that instructions point to. Each executes one instruction and continues with the
//! next in tail position, so that a run of blocks is a chain of jumps.
//!
//! rustc makes these calls jumps when optimising but does not promise it; a chain that did not would still be
//! bounded by the budget, for which vCPU threads have stack enough. `cargo xtask handlers` checks the machine
//! code. Debug builds return to a loop instead.

mod branch;
mod crossing;
mod entry;
mod indirect;
mod straight;

use crate::{cpu::Cpu, decode::Insn};
pub use branch::{branch, branch_exact, follow};
pub use entry::{forward, is_usable, pause, stale};
pub use indirect::{ends_block, indirect, indirect_exact, jump_to};
pub use straight::{exact_alone, fast, fused, general, quiet, undefined, waiting};

/// Left a block: look up the block at `cpu.rip`.
pub const LOOK_UP: u32 = 0;
/// An exception is in `cpu.raised`, `cpu.rip` at its instruction.
pub const RAISED: u32 = 1;
/// Before an observed instruction, `cpu.rip` at it.
pub const PAUSED: u32 = 3;
/// Debug builds: go on at `cpu.blocks.next`.
#[cfg(debug_assertions)]
pub const CONTINUE: u32 = 2;

/// Continues with `i`.
///
/// # Safety
/// `i` is an instruction of a block in `cpu`'s arena.
#[inline(always)]
pub unsafe fn go(cpu: &mut Cpu, i: *const Insn) -> u32 {
    #[cfg(not(debug_assertions))]
    // SAFETY: the caller's promise.
    unsafe {
        ((*i).handler)(cpu, i)
    }
    #[cfg(debug_assertions)]
    {
        cpu.blocks.next = i;
        CONTINUE
    }
}

/// Runs from `entry` until something needs the run loop.
pub fn enter(cpu: &mut Cpu, entry: *const Insn) -> u32 {
    // SAFETY: `entry` comes from a look-up in this CPU's block cache.
    #[cfg(not(debug_assertions))]
    unsafe {
        ((*entry).handler)(cpu, entry)
    }
    #[cfg(debug_assertions)]
    {
        cpu.blocks.next = entry;
        loop {
            let i = cpu.blocks.next;
            // SAFETY: as above; every handler leaves an instruction of a block there.
            let code = unsafe { ((*i).handler)(cpu, i) };
            if code != CONTINUE {
                return code;
            }
        }
    }
}
