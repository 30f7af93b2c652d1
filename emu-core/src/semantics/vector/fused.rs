//! FMA: multiplication and addition rounded once. SDM vol. 1, 14.5.
//!
//! Mnemonics end in the order of operands, 132, 213 or 231: operands of these numbers, the first of which is the
//! destination too, are factor, factor and what is added.

use super::{
    AVX_FP, Meaning, Rows,
    operand::{Vex, merge, read_lanes, read_low, registers, write_lane, write_lanes},
    packed::width,
};
use crate::{
    decode::{Insn, flag},
    lane::{FpOperation3, fp::*},
    semantics::{Emitter, Form, Step},
};
use iced_x86::Code::{self, *};
use std::marker::PhantomData;

/// Operation `O` on vectors, operands in order `ORDER`.
struct Fused<O, const ORDER: u8>(PhantomData<O>);
/// Operation `O` on scalars of 2^`W` bytes; the rest of the destination's lane stays.
struct FusedScalar<O, const ORDER: u8, const W: u8>(PhantomData<O>);

/// Operands 1, 2 and 3 as an order has them.
#[inline(always)]
fn in_order<T, const ORDER: u8>(first: T, second: T, third: T) -> (T, T, T) {
    match ORDER {
        132 => (first, third, second),
        213 => (second, first, third),
        _ => (second, third, first),
    }
}

impl<O: FpOperation3, const ORDER: u8> Meaning for Fused<O, ORDER> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        if i.has(flag::L256) { fused::<E, F, O, ORDER, 2>(e, i) } else { fused::<E, F, O, ORDER, 1>(e, i) }
    }
}

#[inline(always)]
fn fused<E: Emitter, F: Form, O: FpOperation3, const ORDER: u8, const N: usize>(
    e: &mut E,
    i: &Insn,
) -> Step<E> {
    let third = read_lanes::<E, F, N>(e, i, 2)?;
    let (first, second) = (registers::<E, N>(e, i, 0), registers::<E, N>(e, i, 1));
    let (a, b, c) = in_order::<_, ORDER>(first, second, third);
    let r = e.fp_lanes3::<O, N>(a, b, c)?;
    write_lanes::<E, Vex, N>(e, i, r);
    Ok(())
}

impl<O: FpOperation3, const ORDER: u8, const W: u8> Meaning for FusedScalar<O, ORDER, W> {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let third = read_low::<E, F>(e, i, 2, width(W))?;
        let (first, second) = (e.vector(i.reg[0], 0), e.vector(i.reg[1], 0));
        let (a, b, c) = in_order::<_, ORDER>(first, second, third);
        let [r] = e.fp_lanes3::<O, 1>([a], [b], [c])?;
        let r = merge(e, width(W), first, r);
        write_lane::<E, Vex>(e, i, r);
        Ok(())
    }
}

/// An operation on vectors in all orders, 128 and 256 bits.
fn packed<O: FpOperation3>(rows: &mut impl Rows, [o132, o213, o231]: [[Code; 2]; 3]) {
    for code in o132 {
        rows.add::<Fused<O, 132>>(code, AVX_FP);
    }
    for code in o213 {
        rows.add::<Fused<O, 213>>(code, AVX_FP);
    }
    for code in o231 {
        rows.add::<Fused<O, 231>>(code, AVX_FP);
    }
}

/// An operation on scalars of 2^`W` bytes in all orders.
fn scalar<O: FpOperation3, const W: u8>(rows: &mut impl Rows, [o132, o213, o231]: [Code; 3]) {
    rows.add::<FusedScalar<O, 132, W>>(o132, AVX_FP);
    rows.add::<FusedScalar<O, 213, W>>(o213, AVX_FP);
    rows.add::<FusedScalar<O, 231, W>>(o231, AVX_FP);
}

/// Rows of this family.
pub fn list<R: Rows>(rows: &mut R) {
    singles(rows);
    doubles(rows);
    scalars(rows);
}

