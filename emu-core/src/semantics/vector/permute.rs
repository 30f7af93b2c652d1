//! Elements to every place, and across lanes. SDM vol. 1, 14.2, 14.6; vol. 2, VPBROADCAST, VPERMD and its kin.

use super::{
    AVX, Meaning, Rows,
    operand::{Encoding, Vex, VexUnary, read_lanes, read_low, registers, write_lane, write_lanes},
    packed::width,
};
use crate::{
    decode::Insn,
    lane::*,
    semantics::{Emitter, Form, Step},
};
use iced_x86::Code::{self, *};
use std::marker::PhantomData;

/// The low 2^`W` bytes in every element: `O` spreads them in a lane.
struct Broadcast<O, const W: u8>(PhantomData<O>);
/// VPERMD and VPERMPS.
struct ByIndices;
/// VPERMQ and VPERMPD.
struct ByFields;

impl<O: LaneOperation, const W: u8> Meaning for Broadcast<O, W> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let low = read_low::<E, F>(e, i, 1, width(W))?;
        let r = e.lane_op::<O>(low, low, 0);
        if VexUnary::both_lanes(i) {
            write_lanes::<E, VexUnary, 2>(e, i, [r, r]);
        } else {
            write_lane::<E, VexUnary>(e, i, r);
        }
        Ok(())
    }
}
impl Meaning for ByIndices {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let [low, high] = read_lanes::<E, F, 2>(e, i, 2)?;
        let [first, second] = registers::<E, 2>(e, i, 1);
        let first = e.lane_op3::<Vpermd>(low, high, first, 0);
        let second = e.lane_op3::<Vpermd>(low, high, second, 0);
        let r = [first, second];
        write_lanes::<E, Vex, 2>(e, i, r);
        Ok(())
    }
}
impl Meaning for ByFields {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let [low, high] = read_lanes::<E, F, 2>(e, i, 1)?;
        let fields = i.imm as u8;
        let r = [fields & 15, fields >> 4].map(|fields| e.lane_op::<Vpermq>(low, high, fields));
        write_lanes::<E, VexUnary, 2>(e, i, r);
        Ok(())
    }
}

/// A broadcast of elements of 2^`W` bytes.
fn broadcast<O: LaneOperation, const W: u8>(rows: &mut impl Rows, forms: &[Code]) {
    for &code in forms {
        rows.add::<Broadcast<O, W>>(code, AVX);
    }
}

/// Rows of this family.
pub fn list<R: Rows>(rows: &mut R) {
    broadcast::<Vpbroadcastb, 0>(rows, &[VEX_Vpbroadcastb_xmm_xmmm8, VEX_Vpbroadcastb_ymm_xmmm8]);
    broadcast::<Vpbroadcastw, 1>(rows, &[VEX_Vpbroadcastw_xmm_xmmm16, VEX_Vpbroadcastw_ymm_xmmm16]);
    broadcast::<Pshufd, 2>(
        rows,
        &[
            VEX_Vpbroadcastd_xmm_xmmm32,
            VEX_Vpbroadcastd_ymm_xmmm32,
            VEX_Vbroadcastss_xmm_m32,
            VEX_Vbroadcastss_ymm_m32,
            VEX_Vbroadcastss_xmm_xmm,
            VEX_Vbroadcastss_ymm_xmm,
        ],
    );
    broadcast::<Punpcklqdq, 3>(
        rows,
        &[
            VEX_Vpbroadcastq_xmm_xmmm64,
            VEX_Vpbroadcastq_ymm_xmmm64,
            VEX_Vbroadcastsd_ymm_m64,
            VEX_Vbroadcastsd_ymm_xmm,
        ],
    );
    for code in [VEX_Vpermd_ymm_ymm_ymmm256, VEX_Vpermps_ymm_ymm_ymmm256] {
        rows.add::<ByIndices>(code, AVX);
    }
    for code in [VEX_Vpermq_ymm_ymmm256_imm8, VEX_Vpermpd_ymm_ymmm256_imm8] {
        rows.add::<ByFields>(code, AVX);
    }
}
