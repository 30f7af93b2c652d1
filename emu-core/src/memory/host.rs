//! Single accesses to guest memory where the host has it.
//!
//! x86 guests may take for granted that others see a processor's stores in program order, and that it does its loads in
//! that order (SDM vol. 3, 9.2). A host that is no x86 is told so: here loads acquire and stores release. What these
//! orders do not cover on an x86 they do not here: a load may be done before an earlier store to elsewhere.
//!
//! Other vCPUs may access the same bytes at the same time: that is the guest's race, and each of these is one access on
//! the host where the bytes are aligned.

use crate::arch::Width;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering, fence};

/// Whether the host orders accesses as an x86 does, so that nothing has to be done about it.
pub const IS_ORDERED: bool = cfg!(target_arch = "x86_64");

/// Whether eight bytes that are loaded at once, wherever they begin, have each aligned element in them untorn.
pub const KEEPS_ELEMENTS: bool = cfg!(target_arch = "x86_64");

/// Loads `w`.
///
/// # Safety
/// `host` must be valid for reads of `w`.
#[inline(always)]
pub unsafe fn load(host: *const u8, w: Width) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { if IS_ORDERED { load_plain(host, w) } else { load_acquire(host, w) } }
}

/// Stores the low `w` bits of `value`.
///
/// # Safety
/// `host` must be valid for writes of `w`.
#[inline(always)]
pub unsafe fn store(host: *mut u8, w: Width, value: u64) {
    // SAFETY: the caller's promise.
    unsafe { if IS_ORDERED { store_plain(host, w, value) } else { store_release(host, w, value) } }
}

/// Loads lanes.
///
/// # Safety
/// `host` must be valid for reads of them.
#[inline(always)]
pub unsafe fn load_lanes<const N: usize>(host: *const u8) -> [u128; N] {
    // SAFETY: the caller's promise.
    let lanes = unsafe { host.cast::<[u128; N]>().read_unaligned() };
    after_loads();
    lanes
}

/// Stores lanes.
///
/// # Safety
/// `host` must be valid for writes of them.
#[inline(always)]
pub unsafe fn store_lanes<const N: usize>(host: *mut u8, lanes: [u128; N]) {
    before_stores();
    // SAFETY: the caller's promise.
    unsafe { host.cast::<[u128; N]>().write_unaligned(lanes) };
}

/// After loads of guest memory that are not from here: orders them before what follows.
#[inline(always)]
pub fn after_loads() {
    if !IS_ORDERED {
        fence(Ordering::Acquire);
    }
}

/// Before stores to guest memory that are not from here: orders them behind what was before.
#[inline(always)]
pub fn before_stores() {
    if !IS_ORDERED {
        fence(Ordering::Release);
    }
}

/// After an update with a LOCK prefix, which orders all that is before against all that follows.
#[inline(always)]
pub fn after_locked() {
    if !IS_ORDERED {
        fence(Ordering::SeqCst);
    }
}

/// Loads `w`, for whom the host or nobody orders it: a register of the CPU, say.
///
/// # Safety
/// As [`load`].
#[inline(always)]
pub unsafe fn load_plain(host: *const u8, w: Width) -> u64 {
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

/// Stores the low `w` bits of `value`, as [`load_plain`] loads.
///
/// # Safety
/// As [`store`].
#[inline(always)]
pub unsafe fn store_plain(host: *mut u8, w: Width, value: u64) {
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

fn is_aligned(host: *const u8, w: Width) -> bool {
    (host as usize).is_multiple_of(w.bytes() as usize)
}

unsafe fn load_acquire(host: *const u8, w: Width) -> u64 {
    if !is_aligned(host, w) {
        // SAFETY: the caller's promise.
        let value = unsafe { load_plain(host, w) };
        fence(Ordering::Acquire);
        return value;
    }
    let host = host.cast_mut();
    // SAFETY: the caller's promise, and it is aligned.
    unsafe {
        match w {
            Width::W8 => AtomicU8::from_ptr(host).load(Ordering::Acquire).into(),
            Width::W16 => AtomicU16::from_ptr(host.cast()).load(Ordering::Acquire).into(),
            Width::W32 => AtomicU32::from_ptr(host.cast()).load(Ordering::Acquire).into(),
            Width::W64 => AtomicU64::from_ptr(host.cast()).load(Ordering::Acquire),
        }
    }
}

unsafe fn store_release(host: *mut u8, w: Width, value: u64) {
    if !is_aligned(host, w) {
        fence(Ordering::Release);
        // SAFETY: the caller's promise.
        return unsafe { store_plain(host, w, value) };
    }
    // SAFETY: the caller's promise, and it is aligned.
    unsafe {
        match w {
            Width::W8 => AtomicU8::from_ptr(host).store(value as u8, Ordering::Release),
            Width::W16 => AtomicU16::from_ptr(host.cast()).store(value as u16, Ordering::Release),
            Width::W32 => AtomicU32::from_ptr(host.cast()).store(value as u32, Ordering::Release),
            Width::W64 => AtomicU64::from_ptr(host.cast()).store(value, Ordering::Release),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(Width::W8)]
    #[case(Width::W16)]
    #[case(Width::W32)]
    #[case(Width::W64)]
    fn in_order_or_not_the_bytes_are_the_same(#[case] w: Width) {
        for at in 0..8 {
            let mut plain = std::array::from_fn::<u8, 16, _>(|n| n as u8 | 0x80);
            let mut ordered = plain;
            // SAFETY: the bytes from 0 to 16 are there.
            unsafe {
                let (from, host) = (plain.as_mut_ptr().add(at), ordered.as_mut_ptr().add(at));
                assert_eq!(load_acquire(host, w), load_plain(from, w));
                store_plain(from, w, 0x1122_3344_5566_7788);
                store_release(host, w, 0x1122_3344_5566_7788);
            }
            assert_eq!(plain, ordered, "{at}");
        }
    }
}
