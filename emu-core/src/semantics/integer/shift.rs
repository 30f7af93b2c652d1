//! SHL SHR SAR ROL ROR RCL RCR SHLD SHRD, RORX SARX SHLX SHRX. SDM vol. 1, 7.3.6.
//!
//! The count is masked to 5 bits (6 for 64-bit operands). A masked count of zero changes no flag. Shifts set
//! CF to the last bit shifted out, SF, ZF and PF from the result, clear AF (undefined), and set OF by the rule
//! for a count of one, whatever the count (undefined for others). Rotations touch only CF and OF.

use super::{arith::carry_in, condition::replace_carry_overflow, run};
use crate::{
    arch::Width,
    cpu::slot,
    cpu_model::Generation,
    decode::{Insn, Kind},
    semantics::{
        AnyForm, Emitter, FlagSource, Form, Row, Semantics, Step,
        operand::{read, update},
        row,
    },
};
use iced_x86::Mnemonic;
use std::marker::PhantomData;

/// Which shift or rotation.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "the instructions' names")]
pub enum ShiftKind {
    Shl,
    Shr,
    Sar,
    Rol,
    Ror,
    Rcl,
    Rcr,
}

/// A shift or rotation by name (a number of [`ShiftKind`]) on form `F`.
///
/// `MASKED` is whether the count is masked, as all processors but the 8086 do.
pub struct Shift<const K: u8, F, const MASKED: bool = true>(PhantomData<F>);

/// SHL.
pub const SHL: u8 = ShiftKind::Shl as u8;
/// SHR.
pub const SHR: u8 = ShiftKind::Shr as u8;
/// SAR.
pub const SAR: u8 = ShiftKind::Sar as u8;
/// ROL.
pub const ROL: u8 = ShiftKind::Rol as u8;
/// ROR.
pub const ROR: u8 = ShiftKind::Ror as u8;
/// RCL.
pub const RCL: u8 = ShiftKind::Rcl as u8;
/// RCR.
pub const RCR: u8 = ShiftKind::Rcr as u8;

#[inline(always)]
fn masked_count<E: Emitter, F: Form, const MASKED: bool>(e: &mut E, i: &Insn) -> Result<E::Value, E::Fault> {
    let mask = if F::width(i, 0) == Width::W64 { 63 } else { 31 };
    if F::kind(i, 1) == Kind::Imm {
        return Ok(e.constant(i.imm & mask));
    }
    let count = e.gpr(Width::W8, slot::byte_offset(slot::RCX));
    if !MASKED {
        return Ok(count);
    }
    let mask = e.constant(mask);
    Ok(e.and(count, mask))
}

#[inline(always)]
fn shifted<E: Emitter>(
    e: &mut E,
    kind: u8,
    w: Width,
    a: E::Value,
    count: E::Value,
    carry: E::Value,
) -> E::Value {
    match kind {
        SHL => e.shl(w, a, count),
        SHR => e.shr(w, a, count),
        SAR => e.sar(w, a, count),
        ROL => e.rol(w, a, count),
        ROR => {
            let bits = e.constant(w.bits().into());
            let mask = e.constant(u64::from(w.bits()) - 1);
            let left = e.sub(Width::W64, bits, count);
            let left = e.and(left, mask);
            e.rol(w, a, left)
        }
        _ => through_carry(e, kind == RCL, w, a, count, carry),
    }
}

/// RCL, RCR: `pure` gets the carry and the width packed beside the count.
#[inline(always)]
fn through_carry<E: Emitter>(
    e: &mut E,
    left: bool,
    w: Width,
    a: E::Value,
    count: E::Value,
    carry: E::Value,
) -> E::Value {
    let width = e.constant(w as u64);
    let eight = e.constant(8);
    let carry = e.shl(Width::W64, carry, eight);
    let packed = e.or(count, carry);
    e.pure(if left { rcl } else { rcr }, a, packed, width)
}

fn width_from(number: u64) -> Width {
    Width::from_bytes(1 << (number & 3)).unwrap_or(Width::W64)
}

/// The operand with the carry above it, as one number of bits + 1 bits, and the count modulo that.
fn extended(a: u64, packed: u64, width: u64) -> (u128, u32, u32) {
    let bits = width_from(width).bits();
    let value = u128::from(packed >> 8 & 1) << bits | u128::from(a);
    (value, (packed & 0xFF) as u32 % (bits + 1), bits)
}

fn rcl(a: u64, packed: u64, width: u64) -> u64 {
    let (value, count, bits) = extended(a, packed, width);
    let rotated = value << count | value >> (bits + 1 - count);
    rotated as u64 & width_from(width).mask()
}

