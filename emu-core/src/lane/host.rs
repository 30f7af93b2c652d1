//! Integer operations by the host's own instructions: those that the compiler does not find in the portable
//! text, and those beyond SSE2, which are used if the host has them (asked once; the standard library keeps the
//! answer). Each gives `None` on a host without it.
//!
//! The latter are assembly: a function for which the compiler may use a feature is not inlined into one for
//! which it may not, and a call would cost more than the operation.

#[cfg(target_arch = "x86_64")]
pub use x86::*;

#[cfg(not(target_arch = "x86_64"))]
pub use absent::*;

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::{
        arch::{asm, is_x86_feature_detected, x86_64::*},
        mem::transmute,
    };

    /// A lane as the compiler's vector type.
    #[inline(always)]
    fn v(a: u128) -> __m128i {
        // SAFETY: both are 16 bytes without invalid values.
        unsafe { transmute::<u128, __m128i>(a) }
    }

    /// And back.
    #[inline(always)]
    fn lane(a: __m128i) -> u128 {
        // SAFETY: as above.
        unsafe { transmute::<__m128i, u128>(a) }
    }

    /// SSE2: every x86-64 host has it.
    macro_rules! baseline {
        ($($name:ident = $intrinsic:ident;)*) => {$(
            #[inline(always)]
            pub fn $name(a: u128, b: u128) -> Option<u128> {
                // SAFETY: SSE2 is part of x86-64.
                Some(lane(unsafe { $intrinsic(v(a), v(b)) }))
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
    pub fn pmovmskb(_: u128, b: u128) -> Option<u128> {
        // SAFETY: SSE2 is part of x86-64.
        Some((unsafe { _mm_movemask_epi8(v(b)) } as u32).into())
    }

    #[inline(always)]
    pub fn movmskps(_: u128, b: u128) -> Option<u128> {
        // SAFETY: as above; the cast is between vector types of one size.
        Some((unsafe { _mm_movemask_ps(_mm_castsi128_ps(v(b))) } as u32).into())
    }

    /// Operations of a feature that the host may lack: `instruction a, b`.
    macro_rules! optional {
        ($($name:ident = $instruction:literal, $feature:tt;)*) => {$(
            #[inline(always)]
            pub fn $name(a: u128, b: u128) -> Option<u128> {
                if !is_x86_feature_detected!($feature) {
                    return None;
                }
                let mut a = v(a);
                // SAFETY: the host has the instruction, which changes its first operand alone.
                unsafe {
                    asm!(concat!($instruction, " {a}, {b}"), a = inout(xmm_reg) a, b = in(xmm_reg) v(b),
                        options(pure, nomem, nostack, preserves_flags));
                }
                Some(lane(a))
            }
        )*};
    }

    optional! {
        pabsb = "pabsb", "ssse3";
        pabsw = "pabsw", "ssse3";
        pabsd = "pabsd", "ssse3";
        psignb = "psignb", "ssse3";
        psignw = "psignw", "ssse3";
        psignd = "psignd", "ssse3";
        pmulhrsw = "pmulhrsw", "ssse3";
        pmaddubsw = "pmaddubsw", "ssse3";
        pshufb = "pshufb", "ssse3";
        pmulld = "pmulld", "sse4.1";
        packusdw = "packusdw", "sse4.1";
        aesenc = "aesenc", "aes";
        aesenclast = "aesenclast", "aes";
        aesdec = "aesdec", "aes";
        aesdeclast = "aesdeclast", "aes";
        aesimc = "aesimc", "aes";
        sha1msg1 = "sha1msg1", "sha";
        sha1msg2 = "sha1msg2", "sha";
        sha1nexte = "sha1nexte", "sha";
        sha256msg1 = "sha256msg1", "sha";
        sha256msg2 = "sha256msg2", "sha";
    }

    /// The product of the low halves.
    #[inline(always)]
    pub fn clmul(a: u128, b: u128) -> Option<u128> {
        if !is_x86_feature_detected!("pclmulqdq") {
            return None;
        }
        let mut a = v(a);
        // SAFETY: the host has the instruction, which changes its first operand alone.
        unsafe {
            asm!("pclmulqdq {a}, {b}, 0", a = inout(xmm_reg) a, b = in(xmm_reg) v(b),
                options(pure, nomem, nostack, preserves_flags));
        }
        Some(lane(a))
    }

    /// SHA1RNDS4 with the immediate's two bits.
    #[inline]
    pub fn sha1rnds4(a: u128, b: u128, imm: u8) -> Option<u128> {
        macro_rules! rounds {
            ($function:literal) => {{
                let mut a = v(a);
                // SAFETY: seen below that the host has the instruction, which changes its first operand alone.
                unsafe {
                    asm!(concat!("sha1rnds4 {a}, {b}, ", $function), a = inout(xmm_reg) a, b = in(xmm_reg) v(b),
                        options(pure, nomem, nostack, preserves_flags));
                }
                lane(a)
            }};
        }
        is_x86_feature_detected!("sha").then(|| match imm & 3 {
            0 => rounds!(0),
            1 => rounds!(1),
            2 => rounds!(2),
            _ => rounds!(3),
        })
    }

    /// SHA256RNDS2, whose third operand is XMM0.
    #[inline(always)]
    pub fn sha256rnds2(a: u128, b: u128, words: u128) -> Option<u128> {
        if !is_x86_feature_detected!("sha") {
            return None;
        }
        let mut a = v(a);
        // SAFETY: the host has the instruction, which changes its first operand alone.
        unsafe {
            asm!("sha256rnds2 {a}, {b}", a = inout(xmm_reg) a, b = in(xmm_reg) v(b), in("xmm0") v(words),
                options(pure, nomem, nostack, preserves_flags));
        }
        Some(lane(a))
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
        is_x86_feature_detected!("sse4.2").then(|| unsafe { on_host(crc, value, width) })
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod absent {
    macro_rules! absent {
        ($($name:ident)*) => {$(
            pub fn $name(_: u128, _: u128) -> Option<u128> {
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
    }

    pub fn sha1rnds4(_: u128, _: u128, _: u8) -> Option<u128> {
        None
    }

    pub fn sha256rnds2(_: u128, _: u128, _: u128) -> Option<u128> {
        None
    }

    pub fn crc32(_: u32, _: u64, _: u64) -> Option<u32> {
        None
    }
}
