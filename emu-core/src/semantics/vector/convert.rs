//! Conversions. SDM vol. 1, 10.4.3, 11.4.1.6, 11.4.2, 14.1, 14.4.
//!
//! Those with MMX registers are the ones on XMM registers with zeros in the upper half, which convert without
//! an exception.

use super::{
    AVX_FP, Meaning, PACKED, Rows, SCALAR,
    float::{scalar, unary},
    operand::{
        Encoding, Legacy, Vex, VexUnary, extend, read_gpr, read_lane, read_lanes, read_low, read_mmx,
        registers, with_low, write_lane, write_lanes,
    },
    packed::{PackedFp, ScalarFp, width},
};
use crate::{
    arch::Width,
    decode::{Insn, Kind},
    lane::{FpOperation, fp::*},
    semantics::{AnyForm, Attr, Emitter, Form, Step},
};
use iced_x86::Code::{self, *};
use std::marker::PhantomData;

/// Elements to ones twice as wide: a lane from the low half of the source, the other from the high half.
struct Widen<O>(PhantomData<O>);
/// Elements to ones half as wide: both lanes to the halves of one.
struct Narrow<O>(PhantomData<O>);
/// VCVTPS2PH: like [`Narrow`], to a register or memory.
struct StoreNarrow<O>(PhantomData<O>);
/// An integer of 2^`W` bytes to the low element.
struct FromInteger<O, const W: u8, V = Legacy>(PhantomData<(O, V)>);
/// A scalar of 2^`FROM` bytes to an integer of 2^`TO` bytes.
struct ToInteger<O, const FROM: u8, const TO: u8>(PhantomData<O>);
/// Two integers in an MMX register or memory to two singles. From memory it is no MMX instruction.
struct Cvtpi2ps;
/// The same to two doubles.
struct Cvtpi2pd;
/// Two singles to an MMX register.
struct SinglesToMmx<O>(PhantomData<O>);
/// Two doubles to an MMX register.
struct DoublesToMmx<O>(PhantomData<O>);

impl<O: FpOperation> Meaning for Widen<O> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        if VexUnary::both_lanes(i) {
            let low = read_lane::<E, F>(e, i, 1)?;
            let high = e.lane_high(low);
            let high = extend(e, high);
            let r = e.fp_lanes::<O, 2>([low, high], [low, high], 0)?;
            write_lanes::<E, VexUnary, 2>(e, i, r);
        } else {
            let low = read_low::<E, F>(e, i, 1, Width::W64)?;
            let r = e.fp_op::<O>(low, low, 0)?;
            write_lane::<E, VexUnary>(e, i, r);
        }
        Ok(())
    }
}
impl<O: FpOperation> Meaning for Narrow<O> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let r = if VexUnary::both_lanes(i) {
            let source = read_lanes::<E, F, 2>(e, i, 1)?;
            narrow_both::<E, O>(e, i, source)?
        } else {
            let source = read_lane::<E, F>(e, i, 1)?;
            e.fp_op::<O>(source, source, 0)?
        };
        write_lane::<E, VexUnary>(e, i, r);
        Ok(())
    }
}

#[inline(always)]
fn narrow_both<E: Emitter, O: FpOperation>(
    e: &mut E,
    i: &Insn,
    source: [E::Lane; 2],
) -> Result<E::Lane, E::Fault> {
    let [low, high] = e.fp_lanes::<O, 2>(source, source, i.imm as u8)?;
    let (low, high) = (e.lane_low(low), e.lane_low(high));
    Ok(e.lane_from(low, high))
}

/// VCVTPS2PH once its store is known not to fault: it sets MXCSR's flags before it stores.
pub fn store_halves<E: Emitter>(e: &mut E, i: &Insn) -> Step<E> {
    StoreNarrow::<Vcvtps2ph>::run::<E, AnyForm>(e, i)
}

