//! Conversions. SDM vol. 1, 10.4.3, 11.4.1.6, 11.4.2.
//!
//! Those with MMX registers are the ones on XMM registers with zeros in the upper half, which convert without
//! an exception.

use super::{
    Meaning, PACKED, Rows, SCALAR,
    operand::{extend, read_gpr, read_lane, read_low, read_mmx, with_low},
    packed::{PackedFp, ScalarFp, width},
};
use crate::{
    arch::Width,
    decode::{Insn, Kind},
    lane::{FpOperation, fp::*},
    semantics::{Attr, Emitter, Form, Step},
};
use iced_x86::Code;
use std::marker::PhantomData;

/// An integer of 2^`W` bytes to the low element.
struct FromInteger<O, const W: u8>(PhantomData<O>);
/// A scalar of 2^`FROM` bytes to an integer of 2^`TO` bytes.
struct ToInteger<O, const FROM: u8, const TO: u8>(PhantomData<O>);
/// Two integers in an MMX register or memory to two singles.
struct Cvtpi2ps;
/// The same to two doubles. From memory it is no MMX instruction.
struct Cvtpi2pd;
/// Two singles to an MMX register.
struct SinglesToMmx<O>(PhantomData<O>);
/// Two doubles to an MMX register.
struct DoublesToMmx<O>(PhantomData<O>);

impl<O: FpOperation, const W: u8> Meaning for FromInteger<O, W> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let value = read_gpr::<E, F>(e, i, 1, width(W))?;
        let value = extend(e, value);
        let a = e.vector(i.reg[0], 0);
        let r = e.fp_op::<O>(a, value, 0)?;
        e.set_vector(i.reg[0], 0, r);
        Ok(())
    }
}
impl<O: FpOperation, const FROM: u8, const TO: u8> Meaning for ToInteger<O, FROM, TO> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let b = read_low::<E, F>(e, i, 1, width(FROM))?;
        let r = e.fp_op::<O>(b, b, 0)?;
        let value = e.lane_low(r);
        e.set_gpr(width(TO), i.reg[0], value);
        Ok(())
    }
}
impl Meaning for Cvtpi2ps {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        e.check_x87()?;
        let integers = read_mmx::<E, F>(e, i, 1)?;
        let integers = extend(e, integers);
        let singles = e.fp_op::<Cvtdq2ps>(integers, integers, 0)?;
        let low = e.lane_low(singles);
        let old = e.vector(i.reg[0], 0);
        let new = with_low(e, old, low);
        e.enter_mmx();
        e.set_vector(i.reg[0], 0, new);
        Ok(())
    }
}
impl Meaning for Cvtpi2pd {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let mmx = F::kind(i, 1) != Kind::Mem;
        if mmx {
            e.check_x87()?;
        }
        let integers = read_mmx::<E, F>(e, i, 1)?;
        let integers = extend(e, integers);
        let doubles = e.fp_op::<Cvtdq2pd>(integers, integers, 0)?;
        if mmx {
            e.enter_mmx();
        }
        e.set_vector(i.reg[0], 0, doubles);
        Ok(())
    }
}

/// Converts by `O` to an MMX register.
#[inline(always)]
fn to_mmx<E: Emitter, O: FpOperation>(e: &mut E, i: &Insn, source: E::Lane) -> Step<E> {
    let r = e.fp_op::<O>(source, source, 0)?;
    let low = e.lane_low(r);
    e.enter_mmx();
    e.set_mmx(i.reg[0], low);
    Ok(())
}

impl<O: FpOperation> Meaning for SinglesToMmx<O> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        e.check_x87()?;
        let b = read_low::<E, F>(e, i, 1, Width::W64)?;
        let low = e.lane_low(b);
        let source = extend(e, low);
        to_mmx::<E, O>(e, i, source)
    }
}
impl<O: FpOperation> Meaning for DoublesToMmx<O> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        e.check_x87()?;
        let source = read_lane::<E, F>(e, i, 1)?;
        to_mmx::<E, O>(e, i, source)
    }
}

