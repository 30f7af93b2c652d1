//! Integer arithmetic, comparison, logic and shifts. SDM vol. 1, 9.4, 10.4.4, 11.4.2, 12.6, 12.9, 12.11.
//! No flags but PTEST's.

use super::{
    ALIGNED, MMX, Meaning, Rows, SSE,
    mmx::{Joined, Mmx, MmxByImmediate},
    operand::{read_lane, set_low_flags},
    packed::{ByImmediate, Packed},
};
use crate::{
    decode::Insn,
    lane::{
        LaneOperation, Mpsadbw, Pabsb, Pabsd, Pabsw, Paddb, Paddd, Paddq, Paddsb, Paddsw, Paddusb, Paddusw,
        Paddw, Pand, Pandn, Pavgb, Pavgw, Pcmpeqb, Pcmpeqd, Pcmpeqq, Pcmpeqw, Pcmpgtb, Pcmpgtd, Pcmpgtq,
        Pcmpgtw, Phaddd, Phaddsw, Phaddw, Phminposuw, Phsubd, Phsubsw, Phsubw, Pmaddubsw, Pmaddwd, Pmaxsb,
        Pmaxsd, Pmaxsw, Pmaxub, Pmaxud, Pmaxuw, Pminsb, Pminsd, Pminsw, Pminub, Pminud, Pminuw, Pmuldq,
        Pmulhrsw, Pmulhuw, Pmulhw, Pmulld, Pmullw, Pmuludq, Por, Psadbw, Psignb, Psignd, Psignw, Pslld,
        Pslldq, Psllq, Psllw, Psrad, Psraw, Psrld, Psrldq, Psrlq, Psrlw, Psubb, Psubd, Psubq, Psubsb, Psubsw,
        Psubusb, Psubusw, Psubw, Ptest, Pxor,
    },
    semantics::{Emitter, Form, Step},
};
use iced_x86::Code;

/// PTEST: ZF and CF from two ANDs; the other flags become zero.
struct Test;

impl Meaning for Test {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let b = read_lane::<E, F>(e, i, 1)?;
        let a = e.vector(i.reg[0], 0);
        let flags = e.lane_op::<Ptest>(a, b, 0);
        let flags = e.lane_low(flags);
        set_low_flags(e, flags);
        Ok(())
    }
}

/// An operation on MMX and on XMM registers.
fn both<O: LaneOperation>(rows: &mut impl Rows, mmx: Code, xmm: Code) {
    rows.add::<Mmx<O>>(mmx, MMX);
    rows.add::<Packed<O>>(xmm, ALIGNED);
}

/// A horizontal operation on both.
fn horizontal<O: LaneOperation>(rows: &mut impl Rows, mmx: Code, xmm: Code) {
    rows.add::<Mmx<O, Joined>>(mmx, MMX);
    rows.add::<Packed<O>>(xmm, ALIGNED);
}

/// A shift of both, by the second operand and by the immediate.
fn shift<O: LaneOperation>(rows: &mut impl Rows, mmx: [Code; 2], xmm: [Code; 2]) {
    rows.add::<Mmx<O>>(mmx[0], MMX);
    rows.add::<MmxByImmediate<O>>(mmx[1], MMX);
    rows.add::<Packed<O>>(xmm[0], ALIGNED);
    rows.add::<ByImmediate<O>>(xmm[1], SSE);
}

/// Rows of this family.
pub fn list(rows: &mut impl Rows) {
    arithmetic(rows);
    comparison(rows);
    logic(rows);
    rows.add::<Test>(Code::Ptest_xmm_xmmm128, ALIGNED);
}

