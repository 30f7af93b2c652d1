//! Slow architectural routines on [`Cpu`](crate::cpu::Cpu), called by every tier: far transfers, interrupt
//! delivery, task switches, system registers, CPUID, MSRs, x87, saving and restoring of state.
//!
//! A routine for an instruction has the type [`Helper`](crate::semantics::Helper). When it runs, `cpu.rip` is
//! the RIP of the *next* instruction, and it may set another. If it returns an exception it must have changed
//! nothing else; the caller restores RIP to the instruction's own.

mod cache;
mod control_registers;
mod cpuid;
mod fxsave;
pub mod interrupt;
mod monitor;
mod msr;
#[cfg(test)]
mod program_tests;
mod protection;
mod random;
pub mod smm;
#[cfg(test)]
mod test_cpu;
mod tsc;
pub mod x87;
mod xsave;

use crate::semantics::{Emitter, Row};

/// Rows of the opcode table that run in microcode.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    let mut rows = Vec::new();
    rows.extend(cache::rows());
    rows.extend(control_registers::rows());
    rows.extend(cpuid::rows());
    rows.extend(fxsave::rows());
    rows.extend(interrupt::rows());
    rows.extend(monitor::rows());
    rows.extend(msr::rows());
    rows.extend(protection::rows());
    rows.extend(random::rows());
    rows.extend(smm::rows());
    rows.extend(tsc::rows());
    rows.extend(x87::rows());
    rows.extend(xsave::rows());
    rows
}
