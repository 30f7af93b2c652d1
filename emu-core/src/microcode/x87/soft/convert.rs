//! Conversions between the register format and memory formats. SDM vol. 1, 4.2, 4.7 and 8.3.3.

use super::{
    BIAS, Class, ControlWord, Extended, Finite, INTEGER, QUIET, Rounding, classify, extended, is_negative,
    round::shift_right_jam,
    status::{C1, IE, OE, PE, UE},
};

/// The packed-decimal indefinite.
pub const BCD_INDEFINITE: [u8; 10] = [0, 0, 0, 0, 0, 0, 0, 0xC0, 0xFF, 0xFF];
/// Largest magnitude of packed decimal.
const BCD_MAX: u64 = 999_999_999_999_999_999;

/// A NaN made quiet.
#[inline]
pub const fn quiet(x: Extended) -> Extended {
    Extended { significand: x.significand | QUIET, ..x }
}

/// A binary interchange format narrower than the register format.
#[derive(Clone, Copy)]
struct Format {
    /// Bits of significand, the hidden one included.
    precision: u32,
    /// All-ones exponent.
    max: i32,
}
const SINGLE: Format = Format { precision: 24, max: 0xFF };
const DOUBLE: Format = Format { precision: 53, max: 0x7FF };

impl Format {
    const fn bias(self) -> i32 {
        self.max >> 1
    }
    const fn sign(self, negative: bool) -> u64 {
        (negative as u64) * ((self.max as u64 + 1) << (self.precision - 1))
    }
    const fn infinity(self) -> u64 {
        (self.max as u64) << (self.precision - 1)
    }
}

/// A single-precision number in the register format, and whether it was denormal. A signalling NaN stays one:
/// what it raises is the business of the operation that uses it.
#[inline]
pub fn widen_f32(bits: u32) -> (Extended, bool) {
    widen(bits.into(), SINGLE, bits >> 31 != 0)
}

/// The same for double precision.
#[inline]
pub fn widen_f64(bits: u64) -> (Extended, bool) {
    widen(bits, DOUBLE, bits >> 63 != 0)
}

#[inline]
fn widen(bits: u64, format: Format, negative: bool) -> (Extended, bool) {
    let fraction_bits = format.precision - 1;
    let fraction = bits & ((1 << fraction_bits) - 1);
    let exponent = (bits >> fraction_bits) as i32 & format.max;
    let significand = INTEGER | fraction << (63 - fraction_bits);
    if exponent == format.max {
        return (extended(negative, 0x7FFF, significand), false);
    }
    if exponent != 0 {
        return (extended(negative, (exponent - format.bias() + BIAS) as u16, significand), false);
    }
    if fraction == 0 {
        return (super::zero(negative), false);
    }
    let significand = fraction << (63 - fraction_bits);
    let shift = significand.leading_zeros();
    let exponent = 1 - format.bias() + BIAS - shift as i32;
    (extended(negative, exponent as u16, significand << shift), true)
}

/// To single precision, with the status bits. With an unmasked invalid operation, overflow or underflow the
/// bits are not to be stored.
pub fn narrow_f32(x: Extended, cw: ControlWord) -> (u32, u16) {
    let (bits, status) = narrow(x, SINGLE, cw);
    (bits as u32, status)
}

/// To double precision.
pub fn narrow_f64(x: Extended, cw: ControlWord) -> (u64, u16) {
    narrow(x, DOUBLE, cw)
}

#[inline]
fn narrow(x: Extended, format: Format, cw: ControlWord) -> (u64, u16) {
    let negative = is_negative(x);
    let sign = format.sign(negative);
    let drop = 64 - format.precision;
    let quiet_nan = |x: Extended| sign | format.infinity() | (quiet(x).significand & !INTEGER) >> drop;
    match classify(x) {
        Class::Normal | Class::Denormal => narrow_finite(Finite::of(x), format, sign, cw),
        Class::Zero => (sign, 0),
        Class::Infinity => (sign | format.infinity(), 0),
        Class::Quiet => (quiet_nan(x), 0),
        Class::Signalling => (quiet_nan(x), IE),
        Class::Unsupported => (format.sign(true) | format.infinity() | 1 << (format.precision - 2), IE),
    }
}

