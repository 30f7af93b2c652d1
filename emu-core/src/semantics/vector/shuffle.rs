//! Shuffle and blend integers within lanes. SDM vol. 1, 9.4.6, 10.4.4, 11.4.2, 12.6.5, 12.11, 14.6.

use super::{
    ALIGNED, AVX, MMX, Rows,
    forms::{binary, unary},
    mmx::{Align, Mmx, Shuffle},
    operand::Vex,
    packed::{Packed, WithFourth, WithXmm0},
};
use crate::lane::*;
use iced_x86::Code::*;

/// Rows of this family.
#[rustfmt::skip]
pub fn list<R: Rows>(rows: &mut R) {
    rows.add::<Mmx<Pshufb, Shuffle>>(Pshufb_mm_mmm64, MMX);
    binary::<Pshufb>(rows, [Pshufb_xmm_xmmm128, VEX_Vpshufb_xmm_xmm_xmmm128, VEX_Vpshufb_ymm_ymm_ymmm256]);
    rows.add::<Mmx<Palignr, Align>>(Palignr_mm_mmm64_imm8, MMX);
    binary::<Palignr>(rows, [Palignr_xmm_xmmm128_imm8, VEX_Vpalignr_xmm_xmm_xmmm128_imm8, VEX_Vpalignr_ymm_ymm_ymmm256_imm8]);
    rows.add::<Mmx<Pshuflw>>(Pshufw_mm_mmm64_imm8, MMX);
    unary::<Pshufd>(rows, [Pshufd_xmm_xmmm128_imm8, VEX_Vpshufd_xmm_xmmm128_imm8, VEX_Vpshufd_ymm_ymmm256_imm8]);
    unary::<Pshuflw>(rows, [Pshuflw_xmm_xmmm128_imm8, VEX_Vpshuflw_xmm_xmmm128_imm8, VEX_Vpshuflw_ymm_ymmm256_imm8]);
    unary::<Pshufhw>(rows, [Pshufhw_xmm_xmmm128_imm8, VEX_Vpshufhw_xmm_xmmm128_imm8, VEX_Vpshufhw_ymm_ymmm256_imm8]);
    binary::<Pblendw>(rows, [Pblendw_xmm_xmmm128_imm8, VEX_Vpblendw_xmm_xmm_xmmm128_imm8, VEX_Vpblendw_ymm_ymm_ymmm256_imm8]);
    for code in [VEX_Vpblendd_xmm_xmm_xmmm128_imm8, VEX_Vpblendd_ymm_ymm_ymmm256_imm8] {
        rows.add::<Packed<Blendps, Vex, 4>>(code, AVX);
    }
    rows.add::<WithXmm0<Pblendvb>>(Pblendvb_xmm_xmmm128, ALIGNED);
    for code in [VEX_Vpblendvb_xmm_xmm_xmmm128_xmm, VEX_Vpblendvb_ymm_ymm_ymmm256_ymm] {
        rows.add::<WithFourth<Pblendvb>>(code, AVX);
    }
}
