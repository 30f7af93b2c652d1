//! Floating-point arithmetic and comparison. SDM vol. 1, 10.4.1.2, 11.4.1.2, 12.3.4, 12.6.1, 12.6.4, 14.1.
//!
//! Results and exceptions are MXCSR's business (`fp_op`). Only COMISS, COMISD, UCOMISS and UCOMISD set flags:
//! ZF, PF and CF; OF, SF and AF become zero.

use super::{
    AVX_FP, Meaning, PACKED, Rows, SCALAR,
    operand::{Encoding, Legacy, Vex, VexUnary, read_lanes, read_low, registers, set_low_flags, write_lanes},
    packed::{PackedFp, ScalarFp, width},
};
use crate::{
    decode::Insn,
    lane::{FpOperation, fp::*},
    semantics::{Emitter, Form, Step},
};
use iced_x86::Code::{self, *};
use std::marker::PhantomData;

/// A comparison of scalars of 2^`W` bytes that sets the flags.
struct Compare<O, const W: u8>(PhantomData<O>);

impl<O: FpOperation, const W: u8> Meaning for Compare<O, W> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let b = read_low::<E, F>(e, i, 1, width(W))?;
        let a = e.vector(i.reg[0], 0);
        let flags = e.fp_op::<O>(a, b, 0)?;
        let flags = e.lane_low(flags);
        set_low_flags(e, flags);
        Ok(())
    }
}

/// DPPS. Its steps are operations: what one raises unmasked ends the instruction, before the next has set flags. So it
/// is on Zen 4; the manual says nothing.
struct DotSingles<V>(PhantomData<V>);

impl<V: Encoding> Meaning for DotSingles<V> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        if V::both_lanes(i) { dot_singles::<E, F, V, 2>(e, i) } else { dot_singles::<E, F, V, 1>(e, i) }
    }
}

#[inline(always)]
fn dot_singles<E: Emitter, F: Form, V: Encoding, const N: usize>(e: &mut E, i: &Insn) -> Step<E> {
    let imm = i.imm as u8;
    let b = read_lanes::<E, F, N>(e, i, V::FIRST + 1)?;
    let a = registers::<E, N>(e, i, V::FIRST);
    let products = e.fp_lanes::<DppsProducts, N>(a, b, imm)?;
    let pairs = e.fp_lanes::<DppsPairs, N>(products, products, imm)?;
    let sum = e.fp_lanes::<DppsSum, N>(pairs, pairs, imm)?;
    write_lanes::<E, V, N>(e, i, sum);
    Ok(())
}

/// DPPD, as [`DotSingles`].
struct DotDoubles<V>(PhantomData<V>);

impl<V: Encoding> Meaning for DotDoubles<V> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let imm = i.imm as u8;
        let b = read_lanes::<E, F, 1>(e, i, V::FIRST + 1)?;
        let a = registers::<E, 1>(e, i, V::FIRST);
        let products = e.fp_lanes::<DppdProducts, 1>(a, b, imm)?;
        let sum = e.fp_lanes::<DppdSum, 1>(products, products, imm)?;
        write_lanes::<E, V, 1>(e, i, sum);
        Ok(())
    }
}

/// A packed operation on two sources in all its encodings: legacy, VEX.128, VEX.256.
fn packed<O: FpOperation>(rows: &mut impl Rows, [legacy, xmm, ymm]: [Code; 3]) {
    rows.add::<PackedFp<O>>(legacy, PACKED);
    rows.add::<PackedFp<O, Vex>>(xmm, AVX_FP);
    rows.add::<PackedFp<O, Vex>>(ymm, AVX_FP);
}

/// The same on one source.
pub fn unary<O: FpOperation>(rows: &mut impl Rows, [legacy, xmm, ymm]: [Code; 3]) {
    rows.add::<PackedFp<O>>(legacy, PACKED);
    rows.add::<PackedFp<O, VexUnary>>(xmm, AVX_FP);
    rows.add::<PackedFp<O, VexUnary>>(ymm, AVX_FP);
}

