//! Operand widths of the integer instructions.

/// Width of an integer operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Width {
    /// 8 bits.
    W8 = 0,
    /// 16 bits.
    W16 = 1,
    /// 32 bits.
    W32 = 2,
    /// 64 bits.
    W64 = 3,
}

impl Width {
    /// Bytes: 1, 2, 4, 8.
    #[inline(always)]
    pub const fn bytes(self) -> u64 {
        1 << self as u32
    }

    /// Bits: 8, 16, 32, 64.
    #[inline(always)]
    pub const fn bits(self) -> u32 {
        8 << self as u32
    }

    /// All bits of an operand of this width.
    #[inline(always)]
    pub const fn mask(self) -> u64 {
        u64::MAX >> (64 - self.bits())
    }

    /// The sign bit.
    #[inline(always)]
    pub const fn sign(self) -> u64 {
        1 << (self.bits() - 1)
    }

    /// The width of `bytes`, if it is one.
    pub const fn from_bytes(bytes: usize) -> Option<Self> {
        match bytes {
            1 => Some(Width::W8),
            2 => Some(Width::W16),
            4 => Some(Width::W32),
            8 => Some(Width::W64),
            _ => None,
        }
    }

    /// Sign-extends the low bits of `value` to 64.
    #[inline(always)]
    pub const fn sign_extend(self, value: u64) -> u64 {
        let shift = 64 - self.bits();
        (((value << shift) as i64) >> shift) as u64
    }
}
