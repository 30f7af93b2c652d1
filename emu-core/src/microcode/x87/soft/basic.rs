//! Addition, subtraction, multiplication, division, square root.

use super::{
    Class, ControlWord, Extended, Finite, Outcome, Rounding, classify, infinity, is_negative, nan_operand,
    nan_operands,
    round::{round, shift_right_jam},
    status::ZE,
    zero,
};

/// a + b.
#[inline]
pub fn add(a: Extended, b: Extended, cw: ControlWord) -> Outcome {
    sum(a, b, false, cw)
}

/// a - b.
#[inline]
pub fn sub(a: Extended, b: Extended, cw: ControlWord) -> Outcome {
    sum(a, b, true, cw)
}

/// Both classes, and whether either is denormal.
#[inline]
fn classes(a: Extended, b: Extended) -> (Class, Class, bool) {
    let (class_a, class_b) = (classify(a), classify(b));
    (class_a, class_b, class_a == Class::Denormal || class_b == Class::Denormal)
}

#[inline]
fn sum(a: Extended, b: Extended, subtract: bool, cw: ControlWord) -> Outcome {
    let (class_a, class_b, denormal) = classes(a, b);
    if class_a == Class::Normal && class_b == Class::Normal {
        let (x, mut y) = (Finite::of(a), Finite::of(b));
        y.negative ^= subtract;
        return sum_finite(x, y, cw);
    }
    if let Some(nan) = nan_operands(a, b) {
        return nan.settled(false, cw);
    }
    let (negative_a, negative_b) = (is_negative(a), is_negative(b) ^ subtract);
    let outcome = match (class_a, class_b) {
        (Class::Infinity, Class::Infinity) if negative_a != negative_b => Outcome::INVALID,
        (Class::Infinity, _) => Outcome::exact(infinity(negative_a)),
        (_, Class::Infinity) => Outcome::exact(infinity(negative_b)),
        (Class::Zero, Class::Zero) if negative_a == negative_b => Outcome::exact(zero(negative_a)),
        (Class::Zero, Class::Zero) => exact_zero(cw),
        (_, Class::Zero) => exactly(Finite::of(a), cw),
        (Class::Zero, _) => exactly(Finite { negative: negative_b, ..Finite::of(b) }, cw),
        _ => sum_finite(Finite::of(a), Finite { negative: negative_b, ..Finite::of(b) }, cw),
    };
    outcome.settled(denormal, cw)
}

/// The zero of a difference of equals.
fn exact_zero(cw: ControlWord) -> Outcome {
    Outcome::exact(zero(cw.rounding() == Rounding::Down))
}

/// A number as a result: rounded to the precision.
fn exactly(x: Finite, cw: ControlWord) -> Outcome {
    round(x.negative, x.exponent, u128::from(x.significand) << 64, cw)
}

#[inline]
fn sum_finite(a: Finite, b: Finite, cw: ControlWord) -> Outcome {
    let (large, small) =
        if (a.exponent, a.significand) >= (b.exponent, b.significand) { (a, b) } else { (b, a) };
    // One bit of room for the carry; 63 below for what is shifted out.
    let x = u128::from(large.significand) << 63;
    let y = shift_right_jam(u128::from(small.significand) << 63, (large.exponent - small.exponent) as u32);
    let sum = if a.negative == b.negative { x + y } else { x - y };
    if sum == 0 {
        return exact_zero(cw);
    }
    let shift = sum.leading_zeros();
    round(large.negative, large.exponent + 1 - shift as i32, sum << shift, cw)
}

/// a * b.
#[inline]
pub fn mul(a: Extended, b: Extended, cw: ControlWord) -> Outcome {
    let (class_a, class_b, denormal) = classes(a, b);
    let negative = is_negative(a) ^ is_negative(b);
    if class_a == Class::Normal && class_b == Class::Normal {
        return product(Finite::of(a), Finite::of(b), cw);
    }
    if let Some(nan) = nan_operands(a, b) {
        return nan.settled(false, cw);
    }
    let outcome = match (class_a, class_b) {
        (Class::Infinity, Class::Zero) | (Class::Zero, Class::Infinity) => Outcome::INVALID,
        (Class::Infinity, _) | (_, Class::Infinity) => Outcome::exact(infinity(negative)),
        (Class::Zero, _) | (_, Class::Zero) => Outcome::exact(zero(negative)),
        _ => product(Finite::of(a), Finite::of(b), cw),
    };
    outcome.settled(denormal, cw)
}

#[inline]
fn product(a: Finite, b: Finite, cw: ControlWord) -> Outcome {
    let product = u128::from(a.significand) * u128::from(b.significand);
    let shift = product.leading_zeros();
    round(a.negative ^ b.negative, a.exponent + b.exponent + 1 - shift as i32, product << shift, cw)
}

/// a / b.
pub fn div(a: Extended, b: Extended, cw: ControlWord) -> Outcome {
    let (class_a, class_b, denormal) = classes(a, b);
    if let Some(nan) = nan_operands(a, b) {
        return nan.settled(false, cw);
    }
    let negative = is_negative(a) ^ is_negative(b);
    let outcome = match (class_a, class_b) {
        (Class::Infinity, Class::Infinity) | (Class::Zero, Class::Zero) => Outcome::INVALID,
        (Class::Infinity, _) => Outcome::exact(infinity(negative)),
        (_, Class::Infinity) | (Class::Zero, _) => Outcome::exact(zero(negative)),
        // The zero divide alone, even of a denormal.
        (_, Class::Zero) => return Outcome { value: infinity(negative), status: ZE },
        _ => quotient(Finite::of(a), Finite::of(b), cw),
    };
    outcome.settled(denormal, cw)
}

fn quotient(a: Finite, b: Finite, cw: ControlWord) -> Outcome {
    let divisor = u128::from(b.significand);
    let dividend = u128::from(a.significand) << 64;
    let (mut quotient, mut rest) = (dividend / divisor, dividend % divisor);
    // 64 or 65 bits; one more, so that there is a rounding bit in either case.
    rest <<= 1;
    quotient <<= 1;
    if rest >= divisor {
        rest -= divisor;
        quotient |= 1;
    }
    let shift = quotient.leading_zeros();
    let significand = quotient << shift | u128::from(rest != 0);
    // `quotient` is a/b * 2^65.
    round(a.negative ^ b.negative, a.exponent - b.exponent + 62 - shift as i32, significand, cw)
}

/// Square root.
pub fn sqrt(a: Extended, cw: ControlWord) -> Outcome {
    if let Some(nan) = nan_operand(a) {
        return nan.settled(false, cw);
    }
    match classify(a) {
        Class::Zero => return Outcome::exact(a),
        _ if is_negative(a) => return Outcome::INVALID.settled(false, cw),
        Class::Infinity => return Outcome::exact(a),
        _ => {}
    }
    let x = Finite::of(a);
    // An even exponent, and the radicand in [2^126, 2^128): the root has its 64 bits.
    let odd = x.exponent & 1 != 0;
    let radicand = u128::from(x.significand) << if odd { 64 } else { 63 };
    let root = radicand.isqrt();
    let rest = radicand - root * root;
    // (root + 1/2)^2 = root^2 + root + 1/4: the next bit is one if the rest exceeds the root.
    let below = u128::from(rest > root) << 63 | u128::from(rest != 0);
    round(false, x.exponent >> 1, root << 64 | below, cw).settled(classify(a) == Class::Denormal, cw)
}
