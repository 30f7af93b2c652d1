//! Rounding of an exact intermediate result into the register format. SDM vol. 1, 4.8.4, 8.1.5.2, 8.5.4-6.

use super::{
    BIAS, ControlWord, INTEGER, Outcome, Rounding, extended, infinity,
    status::{C1, OE, PE, UE},
};

/// Exponent adjustment of unmasked overflow and underflow. SDM vol. 1, 8.5.4.
const BIAS_ADJUST: i32 = 24576;
/// Exponent of infinities and NaNs.
const MAX_BIASED: i32 = 0x7FFF;

/// A significand cut to `bits`.
struct Cut {
    /// Bits kept, at the top of the word.
    significand: u64,
    /// Rounding carried out of the top: the significand is 1.0 and the exponent one higher.
    carry: bool,
    inexact: bool,
    up: bool,
}

#[inline]
fn cut(negative: bool, significand: u128, bits: u32, rounding: Rounding) -> Cut {
    let drop = 128 - bits;
    let kept = (significand >> drop) as u64;
    let half = significand >> (drop - 1) & 1 != 0;
    let rest = significand << (bits + 1) != 0;
    let up = rounding.away(negative, kept & 1 != 0, half, rest);
    let (rounded, wrapped) = kept.overflowing_add(up.into());
    let carry = wrapped || (bits < 64 && rounded >> bits != 0);
    let significand = if carry { INTEGER } else { rounded << (64 - bits) };
    Cut { significand, carry, inexact: half || rest, up }
}

/// `x >> count`, with the lowest bit set if anything was lost.
#[inline]
pub fn shift_right_jam(x: u128, count: u32) -> u128 {
    match count {
        0 => x,
        1..=127 => x >> count | u128::from(x << (128 - count) != 0),
        _ => u128::from(x != 0),
    }
}

/// Rounds `significand * 2^(exponent - 127)` (bit 127 set; anything beyond bit 0 jammed into it) to the
/// precision, direction and masks of `cw`.
#[inline]
pub fn round(negative: bool, exponent: i32, significand: u128, cw: ControlWord) -> Outcome {
    let (bits, rounding) = (cw.precision(), cw.rounding());
    let normal = cut(negative, significand, bits, rounding);
    let biased = exponent + BIAS + i32::from(normal.carry);
    let status = normal.status();
    if biased > 0 && biased < MAX_BIASED {
        return Outcome { value: extended(negative, biased as u16, normal.significand), status };
    }
    if biased <= 0 {
        tiny(negative, exponent, significand, &normal, cw)
    } else {
        huge(negative, biased, &normal, cw)
    }
}

impl Cut {
    #[inline]
    fn status(&self) -> u16 {
        (if self.inexact { PE } else { 0 }) | if self.up { C1 } else { 0 }
    }
}

#[cold]
fn tiny(negative: bool, exponent: i32, significand: u128, normal: &Cut, cw: ControlWord) -> Outcome {
    if cw.unmasked(UE) != 0 {
        let scaled = exponent + BIAS + i32::from(normal.carry) + BIAS_ADJUST;
        if scaled > 0 {
            let value = extended(negative, scaled as u16, normal.significand);
            return Outcome { value, status: normal.status() | UE };
        }
        // Massive underflow, of FSCALE alone.
        return Outcome { value: extended(negative, 0, 0), status: UE | PE };
    }
    let shift = (1 - (exponent + BIAS)) as u32;
    let cut = cut(negative, shift_right_jam(significand, shift), cw.precision(), cw.rounding());
    let underflow = if cut.inexact { UE } else { 0 };
    // Rounding up to the integer bit gives the smallest normal number.
    let biased = u16::from(cut.significand & INTEGER != 0);
    Outcome { value: extended(negative, biased, cut.significand), status: cut.status() | underflow }
}

#[cold]
fn huge(negative: bool, biased: i32, normal: &Cut, cw: ControlWord) -> Outcome {
    if cw.unmasked(OE) != 0 {
        let scaled = biased - BIAS_ADJUST;
        if scaled < MAX_BIASED {
            let value = extended(negative, scaled as u16, normal.significand);
            return Outcome { value, status: normal.status() | OE };
        }
        // Massive overflow, of FSCALE alone.
        return Outcome { value: infinity(negative), status: OE | PE | C1 };
    }
    let to_infinity = match cw.rounding() {
        Rounding::Nearest => true,
        Rounding::Down => negative,
        Rounding::Up => !negative,
        Rounding::Zero => false,
    };
    if to_infinity {
        return Outcome { value: infinity(negative), status: OE | PE | C1 };
    }
    let largest = u64::MAX << (64 - cw.precision());
    Outcome { value: extended(negative, MAX_BIASED as u16 - 1, largest), status: OE | PE }
}