fn arithmetic<R: Rows>(rows: &mut R) {
    both::<Paddb>(rows, Code::Paddb_mm_mmm64, Code::Paddb_xmm_xmmm128);
    both::<Paddw>(rows, Code::Paddw_mm_mmm64, Code::Paddw_xmm_xmmm128);
    both::<Paddd>(rows, Code::Paddd_mm_mmm64, Code::Paddd_xmm_xmmm128);
    both::<Paddq>(rows, Code::Paddq_mm_mmm64, Code::Paddq_xmm_xmmm128);
    both::<Psubb>(rows, Code::Psubb_mm_mmm64, Code::Psubb_xmm_xmmm128);
    both::<Psubw>(rows, Code::Psubw_mm_mmm64, Code::Psubw_xmm_xmmm128);
    both::<Psubd>(rows, Code::Psubd_mm_mmm64, Code::Psubd_xmm_xmmm128);
    both::<Psubq>(rows, Code::Psubq_mm_mmm64, Code::Psubq_xmm_xmmm128);
    both::<Paddsb>(rows, Code::Paddsb_mm_mmm64, Code::Paddsb_xmm_xmmm128);
    both::<Paddsw>(rows, Code::Paddsw_mm_mmm64, Code::Paddsw_xmm_xmmm128);
    both::<Paddusb>(rows, Code::Paddusb_mm_mmm64, Code::Paddusb_xmm_xmmm128);
    both::<Paddusw>(rows, Code::Paddusw_mm_mmm64, Code::Paddusw_xmm_xmmm128);
    both::<Psubsb>(rows, Code::Psubsb_mm_mmm64, Code::Psubsb_xmm_xmmm128);
    both::<Psubsw>(rows, Code::Psubsw_mm_mmm64, Code::Psubsw_xmm_xmmm128);
    both::<Psubusb>(rows, Code::Psubusb_mm_mmm64, Code::Psubusb_xmm_xmmm128);
    both::<Psubusw>(rows, Code::Psubusw_mm_mmm64, Code::Psubusw_xmm_xmmm128);
    both::<Pmullw>(rows, Code::Pmullw_mm_mmm64, Code::Pmullw_xmm_xmmm128);
    both::<Pmulhw>(rows, Code::Pmulhw_mm_mmm64, Code::Pmulhw_xmm_xmmm128);
    both::<Pmulhuw>(rows, Code::Pmulhuw_mm_mmm64, Code::Pmulhuw_xmm_xmmm128);
    both::<Pmulhrsw>(rows, Code::Pmulhrsw_mm_mmm64, Code::Pmulhrsw_xmm_xmmm128);
    both::<Pmuludq>(rows, Code::Pmuludq_mm_mmm64, Code::Pmuludq_xmm_xmmm128);
    both::<Pmaddwd>(rows, Code::Pmaddwd_mm_mmm64, Code::Pmaddwd_xmm_xmmm128);
    both::<Pmaddubsw>(rows, Code::Pmaddubsw_mm_mmm64, Code::Pmaddubsw_xmm_xmmm128);
    both::<Pavgb>(rows, Code::Pavgb_mm_mmm64, Code::Pavgb_xmm_xmmm128);
    both::<Pavgw>(rows, Code::Pavgw_mm_mmm64, Code::Pavgw_xmm_xmmm128);
    both::<Psadbw>(rows, Code::Psadbw_mm_mmm64, Code::Psadbw_xmm_xmmm128);
    both::<Pabsb>(rows, Code::Pabsb_mm_mmm64, Code::Pabsb_xmm_xmmm128);
    both::<Pabsw>(rows, Code::Pabsw_mm_mmm64, Code::Pabsw_xmm_xmmm128);
    both::<Pabsd>(rows, Code::Pabsd_mm_mmm64, Code::Pabsd_xmm_xmmm128);
    both::<Psignb>(rows, Code::Psignb_mm_mmm64, Code::Psignb_xmm_xmmm128);
    both::<Psignw>(rows, Code::Psignw_mm_mmm64, Code::Psignw_xmm_xmmm128);
    both::<Psignd>(rows, Code::Psignd_mm_mmm64, Code::Psignd_xmm_xmmm128);
    horizontal::<Phaddw>(rows, Code::Phaddw_mm_mmm64, Code::Phaddw_xmm_xmmm128);
    horizontal::<Phaddd>(rows, Code::Phaddd_mm_mmm64, Code::Phaddd_xmm_xmmm128);
    horizontal::<Phaddsw>(rows, Code::Phaddsw_mm_mmm64, Code::Phaddsw_xmm_xmmm128);
    horizontal::<Phsubw>(rows, Code::Phsubw_mm_mmm64, Code::Phsubw_xmm_xmmm128);
    horizontal::<Phsubd>(rows, Code::Phsubd_mm_mmm64, Code::Phsubd_xmm_xmmm128);
    horizontal::<Phsubsw>(rows, Code::Phsubsw_mm_mmm64, Code::Phsubsw_xmm_xmmm128);
    rows.add::<Packed<Pmulld>>(Code::Pmulld_xmm_xmmm128, ALIGNED);
    rows.add::<Packed<Pmuldq>>(Code::Pmuldq_xmm_xmmm128, ALIGNED);
    rows.add::<Packed<Mpsadbw>>(Code::Mpsadbw_xmm_xmmm128_imm8, ALIGNED);
    rows.add::<Packed<Phminposuw>>(Code::Phminposuw_xmm_xmmm128, ALIGNED);
}

