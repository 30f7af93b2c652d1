//! x87 numbers in integer arithmetic: classes, rounding, the basic operations, conversions. SDM vol. 1, 4.8,
//! 4.9 and 8.5.
//!
//! Every function here is pure: operands and control word in, [`Outcome`] out. The status bits of an outcome are
//! those that this one operation raises, as the hardware would set them in a cleared status word: with an
//! unmasked invalid operand, denormal operand or zero divide only that flag, and the value is not to be stored;
//! with an unmasked overflow or underflow the value scaled by 2^24576. Exact on any host; on x86-64 hosts the
//! tests compare all of it with the processor's own unit.

mod basic;
mod convert;
mod remainder;
mod round;

pub use basic::{add, div, mul, sqrt, sub};
pub use convert::{
    BCD_INDEFINITE, from_bcd, from_i64, narrow_f32, narrow_f64, quiet, to_bcd, to_integer, widen_f32,
    widen_f64,
};
pub use remainder::{extract, remainder, round_to_integer, scale};
pub use round::round;

use crate::state::Extended;

/// Bits of the status word. SDM vol. 1, 8.1.3.
pub mod status {
    /// Invalid operation.
    pub const IE: u16 = 1 << 0;
    /// Denormal operand.
    pub const DE: u16 = 1 << 1;
    /// Zero divide.
    pub const ZE: u16 = 1 << 2;
    /// Overflow.
    pub const OE: u16 = 1 << 3;
    /// Underflow.
    pub const UE: u16 = 1 << 4;
    /// Precision.
    pub const PE: u16 = 1 << 5;
    /// Stack fault.
    pub const SF: u16 = 1 << 6;
    /// Exception summary: an unmasked exception is pending.
    pub const ES: u16 = 1 << 7;
    /// Condition code 0.
    pub const C0: u16 = 1 << 8;
    /// Condition code 1: rounded up, or stack overflow.
    pub const C1: u16 = 1 << 9;
    /// Condition code 2.
    pub const C2: u16 = 1 << 10;
    /// Condition code 3.
    pub const C3: u16 = 1 << 14;
    /// Busy: mirrors ES.
    pub const B: u16 = 1 << 15;
    /// The six exceptions that have a mask.
    pub const EXCEPTIONS: u16 = 0x3F;
    /// Exceptions found before the operation: unmasked, they leave the operands alone.
    pub const BEFORE: u16 = IE | DE | ZE;
    /// All four condition codes.
    pub const CONDITIONS: u16 = C0 | C1 | C2 | C3;
}
use status::{BEFORE, DE, EXCEPTIONS, IE};

/// Where results are rounded to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the manual's names")]
pub enum Rounding {
    Nearest,
    Down,
    Up,
    Zero,
}

impl Rounding {
    /// Whether a discarded part makes the magnitude larger: `half` is the first discarded bit, `rest` whether
    /// any other is set, `odd` the last bit kept.
    #[inline]
    pub const fn away(self, negative: bool, odd: bool, half: bool, rest: bool) -> bool {
        match self {
            Rounding::Nearest => half && (rest || odd),
            Rounding::Down => negative && (half || rest),
            Rounding::Up => !negative && (half || rest),
            Rounding::Zero => false,
        }
    }
}

/// The control word. SDM vol. 1, 8.1.5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlWord(pub u16);

impl ControlWord {
    /// What FNINIT loads: all masked, 64 bits, to nearest.
    pub const INITIAL: ControlWord = ControlWord(0x37F);

