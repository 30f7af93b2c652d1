//! Moves of MMX registers, and moves of bytes under a mask. SDM vol. 1, 9.4.1, 10.4.4, 11.4.2.

use super::{
    AVX, MMX, Meaning, Rows, SSE,
    mmx::{Elementwise, Shape},
    operand::{extend, read_gpr, read_mmx, write_gpr},
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

/// MASKMOVDQU, VMASKMOVDQU and MASKMOVQ: bytes of operand 1 whose mask in operand 2 has the sign bit, to \[rDI\].
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
    rows.add_rare::<MaskMove>(Code::Maskmovq_rDI_mm_mm, MMX);
    rows.add_rare::<MaskMove>(Code::Maskmovdqu_rDI_xmm_xmm, SSE);
    rows.add_rare::<MaskMove>(Code::VEX_Vmaskmovdqu_rDI_xmm_xmm, AVX);
}
