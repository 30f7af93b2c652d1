//! Moves. SDM vol. 1, 9.4.1, 10.4.1.1, 11.4.1.1, 11.4.2, 12.3.2, 12.3.3, 12.10.3.
//!
//! Scalar loads clear the rest of the lane; scalar moves between registers keep it.

use super::{
    ALIGNED, AVX, MMX, Meaning, Rows, SSE,
    mmx::{Elementwise, Shape},
    operand::{extend, read_gpr, read_lane, read_low, read_mmx, with_low, write_gpr},
    packed::width,
};
use crate::{
    arch::{Exception, Width},
    cpu::{Cpu, slot},
    decode::{Insn, Kind},
    lane::LaneOperation,
    mmu::Privilege,
    semantics::{Attr, Emitter, Form, Step},
};
use iced_x86::Code;
use std::marker::PhantomData;

/// A whole lane into a register.
struct Load;
/// A whole lane to a register or memory.
struct Store;
/// 2^`W` bytes: from memory with zeros above, from a register into the low element.
struct LoadLow<const W: u8>;
/// 2^`W` bytes from the low element: to memory, or to the low element of a register.
struct StoreLow<const W: u8>;
/// MOVQ: 64 bits with zeros above, whatever the source; from operand 1 to operand 0.
struct LoadQuad;
/// MOVQ in the other direction.
struct StoreQuad;
/// Low (`HIGH` false) or high half from memory.
struct LoadHalf<const HIGH: bool>;
/// Low or high half to memory.
struct StoreHalf<const HIGH: bool>;
/// MOVHLPS (`HIGH` false: the source's high half becomes the low one) and MOVLHPS.
struct Cross<const HIGH: bool>;
/// MOVDDUP: 64 bits twice.
struct Double;
/// MOVD and MOVQ from a general-purpose register or memory.
struct FromGpr<const W: u8>;
/// MOVD and MOVQ to a general-purpose register or memory.
struct ToGpr<const W: u8>;

impl Meaning for Load {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let value = read_lane::<E, F>(e, i, 1)?;
        e.set_vector(i.reg[0], 0, value);
        Ok(())
    }
}
impl Meaning for Store {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let value = e.vector(i.reg[1], 0);
        match F::kind(i, 0) {
            Kind::Mem => e.store_lanes(i, F::ADDRESS, [value]),
            _ => {
                e.set_vector(i.reg[0], 0, value);
                Ok(())
            }
        }
    }
}

/// `to` with the low `w` bits of `from`.
#[inline(always)]
fn merge<E: Emitter>(e: &mut E, w: Width, to: E::Lane, from: E::Lane) -> E::Lane {
    let mut low = e.lane_low(from);
    if w == Width::W32 {
        let (mask, upper) = (e.constant(w.mask()), e.constant(!w.mask()));
        let old = e.lane_low(to);
        let kept = e.and(old, upper);
        let new = e.and(low, mask);
        low = e.or(kept, new);
    }
    with_low(e, to, low)
}

impl<const W: u8> Meaning for LoadLow<W> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let mut value = read_low::<E, F>(e, i, 1, width(W))?;
        if F::kind(i, 1) != Kind::Mem {
            let to = e.vector(i.reg[0], 0);
            value = merge(e, width(W), to, value);
        }
        e.set_vector(i.reg[0], 0, value);
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
impl Meaning for LoadQuad {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let value = read_low::<E, F>(e, i, 1, Width::W64)?;
        let low = e.lane_low(value);
        let value = extend(e, low);
        e.set_vector(i.reg[0], 0, value);
        Ok(())
    }
}
impl Meaning for StoreQuad {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let value = e.vector(i.reg[1], 0);
        let low = e.lane_low(value);
        if F::kind(i, 0) == Kind::Mem {
            return e.store(i, F::ADDRESS, Width::W64, 0, low);
        }
        let value = extend(e, low);
        e.set_vector(i.reg[0], 0, value);
        Ok(())
    }
}
impl<const HIGH: bool> Meaning for LoadHalf<HIGH> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let value = e.load(i, F::ADDRESS, Width::W64, 0)?;
        let old = e.vector(i.reg[0], 0);
        let new = if HIGH {
            let low = e.lane_low(old);
            e.lane_from(low, value)
        } else {
            with_low(e, old, value)
        };
        e.set_vector(i.reg[0], 0, new);
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
impl<const HIGH: bool> Meaning for Cross<HIGH> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let (to, from) = (e.vector(i.reg[0], 0), e.vector(i.reg[1], 0));
        let new = if HIGH {
            let (low, high) = (e.lane_low(to), e.lane_low(from));
            e.lane_from(low, high)
        } else {
            let low = e.lane_high(from);
            with_low(e, to, low)
        };
        e.set_vector(i.reg[0], 0, new);
        Ok(())
    }
}
impl Meaning for Double {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let value = read_low::<E, F>(e, i, 1, Width::W64)?;
        let low = e.lane_low(value);
        let twice = e.lane_from(low, low);
        e.set_vector(i.reg[0], 0, twice);
        Ok(())
    }
}
impl<const W: u8> Meaning for FromGpr<W> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let value = read_gpr::<E, F>(e, i, 1, width(W))?;
        let value = extend(e, value);
        e.set_vector(i.reg[0], 0, value);
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

