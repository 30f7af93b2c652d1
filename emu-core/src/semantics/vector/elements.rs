//! Elements to and from general-purpose registers, and sign masks. SDM vol. 1, 10.4.4, 12.6.6 to 12.6.8.

use super::{
    AVX, MMX, Meaning, Rows, SSE,
    operand::{Encoding, Legacy, Vex, VexUnary, extend, read_gpr, read_low, write_gpr, write_lane},
    packed::width,
};
use crate::{
    arch::Width,
    decode::{Insn, Kind},
    lane::{
        Insertps as InsertSingle, LaneOperation, Movmskpd, Movmskps, Pextrb, Pextrd, Pextrq, Pextrw, Pinsrb,
        Pinsrd, Pinsrq, Pinsrw, Pmovmskb,
    },
    semantics::{Emitter, Form, Step},
};
use iced_x86::Code::{self, *};
use std::marker::PhantomData;

/// PINSRx: 2^`W` bytes from a register or memory.
struct Insert<O, const W: u8, V = Legacy>(PhantomData<(O, V)>);
/// PEXTRx: to a register, zero-extended, or 2^`W` bytes to memory.
struct Extract<O, const W: u8>(PhantomData<O>);
/// PMOVMSKB, MOVMSKPS, MOVMSKPD: `N` bits of each lane.
struct SignMask<O, V, const N: u64>(PhantomData<(O, V)>);
/// INSERTPS: in memory there is only one element to choose from.
struct Insertps<V = Legacy>(PhantomData<V>);
/// PINSRW on an MMX register.
struct InsertMmx;
/// PEXTRW from an MMX register.
struct ExtractMmx;
/// PMOVMSKB of an MMX register.
struct SignMaskMmx;

impl<O: LaneOperation, const W: u8, V: Encoding> Meaning for Insert<O, W, V> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let value = read_gpr::<E, F>(e, i, V::FIRST + 1, width(W))?;
        let value = extend(e, value);
        let a = e.vector(i.reg[V::FIRST], 0);
        let r = e.lane_op::<O>(a, value, i.imm as u8);
        write_lane::<E, V>(e, i, r);
        Ok(())
    }
}
impl<O: LaneOperation, const W: u8> Meaning for Extract<O, W> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let value = e.vector(i.reg[1], 0);
        let element = e.lane_op::<O>(value, value, i.imm as u8);
        let element = e.lane_low(element);
        // In a register 32 or 64 bits are written, which is the same.
        let w = if F::kind(i, 0) == Kind::Mem { width(W) } else { Width::W64 };
        write_gpr::<E, F>(e, i, 0, w, element)
    }
}
impl<O: LaneOperation, V: Encoding, const N: u64> SignMask<O, V, N> {
    #[inline(always)]
    fn of_lane<E: Emitter>(e: &mut E, i: &Insn, lane: usize) -> E::Value {
        let value = e.vector(i.reg[1], lane);
        let mask = e.lane_op::<O>(value, value, 0);
        e.lane_low(mask)
    }
}
impl<O: LaneOperation, V: Encoding, const N: u64> Meaning for SignMask<O, V, N> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let mut mask = Self::of_lane(e, i, 0);
        if V::both_lanes(i) {
            let (high, count) = (Self::of_lane(e, i, 1), e.constant(N));
            let high = e.shl(Width::W64, high, count);
            mask = e.or(mask, high);
        }
        e.set_gpr(Width::W64, i.reg[0], mask);
        Ok(())
    }
}
impl<V: Encoding> Meaning for Insertps<V> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let second = V::FIRST + 1;
        let b = read_low::<E, F>(e, i, second, Width::W32)?;
        let a = e.vector(i.reg[V::FIRST], 0);
        let imm = i.imm as u8 & if F::kind(i, second) == Kind::Mem { 0x3F } else { 0xFF };
        let r = e.lane_op::<InsertSingle>(a, b, imm);
        write_lane::<E, V>(e, i, r);
        Ok(())
    }
}
impl Meaning for InsertMmx {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        e.check_x87()?;
        let value = read_gpr::<E, F>(e, i, 1, Width::W16)?;
        let a = e.mmx(i.reg[0]);
        let (a, value) = (extend(e, a), extend(e, value));
        let r = e.lane_op::<Pinsrw>(a, value, i.imm as u8 & 3);
        let r = e.lane_low(r);
        e.enter_mmx();
        e.set_mmx(i.reg[0], r);
        Ok(())
    }
}
impl Meaning for ExtractMmx {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        e.check_x87()?;
        e.enter_mmx();
        let value = e.mmx(i.reg[1]);
        let value = extend(e, value);
        let word = e.lane_op::<Pextrw>(value, value, i.imm as u8 & 3);
        let word = e.lane_low(word);
        e.set_gpr(Width::W64, i.reg[0], word);
        Ok(())
    }
}
impl Meaning for SignMaskMmx {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        e.check_x87()?;
        e.enter_mmx();
        let value = e.mmx(i.reg[1]);
        let value = extend(e, value);
        let mask = e.lane_op::<Pmovmskb>(value, value, 0);
        let mask = e.lane_low(mask);
        e.set_gpr(Width::W64, i.reg[0], mask);
        Ok(())
    }
}

/// PINSRx: legacy SSE and VEX, of 32 and of 64 bits where the register is wider than the element.
fn insert<O: LaneOperation, const W: u8>(rows: &mut impl Rows, sse: &[Code], vex: &[Code]) {
    for &code in sse {
        rows.add::<Insert<O, W>>(code, SSE);
    }
    for &code in vex {
        rows.add::<Insert<O, W, Vex>>(code, AVX);
    }
}

