//! MXCSR, the guest's and the host's. SDM vol. 1, 10.2.3.
//!
//! While a vCPU runs, the host's MXCSR has its default control bits: all exceptions masked, round to nearest.
//! Most guests use the same, so that most operations are a bare instruction of the host. Its flags are sticky;
//! they stay in the host's register until the guest asks ([`take_flags`]). An operation under any other control
//! word goes through [`guarded`], which loads it around the operation.

use crate::lane::FpResult;

/// Exception flags: IE, DE, ZE, OE, UE, PE.
pub const FLAGS: u32 = 0x3F;
/// Flags found before the operation: IE, DE, ZE.
const BEFORE: u32 = 0x07;
const UNDERFLOW: u32 = 1 << 4;
/// Denormals are zeros.
pub const DAZ: u32 = 1 << 6;
/// The exceptions' masks, in the flags' order.
const MASKS: u32 = FLAGS << MASKS_SHIFT;
const MASKS_SHIFT: u32 = 7;
const MASKED_UNDERFLOW: u32 = UNDERFLOW << MASKS_SHIFT;
/// Flush to zero.
pub const FTZ: u32 = 1 << 15;
/// Everything that is not a flag.
pub const CONTROL: u32 = !FLAGS;
/// After reset, and the host's while a vCPU runs.
pub const DEFAULT: u32 = 0x1F80;
/// Bits that exist; setting others raises #GP(0).
pub const VALID: u32 = 0xFFFF;

/// The host's MXCSR; on hosts without one, its default.
#[inline(always)]
pub fn host() -> u32 {
    #[cfg(target_arch = "x86_64")]
    {
        let mut value = 0u32;
        // SAFETY: stores 32 bits into `value`.
        unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut value, options(nostack, preserves_flags)) };
        value
    }
    #[cfg(not(target_arch = "x86_64"))]
    DEFAULT
}

/// Loads the host's MXCSR. Anything but the default control bits must be undone before other code runs.
#[inline(always)]
pub fn set_host(value: u32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: loads 32 bits; all exceptions are masked in every value that this module loads.
    unsafe {
        std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const value, options(nostack));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

/// The flags that operations have left in the host's MXCSR, which become clear.
#[inline]
pub fn take_flags() -> u32 {
    let flags = host() & FLAGS;
    if flags != 0 {
        set_host(DEFAULT);
    }
    flags
}

/// What a guarded operation came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome<const N: usize> {
    /// The result, if no unmasked exception stands in its way.
    pub result: Option<[u128; N]>,
    /// Flags to be set in the guest's MXCSR.
    pub flags: u32,
}

/// Does `apply`, one instruction's operation on its lanes, under the guest's `mxcsr`. With unmasked exceptions
/// too it runs masked, and the flags tell what would have been raised.
#[inline(never)]
pub fn guarded<const N: usize>(mxcsr: u32, kind: FpResult, apply: &dyn Fn() -> [u128; N]) -> Outcome<N> {
    // Flushing to zero is the masked response to underflow; with underflow unmasked it does not happen.
    let flush = if mxcsr & MASKED_UNDERFLOW != 0 { FTZ } else { 0 };
    let saved = host();
    set_host((mxcsr | MASKS) & CONTROL & (flush | !FTZ));
    let result = apply();
    let mut flags = host() & FLAGS;
    set_host(saved);
    let unmasked = !(mxcsr >> MASKS_SHIFT) & FLAGS;
    if flags & unmasked & BEFORE != 0 {
        return Outcome { result: None, flags: flags & BEFORE };
    }
    // Unmasked, underflow is raised by every tiny result; masked, only by an inexact one.
    if unmasked & UNDERFLOW != 0 && result.iter().any(|&lane| has_tiny(kind, lane)) {
        flags |= UNDERFLOW;
    }
    Outcome { result: (flags & unmasked == 0).then_some(result), flags }
}

/// Whether an element of a result is denormal.
fn has_tiny(kind: FpResult, result: u128) -> bool {
    let single = |k: u32| f32::from_bits((result >> (32 * k)) as u32).is_subnormal();
    let double = |k: u32| f64::from_bits((result >> (64 * k)) as u64).is_subnormal();
    match kind {
        FpResult::Singles => (0..4).any(single),
        FpResult::Doubles => (0..2).any(double),
        FpResult::Single => single(0),
        FpResult::Double => double(0),
        FpResult::Halves => (0..4).any(|k| matches!(result >> (16 * k) & 0x7FFF, 1..0x400)),
        FpResult::Other => false,
    }
}
