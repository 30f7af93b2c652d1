//! CLC STC CMC CLD STD LAHF SAHF SALC. SDM vol. 1, 7.3.14.

use super::{
    arith::carry_in,
    condition::{flag_value, replace_carry_overflow},
};
use crate::{
    arch::{Flags, Width},
    cpu::slot,
    decode::Insn,
    semantics::{Emitter, Row, Step, row},
};
use iced_x86::Mnemonic;

const AH: u8 = slot::high_byte_offset(slot::RAX);

/// Sets CF to 0 or 1, or complements it (2).
fn set_carry<E: Emitter, const TO: u8>(e: &mut E, _: &Insn) -> Step<E> {
    let of = flag_value(e, Flags::OF);
    let cf = if TO == 2 {
        let one = e.constant(1);
        let carry = carry_in(e);
        e.xor(carry, one)
    } else {
        e.constant(TO.into())
    };
    replace_carry_overflow(e, cf, of);
    Ok(())
}

fn set_direction<E: Emitter, const DOWN: bool>(e: &mut E, _: &Insn) -> Step<E> {
    e.set_direction(DOWN);
    Ok(())
}

/// LAHF.
fn load_flags<E: Emitter>(e: &mut E, _: &Insn) -> Step<E> {
    let mut sum = e.constant(Flags::FIXED.bits().into());
    for flag in [Flags::CF, Flags::PF, Flags::ZF, Flags::SF] {
        let value = flag_value(e, flag);
        let place = e.constant(flag.bits().trailing_zeros().into());
        let value = e.shl(Width::W64, value, place);
        sum = e.or(sum, value);
    }
    let aux = e.flags_aux();
    let mask = e.constant(crate::cpu::AUX_AF);
    let af = e.and(aux, mask);
    let one = e.constant(1);
    let af = e.shl(Width::W64, af, one);
    let sum = e.or(sum, af);
    e.set_gpr(Width::W8, AH, sum);
    Ok(())
}

/// SAHF: OF stays.
fn store_flags<E: Emitter>(e: &mut E, _: &Insn) -> Step<E> {
    let of = flag_value(e, Flags::OF);
    let place = e.constant(Flags::OF.bits().trailing_zeros().into());
    let of = e.shl(Width::W64, of, place);
    let low = e.gpr(Width::W8, AH);
    let flags = e.or(low, of);
    e.set_flags_explicit(flags);
    Ok(())
}

/// SALC: AL = CF in every bit. Undocumented, valid outside 64-bit mode.
fn set_al_to_carry<E: Emitter>(e: &mut E, _: &Insn) -> Step<E> {
    let carry = carry_in(e);
    let value = e.neg(Width::W8, carry);
    e.set_gpr(Width::W8, slot::byte_offset(slot::RAX), value);
    Ok(())
}

/// Rows of this family.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    vec![
        row(Mnemonic::Clc, set_carry::<E, 0>),
        row(Mnemonic::Stc, set_carry::<E, 1>),
        row(Mnemonic::Cmc, set_carry::<E, 2>),
        row(Mnemonic::Cld, set_direction::<E, false>),
        row(Mnemonic::Std, set_direction::<E, true>),
        row(Mnemonic::Lahf, load_flags::<E>),
        row(Mnemonic::Sahf, store_flags::<E>),
        row(Mnemonic::Salc, set_al_to_carry::<E>),
    ]
}
