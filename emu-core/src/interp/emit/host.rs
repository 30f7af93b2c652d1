//! The guest's memory where the host has it: what the TLB allows to be reached directly.

use crate::{arch::Width, cpu::Cpu};

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

/// Loads `w` from the host.
///
/// # Safety
/// `host` must be valid for reads of `w` bytes. Other vCPUs may write there at the same time: that is the
/// guest's race, and each load is a single one on the host.
#[inline(always)]
pub(super) unsafe fn host_load(host: *const u8, w: Width) -> u64 {
    // SAFETY: the caller's promise.
    unsafe {
        match w {
            Width::W8 => host.read().into(),
            Width::W16 => host.cast::<u16>().read_unaligned().into(),
            Width::W32 => host.cast::<u32>().read_unaligned().into(),
            Width::W64 => host.cast::<u64>().read_unaligned(),
        }
    }
}

/// Stores the low `w` bits to the host.
///
/// # Safety
/// `host` must be valid for writes of `w` bytes; see [`host_load`].
#[inline(always)]
pub(super) unsafe fn host_store(host: *mut u8, w: Width, value: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        match w {
            Width::W8 => host.write(value as u8),
            Width::W16 => host.cast::<u16>().write_unaligned(value as u16),
            Width::W32 => host.cast::<u32>().write_unaligned(value as u32),
            Width::W64 => host.cast::<u64>().write_unaligned(value),
        }
    }
}
