//! AES-NI, PCLMULQDQ and SHA. SDM vol. 1, 12.13, 5.19.

use super::{
    ALIGNED, Rows,
    packed::{Packed, WithXmm0},
};
use crate::lane::{
    Aesdec, Aesdeclast, Aesenc, Aesenclast, Aesimc, Aeskeygenassist, Pclmulqdq, Sha1msg1, Sha1msg2,
    Sha1nexte, Sha1rnds4, Sha256msg1, Sha256msg2, Sha256rnds2,
};
use iced_x86::Code;

/// Rows of this family.
pub fn list<R: Rows>(rows: &mut R) {
    rows.add::<Packed<Aesenc>>(Code::Aesenc_xmm_xmmm128, ALIGNED);
    rows.add::<Packed<Aesenclast>>(Code::Aesenclast_xmm_xmmm128, ALIGNED);
    rows.add::<Packed<Aesdec>>(Code::Aesdec_xmm_xmmm128, ALIGNED);
    rows.add::<Packed<Aesdeclast>>(Code::Aesdeclast_xmm_xmmm128, ALIGNED);
    rows.add::<Packed<Aesimc>>(Code::Aesimc_xmm_xmmm128, ALIGNED);
    rows.add::<Packed<Aeskeygenassist>>(Code::Aeskeygenassist_xmm_xmmm128_imm8, ALIGNED);
    rows.add::<Packed<Pclmulqdq>>(Code::Pclmulqdq_xmm_xmmm128_imm8, ALIGNED);
    rows.add::<Packed<Sha1rnds4>>(Code::Sha1rnds4_xmm_xmmm128_imm8, ALIGNED);
    rows.add::<Packed<Sha1nexte>>(Code::Sha1nexte_xmm_xmmm128, ALIGNED);
    rows.add::<Packed<Sha1msg1>>(Code::Sha1msg1_xmm_xmmm128, ALIGNED);
    rows.add::<Packed<Sha1msg2>>(Code::Sha1msg2_xmm_xmmm128, ALIGNED);
    rows.add::<Packed<Sha256msg1>>(Code::Sha256msg1_xmm_xmmm128, ALIGNED);
    rows.add::<Packed<Sha256msg2>>(Code::Sha256msg2_xmm_xmmm128, ALIGNED);
    rows.add::<WithXmm0<Sha256rnds2>>(Code::Sha256rnds2_xmm_xmmm128, ALIGNED);
}
