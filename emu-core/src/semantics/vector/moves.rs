//! Moves of vectors. SDM vol. 1, 10.4.1.1, 11.4.1.1, 11.4.2, 12.3.2, 12.3.3, 12.10.3, 14.1.
//!
//! Scalar loads clear the rest of the lane; scalar moves between registers keep it, or take it from the first
//! source of a VEX form. Cache hints mean nothing here.

use super::{
    ALIGNED, AVX, AVX_ALIGNED, Meaning, Rows, SSE,
    operand::{
        Encoding, Legacy, Vex, VexUnary, extend, merge, read_gpr, read_lane, read_lanes, read_low, registers,
        with_low, write_gpr, write_lane, write_lanes,
    },
    packed::width,
};
use crate::{
    arch::Width,
    decode::{Insn, Kind, flag},
    lane::Punpcklqdq,
    semantics::{Emitter, Form, Step},
};
use iced_x86::Code::{self, *};
use std::marker::PhantomData;

/// A whole vector into a register.
struct Load<V = Legacy>(PhantomData<V>);
/// A whole vector to a register or memory.
struct Store<V = Legacy>(PhantomData<V>);
/// 2^`W` bytes: from memory with zeros above, from a register into the low element.
struct LoadLow<const W: u8, V = Legacy>(PhantomData<V>);
/// 2^`W` bytes from the low element: to memory, or to the low element of a register.
struct StoreLow<const W: u8>;
/// The low 2^`W` bytes of the second source in the first one's lane (VEX).
struct MergeLow<const W: u8>;
/// MOVQ: 64 bits with zeros above, whatever the source; from operand 1 to operand 0.
struct LoadQuad<V = Legacy>(PhantomData<V>);
/// MOVQ in the other direction.
struct StoreQuad<V = Legacy>(PhantomData<V>);
/// Low (`HIGH` false) or high half from memory.
struct LoadHalf<const HIGH: bool, V = Legacy>(PhantomData<V>);
/// Low or high half to memory.
struct StoreHalf<const HIGH: bool>;
/// MOVHLPS (`HIGH` false: the source's high half becomes the low one) and MOVLHPS.
struct Cross<const HIGH: bool, V = Legacy>(PhantomData<V>);
/// MOVDDUP: the low 64 bits of each lane twice.
struct Double<V = Legacy>(PhantomData<V>);
/// MOVD and MOVQ from a general-purpose register or memory.
struct FromGpr<const W: u8, V = Legacy>(PhantomData<V>);
/// MOVD and MOVQ to a general-purpose register or memory.
struct ToGpr<const W: u8>;
/// VZEROALL (`ALL`) and VZEROUPPER: the whole of all registers that the mode has, or their upper lanes.
struct Zero<const ALL: bool>;

impl<V: Encoding> Meaning for Load<V> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        if V::both_lanes(i) {
            let value = read_lanes::<E, F, 2>(e, i, 1)?;
            write_lanes::<E, V, 2>(e, i, value);
        } else {
            let value = read_lane::<E, F>(e, i, 1)?;
            write_lane::<E, V>(e, i, value);
        }
        Ok(())
    }
}
impl<V: Encoding> Meaning for Store<V> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        if V::both_lanes(i) { store::<E, F, V, 2>(e, i) } else { store::<E, F, V, 1>(e, i) }
    }
}

#[inline(always)]
fn store<E: Emitter, F: Form, V: Encoding, const N: usize>(e: &mut E, i: &Insn) -> Step<E> {
    let value = registers::<E, N>(e, i, 1);
    if F::kind(i, 0) == Kind::Mem {
        return e.store_lanes(i, F::ADDRESS, value);
    }
    write_lanes::<E, V, N>(e, i, value);
    Ok(())
}