    /// Bits of significand that PC keeps. The reserved encoding acts as 64.
    #[inline]
    pub const fn precision(self) -> u32 {
        match self.0 >> 8 & 3 {
            0 => 24,
            2 => 53,
            _ => 64,
        }
    }
    /// RC.
    #[inline]
    pub const fn rounding(self) -> Rounding {
        match self.0 >> 10 & 3 {
            0 => Rounding::Nearest,
            1 => Rounding::Down,
            2 => Rounding::Up,
            _ => Rounding::Zero,
        }
    }
    /// Those of `flags` that are not masked.
    #[inline]
    pub const fn unmasked(self, flags: u16) -> u16 {
        flags & EXCEPTIONS & !self.0
    }
    /// Whether nothing can be raised.
    #[inline]
    pub const fn all_masked(self) -> bool {
        self.0 & EXCEPTIONS == EXCEPTIONS
    }
    /// The same with PC at 64 bits, for the operations that PC does not govern.
    pub const fn full_precision(self) -> Self {
        ControlWord(self.0 | 0x300)
    }
    /// The same, rounding toward zero.
    pub const fn truncating(self) -> Self {
        ControlWord(self.0 | 0xC00)
    }
}

/// A result and the status bits that go with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// The result.
    pub value: Extended,
    /// Exception flags, C1, and the other condition codes where the operation defines them.
    pub status: u16,
}

impl Outcome {
    /// A result that raises nothing.
    pub const fn exact(value: Extended) -> Self {
        Outcome { value, status: 0 }
    }
    /// The masked response to an invalid operation.
    pub const INVALID: Outcome = Outcome { value: INDEFINITE, status: IE };

    /// Adds the denormal flag if `denormal`; drops what an exception found before the operation forestalls.
    #[inline]
    pub fn settled(mut self, denormal: bool, cw: ControlWord) -> Self {
        if denormal {
            self.status |= DE;
        }
        if cw.unmasked(self.status) & BEFORE != 0 {
            self.status &= BEFORE;
        }
        self
    }
}

/// The real indefinite.
pub const INDEFINITE: Extended = extended(true, 0x7FFF, 0xC000_0000_0000_0000);
/// +1.
pub const ONE: Extended = extended(false, BIAS as u16, INTEGER);
/// Exponent bias.
pub const BIAS: i32 = 16383;
/// The explicit integer bit.
pub const INTEGER: u64 = 1 << 63;
/// The bit that makes a NaN quiet.
pub const QUIET: u64 = 1 << 62;

/// Assembles a value from sign, biased exponent and significand.
#[inline]
pub const fn extended(negative: bool, exponent: u16, significand: u64) -> Extended {
    Extended { significand, sign_exponent: exponent | (negative as u16) << 15 }
}
/// Zero with a sign.
pub const fn zero(negative: bool) -> Extended {
    extended(negative, 0, 0)
}
/// Infinity with a sign.
pub const fn infinity(negative: bool) -> Extended {
    extended(negative, 0x7FFF, INTEGER)
}
/// Sign bit.
#[inline]
pub const fn is_negative(x: Extended) -> bool {
    x.sign_exponent >> 15 != 0
}
/// Biased exponent.
#[inline]
pub const fn biased(x: Extended) -> i32 {
    (x.sign_exponent & 0x7FFF) as i32
}

/// What a register pattern stands for. SDM vol. 1, 4.8.3 and 8.2.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Plus or minus zero.
    Zero,
    /// Normalised.
    Normal,
    /// Exponent zero: denormal or pseudo-denormal.
    Denormal,
    /// Plus or minus infinity.
    Infinity,
    /// Quiet NaN.
    Quiet,
    /// Signalling NaN.
    Signalling,
    /// Pseudo-NaN, pseudo-infinity, unnormal: invalid operands since the 387.
    Unsupported,
}

impl Class {
    /// Not a number in any sense.
    pub const fn is_nan_like(self) -> bool {
        matches!(self, Class::Quiet | Class::Signalling | Class::Unsupported)
    }
}

/// Class of `x`.
#[inline]
pub const fn classify(x: Extended) -> Class {
    let integer = x.significand & INTEGER != 0;
    match x.sign_exponent & 0x7FFF {
        0 if x.significand == 0 => Class::Zero,
        0 => Class::Denormal,
        _ if !integer => Class::Unsupported,
        0x7FFF if x.significand == INTEGER => Class::Infinity,
        0x7FFF if x.significand & QUIET != 0 => Class::Quiet,
        0x7FFF => Class::Signalling,
        _ => Class::Normal,
    }
}

