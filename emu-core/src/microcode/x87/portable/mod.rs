//! The unit for hosts without an x87. SDM vol. 1, 8.3.8 to 8.3.11; vol. 2 per instruction for special cases.
//!
//! The operations that IEEE 754 defines, the remainders and the conversions are exact to the bit
//! ([`super::soft`]). The transcendental functions are series in 128-bit arithmetic, rounded as RC says: within
//! one unit in the last place of any processor's result and nearly always the correctly rounded one, but
//! processors differ among themselves in the last bit and so may this. FSIN, FCOS, FPTAN reduce their argument
//! by the 66-bit pi of the hardware. Operands outside a function's domain, whose results the manual leaves
//! undefined, give F2XM1's operand back, and what the formula says for FYL2XP1.

mod wide;

use super::soft::{
    self, Class, ControlWord, Finite, ONE, Outcome, classify, infinity, is_negative, nan_operand,
    nan_operands,
    status::{C2, ZE},
    zero,
};
use crate::state::Extended;
use std::cmp::Ordering;
use wide::Wide;

/// Bits of pi/2 that the hardware's argument reduction knows, as an integer of 2^-65.
const HALF_PI: u128 = 0x3_243F_6A88_85A3_08D3;
/// Sine, cosine and tangent take operands below 2^63.
const TRIGONOMETRIC_LIMIT: i32 = 63;

/// a + b.
pub fn add(a: Extended, b: Extended, cw: ControlWord, _: u16) -> Outcome {
    soft::add(a, b, cw)
}
/// a - b.
pub fn sub(a: Extended, b: Extended, cw: ControlWord, _: u16) -> Outcome {
    soft::sub(a, b, cw)
}
/// a * b.
pub fn mul(a: Extended, b: Extended, cw: ControlWord, _: u16) -> Outcome {
    soft::mul(a, b, cw)
}
/// a / b.
pub fn div(a: Extended, b: Extended, cw: ControlWord, _: u16) -> Outcome {
    soft::div(a, b, cw)
}
fn into(a: &mut Extended, outcome: Outcome) -> u16 {
    *a = outcome.value;
    outcome.status
}
/// `a = a + b` with all exceptions masked; the status.
pub fn add_in_place(a: &mut Extended, b: &Extended, cw: ControlWord, _: u16) -> u16 {
    into(a, soft::add(*a, *b, cw))
}
/// `a = a - b`, as [`add_in_place`].
pub fn sub_in_place(a: &mut Extended, b: &Extended, cw: ControlWord, _: u16) -> u16 {
    into(a, soft::sub(*a, *b, cw))
}
/// `a = b - a`, as [`add_in_place`].
pub fn subr_in_place(a: &mut Extended, b: &Extended, cw: ControlWord, _: u16) -> u16 {
    into(a, soft::sub(*b, *a, cw))
}
/// `a = a * b`, as [`add_in_place`].
pub fn mul_in_place(a: &mut Extended, b: &Extended, cw: ControlWord, _: u16) -> u16 {
    into(a, soft::mul(*a, *b, cw))
}
/// `a = a / b`, as [`add_in_place`].
pub fn div_in_place(a: &mut Extended, b: &Extended, cw: ControlWord, _: u16) -> u16 {
    into(a, soft::div(*a, *b, cw))
}
/// `a = b / a`, as [`add_in_place`].
pub fn divr_in_place(a: &mut Extended, b: &Extended, cw: ControlWord, _: u16) -> u16 {
    into(a, soft::div(*b, *a, cw))
}
/// Square root.
pub fn sqrt(a: Extended, cw: ControlWord, _: u16) -> Outcome {
    soft::sqrt(a, cw)
}
/// FRNDINT.
pub fn round_to_integer(a: Extended, cw: ControlWord, _: u16) -> Outcome {
    soft::round_to_integer(a, cw)
}
/// FSCALE: a * 2^b.
pub fn scale(a: Extended, b: Extended, cw: ControlWord, _: u16) -> Outcome {
    soft::scale(a, b, cw)
}
/// FPREM of a by b.
pub fn prem(a: Extended, b: Extended, cw: ControlWord, _: u16) -> Outcome {
    soft::remainder(a, b, false, cw)
}
/// FPREM1 of a by b.
pub fn prem1(a: Extended, b: Extended, cw: ControlWord, _: u16) -> Outcome {
    soft::remainder(a, b, true, cw)
}

