//! Rows of one operation in every encoding that it has, so that none drifts from the others.

use super::{
    ALIGNED, AVX, MMX, Rows,
    mmx::{Joined, Mmx},
    operand::{Vex, VexUnary},
    packed::Packed,
};
use crate::lane::LaneOperation;
use iced_x86::Code;

/// An operation on two vectors: legacy SSE, VEX.128, VEX.256.
pub fn binary<O: LaneOperation>(rows: &mut impl Rows, [sse, xmm, ymm]: [Code; 3]) {
    rows.add::<Packed<O>>(sse, ALIGNED);
    vex::<O>(rows, [xmm, ymm]);
}

/// The same on one vector.
pub fn unary<O: LaneOperation>(rows: &mut impl Rows, [sse, xmm, ymm]: [Code; 3]) {
    rows.add::<Packed<O>>(sse, ALIGNED);
    rows.add::<Packed<O, VexUnary>>(xmm, AVX);
    rows.add::<Packed<O, VexUnary>>(ymm, AVX);
}

/// An operation on two vectors that legacy SSE has not.
pub fn vex<O: LaneOperation>(rows: &mut impl Rows, forms: [Code; 2]) {
    for code in forms {
        rows.add::<Packed<O, Vex>>(code, AVX);
    }
}

/// An operation on a vector of one lane: legacy SSE, VEX.128.
pub fn narrow_unary<O: LaneOperation>(rows: &mut impl Rows, [sse, xmm]: [Code; 2]) {
    rows.add::<Packed<O>>(sse, ALIGNED);
    rows.add_rare::<Packed<O, VexUnary>>(xmm, AVX);
}

/// An operation on two vectors that MMX has as well.
pub fn all<O: LaneOperation>(rows: &mut impl Rows, mmx: Code, vectors: [Code; 3]) {
    rows.add::<Mmx<O>>(mmx, MMX);
    binary::<O>(rows, vectors);
}

/// The same on one vector.
pub fn all_unary<O: LaneOperation>(rows: &mut impl Rows, mmx: Code, vectors: [Code; 3]) {
    rows.add::<Mmx<O>>(mmx, MMX);
    unary::<O>(rows, vectors);
}

/// An operation that MMX has as well, and whose results of the two vectors follow each other.
pub fn all_joined<O: LaneOperation>(rows: &mut impl Rows, mmx: Code, vectors: [Code; 3]) {
    rows.add::<Mmx<O, Joined>>(mmx, MMX);
    binary::<O>(rows, vectors);
}
