//! Drivers of operations on whole lanes.

use super::{
    Meaning,
    operand::{Encoding, Legacy, extend, read_lanes, read_low},
};
use crate::{
    arch::Width,
    decode::Insn,
    lane::{FpOperation, LaneOperation, LaneOperation3},
    semantics::{Emitter, Form, Step},
};
use std::marker::PhantomData;

/// Operation `O` on two vectors; also on one, which is the second.
pub struct Packed<O, V = Legacy>(PhantomData<(O, V)>);

impl<O: LaneOperation, V: Encoding> Meaning for Packed<O, V> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let second = read_lanes::<E, F, V>(e, i, V::FIRST + 1)?;
        for (lane, b) in second.into_iter().enumerate().take(V::lanes(i)) {
            let a = e.vector(i.reg[V::FIRST], lane);
            let r = e.lane_op::<O>(a, b, i.imm as u8);
            e.set_vector(i.reg[0], lane, r);
        }
        Ok(())
    }
}

/// The third operand is XMM0.
pub struct WithXmm0<O>(PhantomData<O>);

impl<O: LaneOperation3> Meaning for WithXmm0<O> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let [b, _] = read_lanes::<E, F, Legacy>(e, i, 1)?;
        let (a, c) = (e.vector(i.reg[0], 0), e.vector(0, 0));
        let r = e.lane_op3::<O>(a, b, c, 0);
        e.set_vector(i.reg[0], 0, r);
        Ok(())
    }
}

/// Operation `O` on a vector and the immediate, which counts bits.
pub struct ByImmediate<O>(PhantomData<O>);

impl<O: LaneOperation> Meaning for ByImmediate<O> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let a = e.vector(i.reg[0], 0);
        let count = e.constant(i.imm);
        let count = extend(e, count);
        let r = e.lane_op::<O>(a, count, i.imm as u8);
        e.set_vector(i.reg[0], 0, r);
        Ok(())
    }
}

/// Operation `O` on the low 2^`W` bytes of the second operand.
pub struct FromLow<O, const W: u8>(PhantomData<O>);

/// The width with number `w`.
pub const fn width(w: u8) -> Width {
    match w {
        0 => Width::W8,
        1 => Width::W16,
        2 => Width::W32,
        _ => Width::W64,
    }
}

impl<O: LaneOperation, const W: u8> Meaning for FromLow<O, W> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let b = read_low::<E, F>(e, i, 1, width(W))?;
        let a = e.vector(i.reg[0], 0);
        let r = e.lane_op::<O>(a, b, i.imm as u8);
        e.set_vector(i.reg[0], 0, r);
        Ok(())
    }
}

/// Floating-point operation `O` on two vectors; also on one, which is the second.
pub struct PackedFp<O, V = Legacy>(PhantomData<(O, V)>);

impl<O: FpOperation, V: Encoding> Meaning for PackedFp<O, V> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let second = read_lanes::<E, F, V>(e, i, V::FIRST + 1)?;
        let mut results = second;
        for (lane, result) in results.iter_mut().enumerate().take(V::lanes(i)) {
            let a = e.vector(i.reg[V::FIRST], lane);
            *result = e.fp_op::<O>(a, second[lane], i.imm as u8)?;
        }
        for (lane, result) in results.into_iter().enumerate().take(V::lanes(i)) {
            e.set_vector(i.reg[0], lane, result);
        }
        Ok(())
    }
}

/// Floating-point operation `O` on the low 2^`W` bytes of the second operand; the rest of the destination is
/// up to the operation.
pub struct ScalarFp<O, const W: u8>(PhantomData<O>);

impl<O: FpOperation, const W: u8> Meaning for ScalarFp<O, W> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let b = read_low::<E, F>(e, i, 1, width(W))?;
        let a = e.vector(i.reg[0], 0);
        let r = e.fp_op::<O>(a, b, i.imm as u8)?;
        e.set_vector(i.reg[0], 0, r);
        Ok(())
    }
}
