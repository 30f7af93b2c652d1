//! A lane as the host's vector registers hold it. In a `u128` the compiler would move it through pairs of
//! general-purpose registers wherever values cross a branch.

/// 128 bits in a vector register.
#[cfg(target_arch = "x86_64")]
pub type Lane = std::arch::x86_64::__m128i;
/// 128 bits.
#[cfg(not(target_arch = "x86_64"))]
pub type Lane = u128;

/// A lane of these bits.
#[inline(always)]
pub fn lane(bits: u128) -> Lane {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: both are 16 bytes without invalid values.
    unsafe {
        std::mem::transmute::<u128, Lane>(bits)
    }
    #[cfg(not(target_arch = "x86_64"))]
    bits
}

/// The bits of a lane.
#[inline(always)]
pub fn bits(lane: Lane) -> u128 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: both are 16 bytes without invalid values.
    unsafe {
        std::mem::transmute::<Lane, u128>(lane)
    }
    #[cfg(not(target_arch = "x86_64"))]
    lane
}