/// An operation on neighbours, too long to be inlined into handlers of its own: legacy, VEX.128, VEX.256.
fn neighbours<O: FpOperation>(rows: &mut impl Rows, [legacy, xmm, ymm]: [Code; 3]) {
    rows.add_rare::<PackedFp<O>>(legacy, PACKED);
    rows.add_rare::<PackedFp<O, Vex>>(xmm, AVX_FP);
    rows.add_rare::<PackedFp<O, Vex>>(ymm, AVX_FP);
}

/// An operation on scalars of 2^`W` bytes: legacy, VEX (the rest of the lane is the first source's).
pub fn scalar<O: FpOperation, const W: u8>(rows: &mut impl Rows, [legacy, vex]: [Code; 2]) {
    rows.add::<ScalarFp<O, W>>(legacy, SCALAR);
    rows.add::<ScalarFp<O, W, Vex>>(vex, AVX_FP);
}

/// A comparison that sets the flags: legacy, VEX.
fn compare<O: FpOperation, const W: u8>(rows: &mut impl Rows, [legacy, vex]: [Code; 2]) {
    rows.add::<Compare<O, W>>(legacy, SCALAR);
    rows.add::<Compare<O, W>>(vex, AVX_FP);
}

/// Rows of this family.
pub fn list<R: Rows>(rows: &mut R) {
    singles(rows);
    doubles(rows);
    comparisons(rows);
}

fn singles<R: Rows>(rows: &mut R) {
    packed::<Addps>(rows, [Addps_xmm_xmmm128, VEX_Vaddps_xmm_xmm_xmmm128, VEX_Vaddps_ymm_ymm_ymmm256]);
    packed::<Subps>(rows, [Subps_xmm_xmmm128, VEX_Vsubps_xmm_xmm_xmmm128, VEX_Vsubps_ymm_ymm_ymmm256]);
    packed::<Mulps>(rows, [Mulps_xmm_xmmm128, VEX_Vmulps_xmm_xmm_xmmm128, VEX_Vmulps_ymm_ymm_ymmm256]);
    packed::<Divps>(rows, [Divps_xmm_xmmm128, VEX_Vdivps_xmm_xmm_xmmm128, VEX_Vdivps_ymm_ymm_ymmm256]);
    packed::<Minps>(rows, [Minps_xmm_xmmm128, VEX_Vminps_xmm_xmm_xmmm128, VEX_Vminps_ymm_ymm_ymmm256]);
    packed::<Maxps>(rows, [Maxps_xmm_xmmm128, VEX_Vmaxps_xmm_xmm_xmmm128, VEX_Vmaxps_ymm_ymm_ymmm256]);
    unary::<Sqrtps>(rows, [Sqrtps_xmm_xmmm128, VEX_Vsqrtps_xmm_xmmm128, VEX_Vsqrtps_ymm_ymmm256]);
    unary::<Rcpps>(rows, [Rcpps_xmm_xmmm128, VEX_Vrcpps_xmm_xmmm128, VEX_Vrcpps_ymm_ymmm256]);
    unary::<Rsqrtps>(rows, [Rsqrtps_xmm_xmmm128, VEX_Vrsqrtps_xmm_xmmm128, VEX_Vrsqrtps_ymm_ymmm256]);
    unary::<Roundps>(
        rows,
        [Roundps_xmm_xmmm128_imm8, VEX_Vroundps_xmm_xmmm128_imm8, VEX_Vroundps_ymm_ymmm256_imm8],
    );
    neighbours::<Haddps>(
        rows,
        [Haddps_xmm_xmmm128, VEX_Vhaddps_xmm_xmm_xmmm128, VEX_Vhaddps_ymm_ymm_ymmm256],
    );
    neighbours::<Hsubps>(
        rows,
        [Hsubps_xmm_xmmm128, VEX_Vhsubps_xmm_xmm_xmmm128, VEX_Vhsubps_ymm_ymm_ymmm256],
    );
    packed::<Addsubps>(
        rows,
        [Addsubps_xmm_xmmm128, VEX_Vaddsubps_xmm_xmm_xmmm128, VEX_Vaddsubps_ymm_ymm_ymmm256],
    );
    rows.add_rare::<DotSingles<Legacy>>(Dpps_xmm_xmmm128_imm8, PACKED);
    for code in [VEX_Vdpps_xmm_xmm_xmmm128_imm8, VEX_Vdpps_ymm_ymm_ymmm256_imm8] {
        rows.add_rare::<DotSingles<Vex>>(code, AVX_FP);
    }
    scalar::<Addss, 2>(rows, [Addss_xmm_xmmm32, VEX_Vaddss_xmm_xmm_xmmm32]);
    scalar::<Subss, 2>(rows, [Subss_xmm_xmmm32, VEX_Vsubss_xmm_xmm_xmmm32]);
    scalar::<Mulss, 2>(rows, [Mulss_xmm_xmmm32, VEX_Vmulss_xmm_xmm_xmmm32]);
    scalar::<Divss, 2>(rows, [Divss_xmm_xmmm32, VEX_Vdivss_xmm_xmm_xmmm32]);
    scalar::<Minss, 2>(rows, [Minss_xmm_xmmm32, VEX_Vminss_xmm_xmm_xmmm32]);
    scalar::<Maxss, 2>(rows, [Maxss_xmm_xmmm32, VEX_Vmaxss_xmm_xmm_xmmm32]);
    scalar::<Sqrtss, 2>(rows, [Sqrtss_xmm_xmmm32, VEX_Vsqrtss_xmm_xmm_xmmm32]);
    scalar::<Rcpss, 2>(rows, [Rcpss_xmm_xmmm32, VEX_Vrcpss_xmm_xmm_xmmm32]);
    scalar::<Rsqrtss, 2>(rows, [Rsqrtss_xmm_xmmm32, VEX_Vrsqrtss_xmm_xmm_xmmm32]);
    scalar::<Roundss, 2>(rows, [Roundss_xmm_xmmm32_imm8, VEX_Vroundss_xmm_xmm_xmmm32_imm8]);
}

