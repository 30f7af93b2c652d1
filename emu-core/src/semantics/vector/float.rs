//! Floating-point arithmetic and comparison. SDM vol. 1, 10.4.1.2, 11.4.1.2, 12.3.4, 12.6.1, 12.6.4.
//!
//! Results and exceptions are MXCSR's business (`fp_op`). Only COMISS, COMISD, UCOMISS and UCOMISD set flags:
//! ZF, PF and CF; OF, SF and AF become zero.

use super::{
    Meaning, PACKED, Rows, SCALAR,
    operand::{read_low, set_low_flags},
    packed::{PackedFp, ScalarFp, width},
};
use crate::{
    decode::Insn,
    lane::{FpOperation, fp::*},
    semantics::{Emitter, Form, Step},
};
use iced_x86::Code;
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

/// Rows of this family.
pub fn list<R: Rows>(rows: &mut R) {
    singles(rows);
    doubles(rows);
    rows.add::<Compare<Comiss, 2>>(Code::Comiss_xmm_xmmm32, SCALAR);
    rows.add::<Compare<Comisd, 3>>(Code::Comisd_xmm_xmmm64, SCALAR);
    rows.add::<Compare<Ucomiss, 2>>(Code::Ucomiss_xmm_xmmm32, SCALAR);
    rows.add::<Compare<Ucomisd, 3>>(Code::Ucomisd_xmm_xmmm64, SCALAR);
}

fn singles<R: Rows>(rows: &mut R) {
    rows.add::<PackedFp<Addps>>(Code::Addps_xmm_xmmm128, PACKED);
    rows.add::<PackedFp<Subps>>(Code::Subps_xmm_xmmm128, PACKED);
    rows.add::<PackedFp<Mulps>>(Code::Mulps_xmm_xmmm128, PACKED);
    rows.add::<PackedFp<Divps>>(Code::Divps_xmm_xmmm128, PACKED);
    rows.add::<PackedFp<Minps>>(Code::Minps_xmm_xmmm128, PACKED);
    rows.add::<PackedFp<Maxps>>(Code::Maxps_xmm_xmmm128, PACKED);
    rows.add::<PackedFp<Sqrtps>>(Code::Sqrtps_xmm_xmmm128, PACKED);
    rows.add::<PackedFp<Rcpps>>(Code::Rcpps_xmm_xmmm128, PACKED);
    rows.add::<PackedFp<Rsqrtps>>(Code::Rsqrtps_xmm_xmmm128, PACKED);
    rows.add::<PackedFp<Cmpps>>(Code::Cmpps_xmm_xmmm128_imm8, PACKED);
    rows.add::<PackedFp<Roundps>>(Code::Roundps_xmm_xmmm128_imm8, PACKED);
    rows.add::<PackedFp<Haddps>>(Code::Haddps_xmm_xmmm128, PACKED);
    rows.add::<PackedFp<Hsubps>>(Code::Hsubps_xmm_xmmm128, PACKED);
    rows.add::<PackedFp<Addsubps>>(Code::Addsubps_xmm_xmmm128, PACKED);
    rows.add::<PackedFp<Dpps>>(Code::Dpps_xmm_xmmm128_imm8, PACKED);
    rows.add::<ScalarFp<Addss, 2>>(Code::Addss_xmm_xmmm32, SCALAR);
    rows.add::<ScalarFp<Subss, 2>>(Code::Subss_xmm_xmmm32, SCALAR);
    rows.add::<ScalarFp<Mulss, 2>>(Code::Mulss_xmm_xmmm32, SCALAR);
    rows.add::<ScalarFp<Divss, 2>>(Code::Divss_xmm_xmmm32, SCALAR);
    rows.add::<ScalarFp<Minss, 2>>(Code::Minss_xmm_xmmm32, SCALAR);
    rows.add::<ScalarFp<Maxss, 2>>(Code::Maxss_xmm_xmmm32, SCALAR);
    rows.add::<ScalarFp<Sqrtss, 2>>(Code::Sqrtss_xmm_xmmm32, SCALAR);
    rows.add::<ScalarFp<Rcpss, 2>>(Code::Rcpss_xmm_xmmm32, SCALAR);
    rows.add::<ScalarFp<Rsqrtss, 2>>(Code::Rsqrtss_xmm_xmmm32, SCALAR);
    rows.add::<ScalarFp<Cmpss, 2>>(Code::Cmpss_xmm_xmmm32_imm8, SCALAR);
    rows.add::<ScalarFp<Roundss, 2>>(Code::Roundss_xmm_xmmm32_imm8, SCALAR);
}

fn doubles<R: Rows>(rows: &mut R) {
    rows.add::<PackedFp<Addpd>>(Code::Addpd_xmm_xmmm128, PACKED);
    rows.add::<PackedFp<Subpd>>(Code::Subpd_xmm_xmmm128, PACKED);
    rows.add::<PackedFp<Mulpd>>(Code::Mulpd_xmm_xmmm128, PACKED);
    rows.add::<PackedFp<Divpd>>(Code::Divpd_xmm_xmmm128, PACKED);
    rows.add::<PackedFp<Minpd>>(Code::Minpd_xmm_xmmm128, PACKED);
    rows.add::<PackedFp<Maxpd>>(Code::Maxpd_xmm_xmmm128, PACKED);
    rows.add::<PackedFp<Sqrtpd>>(Code::Sqrtpd_xmm_xmmm128, PACKED);
    rows.add::<PackedFp<Cmppd>>(Code::Cmppd_xmm_xmmm128_imm8, PACKED);
    rows.add::<PackedFp<Roundpd>>(Code::Roundpd_xmm_xmmm128_imm8, PACKED);
    rows.add::<PackedFp<Haddpd>>(Code::Haddpd_xmm_xmmm128, PACKED);
    rows.add::<PackedFp<Hsubpd>>(Code::Hsubpd_xmm_xmmm128, PACKED);
    rows.add::<PackedFp<Addsubpd>>(Code::Addsubpd_xmm_xmmm128, PACKED);
    rows.add::<PackedFp<Dppd>>(Code::Dppd_xmm_xmmm128_imm8, PACKED);
    rows.add::<ScalarFp<Addsd, 3>>(Code::Addsd_xmm_xmmm64, SCALAR);
    rows.add::<ScalarFp<Subsd, 3>>(Code::Subsd_xmm_xmmm64, SCALAR);
    rows.add::<ScalarFp<Mulsd, 3>>(Code::Mulsd_xmm_xmmm64, SCALAR);
    rows.add::<ScalarFp<Divsd, 3>>(Code::Divsd_xmm_xmmm64, SCALAR);
    rows.add::<ScalarFp<Minsd, 3>>(Code::Minsd_xmm_xmmm64, SCALAR);
    rows.add::<ScalarFp<Maxsd, 3>>(Code::Maxsd_xmm_xmmm64, SCALAR);
    rows.add::<ScalarFp<Sqrtsd, 3>>(Code::Sqrtsd_xmm_xmmm64, SCALAR);
    rows.add::<ScalarFp<Cmpsd, 3>>(Code::Cmpsd_xmm_xmmm64_imm8, SCALAR);
    rows.add::<ScalarFp<Roundsd, 3>>(Code::Roundsd_xmm_xmmm64_imm8, SCALAR);
}