fn singles<R: Rows>(rows: &mut R) {
    packed::<Fmaddps>(
        rows,
        [
            [VEX_Vfmadd132ps_xmm_xmm_xmmm128, VEX_Vfmadd132ps_ymm_ymm_ymmm256],
            [VEX_Vfmadd213ps_xmm_xmm_xmmm128, VEX_Vfmadd213ps_ymm_ymm_ymmm256],
            [VEX_Vfmadd231ps_xmm_xmm_xmmm128, VEX_Vfmadd231ps_ymm_ymm_ymmm256],
        ],
    );
    packed::<Fmsubps>(
        rows,
        [
            [VEX_Vfmsub132ps_xmm_xmm_xmmm128, VEX_Vfmsub132ps_ymm_ymm_ymmm256],
            [VEX_Vfmsub213ps_xmm_xmm_xmmm128, VEX_Vfmsub213ps_ymm_ymm_ymmm256],
            [VEX_Vfmsub231ps_xmm_xmm_xmmm128, VEX_Vfmsub231ps_ymm_ymm_ymmm256],
        ],
    );
    packed::<Fnmaddps>(
        rows,
        [
            [VEX_Vfnmadd132ps_xmm_xmm_xmmm128, VEX_Vfnmadd132ps_ymm_ymm_ymmm256],
            [VEX_Vfnmadd213ps_xmm_xmm_xmmm128, VEX_Vfnmadd213ps_ymm_ymm_ymmm256],
            [VEX_Vfnmadd231ps_xmm_xmm_xmmm128, VEX_Vfnmadd231ps_ymm_ymm_ymmm256],
        ],
    );
    packed::<Fnmsubps>(
        rows,
        [
            [VEX_Vfnmsub132ps_xmm_xmm_xmmm128, VEX_Vfnmsub132ps_ymm_ymm_ymmm256],
            [VEX_Vfnmsub213ps_xmm_xmm_xmmm128, VEX_Vfnmsub213ps_ymm_ymm_ymmm256],
            [VEX_Vfnmsub231ps_xmm_xmm_xmmm128, VEX_Vfnmsub231ps_ymm_ymm_ymmm256],
        ],
    );
    packed::<Fmaddsubps>(
        rows,
        [
            [VEX_Vfmaddsub132ps_xmm_xmm_xmmm128, VEX_Vfmaddsub132ps_ymm_ymm_ymmm256],
            [VEX_Vfmaddsub213ps_xmm_xmm_xmmm128, VEX_Vfmaddsub213ps_ymm_ymm_ymmm256],
            [VEX_Vfmaddsub231ps_xmm_xmm_xmmm128, VEX_Vfmaddsub231ps_ymm_ymm_ymmm256],
        ],
    );
    packed::<Fmsubaddps>(
        rows,
        [
            [VEX_Vfmsubadd132ps_xmm_xmm_xmmm128, VEX_Vfmsubadd132ps_ymm_ymm_ymmm256],
            [VEX_Vfmsubadd213ps_xmm_xmm_xmmm128, VEX_Vfmsubadd213ps_ymm_ymm_ymmm256],
            [VEX_Vfmsubadd231ps_xmm_xmm_xmmm128, VEX_Vfmsubadd231ps_ymm_ymm_ymmm256],
        ],
    );
}