/// Rows of this family.
pub fn list<R: Rows>(rows: &mut R) {
    rows.add::<ScalarFp<Cvtss2sd, 2>>(Code::Cvtss2sd_xmm_xmmm32, SCALAR);
    rows.add::<ScalarFp<Cvtsd2ss, 3>>(Code::Cvtsd2ss_xmm_xmmm64, SCALAR);
    rows.add::<ScalarFp<Cvtps2pd, 3>>(Code::Cvtps2pd_xmm_xmmm64, SCALAR);
    rows.add::<ScalarFp<Cvtdq2pd, 3>>(Code::Cvtdq2pd_xmm_xmmm64, SCALAR);
    rows.add::<PackedFp<Cvtpd2ps>>(Code::Cvtpd2ps_xmm_xmmm128, PACKED);
    rows.add::<PackedFp<Cvtdq2ps>>(Code::Cvtdq2ps_xmm_xmmm128, PACKED);
    rows.add::<PackedFp<Cvtps2dq>>(Code::Cvtps2dq_xmm_xmmm128, PACKED);
    rows.add::<PackedFp<Cvttps2dq>>(Code::Cvttps2dq_xmm_xmmm128, PACKED);
    rows.add::<PackedFp<Cvtpd2dq>>(Code::Cvtpd2dq_xmm_xmmm128, PACKED);
    rows.add::<PackedFp<Cvttpd2dq>>(Code::Cvttpd2dq_xmm_xmmm128, PACKED);
    rows.add::<FromInteger<Cvtsi2ss32, 2>>(Code::Cvtsi2ss_xmm_rm32, SCALAR);
    rows.add::<FromInteger<Cvtsi2ss64, 3>>(Code::Cvtsi2ss_xmm_rm64, SCALAR);
    rows.add::<FromInteger<Cvtsi2sd32, 2>>(Code::Cvtsi2sd_xmm_rm32, SCALAR);
    rows.add::<FromInteger<Cvtsi2sd64, 3>>(Code::Cvtsi2sd_xmm_rm64, SCALAR);
    rows.add::<ToInteger<Cvtss2si32, 2, 2>>(Code::Cvtss2si_r32_xmmm32, SCALAR);
    rows.add::<ToInteger<Cvtss2si64, 2, 3>>(Code::Cvtss2si_r64_xmmm32, SCALAR);
    rows.add::<ToInteger<Cvttss2si32, 2, 2>>(Code::Cvttss2si_r32_xmmm32, SCALAR);
    rows.add::<ToInteger<Cvttss2si64, 2, 3>>(Code::Cvttss2si_r64_xmmm32, SCALAR);
    rows.add::<ToInteger<Cvtsd2si32, 3, 2>>(Code::Cvtsd2si_r32_xmmm64, SCALAR);
    rows.add::<ToInteger<Cvtsd2si64, 3, 3>>(Code::Cvtsd2si_r64_xmmm64, SCALAR);
    rows.add::<ToInteger<Cvttsd2si32, 3, 2>>(Code::Cvttsd2si_r32_xmmm64, SCALAR);
    rows.add::<ToInteger<Cvttsd2si64, 3, 3>>(Code::Cvttsd2si_r64_xmmm64, SCALAR);
    rows.add::<Cvtpi2ps>(Code::Cvtpi2ps_xmm_mmm64, SCALAR | Attr::MMX);
    rows.add::<Cvtpi2pd>(Code::Cvtpi2pd_xmm_mmm64, SCALAR | Attr::MMX);
    rows.add::<SinglesToMmx<Cvtps2dq>>(Code::Cvtps2pi_mm_xmmm64, SCALAR | Attr::MMX);
    rows.add::<SinglesToMmx<Cvttps2dq>>(Code::Cvttps2pi_mm_xmmm64, SCALAR | Attr::MMX);
    rows.add::<DoublesToMmx<Cvtpd2dq>>(Code::Cvtpd2pi_mm_xmmm128, PACKED | Attr::MMX);
    rows.add::<DoublesToMmx<Cvttpd2dq>>(Code::Cvttpd2pi_mm_xmmm128, PACKED | Attr::MMX);
}