/// MOVQ mm, mm/m64.
struct LoadMmx;
/// MOVQ mm/m64, mm and MOVNTQ.
struct StoreMmx;
/// MOVD and MOVQ from a general-purpose register or memory.
struct MmxFromGpr<const W: u8>;
/// MOVD and MOVQ to a general-purpose register or memory.
struct MmxToGpr<const W: u8>;
/// MOVDQ2Q.
struct MmxFromXmm;
/// MOVQ2DQ.
struct XmmFromMmx;
/// PUNPCKLBW and its kin on MMX registers, whose memory operand has 32 bits.
pub struct UnpackLowMmx<O>(PhantomData<O>);

impl Meaning for LoadMmx {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        e.check_x87()?;
        let value = read_mmx::<E, F>(e, i, 1)?;
        e.enter_mmx();
        e.set_mmx(i.reg[0], value);
        Ok(())
    }
}
impl Meaning for StoreMmx {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        e.check_x87()?;
        let value = e.mmx(i.reg[1]);
        if F::kind(i, 0) == Kind::Mem {
            e.store(i, F::ADDRESS, Width::W64, 0, value)?;
            e.enter_mmx();
        } else {
            e.enter_mmx();
            e.set_mmx(i.reg[0], value);
        }
        Ok(())
    }
}
impl<const W: u8> Meaning for MmxFromGpr<W> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        e.check_x87()?;
        let value = read_gpr::<E, F>(e, i, 1, width(W))?;
        e.enter_mmx();
        e.set_mmx(i.reg[0], value);
        Ok(())
    }
}
impl<const W: u8> Meaning for MmxToGpr<W> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        e.check_x87()?;
        let value = e.mmx(i.reg[1]);
        let value = e.truncate(width(W), value);
        write_gpr::<E, F>(e, i, 0, width(W), value)?;
        e.enter_mmx();
        Ok(())
    }
}
impl Meaning for MmxFromXmm {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        e.check_x87()?;
        let value = e.vector(i.reg[1], 0);
        let low = e.lane_low(value);
        e.enter_mmx();
        e.set_mmx(i.reg[0], low);
        Ok(())
    }
}
impl Meaning for XmmFromMmx {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        e.check_x87()?;
        e.enter_mmx();
        let value = e.mmx(i.reg[1]);
        let value = extend(e, value);
        e.set_vector(i.reg[0], 0, value);
        Ok(())
    }
}
impl<O: LaneOperation> Meaning for UnpackLowMmx<O> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        e.check_x87()?;
        let b = match F::kind(i, 1) {
            Kind::Mem => e.load(i, F::ADDRESS, Width::W32, 0)?,
            _ => e.mmx(i.reg[1]),
        };
        let a = e.mmx(i.reg[0]);
        let r = Elementwise::apply::<E, O>(e, a, b, 0);
        e.enter_mmx();
        e.set_mmx(i.reg[0], r);
        Ok(())
    }
}

/// MASKMOVDQU and MASKMOVQ: bytes of operand 1 whose mask in operand 2 has the sign bit, to \[rDI\].
struct MaskMove;

impl Meaning for MaskMove {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        if i.kind[1] == Kind::Mmx {
            e.check_x87()?;
        }
        e.helper(i, mask_move)
    }
}

fn mask_move(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    let mmx = i.kind[1] == Kind::Mmx;
    let read = |register: u8| match mmx {
        true => cpu.x87.r[usize::from(register & 7)].significand.into(),
        false => cpu.simd.vector[usize::from(register & 15)][0],
    };
    let (data, mask) = (read(i.reg[1]).to_le_bytes(), read(i.reg[2]).to_le_bytes());
    let chosen = || (0..if mmx { 8 } else { 16u64 }).filter(|&k| mask[k as usize] & 0x80 != 0);
    let start = cpu.gpr(i.asize, slot::RDI);
    let mut addresses = [0; 16];
    // All bytes are checked before one is written.
    for k in chosen() {
        let linear = cpu.linear(i.segment(), start.wrapping_add(k) & i.asize.mask(), 1, true)?;
        cpu.probe_write(linear, 1, Privilege::Current)?;
        addresses[k as usize] = linear;
    }
    for k in chosen() {
        cpu.write_linear(addresses[k as usize], Width::W8, data[k as usize].into(), Privilege::Current)?;
    }
    if mmx {
        cpu.x87.enter_mmx();
    }
    Ok(())
}