fn rcr(a: u64, packed: u64, width: u64) -> u64 {
    let (value, count, bits) = extended(a, packed, width);
    let rotated = value >> count | value << (bits + 1 - count);
    rotated as u64 & width_from(width).mask()
}

/// Carry-out of RCL by `packed` (count and carry as above); of RCR it is that of RCL by the complement.
fn rcl_carry(a: u64, packed: u64, width: u64) -> u64 {
    let (value, count, bits) = extended(a, packed, width);
    let rotated = value << count | value >> (bits + 1 - count);
    (rotated >> bits) as u64 & 1
}

fn rcr_carry(a: u64, packed: u64, width: u64) -> u64 {
    let (value, count, bits) = extended(a, packed, width);
    let rotated = value >> count | value << (bits + 1 - count);
    (rotated >> bits) as u64 & 1
}

/// Last bit shifted out, 0 or 1, for a count that is not zero.
#[inline(always)]
fn carry_out<E: Emitter>(
    e: &mut E,
    kind: u8,
    w: Width,
    a: E::Value,
    count: E::Value,
    r: E::Value,
    carry: E::Value,
) -> E::Value {
    let one = e.constant(1);
    let bit = match kind {
        SHL => {
            let bits = e.constant(w.bits().into());
            let distance = e.sub(Width::W64, bits, count);
            e.shr(Width::W64, a, distance)
        }
        SHR => {
            let before = e.sub(Width::W64, count, one);
            e.shr(Width::W64, a, before)
        }
        SAR => {
            let before = e.sub(Width::W64, count, one);
            e.sar(w, a, before)
        }
        ROL => r,
        ROR => {
            let top = e.constant(u64::from(w.bits()) - 1);
            e.shr(Width::W64, r, top)
        }
        _ => {
            let width = e.constant(w as u64);
            let eight = e.constant(8);
            let shifted = e.shl(Width::W64, carry, eight);
            let packed = e.or(count, shifted);
            e.pure(if kind == RCL { rcl_carry } else { rcr_carry }, a, packed, width)
        }
    };
    e.and(bit, one)
}

/// OF by the rule for a count of one, 0 or 1.
#[inline(always)]
fn overflow_out<E: Emitter>(e: &mut E, kind: u8, w: Width, r: E::Value, carry: E::Value) -> E::Value {
    let one = e.constant(1);
    let top = e.constant(u64::from(w.bits()) - 1);
    let sign = e.shr(Width::W64, r, top);
    let other = match kind {
        SHL | ROL | RCL => carry,
        SAR => return e.constant(0),
        _ => {
            let next = e.constant(u64::from(w.bits()) - 2);
            e.shr(Width::W64, r, next)
        }
    };
    let differ = e.xor(sign, other);
    e.and(differ, one)
}

/// Sets all flags of `a`, shifted by `count`, which is not zero: `r`. (`carry`: see [`shifted`].)
#[inline(always)]
fn set_flags_shifted<E: Emitter>(
    e: &mut E,
    kind: u8,
    w: Width,
    [a, count, r]: [E::Value; 3],
    carry: E::Value,
) {
    let cf = carry_out(e, kind, w, a, count, r, carry);
    let of = overflow_out(e, kind, w, r, cf);
    if matches!(kind, SHL | SHR | SAR) {
        let result = e.sign_extend(w, Width::W64, r);
        let zero = e.constant(0);
        e.set_flags(result, zero);
    }
    replace_carry_overflow(e, cf, of);
}

/// SHL, SHR or SAR of `a` by `count`, from 1 to 63.
#[inline(always)]
pub fn shifted_by<E: Emitter>(e: &mut E, kind: u8, w: Width, a: E::Value, count: u8) -> E::Value {
    let (zero, by) = (e.constant(0), e.constant(count.into()));
    shifted(e, kind, w, a, by, zero)
}

/// Sets all its flags.
#[inline(always)]
pub fn set_flags_shift<E: Emitter>(e: &mut E, kind: u8, w: Width, a: E::Value, count: u8) {
    let (zero, by) = (e.constant(0), e.constant(count.into()));
    let r = shifted_by(e, kind, w, a, count);
    set_flags_shifted(e, kind, w, [a, by, r], zero);
    e.note_flags(FlagSource::Shift { kind, w, a, count, r });
}