#[inline]
fn narrow_finite(x: Finite, format: Format, sign: u64, cw: ControlWord) -> (u64, u16) {
    let drop = 64 - format.precision;
    let (mut significand, up, inexact) = round_off(x.significand, drop, x.negative, cw.rounding());
    let mut biased = x.exponent + format.bias();
    if significand >> format.precision != 0 {
        significand >>= 1;
        biased += 1;
    }
    let flags = |inexact: bool, up: bool| if inexact { PE } else { 0 } | if up { C1 } else { 0 };
    let hidden = 1 << (format.precision - 1);
    if biased > 0 && biased < format.max {
        let bits = sign | (biased as u64) << (format.precision - 1) | significand & (hidden - 1);
        return (bits, flags(inexact, up));
    }
    if biased <= 0 {
        if cw.unmasked(UE) != 0 {
            return (0, UE);
        }
        let shift = (1 - (x.exponent + format.bias())) as u32;
        let shifted = shift_right_jam(u128::from(x.significand) << 64, shift);
        let jammed = (shifted >> 64) as u64 | u64::from(shifted as u64 != 0);
        let (significand, up, inexact) = round_off(jammed, drop, x.negative, cw.rounding());
        // Rounding up into the hidden bit makes the exponent one by itself.
        return (sign | significand, flags(inexact, up) | if inexact { UE } else { 0 });
    }
    if cw.unmasked(OE) != 0 {
        return (0, OE);
    }
    let to_infinity = match cw.rounding() {
        Rounding::Nearest => true,
        Rounding::Down => x.negative,
        Rounding::Up => !x.negative,
        Rounding::Zero => false,
    };
    if to_infinity {
        (sign | format.infinity(), OE | PE | C1)
    } else {
        (sign | (format.infinity() - 1), OE | PE)
    }
}

/// Drops the low `drop` bits: (value, rounded up, inexact).
#[inline]
fn round_off(x: u64, drop: u32, negative: bool, rounding: Rounding) -> (u64, bool, bool) {
    let kept = x >> drop;
    let lost = x << (64 - drop);
    let up = rounding.away(negative, kept & 1 != 0, lost & INTEGER != 0, lost << 1 != 0);
    (kept + u64::from(up), up, lost != 0)
}

/// An integer in the register format: always exact.
#[inline]
pub fn from_i64(x: i64) -> Extended {
    if x == 0 {
        return super::zero(false);
    }
    let magnitude = x.unsigned_abs();
    let shift = magnitude.leading_zeros();
    extended(x < 0, (BIAS + 63 - shift as i32) as u16, magnitude << shift)
}

/// To a signed integer of `bits` (16, 32, 64), rounded as `cw` says, with the status bits. Out of range: the
/// integer indefinite and IE.
#[inline]
pub fn to_integer(x: Extended, bits: u32, cw: ControlWord) -> (i64, u16) {
    let limit = 1u64 << (bits - 1);
    let indefinite = ((limit as i64).wrapping_neg(), IE);
    let Some((magnitude, status)) = magnitude(x, cw) else { return indefinite };
    if is_negative(x) {
        if magnitude > limit { indefinite } else { ((magnitude as i64).wrapping_neg(), status) }
    } else if magnitude >= limit {
        indefinite
    } else {
        (magnitude as i64, status)
    }
}

/// Magnitude rounded to an integer below 2^64, or nothing if there is none.
#[inline]
fn magnitude(x: Extended, cw: ControlWord) -> Option<(u64, u16)> {
    match classify(x) {
        Class::Zero => return Some((0, 0)),
        Class::Normal | Class::Denormal => {}
        _ => return None,
    }
    let x = Finite::of(x);
    if x.exponent > 63 {
        return None;
    }
    let fixed = shift_right_jam(u128::from(x.significand) << 64, (63 - x.exponent) as u32);
    let (integer, fraction) = ((fixed >> 64) as u64, fixed as u64);
    let up = cw.rounding().away(x.negative, integer & 1 != 0, fraction & INTEGER != 0, fraction << 1 != 0);
    let status = if fraction != 0 { PE } else { 0 } | if up { C1 } else { 0 };
    Some((integer.checked_add(up.into())?, status))
}

/// To packed decimal.
pub fn to_bcd(x: Extended, cw: ControlWord) -> ([u8; 10], u16) {
    let Some((mut magnitude, status)) = magnitude(x, cw).filter(|&(m, _)| m <= BCD_MAX) else {
        return (BCD_INDEFINITE, IE);
    };
    let mut bytes = [0; 10];
    for byte in &mut bytes[..9] {
        let pair = (magnitude % 100) as u8;
        *byte = ((pair / 10) << 4) | (pair % 10);
        magnitude /= 100;
    }
    bytes[9] = u8::from(is_negative(x)) << 7;
    (bytes, status)
}

/// From packed decimal. Digits above nine, which the manual leaves undefined, count with their weight.
pub fn from_bcd(bytes: &[u8; 10]) -> Extended {
    let magnitude = bytes[..9].iter().rev().fold(0u64, |sum, byte| {
        sum.wrapping_mul(100).wrapping_add(u64::from(byte >> 4) * 10 + u64::from(byte & 15))
    });
    let mut value = from_i64(magnitude as i64);
    value.sign_exponent |= u16::from(bytes[9] >> 7) << 15;
    value
}