fn doubles<R: Rows>(rows: &mut R) {
    packed::<Addpd>(rows, [Addpd_xmm_xmmm128, VEX_Vaddpd_xmm_xmm_xmmm128, VEX_Vaddpd_ymm_ymm_ymmm256]);
    packed::<Subpd>(rows, [Subpd_xmm_xmmm128, VEX_Vsubpd_xmm_xmm_xmmm128, VEX_Vsubpd_ymm_ymm_ymmm256]);
    packed::<Mulpd>(rows, [Mulpd_xmm_xmmm128, VEX_Vmulpd_xmm_xmm_xmmm128, VEX_Vmulpd_ymm_ymm_ymmm256]);
    packed::<Divpd>(rows, [Divpd_xmm_xmmm128, VEX_Vdivpd_xmm_xmm_xmmm128, VEX_Vdivpd_ymm_ymm_ymmm256]);
    packed::<Minpd>(rows, [Minpd_xmm_xmmm128, VEX_Vminpd_xmm_xmm_xmmm128, VEX_Vminpd_ymm_ymm_ymmm256]);
    packed::<Maxpd>(rows, [Maxpd_xmm_xmmm128, VEX_Vmaxpd_xmm_xmm_xmmm128, VEX_Vmaxpd_ymm_ymm_ymmm256]);
    unary::<Sqrtpd>(rows, [Sqrtpd_xmm_xmmm128, VEX_Vsqrtpd_xmm_xmmm128, VEX_Vsqrtpd_ymm_ymmm256]);
    unary::<Roundpd>(
        rows,
        [Roundpd_xmm_xmmm128_imm8, VEX_Vroundpd_xmm_xmmm128_imm8, VEX_Vroundpd_ymm_ymmm256_imm8],
    );
    packed::<Haddpd>(rows, [Haddpd_xmm_xmmm128, VEX_Vhaddpd_xmm_xmm_xmmm128, VEX_Vhaddpd_ymm_ymm_ymmm256]);
    packed::<Hsubpd>(rows, [Hsubpd_xmm_xmmm128, VEX_Vhsubpd_xmm_xmm_xmmm128, VEX_Vhsubpd_ymm_ymm_ymmm256]);
    packed::<Addsubpd>(
        rows,
        [Addsubpd_xmm_xmmm128, VEX_Vaddsubpd_xmm_xmm_xmmm128, VEX_Vaddsubpd_ymm_ymm_ymmm256],
    );
    // There is no 256-bit form.
    rows.add_rare::<DotDoubles<Legacy>>(Dppd_xmm_xmmm128_imm8, PACKED);
    rows.add_rare::<DotDoubles<Vex>>(VEX_Vdppd_xmm_xmm_xmmm128_imm8, AVX_FP);
    scalar::<Addsd, 3>(rows, [Addsd_xmm_xmmm64, VEX_Vaddsd_xmm_xmm_xmmm64]);
    scalar::<Subsd, 3>(rows, [Subsd_xmm_xmmm64, VEX_Vsubsd_xmm_xmm_xmmm64]);
    scalar::<Mulsd, 3>(rows, [Mulsd_xmm_xmmm64, VEX_Vmulsd_xmm_xmm_xmmm64]);
    scalar::<Divsd, 3>(rows, [Divsd_xmm_xmmm64, VEX_Vdivsd_xmm_xmm_xmmm64]);
    scalar::<Minsd, 3>(rows, [Minsd_xmm_xmmm64, VEX_Vminsd_xmm_xmm_xmmm64]);
    scalar::<Maxsd, 3>(rows, [Maxsd_xmm_xmmm64, VEX_Vmaxsd_xmm_xmm_xmmm64]);
    scalar::<Sqrtsd, 3>(rows, [Sqrtsd_xmm_xmmm64, VEX_Vsqrtsd_xmm_xmm_xmmm64]);
    scalar::<Roundsd, 3>(rows, [Roundsd_xmm_xmmm64_imm8, VEX_Vroundsd_xmm_xmm_xmmm64_imm8]);
}