fn is_denormal(x: Extended) -> bool {
    classify(x) == Class::Denormal
}

/// 2^a - 1.
pub fn f2xm1(a: Extended, cw: ControlWord, _: u16) -> Outcome {
    if let Some(nan) = nan_operand(a) {
        return nan.settled(false, cw);
    }
    match classify(a) {
        Class::Infinity if is_negative(a) => {
            return Outcome::exact(Extended { sign_exponent: 0xBFFF, ..ONE });
        }
        Class::Zero | Class::Infinity => return Outcome::exact(a),
        _ => {}
    }
    let x = Finite::of(a);
    let unit = x.significand == soft::INTEGER;
    let outcome = match x.exponent {
        0 if unit && !x.negative => Outcome::exact(a),
        0 if unit => Outcome::exact(soft::extended(true, soft::BIAS as u16 - 1, soft::INTEGER)),
        0.. => Outcome::exact(a),
        _ => Wide::of(x).mul(Wide::LN_2).factorial_series(1, 1, false).rounded(true, cw),
    };
    outcome.settled(is_denormal(a), cw)
}

/// The natural logarithm of `numerator / denominator`, both positive and their ratio near one.
fn ln_ratio(difference: Wide, sum: Wide) -> Wide {
    difference.div(sum).odd_series(false).shifted(1)
}

/// log2 of a positive number.
fn log2(x: Finite) -> Wide {
    let mut mantissa = Wide { negative: false, exponent: 0, ..Wide::of(x) };
    let mut exponent = x.exponent;
    // Between the square roots of 1/2 and 2.
    if x.significand > 0xB504_F333_F9DE_6484 {
        mantissa.exponent -= 1;
        exponent += 1;
    }
    let fraction = ln_ratio(mantissa.sub(Wide::ONE), mantissa.add(Wide::ONE)).div(Wide::LN_2);
    Wide::integer(exponent).add(fraction)
}

/// y * log2(x).
pub fn yl2x(x: Extended, y: Extended, cw: ControlWord, _: u16) -> Outcome {
    if let Some(nan) = nan_operands(x, y) {
        return nan.settled(false, cw);
    }
    let (class_x, class_y, sign_y) = (classify(x), classify(y), is_negative(y));
    let one = x == ONE;
    let below_one = class_x == Class::Zero || (class_x != Class::Infinity && Finite::of(x).exponent < 0);
    let outcome = match (class_x, class_y) {
        (Class::Zero, Class::Zero) | (Class::Infinity, Class::Zero) => {
            return Outcome::INVALID.settled(false, cw);
        }
        (Class::Zero, Class::Infinity) => Outcome::exact(infinity(!sign_y)),
        (Class::Zero, _) => return Outcome { value: infinity(!sign_y), status: ZE }.settled(false, cw),
        _ if is_negative(x) => return Outcome::INVALID.settled(false, cw),
        (_, Class::Infinity) if one => return Outcome::INVALID.settled(false, cw),
        (Class::Infinity, _) => Outcome::exact(infinity(sign_y)),
        (_, Class::Infinity) => Outcome::exact(infinity(sign_y ^ below_one)),
        (_, Class::Zero) => Outcome::exact(zero(sign_y ^ below_one)),
        _ if one => Outcome::exact(zero(sign_y)),
        _ => {
            let exact_power = Finite::of(x).significand == soft::INTEGER;
            Wide::of(Finite::of(y)).mul(log2(Finite::of(x))).rounded(!exact_power, cw)
        }
    };
    outcome.settled(is_denormal(x) || is_denormal(y), cw)
}

