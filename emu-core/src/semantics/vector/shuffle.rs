//! Pack, unpack, shuffle, blend, extend integers. SDM vol. 1, 9.4.6, 10.4.4, 11.4.1.4, 12.6.5, 12.11.

use super::{
    ALIGNED, MMX, Rows, SSE,
    mmx::{Align, Joined, Mmx, Shuffle, UnpackHigh},
    packed::{FromLow, Packed, WithXmm0},
};
use crate::lane::{
    LaneOperation, Packssdw, Packsswb, Packusdw, Packuswb, Palignr, Pblendvb, Pblendw, Pmovsxbd, Pmovsxbq,
    Pmovsxbw, Pmovsxdq, Pmovsxwd, Pmovsxwq, Pmovzxbd, Pmovzxbq, Pmovzxbw, Pmovzxdq, Pmovzxwd, Pmovzxwq,
    Pshufb, Pshufd, Pshufhw, Pshuflw, Punpckhbw, Punpckhdq, Punpckhqdq, Punpckhwd, Punpcklbw, Punpckldq,
    Punpcklqdq, Punpcklwd,
};
use iced_x86::Code;

/// A pack of both.
fn pack<O: LaneOperation>(rows: &mut impl Rows, mmx: Code, xmm: Code) {
    rows.add::<Mmx<O, Joined>>(mmx, MMX);
    rows.add::<Packed<O>>(xmm, ALIGNED);
}

/// Interleaving of both: `L` of the lower elements, `H` of the upper ones of lanes.
fn unpack<L: LaneOperation, H: LaneOperation>(rows: &mut impl Rows, low: [Code; 2], high: [Code; 2]) {
    rows.add::<super::mmx_moves::UnpackLowMmx<L>>(low[0], MMX);
    rows.add::<Packed<L>>(low[1], ALIGNED);
    rows.add::<Mmx<L, UnpackHigh>>(high[0], MMX);
    rows.add::<Packed<H>>(high[1], ALIGNED);
}

/// Rows of this family.
pub fn list<R: Rows>(rows: &mut R) {
    pack::<Packsswb>(rows, Code::Packsswb_mm_mmm64, Code::Packsswb_xmm_xmmm128);
    pack::<Packssdw>(rows, Code::Packssdw_mm_mmm64, Code::Packssdw_xmm_xmmm128);
    pack::<Packuswb>(rows, Code::Packuswb_mm_mmm64, Code::Packuswb_xmm_xmmm128);
    rows.add::<Packed<Packusdw>>(Code::Packusdw_xmm_xmmm128, ALIGNED);
    unpack::<Punpcklbw, Punpckhbw>(
        rows,
        [Code::Punpcklbw_mm_mmm32, Code::Punpcklbw_xmm_xmmm128],
        [Code::Punpckhbw_mm_mmm64, Code::Punpckhbw_xmm_xmmm128],
    );
    unpack::<Punpcklwd, Punpckhwd>(
        rows,
        [Code::Punpcklwd_mm_mmm32, Code::Punpcklwd_xmm_xmmm128],
        [Code::Punpckhwd_mm_mmm64, Code::Punpckhwd_xmm_xmmm128],
    );
    unpack::<Punpckldq, Punpckhdq>(
        rows,
        [Code::Punpckldq_mm_mmm32, Code::Punpckldq_xmm_xmmm128],
        [Code::Punpckhdq_mm_mmm64, Code::Punpckhdq_xmm_xmmm128],
    );
    rows.add::<Packed<Punpcklqdq>>(Code::Punpcklqdq_xmm_xmmm128, ALIGNED);
    rows.add::<Packed<Punpckhqdq>>(Code::Punpckhqdq_xmm_xmmm128, ALIGNED);

    rows.add::<Mmx<Pshufb, Shuffle>>(Code::Pshufb_mm_mmm64, MMX);
    rows.add::<Packed<Pshufb>>(Code::Pshufb_xmm_xmmm128, ALIGNED);
    rows.add::<Mmx<Palignr, Align>>(Code::Palignr_mm_mmm64_imm8, MMX);
    rows.add::<Packed<Palignr>>(Code::Palignr_xmm_xmmm128_imm8, ALIGNED);
    rows.add::<Mmx<Pshuflw>>(Code::Pshufw_mm_mmm64_imm8, MMX);
    rows.add::<Packed<Pshufd>>(Code::Pshufd_xmm_xmmm128_imm8, ALIGNED);
    rows.add::<Packed<Pshuflw>>(Code::Pshuflw_xmm_xmmm128_imm8, ALIGNED);
    rows.add::<Packed<Pshufhw>>(Code::Pshufhw_xmm_xmmm128_imm8, ALIGNED);
    rows.add::<Packed<Pblendw>>(Code::Pblendw_xmm_xmmm128_imm8, ALIGNED);
    rows.add::<WithXmm0<Pblendvb>>(Code::Pblendvb_xmm_xmmm128, ALIGNED);
    extensions(rows);
}

/// PMOVSX and PMOVZX: the source in memory is as large as the elements used.
fn extensions<R: Rows>(rows: &mut R) {
    rows.add::<FromLow<Pmovsxbw, 3>>(Code::Pmovsxbw_xmm_xmmm64, SSE);
    rows.add::<FromLow<Pmovsxbd, 2>>(Code::Pmovsxbd_xmm_xmmm32, SSE);
    rows.add::<FromLow<Pmovsxbq, 1>>(Code::Pmovsxbq_xmm_xmmm16, SSE);
    rows.add::<FromLow<Pmovsxwd, 3>>(Code::Pmovsxwd_xmm_xmmm64, SSE);
    rows.add::<FromLow<Pmovsxwq, 2>>(Code::Pmovsxwq_xmm_xmmm32, SSE);
    rows.add::<FromLow<Pmovsxdq, 3>>(Code::Pmovsxdq_xmm_xmmm64, SSE);
    rows.add::<FromLow<Pmovzxbw, 3>>(Code::Pmovzxbw_xmm_xmmm64, SSE);
    rows.add::<FromLow<Pmovzxbd, 2>>(Code::Pmovzxbd_xmm_xmmm32, SSE);
    rows.add::<FromLow<Pmovzxbq, 1>>(Code::Pmovzxbq_xmm_xmmm16, SSE);
    rows.add::<FromLow<Pmovzxwd, 3>>(Code::Pmovzxwd_xmm_xmmm64, SSE);
    rows.add::<FromLow<Pmovzxwq, 2>>(Code::Pmovzxwq_xmm_xmmm32, SSE);
    rows.add::<FromLow<Pmovzxdq, 3>>(Code::Pmovzxdq_xmm_xmmm64, SSE);
}
