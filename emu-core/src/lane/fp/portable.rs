//! Floating point in Rust for hosts that are not x86: round to nearest, no flags, x86's NaNs. SDM vol. 1,
//! 4.8.3.5 and 11.5.2.

use std::cmp::Ordering;

const QUIET32: u32 = 0x0040_0000;
const QUIET64: u64 = 0x0008_0000_0000_0000;
/// The real indefinite: what invalid operations give.
const INDEFINITE32: u32 = 0xFFC0_0000;
const INDEFINITE64: u64 = 0xFFF8_0000_0000_0000;

/// `f`, or the first operand that is a NaN, made quiet.
fn one32(a: u32, b: u32, f: &impl Fn(f32, f32) -> f32) -> u32 {
    let (x, y) = (f32::from_bits(a), f32::from_bits(b));
    if x.is_nan() {
        return a | QUIET32;
    }
    if y.is_nan() {
        return b | QUIET32;
    }
    let r = f(x, y);
    if r.is_nan() { INDEFINITE32 } else { r.to_bits() }
}

fn one64(a: u64, b: u64, f: &impl Fn(f64, f64) -> f64) -> u64 {
    let (x, y) = (f64::from_bits(a), f64::from_bits(b));
    if x.is_nan() {
        return a | QUIET64;
    }
    if y.is_nan() {
        return b | QUIET64;
    }
    let r = f(x, y);
    if r.is_nan() { INDEFINITE64 } else { r.to_bits() }
}

fn word(a: u128, k: u32) -> u32 {
    (a >> (32 * k)) as u32
}

/// A lane of two 64-bit elements.
pub fn pair(low: u64, high: u64) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

/// A lane of four 32-bit elements.
pub fn quad(words: [u32; 4]) -> u128 {
    words.into_iter().rev().fold(0, |lane, word| lane << 32 | u128::from(word))
}

/// `f` of each 32-bit element.
pub fn map32(a: u128, f: impl Fn(u32) -> u32) -> u128 {
    quad([0, 1, 2, 3].map(|k| f(word(a, k))))
}

/// `a` with the low 32 bits of `r`.
pub fn low32(a: u128, r: u128) -> u128 {
    a >> 32 << 32 | r & 0xFFFF_FFFF
}

/// `a` with the low 64 bits of `r`.
pub fn low64(a: u128, r: u128) -> u128 {
    a >> 64 << 64 | u128::from(r as u64)
}

/// `f` of each pair of singles.
pub fn singles(a: u128, b: u128, f: impl Fn(f32, f32) -> f32) -> u128 {
    quad([0, 1, 2, 3].map(|k| one32(word(a, k), word(b, k), &f)))
}

/// `f` of each pair of doubles.
pub fn doubles(a: u128, b: u128, f: impl Fn(f64, f64) -> f64) -> u128 {
    pair(one64(a as u64, b as u64, &f), one64((a >> 64) as u64, (b >> 64) as u64, &f))
}

/// `f` of the low singles.
pub fn single(a: u128, b: u128, f: impl Fn(f32, f32) -> f32) -> u128 {
    low32(a, one32(a as u32, b as u32, &f).into())
}

/// `f` of the low doubles.
pub fn double(a: u128, b: u128, f: impl Fn(f64, f64) -> f64) -> u128 {
    low64(a, one64(a as u64, b as u64, &f).into())
}

/// The first where `f` holds, the second where it does not (a NaN, or equal zeros).
pub fn choose_singles(a: u128, b: u128, f: impl Fn(f32, f32) -> bool) -> u128 {
    quad([0, 1, 2, 3].map(|k| {
        let (x, y) = (word(a, k), word(b, k));
        if f(f32::from_bits(x), f32::from_bits(y)) { x } else { y }
    }))
}

/// The same for doubles.
pub fn choose_doubles(a: u128, b: u128, f: impl Fn(f64, f64) -> bool) -> u128 {
    let one = |x: u64, y: u64| if f(f64::from_bits(x), f64::from_bits(y)) { x } else { y };
    pair(one(a as u64, b as u64), one((a >> 64) as u64, (b >> 64) as u64))
}

