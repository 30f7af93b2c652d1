//! The guest's memory where the host has it: what the TLB allows to be reached directly.

use crate::cpu::Cpu;

/// Host address of `w` at `linear` if the current TLB table allows direct reads there.
#[inline(always)]
pub(super) fn direct_read(cpu: &Cpu, linear: u64, w: u64) -> Option<*const u8> {
    let entry = cpu.mmu.entry(linear);
    (linear.wrapping_sub(entry.read) <= 4096 - w).then(|| linear.wrapping_add(entry.addend) as *const u8)
}

/// The same for writes.
#[inline(always)]
pub(super) fn direct_write(cpu: &Cpu, linear: u64, w: u64) -> Option<*mut u8> {
    let entry = cpu.mmu.entry(linear);
    (linear.wrapping_sub(entry.write) <= 4096 - w).then(|| linear.wrapping_add(entry.addend) as *mut u8)
}
