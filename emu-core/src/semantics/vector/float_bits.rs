//! What is done to floating-point vectors without computing: logic, tests of signs, shuffles, blends. No MXCSR.
//! SDM vol. 1, 10.4.2, 11.4.1.3, 11.4.1.4, 12.3.3, 12.6.5, 14.1; vol. 2, VPERMILPS, VTESTPS.

use super::{
    ALIGNED, AVX, Meaning, Rows,
    forms::{binary, unary},
    operand::{Encoding, Vex, VexUnary, read_lane, read_lanes, registers, set_low_flags},
    packed::{Packed, WithFourth, WithXmm0},
};
use crate::{
    decode::Insn,
    lane::{
        Blendpd, Blendps, Blendvpd, Blendvps, LaneOperation, LaneOperation3, Movshdup, Movsldup, Pand, Pandn,
        Por, Pshufd, Punpckhdq, Punpckhqdq, Punpckldq, Punpcklqdq, Pxor, Shufpd, Shufps, Testpd, Testps,
        Vpermilpd, Vpermilpdvar, Vpermilpsvar,
    },
    semantics::{Emitter, Form, Step},
};
use iced_x86::Code::{self, *};
use std::marker::PhantomData;

/// ZF and CF of operation `O`: each is set if it is set for all lanes. The other flags become zero.
pub struct Test<O, V>(PhantomData<(O, V)>);

impl<O: LaneOperation, V: Encoding> Meaning for Test<O, V> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let flags = if V::both_lanes(i) {
            let b = read_lanes::<E, F, 2>(e, i, 1)?;
            let a = registers::<E, 2>(e, i, 0);
            let (low, high) = (e.lane_op::<O>(a[0], b[0], 0), e.lane_op::<O>(a[1], b[1], 0));
            e.lane_op::<Pand>(low, high, 0)
        } else {
            let b = read_lane::<E, F>(e, i, 1)?;
            let a = e.vector(i.reg[0], 0);
            e.lane_op::<O>(a, b, 0)
        };
        let flags = e.lane_low(flags);
        set_low_flags(e, flags);
        Ok(())
    }
}

/// An operation on two sources in all its encodings, with `BITS` bits of the immediate for each lane.
fn by_lane<O: LaneOperation, const BITS: u8>(rows: &mut impl Rows, [legacy, xmm, ymm]: [Code; 3]) {
    rows.add::<Packed<O>>(legacy, ALIGNED);
    rows.add::<Packed<O, Vex, BITS>>(xmm, AVX);
    rows.add::<Packed<O, Vex, BITS>>(ymm, AVX);
}

/// A blend by the signs of a vector: XMM0 or the fourth operand.
fn blend<O: LaneOperation3>(rows: &mut impl Rows, [legacy, xmm, ymm]: [Code; 3]) {
    rows.add::<WithXmm0<O>>(legacy, ALIGNED);
    rows.add::<WithFourth<O>>(xmm, AVX);
    rows.add::<WithFourth<O>>(ymm, AVX);
}

/// Rows of this family.
pub fn list<R: Rows>(rows: &mut R) {
    logic(rows);
    shuffles(rows);
    blends(rows);
    permutations(rows);
    for code in [VEX_Vtestps_xmm_xmmm128, VEX_Vtestps_ymm_ymmm256] {
        rows.add::<Test<Testps, VexUnary>>(code, AVX);
    }
    for code in [VEX_Vtestpd_xmm_xmmm128, VEX_Vtestpd_ymm_ymmm256] {
        rows.add::<Test<Testpd, VexUnary>>(code, AVX);
    }
}

fn logic<R: Rows>(rows: &mut R) {
    binary::<Pand>(rows, [Andps_xmm_xmmm128, VEX_Vandps_xmm_xmm_xmmm128, VEX_Vandps_ymm_ymm_ymmm256]);
    binary::<Pand>(rows, [Andpd_xmm_xmmm128, VEX_Vandpd_xmm_xmm_xmmm128, VEX_Vandpd_ymm_ymm_ymmm256]);
    binary::<Pandn>(rows, [Andnps_xmm_xmmm128, VEX_Vandnps_xmm_xmm_xmmm128, VEX_Vandnps_ymm_ymm_ymmm256]);
    binary::<Pandn>(rows, [Andnpd_xmm_xmmm128, VEX_Vandnpd_xmm_xmm_xmmm128, VEX_Vandnpd_ymm_ymm_ymmm256]);
    binary::<Por>(rows, [Orps_xmm_xmmm128, VEX_Vorps_xmm_xmm_xmmm128, VEX_Vorps_ymm_ymm_ymmm256]);
    binary::<Por>(rows, [Orpd_xmm_xmmm128, VEX_Vorpd_xmm_xmm_xmmm128, VEX_Vorpd_ymm_ymm_ymmm256]);
    binary::<Pxor>(rows, [Xorps_xmm_xmmm128, VEX_Vxorps_xmm_xmm_xmmm128, VEX_Vxorps_ymm_ymm_ymmm256]);
    binary::<Pxor>(rows, [Xorpd_xmm_xmmm128, VEX_Vxorpd_xmm_xmm_xmmm128, VEX_Vxorpd_ymm_ymm_ymmm256]);
}

