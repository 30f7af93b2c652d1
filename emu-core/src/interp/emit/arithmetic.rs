//! Arithmetic: the host's, on values that are zero-extended to 64 bits.

use super::Interp;
use crate::{
    arch::Width,
    semantics::{Arithmetic, Pure},
};

impl<P> Arithmetic for Interp<P> {
    #[inline(always)]
    fn constant(&mut self, value: u64) -> u64 {
        value
    }
    #[inline(always)]
    fn add(&mut self, w: Width, a: u64, b: u64) -> u64 {
        a.wrapping_add(b) & w.mask()
    }
    #[inline(always)]
    fn sub(&mut self, w: Width, a: u64, b: u64) -> u64 {
        a.wrapping_sub(b) & w.mask()
    }
    #[inline(always)]
    fn and(&mut self, a: u64, b: u64) -> u64 {
        a & b
    }
    #[inline(always)]
    fn or(&mut self, a: u64, b: u64) -> u64 {
        a | b
    }
    #[inline(always)]
    fn xor(&mut self, a: u64, b: u64) -> u64 {
        a ^ b
    }
    #[inline(always)]
    fn not(&mut self, w: Width, a: u64) -> u64 {
        !a & w.mask()
    }
    #[inline(always)]
    fn shl(&mut self, w: Width, a: u64, count: u64) -> u64 {
        let shifted = if count < 64 { a << count } else { 0 };
        shifted & w.mask()
    }
    #[inline(always)]
    fn shr(&mut self, _: Width, a: u64, count: u64) -> u64 {
        if count < 64 { a >> count } else { 0 }
    }
    #[inline(always)]
    fn sar(&mut self, w: Width, a: u64, count: u64) -> u64 {
        ((w.sign_extend(a) as i64) >> count.min(63)) as u64 & w.mask()
    }
    #[inline(always)]
    fn rol(&mut self, w: Width, a: u64, count: u64) -> u64 {
        let count = count as u32;
        match w {
            Width::W8 => (a as u8).rotate_left(count).into(),
            Width::W16 => (a as u16).rotate_left(count).into(),
            Width::W32 => (a as u32).rotate_left(count).into(),
            Width::W64 => a.rotate_left(count),
        }
    }
    #[inline(always)]
    fn mul(&mut self, w: Width, a: u64, b: u64) -> u64 {
        a.wrapping_mul(b) & w.mask()
    }
    #[inline(always)]
    fn mul_high_unsigned(&mut self, w: Width, a: u64, b: u64) -> u64 {
        match w {
            Width::W64 => ((u128::from(a) * u128::from(b)) >> 64) as u64,
            _ => a.wrapping_mul(b) >> w.bits(),
        }
    }
    #[inline(always)]
    fn mul_high_signed(&mut self, w: Width, a: u64, b: u64) -> u64 {
        let (a, b) = (w.sign_extend(a) as i64, w.sign_extend(b) as i64);
        match w {
            Width::W64 => ((i128::from(a) * i128::from(b)) >> 64) as u64,
            _ => (a.wrapping_mul(b) >> w.bits()) as u64 & w.mask(),
        }
    }
    #[inline(always)]
    fn truncate(&mut self, w: Width, a: u64) -> u64 {
        a & w.mask()
    }
    #[inline(always)]
    fn sign_extend(&mut self, from: Width, to: Width, a: u64) -> u64 {
        from.sign_extend(a) & to.mask()
    }
    #[inline(always)]
    fn swap_bytes(&mut self, w: Width, a: u64) -> u64 {
        a.swap_bytes() >> (64 - w.bits())
    }
    #[inline(always)]
    fn leading_zeros(&mut self, w: Width, a: u64) -> u64 {
        u64::from(a.leading_zeros()) - u64::from(64 - w.bits())
    }
    #[inline(always)]
    fn trailing_zeros(&mut self, w: Width, a: u64) -> u64 {
        u64::from(a.trailing_zeros()).min(w.bits().into())
    }
    #[inline(always)]
    fn count_ones(&mut self, a: u64) -> u64 {
        a.count_ones().into()
    }
    #[inline(always)]
    fn pure(&mut self, f: Pure, a: u64, b: u64, c: u64) -> u64 {
        f(a, b, c)
    }
    #[inline(always)]
    fn known(&mut self, value: bool) -> bool {
        value
    }
    #[inline(always)]
    fn equal(&mut self, a: u64, b: u64) -> bool {
        a == b
    }
    #[inline(always)]
    fn below(&mut self, a: u64, b: u64) -> bool {
        a < b
    }
    #[inline(always)]
    fn less(&mut self, w: Width, a: u64, b: u64) -> bool {
        (w.sign_extend(a) as i64) < w.sign_extend(b) as i64
    }
    #[inline(always)]
    fn bit(&mut self, a: u64, n: u32) -> bool {
        a >> n & 1 != 0
    }
    #[inline(always)]
    fn negate(&mut self, c: bool) -> bool {
        !c
    }
    #[inline(always)]
    fn both(&mut self, a: bool, b: bool) -> bool {
        a & b
    }
    #[inline(always)]
    fn either(&mut self, a: bool, b: bool) -> bool {
        a | b
    }
    #[inline(always)]
    fn select(&mut self, c: bool, a: u64, b: u64) -> u64 {
        if c { a } else { b }
    }
    #[inline(always)]
    fn value_of(&mut self, c: bool) -> u64 {
        c.into()
    }
}
