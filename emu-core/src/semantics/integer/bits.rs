//! BT BTS BTR BTC, BSF BSR, LZCNT TZCNT POPCNT, BMI1, BMI2. SDM vol. 1, 7.3.7 and 5.1.16.
//!
//! Flags: bit tests set CF and leave the rest (OF, SF, AF, PF undefined). BSF and BSR set ZF; their result for a
//! zero source is the old destination, as processors do. LZCNT and TZCNT set CF and ZF, POPCNT only ZF.

use super::{
    arith::set_flags_logical,
    condition::{flag_value, replace_carry_overflow},
};
use crate::{
    arch::{Flags, Width},
    decode::{Insn, Kind},
    semantics::{
        AnyForm, Emitter, Pure, Row, Step,
        operand::{read, update},
        row,
    },
};
use iced_x86::Mnemonic;

/// What a bit test does to the bit.
const TEST: u8 = 0;
const SET: u8 = 1;
const RESET: u8 = 2;
const COMPLEMENT: u8 = 3;

#[inline(always)]
fn changed<E: Emitter, const OP: u8>(e: &mut E, w: Width, value: E::Value, mask: E::Value) -> E::Value {
    match OP {
        TEST => value,
        SET => e.or(value, mask),
        RESET => {
            let keep = e.not(w, mask);
            e.and(value, keep)
        }
        _ => e.xor(value, mask),
    }
}

/// BT, BTS, BTR, BTC. With a register index the memory operand is a bit string: the index, signed, selects the
/// word as well.
fn bit_test<E: Emitter, const OP: u8>(e: &mut E, i: &Insn) -> Step<E> {
    let w = i.width[0];
    let index = if i.kind[1] == Kind::Imm { e.constant(i.imm) } else { e.gpr(w, i.reg[1]) };
    let within = e.constant(u64::from(w.bits()) - 1);
    let bit = e.and(index, within);
    let one = e.constant(1);
    let mask = e.shl(Width::W64, one, bit);
    let value = if i.kind[0] == Kind::Mem && i.kind[1] != Kind::Imm {
        let signed = e.sign_extend(w, Width::W64, index);
        let log = e.constant(w.bits().trailing_zeros().into());
        let word = e.sar(Width::W64, signed, log);
        let size = e.constant(w.bytes().trailing_zeros().into());
        let displacement = e.shl(Width::W64, word, size);
        if OP == TEST {
            let offset = e.effective_address(i);
            let offset = e.add(Width::W64, offset, displacement);
            let offset = e.truncate(i.asize, offset);
            e.load_at(i.segment(), offset, w)?
        } else {
            e.update_at(i, w, displacement, |e, old| changed::<E, OP>(e, w, old, mask))?.0
        }
    } else if OP == TEST {
        read::<E, AnyForm>(e, i, 0)?
    } else {
        update::<E, AnyForm>(e, i, 0, |e, old| changed::<E, OP>(e, w, old, mask))?.0
    };
    let tested = e.shr(Width::W64, value, bit);
    let tested = e.and(tested, one);
    let of = flag_value(e, Flags::OF);
    replace_carry_overflow(e, tested, of);
    Ok(())
}

/// BSF (`REVERSE` false) and BSR.
fn bit_scan<E: Emitter, const REVERSE: bool>(e: &mut E, i: &Insn) -> Step<E> {
    let w = i.width[0];
    let source = read::<E, AnyForm>(e, i, 1)?;
    let whole = e.gpr(Width::W64, i.reg[0]);
    let found = if REVERSE {
        let zeros = e.leading_zeros(w, source);
        let top = e.constant(u64::from(w.bits()) - 1);
        e.sub(w, top, zeros)
    } else {
        e.trailing_zeros(w, source)
    };
    let none = e.is_zero(source);
    e.set_gpr(w, i.reg[0], found);
    let written = e.gpr(Width::W64, i.reg[0]);
    let value = e.select(none, whole, written);
    e.set_gpr(Width::W64, i.reg[0], value);
    set_flags_logical(e, w, source);
    Ok(())
}

/// LZCNT (`LEADING`) and TZCNT.
fn count_zeros<E: Emitter, const LEADING: bool>(e: &mut E, i: &Insn) -> Step<E> {
    let w = i.width[0];
    let source = read::<E, AnyForm>(e, i, 1)?;
    let zeros = if LEADING { e.leading_zeros(w, source) } else { e.trailing_zeros(w, source) };
    e.set_gpr(w, i.reg[0], zeros);
    set_flags_logical(e, w, zeros);
    let none = e.is_zero(source);
    let carry = e.value_of(none);
    let zero = e.constant(0);
    replace_carry_overflow(e, carry, zero);
    Ok(())
}

/// POPCNT.
fn population<E: Emitter>(e: &mut E, i: &Insn) -> Step<E> {
    let w = i.width[0];
    let source = read::<E, AnyForm>(e, i, 1)?;
    let ones = e.count_ones(source);
    e.set_gpr(w, i.reg[0], ones);
    // All flags but ZF are cleared, PF too.
    let none = e.is_zero(source);
    let zero_flag = e.constant(Flags::ZF.bits().into());
    let clear = e.constant(0);
    let flags = e.select(none, zero_flag, clear);
    e.set_flags_explicit(flags);
    Ok(())
}

/// Result, then CF, for a BMI1 operation on one source.
fn set_with_carry<E: Emitter>(e: &mut E, i: &Insn, at: u8, value: E::Value, carry: E::Cond) {
    let w = i.width[0];
    e.set_gpr(w, at, value);
    set_flags_logical(e, w, value);
    let carry = e.value_of(carry);
    let zero = e.constant(0);
    replace_carry_overflow(e, carry, zero);
}

