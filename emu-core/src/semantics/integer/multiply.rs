//! MUL IMUL MULX DIV IDIV. SDM vol. 1, 7.3.2.
//!
//! Flags of multiplications: CF and OF tell whether the upper half matters; SF follows the low half, the rest
//! are undefined (ZF, PF follow the result, AF is clear). Divisions leave the flags alone (undefined).

use super::condition::replace_carry_overflow;
use crate::{
    arch::{Exception, Width},
    cpu::slot,
    decode::{Insn, Kind},
    semantics::{AnyForm, Emitter, Form, Row, Semantics, Step, operand::read, row},
};
use iced_x86::Mnemonic;
use std::marker::PhantomData;

const RAX: u8 = slot::byte_offset(slot::RAX);
const RDX: u8 = slot::byte_offset(slot::RDX);
const AH: u8 = slot::high_byte_offset(slot::RAX);

#[inline(always)]
fn set_flags<E: Emitter>(e: &mut E, w: Width, low: E::Value, significant: E::Cond) {
    let result = e.sign_extend(w, Width::W64, low);
    let zero = e.constant(0);
    e.set_flags(result, zero);
    let carry = e.value_of(significant);
    replace_carry_overflow(e, carry, carry);
}

/// Whether the signed product needs its upper half.
#[inline(always)]
fn overflows_signed<E: Emitter>(e: &mut E, w: Width, low: E::Value, high: E::Value) -> E::Cond {
    let count = e.constant(63);
    let sign = e.sar(w, low, count);
    let fits = e.equal(sign, high);
    e.negate(fits)
}

/// Writes a double-width result: AX, or DX:AX, EDX:EAX, RDX:RAX.
fn write_pair<E: Emitter>(e: &mut E, w: Width, low: E::Value, high: E::Value) {
    e.set_gpr(w, RAX, low);
    e.set_gpr(w, if w == Width::W8 { AH } else { RDX }, high);
}

/// MUL, and IMUL with one operand.
fn multiply<E: Emitter, const SIGNED: bool>(e: &mut E, i: &Insn) -> Step<E> {
    let w = i.width[0];
    let b = read::<E, AnyForm>(e, i, 0)?;
    let a = e.gpr(w, RAX);
    let low = e.mul(w, a, b);
    let high = if SIGNED { e.mul_high_signed(w, a, b) } else { e.mul_high_unsigned(w, a, b) };
    write_pair(e, w, low, high);
    let significant = if SIGNED {
        overflows_signed(e, w, low, high)
    } else {
        let zero = e.is_zero(high);
        e.negate(zero)
    };
    set_flags(e, w, low, significant);
    Ok(())
}

/// IMUL with two or three operands.
pub struct Imul<F>(PhantomData<F>);

impl<F: Form> Semantics for Imul<F> {
    #[inline(always)]
    fn run<E: Emitter>(e: &mut E, i: &Insn) -> Step<E> {
        let w = F::width(i, 0);
        let b = read::<E, F>(e, i, 1)?;
        let a = if i.kind[2] == Kind::Imm { e.constant(i.imm & w.mask()) } else { e.gpr(w, i.reg[0]) };
        let low = e.mul(w, a, b);
        let high = e.mul_high_signed(w, a, b);
        e.set_gpr(w, i.reg[0], low);
        let significant = overflows_signed(e, w, low, high);
        set_flags(e, w, low, significant);
        Ok(())
    }
}

fn imul<E: Emitter>(e: &mut E, i: &Insn) -> Step<E> {
    if i.kind[1] == Kind::None { multiply::<E, true>(e, i) } else { Imul::<AnyForm>::run(e, i) }
}

/// MULX: RDX times the source, without flags; the high half is written last.
fn multiply_without_flags<E: Emitter>(e: &mut E, i: &Insn) -> Step<E> {
    let w = i.width[0];
    let b = match i.kind[2] {
        Kind::Mem => e.load(i, crate::decode::AddressForm::Checked, w, 0)?,
        _ => e.gpr(w, i.reg[2]),
    };
    let a = e.gpr(w, RDX);
    let low = e.mul(w, a, b);
    let high = e.mul_high_unsigned(w, a, b);
    e.set_gpr(w, i.reg[1], low);
    e.set_gpr(w, i.reg[0], high);
    Ok(())
}