impl<const W: u8, V: Encoding> Meaning for LoadLow<W, V> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let mut value = read_low::<E, F>(e, i, 1, width(W))?;
        if F::kind(i, 1) != Kind::Mem {
            let to = e.vector(i.reg[0], 0);
            value = merge(e, width(W), to, value);
        }
        write_lane::<E, V>(e, i, value);
        Ok(())
    }
}
impl<const W: u8> Meaning for StoreLow<W> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let value = e.vector(i.reg[1], 0);
        if F::kind(i, 0) == Kind::Mem {
            let low = e.lane_low(value);
            let low = e.truncate(width(W), low);
            return e.store(i, F::ADDRESS, width(W), 0, low);
        }
        let to = e.vector(i.reg[0], 0);
        let merged = merge(e, width(W), to, value);
        e.set_vector(i.reg[0], 0, merged);
        Ok(())
    }
}
impl<const W: u8> Meaning for MergeLow<W> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let (a, b) = (e.vector(i.reg[1], 0), e.vector(i.reg[2], 0));
        let merged = merge(e, width(W), a, b);
        write_lane::<E, Vex>(e, i, merged);
        Ok(())
    }
}
impl<V: Encoding> Meaning for LoadQuad<V> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let value = read_low::<E, F>(e, i, 1, Width::W64)?;
        let low = e.lane_low(value);
        let value = extend(e, low);
        write_lane::<E, V>(e, i, value);
        Ok(())
    }
}
impl<V: Encoding> Meaning for StoreQuad<V> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let value = e.vector(i.reg[1], 0);
        let low = e.lane_low(value);
        if F::kind(i, 0) == Kind::Mem {
            return e.store(i, F::ADDRESS, Width::W64, 0, low);
        }
        let value = extend(e, low);
        write_lane::<E, V>(e, i, value);
        Ok(())
    }
}
impl<const HIGH: bool, V: Encoding> Meaning for LoadHalf<HIGH, V> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let value = e.load(i, F::ADDRESS, Width::W64, 0)?;
        let old = e.vector(i.reg[V::FIRST], 0);
        let new = if HIGH {
            let low = e.lane_low(old);
            e.lane_from(low, value)
        } else {
            with_low(e, old, value)
        };
        write_lane::<E, V>(e, i, new);
        Ok(())
    }
}
impl<const HIGH: bool> Meaning for StoreHalf<HIGH> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let value = e.vector(i.reg[1], 0);
        let half = if HIGH { e.lane_high(value) } else { e.lane_low(value) };
        e.store(i, F::ADDRESS, Width::W64, 0, half)
    }
}
impl<const HIGH: bool, V: Encoding> Meaning for Cross<HIGH, V> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let (to, from) = (e.vector(i.reg[V::FIRST], 0), e.vector(i.reg[V::FIRST + 1], 0));
        let new = if HIGH {
            let (low, high) = (e.lane_low(to), e.lane_low(from));
            e.lane_from(low, high)
        } else {
            let low = e.lane_high(from);
            with_low(e, to, low)
        };
        write_lane::<E, V>(e, i, new);
        Ok(())
    }
}
impl<V: Encoding> Meaning for Double<V> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        if V::both_lanes(i) {
            let value = read_lanes::<E, F, 2>(e, i, 1)?;
            let twice = value.map(|lane| e.lane_op::<Punpcklqdq>(lane, lane, 0));
            write_lanes::<E, V, 2>(e, i, twice);
        } else {
            let value = read_low::<E, F>(e, i, 1, Width::W64)?;
            let twice = e.lane_op::<Punpcklqdq>(value, value, 0);
            write_lane::<E, V>(e, i, twice);
        }
        Ok(())
    }
}
impl<const W: u8, V: Encoding> Meaning for FromGpr<W, V> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let value = read_gpr::<E, F>(e, i, 1, width(W))?;
        let value = extend(e, value);
        write_lane::<E, V>(e, i, value);
        Ok(())
    }
}
impl<const W: u8> Meaning for ToGpr<W> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let value = e.vector(i.reg[1], 0);
        let low = e.lane_low(value);
        let low = e.truncate(width(W), low);
        write_gpr::<E, F>(e, i, 0, width(W), low)
    }
}
impl<const ALL: bool> Meaning for Zero<ALL> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let zero = e.constant(0);
        let zero = e.lane_from(zero, zero);
        for register in 0..if i.has(flag::MODE64) { 16 } else { 8 } {
            if ALL {
                e.set_vector(register, 0, zero);
            }
            e.set_vector(register, 1, zero);
        }
        Ok(())
    }
}

/// Rows of this family.
pub fn list<R: Rows>(rows: &mut R) {
    vectors(rows);
    scalars(rows);
    parts(rows);
    general_purpose(rows);
    rows.add::<Zero<true>>(VEX_Vzeroall, AVX);
    rows.add::<Zero<false>>(VEX_Vzeroupper, AVX);
}

