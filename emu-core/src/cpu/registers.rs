//! Access to general-purpose registers for microcode.

use super::{Cpu, slot};
use crate::arch::Width;

impl Cpu {
    /// Register `number` (0..16), low `w` bits. For byte registers SPL..DIL are meant, not AH..BH.
    #[inline]
    pub fn gpr(&self, w: Width, number: usize) -> u64 {
        self.regs[number & 15] & w.mask()
    }

    /// Writes register `number`: 32-bit writes clear the upper half, narrower ones leave the rest.
    #[inline]
    pub fn set_gpr(&mut self, w: Width, number: usize, value: u64) {
        let old = self.regs[number & 15];
        self.regs[number & 15] = match w {
            Width::W64 => value,
            Width::W32 => value & w.mask(),
            _ => old & !w.mask() | value & w.mask(),
        };
    }

    /// Register at byte offset `at` of the register file ([`slot::byte_offset`], [`slot::high_byte_offset`]),
    /// low `w` bits: how decoded instructions name registers.
    #[inline]
    pub fn reg(&self, w: Width, at: u8) -> u64 {
        let shift = 8 * u32::from(at & 7);
        self.regs[usize::from(at >> 3) % slot::COUNT] >> shift & w.mask()
    }

    /// Writes the register at byte offset `at`.
    #[inline]
    pub fn set_reg(&mut self, w: Width, at: u8, value: u64) {
        if w == Width::W8 {
            let shift = 8 * u32::from(at & 7);
            let register = &mut self.regs[usize::from(at >> 3) % slot::COUNT];
            *register = *register & !(0xFF << shift) | (value & 0xFF) << shift;
        } else {
            self.set_gpr(w, usize::from(at >> 3), value);
        }
    }
}
