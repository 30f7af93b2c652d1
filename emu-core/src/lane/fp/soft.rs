//! What an x86 host may lack (FMA, F16C) and others do, in software under MXCSR: rounding, denormals, flags.
//! SDM vol. 1, 4.9.1 (which exceptions go before others), 14.4, 14.5.

use super::mxcsr::{DAZ, DEFAULT, FTZ};
#[cfg(target_arch = "x86_64")]
use super::mxcsr::{host, set_host};
use rustc_apfloat::{
    Float, FloatConvert, Round, Status, StatusAnd,
    ieee::{Half, Single},
};

const INVALID: u32 = 1 << 0;
const DENORMAL: u32 = 1 << 1;
const OVERFLOW: u32 = 1 << 3;
const UNDERFLOW: u32 = 1 << 4;
const INEXACT: u32 = 1 << 5;

/// How MXCSR wants it.
#[derive(Clone, Copy)]
pub struct Control {
    round: Round,
    denormals_are_zeros: bool,
    flush_to_zero: bool,
}

impl Control {
    fn of(mxcsr: u32) -> Self {
        Control {
            round: round((mxcsr >> 13) as u8),
            denormals_are_zeros: mxcsr & DAZ != 0,
            flush_to_zero: mxcsr & FTZ != 0,
        }
    }

    /// The rounding mode in the low bits of an immediate, unless its bit 2 says MXCSR's.
    pub fn rounding(self, imm: u8) -> Self {
        if imm & 4 != 0 { self } else { Control { round: round(imm), ..self } }
    }
}

impl Default for Control {
    fn default() -> Self {
        Control::of(DEFAULT)
    }
}

/// A rounding mode by its two bits.
fn round(mode: u8) -> Round {
    match mode & 3 {
        0 => Round::NearestTiesToEven,
        1 => Round::TowardNegative,
        2 => Round::TowardPositive,
        _ => Round::TowardZero,
    }
}

/// `operation` under the host's MXCSR, in which it leaves its flags.
#[cfg(target_arch = "x86_64")]
pub fn leaving_flags(operation: impl Fn(Control) -> (u128, u32)) -> u128 {
    let before = host();
    let (result, flags) = operation(Control::of(before));
    set_host(before | flags);
    result
}

/// Signs of a fused operation.
pub struct Formula {
    /// The product counts negatively.
    pub negate: bool,
    /// The third operand is subtracted: in even elements, in odd ones.
    pub subtract: [bool; 2],
}

/// The low `count` elements of format `F`, each the product of the first two operands plus the third; what is
/// above them comes from the third. The flags of all.
pub fn fused_elements<F: Float>(
    operands: [u128; 3],
    count: usize,
    formula: &Formula,
    control: Control,
) -> (u128, u32) {
    let mask = u128::MAX >> (128 - F::BITS);
    (0..count).fold((operands[2], 0), |(lane, flags), k| {
        let at = k * F::BITS;
        let numbers = operands.map(|lane| F::from_bits(lane >> at & mask));
        let (r, raised) = fused(numbers, formula.negate, formula.subtract[k & 1], control);
        (lane & !(mask << at) | r << at, flags | raised)
    })
}

fn fused<F: Float>(operands: [F; 3], negate: bool, subtract: bool, control: Control) -> (u128, u32) {
    if let Some(nan) = operands.iter().find(|x| x.is_nan()) {
        let signalling = operands.iter().any(|x| x.is_signaling());
        return (nan.to_bits() | quiet_bit::<F>(), if signalling { INVALID } else { 0 });
    }
    let (flags, [a, b, c]) = accept(operands, control);
    let signed = |x: F, negative: bool| if negative { -x } else { x };
    let (a, c) = (signed(a, negate), signed(c, subtract));
    let StatusAnd { status, value } = a.mul_add_r(b, c, control.round);
    if status.contains(Status::INVALID_OP) {
        let indefinite = F::INFINITY.to_bits() | quiet_bit::<F>() | 1 << (F::BITS - 1);
        return (indefinite, INVALID);
    }
    let scaled = |by: i32| {
        // Of a product so small or so large one factor is far from the bounds.
        let (small, large) = if a.ilogb() < b.ilogb() { (a, b) } else { (b, a) };
        let (changed, kept) = if by > 0 { (small, large) } else { (large, small) };
        // What is added may be too small for its new exponent, but must not vanish.
        let away = if c.is_negative() { Round::TowardNegative } else { Round::TowardPositive };
        changed.scalbn(by).mul_add_r(kept, c.scalbn_r(by, away), control.round).value
    };
    let range = Range::of(status, value, scaled);
    if range == Range::Tiny && control.flush_to_zero {
        return (signed(F::ZERO, value.is_negative()).to_bits(), flags | UNDERFLOW | INEXACT);
    }
    (value.to_bits(), flags | raised(status, range))
}