impl<O: FpOperation> Meaning for StoreNarrow<O> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let in_memory = F::kind(i, 0) == Kind::Mem;
        if VexUnary::both_lanes(i) {
            let source = registers::<E, 2>(e, i, 1);
            let r = narrow_both::<E, O>(e, i, source)?;
            if in_memory {
                return e.store_lanes(i, F::ADDRESS, [r]);
            }
            write_lane::<E, VexUnary>(e, i, r);
            return Ok(());
        }
        let source = e.vector(i.reg[1], 0);
        let r = e.fp_op::<O>(source, source, i.imm as u8)?;
        if in_memory {
            let low = e.lane_low(r);
            return e.store(i, F::ADDRESS, Width::W64, 0, low);
        }
        write_lane::<E, VexUnary>(e, i, r);
        Ok(())
    }
}
impl<O: FpOperation, const W: u8, V: Encoding> Meaning for FromInteger<O, W, V> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let value = read_gpr::<E, F>(e, i, V::FIRST + 1, width(W))?;
        let value = extend(e, value);
        let a = e.vector(i.reg[V::FIRST], 0);
        let r = e.fp_op::<O>(a, value, 0)?;
        write_lane::<E, V>(e, i, r);
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
        let mmx = F::kind(i, 1) != Kind::Mem;
        if mmx {
            e.check_x87()?;
        }
        let integers = read_mmx::<E, F>(e, i, 1)?;
        let integers = extend(e, integers);
        let singles = e.fp_op::<Cvtdq2ps>(integers, integers, 0)?;
        let low = e.lane_low(singles);
        let old = e.vector(i.reg[0], 0);
        let new = with_low(e, old, low);
        if mmx {
            e.enter_mmx();
        }
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

/// To elements twice as wide: legacy, VEX.128, VEX.256.
fn widen<O: FpOperation>(rows: &mut impl Rows, [legacy, xmm, ymm]: [Code; 3]) {
    rows.add::<ScalarFp<O, 3>>(legacy, SCALAR);
    rows.add::<Widen<O>>(xmm, AVX_FP);
    rows.add::<Widen<O>>(ymm, AVX_FP);
}

/// To elements half as wide.
fn narrow<O: FpOperation>(rows: &mut impl Rows, [legacy, xmm, ymm]: [Code; 3]) {
    rows.add::<PackedFp<O>>(legacy, PACKED);
    rows.add::<Narrow<O>>(xmm, AVX_FP);
    rows.add::<Narrow<O>>(ymm, AVX_FP);
}

/// From an integer of 2^`W` bytes: legacy, VEX.
fn from_integer<O: FpOperation, const W: u8>(rows: &mut impl Rows, [legacy, vex]: [Code; 2]) {
    rows.add::<FromInteger<O, W>>(legacy, SCALAR);
    rows.add::<FromInteger<O, W, Vex>>(vex, AVX_FP);
}

/// From 2^`FROM` bytes to an integer of 2^`TO` bytes.
fn to_integer<O: FpOperation, const FROM: u8, const TO: u8>(rows: &mut impl Rows, [legacy, vex]: [Code; 2]) {
    rows.add::<ToInteger<O, FROM, TO>>(legacy, SCALAR);
    rows.add::<ToInteger<O, FROM, TO>>(vex, AVX_FP);
}

/// Rows of this family.
pub fn list<R: Rows>(rows: &mut R) {
    vectors(rows);
    integers(rows);
    mmx(rows);
}

fn vectors<R: Rows>(rows: &mut R) {
    scalar::<Cvtss2sd, 2>(rows, [Cvtss2sd_xmm_xmmm32, VEX_Vcvtss2sd_xmm_xmm_xmmm32]);
    scalar::<Cvtsd2ss, 3>(rows, [Cvtsd2ss_xmm_xmmm64, VEX_Vcvtsd2ss_xmm_xmm_xmmm64]);
    widen::<Cvtps2pd>(rows, [Cvtps2pd_xmm_xmmm64, VEX_Vcvtps2pd_xmm_xmmm64, VEX_Vcvtps2pd_ymm_xmmm128]);
    widen::<Cvtdq2pd>(rows, [Cvtdq2pd_xmm_xmmm64, VEX_Vcvtdq2pd_xmm_xmmm64, VEX_Vcvtdq2pd_ymm_xmmm128]);
    narrow::<Cvtpd2ps>(rows, [Cvtpd2ps_xmm_xmmm128, VEX_Vcvtpd2ps_xmm_xmmm128, VEX_Vcvtpd2ps_xmm_ymmm256]);
    narrow::<Cvtpd2dq>(rows, [Cvtpd2dq_xmm_xmmm128, VEX_Vcvtpd2dq_xmm_xmmm128, VEX_Vcvtpd2dq_xmm_ymmm256]);
    narrow::<Cvttpd2dq>(
        rows,
        [Cvttpd2dq_xmm_xmmm128, VEX_Vcvttpd2dq_xmm_xmmm128, VEX_Vcvttpd2dq_xmm_ymmm256],
    );
    unary::<Cvtdq2ps>(rows, [Cvtdq2ps_xmm_xmmm128, VEX_Vcvtdq2ps_xmm_xmmm128, VEX_Vcvtdq2ps_ymm_ymmm256]);
    unary::<Cvtps2dq>(rows, [Cvtps2dq_xmm_xmmm128, VEX_Vcvtps2dq_xmm_xmmm128, VEX_Vcvtps2dq_ymm_ymmm256]);
    unary::<Cvttps2dq>(rows, [Cvttps2dq_xmm_xmmm128, VEX_Vcvttps2dq_xmm_xmmm128, VEX_Vcvttps2dq_ymm_ymmm256]);
    for code in [VEX_Vcvtph2ps_xmm_xmmm64, VEX_Vcvtph2ps_ymm_xmmm128] {
        rows.add::<Widen<Vcvtph2ps>>(code, AVX_FP);
    }
}

