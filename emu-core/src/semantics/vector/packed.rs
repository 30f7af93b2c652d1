//! Drivers of operations on whole lanes.
//!
//! Each loads what it needs, computes all lanes, and then writes: the last lane may still fault.

use super::{
    Meaning,
    operand::{
        Encoding, Legacy, Vex, extend, read_lane, read_lanes, read_low, registers, write_lane, write_lanes,
    },
};
use crate::{
    arch::Width,
    decode::Insn,
    lane::{FpOperation, LaneOperation, LaneOperation3},
    semantics::{Emitter, Form, Step},
};
use std::marker::PhantomData;

/// Operation `O` on two vectors; also on one, which is the second. Each lane has its own `BITS` bits of the
/// immediate, or (0) all have the same.
pub struct Packed<O, V = Legacy, const BITS: u8 = 0>(PhantomData<(O, V)>);

impl<O: LaneOperation, V: Encoding, const BITS: u8> Meaning for Packed<O, V, BITS> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        if V::both_lanes(i) {
            packed::<E, F, O, V, 2>(e, i, BITS)
        } else {
            packed::<E, F, O, V, 1>(e, i, BITS)
        }
    }
}

#[inline(always)]
fn packed<E: Emitter, F: Form, O: LaneOperation, V: Encoding, const N: usize>(
    e: &mut E,
    i: &Insn,
    bits: u8,
) -> Step<E> {
    let b = read_lanes::<E, F, N>(e, i, V::FIRST + 1)?;
    let a = registers::<E, N>(e, i, V::FIRST);
    // Loops, here and below: the closure of an array's function is not always inlined, and then no handler ends
    // in a jump.
    let mut r = a;
    for lane in 0..N {
        r[lane] = e.lane_op::<O>(a[lane], b[lane], (i.imm as u8) >> (bits * lane as u8));
    }
    write_lanes::<E, V, N>(e, i, r);
    Ok(())
}

/// The third operand is XMM0.
pub struct WithXmm0<O>(PhantomData<O>);

impl<O: LaneOperation3> Meaning for WithXmm0<O> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let b = read_lane::<E, F>(e, i, 1)?;
        let (a, c) = (e.vector(i.reg[0], 0), e.vector(0, 0));
        let r = e.lane_op3::<O>(a, b, c, 0);
        e.set_vector(i.reg[0], 0, r);
        Ok(())
    }
}

/// The third operand is the fourth that the VEX form names.
pub struct WithFourth<O>(PhantomData<O>);

impl<O: LaneOperation3> Meaning for WithFourth<O> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        if Vex::both_lanes(i) { with_fourth::<E, F, O, 2>(e, i) } else { with_fourth::<E, F, O, 1>(e, i) }
    }
}

#[inline(always)]
fn with_fourth<E: Emitter, F: Form, O: LaneOperation3, const N: usize>(e: &mut E, i: &Insn) -> Step<E> {
    let b = read_lanes::<E, F, N>(e, i, 2)?;
    let (a, c) = (registers::<E, N>(e, i, 1), registers::<E, N>(e, i, 3));
    let mut r = a;
    for lane in 0..N {
        r[lane] = e.lane_op3::<O>(a[lane], b[lane], c[lane], 0);
    }
    write_lanes::<E, Vex, N>(e, i, r);
    Ok(())
}

/// Operation `O` on a vector and the immediate, which counts bits.
pub struct ByImmediate<O, V = Legacy>(PhantomData<(O, V)>);

impl<O: LaneOperation, V: Encoding> Meaning for ByImmediate<O, V> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let count = e.constant(i.imm);
        let count = extend(e, count);
        if V::both_lanes(i) {
            let a = registers::<E, 2>(e, i, V::FIRST);
            let r = a.map(|a| e.lane_op::<O>(a, count, i.imm as u8));
            write_lanes::<E, V, 2>(e, i, r);
        } else {
            let a = e.vector(i.reg[V::FIRST], 0);
            let r = e.lane_op::<O>(a, count, i.imm as u8);
            write_lane::<E, V>(e, i, r);
        }
        Ok(())
    }
}

/// Operation `O` on the low 2^`W` bytes of the second operand.
pub struct FromLow<O, const W: u8, V = Legacy>(PhantomData<(O, V)>);

/// The width with number `w`.
pub const fn width(w: u8) -> Width {
    match w {
        0 => Width::W8,
        1 => Width::W16,
        2 => Width::W32,
        _ => Width::W64,
    }
}

impl<O: LaneOperation, const W: u8, V: Encoding> Meaning for FromLow<O, W, V> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let b = read_low::<E, F>(e, i, V::FIRST + 1, width(W))?;
        let a = e.vector(i.reg[V::FIRST], 0);
        let r = e.lane_op::<O>(a, b, i.imm as u8);
        write_lane::<E, V>(e, i, r);
        Ok(())
    }
}

/// Floating-point operation `O` on two vectors; also on one, which is the second.
pub struct PackedFp<O, V = Legacy>(PhantomData<(O, V)>);

impl<O: FpOperation, V: Encoding> Meaning for PackedFp<O, V> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        if V::both_lanes(i) { packed_fp::<E, F, O, V, 2>(e, i) } else { packed_fp::<E, F, O, V, 1>(e, i) }
    }
}

#[inline(always)]
fn packed_fp<E: Emitter, F: Form, O: FpOperation, V: Encoding, const N: usize>(
    e: &mut E,
    i: &Insn,
) -> Step<E> {
    let b = read_lanes::<E, F, N>(e, i, V::FIRST + 1)?;
    let a = registers::<E, N>(e, i, V::FIRST);
    let r = e.fp_lanes::<O, N>(a, b, i.imm as u8)?;
    write_lanes::<E, V, N>(e, i, r);
    Ok(())
}

/// Floating-point operation `O` on the low 2^`W` bytes of the second operand; the rest of the destination's
/// lane is up to the operation.
pub struct ScalarFp<O, const W: u8, V = Legacy>(PhantomData<(O, V)>);

impl<O: FpOperation, const W: u8, V: Encoding> Meaning for ScalarFp<O, W, V> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let b = read_low::<E, F>(e, i, V::FIRST + 1, width(W))?;
        let a = e.vector(i.reg[V::FIRST], 0);
        let r = e.fp_op::<O>(a, b, i.imm as u8)?;
        write_lane::<E, V>(e, i, r);
        Ok(())
    }
}
