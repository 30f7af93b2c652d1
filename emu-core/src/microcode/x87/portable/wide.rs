//! Numbers with 128 bits of significand: the working precision of the portable functions. Operations truncate,
//! with errors of a few units in the last place, some 60 bits below what the results are rounded to.

use super::super::soft::{ControlWord, Finite, Outcome, round, zero};
use std::cmp::Ordering;

/// `significand * 2^(exponent - 127)`, bit 127 set unless the number is zero.
#[derive(Debug, Clone, Copy)]
pub struct Wide {
    pub negative: bool,
    pub exponent: i32,
    pub significand: u128,
}

impl Wide {
    pub const ZERO: Wide = Wide { negative: false, exponent: 0, significand: 0 };
    pub const ONE: Wide = Wide { negative: false, exponent: 0, significand: 1 << 127 };
    pub const PI: Wide =
        Wide { negative: false, exponent: 1, significand: 0xC90F_DAA2_2168_C234_C4C6_628B_80DC_1CD1 };
    pub const LN_2: Wide =
        Wide { negative: false, exponent: -1, significand: 0xB172_17F7_D1CF_79AB_C9E3_B398_03F2_F6AF };

    pub const fn of(x: Finite) -> Self {
        Wide { negative: x.negative, exponent: x.exponent, significand: (x.significand as u128) << 64 }
    }

    pub fn integer(n: i32) -> Self {
        Self::scaled(n < 0, 127, n.unsigned_abs().into())
    }

    /// `significand * 2^(exponent - 127)`, normalised.
    pub fn scaled(negative: bool, exponent: i32, significand: u128) -> Self {
        if significand == 0 {
            return Self::ZERO;
        }
        let shift = significand.leading_zeros();
        Wide { negative, exponent: exponent - shift as i32, significand: significand << shift }
    }

    pub const fn negated(self) -> Self {
        Wide { negative: !self.negative, ..self }
    }
    pub const fn magnitude(self) -> Self {
        Wide { negative: false, ..self }
    }
    pub const fn with_sign(self, negative: bool) -> Self {
        Wide { negative, ..self }
    }
    pub const fn is_zero(self) -> bool {
        self.significand == 0
    }
    /// `self * 2^n`.
    pub const fn shifted(self, n: i32) -> Self {
        Wide { exponent: self.exponent + n, ..self }
    }

    /// Compares magnitudes.
    pub fn compare_magnitude(self, other: Self) -> Ordering {
        match (self.is_zero(), other.is_zero()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            _ => (self.exponent, self.significand).cmp(&(other.exponent, other.significand)),
        }
    }

    pub fn add(self, other: Self) -> Self {
        let (large, small) =
            if self.compare_magnitude(other) == Ordering::Less { (other, self) } else { (self, other) };
        if small.is_zero() {
            return large;
        }
        // One bit of room for the carry.
        let shift = (large.exponent - small.exponent) as u32 + 1;
        let (x, y) = (large.significand >> 1, small.significand.checked_shr(shift).unwrap_or(0));
        let sum = if large.negative == small.negative { x + y } else { x - y };
        Self::scaled(large.negative, large.exponent + 1, sum)
    }

    pub fn sub(self, other: Self) -> Self {
        self.add(other.negated())
    }

    pub fn mul(self, other: Self) -> Self {
        let low = |x: u128| x & u128::from(u64::MAX);
        let half = |x: u128| (x >> 64, low(x));
        let ((a, b), (c, d)) = (half(self.significand), half(other.significand));
        let middle = ((b * d) >> 64) + low(a * d) + low(b * c);
        let high = a * c + ((a * d) >> 64) + ((b * c) >> 64) + (middle >> 64);
        Self::scaled(self.negative ^ other.negative, self.exponent + other.exponent + 1, high)
    }

    /// Quotient; `other` is not zero.
    pub fn div(self, other: Self) -> Self {
        if self.is_zero() {
            return self;
        }
        // Both halved, so that the doubled remainder keeps within the word.
        let divisor = other.significand >> 1;
        let (mut rest, mut quotient) = (self.significand >> 1, 0u128);
        for _ in 0..128 {
            quotient <<= 1;
            if rest >= divisor {
                rest -= divisor;
                quotient |= 1;
            }
            rest <<= 1;
        }
        Self::scaled(self.negative ^ other.negative, self.exponent - other.exponent, quotient)
    }

    /// Divided by a small positive integer.
    pub fn div_small(self, n: u32) -> Self {
        Self::scaled(self.negative, self.exponent, self.significand / u128::from(n))
    }

    /// As a result. `inexact` marks what is lost even where the working precision shows nothing.
    pub fn rounded(self, inexact: bool, cw: ControlWord) -> Outcome {
        if self.is_zero() {
            return Outcome::exact(zero(self.negative));
        }
        round(self.negative, self.exponent, self.significand | u128::from(inexact), cw.full_precision())
    }

    /// `sum of self^(2k+1) / d(k)` while terms count, with `d` the odd numbers (`alternating` for the arc
    /// tangent, not for its hyperbolic sister).
    pub fn odd_series(self, alternating: bool) -> Self {
        let square = self.mul(self);
        let (mut power, mut sum) = (self, self);
        for k in 1..64 {
            power = power.mul(square);
            if power.is_zero() || power.exponent < self.exponent - 128 {
                break;
            }
            let term = power.div_small(2 * k + 1);
            sum = sum.add(if alternating && k % 2 == 1 { term.negated() } else { term });
        }
        sum
    }

    /// `sum of (sign) self^n / n!` over n = first, first + step, ... while terms count.
    pub fn factorial_series(self, first: u32, step: u32, alternating: bool) -> Self {
        let mut term = (1..=first).fold(Self::ONE, |term, n| term.mul(self).div_small(n));
        let (mut sum, mut n, lowest) = (term, first, term.exponent - 128);
        loop {
            for _ in 0..step {
                n += 1;
                term = term.mul(self).div_small(n);
            }
            if alternating {
                term = term.negated();
            }
            if term.is_zero() || term.exponent < lowest {
                return sum;
            }
            sum = sum.add(term);
        }
    }
}