/// A load in all its encodings: legacy, VEX.128, VEX.256.
fn load(rows: &mut impl Rows, aligned: bool, [legacy, xmm, ymm]: [Code; 3]) {
    rows.add::<Load>(legacy, if aligned { ALIGNED } else { SSE });
    for code in [xmm, ymm] {
        rows.add::<Load<VexUnary>>(code, if aligned { AVX_ALIGNED } else { AVX });
    }
}

/// A store in all its encodings.
fn store_rows(rows: &mut impl Rows, aligned: bool, [legacy, xmm, ymm]: [Code; 3]) {
    rows.add::<Store>(legacy, if aligned { ALIGNED } else { SSE });
    for code in [xmm, ymm] {
        rows.add::<Store<VexUnary>>(code, if aligned { AVX_ALIGNED } else { AVX });
    }
}

fn vectors<R: Rows>(rows: &mut R) {
    load(rows, true, [Movaps_xmm_xmmm128, VEX_Vmovaps_xmm_xmmm128, VEX_Vmovaps_ymm_ymmm256]);
    store_rows(rows, true, [Movaps_xmmm128_xmm, VEX_Vmovaps_xmmm128_xmm, VEX_Vmovaps_ymmm256_ymm]);
    load(rows, true, [Movapd_xmm_xmmm128, VEX_Vmovapd_xmm_xmmm128, VEX_Vmovapd_ymm_ymmm256]);
    store_rows(rows, true, [Movapd_xmmm128_xmm, VEX_Vmovapd_xmmm128_xmm, VEX_Vmovapd_ymmm256_ymm]);
    load(rows, true, [Movdqa_xmm_xmmm128, VEX_Vmovdqa_xmm_xmmm128, VEX_Vmovdqa_ymm_ymmm256]);
    store_rows(rows, true, [Movdqa_xmmm128_xmm, VEX_Vmovdqa_xmmm128_xmm, VEX_Vmovdqa_ymmm256_ymm]);
    load(rows, false, [Movups_xmm_xmmm128, VEX_Vmovups_xmm_xmmm128, VEX_Vmovups_ymm_ymmm256]);
    store_rows(rows, false, [Movups_xmmm128_xmm, VEX_Vmovups_xmmm128_xmm, VEX_Vmovups_ymmm256_ymm]);
    load(rows, false, [Movupd_xmm_xmmm128, VEX_Vmovupd_xmm_xmmm128, VEX_Vmovupd_ymm_ymmm256]);
    store_rows(rows, false, [Movupd_xmmm128_xmm, VEX_Vmovupd_xmmm128_xmm, VEX_Vmovupd_ymmm256_ymm]);
    load(rows, false, [Movdqu_xmm_xmmm128, VEX_Vmovdqu_xmm_xmmm128, VEX_Vmovdqu_ymm_ymmm256]);
    store_rows(rows, false, [Movdqu_xmmm128_xmm, VEX_Vmovdqu_xmmm128_xmm, VEX_Vmovdqu_ymmm256_ymm]);
    load(rows, true, [Movntdqa_xmm_m128, VEX_Vmovntdqa_xmm_m128, VEX_Vmovntdqa_ymm_m256]);
    load(rows, false, [Lddqu_xmm_m128, VEX_Vlddqu_xmm_m128, VEX_Vlddqu_ymm_m256]);
    store_rows(rows, true, [Movntps_m128_xmm, VEX_Vmovntps_m128_xmm, VEX_Vmovntps_m256_ymm]);
    store_rows(rows, true, [Movntpd_m128_xmm, VEX_Vmovntpd_m128_xmm, VEX_Vmovntpd_m256_ymm]);
    store_rows(rows, true, [Movntdq_m128_xmm, VEX_Vmovntdq_m128_xmm, VEX_Vmovntdq_m256_ymm]);
    rows.add::<Double>(Movddup_xmm_xmmm64, SSE);
    for code in [VEX_Vmovddup_xmm_xmmm64, VEX_Vmovddup_ymm_ymmm256] {
        rows.add::<Double<VexUnary>>(code, AVX);
    }
}

