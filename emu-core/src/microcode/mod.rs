//! Slow architectural routines on [`Cpu`](crate::cpu::Cpu), called by every tier: far transfers, interrupt
//! delivery, task switches, system registers, CPUID, MSRs, x87, saving and restoring of state.
//!
//! A routine for an instruction has the type [`Helper`](crate::semantics::Helper). When it runs, `cpu.rip` is
//! the RIP of the *next* instruction, and it may set another. If it returns an exception it must have changed
//! nothing else (gathers excepted, see `vector`); the caller restores RIP to the instruction's own.

pub mod activity;
mod bcd;
mod cache;
mod control_registers;
pub mod cpuid;
pub mod debug;
mod descriptor;
mod descriptor_checks;
mod descriptor_tables;
mod early;
mod exchange_pair;
mod far_transfer;
mod flags_image;
mod fxsave;
pub mod interrupt;
mod interrupt_flag;
mod iret;
mod monitor;
mod msr;
pub mod port;
#[cfg(test)]
mod program_tests;
#[cfg(test)]
mod programs;
mod protection;
pub mod random;
mod segment_load;
pub mod smm;
mod stack;
mod string;
mod syscall;
mod task_switch;
#[cfg(test)]
pub(crate) mod test_cpu;
#[cfg(test)]
pub(crate) mod testing;
mod tsc;
mod tss;
mod vector;
mod vm86;
pub mod x87;
mod xsave;

use crate::semantics::{Emitter, Row};

/// Rows of the opcode table that run in microcode.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    let mut rows = Vec::new();
    rows.extend(activity::rows());
    rows.extend(bcd::rows());
    rows.extend(cache::rows());
    rows.extend(control_registers::rows());
    rows.extend(cpuid::rows());
    rows.extend(debug::rows());
    rows.extend(descriptor_checks::rows());
    rows.extend(descriptor_tables::rows());
    rows.extend(early::rows());
    rows.extend(exchange_pair::rows());
    rows.extend(far_transfer::rows());
    rows.extend(flags_image::rows());
    rows.extend(fxsave::rows());
    rows.extend(interrupt::rows());
    rows.extend(interrupt_flag::rows());
    rows.extend(iret::rows());
    rows.extend(monitor::rows());
    rows.extend(msr::rows());
    rows.extend(port::rows());
    rows.extend(protection::rows());
    rows.extend(random::rows());
    rows.extend(segment_load::rows());
    rows.extend(smm::rows());
    rows.extend(string::rows());
    rows.extend(syscall::rows());
    rows.extend(tsc::rows());
    rows.extend(vector::rows());
    rows.extend(x87::rows());
    rows.extend(xsave::rows());
    rows
}
