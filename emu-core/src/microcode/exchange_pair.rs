//! CMPXCHG8B and CMPXCHG16B. SDM vol. 2.
//!
//! Flags: ZF tells success; the others stay.

use crate::{
    arch::{Exception, Flags, Width},
    cpu::{Cpu, LazyFlags, slot},
    decode::{Insn, flag},
    mmu::Privilege,
    semantics::{Emitter, Row, microcode},
};
use iced_x86::Mnemonic;
use std::sync::atomic::{AtomicU64, Ordering};

/// Halves of a pair of registers, low first, as one number.
fn pair(cpu: &Cpu, w: Width, high: usize, low: usize) -> u128 {
    u128::from(cpu.gpr(w, high)) << w.bits() | u128::from(cpu.gpr(w, low))
}

fn finish(cpu: &mut Cpu, w: Width, expected: u128, found: u128) {
    let success = expected == found;
    if !success {
        cpu.set_gpr(w, slot::RAX, found as u64 & w.mask());
        cpu.set_gpr(w, slot::RDX, (found >> w.bits()) as u64 & w.mask());
    }
    let mut flags = cpu.flags.flags();
    flags.set(Flags::ZF, success);
    cpu.flags = LazyFlags::from_flags(flags);
}

fn compare_exchange_8(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    let (expected, new) =
        (pair(cpu, Width::W32, slot::RDX, slot::RAX), pair(cpu, Width::W32, slot::RCX, slot::RBX));
    let offset = cpu.effective_address(i);
    let linear = cpu.linear(i.segment(), offset, 8, true)?;
    let found = match cpu.writable_host(linear, Width::W64)? {
        Some(host) if host.cast::<u64>().is_aligned() => {
            // SAFETY: aligned, in one page of RAM that may be written.
            let cell = unsafe { AtomicU64::from_ptr(host.cast()) };
            cell.compare_exchange(expected as u64, new as u64, Ordering::SeqCst, Ordering::SeqCst)
                .unwrap_or_else(|found| found)
        }
        _ => {
            let _lock = i.has(flag::LOCK).then(|| cpu.memory.bus_lock());
            cpu.probe_write(linear, 8, Privilege::Current)?;
            let found = cpu.read_linear(linear, Width::W64, Privilege::Current)?;
            let value = if u128::from(found) == expected { new as u64 } else { found };
            cpu.write_linear(linear, Width::W64, value, Privilege::Current)?;
            found
        }
    };
    finish(cpu, Width::W32, expected, found.into());
    Ok(())
}

fn compare_exchange_16(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    let (expected, new) =
        (pair(cpu, Width::W64, slot::RDX, slot::RAX), pair(cpu, Width::W64, slot::RCX, slot::RBX));
    let offset = cpu.effective_address(i);
    cpu.check_aligned(i.segment(), offset, 16)?;
    let linear = cpu.linear(i.segment(), offset, 16, true)?;
    let found = match cpu.writable_host(linear, Width::W64)? {
        Some(host) => {
            // SAFETY: 16 bytes, aligned, in one page of RAM that may be written.
            unsafe { exchange_16(host.cast(), expected, new) }
        }
        None => {
            let mut bytes = [0; 16];
            cpu.read_bytes(linear, &mut bytes, Privilege::Current)?;
            let found = u128::from_le_bytes(bytes);
            let value = if found == expected { new } else { found };
            cpu.write_bytes(linear, &value.to_le_bytes(), Privilege::Current)?;
            found
        }
    };
    finish(cpu, Width::W64, expected, found);
    Ok(())
}

/// Atomic compare and exchange of 16 bytes; returns what was found.
///
/// # Safety
/// `cell` is aligned to 16 and valid for reads and writes.
#[cfg(target_arch = "x86_64")]
unsafe fn exchange_16(cell: *mut u128, expected: u128, new: u128) -> u128 {
    // In assembly, because the intrinsic becomes a call of a library that not every host has where it is not
    // inlined.
    unsafe fn native(cell: *mut u128, expected: u128, new: u128) -> u128 {
        let (low, high): (u64, u64);
        // SAFETY: the caller's promise; RBX, which the compiler keeps for itself, is put back.
        unsafe {
            std::arch::asm!(
                "xchg rsi, rbx",
                "lock cmpxchg16b [rdi]",
                "mov rbx, rsi",
                in("rdi") cell,
                inout("rsi") new as u64 => _,
                in("rcx") (new >> 64) as u64,
                inout("rax") expected as u64 => low,
                inout("rdx") (expected >> 64) as u64 => high,
                options(nostack),
            );
        }
        u128::from(high) << 64 | u128::from(low)
    }
    if std::arch::is_x86_feature_detected!("cmpxchg16b") {
        // SAFETY: the caller's promise, and the host has the instruction.
        return unsafe { native(cell, expected, new) };
    }
    // SAFETY: the caller's promise.
    unsafe { exchange_16_locked(cell, expected, new) }
}

/// The same on a host without such an instruction: atomic against itself.
///
/// # Safety
/// As above.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn exchange_16(cell: *mut u128, expected: u128, new: u128) -> u128 {
    // SAFETY: the caller's promise.
    unsafe { exchange_16_locked(cell, expected, new) }
}

/// Under one lock for all.
///
/// # Safety
/// As above.
unsafe fn exchange_16_locked(cell: *mut u128, expected: u128, new: u128) -> u128 {
    static LOCK: parking_lot::Mutex<()> = parking_lot::Mutex::new(());
    let _lock = LOCK.lock();
    // SAFETY: the caller's promise.
    unsafe {
        let found = cell.read();
        if found == expected {
            cell.write(new);
        }
        found
    }
}

/// Rows of this family.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    vec![
        microcode(Mnemonic::Cmpxchg8b, compare_exchange_8),
        microcode(Mnemonic::Cmpxchg16b, compare_exchange_16),
    ]
}