fn comparison<R: Rows>(rows: &mut R) {
    both::<Pcmpeqb>(rows, Code::Pcmpeqb_mm_mmm64, Code::Pcmpeqb_xmm_xmmm128);
    both::<Pcmpeqw>(rows, Code::Pcmpeqw_mm_mmm64, Code::Pcmpeqw_xmm_xmmm128);
    both::<Pcmpeqd>(rows, Code::Pcmpeqd_mm_mmm64, Code::Pcmpeqd_xmm_xmmm128);
    both::<Pcmpgtb>(rows, Code::Pcmpgtb_mm_mmm64, Code::Pcmpgtb_xmm_xmmm128);
    both::<Pcmpgtw>(rows, Code::Pcmpgtw_mm_mmm64, Code::Pcmpgtw_xmm_xmmm128);
    both::<Pcmpgtd>(rows, Code::Pcmpgtd_mm_mmm64, Code::Pcmpgtd_xmm_xmmm128);
    both::<Pminub>(rows, Code::Pminub_mm_mmm64, Code::Pminub_xmm_xmmm128);
    both::<Pminsw>(rows, Code::Pminsw_mm_mmm64, Code::Pminsw_xmm_xmmm128);
    both::<Pmaxub>(rows, Code::Pmaxub_mm_mmm64, Code::Pmaxub_xmm_xmmm128);
    both::<Pmaxsw>(rows, Code::Pmaxsw_mm_mmm64, Code::Pmaxsw_xmm_xmmm128);
    rows.add::<Packed<Pcmpeqq>>(Code::Pcmpeqq_xmm_xmmm128, ALIGNED);
    rows.add::<Packed<Pcmpgtq>>(Code::Pcmpgtq_xmm_xmmm128, ALIGNED);
    rows.add::<Packed<Pminsb>>(Code::Pminsb_xmm_xmmm128, ALIGNED);
    rows.add::<Packed<Pminsd>>(Code::Pminsd_xmm_xmmm128, ALIGNED);
    rows.add::<Packed<Pminuw>>(Code::Pminuw_xmm_xmmm128, ALIGNED);
    rows.add::<Packed<Pminud>>(Code::Pminud_xmm_xmmm128, ALIGNED);
    rows.add::<Packed<Pmaxsb>>(Code::Pmaxsb_xmm_xmmm128, ALIGNED);
    rows.add::<Packed<Pmaxsd>>(Code::Pmaxsd_xmm_xmmm128, ALIGNED);
    rows.add::<Packed<Pmaxuw>>(Code::Pmaxuw_xmm_xmmm128, ALIGNED);
    rows.add::<Packed<Pmaxud>>(Code::Pmaxud_xmm_xmmm128, ALIGNED);
}

fn logic<R: Rows>(rows: &mut R) {
    both::<Pand>(rows, Code::Pand_mm_mmm64, Code::Pand_xmm_xmmm128);
    both::<Pandn>(rows, Code::Pandn_mm_mmm64, Code::Pandn_xmm_xmmm128);
    both::<Por>(rows, Code::Por_mm_mmm64, Code::Por_xmm_xmmm128);
    both::<Pxor>(rows, Code::Pxor_mm_mmm64, Code::Pxor_xmm_xmmm128);
    shift::<Psllw>(
        rows,
        [Code::Psllw_mm_mmm64, Code::Psllw_mm_imm8],
        [Code::Psllw_xmm_xmmm128, Code::Psllw_xmm_imm8],
    );
    shift::<Pslld>(
        rows,
        [Code::Pslld_mm_mmm64, Code::Pslld_mm_imm8],
        [Code::Pslld_xmm_xmmm128, Code::Pslld_xmm_imm8],
    );
    shift::<Psllq>(
        rows,
        [Code::Psllq_mm_mmm64, Code::Psllq_mm_imm8],
        [Code::Psllq_xmm_xmmm128, Code::Psllq_xmm_imm8],
    );
    shift::<Psrlw>(
        rows,
        [Code::Psrlw_mm_mmm64, Code::Psrlw_mm_imm8],
        [Code::Psrlw_xmm_xmmm128, Code::Psrlw_xmm_imm8],
    );
    shift::<Psrld>(
        rows,
        [Code::Psrld_mm_mmm64, Code::Psrld_mm_imm8],
        [Code::Psrld_xmm_xmmm128, Code::Psrld_xmm_imm8],
    );
    shift::<Psrlq>(
        rows,
        [Code::Psrlq_mm_mmm64, Code::Psrlq_mm_imm8],
        [Code::Psrlq_xmm_xmmm128, Code::Psrlq_xmm_imm8],
    );
    shift::<Psraw>(
        rows,
        [Code::Psraw_mm_mmm64, Code::Psraw_mm_imm8],
        [Code::Psraw_xmm_xmmm128, Code::Psraw_xmm_imm8],
    );
    shift::<Psrad>(
        rows,
        [Code::Psrad_mm_mmm64, Code::Psrad_mm_imm8],
        [Code::Psrad_xmm_xmmm128, Code::Psrad_xmm_imm8],
    );
    rows.add::<ByImmediate<Pslldq>>(Code::Pslldq_xmm_imm8, SSE);
    rows.add::<ByImmediate<Psrldq>>(Code::Psrldq_xmm_imm8, SSE);
}