/// Dividend of 2w bits from its halves, for w up to 32; of w = 64 the halves stay apart.
fn divide<E: Emitter, const SIGNED: bool>(e: &mut E, i: &Insn) -> Step<E> {
    let w = i.width[0];
    let divisor = read::<E, AnyForm>(e, i, 0)?;
    let low = e.gpr(w, RAX);
    let high = e.gpr(w, if w == Width::W8 { AH } else { RDX });
    let by_zero = e.is_zero(divisor);
    e.fault_if(by_zero, Exception::DE)?;
    let operation = division(w, SIGNED);
    let overflow = e.pure(operation.overflows, low, high, divisor);
    let fits = e.is_zero(overflow);
    let overflow = e.negate(fits);
    e.fault_if(overflow, Exception::DE)?;
    let quotient = e.pure(operation.quotient, low, high, divisor);
    let remainder = e.pure(operation.remainder, low, high, divisor);
    write_pair(e, w, quotient, remainder);
    Ok(())
}

/// A division's three results. All of them expect a divisor that is not zero; quotient and remainder also that
/// the quotient fits.
pub struct Division {
    /// Of (low half, high half, divisor): not zero if the quotient does not fit.
    pub overflows: crate::semantics::Pure,
    /// Of the same.
    pub quotient: crate::semantics::Pure,
    /// Of the same.
    pub remainder: crate::semantics::Pure,
}

/// The division of operands `w` wide.
pub fn division(w: Width, signed: bool) -> Division {
    match (w, signed) {
        (Width::W8, false) => instance::<0, false>(),
        (Width::W16, false) => instance::<1, false>(),
        (Width::W32, false) => instance::<2, false>(),
        (Width::W64, false) => instance::<3, false>(),
        (Width::W8, true) => instance::<0, true>(),
        (Width::W16, true) => instance::<1, true>(),
        (Width::W32, true) => instance::<2, true>(),
        (Width::W64, true) => instance::<3, true>(),
    }
}

fn instance<const W: u8, const SIGNED: bool>() -> Division {
    Division {
        overflows: overflows::<W, SIGNED>,
        quotient: quotient::<W, SIGNED>,
        remainder: remainder::<W, SIGNED>,
    }
}

const fn width(number: u8) -> Width {
    match number {
        0 => Width::W8,
        1 => Width::W16,
        2 => Width::W32,
        _ => Width::W64,
    }
}

fn signed_operands<const W: u8>(low: u64, high: u64, divisor: u64) -> (i128, i128) {
    let w = width(W);
    let high = i128::from(w.sign_extend(high) as i64);
    (high << w.bits() | i128::from(low), i128::from(w.sign_extend(divisor) as i64))
}

fn overflows<const W: u8, const SIGNED: bool>(low: u64, high: u64, divisor: u64) -> u64 {
    let w = width(W);
    if !SIGNED {
        return u64::from(high >= divisor);
    }
    if divisor == 0 {
        return 1;
    }
    let (dividend, divisor) = signed_operands::<W>(low, high, divisor);
    let quotient = dividend.wrapping_div(divisor);
    let bound = 1i128 << (w.bits() - 1);
    u64::from(quotient < -bound || quotient >= bound)
}

fn quotient<const W: u8, const SIGNED: bool>(low: u64, high: u64, divisor: u64) -> u64 {
    divide_halves::<W, SIGNED>(low, high, divisor).0
}

fn remainder<const W: u8, const SIGNED: bool>(low: u64, high: u64, divisor: u64) -> u64 {
    divide_halves::<W, SIGNED>(low, high, divisor).1
}

fn divide_halves<const W: u8, const SIGNED: bool>(low: u64, high: u64, divisor: u64) -> (u64, u64) {
    let w = width(W);
    if divisor == 0 {
        return (0, 0);
    }
    if SIGNED {
        let (dividend, divisor) = signed_operands::<W>(low, high, divisor);
        if let (Ok(dividend), Ok(divisor)) = (i64::try_from(dividend), i64::try_from(divisor)) {
            return (
                dividend.wrapping_div(divisor) as u64 & w.mask(),
                dividend.wrapping_rem(divisor) as u64 & w.mask(),
            );
        }
        return (
            dividend.wrapping_div(divisor) as u64 & w.mask(),
            dividend.wrapping_rem(divisor) as u64 & w.mask(),
        );
    }
    if W < 3 || high == 0 {
        let dividend = if W < 3 { high << w.bits() | low } else { low };
        return ((dividend / divisor) & w.mask(), (dividend % divisor) & w.mask());
    }
    let dividend = u128::from(high) << 64 | u128::from(low);
    ((dividend / u128::from(divisor)) as u64, (dividend % u128::from(divisor)) as u64)
}

/// Rows of this family.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    vec![
        row(Mnemonic::Mul, multiply::<E, false>),
        row(Mnemonic::Imul, imul::<E>),
        row(Mnemonic::Mulx, multiply_without_flags::<E>),
        row(Mnemonic::Div, divide::<E, false>),
        row(Mnemonic::Idiv, divide::<E, true>),
    ]
}