/// Rows of this family.
pub fn list<R: Rows>(rows: &mut R) {
    lanes(rows);
    parts(rows);
    mmx(rows);
}

fn lanes<R: Rows>(rows: &mut R) {
    for code in [
        Code::Movaps_xmm_xmmm128,
        Code::Movapd_xmm_xmmm128,
        Code::Movdqa_xmm_xmmm128,
        Code::Movntdqa_xmm_m128,
    ] {
        rows.add::<Load>(code, ALIGNED);
    }
    for code in
        [Code::Movups_xmm_xmmm128, Code::Movupd_xmm_xmmm128, Code::Movdqu_xmm_xmmm128, Code::Lddqu_xmm_m128]
    {
        rows.add::<Load>(code, SSE);
    }
    for code in [
        Code::Movaps_xmmm128_xmm,
        Code::Movapd_xmmm128_xmm,
        Code::Movdqa_xmmm128_xmm,
        Code::Movntps_m128_xmm,
        Code::Movntpd_m128_xmm,
        Code::Movntdq_m128_xmm,
    ] {
        rows.add::<Store>(code, ALIGNED);
    }
    for code in [Code::Movups_xmmm128_xmm, Code::Movupd_xmmm128_xmm, Code::Movdqu_xmmm128_xmm] {
        rows.add::<Store>(code, SSE);
    }
    rows.add::<MaskMove>(Code::Maskmovdqu_rDI_xmm_xmm, SSE);
    rows.add_rare::<MaskMove>(Code::VEX_Vmaskmovdqu_rDI_xmm_xmm, AVX);
}

fn parts<R: Rows>(rows: &mut R) {
    rows.add::<LoadLow<2>>(Code::Movss_xmm_xmmm32, SSE);
    rows.add::<StoreLow<2>>(Code::Movss_xmmm32_xmm, SSE);
    rows.add::<LoadLow<3>>(Code::Movsd_xmm_xmmm64, SSE);
    rows.add::<StoreLow<3>>(Code::Movsd_xmmm64_xmm, SSE);
    rows.add::<LoadQuad>(Code::Movq_xmm_xmmm64, SSE);
    rows.add::<StoreQuad>(Code::Movq_xmmm64_xmm, SSE);
    for code in [Code::Movlps_xmm_m64, Code::Movlpd_xmm_m64] {
        rows.add::<LoadHalf<false>>(code, SSE);
    }
    for code in [Code::Movhps_xmm_m64, Code::Movhpd_xmm_m64] {
        rows.add::<LoadHalf<true>>(code, SSE);
    }
    for code in [Code::Movlps_m64_xmm, Code::Movlpd_m64_xmm] {
        rows.add::<StoreHalf<false>>(code, SSE);
    }
    for code in [Code::Movhps_m64_xmm, Code::Movhpd_m64_xmm] {
        rows.add::<StoreHalf<true>>(code, SSE);
    }
    rows.add::<Cross<false>>(Code::Movhlps_xmm_xmm, SSE);
    rows.add::<Cross<true>>(Code::Movlhps_xmm_xmm, SSE);
    rows.add::<Double>(Code::Movddup_xmm_xmmm64, SSE);
    rows.add::<FromGpr<2>>(Code::Movd_xmm_rm32, SSE);
    rows.add::<FromGpr<3>>(Code::Movq_xmm_rm64, SSE);
    rows.add::<ToGpr<2>>(Code::Movd_rm32_xmm, SSE);
    rows.add::<ToGpr<3>>(Code::Movq_rm64_xmm, SSE);
}

fn mmx<R: Rows>(rows: &mut R) {
    let with_sse = Attr::MMX | Attr::SSE;
    rows.add::<LoadMmx>(Code::Movq_mm_mmm64, MMX);
    rows.add::<StoreMmx>(Code::Movq_mmm64_mm, MMX);
    rows.add::<StoreMmx>(Code::Movntq_m64_mm, MMX);
    rows.add::<MmxFromGpr<2>>(Code::Movd_mm_rm32, MMX);
    rows.add::<MmxFromGpr<3>>(Code::Movq_mm_rm64, MMX);
    rows.add::<MmxToGpr<2>>(Code::Movd_rm32_mm, MMX);
    rows.add::<MmxToGpr<3>>(Code::Movq_rm64_mm, MMX);
    rows.add::<MmxFromXmm>(Code::Movdq2q_mm_xmm, with_sse);
    rows.add::<XmmFromMmx>(Code::Movq2dq_xmm_mm, with_sse);
    rows.add::<MaskMove>(Code::Maskmovq_rDI_mm_mm, MMX);
}