/// ANDN: second operand complemented, and third.
fn and_not<E: Emitter>(e: &mut E, i: &Insn) -> Step<E> {
    let w = i.width[0];
    let b = match i.kind[2] {
        Kind::Mem => e.load(i, crate::decode::AddressForm::Checked, w, 0)?,
        _ => e.gpr(w, i.reg[2]),
    };
    let a = e.gpr(w, i.reg[1]);
    let a = e.not(w, a);
    let r = e.and(a, b);
    e.set_gpr(w, i.reg[0], r);
    set_flags_logical(e, w, r);
    Ok(())
}

/// BLSI (0), BLSMSK (1), BLSR (2).
fn lowest_bit<E: Emitter, const OP: u8>(e: &mut E, i: &Insn) -> Step<E> {
    let w = i.width[0];
    let source = read::<E, AnyForm>(e, i, 1)?;
    let one = e.constant(1);
    let below = e.sub(w, source, one);
    let r = match OP {
        0 => {
            let negative = e.neg(w, source);
            e.and(source, negative)
        }
        1 => e.xor(source, below),
        _ => e.and(source, below),
    };
    let zero = e.is_zero(source);
    let carry = if OP == 0 { e.negate(zero) } else { zero };
    set_with_carry(e, i, i.reg[0], r, carry);
    Ok(())
}

/// BEXTR: start in bits 7:0, length in bits 15:8 of the third operand.
fn extract<E: Emitter>(e: &mut E, i: &Insn) -> Step<E> {
    let w = i.width[0];
    let source = read::<E, AnyForm>(e, i, 1)?;
    let control = e.gpr(w, i.reg[2]);
    let unused = e.constant(0);
    let r = e.pure(bextr, source, control, unused);
    e.set_gpr(w, i.reg[0], r);
    set_flags_logical(e, w, r);
    Ok(())
}

fn bextr(source: u64, control: u64, _: u64) -> u64 {
    let (start, len) = ((control & 0xFF) as u32, (control >> 8 & 0xFF) as u32);
    let shifted = source.checked_shr(start).unwrap_or(0);
    if len >= 64 { shifted } else { shifted & ((1 << len) - 1) }
}

/// BZHI: clears the bits from the index on; CF tells an index beyond the operand.
fn zero_high<E: Emitter>(e: &mut E, i: &Insn) -> Step<E> {
    let w = i.width[0];
    let source = read::<E, AnyForm>(e, i, 1)?;
    let index = e.gpr(Width::W8, i.reg[2]);
    let unused = e.constant(0);
    let r = e.pure(bzhi, source, index, unused);
    let last = e.constant(u64::from(w.bits()) - 1);
    let beyond = e.below(last, index);
    set_with_carry(e, i, i.reg[0], r, beyond);
    Ok(())
}

fn bzhi(source: u64, index: u64, _: u64) -> u64 {
    if index >= 64 { source } else { source & ((1 << index) - 1) }
}

/// PDEP and PEXT: mask in the third operand.
fn parallel<E: Emitter, const EXTRACT: bool>(e: &mut E, i: &Insn) -> Step<E> {
    let w = i.width[0];
    let mask = match i.kind[2] {
        Kind::Mem => e.load(i, crate::decode::AddressForm::Checked, w, 0)?,
        _ => e.gpr(w, i.reg[2]),
    };
    let source = e.gpr(w, i.reg[1]);
    let unused = e.constant(0);
    let f: Pure = if EXTRACT { pext } else { pdep };
    let r = e.pure(f, source, mask, unused);
    e.set_gpr(w, i.reg[0], r);
    Ok(())
}

fn pdep(source: u64, mut mask: u64, _: u64) -> u64 {
    let mut result = 0;
    let mut bit = 1u64;
    while mask != 0 {
        let lowest = mask & mask.wrapping_neg();
        if source & bit != 0 {
            result |= lowest;
        }
        mask ^= lowest;
        bit = bit.wrapping_shl(1);
    }
    result
}

fn pext(source: u64, mut mask: u64, _: u64) -> u64 {
    let mut result = 0;
    let mut bit = 1u64;
    while mask != 0 {
        let lowest = mask & mask.wrapping_neg();
        if source & lowest != 0 {
            result |= bit;
        }
        mask ^= lowest;
        bit = bit.wrapping_shl(1);
    }
    result
}

/// Rows of this family.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    vec![
        row(Mnemonic::Bt, bit_test::<E, TEST>),
        row(Mnemonic::Bts, bit_test::<E, SET>),
        row(Mnemonic::Btr, bit_test::<E, RESET>),
        row(Mnemonic::Btc, bit_test::<E, COMPLEMENT>),
        row(Mnemonic::Bsf, bit_scan::<E, false>),
        row(Mnemonic::Bsr, bit_scan::<E, true>),
        row(Mnemonic::Lzcnt, count_zeros::<E, true>),
        row(Mnemonic::Tzcnt, count_zeros::<E, false>),
        row(Mnemonic::Popcnt, population::<E>),
        row(Mnemonic::Andn, and_not::<E>),
        row(Mnemonic::Blsi, lowest_bit::<E, 0>),
        row(Mnemonic::Blsmsk, lowest_bit::<E, 1>),
        row(Mnemonic::Blsr, lowest_bit::<E, 2>),
        row(Mnemonic::Bextr, extract::<E>),
        row(Mnemonic::Bzhi, zero_high::<E>),
        row(Mnemonic::Pdep, parallel::<E, false>),
        row(Mnemonic::Pext, parallel::<E, true>),
    ]
}
