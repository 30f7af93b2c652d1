//! Slow architectural routines on [`Cpu`](crate::cpu::Cpu), called by every tier: far transfers, interrupt
//! delivery, task switches, system registers, CPUID, MSRs, x87, saving and restoring of state.
//!
//! A routine for an instruction has the type [`Helper`](crate::semantics::Helper). When it runs, `cpu.rip` is
//! the RIP of the *next* instruction, and it may set another. If it returns an exception it must have changed
//! nothing else; the caller restores RIP to the instruction's own.

pub mod interrupt;
pub mod smm;

use crate::semantics::{Emitter, Row};

/// Rows of the opcode table that run in microcode.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    let rows = Vec::new();
    rows
}
