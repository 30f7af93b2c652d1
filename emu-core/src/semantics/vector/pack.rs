//! Pack, unpack and extend elements. SDM vol. 1, 9.4.6, 11.4.2, 12.6.5, 12.11, 14.6.

use super::{
    AVX, MMX, Meaning, Rows, SSE,
    forms::{all_joined, binary},
    mmx::{Mmx, UnpackHigh},
    mmx_moves::UnpackLowMmx,
    operand::{Encoding, Vex, read_lane, read_low, write_lane, write_lanes},
    packed::{FromLow, width},
};
use crate::{
    decode::Insn,
    lane::*,
    semantics::{Emitter, Form, Step},
};
use iced_x86::Code::{self, *};
use std::marker::PhantomData;

/// VEX form of PMOVSX and PMOVZX, of whose source each lane takes 2^`W` bytes.
struct Extend<O, const W: u8>(PhantomData<O>);

impl<O: LaneOperation, const W: u8> Meaning for Extend<O, W> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        if !Vex::both_lanes(i) {
            let low = read_low::<E, F>(e, i, 1, width(W))?;
            let r = e.lane_op::<O>(low, low, 0);
            write_lane::<E, Vex>(e, i, r);
            return Ok(());
        }
        let low = match W {
            3 => read_lane::<E, F>(e, i, 1)?,
            _ => read_low::<E, F>(e, i, 1, width(W + 1))?,
        };
        let high = e.lane_op::<Psrldq>(low, low, 1 << W);
        let r = [low, high].map(|part| e.lane_op::<O>(part, part, 0));
        write_lanes::<E, Vex, 2>(e, i, r);
        Ok(())
    }
}

/// Interleaving of MMX registers: `L` of the lower elements, of whose memory operand there are 32 bits, and of the
/// upper ones.
fn unpack_mmx<L: LaneOperation>(rows: &mut impl Rows, [low, high]: [Code; 2]) {
    rows.add::<UnpackLowMmx<L>>(low, MMX);
    rows.add::<Mmx<L, UnpackHigh>>(high, MMX);
}

/// PMOVSX and PMOVZX: legacy SSE, VEX.128, VEX.256. The source in memory is as large as the elements used.
fn extend<O: LaneOperation, const W: u8>(rows: &mut impl Rows, [sse, xmm, ymm]: [Code; 3]) {
    rows.add::<FromLow<O, W>>(sse, SSE);
    rows.add::<Extend<O, W>>(xmm, AVX);
    rows.add::<Extend<O, W>>(ymm, AVX);
}