/// A finite non-zero number: `significand * 2^(exponent - 63)`, bit 63 set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finite {
    /// Sign.
    pub negative: bool,
    /// Unbiased exponent, beyond the register format's if need be.
    pub exponent: i32,
    /// Significand, normalised.
    pub significand: u64,
}

impl Finite {
    /// Of a value whose class is normal or denormal.
    #[inline]
    pub const fn of(x: Extended) -> Self {
        let shift = x.significand.leading_zeros();
        let exponent = if biased(x) == 0 { 1 } else { biased(x) };
        Finite {
            negative: is_negative(x),
            exponent: exponent - BIAS - shift as i32,
            significand: x.significand << (shift & 63),
        }
    }
}

/// The response to operands of which at least one is a NaN or unsupported: the NaN that the operation returns.
/// SDM vol. 1, table 4-7. `None` if neither is.
#[inline]
pub fn nan_operands(a: Extended, b: Extended) -> Option<Outcome> {
    let (class_a, class_b) = (classify(a), classify(b));
    if !class_a.is_nan_like() && !class_b.is_nan_like() {
        return None;
    }
    Some(nan_result(a, class_a, b, class_b))
}

#[cold]
fn nan_result(a: Extended, class_a: Class, b: Extended, class_b: Class) -> Outcome {
    use Class::{Quiet, Signalling, Unsupported};
    let status = if class_a == Signalling || class_b == Signalling { IE } else { 0 };
    let larger = match a.significand.cmp(&b.significand) {
        std::cmp::Ordering::Greater => a,
        std::cmp::Ordering::Less => b,
        // Equal significands: the positive one.
        std::cmp::Ordering::Equal if is_negative(a) => b,
        std::cmp::Ordering::Equal => a,
    };
    let value = match (class_a, class_b) {
        (Unsupported, _) | (_, Unsupported) => return Outcome::INVALID,
        (Quiet, Quiet) | (Signalling, Signalling) => larger,
        (Quiet, _) => a,
        (_, Quiet) => b,
        (Signalling, _) => a,
        _ => b,
    };
    Outcome { value: quiet(value), status }
}

/// The same for one operand.
pub fn nan_operand(a: Extended) -> Option<Outcome> {
    match classify(a) {
        Class::Unsupported => Some(Outcome::INVALID),
        Class::Quiet => Some(Outcome::exact(a)),
        Class::Signalling => Some(Outcome { value: quiet(a), status: IE }),
        _ => None,
    }
}

/// How two operands compare, as C3, C2, C0, with the exceptions raised. `quiet_nan_is_valid` for FUCOM.
#[inline]
pub fn compare(a: Extended, b: Extended, quiet_nan_is_valid: bool) -> u16 {
    use status::{C0, C2, C3};
    let (class_a, class_b) = (classify(a), classify(b));
    if class_a.is_nan_like() || class_b.is_nan_like() {
        let all_quiet =
            ![class_a, class_b].iter().any(|c| matches!(c, Class::Signalling | Class::Unsupported));
        let invalid = if all_quiet && quiet_nan_is_valid { 0 } else { IE };
        return C3 | C2 | C0 | invalid;
    }
    let denormal = if class_a == Class::Denormal || class_b == Class::Denormal { DE } else { 0 };
    denormal
        | match order_key(a).cmp(&order_key(b)) {
            std::cmp::Ordering::Greater => 0,
            std::cmp::Ordering::Less => C0,
            std::cmp::Ordering::Equal => C3,
        }
}

/// Orders as the numbers do. A pseudo-denormal equals the normal number of exponent one.
#[inline]
fn order_key(x: Extended) -> i128 {
    if x.significand == 0 {
        return 0;
    }
    let exponent = biased(x).max(1) as i128;
    let magnitude = exponent << 64 | x.significand as i128;
    if is_negative(x) { -magnitude } else { magnitude }
}
