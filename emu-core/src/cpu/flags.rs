//! Lazy arithmetic flags: two words from which every flag follows without knowing the operation.
//!
//! `result` is the operation's result, sign-extended to 64 bits: ZF, SF and PF follow from it. `aux` holds the
//! rest, and corrections for the flag combinations that no result has:
//!
//! | bits | meaning |
//! |---|---|
//! | 63 | CF |
//! | 62 | CF xor OF |
//! | 15:8 | parity delta: PF is the parity of `result[7:0] ^ aux[15:8]` |
//! | 3 | AF |
//! | 0 | sign delta: SF is `result[63] ^ aux[0]` |
//!
//! An addition or subtraction stores its carry-out vector at the top of `aux` and needs no more than a shift
//! and a mask; a logical operation stores zero. (The idea of the two words is Bochs'.)

use crate::arch::{Flags, Width};
use serde::{Deserialize, Serialize};

/// The bits of `aux` that a carry-out vector fills.
pub const AUX_CARRIES: u64 = 3 << 62;
/// AF in `aux`.
pub const AUX_AF: u64 = 1 << 3;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[repr(C)]
pub struct LazyFlags {
    /// Result, sign-extended.
    pub result: u64,
    /// Carries and deltas.
    pub aux: u64,
}

impl LazyFlags {
    /// From the arithmetic bits of `flags`.
    pub fn from_flags(flags: Flags) -> Self {
        let bit = |f: Flags, to: u32| u64::from(flags.contains(f)) << to;
        let carries = bit(Flags::CF, 63) | (bit(Flags::CF, 62) ^ bit(Flags::OF, 62));
        let parity = bit(Flags::PF, 8) ^ 1 << 8;
        LazyFlags {
            result: bit(Flags::ZF, 8) ^ 1 << 8,
            aux: carries | parity | bit(Flags::AF, 3) | bit(Flags::SF, 0),
        }
    }

    /// The arithmetic flags.
    pub fn flags(self) -> Flags {
        let mut flags = Flags::empty();
        flags.set(Flags::CF, self.cf());
        flags.set(Flags::PF, self.pf());
        flags.set(Flags::AF, self.aux & AUX_AF != 0);
        flags.set(Flags::ZF, self.result == 0);
        flags.set(Flags::SF, (self.result >> 63) ^ (self.aux & 1) != 0);
        flags.set(Flags::OF, self.aux >> 63 ^ (self.aux >> 62 & 1) != 0);
        flags
    }

    /// CF.
    pub fn cf(self) -> bool {
        self.aux >> 63 != 0
    }

    /// PF.
    pub fn pf(self) -> bool {
        ((self.result ^ self.aux >> 8) as u8).count_ones().is_multiple_of(2)
    }

    /// Flags of the logical operations for a `w`-bit result.
    pub fn logical(w: Width, result: u64) -> Self {
        LazyFlags { result: w.sign_extend(result), aux: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_of_flags_survives_the_lazy_form() {
        for bits in 0..0x1000 {
            let flags = Flags::from_bits_truncate(bits) & Flags::ARITHMETIC;
            assert_eq!(LazyFlags::from_flags(flags).flags(), flags);
        }
    }
}