impl<const K: u8, F: Form, const MASKED: bool> Semantics for Shift<K, F, MASKED> {
    #[inline(always)]
    fn run<E: Emitter>(e: &mut E, i: &Insn) -> Step<E> {
        let w = F::width(i, 0);
        let count = masked_count::<E, F, MASKED>(e, i)?;
        let carry = carry_in(e);
        let (a, r) = update::<E, F>(e, i, 0, |e, a| shifted(e, K, w, a, count, carry))?;
        let (old_result, old_aux) = (e.flags_result(), e.flags_aux());
        set_flags_shifted(e, K, w, [a, count, r], carry);
        let known = i.imm & if w == Width::W64 { 63 } else { 31 };
        if F::kind(i, 1) == Kind::Imm && known != 0 {
            if matches!(K, SHL | SHR | SAR) {
                e.note_flags(FlagSource::Shift { kind: K, w, a, count: known as u8, r });
            }
            return Ok(());
        }
        let unchanged = e.is_zero(count);
        let (result, aux) = (e.flags_result(), e.flags_aux());
        let result = e.select(unchanged, old_result, result);
        let aux = e.select(unchanged, old_aux, aux);
        e.set_flags(result, aux);
        Ok(())
    }
}

/// SHLD (`LEFT`) and SHRD. For 16-bit operands and counts above 16 the result is undefined; the bits of the
/// second operand then come around again, as on Intel's processors.
fn shift_double<E: Emitter, const LEFT: bool>(e: &mut E, i: &Insn) -> Step<E> {
    let w = i.width[0];
    let mask = if w == Width::W64 { 63 } else { 31 };
    let count = if i.kind[2] == Kind::Imm {
        e.constant(i.imm & mask)
    } else {
        let count = e.gpr(Width::W8, slot::byte_offset(slot::RCX));
        let mask = e.constant(mask);
        e.and(count, mask)
    };
    let b = e.gpr(w, i.reg[1]);
    let width_above = |e: &mut E| {
        let width = e.constant((w as u64) << 8);
        e.or(count, width)
    };
    let (f, carry): (crate::semantics::Pure, crate::semantics::Pure) =
        if LEFT { (shld, shld_carry) } else { (shrd, shrd_carry) };
    let packed = width_above(e);
    let (a, r) = update::<E, AnyForm>(e, i, 0, |e, a| e.pure(f, a, b, packed))?;
    let (old_result, old_aux) = (e.flags_result(), e.flags_aux());
    let unchanged = e.is_zero(count);
    let cf = e.pure(carry, a, b, packed);
    // OF: the sign has changed.
    let top = e.constant(u64::from(w.bits()) - 1);
    let changed = e.xor(a, r);
    let of = e.shr(Width::W64, changed, top);
    let result = e.sign_extend(w, Width::W64, r);
    let zero = e.constant(0);
    e.set_flags(result, zero);
    replace_carry_overflow(e, cf, of);
    let (result, aux) = (e.flags_result(), e.flags_aux());
    let result = e.select(unchanged, old_result, result);
    let aux = e.select(unchanged, old_aux, aux);
    e.set_flags(result, aux);
    Ok(())
}

/// (operands joined as a:b:a or a:b, count, width)
fn joined_left(a: u64, b: u64, packed: u64) -> (u128, u32, Width) {
    let w = width_from(packed >> 8);
    let (bits, count) = (w.bits(), (packed & 0xFF) as u32);
    let value = match w {
        Width::W16 => u128::from(a) << 32 | u128::from(b) << 16 | u128::from(a),
        _ => u128::from(a) << bits | u128::from(b),
    };
    (value, count, w)
}

fn shld(a: u64, b: u64, packed: u64) -> u64 {
    let (value, count, w) = joined_left(a, b, packed);
    let base = if w == Width::W16 { 32 } else { w.bits() };
    (value << count >> base) as u64 & w.mask()
}

fn shld_carry(a: u64, b: u64, packed: u64) -> u64 {
    let (value, count, w) = joined_left(a, b, packed);
    let base = if w == Width::W16 { 32 } else { w.bits() };
    let top = base + w.bits();
    if count == 0 { 0 } else { (value >> (top - count)) as u64 & 1 }
}

fn joined_right(a: u64, b: u64, packed: u64) -> (u128, u32, Width) {
    let w = width_from(packed >> 8);
    let (bits, count) = (w.bits(), (packed & 0xFF) as u32);
    let value = match w {
        Width::W16 => u128::from(a) << 32 | u128::from(b) << 16 | u128::from(a),
        _ => u128::from(b) << bits | u128::from(a),
    };
    (value, count, w)
}

