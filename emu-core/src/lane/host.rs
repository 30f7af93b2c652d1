//! Integer operations by the host's own instructions: those that the compiler does not find in the portable
//! text, and those beyond SSE2, which are used if the host has them ([`detect`], which the making of a CPU calls). Each gives `None` on a host without it; [`or`] then has the portable text.
//!
//! The latter are assembly: a function for which the compiler may use a feature is not inlined into one for
//! which it may not, and a call would cost more than the operation.

use super::value::{Lane, bits, lane};

/// The host's result, or the portable one. Both meet as [`Lane`]s, so that neither passes through
/// general-purpose registers.
#[inline(always)]
pub fn or(host: Option<Lane>, a: u128, b: u128, portable: fn(Lane, Lane) -> Lane) -> u128 {
    bits(match host {
        Some(result) => result,
        None => portable(lane(a), lane(b)),
    })
}

#[cfg(target_arch = "x86_64")]
pub use x86::*;

#[cfg(not(target_arch = "x86_64"))]
pub use absent::*;

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::super::value::{Lane, lane as v};
    use std::{
        arch::{asm, is_x86_feature_detected, x86_64::*},
        sync::atomic::{AtomicU32, Ordering},
    };

    /// The features found, as bits; none before [`detect`].
    static FOUND: AtomicU32 = AtomicU32::new(0);

    const SSSE3: u32 = 1 << 0;
    const SSE4_1: u32 = 1 << 1;
    const SSE4_2: u32 = 1 << 2;
    const AES: u32 = 1 << 3;
    const PCLMULQDQ: u32 = 1 << 4;
    const SHA: u32 = 1 << 5;
    const AVX2: u32 = 1 << 6;
    const GFNI: u32 = 1 << 7;
    const FMA: u32 = 1 << 8;
    const F16C: u32 = 1 << 9;

    /// Finds out what the host has. Until then nothing beyond SSE2 is used.
    pub fn detect() {
        let found = [
            (is_x86_feature_detected!("ssse3"), SSSE3),
            (is_x86_feature_detected!("sse4.1"), SSE4_1),
            (is_x86_feature_detected!("sse4.2"), SSE4_2),
            (is_x86_feature_detected!("aes"), AES),
            (is_x86_feature_detected!("pclmulqdq"), PCLMULQDQ),
            (is_x86_feature_detected!("sha"), SHA),
            (is_x86_feature_detected!("avx2"), AVX2),
            (is_x86_feature_detected!("gfni"), GFNI),
            (is_x86_feature_detected!("fma"), FMA),
            (is_x86_feature_detected!("f16c"), F16C),
        ];
        FOUND.store(
            found.iter().filter(|feature| feature.0).map(|feature| feature.1).sum(),
            Ordering::Relaxed,
        );
    }

    #[inline(always)]
    fn has(feature: u32) -> bool {
        FOUND.load(Ordering::Relaxed) & feature != 0
    }

    /// For ROUNDPS and its kin.
    #[inline(always)]
    pub fn has_sse4_1() -> bool {
        has(SSE4_1)
    }

    /// For comparisons of text.
    #[inline(always)]
    pub fn has_sse4_2() -> bool {
        has(SSE4_2)
    }

    /// For fused multiplication and addition.
    #[inline(always)]
    pub fn has_fma() -> bool {
        has(FMA)
    }

    /// For numbers of half precision.
    #[inline(always)]
    pub fn has_f16c() -> bool {
        has(F16C)
    }

    /// SSE2: every x86-64 host has it.
    macro_rules! baseline {
        ($($name:ident = $intrinsic:ident;)*) => {$(
            #[inline(always)]
            pub fn $name(a: u128, b: u128) -> Option<Lane> {
                // SAFETY: SSE2 is part of x86-64.
                Some(unsafe { $intrinsic(v(a), v(b)) })
            }
        )*};
    }

    baseline! {
        paddb = _mm_add_epi8;
        paddw = _mm_add_epi16;
        paddd = _mm_add_epi32;
        paddq = _mm_add_epi64;
        psubb = _mm_sub_epi8;
        psubw = _mm_sub_epi16;
        psubd = _mm_sub_epi32;
        psubq = _mm_sub_epi64;
        paddsb = _mm_adds_epi8;
        paddsw = _mm_adds_epi16;
        paddusb = _mm_adds_epu8;
        paddusw = _mm_adds_epu16;
        psubsb = _mm_subs_epi8;
        psubsw = _mm_subs_epi16;
        psubusb = _mm_subs_epu8;
        psubusw = _mm_subs_epu16;
        pmullw = _mm_mullo_epi16;
        pmulhw = _mm_mulhi_epi16;
        pmulhuw = _mm_mulhi_epu16;
        pmuludq = _mm_mul_epu32;
        pmaddwd = _mm_madd_epi16;
        pavgb = _mm_avg_epu8;
        pavgw = _mm_avg_epu16;
        pminub = _mm_min_epu8;
        pminsw = _mm_min_epi16;
        pmaxub = _mm_max_epu8;
        pmaxsw = _mm_max_epi16;
        pcmpeqb = _mm_cmpeq_epi8;
        pcmpeqw = _mm_cmpeq_epi16;
        pcmpeqd = _mm_cmpeq_epi32;
        pcmpgtb = _mm_cmpgt_epi8;
        pcmpgtw = _mm_cmpgt_epi16;
        pcmpgtd = _mm_cmpgt_epi32;
        psadbw = _mm_sad_epu8;
        packsswb = _mm_packs_epi16;
        packssdw = _mm_packs_epi32;
        packuswb = _mm_packus_epi16;
        punpcklbw = _mm_unpacklo_epi8;
        punpcklwd = _mm_unpacklo_epi16;
        punpckldq = _mm_unpacklo_epi32;
        punpcklqdq = _mm_unpacklo_epi64;
        punpckhbw = _mm_unpackhi_epi8;
        punpckhwd = _mm_unpackhi_epi16;
        punpckhdq = _mm_unpackhi_epi32;
        punpckhqdq = _mm_unpackhi_epi64;
        psllw = _mm_sll_epi16;
        pslld = _mm_sll_epi32;
        psllq = _mm_sll_epi64;
        psrlw = _mm_srl_epi16;
        psrld = _mm_srl_epi32;
        psrlq = _mm_srl_epi64;
        psraw = _mm_sra_epi16;
        psrad = _mm_sra_epi32;
    }

    #[inline(always)]
    pub fn pmovmskb(_: u128, b: u128) -> Option<Lane> {
        // SAFETY: SSE2 is part of x86-64.
        Some(v((unsafe { _mm_movemask_epi8(v(b)) } as u32).into()))
    }

    #[inline(always)]
    pub fn movmskps(_: u128, b: u128) -> Option<Lane> {
        // SAFETY: as above; the cast is between vector types of one size.
        Some(v((unsafe { _mm_movemask_ps(_mm_castsi128_ps(v(b))) } as u32).into()))
    }

    /// Operations of a feature that the host may lack: `instruction a, b`. One that names its destination apart
    /// has `{a},` for it in the literal, and clears the rest of the host's register, where nothing is kept.
    macro_rules! optional {
        ($($name:ident = $instruction:literal, $feature:ident;)*) => {$(
            #[inline(always)]
            pub fn $name(a: u128, b: u128) -> Option<Lane> {
                if !has($feature) {
                    return None;
                }
                let mut a = v(a);
                // SAFETY: the host has the instruction, which changes its first operand alone.
                unsafe {
                    asm!(concat!($instruction, " {a}, {b}"), a = inout(xmm_reg) a, b = in(xmm_reg) v(b),
                        options(pure, nomem, nostack, preserves_flags));
                }
                Some(a)
            }
        )*};
    }

    optional! {
        pabsb = "pabsb", SSSE3;
        pabsw = "pabsw", SSSE3;
        pabsd = "pabsd", SSSE3;
        psignb = "psignb", SSSE3;
        psignw = "psignw", SSSE3;
        psignd = "psignd", SSSE3;
        pmulhrsw = "pmulhrsw", SSSE3;
        pmaddubsw = "pmaddubsw", SSSE3;
        pshufb = "pshufb", SSSE3;
        pmulld = "pmulld", SSE4_1;
        packusdw = "packusdw", SSE4_1;
        aesenc = "aesenc", AES;
        aesenclast = "aesenclast", AES;
        aesdec = "aesdec", AES;
        aesdeclast = "aesdeclast", AES;
        aesimc = "aesimc", AES;
        sha1msg1 = "sha1msg1", SHA;
        sha1msg2 = "sha1msg2", SHA;
        sha1nexte = "sha1nexte", SHA;
        sha256msg1 = "sha256msg1", SHA;
        sha256msg2 = "sha256msg2", SHA;
        psllvd = "vpsllvd {a},", AVX2;
        psllvq = "vpsllvq {a},", AVX2;
        psrlvd = "vpsrlvd {a},", AVX2;
        psrlvq = "vpsrlvq {a},", AVX2;
        psravd = "vpsravd {a},", AVX2;
        gf2p8mulb = "gf2p8mulb", GFNI;
    }

    /// GF2P8AFFINEQB and (`INVERT`) GF2P8AFFINEINVQB with an immediate of zero.
    #[inline(always)]
    pub fn affine<const INVERT: bool>(a: u128, matrix: u128) -> Option<Lane> {
        if !has(GFNI) {
            return None;
        }
        let mut a = v(a);
        // SAFETY: the host has the instructions, which change their first operand alone.
        unsafe {
            if INVERT {
                asm!("gf2p8affineinvqb {a}, {b}, 0", a = inout(xmm_reg) a, b = in(xmm_reg) v(matrix),
                    options(pure, nomem, nostack, preserves_flags));
            } else {
                asm!("gf2p8affineqb {a}, {b}, 0", a = inout(xmm_reg) a, b = in(xmm_reg) v(matrix),
                    options(pure, nomem, nostack, preserves_flags));
            }
        }
        Some(a)
    }

    /// The product of the low halves.
    #[inline(always)]
    pub fn clmul(a: u128, b: u128) -> Option<Lane> {
        if !has(PCLMULQDQ) {
            return None;
        }
        let mut a = v(a);
        // SAFETY: the host has the instruction, which changes its first operand alone.
        unsafe {
            asm!("pclmulqdq {a}, {b}, 0", a = inout(xmm_reg) a, b = in(xmm_reg) v(b),
                options(pure, nomem, nostack, preserves_flags));
        }
        Some(a)
    }

    /// SHA1RNDS4 with the immediate's two bits.
    #[inline]
    pub fn sha1rnds4(a: u128, b: u128, imm: u8) -> Option<Lane> {
        macro_rules! rounds {
            ($function:literal) => {{
                let mut a = v(a);
                // SAFETY: seen below that the host has the instruction, which changes its first operand alone.
                unsafe {
                    asm!(concat!("sha1rnds4 {a}, {b}, ", $function), a = inout(xmm_reg) a, b = in(xmm_reg) v(b),
                        options(pure, nomem, nostack, preserves_flags));
                }
                a
            }};
        }
        has(SHA).then(|| match imm & 3 {
            0 => rounds!(0),
            1 => rounds!(1),
            2 => rounds!(2),
            _ => rounds!(3),
        })
    }

    /// SHA256RNDS2, whose third operand is XMM0.
    #[inline(always)]
    pub fn sha256rnds2(a: u128, b: u128, words: u128) -> Option<Lane> {
        if !has(SHA) {
            return None;
        }
        let mut a = v(a);
        // SAFETY: the host has the instruction, which changes its first operand alone.
        unsafe {
            asm!("sha256rnds2 {a}, {b}", a = inout(xmm_reg) a, b = in(xmm_reg) v(b), in("xmm0") v(words),
                options(pure, nomem, nostack, preserves_flags));
        }
        Some(a)
    }

    /// CRC32 of 8 << `width` bits.
    #[inline]
    pub fn crc32(crc: u32, value: u64, width: u64) -> Option<u32> {
        #[target_feature(enable = "sse4.2")]
        fn on_host(crc: u32, value: u64, width: u64) -> u32 {
            match width {
                0 => _mm_crc32_u8(crc, value as u8),
                1 => _mm_crc32_u16(crc, value as u16),
                2 => _mm_crc32_u32(crc, value as u32),
                _ => _mm_crc32_u64(crc.into(), value) as u32,
            }
        }
        // SAFETY: the host has the feature.
        has(SSE4_2).then(|| unsafe { on_host(crc, value, width) })
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod absent {
    use super::super::value::Lane;

    macro_rules! absent {
        ($($name:ident)*) => {$(
            pub fn $name(_: u128, _: u128) -> Option<Lane> {
                None
            }
        )*};
    }

    absent! {
        paddb paddw paddd paddq psubb psubw psubd psubq paddsb paddsw paddusb paddusw psubsb psubsw psubusb psubusw
        pmullw pmulhw pmulhuw pmuludq pmaddwd pavgb pavgw pminub pminsw pmaxub pmaxsw
        pcmpeqb pcmpeqw pcmpeqd pcmpgtb pcmpgtw pcmpgtd psadbw packsswb packssdw packuswb packusdw
        punpcklbw punpcklwd punpckldq punpcklqdq punpckhbw punpckhwd punpckhdq punpckhqdq
        psllw pslld psllq psrlw psrld psrlq psraw psrad pmovmskb movmskps
        pabsb pabsw pabsd psignb psignw psignd pmulhrsw pmaddubsw pshufb pmulld
        aesenc aesenclast aesdec aesdeclast aesimc sha1msg1 sha1msg2 sha1nexte sha256msg1 sha256msg2 clmul
        psllvd psllvq psrlvd psrlvq psravd gf2p8mulb
    }

    pub fn affine<const INVERT: bool>(_: u128, _: u128) -> Option<Lane> {
        None
    }

    /// There is nothing to find.
    pub fn detect() {}

    pub fn sha1rnds4(_: u128, _: u128, _: u8) -> Option<Lane> {
        None
    }

    pub fn sha256rnds2(_: u128, _: u128, _: u128) -> Option<Lane> {
        None
    }

    pub fn crc32(_: u32, _: u64, _: u64) -> Option<u32> {
        None
    }
}
