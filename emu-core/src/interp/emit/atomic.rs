//! Atomic updates, as the LOCK prefix asks for them.

use crate::{arch::Width, memory::host::after_locked};
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

/// Atomic compare and exchange of `w` at `host`; the value found, if it was not `old`.
///
/// # Safety
/// `host` is valid for reads and writes of `w` bytes, in one page of guest RAM.
#[inline]
pub unsafe fn compare_exchange(host: *mut u8, w: Width, old: u64, new: u64) -> Result<(), u64> {
    if !(host as usize).is_multiple_of(w.bytes() as usize) {
        // SAFETY: the caller's promise.
        return unsafe { compare_exchange_unaligned(host, w, old, new) };
    }
    let order = (Ordering::SeqCst, Ordering::Relaxed);
    // SAFETY: valid and aligned.
    let result = unsafe {
        match w {
            Width::W8 => AtomicU8::from_ptr(host)
                .compare_exchange(old as u8, new as u8, order.0, order.1)
                .map_err(u64::from)
                .map(drop),
            Width::W16 => AtomicU16::from_ptr(host.cast())
                .compare_exchange(old as u16, new as u16, order.0, order.1)
                .map_err(u64::from)
                .map(drop),
            Width::W32 => AtomicU32::from_ptr(host.cast())
                .compare_exchange(old as u32, new as u32, order.0, order.1)
                .map_err(u64::from)
                .map(drop),
            Width::W64 => {
                AtomicU64::from_ptr(host.cast()).compare_exchange(old, new, order.0, order.1).map(drop)
            }
        }
    };
    after_locked();
    result
}

/// A split lock. x86 hosts can do it; elsewhere it is atomic only against other split locks.
///
/// # Safety
/// As [`compare_exchange`].
#[cold]
unsafe fn compare_exchange_unaligned(host: *mut u8, w: Width, old: u64, new: u64) -> Result<(), u64> {
    #[cfg(target_arch = "x86_64")]
    {
        let found: u64;
        // SAFETY: valid for reads and writes; a locked instruction needs no alignment on x86.
        unsafe {
            match w {
                Width::W64 => {
                    std::arch::asm!("lock cmpxchg [{p}], {n}", p = in(reg) host, n = in(reg) new, inout("rax") old => found);
                }
                Width::W32 => {
                    let low: u32;
                    std::arch::asm!("lock cmpxchg [{p}], {n:e}", p = in(reg) host, n = in(reg) new, inout("eax") old as u32 => low);
                    found = low.into();
                }
                _ => {
                    let low: u16;
                    std::arch::asm!("lock cmpxchg [{p}], {n:x}", p = in(reg) host, n = in(reg) new, inout("ax") old as u16 => low);
                    found = low.into();
                }
            }
        }
        if found == old { Ok(()) } else { Err(found) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        static SPLIT: parking_lot::Mutex<()> = parking_lot::Mutex::new(());
        let _lock = SPLIT.lock();
        let mut bytes = [0u8; 8];
        let len = w.bytes() as usize;
        // SAFETY: valid for reads and writes of `len` bytes.
        unsafe {
            std::ptr::copy_nonoverlapping(host, bytes.as_mut_ptr(), len);
            let found = u64::from_le_bytes(bytes);
            if found != old {
                return Err(found);
            }
            std::ptr::copy_nonoverlapping(new.to_le_bytes().as_ptr(), host, len);
        }
        Ok(())
    }
}
