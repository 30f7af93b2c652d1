//! Slow architectural routines on [`Cpu`](crate::cpu::Cpu), called by every tier: far transfers, interrupt
//! delivery, task switches, system registers, CPUID, MSRs, x87, saving and restoring of state.
//!
//! A routine for an instruction has the type [`Helper`](crate::semantics::Helper). When it runs, `cpu.rip` is
//! the RIP of the *next* instruction, and it may set another. If it returns an exception it must have changed
//! nothing else; the caller restores RIP to the instruction's own.

pub mod activity;
pub mod debug;
mod descriptor;
mod descriptor_checks;
mod descriptor_tables;
mod far_transfer;
mod flags_image;
pub mod interrupt;
mod interrupt_flag;
mod iret;
pub mod port;
#[cfg(test)]
mod programs;
mod segment_load;
pub mod smm;
mod stack;
mod syscall;
mod task_switch;
#[cfg(test)]
mod testing;
mod tss;
mod vm86;

use crate::semantics::{Emitter, Row};

/// Rows of the opcode table that run in microcode.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    let mut rows = Vec::new();
    rows.extend(activity::rows());
    rows.extend(debug::rows());
    rows.extend(descriptor_checks::rows());
    rows.extend(descriptor_tables::rows());
    rows.extend(far_transfer::rows());
    rows.extend(flags_image::rows());
    rows.extend(interrupt_flag::rows());
    rows.extend(interrupt::rows());
    rows.extend(iret::rows());
    rows.extend(port::rows());
    rows.extend(segment_load::rows());
    rows.extend(smm::rows());
    rows.extend(syscall::rows());
    rows
}