fn scalars<R: Rows>(rows: &mut R) {
    rows.add::<LoadLow<2>>(Movss_xmm_xmmm32, SSE);
    rows.add::<StoreLow<2>>(Movss_xmmm32_xmm, SSE);
    rows.add::<LoadLow<3>>(Movsd_xmm_xmmm64, SSE);
    rows.add::<StoreLow<3>>(Movsd_xmmm64_xmm, SSE);
    rows.add::<LoadLow<2, VexUnary>>(VEX_Vmovss_xmm_m32, AVX);
    rows.add::<StoreLow<2>>(VEX_Vmovss_m32_xmm, AVX);
    rows.add::<LoadLow<3, VexUnary>>(VEX_Vmovsd_xmm_m64, AVX);
    rows.add::<StoreLow<3>>(VEX_Vmovsd_m64_xmm, AVX);
    for code in [VEX_Vmovss_xmm_xmm_xmm, VEX_Vmovss_xmm_xmm_xmm_0F11] {
        rows.add::<MergeLow<2>>(code, AVX);
    }
    for code in [VEX_Vmovsd_xmm_xmm_xmm, VEX_Vmovsd_xmm_xmm_xmm_0F11] {
        rows.add::<MergeLow<3>>(code, AVX);
    }
    rows.add::<LoadQuad>(Movq_xmm_xmmm64, SSE);
    rows.add::<StoreQuad>(Movq_xmmm64_xmm, SSE);
    rows.add::<LoadQuad<VexUnary>>(VEX_Vmovq_xmm_xmmm64, AVX);
    rows.add::<StoreQuad<VexUnary>>(VEX_Vmovq_xmmm64_xmm, AVX);
}

fn parts<R: Rows>(rows: &mut R) {
    for (legacy, vex) in
        [(Movlps_xmm_m64, VEX_Vmovlps_xmm_xmm_m64), (Movlpd_xmm_m64, VEX_Vmovlpd_xmm_xmm_m64)]
    {
        rows.add::<LoadHalf<false>>(legacy, SSE);
        rows.add::<LoadHalf<false, Vex>>(vex, AVX);
    }
    for (legacy, vex) in
        [(Movhps_xmm_m64, VEX_Vmovhps_xmm_xmm_m64), (Movhpd_xmm_m64, VEX_Vmovhpd_xmm_xmm_m64)]
    {
        rows.add::<LoadHalf<true>>(legacy, SSE);
        rows.add::<LoadHalf<true, Vex>>(vex, AVX);
    }
    for (legacy, vex) in [(Movlps_m64_xmm, VEX_Vmovlps_m64_xmm), (Movlpd_m64_xmm, VEX_Vmovlpd_m64_xmm)] {
        rows.add::<StoreHalf<false>>(legacy, SSE);
        rows.add::<StoreHalf<false>>(vex, AVX);
    }
    for (legacy, vex) in [(Movhps_m64_xmm, VEX_Vmovhps_m64_xmm), (Movhpd_m64_xmm, VEX_Vmovhpd_m64_xmm)] {
        rows.add::<StoreHalf<true>>(legacy, SSE);
        rows.add::<StoreHalf<true>>(vex, AVX);
    }
    rows.add::<Cross<false>>(Movhlps_xmm_xmm, SSE);
    rows.add::<Cross<true>>(Movlhps_xmm_xmm, SSE);
    rows.add::<Cross<false, Vex>>(VEX_Vmovhlps_xmm_xmm_xmm, AVX);
    rows.add::<Cross<true, Vex>>(VEX_Vmovlhps_xmm_xmm_xmm, AVX);
}

fn general_purpose<R: Rows>(rows: &mut R) {
    rows.add::<FromGpr<2>>(Movd_xmm_rm32, SSE);
    rows.add::<FromGpr<3>>(Movq_xmm_rm64, SSE);
    rows.add::<FromGpr<2, VexUnary>>(VEX_Vmovd_xmm_rm32, AVX);
    rows.add::<FromGpr<3, VexUnary>>(VEX_Vmovq_xmm_rm64, AVX);
    rows.add::<ToGpr<2>>(Movd_rm32_xmm, SSE);
    rows.add::<ToGpr<3>>(Movq_rm64_xmm, SSE);
    rows.add::<ToGpr<2>>(VEX_Vmovd_rm32_xmm, AVX);
    rows.add::<ToGpr<3>>(VEX_Vmovq_rm64_xmm, AVX);
}