fn shrd(a: u64, b: u64, packed: u64) -> u64 {
    let (value, count, w) = joined_right(a, b, packed);
    (value >> count) as u64 & w.mask()
}

fn shrd_carry(a: u64, b: u64, packed: u64) -> u64 {
    let (value, count, _) = joined_right(a, b, packed);
    if count == 0 { 0 } else { (value >> (count - 1)) as u64 & 1 }
}

/// SHLX SHRX SARX: by a register's count, without flags.
fn shift_without_flags<E: Emitter, const K: u8>(e: &mut E, i: &Insn) -> Step<E> {
    let w = i.width[0];
    let value = read::<E, AnyForm>(e, i, 1)?;
    let count = e.gpr(w, i.reg[2]);
    let mask = e.constant(u64::from(w.bits()) - 1);
    let count = e.and(count, mask);
    let zero = e.constant(0);
    let r = shifted(e, K, w, value, count, zero);
    e.set_gpr(w, i.reg[0], r);
    Ok(())
}

/// RORX.
fn rotate_without_flags<E: Emitter>(e: &mut E, i: &Insn) -> Step<E> {
    let w = i.width[0];
    let value = read::<E, AnyForm>(e, i, 1)?;
    let count = e.constant(i.imm & (u64::from(w.bits()) - 1));
    let zero = e.constant(0);
    let r = shifted(e, ROR, w, value, count, zero);
    e.set_gpr(w, i.reg[0], r);
    Ok(())
}

/// SETMO and SETMOC of the 8086, where later processors have SHL again: all ones, if the count is not zero. Flags
/// as of a logical operation.
fn set_minus_one<E: Emitter>(e: &mut E, i: &Insn) -> Step<E> {
    let w = i.width[0];
    let count = masked_count::<E, AnyForm, false>(e, i)?;
    let ones = e.constant(w.mask());
    let unchanged = e.is_zero(count);
    update::<E, AnyForm>(e, i, 0, |e, a| {
        let keep = e.is_zero(count);
        e.select(keep, a, ones)
    })?;
    let (old_result, old_aux) = (e.flags_result(), e.flags_aux());
    let (minus_one, zero) = (e.constant(u64::MAX), e.constant(0));
    let result = e.select(unchanged, old_result, minus_one);
    let aux = e.select(unchanged, old_aux, zero);
    e.set_flags(result, aux);
    Ok(())
}

/// Rows of this family.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    let on_8086 = |mnemonic, run| row::<E>(mnemonic, run).only(Generation::I8086, Generation::I8086);
    vec![
        on_8086(Mnemonic::Shl, run::<E, Shift<SHL, AnyForm, false>>),
        on_8086(Mnemonic::Shr, run::<E, Shift<SHR, AnyForm, false>>),
        on_8086(Mnemonic::Sar, run::<E, Shift<SAR, AnyForm, false>>),
        on_8086(Mnemonic::Rol, run::<E, Shift<ROL, AnyForm, false>>),
        on_8086(Mnemonic::Ror, run::<E, Shift<ROR, AnyForm, false>>),
        on_8086(Mnemonic::Rcl, run::<E, Shift<RCL, AnyForm, false>>),
        on_8086(Mnemonic::Rcr, run::<E, Shift<RCR, AnyForm, false>>),
        on_8086(Mnemonic::Sal, set_minus_one::<E>),
        row(Mnemonic::Shl, run::<E, Shift<SHL, AnyForm>>),
        row(Mnemonic::Sal, run::<E, Shift<SHL, AnyForm>>),
        row(Mnemonic::Shr, run::<E, Shift<SHR, AnyForm>>),
        row(Mnemonic::Sar, run::<E, Shift<SAR, AnyForm>>),
        row(Mnemonic::Rol, run::<E, Shift<ROL, AnyForm>>),
        row(Mnemonic::Ror, run::<E, Shift<ROR, AnyForm>>),
        row(Mnemonic::Rcl, run::<E, Shift<RCL, AnyForm>>),
        row(Mnemonic::Rcr, run::<E, Shift<RCR, AnyForm>>),
        row(Mnemonic::Shld, shift_double::<E, true>),
        row(Mnemonic::Shrd, shift_double::<E, false>),
        row(Mnemonic::Shlx, shift_without_flags::<E, SHL>),
        row(Mnemonic::Shrx, shift_without_flags::<E, SHR>),
        row(Mnemonic::Sarx, shift_without_flags::<E, SAR>),
        row(Mnemonic::Rorx, rotate_without_flags::<E>),
    ]
}
