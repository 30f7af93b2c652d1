//! Shifts. SDM vol. 1, 9.4.5, 11.4.2, 14.7.2.

use super::{
    ALIGNED, AVX, MMX, Meaning, Rows, SSE,
    forms::vex,
    mmx::{Mmx, MmxByImmediate},
    operand::{Encoding, Vex, read_lane, registers, write_lane, write_lanes},
    packed::{ByImmediate, Packed},
};
use crate::{
    decode::Insn,
    lane::*,
    semantics::{Emitter, Form, Step},
};
use iced_x86::Code::{self, *};
use std::marker::PhantomData;

/// VEX form whose count, for all lanes, is in the low lane of the second source.
struct ByCount<O>(PhantomData<O>);

impl<O: LaneOperation> Meaning for ByCount<O> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let count = read_lane::<E, F>(e, i, 2)?;
        if Vex::both_lanes(i) {
            let r = registers::<E, 2>(e, i, 1).map(|a| e.lane_op::<O>(a, count, 0));
            write_lanes::<E, Vex, 2>(e, i, r);
        } else {
            let a = e.vector(i.reg[1], 0);
            let r = e.lane_op::<O>(a, count, 0);
            write_lane::<E, Vex>(e, i, r);
        }
        Ok(())
    }
}

/// A shift by a count in a register or memory: MMX, legacy SSE, VEX.128, VEX.256.
fn shift<O: LaneOperation>(rows: &mut impl Rows, [mmx, sse, xmm, ymm]: [Code; 4]) {
    rows.add::<Mmx<O>>(mmx, MMX);
    rows.add::<Packed<O>>(sse, ALIGNED);
    rows.add::<ByCount<O>>(xmm, AVX);
    rows.add::<ByCount<O>>(ymm, AVX);
}

/// A shift by the immediate that MMX has as well.
fn all_by_immediate<O: LaneOperation>(rows: &mut impl Rows, mmx: Code, vectors: [Code; 3]) {
    rows.add::<MmxByImmediate<O>>(mmx, MMX);
    by_immediate::<O>(rows, vectors);
}

/// A shift by the immediate: legacy SSE, VEX.128, VEX.256.
fn by_immediate<O: LaneOperation>(rows: &mut impl Rows, [sse, xmm, ymm]: [Code; 3]) {
    rows.add::<ByImmediate<O>>(sse, SSE);
    rows.add::<ByImmediate<O, Vex>>(xmm, AVX);
    rows.add::<ByImmediate<O, Vex>>(ymm, AVX);
}

