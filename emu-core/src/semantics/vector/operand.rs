//! Operands of vector instructions.

use crate::{
    arch::Width,
    decode::{AddressForm, Insn, Kind, flag},
    semantics::{Emitter, FlagSource, Form, Memory},
};
use std::array::from_fn;

/// The operand that may be in memory is in a register.
pub struct InRegister;
/// It is in memory, at a base and a displacement, or by a scaled index.
pub struct InMemory<const SCALED: bool>;

impl Form for InRegister {
    #[inline(always)]
    fn width(i: &Insn, k: usize) -> Width {
        i.width[k & 1]
    }
    #[inline(always)]
    fn kind(_: &Insn, _: usize) -> Kind {
        Kind::Vector
    }
    const ADDRESS: AddressForm = AddressForm::Checked;
}

impl<const SCALED: bool> Form for InMemory<SCALED> {
    #[inline(always)]
    fn width(i: &Insn, k: usize) -> Width {
        i.width[k & 1]
    }
    #[inline(always)]
    fn kind(_: &Insn, _: usize) -> Kind {
        Kind::Mem
    }
    const ADDRESS: AddressForm = if SCALED { AddressForm::Scaled } else { AddressForm::Base };
}

/// How an encoding names the operands of a two-operand operation, and how much of the registers it works on.
pub trait Encoding {
    /// Number of the first source operand; the second follows it.
    const FIRST: usize;
    /// Whether lanes of the destination that are not worked on become zero, or else stay.
    const CLEARS: bool;
    /// Whether both lanes are worked on, or the lower one alone.
    fn both_lanes(i: &Insn) -> bool;
}

/// Without VEX: the destination is the first source; one lane; the other keeps its value.
pub struct Legacy;
/// VEX with two sources: VEX.L says how many lanes; of one the other becomes zero.
pub struct Vex;
/// VEX with one source, which operations have as their second.
pub struct VexUnary;

impl Encoding for Legacy {
    const FIRST: usize = 0;
    const CLEARS: bool = false;
    #[inline(always)]
    fn both_lanes(_: &Insn) -> bool {
        false
    }
}

impl Encoding for Vex {
    const FIRST: usize = 1;
    const CLEARS: bool = true;
    #[inline(always)]
    fn both_lanes(i: &Insn) -> bool {
        i.has(flag::L256)
    }
}

impl Encoding for VexUnary {
    const FIRST: usize = 0;
    const CLEARS: bool = true;
    #[inline(always)]
    fn both_lanes(i: &Insn) -> bool {
        i.has(flag::L256)
    }
}

/// A value, or a fault.
pub type Read<E, V> = Result<V, <E as Memory>::Fault>;

/// `N` lanes of operand `k`, a vector register or memory.
#[inline(always)]
pub fn read_lanes<E: Emitter, F: Form, const N: usize>(
    e: &mut E,
    i: &Insn,
    k: usize,
) -> Read<E, [E::Lane; N]> {
    match F::kind(i, k) {
        Kind::Mem => e.load_lanes(i, F::ADDRESS),
        _ => Ok(registers(e, i, k)),
    }
}

/// The lower lane of operand `k`, a vector register or memory.
#[inline(always)]
pub fn read_lane<E: Emitter, F: Form>(e: &mut E, i: &Insn, k: usize) -> Read<E, E::Lane> {
    read_lanes::<E, F, 1>(e, i, k).map(|[lane]| lane)
}

/// `N` lanes of operand `k`, a vector register.
#[inline(always)]
pub fn registers<E: Emitter, const N: usize>(e: &mut E, i: &Insn, k: usize) -> [E::Lane; N] {
    from_fn(|lane| e.vector(i.reg[k], lane))
}

/// Writes `N` lanes to operand 0, a vector register; what becomes of the others is up to the encoding.
#[inline(always)]
pub fn write_lanes<E: Emitter, V: Encoding, const N: usize>(e: &mut E, i: &Insn, value: [E::Lane; N]) {
    for (lane, value) in value.into_iter().enumerate() {
        e.set_vector(i.reg[0], lane, value);
    }
    if V::CLEARS && N == 1 {
        let zero = e.constant(0);
        let zero = e.lane_from(zero, zero);
        e.set_vector(i.reg[0], 1, zero);
    }
}

