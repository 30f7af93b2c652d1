//! Integer arithmetic, comparison and logic. SDM vol. 1, 9.4, 10.4.4, 11.4.2, 12.6, 12.9, 12.11, 14.6. No flags
//! but PTEST's.

use super::{
    ALIGNED, AVX, Rows,
    float_bits::Test,
    forms::{all, all_joined, all_unary, binary, narrow_unary},
    operand::{Legacy, Vex, VexUnary},
    packed::Packed,
};
use crate::lane::*;
use iced_x86::Code::*;

/// Rows of this family.
pub fn list(rows: &mut impl Rows) {
    arithmetic(rows);
    comparison(rows);
    logic(rows);
}

#[rustfmt::skip]
fn arithmetic<R: Rows>(rows: &mut R) {
    all::<Paddb>(rows, Paddb_mm_mmm64, [Paddb_xmm_xmmm128, VEX_Vpaddb_xmm_xmm_xmmm128, VEX_Vpaddb_ymm_ymm_ymmm256]);
    all::<Paddw>(rows, Paddw_mm_mmm64, [Paddw_xmm_xmmm128, VEX_Vpaddw_xmm_xmm_xmmm128, VEX_Vpaddw_ymm_ymm_ymmm256]);
    all::<Paddd>(rows, Paddd_mm_mmm64, [Paddd_xmm_xmmm128, VEX_Vpaddd_xmm_xmm_xmmm128, VEX_Vpaddd_ymm_ymm_ymmm256]);
    all::<Paddq>(rows, Paddq_mm_mmm64, [Paddq_xmm_xmmm128, VEX_Vpaddq_xmm_xmm_xmmm128, VEX_Vpaddq_ymm_ymm_ymmm256]);
    all::<Psubb>(rows, Psubb_mm_mmm64, [Psubb_xmm_xmmm128, VEX_Vpsubb_xmm_xmm_xmmm128, VEX_Vpsubb_ymm_ymm_ymmm256]);
    all::<Psubw>(rows, Psubw_mm_mmm64, [Psubw_xmm_xmmm128, VEX_Vpsubw_xmm_xmm_xmmm128, VEX_Vpsubw_ymm_ymm_ymmm256]);
    all::<Psubd>(rows, Psubd_mm_mmm64, [Psubd_xmm_xmmm128, VEX_Vpsubd_xmm_xmm_xmmm128, VEX_Vpsubd_ymm_ymm_ymmm256]);
    all::<Psubq>(rows, Psubq_mm_mmm64, [Psubq_xmm_xmmm128, VEX_Vpsubq_xmm_xmm_xmmm128, VEX_Vpsubq_ymm_ymm_ymmm256]);
    all::<Paddsb>(rows, Paddsb_mm_mmm64, [Paddsb_xmm_xmmm128, VEX_Vpaddsb_xmm_xmm_xmmm128, VEX_Vpaddsb_ymm_ymm_ymmm256]);
    all::<Paddsw>(rows, Paddsw_mm_mmm64, [Paddsw_xmm_xmmm128, VEX_Vpaddsw_xmm_xmm_xmmm128, VEX_Vpaddsw_ymm_ymm_ymmm256]);
    all::<Paddusb>(rows, Paddusb_mm_mmm64, [Paddusb_xmm_xmmm128, VEX_Vpaddusb_xmm_xmm_xmmm128, VEX_Vpaddusb_ymm_ymm_ymmm256]);
    all::<Paddusw>(rows, Paddusw_mm_mmm64, [Paddusw_xmm_xmmm128, VEX_Vpaddusw_xmm_xmm_xmmm128, VEX_Vpaddusw_ymm_ymm_ymmm256]);
    all::<Psubsb>(rows, Psubsb_mm_mmm64, [Psubsb_xmm_xmmm128, VEX_Vpsubsb_xmm_xmm_xmmm128, VEX_Vpsubsb_ymm_ymm_ymmm256]);
    all::<Psubsw>(rows, Psubsw_mm_mmm64, [Psubsw_xmm_xmmm128, VEX_Vpsubsw_xmm_xmm_xmmm128, VEX_Vpsubsw_ymm_ymm_ymmm256]);
    all::<Psubusb>(rows, Psubusb_mm_mmm64, [Psubusb_xmm_xmmm128, VEX_Vpsubusb_xmm_xmm_xmmm128, VEX_Vpsubusb_ymm_ymm_ymmm256]);
    all::<Psubusw>(rows, Psubusw_mm_mmm64, [Psubusw_xmm_xmmm128, VEX_Vpsubusw_xmm_xmm_xmmm128, VEX_Vpsubusw_ymm_ymm_ymmm256]);
    all::<Pmullw>(rows, Pmullw_mm_mmm64, [Pmullw_xmm_xmmm128, VEX_Vpmullw_xmm_xmm_xmmm128, VEX_Vpmullw_ymm_ymm_ymmm256]);
    all::<Pmulhw>(rows, Pmulhw_mm_mmm64, [Pmulhw_xmm_xmmm128, VEX_Vpmulhw_xmm_xmm_xmmm128, VEX_Vpmulhw_ymm_ymm_ymmm256]);
    all::<Pmulhuw>(rows, Pmulhuw_mm_mmm64, [Pmulhuw_xmm_xmmm128, VEX_Vpmulhuw_xmm_xmm_xmmm128, VEX_Vpmulhuw_ymm_ymm_ymmm256]);
    all::<Pmulhrsw>(rows, Pmulhrsw_mm_mmm64, [Pmulhrsw_xmm_xmmm128, VEX_Vpmulhrsw_xmm_xmm_xmmm128, VEX_Vpmulhrsw_ymm_ymm_ymmm256]);
    all::<Pmuludq>(rows, Pmuludq_mm_mmm64, [Pmuludq_xmm_xmmm128, VEX_Vpmuludq_xmm_xmm_xmmm128, VEX_Vpmuludq_ymm_ymm_ymmm256]);
    all::<Pmaddwd>(rows, Pmaddwd_mm_mmm64, [Pmaddwd_xmm_xmmm128, VEX_Vpmaddwd_xmm_xmm_xmmm128, VEX_Vpmaddwd_ymm_ymm_ymmm256]);
    all::<Pmaddubsw>(rows, Pmaddubsw_mm_mmm64, [Pmaddubsw_xmm_xmmm128, VEX_Vpmaddubsw_xmm_xmm_xmmm128, VEX_Vpmaddubsw_ymm_ymm_ymmm256]);
    all::<Pavgb>(rows, Pavgb_mm_mmm64, [Pavgb_xmm_xmmm128, VEX_Vpavgb_xmm_xmm_xmmm128, VEX_Vpavgb_ymm_ymm_ymmm256]);
    all::<Pavgw>(rows, Pavgw_mm_mmm64, [Pavgw_xmm_xmmm128, VEX_Vpavgw_xmm_xmm_xmmm128, VEX_Vpavgw_ymm_ymm_ymmm256]);
    all::<Psadbw>(rows, Psadbw_mm_mmm64, [Psadbw_xmm_xmmm128, VEX_Vpsadbw_xmm_xmm_xmmm128, VEX_Vpsadbw_ymm_ymm_ymmm256]);
    all::<Psignb>(rows, Psignb_mm_mmm64, [Psignb_xmm_xmmm128, VEX_Vpsignb_xmm_xmm_xmmm128, VEX_Vpsignb_ymm_ymm_ymmm256]);
    all::<Psignw>(rows, Psignw_mm_mmm64, [Psignw_xmm_xmmm128, VEX_Vpsignw_xmm_xmm_xmmm128, VEX_Vpsignw_ymm_ymm_ymmm256]);
    all::<Psignd>(rows, Psignd_mm_mmm64, [Psignd_xmm_xmmm128, VEX_Vpsignd_xmm_xmm_xmmm128, VEX_Vpsignd_ymm_ymm_ymmm256]);
    all_unary::<Pabsb>(rows, Pabsb_mm_mmm64, [Pabsb_xmm_xmmm128, VEX_Vpabsb_xmm_xmmm128, VEX_Vpabsb_ymm_ymmm256]);
    all_unary::<Pabsw>(rows, Pabsw_mm_mmm64, [Pabsw_xmm_xmmm128, VEX_Vpabsw_xmm_xmmm128, VEX_Vpabsw_ymm_ymmm256]);
    all_unary::<Pabsd>(rows, Pabsd_mm_mmm64, [Pabsd_xmm_xmmm128, VEX_Vpabsd_xmm_xmmm128, VEX_Vpabsd_ymm_ymmm256]);
    all_joined::<Phaddw>(rows, Phaddw_mm_mmm64, [Phaddw_xmm_xmmm128, VEX_Vphaddw_xmm_xmm_xmmm128, VEX_Vphaddw_ymm_ymm_ymmm256]);
    all_joined::<Phaddd>(rows, Phaddd_mm_mmm64, [Phaddd_xmm_xmmm128, VEX_Vphaddd_xmm_xmm_xmmm128, VEX_Vphaddd_ymm_ymm_ymmm256]);
    all_joined::<Phaddsw>(rows, Phaddsw_mm_mmm64, [Phaddsw_xmm_xmmm128, VEX_Vphaddsw_xmm_xmm_xmmm128, VEX_Vphaddsw_ymm_ymm_ymmm256]);
    all_joined::<Phsubw>(rows, Phsubw_mm_mmm64, [Phsubw_xmm_xmmm128, VEX_Vphsubw_xmm_xmm_xmmm128, VEX_Vphsubw_ymm_ymm_ymmm256]);
    all_joined::<Phsubd>(rows, Phsubd_mm_mmm64, [Phsubd_xmm_xmmm128, VEX_Vphsubd_xmm_xmm_xmmm128, VEX_Vphsubd_ymm_ymm_ymmm256]);
    all_joined::<Phsubsw>(rows, Phsubsw_mm_mmm64, [Phsubsw_xmm_xmmm128, VEX_Vphsubsw_xmm_xmm_xmmm128, VEX_Vphsubsw_ymm_ymm_ymmm256]);
    binary::<Pmulld>(rows, [Pmulld_xmm_xmmm128, VEX_Vpmulld_xmm_xmm_xmmm128, VEX_Vpmulld_ymm_ymm_ymmm256]);
    binary::<Pmuldq>(rows, [Pmuldq_xmm_xmmm128, VEX_Vpmuldq_xmm_xmm_xmmm128, VEX_Vpmuldq_ymm_ymm_ymmm256]);
    narrow_unary::<Phminposuw>(rows, [Phminposuw_xmm_xmmm128, VEX_Vphminposuw_xmm_xmmm128]);
    rows.add::<Packed<Mpsadbw>>(Mpsadbw_xmm_xmmm128_imm8, ALIGNED);
    for code in [VEX_Vmpsadbw_xmm_xmm_xmmm128_imm8, VEX_Vmpsadbw_ymm_ymm_ymmm256_imm8] {
        rows.add_rare::<Packed<Mpsadbw, Vex, 3>>(code, AVX);
    }
}

