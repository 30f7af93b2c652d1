//! MOV and its kin: MOVZX MOVSX MOVSXD MOVBE LEA XCHG XADD CMPXCHG CMOVcc SETcc BSWAP XLAT, sign extensions of
//! the accumulator. SDM vol. 1, 7.3.1.
//!
//! Flags: only XADD (as ADD) and CMPXCHG (as CMP) set any.

use super::{
    arith::{set_flags_difference, set_flags_sum},
    condition::condition,
    run,
};
use crate::{
    arch::Width,
    cpu::slot,
    decode::{AddressForm, Insn, Kind},
    semantics::{
        AnyForm, Emitter, Form, Row, Semantics, Step,
        operand::{read, update, write},
        row,
    },
};
use iced_x86::Mnemonic;
use std::marker::PhantomData;

const RAX: u8 = slot::byte_offset(slot::RAX);
const RDX: u8 = slot::byte_offset(slot::RDX);

/// MOV.
pub struct Mov<F>(PhantomData<F>);

impl<F: Form> Semantics for Mov<F> {
    #[inline(always)]
    fn run<E: Emitter>(e: &mut E, i: &Insn) -> Step<E> {
        let value = read::<E, F>(e, i, 1)?;
        write::<E, F>(e, i, 0, value)
    }
}

/// MOVZX (`SIGNED` false), MOVSX and MOVSXD.
pub struct Extend<const SIGNED: bool, F>(PhantomData<F>);

impl<const SIGNED: bool, F: Form> Semantics for Extend<SIGNED, F> {
    #[inline(always)]
    fn run<E: Emitter>(e: &mut E, i: &Insn) -> Step<E> {
        let (to, from) = (F::width(i, 0), F::width(i, 1));
        let value = read::<E, F>(e, i, 1)?;
        let value = if SIGNED { e.sign_extend(from, to, value) } else { value };
        e.set_gpr(to, i.reg[0], value);
        Ok(())
    }
}

/// LEA.
pub struct Lea<F>(PhantomData<F>);

impl<F: Form> Semantics for Lea<F> {
    #[inline(always)]
    fn run<E: Emitter>(e: &mut E, i: &Insn) -> Step<E> {
        let w = F::width(i, 0);
        let address = e.effective_address(i);
        let address = e.truncate(w, address);
        e.set_gpr(w, i.reg[0], address);
        Ok(())
    }
}

/// CMOVcc: the source is read whatever the condition.
pub struct Cmov<const CC: u8, F>(PhantomData<F>);

impl<const CC: u8, F: Form> Semantics for Cmov<CC, F> {
    #[inline(always)]
    fn run<E: Emitter>(e: &mut E, i: &Insn) -> Step<E> {
        let w = F::width(i, 0);
        let source = read::<E, F>(e, i, 1)?;
        let c = condition(e, CC);
        let old = e.gpr(w, i.reg[0]);
        let value = e.select(c, source, old);
        e.set_gpr(w, i.reg[0], value);
        Ok(())
    }
}

/// SETcc.
pub struct Set<const CC: u8, F>(PhantomData<F>);

impl<const CC: u8, F: Form> Semantics for Set<CC, F> {
    #[inline(always)]
    fn run<E: Emitter>(e: &mut E, i: &Insn) -> Step<E> {
        let c = condition(e, CC);
        let value = e.value_of(c);
        write::<E, F>(e, i, 0, value)
    }
}

/// XCHG.
fn exchange<E: Emitter>(e: &mut E, i: &Insn) -> Step<E> {
    let w = i.width[0];
    if i.kind[1] == Kind::Mem {
        let register = e.gpr(w, i.reg[0]);
        let (old, _) = e.update(i, AddressForm::Checked, w, |_, _| register)?;
        e.set_gpr(w, i.reg[0], old);
        return Ok(());
    }
    let register = e.gpr(w, i.reg[1]);
    let (old, _) = update::<E, AnyForm>(e, i, 0, |_, _| register)?;
    e.set_gpr(w, i.reg[1], old);
    Ok(())
}

