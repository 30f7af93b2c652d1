//! AES-NI, VAES, PCLMULQDQ, VPCLMULQDQ, GFNI and SHA. SDM vol. 1, 12.13, 5.19; vol. 2, GF2P8MULB and its kin.

use super::{
    ALIGNED, Rows,
    forms::{binary, narrow_unary},
    packed::{Packed, WithXmm0},
};
use crate::lane::*;
use iced_x86::Code::*;

/// Rows of this family.
#[rustfmt::skip]
pub fn list<R: Rows>(rows: &mut R) {
    binary::<Aesenc>(rows, [Aesenc_xmm_xmmm128, VEX_Vaesenc_xmm_xmm_xmmm128, VEX_Vaesenc_ymm_ymm_ymmm256]);
    binary::<Aesenclast>(rows, [Aesenclast_xmm_xmmm128, VEX_Vaesenclast_xmm_xmm_xmmm128, VEX_Vaesenclast_ymm_ymm_ymmm256]);
    binary::<Aesdec>(rows, [Aesdec_xmm_xmmm128, VEX_Vaesdec_xmm_xmm_xmmm128, VEX_Vaesdec_ymm_ymm_ymmm256]);
    binary::<Aesdeclast>(rows, [Aesdeclast_xmm_xmmm128, VEX_Vaesdeclast_xmm_xmm_xmmm128, VEX_Vaesdeclast_ymm_ymm_ymmm256]);
    narrow_unary::<Aesimc>(rows, [Aesimc_xmm_xmmm128, VEX_Vaesimc_xmm_xmmm128]);
    narrow_unary::<Aeskeygenassist>(rows, [Aeskeygenassist_xmm_xmmm128_imm8, VEX_Vaeskeygenassist_xmm_xmmm128_imm8]);
    binary::<Pclmulqdq>(rows, [Pclmulqdq_xmm_xmmm128_imm8, VEX_Vpclmulqdq_xmm_xmm_xmmm128_imm8, VEX_Vpclmulqdq_ymm_ymm_ymmm256_imm8]);
    binary::<Gf2p8affineqb>(rows, [Gf2p8affineqb_xmm_xmmm128_imm8, VEX_Vgf2p8affineqb_xmm_xmm_xmmm128_imm8, VEX_Vgf2p8affineqb_ymm_ymm_ymmm256_imm8]);
    binary::<Gf2p8affineinvqb>(rows, [Gf2p8affineinvqb_xmm_xmmm128_imm8, VEX_Vgf2p8affineinvqb_xmm_xmm_xmmm128_imm8, VEX_Vgf2p8affineinvqb_ymm_ymm_ymmm256_imm8]);
    binary::<Gf2p8mulb>(rows, [Gf2p8mulb_xmm_xmmm128, VEX_Vgf2p8mulb_xmm_xmm_xmmm128, VEX_Vgf2p8mulb_ymm_ymm_ymmm256]);
    rows.add::<Packed<Sha1rnds4>>(Sha1rnds4_xmm_xmmm128_imm8, ALIGNED);
    rows.add::<Packed<Sha1nexte>>(Sha1nexte_xmm_xmmm128, ALIGNED);
    rows.add::<Packed<Sha1msg1>>(Sha1msg1_xmm_xmmm128, ALIGNED);
    rows.add::<Packed<Sha1msg2>>(Sha1msg2_xmm_xmmm128, ALIGNED);
    rows.add::<Packed<Sha256msg1>>(Sha256msg1_xmm_xmmm128, ALIGNED);
    rows.add::<Packed<Sha256msg2>>(Sha256msg2_xmm_xmmm128, ALIGNED);
    rows.add::<WithXmm0<Sha256rnds2>>(Sha256rnds2_xmm_xmmm128, ALIGNED);
}