/// Writes the lower lane of operand 0.
#[inline(always)]
pub fn write_lane<E: Emitter, V: Encoding>(e: &mut E, i: &Insn, value: E::Lane) {
    write_lanes::<E, V, 1>(e, i, [value]);
}

/// A lane whose low `w` bits are operand `k`: all of a register's low lane, or `w` of memory and zeros.
#[inline(always)]
pub fn read_low<E: Emitter, F: Form>(e: &mut E, i: &Insn, k: usize, w: Width) -> Read<E, E::Lane> {
    match F::kind(i, k) {
        Kind::Mem => {
            let low = e.load(i, F::ADDRESS, w, 0)?;
            Ok(extend(e, low))
        }
        _ => Ok(e.vector(i.reg[k], 0)),
    }
}

/// Operand `k`, an MMX register or memory.
#[inline(always)]
pub fn read_mmx<E: Emitter, F: Form>(e: &mut E, i: &Insn, k: usize) -> Read<E, E::Value> {
    match F::kind(i, k) {
        Kind::Mem => e.load(i, F::ADDRESS, Width::W64, 0),
        _ => Ok(e.mmx(i.reg[k])),
    }
}

/// Operand `k`, a general-purpose register or memory, of width `w`.
#[inline(always)]
pub fn read_gpr<E: Emitter, F: Form>(e: &mut E, i: &Insn, k: usize, w: Width) -> Read<E, E::Value> {
    match F::kind(i, k) {
        Kind::Mem => e.load(i, F::ADDRESS, w, 0),
        _ => Ok(e.gpr(w, i.reg[k])),
    }
}

/// Writes operand `k`, a general-purpose register or memory, of width `w`.
#[inline(always)]
pub fn write_gpr<E: Emitter, F: Form>(
    e: &mut E,
    i: &Insn,
    k: usize,
    w: Width,
    value: E::Value,
) -> Read<E, ()> {
    match F::kind(i, k) {
        Kind::Mem => e.store(i, F::ADDRESS, w, 0, value),
        _ => {
            e.set_gpr(w, i.reg[k], value);
            Ok(())
        }
    }
}

/// A lane with `low` in its low half and zeros above.
#[inline(always)]
pub fn extend<E: Emitter>(e: &mut E, low: E::Value) -> E::Lane {
    let zero = e.constant(0);
    e.lane_from(low, zero)
}

/// `to` with its low half replaced by `low`.
#[inline(always)]
pub fn with_low<E: Emitter>(e: &mut E, to: E::Lane, low: E::Value) -> E::Lane {
    let high = e.lane_high(to);
    e.lane_from(low, high)
}

/// `to` with the low `w` bits of `from`.
#[inline(always)]
pub fn merge<E: Emitter>(e: &mut E, w: Width, to: E::Lane, from: E::Lane) -> E::Lane {
    let mut low = e.lane_low(from);
    if w == Width::W32 {
        let (mask, upper) = (e.constant(w.mask()), e.constant(!w.mask()));
        let old = e.lane_low(to);
        let kept = e.and(old, upper);
        let new = e.and(low, mask);
        low = e.or(kept, new);
    }
    with_low(e, to, low)
}

/// Sets the flags from a value with CF, PF and ZF in their places in RFLAGS; clears the others.
#[inline(always)]
pub fn set_low_flags<E: Emitter>(e: &mut E, flags: E::Value) {
    let field = |e: &mut E, bit: u64, left: u64| {
        let mask = e.constant(bit);
        let kept = e.and(flags, mask);
        let count = e.constant(left);
        e.shl(Width::W64, kept, count)
    };
    let (zero_flag, parity, carry) = (field(e, 0x40, 2), field(e, 0x04, 6), field(e, 0x01, 0));
    let flip = e.constant(0x100);
    let result = e.xor(zero_flag, flip);
    let parity = e.xor(parity, flip);
    let all = e.neg(Width::W64, carry);
    let mask = e.constant(crate::cpu::AUX_CARRIES);
    let carries = e.and(all, mask);
    let aux = e.or(carries, parity);
    e.set_flags(result, aux);
    e.note_flags(FlagSource::Order(flags));
}