/// y * log2(x + 1).
pub fn yl2xp1(x: Extended, y: Extended, cw: ControlWord, _: u16) -> Outcome {
    if let Some(nan) = nan_operands(x, y) {
        return nan.settled(false, cw);
    }
    let (class_x, class_y) = (classify(x), classify(y));
    let sign = is_negative(x) ^ is_negative(y);
    let outcome = match (class_x, class_y) {
        (Class::Infinity, _) if is_negative(x) => return Outcome::INVALID.settled(false, cw),
        (Class::Zero, Class::Infinity) | (Class::Infinity, Class::Zero) => {
            return Outcome::INVALID.settled(false, cw);
        }
        (Class::Infinity, _) | (_, Class::Infinity) => Outcome::exact(infinity(sign)),
        (Class::Zero, _) | (_, Class::Zero) => Outcome::exact(zero(sign)),
        _ => {
            let (x, y) = (Wide::of(Finite::of(x)), Wide::of(Finite::of(y)));
            let sum = x.add(Wide::ONE);
            if sum.is_zero() || sum.negative {
                return Outcome::INVALID.settled(false, cw);
            }
            let logarithm = if x.exponent < -1 {
                ln_ratio(x, x.add(Wide::integer(2))).div(Wide::LN_2)
            } else {
                let significand = (sum.significand >> 64) as u64;
                log2(Finite { negative: false, exponent: sum.exponent, significand })
            };
            y.mul(logarithm).rounded(true, cw)
        }
    };
    outcome.settled(is_denormal(x) || is_denormal(y), cw)
}

/// The arc tangent of a ratio between 0 and 1.
fn arc_tangent(ratio: Wide) -> Wide {
    if ratio.exponent < -2 {
        return ratio.odd_series(true);
    }
    // atan r = atan 1/2 + atan ((r - 1/2) / (1 + r/2))
    let half = Wide::ONE.shifted(-1);
    let rest = ratio.sub(half).div(Wide::ONE.add(ratio.shifted(-1)));
    half.odd_series(true).add(rest.odd_series(true))
}

/// Angle of (x, y).
pub fn patan(x: Extended, y: Extended, cw: ControlWord, _: u16) -> Outcome {
    if let Some(nan) = nan_operands(x, y) {
        return nan.settled(false, cw);
    }
    let (class_x, class_y) = (classify(x), classify(y));
    let (left, down) = (is_negative(x), is_negative(y));
    let angle = match (class_x, class_y) {
        (Class::Infinity, Class::Infinity) if left => Wide::PI.sub(Wide::PI.shifted(-2)),
        (Class::Infinity, Class::Infinity) => Wide::PI.shifted(-2),
        (_, Class::Infinity) => Wide::PI.shifted(-1),
        (Class::Infinity, _) | (_, Class::Zero) if left => Wide::PI,
        (Class::Infinity, _) | (_, Class::Zero) => Wide::ZERO,
        (Class::Zero, _) => Wide::PI.shifted(-1),
        _ => {
            let (x, y) = (Wide::of(Finite::of(x)).magnitude(), Wide::of(Finite::of(y)).magnitude());
            if y.compare_magnitude(x) == Ordering::Greater {
                let complement = arc_tangent(x.div(y));
                Wide::PI.shifted(-1).add(complement.with_sign(!left))
            } else {
                let angle = arc_tangent(y.div(x));
                if left { Wide::PI.sub(angle) } else { angle }
            }
        }
    };
    let outcome = angle.with_sign(down).rounded(true, cw);
    outcome.settled(is_denormal(x) || is_denormal(y), cw)
}

/// An angle as a quadrant and the rest, at most pi/4 in magnitude. `x` is below the limit.
fn reduce(x: Finite) -> (u32, Wide) {
    // In units of 2^-65 the operand is `significand << (exponent + 2)`.
    if x.exponent < -1 {
        return (0, Wide::of(x).magnitude());
    }
    let (mut rest, mut quotient) = (0u128, 0u32);
    let bits = 64 + (x.exponent + 2) as u32;
    for k in (0..bits).rev() {
        let shift = k as i32 - (x.exponent + 2);
        let bit = if shift >= 0 { x.significand >> shift & 1 } else { 0 };
        rest = rest << 1 | u128::from(bit);
        quotient <<= 1;
        if rest >= HALF_PI {
            rest -= HALF_PI;
            quotient |= 1;
        }
    }
    let unit = 127 - 65;
    if rest << 1 > HALF_PI {
        (quotient.wrapping_add(1), Wide::scaled(true, unit, HALF_PI - rest))
    } else {
        (quotient, Wide::scaled(false, unit, rest))
    }
}