/// Operands that are numbers, as MXCSR wants denormal ones; and the flags so far.
fn accept<F: Float, const N: usize>(operands: [F; N], control: Control) -> (u32, [F; N]) {
    let denormal = operands.iter().any(|x| x.is_denormal());
    if !control.denormals_are_zeros {
        return (if denormal { DENORMAL } else { 0 }, operands);
    }
    let zero = |x: F| if x.is_negative() { -F::ZERO } else { F::ZERO };
    (0, operands.map(|x| if x.is_denormal() { zero(x) } else { x }))
}

/// Where a result would be if exponents had no bounds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Range {
    /// Below the least normal number.
    Tiny,
    Normal,
    /// Above the greatest number.
    Huge,
}

/// By how much exponents are changed to look beyond the bounds.
const SCALE: i32 = 8;

impl Range {
    /// Of an operation with this outcome. One that is not exact and gives the least or the greatest normal number
    /// may have come from beyond; then it counts what `scaled` gives, the same with another exponent.
    fn of<F: Float>(status: Status, value: F, scaled: impl Fn(i32) -> F) -> Self {
        let rounded = status.contains(Status::INEXACT);
        let at = |bound: F| rounded && value.abs() == bound;
        let (least, greatest) = (F::smallest_normalized(), F::largest());
        if value.is_denormal()
            || status.contains(Status::UNDERFLOW)
            || at(least) && scaled(SCALE).abs() < least.scalbn(SCALE)
        {
            Range::Tiny
        } else if status.contains(Status::OVERFLOW)
            || at(greatest) && scaled(-SCALE).abs() > greatest.scalbn(-SCALE)
        {
            Range::Huge
        } else {
            Range::Normal
        }
    }
}

/// Flags of an operation that is not invalid.
fn raised(status: Status, range: Range) -> u32 {
    if !status.contains(Status::INEXACT) {
        return 0;
    }
    match range {
        Range::Tiny => INEXACT | UNDERFLOW,
        Range::Normal => INEXACT,
        Range::Huge => INEXACT | OVERFLOW,
    }
}

/// The bit of a NaN that makes it quiet.
fn quiet_bit<F: Float>() -> u128 {
    1 << (F::PRECISION - 2)
}

/// VCVTPH2PS: four numbers, exactly, whatever MXCSR says. Only a signalling NaN raises anything.
pub fn halves_to_singles(b: u128) -> (u128, u32) {
    (0..4).fold((0, 0), |(lane, flags), k| {
        let x = b >> (16 * k) & 0xFFFF;
        let half = Half::from_bits(x);
        let (r, raised) = if half.is_nan() {
            let nan = (x & 0x8000) << 16 | 0x7FC0_0000 | (x & 0x3FF) << 13;
            (nan, if half.is_signaling() { INVALID } else { 0 })
        } else {
            let StatusAnd { value, .. }: StatusAnd<Single> = half.convert(&mut false);
            (value.to_bits(), 0)
        };
        (lane | r << (32 * k), flags | raised)
    })
}

/// VCVTPS2PH: four numbers to the low half. Flushing to zero does not apply.
pub fn singles_to_halves(b: u128, control: Control) -> (u128, u32) {
    (0..4).fold((0, 0), |(lane, flags), k| {
        let (r, raised) = single_to_half(b >> (32 * k) & 0xFFFF_FFFF, control);
        (lane | r << (16 * k), flags | raised)
    })
}

fn single_to_half(x: u128, control: Control) -> (u128, u32) {
    let single = Single::from_bits(x);
    if single.is_nan() {
        let nan = x >> 16 & 0x8000 | 0x7E00 | x >> 13 & 0x3FF;
        return (nan, if single.is_signaling() { INVALID } else { 0 });
    }
    let (flags, [single]) = accept([single], control);
    let to_half = |x: Single| -> StatusAnd<Half> { x.convert_r(control.round, &mut false) };
    let StatusAnd { status, value } = to_half(single);
    let range = Range::of(status, value, |by| to_half(single.scalbn(by)).value);
    (value.to_bits(), flags | raised(status, range))
}