/// Rows of this family.
#[rustfmt::skip]
pub fn list<R: Rows>(rows: &mut R) {
    all_joined::<Packsswb>(rows, Packsswb_mm_mmm64, [Packsswb_xmm_xmmm128, VEX_Vpacksswb_xmm_xmm_xmmm128, VEX_Vpacksswb_ymm_ymm_ymmm256]);
    all_joined::<Packssdw>(rows, Packssdw_mm_mmm64, [Packssdw_xmm_xmmm128, VEX_Vpackssdw_xmm_xmm_xmmm128, VEX_Vpackssdw_ymm_ymm_ymmm256]);
    all_joined::<Packuswb>(rows, Packuswb_mm_mmm64, [Packuswb_xmm_xmmm128, VEX_Vpackuswb_xmm_xmm_xmmm128, VEX_Vpackuswb_ymm_ymm_ymmm256]);
    binary::<Packusdw>(rows, [Packusdw_xmm_xmmm128, VEX_Vpackusdw_xmm_xmm_xmmm128, VEX_Vpackusdw_ymm_ymm_ymmm256]);
    unpack_mmx::<Punpcklbw>(rows, [Punpcklbw_mm_mmm32, Punpckhbw_mm_mmm64]);
    unpack_mmx::<Punpcklwd>(rows, [Punpcklwd_mm_mmm32, Punpckhwd_mm_mmm64]);
    unpack_mmx::<Punpckldq>(rows, [Punpckldq_mm_mmm32, Punpckhdq_mm_mmm64]);
    binary::<Punpcklbw>(rows, [Punpcklbw_xmm_xmmm128, VEX_Vpunpcklbw_xmm_xmm_xmmm128, VEX_Vpunpcklbw_ymm_ymm_ymmm256]);
    binary::<Punpcklwd>(rows, [Punpcklwd_xmm_xmmm128, VEX_Vpunpcklwd_xmm_xmm_xmmm128, VEX_Vpunpcklwd_ymm_ymm_ymmm256]);
    binary::<Punpckldq>(rows, [Punpckldq_xmm_xmmm128, VEX_Vpunpckldq_xmm_xmm_xmmm128, VEX_Vpunpckldq_ymm_ymm_ymmm256]);
    binary::<Punpcklqdq>(rows, [Punpcklqdq_xmm_xmmm128, VEX_Vpunpcklqdq_xmm_xmm_xmmm128, VEX_Vpunpcklqdq_ymm_ymm_ymmm256]);
    binary::<Punpckhbw>(rows, [Punpckhbw_xmm_xmmm128, VEX_Vpunpckhbw_xmm_xmm_xmmm128, VEX_Vpunpckhbw_ymm_ymm_ymmm256]);
    binary::<Punpckhwd>(rows, [Punpckhwd_xmm_xmmm128, VEX_Vpunpckhwd_xmm_xmm_xmmm128, VEX_Vpunpckhwd_ymm_ymm_ymmm256]);
    binary::<Punpckhdq>(rows, [Punpckhdq_xmm_xmmm128, VEX_Vpunpckhdq_xmm_xmm_xmmm128, VEX_Vpunpckhdq_ymm_ymm_ymmm256]);
    binary::<Punpckhqdq>(rows, [Punpckhqdq_xmm_xmmm128, VEX_Vpunpckhqdq_xmm_xmm_xmmm128, VEX_Vpunpckhqdq_ymm_ymm_ymmm256]);
    extend::<Pmovsxbw, 3>(rows, [Pmovsxbw_xmm_xmmm64, VEX_Vpmovsxbw_xmm_xmmm64, VEX_Vpmovsxbw_ymm_xmmm128]);
    extend::<Pmovsxbd, 2>(rows, [Pmovsxbd_xmm_xmmm32, VEX_Vpmovsxbd_xmm_xmmm32, VEX_Vpmovsxbd_ymm_xmmm64]);
    extend::<Pmovsxbq, 1>(rows, [Pmovsxbq_xmm_xmmm16, VEX_Vpmovsxbq_xmm_xmmm16, VEX_Vpmovsxbq_ymm_xmmm32]);
    extend::<Pmovsxwd, 3>(rows, [Pmovsxwd_xmm_xmmm64, VEX_Vpmovsxwd_xmm_xmmm64, VEX_Vpmovsxwd_ymm_xmmm128]);
    extend::<Pmovsxwq, 2>(rows, [Pmovsxwq_xmm_xmmm32, VEX_Vpmovsxwq_xmm_xmmm32, VEX_Vpmovsxwq_ymm_xmmm64]);
    extend::<Pmovsxdq, 3>(rows, [Pmovsxdq_xmm_xmmm64, VEX_Vpmovsxdq_xmm_xmmm64, VEX_Vpmovsxdq_ymm_xmmm128]);
    extend::<Pmovzxbw, 3>(rows, [Pmovzxbw_xmm_xmmm64, VEX_Vpmovzxbw_xmm_xmmm64, VEX_Vpmovzxbw_ymm_xmmm128]);
    extend::<Pmovzxbd, 2>(rows, [Pmovzxbd_xmm_xmmm32, VEX_Vpmovzxbd_xmm_xmmm32, VEX_Vpmovzxbd_ymm_xmmm64]);
    extend::<Pmovzxbq, 1>(rows, [Pmovzxbq_xmm_xmmm16, VEX_Vpmovzxbq_xmm_xmmm16, VEX_Vpmovzxbq_ymm_xmmm32]);
    extend::<Pmovzxwd, 3>(rows, [Pmovzxwd_xmm_xmmm64, VEX_Vpmovzxwd_xmm_xmmm64, VEX_Vpmovzxwd_ymm_xmmm128]);
    extend::<Pmovzxwq, 2>(rows, [Pmovzxwq_xmm_xmmm32, VEX_Vpmovzxwq_xmm_xmmm32, VEX_Vpmovzxwq_ymm_xmmm64]);
    extend::<Pmovzxdq, 3>(rows, [Pmovzxdq_xmm_xmmm64, VEX_Vpmovzxdq_xmm_xmmm64, VEX_Vpmovzxdq_ymm_xmmm128]);
}