/// Rows of this family.
#[rustfmt::skip]
pub fn list<R: Rows>(rows: &mut R) {
    shift::<Psllw>(rows, [Psllw_mm_mmm64, Psllw_xmm_xmmm128, VEX_Vpsllw_xmm_xmm_xmmm128, VEX_Vpsllw_ymm_ymm_xmmm128]);
    shift::<Pslld>(rows, [Pslld_mm_mmm64, Pslld_xmm_xmmm128, VEX_Vpslld_xmm_xmm_xmmm128, VEX_Vpslld_ymm_ymm_xmmm128]);
    shift::<Psllq>(rows, [Psllq_mm_mmm64, Psllq_xmm_xmmm128, VEX_Vpsllq_xmm_xmm_xmmm128, VEX_Vpsllq_ymm_ymm_xmmm128]);
    shift::<Psrlw>(rows, [Psrlw_mm_mmm64, Psrlw_xmm_xmmm128, VEX_Vpsrlw_xmm_xmm_xmmm128, VEX_Vpsrlw_ymm_ymm_xmmm128]);
    shift::<Psrld>(rows, [Psrld_mm_mmm64, Psrld_xmm_xmmm128, VEX_Vpsrld_xmm_xmm_xmmm128, VEX_Vpsrld_ymm_ymm_xmmm128]);
    shift::<Psrlq>(rows, [Psrlq_mm_mmm64, Psrlq_xmm_xmmm128, VEX_Vpsrlq_xmm_xmm_xmmm128, VEX_Vpsrlq_ymm_ymm_xmmm128]);
    shift::<Psraw>(rows, [Psraw_mm_mmm64, Psraw_xmm_xmmm128, VEX_Vpsraw_xmm_xmm_xmmm128, VEX_Vpsraw_ymm_ymm_xmmm128]);
    shift::<Psrad>(rows, [Psrad_mm_mmm64, Psrad_xmm_xmmm128, VEX_Vpsrad_xmm_xmm_xmmm128, VEX_Vpsrad_ymm_ymm_xmmm128]);
    all_by_immediate::<Psllw>(rows, Psllw_mm_imm8, [Psllw_xmm_imm8, VEX_Vpsllw_xmm_xmm_imm8, VEX_Vpsllw_ymm_ymm_imm8]);
    all_by_immediate::<Pslld>(rows, Pslld_mm_imm8, [Pslld_xmm_imm8, VEX_Vpslld_xmm_xmm_imm8, VEX_Vpslld_ymm_ymm_imm8]);
    all_by_immediate::<Psllq>(rows, Psllq_mm_imm8, [Psllq_xmm_imm8, VEX_Vpsllq_xmm_xmm_imm8, VEX_Vpsllq_ymm_ymm_imm8]);
    all_by_immediate::<Psrlw>(rows, Psrlw_mm_imm8, [Psrlw_xmm_imm8, VEX_Vpsrlw_xmm_xmm_imm8, VEX_Vpsrlw_ymm_ymm_imm8]);
    all_by_immediate::<Psrld>(rows, Psrld_mm_imm8, [Psrld_xmm_imm8, VEX_Vpsrld_xmm_xmm_imm8, VEX_Vpsrld_ymm_ymm_imm8]);
    all_by_immediate::<Psrlq>(rows, Psrlq_mm_imm8, [Psrlq_xmm_imm8, VEX_Vpsrlq_xmm_xmm_imm8, VEX_Vpsrlq_ymm_ymm_imm8]);
    all_by_immediate::<Psraw>(rows, Psraw_mm_imm8, [Psraw_xmm_imm8, VEX_Vpsraw_xmm_xmm_imm8, VEX_Vpsraw_ymm_ymm_imm8]);
    all_by_immediate::<Psrad>(rows, Psrad_mm_imm8, [Psrad_xmm_imm8, VEX_Vpsrad_xmm_xmm_imm8, VEX_Vpsrad_ymm_ymm_imm8]);
    by_immediate::<Pslldq>(rows, [Pslldq_xmm_imm8, VEX_Vpslldq_xmm_xmm_imm8, VEX_Vpslldq_ymm_ymm_imm8]);
    by_immediate::<Psrldq>(rows, [Psrldq_xmm_imm8, VEX_Vpsrldq_xmm_xmm_imm8, VEX_Vpsrldq_ymm_ymm_imm8]);
    vex::<Vpsllvd>(rows, [VEX_Vpsllvd_xmm_xmm_xmmm128, VEX_Vpsllvd_ymm_ymm_ymmm256]);
    vex::<Vpsllvq>(rows, [VEX_Vpsllvq_xmm_xmm_xmmm128, VEX_Vpsllvq_ymm_ymm_ymmm256]);
    vex::<Vpsrlvd>(rows, [VEX_Vpsrlvd_xmm_xmm_xmmm128, VEX_Vpsrlvd_ymm_ymm_ymmm256]);
    vex::<Vpsrlvq>(rows, [VEX_Vpsrlvq_xmm_xmm_xmmm128, VEX_Vpsrlvq_ymm_ymm_ymmm256]);
    vex::<Vpsravd>(rows, [VEX_Vpsravd_xmm_xmm_xmmm128, VEX_Vpsravd_ymm_ymm_ymmm256]);
}
