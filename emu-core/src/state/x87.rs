//! x87 state. SDM vol. 1, 8.1.

use serde::{Deserialize, Serialize};

/// A double-extended value: 64-bit significand with explicit integer bit, sign and 15-bit exponent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[repr(C)]
pub struct Extended {
    /// Significand.
    pub significand: u64,
    /// Sign (bit 15) and biased exponent.
    pub sign_exponent: u16,
}

/// The x87 FPU. MMX registers are the significands of the physical registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct X87 {
    /// Physical registers R0..R7; ST(i) is `r[(top + i) % 8]`.
    pub r: [Extended; 8],
    /// Control word.
    pub fcw: u16,
    /// Status word without TOP (bits 13:11 are zero here).
    pub fsw: u16,
    /// TOP.
    pub top: u8,
    /// Bit i: physical register i is not empty (the abridged tag word of FXSAVE).
    pub valid: u8,
    /// Opcode of the last instruction (11 bits).
    pub fop: u16,
    /// Its instruction pointer.
    pub fip: u64,
    /// Its code selector.
    pub fcs: u16,
    /// Its operand pointer.
    pub fdp: u64,
    /// Its operand selector.
    pub fds: u16,
}

impl X87 {
    /// After RESET#.
    pub fn reset() -> Self {
        X87 {
            r: [Extended::default(); 8],
            fcw: 0x40,
            fsw: 0,
            top: 0,
            valid: 0xFF,
            fop: 0,
            fip: 0,
            fcs: 0,
            fdp: 0,
            fds: 0,
        }
    }

    /// Status word as software sees it.
    pub fn status(&self) -> u16 {
        self.fsw & !0x3800 | u16::from(self.top) << 11
    }
}