fn shuffles<R: Rows>(rows: &mut R) {
    binary::<Punpckldq>(
        rows,
        [Unpcklps_xmm_xmmm128, VEX_Vunpcklps_xmm_xmm_xmmm128, VEX_Vunpcklps_ymm_ymm_ymmm256],
    );
    binary::<Punpckhdq>(
        rows,
        [Unpckhps_xmm_xmmm128, VEX_Vunpckhps_xmm_xmm_xmmm128, VEX_Vunpckhps_ymm_ymm_ymmm256],
    );
    binary::<Punpcklqdq>(
        rows,
        [Unpcklpd_xmm_xmmm128, VEX_Vunpcklpd_xmm_xmm_xmmm128, VEX_Vunpcklpd_ymm_ymm_ymmm256],
    );
    binary::<Punpckhqdq>(
        rows,
        [Unpckhpd_xmm_xmmm128, VEX_Vunpckhpd_xmm_xmm_xmmm128, VEX_Vunpckhpd_ymm_ymm_ymmm256],
    );
    binary::<Shufps>(
        rows,
        [Shufps_xmm_xmmm128_imm8, VEX_Vshufps_xmm_xmm_xmmm128_imm8, VEX_Vshufps_ymm_ymm_ymmm256_imm8],
    );
    by_lane::<Shufpd, 2>(
        rows,
        [Shufpd_xmm_xmmm128_imm8, VEX_Vshufpd_xmm_xmm_xmmm128_imm8, VEX_Vshufpd_ymm_ymm_ymmm256_imm8],
    );
    unary::<Movshdup>(rows, [Movshdup_xmm_xmmm128, VEX_Vmovshdup_xmm_xmmm128, VEX_Vmovshdup_ymm_ymmm256]);
    unary::<Movsldup>(rows, [Movsldup_xmm_xmmm128, VEX_Vmovsldup_xmm_xmmm128, VEX_Vmovsldup_ymm_ymmm256]);
}

fn blends<R: Rows>(rows: &mut R) {
    by_lane::<Blendps, 4>(
        rows,
        [Blendps_xmm_xmmm128_imm8, VEX_Vblendps_xmm_xmm_xmmm128_imm8, VEX_Vblendps_ymm_ymm_ymmm256_imm8],
    );
    by_lane::<Blendpd, 2>(
        rows,
        [Blendpd_xmm_xmmm128_imm8, VEX_Vblendpd_xmm_xmm_xmmm128_imm8, VEX_Vblendpd_ymm_ymm_ymmm256_imm8],
    );
    blend::<Blendvps>(
        rows,
        [Blendvps_xmm_xmmm128, VEX_Vblendvps_xmm_xmm_xmmm128_xmm, VEX_Vblendvps_ymm_ymm_ymmm256_ymm],
    );
    blend::<Blendvpd>(
        rows,
        [Blendvpd_xmm_xmmm128, VEX_Vblendvpd_xmm_xmm_xmmm128_xmm, VEX_Vblendvpd_ymm_ymm_ymmm256_ymm],
    );
}

/// VPERMILPS and VPERMILPD, within lanes: by the immediate and by a vector.
fn permutations<R: Rows>(rows: &mut R) {
    for code in [VEX_Vpermilps_xmm_xmmm128_imm8, VEX_Vpermilps_ymm_ymmm256_imm8] {
        rows.add::<Packed<Pshufd, VexUnary>>(code, AVX);
    }
    for code in [VEX_Vpermilpd_xmm_xmmm128_imm8, VEX_Vpermilpd_ymm_ymmm256_imm8] {
        rows.add::<Packed<Vpermilpd, VexUnary, 2>>(code, AVX);
    }
    for code in [VEX_Vpermilps_xmm_xmm_xmmm128, VEX_Vpermilps_ymm_ymm_ymmm256] {
        rows.add::<Packed<Vpermilpsvar, Vex>>(code, AVX);
    }
    for code in [VEX_Vpermilpd_xmm_xmm_xmmm128, VEX_Vpermilpd_ymm_ymm_ymmm256] {
        rows.add::<Packed<Vpermilpdvar, Vex>>(code, AVX);
    }
}
