//! Whole lanes: inserted, extracted, permuted, broadcast. SDM vol. 2, VINSERTF128, VEXTRACTF128, VPERM2F128,
//! VBROADCASTF128 of AVX, and those of AVX2 with I in place of F, which do the same.

use super::{
    AVX, Meaning, Rows,
    operand::{Vex, read_lane, read_lanes, registers, write_lane, write_lanes},
};
use crate::{
    decode::{Insn, Kind},
    semantics::{Emitter, Form, Step},
};
use iced_x86::Code::*;

/// VINSERTF128: operand 2 replaces the lane that the immediate names.
struct Insert;
/// VEXTRACTF128: the lane that the immediate names to a register or memory.
struct Extract;
/// VPERM2F128: each lane is one of four, or zero.
struct Permute;
/// VBROADCASTF128: one lane twice.
struct Broadcast;

impl Meaning for Insert {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let lane = read_lane::<E, F>(e, i, 2)?;
        let [low, high] = registers::<E, 2>(e, i, 1);
        write_lanes::<E, Vex, 2>(e, i, if i.imm & 1 == 0 { [lane, high] } else { [low, lane] });
        Ok(())
    }
}
impl Meaning for Extract {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let lane = e.vector(i.reg[1], (i.imm & 1) as usize);
        if F::kind(i, 0) == Kind::Mem {
            return e.store_lanes(i, F::ADDRESS, [lane]);
        }
        write_lane::<E, Vex>(e, i, lane);
        Ok(())
    }
}
impl Meaning for Permute {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let b = read_lanes::<E, F, 2>(e, i, 2)?;
        let a = registers::<E, 2>(e, i, 1);
        let zero = e.constant(0);
        let zero = e.lane_from(zero, zero);
        let chosen = |field: u64| match field & 0b1011 {
            0 => a[0],
            1 => a[1],
            2 => b[0],
            3 => b[1],
            _ => zero,
        };
        write_lanes::<E, Vex, 2>(e, i, [chosen(i.imm), chosen(i.imm >> 4)]);
        Ok(())
    }
}
impl Meaning for Broadcast {
    #[inline(always)]
    fn run<E: Emitter, F: Form>(e: &mut E, i: &Insn) -> Step<E> {
        let lane = read_lane::<E, F>(e, i, 1)?;
        write_lanes::<E, Vex, 2>(e, i, [lane; 2]);
        Ok(())
    }
}

/// Rows of this family.
pub fn list<R: Rows>(rows: &mut R) {
    for code in [VEX_Vinsertf128_ymm_ymm_xmmm128_imm8, VEX_Vinserti128_ymm_ymm_xmmm128_imm8] {
        rows.add::<Insert>(code, AVX);
    }
    for code in [VEX_Vextractf128_xmmm128_ymm_imm8, VEX_Vextracti128_xmmm128_ymm_imm8] {
        rows.add::<Extract>(code, AVX);
    }
    for code in [VEX_Vperm2f128_ymm_ymm_ymmm256_imm8, VEX_Vperm2i128_ymm_ymm_ymmm256_imm8] {
        rows.add::<Permute>(code, AVX);
    }
    for code in [VEX_Vbroadcastf128_ymm_m128, VEX_Vbroadcasti128_ymm_m128] {
        rows.add::<Broadcast>(code, AVX);
    }
}