/// Sine and cosine of a finite number below the limit.
fn sine_and_cosine(x: Finite) -> (Wide, Wide) {
    let (quadrant, rest) = reduce(x);
    let (sine, cosine) = if rest.is_zero() {
        (Wide::ZERO, Wide::ONE)
    } else {
        (rest.factorial_series(1, 2, true), rest.factorial_series(0, 2, true))
    };
    let (sine, cosine) = match quadrant & 3 {
        0 => (sine, cosine),
        1 => (cosine, sine.negated()),
        2 => (sine.negated(), cosine.negated()),
        _ => (cosine.negated(), sine),
    };
    (if x.negative { sine.negated() } else { sine }, cosine)
}

/// The answer to operands that have no sine: NaNs, infinities, those out of range.
fn no_angle(a: Extended, cw: ControlWord) -> Option<Outcome> {
    if let Some(nan) = nan_operand(a) {
        return Some(nan.settled(false, cw));
    }
    match classify(a) {
        Class::Zero => None,
        Class::Infinity => Some(Outcome::INVALID.settled(false, cw)),
        _ if Finite::of(a).exponent >= TRIGONOMETRIC_LIMIT => Some(Outcome { value: a, status: C2 }),
        _ => None,
    }
}

/// Sine. C2: out of range, value unchanged.
pub fn sin(a: Extended, cw: ControlWord, _: u16) -> Outcome {
    if let Some(outcome) = no_angle(a, cw) {
        return outcome;
    }
    if classify(a) == Class::Zero {
        return Outcome::exact(a);
    }
    sine_and_cosine(Finite::of(a)).0.rounded(true, cw).settled(is_denormal(a), cw)
}

/// Cosine. C2: out of range, value unchanged.
pub fn cos(a: Extended, cw: ControlWord, _: u16) -> Outcome {
    if let Some(outcome) = no_angle(a, cw) {
        return outcome;
    }
    if classify(a) == Class::Zero {
        return Outcome::exact(ONE);
    }
    sine_and_cosine(Finite::of(a)).1.rounded(true, cw).settled(is_denormal(a), cw)
}

/// What FPTAN and FSINCOS make of operands without a result: a NaN twice, or the operand and C2.
fn no_pair(outcome: Outcome) -> (Extended, Option<Extended>, u16) {
    let pushed = (outcome.status & C2 == 0).then_some(outcome.value);
    (outcome.value, pushed, outcome.status)
}

/// Tangent, and the one that FPTAN pushes; nothing pushed with C2 (out of range).
pub fn ptan(a: Extended, cw: ControlWord) -> (Extended, Option<Extended>, u16) {
    if let Some(outcome) = no_angle(a, cw) {
        return no_pair(outcome);
    }
    if classify(a) == Class::Zero {
        return (a, Some(ONE), 0);
    }
    let (sine, cosine) = sine_and_cosine(Finite::of(a));
    let outcome = sine.div(cosine).rounded(true, cw).settled(is_denormal(a), cw);
    (outcome.value, Some(ONE), outcome.status)
}

/// Sine, and the cosine that is pushed; as [`ptan`]. C1 is the cosine's.
pub fn sincos(a: Extended, cw: ControlWord) -> (Extended, Option<Extended>, u16) {
    if let Some(outcome) = no_angle(a, cw) {
        return no_pair(outcome);
    }
    if classify(a) == Class::Zero {
        return (a, Some(ONE), 0);
    }
    let (sine, cosine) = sine_and_cosine(Finite::of(a));
    let (sine, cosine) = (sine.rounded(true, cw), cosine.rounded(true, cw));
    let status = sine.status & !soft::status::C1 | cosine.status;
    let outcome = Outcome { value: sine.value, status }.settled(is_denormal(a), cw);
    (outcome.value, Some(cosine.value), outcome.status)
}
