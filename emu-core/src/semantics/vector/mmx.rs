//! Drivers of MMX operations: those on lanes, applied to 64 bits. SDM vol. 1, ch. 9.
//!
//! Every MMX instruction first lets a pending x87 exception be raised, and enters MMX mode (TOP zero, all tags
//! valid) when nothing can fault any more.

use super::{
    Meaning,
    operand::{extend, read_mmx},
};
use crate::{
    decode::Insn,
    lane::{LaneOperation, Psrldq},
    semantics::{Emitter, Form, Step},
};
use std::marker::PhantomData;

/// How 64-bit operands make lanes, and the result a 64-bit one.
pub trait Shape {
    /// Does `O`.
    fn apply<E: Emitter, O: LaneOperation>(e: &mut E, a: E::Value, b: E::Value, imm: u8) -> E::Value;
}

/// Element by element: both in low halves, and the low half of the result.
pub struct Elementwise;
/// Results of the first operand's elements, then of the second's (pack, horizontal): both in one lane.
pub struct Joined;
/// Interleaving the upper elements: the upper half of what interleaves the lower ones of lanes.
pub struct UnpackHigh;
/// PSHUFB: three bits of index.
pub struct Shuffle;
/// PALIGNR: the first operand above the second, shifted.
pub struct Align;

impl Shape for Elementwise {
    #[inline(always)]
    fn apply<E: Emitter, O: LaneOperation>(e: &mut E, a: E::Value, b: E::Value, imm: u8) -> E::Value {
        let (a, b) = (extend(e, a), extend(e, b));
        let r = e.lane_op::<O>(a, b, imm);
        e.lane_low(r)
    }
}
impl Shape for Joined {
    #[inline(always)]
    fn apply<E: Emitter, O: LaneOperation>(e: &mut E, a: E::Value, b: E::Value, imm: u8) -> E::Value {
        let both = e.lane_from(a, b);
        let r = e.lane_op::<O>(both, both, imm);
        e.lane_low(r)
    }
}
impl Shape for UnpackHigh {
    #[inline(always)]
    fn apply<E: Emitter, O: LaneOperation>(e: &mut E, a: E::Value, b: E::Value, imm: u8) -> E::Value {
        let (a, b) = (extend(e, a), extend(e, b));
        let r = e.lane_op::<O>(a, b, imm);
        e.lane_high(r)
    }
}
impl Shape for Shuffle {
    #[inline(always)]
    fn apply<E: Emitter, O: LaneOperation>(e: &mut E, a: E::Value, b: E::Value, imm: u8) -> E::Value {
        let mask = e.constant(0x8787_8787_8787_8787);
        let b = e.and(b, mask);
        Elementwise::apply::<E, O>(e, a, b, imm)
    }
}
impl Shape for Align {
    #[inline(always)]
    fn apply<E: Emitter, O: LaneOperation>(e: &mut E, a: E::Value, b: E::Value, imm: u8) -> E::Value {
        let both = e.lane_from(b, a);
        let r = e.lane_op::<Psrldq>(both, both, imm);
        e.lane_low(r)
    }
}

/// Operation `O` on two MMX operands; also on one, which is the second.
pub struct Mmx<O, S = Elementwise>(PhantomData<(O, S)>);

impl<O: LaneOperation, S: Shape> Meaning for Mmx<O, S> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        e.check_x87()?;
        let b = read_mmx::<E, F>(e, i, 1)?;
        let a = e.mmx(i.reg[0]);
        let r = S::apply::<E, O>(e, a, b, i.imm as u8);
        e.enter_mmx();
        e.set_mmx(i.reg[0], r);
        Ok(())
    }
}

/// A shift by the immediate.
pub struct MmxByImmediate<O>(PhantomData<O>);

impl<O: LaneOperation> Meaning for MmxByImmediate<O> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        e.check_x87()?;
        let (a, count) = (e.mmx(i.reg[0]), e.constant(i.imm));
        let r = Elementwise::apply::<E, O>(e, a, count, i.imm as u8);
        e.enter_mmx();
        e.set_mmx(i.reg[0], r);
        Ok(())
    }
}
