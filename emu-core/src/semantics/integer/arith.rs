//! ADD ADC SUB SBB CMP AND OR XOR TEST INC DEC NEG NOT. SDM vol. 1, 7.3.2 and 7.3.5.
//!
//! Flags: additions and subtractions set all six from their carry-out vector; logical operations clear CF, OF
//! and AF (undefined) and set the rest from the result; INC and DEC leave CF alone; NOT touches none.

use super::run;
use crate::{
    arch::Width,
    cpu::{AUX_AF, AUX_CARRIES},
    decode::Insn,
    semantics::{
        AnyForm, Emitter, FlagSource, Form, Row, Semantics, Step,
        operand::{read, update},
        row,
    },
};
use iced_x86::Mnemonic;
use std::marker::PhantomData;

/// A two-operand operation: result, and flags from (a, b, result).
pub trait Operation {
    /// Whether the result is written to the first operand.
    const WRITES: bool = true;
    /// Result of `w` bits.
    fn apply<E: Emitter>(e: &mut E, w: Width, a: E::Value, b: E::Value) -> E::Value;
    /// Sets the flags.
    fn set_flags<E: Emitter>(e: &mut E, w: Width, a: E::Value, b: E::Value, r: E::Value);
}

/// Sets all flags of an addition from its operands (a carry-in is in the result).
#[inline(always)]
pub fn set_flags_add<E: Emitter>(e: &mut E, w: Width, a: E::Value, b: E::Value, r: E::Value) {
    let both = e.and(a, b);
    let any = e.or(a, b);
    let not_r = e.not(w, r);
    let carried = e.and(any, not_r);
    let carries = e.or(both, carried);
    set_flags_carries(e, w, carries, r);
}

/// Sets all flags of a subtraction a - b from its operands (a borrow-in is in the result).
#[inline(always)]
pub fn set_flags_sub<E: Emitter>(e: &mut E, w: Width, a: E::Value, b: E::Value, r: E::Value) {
    let not_a = e.not(w, a);
    let both = e.and(not_a, b);
    let any = e.or(not_a, b);
    let borrowed = e.and(any, r);
    let borrows = e.or(both, borrowed);
    set_flags_carries(e, w, borrows, r);
}

/// Sets all flags of r = a + b.
#[inline(always)]
pub fn set_flags_sum<E: Emitter>(e: &mut E, w: Width, a: E::Value, b: E::Value, r: E::Value) {
    set_flags_add(e, w, a, b, r);
    e.note_flags(FlagSource::Sum { w, a, b, r });
}

/// Sets all flags of r = a - b.
#[inline(always)]
pub fn set_flags_difference<E: Emitter>(e: &mut E, w: Width, a: E::Value, b: E::Value, r: E::Value) {
    set_flags_sub(e, w, a, b, r);
    e.note_flags(FlagSource::Difference(w, a, b));
}

/// Sets all flags but CF of r, which is one less (`down`) or more than before; CF is bit 63 of `carry`.
#[inline(always)]
pub fn set_flags_step<E: Emitter>(e: &mut E, down: bool, w: Width, r: E::Value, carry: E::Value) {
    let one = e.constant(1);
    if down {
        let a = e.add(w, r, one);
        set_flags_sub(e, w, a, one, r);
    } else {
        let a = e.sub(w, r, one);
        set_flags_add(e, w, a, one, r);
    }
    // CF as before; CF xor OF with the new OF.
    let (result, aux) = (e.flags_result(), e.flags_aux());
    let shift = e.constant(1);
    let doubled = e.shl(Width::W64, aux, shift);
    let overflow = e.xor(aux, doubled);
    let partial = e.xor(overflow, carry);
    let partial = e.shr(Width::W64, partial, shift);
    let masks = [(carry, 1 << 63), (partial, 1 << 62), (aux, AUX_AF)];
    let mut sum = e.constant(0);
    for (value, mask) in masks {
        let mask = e.constant(mask);
        let part = e.and(value, mask);
        sum = e.or(sum, part);
    }
    e.set_flags(result, sum);
    e.note_flags(FlagSource::Step { down, w, r, carry });
}

/// Flags from a vector of carries out of each bit.
#[inline(always)]
fn set_flags_carries<E: Emitter>(e: &mut E, w: Width, carries: E::Value, r: E::Value) {
    let top = e.constant((64 - w.bits()).into());
    let high = e.shl(Width::W64, carries, top);
    let mask = e.constant(AUX_CARRIES);
    let high = e.and(high, mask);
    let mask = e.constant(AUX_AF);
    let low = e.and(carries, mask);
    let aux = e.or(high, low);
    let result = e.sign_extend(w, Width::W64, r);
    e.set_flags(result, aux);
    e.note_flags(FlagSource::Result(w, r));
}