#[rustfmt::skip]
fn comparison<R: Rows>(rows: &mut R) {
    all::<Pcmpeqb>(rows, Pcmpeqb_mm_mmm64, [Pcmpeqb_xmm_xmmm128, VEX_Vpcmpeqb_xmm_xmm_xmmm128, VEX_Vpcmpeqb_ymm_ymm_ymmm256]);
    all::<Pcmpeqw>(rows, Pcmpeqw_mm_mmm64, [Pcmpeqw_xmm_xmmm128, VEX_Vpcmpeqw_xmm_xmm_xmmm128, VEX_Vpcmpeqw_ymm_ymm_ymmm256]);
    all::<Pcmpeqd>(rows, Pcmpeqd_mm_mmm64, [Pcmpeqd_xmm_xmmm128, VEX_Vpcmpeqd_xmm_xmm_xmmm128, VEX_Vpcmpeqd_ymm_ymm_ymmm256]);
    all::<Pcmpgtb>(rows, Pcmpgtb_mm_mmm64, [Pcmpgtb_xmm_xmmm128, VEX_Vpcmpgtb_xmm_xmm_xmmm128, VEX_Vpcmpgtb_ymm_ymm_ymmm256]);
    all::<Pcmpgtw>(rows, Pcmpgtw_mm_mmm64, [Pcmpgtw_xmm_xmmm128, VEX_Vpcmpgtw_xmm_xmm_xmmm128, VEX_Vpcmpgtw_ymm_ymm_ymmm256]);
    all::<Pcmpgtd>(rows, Pcmpgtd_mm_mmm64, [Pcmpgtd_xmm_xmmm128, VEX_Vpcmpgtd_xmm_xmm_xmmm128, VEX_Vpcmpgtd_ymm_ymm_ymmm256]);
    all::<Pminub>(rows, Pminub_mm_mmm64, [Pminub_xmm_xmmm128, VEX_Vpminub_xmm_xmm_xmmm128, VEX_Vpminub_ymm_ymm_ymmm256]);
    all::<Pminsw>(rows, Pminsw_mm_mmm64, [Pminsw_xmm_xmmm128, VEX_Vpminsw_xmm_xmm_xmmm128, VEX_Vpminsw_ymm_ymm_ymmm256]);
    all::<Pmaxub>(rows, Pmaxub_mm_mmm64, [Pmaxub_xmm_xmmm128, VEX_Vpmaxub_xmm_xmm_xmmm128, VEX_Vpmaxub_ymm_ymm_ymmm256]);
    all::<Pmaxsw>(rows, Pmaxsw_mm_mmm64, [Pmaxsw_xmm_xmmm128, VEX_Vpmaxsw_xmm_xmm_xmmm128, VEX_Vpmaxsw_ymm_ymm_ymmm256]);
    binary::<Pcmpeqq>(rows, [Pcmpeqq_xmm_xmmm128, VEX_Vpcmpeqq_xmm_xmm_xmmm128, VEX_Vpcmpeqq_ymm_ymm_ymmm256]);
    binary::<Pcmpgtq>(rows, [Pcmpgtq_xmm_xmmm128, VEX_Vpcmpgtq_xmm_xmm_xmmm128, VEX_Vpcmpgtq_ymm_ymm_ymmm256]);
    binary::<Pminsb>(rows, [Pminsb_xmm_xmmm128, VEX_Vpminsb_xmm_xmm_xmmm128, VEX_Vpminsb_ymm_ymm_ymmm256]);
    binary::<Pminsd>(rows, [Pminsd_xmm_xmmm128, VEX_Vpminsd_xmm_xmm_xmmm128, VEX_Vpminsd_ymm_ymm_ymmm256]);
    binary::<Pminuw>(rows, [Pminuw_xmm_xmmm128, VEX_Vpminuw_xmm_xmm_xmmm128, VEX_Vpminuw_ymm_ymm_ymmm256]);
    binary::<Pminud>(rows, [Pminud_xmm_xmmm128, VEX_Vpminud_xmm_xmm_xmmm128, VEX_Vpminud_ymm_ymm_ymmm256]);
    binary::<Pmaxsb>(rows, [Pmaxsb_xmm_xmmm128, VEX_Vpmaxsb_xmm_xmm_xmmm128, VEX_Vpmaxsb_ymm_ymm_ymmm256]);
    binary::<Pmaxsd>(rows, [Pmaxsd_xmm_xmmm128, VEX_Vpmaxsd_xmm_xmm_xmmm128, VEX_Vpmaxsd_ymm_ymm_ymmm256]);
    binary::<Pmaxuw>(rows, [Pmaxuw_xmm_xmmm128, VEX_Vpmaxuw_xmm_xmm_xmmm128, VEX_Vpmaxuw_ymm_ymm_ymmm256]);
    binary::<Pmaxud>(rows, [Pmaxud_xmm_xmmm128, VEX_Vpmaxud_xmm_xmm_xmmm128, VEX_Vpmaxud_ymm_ymm_ymmm256]);
}