/// Without VEX the predicate has three bits, with it five.
fn comparisons<R: Rows>(rows: &mut R) {
    rows.add::<PackedFp<Cmpps>>(Cmpps_xmm_xmmm128_imm8, PACKED);
    rows.add::<PackedFp<Cmppd>>(Cmppd_xmm_xmmm128_imm8, PACKED);
    rows.add::<ScalarFp<Cmpss, 2>>(Cmpss_xmm_xmmm32_imm8, SCALAR);
    rows.add::<ScalarFp<Cmpsd, 3>>(Cmpsd_xmm_xmmm64_imm8, SCALAR);
    for code in [VEX_Vcmpps_xmm_xmm_xmmm128_imm8, VEX_Vcmpps_ymm_ymm_ymmm256_imm8] {
        rows.add::<PackedFp<Vcmpps, Vex>>(code, AVX_FP);
    }
    for code in [VEX_Vcmppd_xmm_xmm_xmmm128_imm8, VEX_Vcmppd_ymm_ymm_ymmm256_imm8] {
        rows.add::<PackedFp<Vcmppd, Vex>>(code, AVX_FP);
    }
    rows.add::<ScalarFp<Vcmpss, 2, Vex>>(VEX_Vcmpss_xmm_xmm_xmmm32_imm8, AVX_FP);
    rows.add::<ScalarFp<Vcmpsd, 3, Vex>>(VEX_Vcmpsd_xmm_xmm_xmmm64_imm8, AVX_FP);
    compare::<Comiss, 2>(rows, [Comiss_xmm_xmmm32, VEX_Vcomiss_xmm_xmmm32]);
    compare::<Comisd, 3>(rows, [Comisd_xmm_xmmm64, VEX_Vcomisd_xmm_xmmm64]);
    compare::<Ucomiss, 2>(rows, [Ucomiss_xmm_xmmm32, VEX_Vucomiss_xmm_xmmm32]);
    compare::<Ucomisd, 3>(rows, [Ucomisd_xmm_xmmm64, VEX_Vucomisd_xmm_xmmm64]);
}
