//! Integer arithmetic: constants are folded, and widths tell where nothing is to be cut off.

use super::{Cond, Recorder, done_in, log2};
use crate::baseline::{
    ir::{Binary, Op, Test, Unary, V},
    x64::{BitCount, Cc, Shift},
};
use emu_core::{
    arch::Width,
    semantics::{Arithmetic, Pure},
};

impl Recorder {
    pub(super) fn binary(&mut self, op: Binary, w: Width, a: V, b: V) -> V {
        if let (Some(x), Some(y)) = (self.known_constant(a), self.known_constant(b)) {
            let value = match op {
                Binary::Add => x.wrapping_add(y),
                Binary::Sub => x.wrapping_sub(y),
                Binary::And => x & y,
                Binary::Or => x | y,
                Binary::Xor => x ^ y,
                Binary::Multiply => x.wrapping_mul(y),
            };
            return self.constant(value & w.mask());
        }
        let zero = self.known_constant(b) == Some(0);
        if zero && matches!(op, Binary::Add | Binary::Sub | Binary::Or | Binary::Xor) {
            return a;
        }
        let bits = match op {
            Binary::And => self.bits[a as usize].min(self.bits[b as usize]),
            Binary::Or | Binary::Xor => self.bits[a as usize].max(self.bits[b as usize]),
            _ => 8 << done_in(w),
        };
        // A constant is best the second operand.
        let swap = self.known_constant(a).is_some() && op != Binary::Sub;
        let (a, b) = if swap { (b, a) } else { (a, b) };
        let narrow = bits <= 32 && matches!(op, Binary::And | Binary::Or | Binary::Xor);
        let r = self.push(Op::Binary(op, if narrow { 2 } else { done_in(w) }, a, b), bits);
        self.extend(log2(w), r)
    }

    /// A condition as an operation's test; `Err`: it is known.
    pub(super) fn truth(&mut self, c: Cond) -> V {
        match c {
            Cond::Known(value) => self.constant(value.into()),
            Cond::Test(test) => self.push(Op::Truth(test), 1),
        }
    }

    pub(super) fn is_true(&mut self, v: V) -> Cond {
        let zero = self.constant(0);
        Cond::Test(Test::Compare(Cc::NotEqual, 2, v, zero))
    }

    pub(super) fn compare(&mut self, cc: Cc, a: V, b: V) -> Cond {
        if let (Some(x), Some(y)) = (self.known_constant(a), self.known_constant(b)) {
            return Cond::Known(if cc == Cc::Equal { x == y } else { x < y });
        }
        if cc == Cc::Below && self.known_constant(b) == Some(0) {
            return Cond::Known(false);
        }
        let w = if self.fits(a, 32) && self.fits(b, 32) { 2 } else { 3 };
        Cond::Test(Test::Compare(cc, w, a, b))
    }
}