#[rustfmt::skip]
fn logic<R: Rows>(rows: &mut R) {
    all::<Pand>(rows, Pand_mm_mmm64, [Pand_xmm_xmmm128, VEX_Vpand_xmm_xmm_xmmm128, VEX_Vpand_ymm_ymm_ymmm256]);
    all::<Pandn>(rows, Pandn_mm_mmm64, [Pandn_xmm_xmmm128, VEX_Vpandn_xmm_xmm_xmmm128, VEX_Vpandn_ymm_ymm_ymmm256]);
    all::<Por>(rows, Por_mm_mmm64, [Por_xmm_xmmm128, VEX_Vpor_xmm_xmm_xmmm128, VEX_Vpor_ymm_ymm_ymmm256]);
    all::<Pxor>(rows, Pxor_mm_mmm64, [Pxor_xmm_xmmm128, VEX_Vpxor_xmm_xmm_xmmm128, VEX_Vpxor_ymm_ymm_ymmm256]);
    rows.add::<Test<Ptest, Legacy>>(Ptest_xmm_xmmm128, ALIGNED);
    for code in [VEX_Vptest_xmm_xmmm128, VEX_Vptest_ymm_ymmm256] {
        rows.add::<Test<Ptest, VexUnary>>(code, AVX);
    }
}
