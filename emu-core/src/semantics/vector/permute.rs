//! Broadcasts, and moves of elements and lanes across lanes. SDM vol. 1, 14.6; vol. 2, VPERMD and its kin.

use super::{
    AVX, Meaning, Rows,
    operand::{Encoding, Vex, VexUnary, read_lane, read_lanes, read_low, registers, write_lane, write_lanes},
    packed::width,
};
use crate::{
    decode::{Insn, Kind},
    lane::*,
    semantics::{Emitter, Form, Step},
};
use iced_x86::Code::{self, *};
use std::marker::PhantomData;

/// The low element, of 2^`W` bytes, everywhere: `O` spreads it in a lane.
struct Broadcast<O, const W: u8>(PhantomData<O>);
/// A lane from memory to both.
struct BroadcastLane;
/// VPERMD and VPERMPS.
struct ByIndices;
/// VPERMQ and VPERMPD.
struct ByFields;
/// VPERM2I128 and VPERM2F128: each lane is one of four or zero.
struct ChooseLanes;
/// VINSERTI128 and VINSERTF128.
struct InsertLane;
/// VEXTRACTI128 and VEXTRACTF128.
struct ExtractLane;

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
impl Meaning for BroadcastLane {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let [lane] = e.load_lanes::<1>(i, F::ADDRESS)?;
        write_lanes::<E, VexUnary, 2>(e, i, [lane, lane]);
        Ok(())
    }
}
impl Meaning for ByIndices {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let [low, high] = read_lanes::<E, F, 2>(e, i, 2)?;
        let r = registers::<E, 2>(e, i, 1).map(|indices| e.lane_op3::<Vpermd>(low, high, indices, 0));
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
impl Meaning for ChooseLanes {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let [c, d] = read_lanes::<E, F, 2>(e, i, 2)?;
        let [a, b] = registers::<E, 2>(e, i, 1);
        let choice = i.imm as u8;
        let r = [choice & 15, choice >> 4].map(|choice| {
            let lane = [a, b, c, d][usize::from(choice & 3)];
            if choice & 8 != 0 { e.lane_op::<Pxor>(lane, lane, 0) } else { lane }
        });
        write_lanes::<E, Vex, 2>(e, i, r);
        Ok(())
    }
}
impl Meaning for InsertLane {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let lane = read_lane::<E, F>(e, i, 2)?;
        let mut r = registers::<E, 2>(e, i, 1);
        r[(i.imm & 1) as usize] = lane;
        write_lanes::<E, Vex, 2>(e, i, r);
        Ok(())
    }
}
impl Meaning for ExtractLane {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let lane = e.vector(i.reg[1], (i.imm & 1) as usize);
        if F::kind(i, 0) == Kind::Mem {
            return e.store_lanes(i, F::ADDRESS, [lane]);
        }
        write_lane::<E, VexUnary>(e, i, lane);
        Ok(())
    }
}

/// A broadcast of elements of 2^`W` bytes: VEX.128, VEX.256.
fn broadcast<O: LaneOperation, const W: u8>(rows: &mut impl Rows, forms: [Code; 2]) {
    for code in forms {
        rows.add::<Broadcast<O, W>>(code, AVX);
    }
}

/// Rows of this family.
pub fn list<R: Rows>(rows: &mut R) {
    broadcast::<Vpbroadcastb, 0>(rows, [VEX_Vpbroadcastb_xmm_xmmm8, VEX_Vpbroadcastb_ymm_xmmm8]);
    broadcast::<Vpbroadcastw, 1>(rows, [VEX_Vpbroadcastw_xmm_xmmm16, VEX_Vpbroadcastw_ymm_xmmm16]);
    broadcast::<Vpbroadcastd, 2>(rows, [VEX_Vpbroadcastd_xmm_xmmm32, VEX_Vpbroadcastd_ymm_xmmm32]);
    broadcast::<Vpbroadcastq, 3>(rows, [VEX_Vpbroadcastq_xmm_xmmm64, VEX_Vpbroadcastq_ymm_xmmm64]);
    rows.add::<BroadcastLane>(VEX_Vbroadcasti128_ymm_m128, AVX);
    for code in [VEX_Vpermd_ymm_ymm_ymmm256, VEX_Vpermps_ymm_ymm_ymmm256] {
        rows.add::<ByIndices>(code, AVX);
    }
    for code in [VEX_Vpermq_ymm_ymmm256_imm8, VEX_Vpermpd_ymm_ymmm256_imm8] {
        rows.add::<ByFields>(code, AVX);
    }
    rows.add::<ChooseLanes>(VEX_Vperm2i128_ymm_ymm_ymmm256_imm8, AVX);
    rows.add::<InsertLane>(VEX_Vinserti128_ymm_ymm_xmmm128_imm8, AVX);
    rows.add::<ExtractLane>(VEX_Vextracti128_xmmm128_ymm_imm8, AVX);
}
