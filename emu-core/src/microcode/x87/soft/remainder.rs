//! FPREM, FPREM1, FSCALE, FXTRACT, FRNDINT: exact operations, which PC does not govern.

use super::{
    BIAS, Class, ControlWord, Extended, Finite, INTEGER, Outcome, classify, extended, infinity, is_negative,
    nan_operand, nan_operands,
    round::{round, shift_right_jam},
    status::{C0, C1, C2, C3, PE, ZE},
    zero,
};

/// FPREM (`nearest` false: quotient truncated) and FPREM1 (quotient to nearest). C2 says that the reduction is
/// not complete; if it is, C0, C3, C1 are the quotient's low bits.
pub fn remainder(a: Extended, b: Extended, nearest: bool, cw: ControlWord) -> Outcome {
    if let Some(nan) = nan_operands(a, b) {
        return nan.settled(false, cw);
    }
    let cw = cw.full_precision();
    let (class_a, class_b) = (classify(a), classify(b));
    let denormal = class_a == Class::Denormal || class_b == Class::Denormal;
    let outcome = match (class_a, class_b) {
        (Class::Infinity, _) | (_, Class::Zero) => return Outcome::INVALID,
        (Class::Zero, _) => Outcome::exact(a),
        (_, Class::Infinity) => value_of(Finite::of(a), cw),
        _ => reduce(Finite::of(a), Finite::of(b), nearest, cw),
    };
    outcome.settled(denormal, cw)
}

fn value_of(x: Finite, cw: ControlWord) -> Outcome {
    round(x.negative, x.exponent, u128::from(x.significand) << 64, cw)
}

fn reduce(a: Finite, b: Finite, nearest: bool, cw: ControlWord) -> Outcome {
    let distance = a.exponent - b.exponent;
    if distance >= 64 {
        // As much as one step of the hardware does, keeping the distance modulo 32.
        let step = distance & 31 | 32;
        let rest = (u128::from(a.significand) << step) % u128::from(b.significand);
        let mut outcome = rest_of(a.negative, a.exponent - step, rest, cw);
        outcome.status |= C2;
        return outcome;
    }
    if distance < -1 || (distance == -1 && !nearest) {
        return value_of(a, cw);
    }
    // Both in units of the smaller exponent's last place.
    let (dividend, divisor, exponent) = if distance < 0 {
        (u128::from(a.significand), u128::from(b.significand) << 1, a.exponent)
    } else {
        (u128::from(a.significand) << distance, u128::from(b.significand), b.exponent)
    };
    let (mut quotient, mut rest, mut negative) = (dividend / divisor, dividend % divisor, a.negative);
    let twice = rest << 1;
    if nearest && (twice > divisor || (twice == divisor && quotient & 1 != 0)) {
        rest = divisor - rest;
        quotient += 1;
        negative = !negative;
    }
    let mut outcome =
        if rest == 0 { Outcome::exact(zero(a.negative)) } else { rest_of(negative, exponent, rest, cw) };
    let bit = |n: u32, flag: u16| if quotient >> n & 1 != 0 { flag } else { 0 };
    outcome.status |= bit(0, C1) | bit(1, C3) | bit(2, C0);
    outcome
}

/// `rest * 2^(exponent - 63)`.
fn rest_of(negative: bool, exponent: i32, rest: u128, cw: ControlWord) -> Outcome {
    if rest == 0 {
        return Outcome::exact(zero(negative));
    }
    let shift = rest.leading_zeros();
    round(negative, exponent + 64 - shift as i32, rest << shift, cw)
}

/// FSCALE: a * 2^truncate(b).
pub fn scale(a: Extended, b: Extended, cw: ControlWord) -> Outcome {
    if let Some(nan) = nan_operands(a, b) {
        return nan.settled(false, cw);
    }
    let cw = cw.full_precision();
    let (class_a, class_b) = (classify(a), classify(b));
    let denormal = class_a == Class::Denormal || class_b == Class::Denormal;
    let outcome = match (class_a, class_b) {
        (Class::Zero, Class::Infinity) if !is_negative(b) => Outcome::INVALID,
        (Class::Infinity, Class::Infinity) if is_negative(b) => Outcome::INVALID,
        (Class::Zero | Class::Infinity, _) => Outcome::exact(a),
        (_, Class::Infinity) if is_negative(b) => Outcome::exact(zero(is_negative(a))),
        (_, Class::Infinity) => Outcome::exact(infinity(is_negative(a))),
        _ => {
            let x = Finite::of(a);
            value_of(Finite { exponent: x.exponent + scale_factor(b), ..x }, cw)
        }
    };
    outcome.settled(denormal, cw)
}

/// `b` truncated to an integer, limited to what leaves the exponent range for sure.
fn scale_factor(b: Extended) -> i32 {
    const LIMIT: u64 = 1 << 17;
    if b.significand == 0 {
        return 0;
    }
    let b = Finite::of(b);
    let magnitude = match b.exponent {
        ..0 => 0,
        0..=63 => (b.significand >> (63 - b.exponent)).min(LIMIT),
        _ => LIMIT,
    };
    if b.negative { -(magnitude as i32) } else { magnitude as i32 }
}

/// FXTRACT: (exponent, significand), and the status bits of both.
pub fn extract(a: Extended, cw: ControlWord) -> (Extended, Extended, u16) {
    if let Some(nan) = nan_operand(a) {
        return (nan.value, nan.value, nan.status);
    }
    match classify(a) {
        Class::Zero => (infinity(true), a, ZE),
        Class::Infinity => (infinity(false), a, 0),
        class => {
            let x = Finite::of(a);
            let significand = extended(x.negative, BIAS as u16, x.significand);
            let status = Outcome::exact(significand).settled(class == Class::Denormal, cw).status;
            (super::from_i64(x.exponent.into()), significand, status)
        }
    }
}

/// FRNDINT.
pub fn round_to_integer(a: Extended, cw: ControlWord) -> Outcome {
    if let Some(nan) = nan_operand(a) {
        return nan.settled(false, cw);
    }
    if matches!(classify(a), Class::Zero | Class::Infinity) {
        return Outcome::exact(a);
    }
    let x = Finite::of(a);
    if x.exponent >= 63 {
        return Outcome::exact(a);
    }
    // The integer part at bit 64 and above.
    let fixed = shift_right_jam(u128::from(x.significand) << 64, (63 - x.exponent) as u32);
    let (integer, fraction) = ((fixed >> 64) as u64, fixed as u64);
    let up = cw.rounding().away(x.negative, integer & 1 != 0, fraction & INTEGER != 0, fraction << 1 != 0);
    let integer = integer + u64::from(up);
    let value = if integer == 0 {
        zero(x.negative)
    } else {
        let shift = integer.leading_zeros();
        extended(x.negative, (BIAS + 63 - shift as i32) as u16, integer << shift)
    };
    let status = (if fraction != 0 { PE } else { 0 }) | if up { C1 } else { 0 };
    Outcome { value, status }.settled(classify(a) == Class::Denormal, cw)
}