fn integers<R: Rows>(rows: &mut R) {
    from_integer::<Cvtsi2ss32, 2>(rows, [Cvtsi2ss_xmm_rm32, VEX_Vcvtsi2ss_xmm_xmm_rm32]);
    from_integer::<Cvtsi2ss64, 3>(rows, [Cvtsi2ss_xmm_rm64, VEX_Vcvtsi2ss_xmm_xmm_rm64]);
    from_integer::<Cvtsi2sd32, 2>(rows, [Cvtsi2sd_xmm_rm32, VEX_Vcvtsi2sd_xmm_xmm_rm32]);
    from_integer::<Cvtsi2sd64, 3>(rows, [Cvtsi2sd_xmm_rm64, VEX_Vcvtsi2sd_xmm_xmm_rm64]);
    to_integer::<Cvtss2si32, 2, 2>(rows, [Cvtss2si_r32_xmmm32, VEX_Vcvtss2si_r32_xmmm32]);
    to_integer::<Cvtss2si64, 2, 3>(rows, [Cvtss2si_r64_xmmm32, VEX_Vcvtss2si_r64_xmmm32]);
    to_integer::<Cvttss2si32, 2, 2>(rows, [Cvttss2si_r32_xmmm32, VEX_Vcvttss2si_r32_xmmm32]);
    to_integer::<Cvttss2si64, 2, 3>(rows, [Cvttss2si_r64_xmmm32, VEX_Vcvttss2si_r64_xmmm32]);
    to_integer::<Cvtsd2si32, 3, 2>(rows, [Cvtsd2si_r32_xmmm64, VEX_Vcvtsd2si_r32_xmmm64]);
    to_integer::<Cvtsd2si64, 3, 3>(rows, [Cvtsd2si_r64_xmmm64, VEX_Vcvtsd2si_r64_xmmm64]);
    to_integer::<Cvttsd2si32, 3, 2>(rows, [Cvttsd2si_r32_xmmm64, VEX_Vcvttsd2si_r32_xmmm64]);
    to_integer::<Cvttsd2si64, 3, 3>(rows, [Cvttsd2si_r64_xmmm64, VEX_Vcvttsd2si_r64_xmmm64]);
}

fn mmx<R: Rows>(rows: &mut R) {
    rows.add::<Cvtpi2ps>(Cvtpi2ps_xmm_mmm64, SCALAR);
    rows.add::<Cvtpi2pd>(Cvtpi2pd_xmm_mmm64, SCALAR);
    rows.add::<SinglesToMmx<Cvtps2dq>>(Cvtps2pi_mm_xmmm64, SCALAR | Attr::MMX);
    rows.add::<SinglesToMmx<Cvttps2dq>>(Cvttps2pi_mm_xmmm64, SCALAR | Attr::MMX);
    rows.add::<DoublesToMmx<Cvtpd2dq>>(Cvtpd2pi_mm_xmmm128, PACKED | Attr::MMX);
    rows.add::<DoublesToMmx<Cvttpd2dq>>(Cvttpd2pi_mm_xmmm128, PACKED | Attr::MMX);
}