/// XADD.
fn exchange_add<E: Emitter>(e: &mut E, i: &Insn) -> Step<E> {
    let w = i.width[0];
    let b = e.gpr(w, i.reg[1]);
    if i.kind[0] == Kind::Gpr {
        let a = e.gpr(w, i.reg[0]);
        let r = e.add(w, a, b);
        // The sum is written last: it wins if both are one register.
        e.set_gpr(w, i.reg[1], a);
        e.set_gpr(w, i.reg[0], r);
        set_flags_sum(e, w, a, b, r);
        return Ok(());
    }
    let (a, r) = update::<E, AnyForm>(e, i, 0, |e, a| e.add(w, a, b))?;
    e.set_gpr(w, i.reg[1], a);
    set_flags_sum(e, w, a, b, r);
    Ok(())
}

/// CMPXCHG: memory is written in any case, with its own value if the comparison fails; a register only if it
/// succeeds, so that a failing 32-bit comparison leaves the upper half alone.
fn compare_exchange<E: Emitter>(e: &mut E, i: &Insn) -> Step<E> {
    let w = i.width[0];
    let accumulator = e.gpr(w, RAX);
    let source = e.gpr(w, i.reg[1]);
    let old = match i.kind[0] {
        Kind::Gpr => {
            let old = e.gpr(w, i.reg[0]);
            let same = e.equal(old, accumulator);
            let kept_width = if w == Width::W32 { Width::W64 } else { w };
            let kept = e.gpr(kept_width, i.reg[0]);
            let value = e.select(same, source, kept);
            e.set_gpr(kept_width, i.reg[0], value);
            old
        }
        _ => {
            let (old, _) = update::<E, AnyForm>(e, i, 0, |e, old| {
                let same = e.equal(old, accumulator);
                e.select(same, source, old)
            })?;
            old
        }
    };
    let difference = e.sub(w, accumulator, old);
    set_flags_difference(e, w, accumulator, old, difference);
    let same = e.equal(old, accumulator);
    // The accumulator as it is now: it may itself have been the destination.
    let whole = e.gpr(Width::W64, RAX);
    let loaded = match w {
        Width::W32 | Width::W64 => old,
        _ => {
            let keep = e.constant(!w.mask());
            let kept = e.and(whole, keep);
            e.or(kept, old)
        }
    };
    let value = e.select(same, whole, loaded);
    e.set_gpr(Width::W64, RAX, value);
    Ok(())
}

/// BSWAP. Of a 16-bit register the result is undefined; processors clear it.
fn swap_bytes<E: Emitter>(e: &mut E, i: &Insn) -> Step<E> {
    let w = i.width[0];
    let value = e.gpr(w, i.reg[0]);
    let swapped = if w == Width::W16 { e.constant(0) } else { e.swap_bytes(w, value) };
    e.set_gpr(w, i.reg[0], swapped);
    Ok(())
}

/// MOVBE.
fn move_big_endian<E: Emitter>(e: &mut E, i: &Insn) -> Step<E> {
    let w = i.width[0];
    let value = read::<E, AnyForm>(e, i, 1)?;
    let swapped = e.swap_bytes(w, value);
    write::<E, AnyForm>(e, i, 0, swapped)
}

/// CBW, CWDE, CDQE: the accumulator's lower half, sign-extended. `TO` is the width of the result.
fn extend_accumulator<E: Emitter, const TO: u8>(e: &mut E, _: &Insn) -> Step<E> {
    let (from, to) = accumulator_widths(TO);
    let half = e.gpr(from, RAX);
    let value = e.sign_extend(from, to, half);
    e.set_gpr(to, RAX, value);
    Ok(())
}

/// CWD, CDQ, CQO: the accumulator's sign in every bit of the data register.
fn extend_into_data<E: Emitter, const W: u8>(e: &mut E, _: &Insn) -> Step<E> {
    let (_, w) = accumulator_widths(W);
    let value = e.gpr(w, RAX);
    let count = e.constant(63);
    let sign = e.sar(w, value, count);
    e.set_gpr(w, RDX, sign);
    Ok(())
}

fn accumulator_widths(to: u8) -> (Width, Width) {
    match to {
        1 => (Width::W8, Width::W16),
        2 => (Width::W16, Width::W32),
        _ => (Width::W32, Width::W64),
    }
}

/// XLATB: AL = [rBX + AL]. The decoder gives the operand as base rBX, index AL.
fn table_lookup<E: Emitter>(e: &mut E, i: &Insn) -> Step<E> {
    let base = e.gpr(i.asize, slot::byte_offset(slot::RBX));
    let index = e.gpr(Width::W8, RAX);
    let offset = e.add(i.asize, base, index);
    let value = e.load_at(i.segment(), offset, Width::W8)?;
    e.set_gpr(Width::W8, RAX, value);
    Ok(())
}

