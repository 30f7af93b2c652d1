//! Integer operations by the host's own instructions: those that the compiler does not find in the portable
//! text, and those beyond SSE2, which are used if the host has them (asked once; the standard library keeps the
//! answer). Each gives `None` on a host without it.

#[cfg(target_arch = "x86_64")]
pub use x86::*;

#[cfg(not(target_arch = "x86_64"))]
pub use absent::*;

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::{
        arch::{is_x86_feature_detected, x86_64::*},
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
        pmaddwd = _mm_madd_epi16;
        psadbw = _mm_sad_epu8;
        packsswb = _mm_packs_epi16;
        packssdw = _mm_packs_epi32;
        packuswb = _mm_packus_epi16;
    }

    #[inline(always)]
    pub fn pmovmskb(b: u128) -> Option<u128> {
        // SAFETY: SSE2 is part of x86-64.
        Some((unsafe { _mm_movemask_epi8(v(b)) } as u32).into())
    }

    #[inline(always)]
    pub fn movmskps(b: u128) -> Option<u128> {
        // SAFETY: as above; the cast is between vector types of one size.
        Some((unsafe { _mm_movemask_ps(_mm_castsi128_ps(v(b))) } as u32).into())
    }

    /// Operations of a feature that the host may lack.
    macro_rules! optional {
        ($($name:ident($($argument:ident),*), $feature:tt = $expression:expr;)*) => {$(
            #[inline(always)]
            pub fn $name($($argument: u128),*) -> Option<u128> {
                #[target_feature(enable = $feature)]
                fn on_host($($argument: __m128i),*) -> __m128i {
                    $expression
                }
                // SAFETY: the host has the feature.
                is_x86_feature_detected!($feature).then(|| lane(unsafe { on_host($(v($argument)),*) }))
            }
        )*};
    }

    optional! {
        pshufb(a, b), "ssse3" = _mm_shuffle_epi8(a, b);
        aesenc(a, b), "aes" = _mm_aesenc_si128(a, b);
        aesenclast(a, b), "aes" = _mm_aesenclast_si128(a, b);
        aesdec(a, b), "aes" = _mm_aesdec_si128(a, b);
        aesdeclast(a, b), "aes" = _mm_aesdeclast_si128(a, b);
        aesimc(a), "aes" = _mm_aesimc_si128(a);
        clmul(a, b), "pclmulqdq" = _mm_clmulepi64_si128::<0>(a, b);
        sha1msg1(a, b), "sha" = _mm_sha1msg1_epu32(a, b);
        sha1msg2(a, b), "sha" = _mm_sha1msg2_epu32(a, b);
        sha1nexte(a, b), "sha" = _mm_sha1nexte_epu32(a, b);
        sha1rnds4_0(a, b), "sha" = _mm_sha1rnds4_epu32::<0>(a, b);
        sha1rnds4_1(a, b), "sha" = _mm_sha1rnds4_epu32::<1>(a, b);
        sha1rnds4_2(a, b), "sha" = _mm_sha1rnds4_epu32::<2>(a, b);
        sha1rnds4_3(a, b), "sha" = _mm_sha1rnds4_epu32::<3>(a, b);
        sha256msg1(a, b), "sha" = _mm_sha256msg1_epu32(a, b);
        sha256msg2(a, b), "sha" = _mm_sha256msg2_epu32(a, b);
        sha256rnds2(a, b, k), "sha" = _mm_sha256rnds2_epu32(a, b, k);
    }

    /// SHA1RNDS4 with the immediate's two bits.
    #[inline]
    pub fn sha1rnds4(a: u128, b: u128, imm: u8) -> Option<u128> {
        match imm & 3 {
            0 => sha1rnds4_0(a, b),
            1 => sha1rnds4_1(a, b),
            2 => sha1rnds4_2(a, b),
            _ => sha1rnds4_3(a, b),
        }
    }

    /// CRC32 of 8 << `width` bits.
    #[inline(always)]
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
        ($($name:ident($($argument:ident),*);)*) => {$(
            pub fn $name($($argument: u128),*) -> Option<u128> {
                $(let _ = $argument;)*
                None
            }
        )*};
    }

    absent! {
        pmaddwd(a, b);
        psadbw(a, b);
        packsswb(a, b);
        packssdw(a, b);
        packuswb(a, b);
        pmovmskb(b);
        movmskps(b);
        pshufb(a, b);
        aesenc(a, b);
        aesenclast(a, b);
        aesdec(a, b);
        aesdeclast(a, b);
        aesimc(a);
        clmul(a, b);
        sha1msg1(a, b);
        sha1msg2(a, b);
        sha1nexte(a, b);
        sha256msg1(a, b);
        sha256msg2(a, b);
        sha256rnds2(a, b, k);
    }

    pub fn sha1rnds4(_: u128, _: u128, _: u8) -> Option<u128> {
        None
    }

    pub fn crc32(_: u32, _: u64, _: u64) -> Option<u32> {
        None
    }
}