impl Arithmetic for Recorder {
    fn constant(&mut self, value: u64) -> V {
        self.push(Op::Const(value), (64 - value.leading_zeros()) as u8)
    }
    fn add(&mut self, w: Width, a: V, b: V) -> V {
        self.binary(Binary::Add, w, a, b)
    }
    fn sub(&mut self, w: Width, a: V, b: V) -> V {
        self.binary(Binary::Sub, w, a, b)
    }
    fn and(&mut self, a: V, b: V) -> V {
        self.binary(Binary::And, Width::W64, a, b)
    }
    fn or(&mut self, a: V, b: V) -> V {
        self.binary(Binary::Or, Width::W64, a, b)
    }
    fn xor(&mut self, a: V, b: V) -> V {
        self.binary(Binary::Xor, Width::W64, a, b)
    }
    fn not(&mut self, w: Width, a: V) -> V {
        let r = self.push(Op::Unary(Unary::Complement, done_in(w), a), 8 << done_in(w));
        self.extend(log2(w), r)
    }
    fn shl(&mut self, w: Width, a: V, count: V) -> V {
        let r = match self.known_constant(count) {
            Some(0) => a,
            Some(count) if count < 64 => match self.known_constant(a) {
                Some(value) => self.constant(value << count),
                None if count < 32 && done_in(w) == 2 => {
                    self.push(Op::ShiftBy(Shift::Left, 2, a, count as u8), 32)
                }
                None => self.push(Op::ShiftBy(Shift::Left, 3, a, count as u8), 64),
            },
            Some(_) => self.constant(0),
            None => self.push(Op::Shift(Shift::Left, a, count, self.fits(count, 6)), 64),
        };
        self.extend(log2(w), r)
    }
    fn shr(&mut self, _: Width, a: V, count: V) -> V {
        let bits = self.bits[a as usize];
        match self.known_constant(count) {
            Some(0) => a,
            Some(count) if count < 64 => match self.known_constant(a) {
                Some(value) => self.constant(value >> count),
                None => {
                    self.push(Op::ShiftBy(Shift::Right, 3, a, count as u8), bits.saturating_sub(count as u8))
                }
            },
            Some(_) => self.constant(0),
            None => self.push(Op::Shift(Shift::Right, a, count, self.fits(count, 6)), bits),
        }
    }
    fn sar(&mut self, w: Width, a: V, count: V) -> V {
        let signed = if w == Width::W64 { a } else { self.push(Op::SignExtend(log2(w), a), 64) };
        let r = match self.known_constant(count) {
            Some(count) => self.push(Op::ShiftBy(Shift::Signed, 3, signed, count.min(63) as u8), 64),
            None => self.push(Op::Shift(Shift::Signed, signed, count, self.fits(count, 6)), 64),
        };
        self.extend(log2(w), r)
    }
    fn rol(&mut self, w: Width, a: V, count: V) -> V {
        self.push(Op::Rotate(log2(w), a, count), w.bits() as u8)
    }
    fn mul(&mut self, w: Width, a: V, b: V) -> V {
        self.binary(Binary::Multiply, w, a, b)
    }
    fn mul_high_unsigned(&mut self, w: Width, a: V, b: V) -> V {
        if w == Width::W64 {
            return self.push(Op::MultiplyHigh(false, a, b), 64);
        }
        let product = self.binary(Binary::Multiply, Width::W64, a, b);
        let count = self.constant(w.bits().into());
        let high = self.shr(Width::W64, product, count);
        self.extend(log2(w), high)
    }
    fn mul_high_signed(&mut self, w: Width, a: V, b: V) -> V {
        if w == Width::W64 {
            return self.push(Op::MultiplyHigh(true, a, b), 64);
        }
        let a = self.push(Op::SignExtend(log2(w), a), 64);
        let b = self.push(Op::SignExtend(log2(w), b), 64);
        let product = self.binary(Binary::Multiply, Width::W64, a, b);
        let count = self.constant(w.bits().into());
        let high = self.shr(Width::W64, product, count);
        self.extend(log2(w), high)
    }
    fn truncate(&mut self, w: Width, a: V) -> V {
        self.extend(log2(w), a)
    }
    fn sign_extend(&mut self, from: Width, to: Width, a: V) -> V {
        let signed = if from == Width::W64 { a } else { self.push(Op::SignExtend(log2(from), a), 64) };
        self.extend(log2(to), signed)
    }
    fn swap_bytes(&mut self, w: Width, a: V) -> V {
        match w {
            Width::W8 => a,
            Width::W16 => {
                let swapped = self.push(Op::Unary(Unary::ReverseBytes, 2, a), 32);
                self.push(Op::ShiftBy(Shift::Right, 2, swapped, 16), 16)
            }
            _ => self.push(Op::Unary(Unary::ReverseBytes, log2(w), a), w.bits() as u8),
        }
    }
    fn leading_zeros(&mut self, w: Width, a: V) -> V {
        let zeros = self.push(Op::Unary(Unary::Count(BitCount::LeadingZeros), 3, a), 7);
        let outside = self.constant(u64::from(64 - w.bits()));
        self.sub(Width::W64, zeros, outside)
    }
    fn trailing_zeros(&mut self, w: Width, a: V) -> V {
        let a = if w == Width::W64 {
            a
        } else {
            let end = self.constant(1 << w.bits());
            self.or(a, end)
        };
        self.push(Op::Unary(Unary::Count(BitCount::TrailingZeros), 3, a), 7)
    }
    fn count_ones(&mut self, a: V) -> V {
        self.push(Op::Unary(Unary::Count(BitCount::Ones), 3, a), 7)
    }
    fn pure(&mut self, f: Pure, a: V, b: V, c: V) -> V {
        self.push(Op::Pure(f, a, b, c), 64)
    }
    fn known(&mut self, value: bool) -> Cond {
        Cond::Known(value)
    }
    fn equal(&mut self, a: V, b: V) -> Cond {
        self.compare(Cc::Equal, a, b)
    }
    fn below(&mut self, a: V, b: V) -> Cond {
        self.compare(Cc::Below, a, b)
    }
    fn less(&mut self, w: Width, a: V, b: V) -> Cond {
        if w.bits() >= 32 {
            return Cond::Test(Test::Compare(Cc::Less, log2(w), a, b));
        }
        let a = self.push(Op::SignExtend(log2(w), a), 64);
        let b = self.push(Op::SignExtend(log2(w), b), 64);
        Cond::Test(Test::Compare(Cc::Less, 2, a, b))
    }
    fn bit(&mut self, a: V, n: u32) -> Cond {
        match self.known_constant(a) {
            Some(value) => Cond::Known(value >> n & 1 != 0),
            None => Cond::Test(Test::Bit(a, n as u8, true)),
        }
    }
    fn negate(&mut self, c: Cond) -> Cond {
        match c {
            Cond::Known(value) => Cond::Known(!value),
            Cond::Test(test) => Cond::Test(test.opposite()),
        }
    }
    fn both(&mut self, a: Cond, b: Cond) -> Cond {
        match (a, b) {
            (Cond::Known(true), other) | (other, Cond::Known(true)) => other,
            (Cond::Known(false), _) | (_, Cond::Known(false)) => Cond::Known(false),
            _ => {
                let (a, b) = (self.truth(a), self.truth(b));
                let r = self.and(a, b);
                self.is_true(r)
            }
        }
    }
    fn either(&mut self, a: Cond, b: Cond) -> Cond {
        match (a, b) {
            (Cond::Known(false), other) | (other, Cond::Known(false)) => other,
            (Cond::Known(true), _) | (_, Cond::Known(true)) => Cond::Known(true),
            _ => {
                let (a, b) = (self.truth(a), self.truth(b));
                let r = self.or(a, b);
                self.is_true(r)
            }
        }
    }
    fn select(&mut self, c: Cond, a: V, b: V) -> V {
        match c {
            Cond::Known(true) => a,
            Cond::Known(false) => b,
            Cond::Test(test) => {
                let bits = self.bits[a as usize].max(self.bits[b as usize]);
                self.push(Op::Select(test, a, b), bits)
            }
        }
    }
    fn value_of(&mut self, c: Cond) -> V {
        self.truth(c)
    }
}