/// A denormal becomes zero: what the approximations make of it.
pub fn flush(x: f32) -> f32 {
    if x.is_subnormal() { 0f32.copysign(x) } else { x }
}

/// The four orders of two numbers, as bits of [`PREDICATES`].
pub const LESS: u8 = 1 << 0;
pub const EQUAL: u8 = 1 << 1;
pub const GREATER: u8 = 1 << 2;
pub const UNORDERED: u8 = 1 << 3;

/// The orders in which a predicate holds, by the low four bits of the immediate. SDM vol. 2A, CMPPD, table 3-1.
pub const PREDICATES: [u8; 16] = [2, 1, 3, 8, 13, 14, 12, 7, 10, 9, 11, 0, 5, 6, 4, 15];

/// Whether a predicate (the low five bits of the immediate) signals quiet NaNs.
#[cfg(target_arch = "x86_64")]
pub fn signals(imm: u8) -> bool {
    matches!(imm & 3, 1 | 2) ^ (imm & 0x10 != 0)
}

/// Whether predicate `imm` holds for an order.
fn holds(order: Option<Ordering>, imm: u8) -> bool {
    let order = match order {
        Some(Ordering::Less) => LESS,
        Some(Ordering::Equal) => EQUAL,
        Some(Ordering::Greater) => GREATER,
        None => UNORDERED,
    };
    PREDICATES[usize::from(imm & 15)] & order != 0
}

/// VCMPPS.
pub fn compare_singles(a: u128, b: u128, imm: u8) -> u128 {
    quad([0, 1, 2, 3].map(|k| {
        let order = f32::from_bits(word(a, k)).partial_cmp(&f32::from_bits(word(b, k)));
        if holds(order, imm) { u32::MAX } else { 0 }
    }))
}

/// VCMPPD.
pub fn compare_doubles(a: u128, b: u128, imm: u8) -> u128 {
    let one = |x: u64, y: u64| {
        if holds(f64::from_bits(x).partial_cmp(&f64::from_bits(y)), imm) { u64::MAX } else { 0 }
    };
    pair(one(a as u64, b as u64), one((a >> 64) as u64, (b >> 64) as u64))
}

/// ZF, PF and CF of a comparison.
pub fn flags(order: Option<Ordering>) -> u128 {
    match order {
        None => 0x45,
        Some(Ordering::Greater) => 0,
        Some(Ordering::Less) => 0x01,
        Some(Ordering::Equal) => 0x40,
    }
}

/// Single to double.
pub fn widen(x: u32) -> u64 {
    if f32::from_bits(x).is_nan() {
        let sign = u64::from(x >> 31) << 63;
        return sign | 0x7FF8 << 48 | u64::from(x & 0x007F_FFFF) << 29;
    }
    f64::from(f32::from_bits(x)).to_bits()
}

/// Double to single.
pub fn narrow(x: u64) -> u32 {
    if f64::from_bits(x).is_nan() {
        let sign = ((x >> 63) as u32) << 31;
        return sign | 0x7FC0_0000 | (x >> 29) as u32 & 0x003F_FFFF;
    }
    (f64::from_bits(x) as f32).to_bits()
}

/// Truncated to 32 bits, or the integer indefinite.
pub fn to_i32(x: f64) -> u32 {
    if x > -2_147_483_649.0 && x < 2_147_483_648.0 { x as i32 as u32 } else { 0x8000_0000 }
}

/// Truncated to 64 bits, or the integer indefinite.
pub fn to_i64(x: f64) -> u64 {
    if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&x) {
        x as i64 as u64
    } else {
        1 << 63
    }
}

/// Two doubles, each rounded by `round`, to 32-bit integers; zeros above.
pub fn doubles_to_i32(b: u128, round: impl Fn(f64) -> f64) -> u128 {
    let one = |x: u64| to_i32(round(f64::from_bits(x)));
    quad([one(b as u64), one((b >> 64) as u64), 0, 0])
}