fn doubles<R: Rows>(rows: &mut R) {
    packed::<Fmaddpd>(
        rows,
        [
            [VEX_Vfmadd132pd_xmm_xmm_xmmm128, VEX_Vfmadd132pd_ymm_ymm_ymmm256],
            [VEX_Vfmadd213pd_xmm_xmm_xmmm128, VEX_Vfmadd213pd_ymm_ymm_ymmm256],
            [VEX_Vfmadd231pd_xmm_xmm_xmmm128, VEX_Vfmadd231pd_ymm_ymm_ymmm256],
        ],
    );
    packed::<Fmsubpd>(
        rows,
        [
            [VEX_Vfmsub132pd_xmm_xmm_xmmm128, VEX_Vfmsub132pd_ymm_ymm_ymmm256],
            [VEX_Vfmsub213pd_xmm_xmm_xmmm128, VEX_Vfmsub213pd_ymm_ymm_ymmm256],
            [VEX_Vfmsub231pd_xmm_xmm_xmmm128, VEX_Vfmsub231pd_ymm_ymm_ymmm256],
        ],
    );
    packed::<Fnmaddpd>(
        rows,
        [
            [VEX_Vfnmadd132pd_xmm_xmm_xmmm128, VEX_Vfnmadd132pd_ymm_ymm_ymmm256],
            [VEX_Vfnmadd213pd_xmm_xmm_xmmm128, VEX_Vfnmadd213pd_ymm_ymm_ymmm256],
            [VEX_Vfnmadd231pd_xmm_xmm_xmmm128, VEX_Vfnmadd231pd_ymm_ymm_ymmm256],
        ],
    );
    packed::<Fnmsubpd>(
        rows,
        [
            [VEX_Vfnmsub132pd_xmm_xmm_xmmm128, VEX_Vfnmsub132pd_ymm_ymm_ymmm256],
            [VEX_Vfnmsub213pd_xmm_xmm_xmmm128, VEX_Vfnmsub213pd_ymm_ymm_ymmm256],
            [VEX_Vfnmsub231pd_xmm_xmm_xmmm128, VEX_Vfnmsub231pd_ymm_ymm_ymmm256],
        ],
    );
    packed::<Fmaddsubpd>(
        rows,
        [
            [VEX_Vfmaddsub132pd_xmm_xmm_xmmm128, VEX_Vfmaddsub132pd_ymm_ymm_ymmm256],
            [VEX_Vfmaddsub213pd_xmm_xmm_xmmm128, VEX_Vfmaddsub213pd_ymm_ymm_ymmm256],
            [VEX_Vfmaddsub231pd_xmm_xmm_xmmm128, VEX_Vfmaddsub231pd_ymm_ymm_ymmm256],
        ],
    );
    packed::<Fmsubaddpd>(
        rows,
        [
            [VEX_Vfmsubadd132pd_xmm_xmm_xmmm128, VEX_Vfmsubadd132pd_ymm_ymm_ymmm256],
            [VEX_Vfmsubadd213pd_xmm_xmm_xmmm128, VEX_Vfmsubadd213pd_ymm_ymm_ymmm256],
            [VEX_Vfmsubadd231pd_xmm_xmm_xmmm128, VEX_Vfmsubadd231pd_ymm_ymm_ymmm256],
        ],
    );
}

fn scalars<R: Rows>(rows: &mut R) {
    scalar::<Fmaddss, 2>(
        rows,
        [VEX_Vfmadd132ss_xmm_xmm_xmmm32, VEX_Vfmadd213ss_xmm_xmm_xmmm32, VEX_Vfmadd231ss_xmm_xmm_xmmm32],
    );
    scalar::<Fmsubss, 2>(
        rows,
        [VEX_Vfmsub132ss_xmm_xmm_xmmm32, VEX_Vfmsub213ss_xmm_xmm_xmmm32, VEX_Vfmsub231ss_xmm_xmm_xmmm32],
    );
    scalar::<Fnmaddss, 2>(
        rows,
        [VEX_Vfnmadd132ss_xmm_xmm_xmmm32, VEX_Vfnmadd213ss_xmm_xmm_xmmm32, VEX_Vfnmadd231ss_xmm_xmm_xmmm32],
    );
    scalar::<Fnmsubss, 2>(
        rows,
        [VEX_Vfnmsub132ss_xmm_xmm_xmmm32, VEX_Vfnmsub213ss_xmm_xmm_xmmm32, VEX_Vfnmsub231ss_xmm_xmm_xmmm32],
    );
    scalar::<Fmaddsd, 3>(
        rows,
        [VEX_Vfmadd132sd_xmm_xmm_xmmm64, VEX_Vfmadd213sd_xmm_xmm_xmmm64, VEX_Vfmadd231sd_xmm_xmm_xmmm64],
    );
    scalar::<Fmsubsd, 3>(
        rows,
        [VEX_Vfmsub132sd_xmm_xmm_xmmm64, VEX_Vfmsub213sd_xmm_xmm_xmmm64, VEX_Vfmsub231sd_xmm_xmm_xmmm64],
    );
    scalar::<Fnmaddsd, 3>(
        rows,
        [VEX_Vfnmadd132sd_xmm_xmm_xmmm64, VEX_Vfnmadd213sd_xmm_xmm_xmmm64, VEX_Vfnmadd231sd_xmm_xmm_xmmm64],
    );
    scalar::<Fnmsubsd, 3>(
        rows,
        [VEX_Vfnmsub132sd_xmm_xmm_xmmm64, VEX_Vfnmsub213sd_xmm_xmm_xmmm64, VEX_Vfnmsub231sd_xmm_xmm_xmmm64],
    );
}