/// PEXTRx: the same.
fn extract<O: LaneOperation, const W: u8>(rows: &mut impl Rows, sse: &[Code], vex: &[Code]) {
    for (codes, attr) in [(sse, SSE), (vex, AVX)] {
        for &code in codes {
            rows.add::<Extract<O, W>>(code, attr);
        }
    }
}

/// Rows of this family.
pub fn list<R: Rows>(rows: &mut R) {
    insertions(rows);
    extractions(rows);
    masks(rows);
    mmx(rows);
}

fn insertions<R: Rows>(rows: &mut R) {
    insert::<Pinsrb, 0>(
        rows,
        &[Pinsrb_xmm_r32m8_imm8, Pinsrb_xmm_r64m8_imm8],
        &[VEX_Vpinsrb_xmm_xmm_r32m8_imm8, VEX_Vpinsrb_xmm_xmm_r64m8_imm8],
    );
    insert::<Pinsrw, 1>(
        rows,
        &[Pinsrw_xmm_r32m16_imm8, Pinsrw_xmm_r64m16_imm8],
        &[VEX_Vpinsrw_xmm_xmm_r32m16_imm8, VEX_Vpinsrw_xmm_xmm_r64m16_imm8],
    );
    insert::<Pinsrd, 2>(rows, &[Pinsrd_xmm_rm32_imm8], &[VEX_Vpinsrd_xmm_xmm_rm32_imm8]);
    insert::<Pinsrq, 3>(rows, &[Pinsrq_xmm_rm64_imm8], &[VEX_Vpinsrq_xmm_xmm_rm64_imm8]);
    rows.add::<Insertps>(Insertps_xmm_xmmm32_imm8, SSE);
    rows.add::<Insertps<Vex>>(VEX_Vinsertps_xmm_xmm_xmmm32_imm8, AVX);
}

fn extractions<R: Rows>(rows: &mut R) {
    extract::<Pextrb, 0>(
        rows,
        &[Pextrb_r32m8_xmm_imm8, Pextrb_r64m8_xmm_imm8],
        &[VEX_Vpextrb_r32m8_xmm_imm8, VEX_Vpextrb_r64m8_xmm_imm8],
    );
    extract::<Pextrw, 1>(
        rows,
        &[Pextrw_r32_xmm_imm8, Pextrw_r64_xmm_imm8, Pextrw_r32m16_xmm_imm8, Pextrw_r64m16_xmm_imm8],
        &[
            VEX_Vpextrw_r32_xmm_imm8,
            VEX_Vpextrw_r64_xmm_imm8,
            VEX_Vpextrw_r32m16_xmm_imm8,
            VEX_Vpextrw_r64m16_xmm_imm8,
        ],
    );
    extract::<Pextrd, 2>(
        rows,
        &[Pextrd_rm32_xmm_imm8, Extractps_rm32_xmm_imm8, Extractps_r64m32_xmm_imm8],
        &[VEX_Vpextrd_rm32_xmm_imm8, VEX_Vextractps_rm32_xmm_imm8, VEX_Vextractps_r64m32_xmm_imm8],
    );
    extract::<Pextrq, 3>(rows, &[Pextrq_rm64_xmm_imm8], &[VEX_Vpextrq_rm64_xmm_imm8]);
}

fn masks<R: Rows>(rows: &mut R) {
    for code in [Pmovmskb_r32_xmm, Pmovmskb_r64_xmm] {
        rows.add::<SignMask<Pmovmskb, Legacy, 16>>(code, SSE);
    }
    for code in [VEX_Vpmovmskb_r32_xmm, VEX_Vpmovmskb_r64_xmm, VEX_Vpmovmskb_r32_ymm, VEX_Vpmovmskb_r64_ymm] {
        rows.add::<SignMask<Pmovmskb, VexUnary, 16>>(code, AVX);
    }
    for code in [Movmskps_r32_xmm, Movmskps_r64_xmm] {
        rows.add::<SignMask<Movmskps, Legacy, 4>>(code, SSE);
    }
    for code in [VEX_Vmovmskps_r32_xmm, VEX_Vmovmskps_r64_xmm, VEX_Vmovmskps_r32_ymm, VEX_Vmovmskps_r64_ymm] {
        rows.add::<SignMask<Movmskps, VexUnary, 4>>(code, AVX);
    }
    for code in [Movmskpd_r32_xmm, Movmskpd_r64_xmm] {
        rows.add::<SignMask<Movmskpd, Legacy, 2>>(code, SSE);
    }
    for code in [VEX_Vmovmskpd_r32_xmm, VEX_Vmovmskpd_r64_xmm, VEX_Vmovmskpd_r32_ymm, VEX_Vmovmskpd_r64_ymm] {
        rows.add::<SignMask<Movmskpd, VexUnary, 2>>(code, AVX);
    }
}

fn mmx<R: Rows>(rows: &mut R) {
    for code in [Pinsrw_mm_r32m16_imm8, Pinsrw_mm_r64m16_imm8] {
        rows.add::<InsertMmx>(code, MMX);
    }
    for code in [Pextrw_r32_mm_imm8, Pextrw_r64_mm_imm8] {
        rows.add::<ExtractMmx>(code, MMX);
    }
    for code in [Pmovmskb_r32_mm, Pmovmskb_r64_mm] {
        rows.add::<SignMaskMmx>(code, MMX);
    }
}