/// Rows of this family.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    let mut rows = vec![
        row(Mnemonic::Mov, run::<E, Mov<AnyForm>>),
        row(Mnemonic::Movnti, run::<E, Mov<AnyForm>>),
        row(Mnemonic::Movzx, run::<E, Extend<false, AnyForm>>),
        row(Mnemonic::Movsx, run::<E, Extend<true, AnyForm>>),
        row(Mnemonic::Movsxd, run::<E, Extend<true, AnyForm>>),
        row(Mnemonic::Movbe, move_big_endian::<E>),
        row(Mnemonic::Lea, run::<E, Lea<AnyForm>>),
        row(Mnemonic::Xchg, exchange::<E>),
        row(Mnemonic::Xadd, exchange_add::<E>),
        row(Mnemonic::Cmpxchg, compare_exchange::<E>),
        row(Mnemonic::Bswap, swap_bytes::<E>),
        row(Mnemonic::Cbw, extend_accumulator::<E, 1>),
        row(Mnemonic::Cwde, extend_accumulator::<E, 2>),
        row(Mnemonic::Cdqe, extend_accumulator::<E, 3>),
        row(Mnemonic::Cwd, extend_into_data::<E, 1>),
        row(Mnemonic::Cdq, extend_into_data::<E, 2>),
        row(Mnemonic::Cqo, extend_into_data::<E, 3>),
        row(Mnemonic::Xlatb, table_lookup::<E>),
    ];
    rows.extend(conditional_rows());
    rows
}

fn conditional_rows<E: Emitter>() -> Vec<Row<E>> {
    vec![
        row(Mnemonic::Cmovo, run::<E, Cmov<0, AnyForm>>),
        row(Mnemonic::Cmovno, run::<E, Cmov<1, AnyForm>>),
        row(Mnemonic::Cmovb, run::<E, Cmov<2, AnyForm>>),
        row(Mnemonic::Cmovae, run::<E, Cmov<3, AnyForm>>),
        row(Mnemonic::Cmove, run::<E, Cmov<4, AnyForm>>),
        row(Mnemonic::Cmovne, run::<E, Cmov<5, AnyForm>>),
        row(Mnemonic::Cmovbe, run::<E, Cmov<6, AnyForm>>),
        row(Mnemonic::Cmova, run::<E, Cmov<7, AnyForm>>),
        row(Mnemonic::Cmovs, run::<E, Cmov<8, AnyForm>>),
        row(Mnemonic::Cmovns, run::<E, Cmov<9, AnyForm>>),
        row(Mnemonic::Cmovp, run::<E, Cmov<10, AnyForm>>),
        row(Mnemonic::Cmovnp, run::<E, Cmov<11, AnyForm>>),
        row(Mnemonic::Cmovl, run::<E, Cmov<12, AnyForm>>),
        row(Mnemonic::Cmovge, run::<E, Cmov<13, AnyForm>>),
        row(Mnemonic::Cmovle, run::<E, Cmov<14, AnyForm>>),
        row(Mnemonic::Cmovg, run::<E, Cmov<15, AnyForm>>),
        row(Mnemonic::Seto, run::<E, Set<0, AnyForm>>),
        row(Mnemonic::Setno, run::<E, Set<1, AnyForm>>),
        row(Mnemonic::Setb, run::<E, Set<2, AnyForm>>),
        row(Mnemonic::Setae, run::<E, Set<3, AnyForm>>),
        row(Mnemonic::Sete, run::<E, Set<4, AnyForm>>),
        row(Mnemonic::Setne, run::<E, Set<5, AnyForm>>),
        row(Mnemonic::Setbe, run::<E, Set<6, AnyForm>>),
        row(Mnemonic::Seta, run::<E, Set<7, AnyForm>>),
        row(Mnemonic::Sets, run::<E, Set<8, AnyForm>>),
        row(Mnemonic::Setns, run::<E, Set<9, AnyForm>>),
        row(Mnemonic::Setp, run::<E, Set<10, AnyForm>>),
        row(Mnemonic::Setnp, run::<E, Set<11, AnyForm>>),
        row(Mnemonic::Setl, run::<E, Set<12, AnyForm>>),
        row(Mnemonic::Setge, run::<E, Set<13, AnyForm>>),
        row(Mnemonic::Setle, run::<E, Set<14, AnyForm>>),
        row(Mnemonic::Setg, run::<E, Set<15, AnyForm>>),
    ]
}