/// Flags of a logical operation.
#[inline(always)]
pub fn set_flags_logical<E: Emitter>(e: &mut E, w: Width, r: E::Value) {
    let result = e.sign_extend(w, Width::W64, r);
    let zero = e.constant(0);
    e.set_flags(result, zero);
    e.note_flags(FlagSource::Difference(w, r, zero));
}

/// CF as 0 or 1.
#[inline(always)]
pub fn carry_in<E: Emitter>(e: &mut E) -> E::Value {
    let aux = e.flags_aux();
    let top = e.constant(63);
    e.shr(Width::W64, aux, top)
}

/// ADD.
pub struct Add;
/// ADC.
pub struct Adc;
/// SUB.
pub struct Sub;
/// SBB.
pub struct Sbb;
/// CMP: SUB without a result.
pub struct Cmp;
/// AND.
pub struct And;
/// OR.
pub struct Or;
/// XOR.
pub struct Xor;
/// TEST: AND without a result.
pub struct Test;

impl Operation for Add {
    #[inline(always)]
    fn apply<E: Emitter>(e: &mut E, w: Width, a: E::Value, b: E::Value) -> E::Value {
        e.add(w, a, b)
    }
    #[inline(always)]
    fn set_flags<E: Emitter>(e: &mut E, w: Width, a: E::Value, b: E::Value, r: E::Value) {
        set_flags_sum(e, w, a, b, r);
    }
}
impl Operation for Adc {
    #[inline(always)]
    fn apply<E: Emitter>(e: &mut E, w: Width, a: E::Value, b: E::Value) -> E::Value {
        let carry = carry_in(e);
        let sum = e.add(w, a, b);
        e.add(w, sum, carry)
    }
    #[inline(always)]
    fn set_flags<E: Emitter>(e: &mut E, w: Width, a: E::Value, b: E::Value, r: E::Value) {
        set_flags_add(e, w, a, b, r);
    }
}
impl Operation for Sub {
    #[inline(always)]
    fn apply<E: Emitter>(e: &mut E, w: Width, a: E::Value, b: E::Value) -> E::Value {
        e.sub(w, a, b)
    }
    #[inline(always)]
    fn set_flags<E: Emitter>(e: &mut E, w: Width, a: E::Value, b: E::Value, r: E::Value) {
        set_flags_difference(e, w, a, b, r);
    }
}
impl Operation for Sbb {
    #[inline(always)]
    fn apply<E: Emitter>(e: &mut E, w: Width, a: E::Value, b: E::Value) -> E::Value {
        let borrow = carry_in(e);
        let difference = e.sub(w, a, b);
        e.sub(w, difference, borrow)
    }
    #[inline(always)]
    fn set_flags<E: Emitter>(e: &mut E, w: Width, a: E::Value, b: E::Value, r: E::Value) {
        set_flags_sub(e, w, a, b, r);
    }
}
impl Operation for Cmp {
    const WRITES: bool = false;
    #[inline(always)]
    fn apply<E: Emitter>(e: &mut E, w: Width, a: E::Value, b: E::Value) -> E::Value {
        e.sub(w, a, b)
    }
    #[inline(always)]
    fn set_flags<E: Emitter>(e: &mut E, w: Width, a: E::Value, b: E::Value, r: E::Value) {
        set_flags_difference(e, w, a, b, r);
    }
}
impl Operation for And {
    #[inline(always)]
    fn apply<E: Emitter>(e: &mut E, _: Width, a: E::Value, b: E::Value) -> E::Value {
        e.and(a, b)
    }
    #[inline(always)]
    fn set_flags<E: Emitter>(e: &mut E, w: Width, _: E::Value, _: E::Value, r: E::Value) {
        set_flags_logical(e, w, r);
    }
}
impl Operation for Or {
    #[inline(always)]
    fn apply<E: Emitter>(e: &mut E, _: Width, a: E::Value, b: E::Value) -> E::Value {
        e.or(a, b)
    }
    #[inline(always)]
    fn set_flags<E: Emitter>(e: &mut E, w: Width, _: E::Value, _: E::Value, r: E::Value) {
        set_flags_logical(e, w, r);
    }
}
impl Operation for Xor {
    #[inline(always)]
    fn apply<E: Emitter>(e: &mut E, _: Width, a: E::Value, b: E::Value) -> E::Value {
        e.xor(a, b)
    }
    #[inline(always)]
    fn set_flags<E: Emitter>(e: &mut E, w: Width, _: E::Value, _: E::Value, r: E::Value) {
        set_flags_logical(e, w, r);
    }
}
impl Operation for Test {
    const WRITES: bool = false;
    #[inline(always)]
    fn apply<E: Emitter>(e: &mut E, _: Width, a: E::Value, b: E::Value) -> E::Value {
        e.and(a, b)
    }
    #[inline(always)]
    fn set_flags<E: Emitter>(e: &mut E, w: Width, _: E::Value, _: E::Value, r: E::Value) {
        set_flags_logical(e, w, r);
    }
}

/// Operation `O` on operands of form `F`.
pub struct Binary<O, F>(PhantomData<(O, F)>);

impl<O: Operation, F: Form> Semantics for Binary<O, F> {
    #[inline(always)]
    fn run<E: Emitter>(e: &mut E, i: &Insn) -> Step<E> {
        let w = F::width(i, 0);
        // A sign-extended immediate is narrower in the encoding; its value is cut to the operation's width.
        let b = read::<E, F>(e, i, 1)?;
        let (a, r) = if O::WRITES {
            update::<E, F>(e, i, 0, |e, a| O::apply(e, w, a, b))?
        } else {
            let a = read::<E, F>(e, i, 0)?;
            (a, O::apply(e, w, a, b))
        };
        O::set_flags(e, w, a, b, r);
        Ok(())
    }
}

/// INC (`DOWN` false) and DEC.
pub struct Step1<const DOWN: bool, F>(PhantomData<F>);

impl<const DOWN: bool, F: Form> Semantics for Step1<DOWN, F> {
    #[inline(always)]
    fn run<E: Emitter>(e: &mut E, i: &Insn) -> Step<E> {
        let w = F::width(i, 0);
        let one = e.constant(1);
        let (_, r) = update::<E, F>(e, i, 0, |e, a| if DOWN { e.sub(w, a, one) } else { e.add(w, a, one) })?;
        let carry = e.carry_word();
        set_flags_step(e, DOWN, w, r, carry);
        Ok(())
    }
}

/// NEG.
pub struct Neg<F>(PhantomData<F>);

impl<F: Form> Semantics for Neg<F> {
    #[inline(always)]
    fn run<E: Emitter>(e: &mut E, i: &Insn) -> Step<E> {
        let w = F::width(i, 0);
        let (a, r) = update::<E, F>(e, i, 0, |e, a| e.neg(w, a))?;
        let zero = e.constant(0);
        set_flags_difference(e, w, zero, a, r);
        Ok(())
    }
}

/// NOT.
pub struct Not<F>(PhantomData<F>);

impl<F: Form> Semantics for Not<F> {
    #[inline(always)]
    fn run<E: Emitter>(e: &mut E, i: &Insn) -> Step<E> {
        let w = F::width(i, 0);
        update::<E, F>(e, i, 0, |e, a| e.not(w, a)).map(|_| ())
    }
}

/// ADCX (`OVERFLOW` false: through CF) and ADOX (through OF). SDM vol. 2: no other flag changes.
fn add_through<E: Emitter, const OVERFLOW: bool>(e: &mut E, i: &Insn) -> Step<E> {
    use super::condition::{flag_value, replace_carry_overflow};
    let w = i.width[0];
    let b = read::<E, AnyForm>(e, i, 1)?;
    let a = e.gpr(w, i.reg[0]);
    let (cf, of) = (flag_value(e, crate::arch::Flags::CF), flag_value(e, crate::arch::Flags::OF));
    let sum = e.add(w, a, b);
    let first = e.below(sum, a);
    let r = e.add(w, sum, if OVERFLOW { of } else { cf });
    let second = e.below(r, sum);
    let carry = e.either(first, second);
    let carry = e.value_of(carry);
    e.set_gpr(w, i.reg[0], r);
    if OVERFLOW {
        replace_carry_overflow(e, cf, carry);
    } else {
        replace_carry_overflow(e, carry, of);
    }
    Ok(())
}

/// Rows of this family.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    vec![
        row(Mnemonic::Add, run::<E, Binary<Add, AnyForm>>),
        row(Mnemonic::Adc, run::<E, Binary<Adc, AnyForm>>),
        row(Mnemonic::Sub, run::<E, Binary<Sub, AnyForm>>),
        row(Mnemonic::Sbb, run::<E, Binary<Sbb, AnyForm>>),
        row(Mnemonic::Cmp, run::<E, Binary<Cmp, AnyForm>>),
        row(Mnemonic::And, run::<E, Binary<And, AnyForm>>),
        row(Mnemonic::Or, run::<E, Binary<Or, AnyForm>>),
        row(Mnemonic::Xor, run::<E, Binary<Xor, AnyForm>>),
        row(Mnemonic::Test, run::<E, Binary<Test, AnyForm>>),
        row(Mnemonic::Inc, run::<E, Step1<false, AnyForm>>),
        row(Mnemonic::Dec, run::<E, Step1<true, AnyForm>>),
        row(Mnemonic::Neg, run::<E, Neg<AnyForm>>),
        row(Mnemonic::Not, run::<E, Not<AnyForm>>),
        row(Mnemonic::Adcx, add_through::<E, false>),
        row(Mnemonic::Adox, add_through::<E, true>),
    ]
}
