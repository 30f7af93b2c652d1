//! Integer arithmetic, comparison and logic on elements.

use super::{
    elements::{Elements, build, map, map2},
    host,
    operation::lane_operations,
};

/// All ones or zero.
macro_rules! mask {
    ($t:ty, $c:expr) => {
        if $c { !(0 as $t) } else { 0 }
    };
}

lane_operations! {
    Paddb(a, b, _) => map2::<u8, 16>(a, b, u8::wrapping_add);
    Paddw(a, b, _) => map2::<u16, 8>(a, b, u16::wrapping_add);
    Paddd(a, b, _) => map2::<u32, 4>(a, b, u32::wrapping_add);
    Paddq(a, b, _) => map2::<u64, 2>(a, b, u64::wrapping_add);
    Psubb(a, b, _) => map2::<u8, 16>(a, b, u8::wrapping_sub);
    Psubw(a, b, _) => map2::<u16, 8>(a, b, u16::wrapping_sub);
    Psubd(a, b, _) => map2::<u32, 4>(a, b, u32::wrapping_sub);
    Psubq(a, b, _) => map2::<u64, 2>(a, b, u64::wrapping_sub);
    Paddsb(a, b, _) => map2::<i8, 16>(a, b, i8::saturating_add);
    Paddsw(a, b, _) => map2::<i16, 8>(a, b, i16::saturating_add);
    Paddusb(a, b, _) => map2::<u8, 16>(a, b, u8::saturating_add);
    Paddusw(a, b, _) => map2::<u16, 8>(a, b, u16::saturating_add);
    Psubsb(a, b, _) => map2::<i8, 16>(a, b, i8::saturating_sub);
    Psubsw(a, b, _) => map2::<i16, 8>(a, b, i16::saturating_sub);
    Psubusb(a, b, _) => map2::<u8, 16>(a, b, u8::saturating_sub);
    Psubusw(a, b, _) => map2::<u16, 8>(a, b, u16::saturating_sub);

    Pmullw(a, b, _) => map2::<u16, 8>(a, b, u16::wrapping_mul);
    Pmulld(a, b, _) => map2::<u32, 4>(a, b, u32::wrapping_mul);
    Pmulhw(a, b, _) => map2::<i16, 8>(a, b, |x, y| ((i32::from(x) * i32::from(y)) >> 16) as i16);
    Pmulhuw(a, b, _) => map2::<u16, 8>(a, b, |x, y| ((u32::from(x) * u32::from(y)) >> 16) as u16);
    Pmulhrsw(a, b, _) => map2::<i16, 8>(a, b, |x, y| (((((i32::from(x) * i32::from(y)) >> 14) + 1) >> 1)) as i16);
    Pmuludq(a, b, _) => map2::<u64, 2>(a, b, |x, y| (x & 0xFFFF_FFFF) * (y & 0xFFFF_FFFF));
    Pmuldq(a, b, _) => map2::<i64, 2>(a, b, |x, y| i64::from(x as i32) * i64::from(y as i32));
    Pmaddwd(a, b, _) => host::pmaddwd(a, b).unwrap_or_else(|| pmaddwd(a, b));
    Pmaddubsw(a, b, _) => pmaddubsw(a, b);
    Pavgb(a, b, _) => map2::<u8, 16>(a, b, |x, y| ((u16::from(x) + u16::from(y) + 1) >> 1) as u8);
    Pavgw(a, b, _) => map2::<u16, 8>(a, b, |x, y| ((u32::from(x) + u32::from(y) + 1) >> 1) as u16);

    Pminub(a, b, _) => map2::<u8, 16>(a, b, u8::min);
    Pminuw(a, b, _) => map2::<u16, 8>(a, b, u16::min);
    Pminud(a, b, _) => map2::<u32, 4>(a, b, u32::min);
    Pminsb(a, b, _) => map2::<i8, 16>(a, b, i8::min);
    Pminsw(a, b, _) => map2::<i16, 8>(a, b, i16::min);
    Pminsd(a, b, _) => map2::<i32, 4>(a, b, i32::min);
    Pmaxub(a, b, _) => map2::<u8, 16>(a, b, u8::max);
    Pmaxuw(a, b, _) => map2::<u16, 8>(a, b, u16::max);
    Pmaxud(a, b, _) => map2::<u32, 4>(a, b, u32::max);
    Pmaxsb(a, b, _) => map2::<i8, 16>(a, b, i8::max);
    Pmaxsw(a, b, _) => map2::<i16, 8>(a, b, i16::max);
    Pmaxsd(a, b, _) => map2::<i32, 4>(a, b, i32::max);

    Pcmpeqb(a, b, _) => map2::<u8, 16>(a, b, |x, y| mask!(u8, x == y));
    Pcmpeqw(a, b, _) => map2::<u16, 8>(a, b, |x, y| mask!(u16, x == y));
    Pcmpeqd(a, b, _) => map2::<u32, 4>(a, b, |x, y| mask!(u32, x == y));
    Pcmpeqq(a, b, _) => map2::<u64, 2>(a, b, |x, y| mask!(u64, x == y));
    Pcmpgtb(a, b, _) => map2::<i8, 16>(a, b, |x, y| mask!(i8, x > y));
    Pcmpgtw(a, b, _) => map2::<i16, 8>(a, b, |x, y| mask!(i16, x > y));
    Pcmpgtd(a, b, _) => map2::<i32, 4>(a, b, |x, y| mask!(i32, x > y));
    Pcmpgtq(a, b, _) => map2::<i64, 2>(a, b, |x, y| mask!(i64, x > y));

    Pabsb(_, b, _) => map::<i8, 16>(b, i8::wrapping_abs);
    Pabsw(_, b, _) => map::<i16, 8>(b, i16::wrapping_abs);
    Pabsd(_, b, _) => map::<i32, 4>(b, i32::wrapping_abs);
    Psignb(a, b, _) => map2::<i8, 16>(a, b, |x, y| x.wrapping_mul(y.signum()));
    Psignw(a, b, _) => map2::<i16, 8>(a, b, |x, y| x.wrapping_mul(y.signum()));
    Psignd(a, b, _) => map2::<i32, 4>(a, b, |x, y| x.wrapping_mul(y.signum()));

    Phaddw(a, b, _) => pairs::<i16, 8>(a, b, i16::wrapping_add);
    Phaddd(a, b, _) => pairs::<i32, 4>(a, b, i32::wrapping_add);
    Phaddsw(a, b, _) => pairs::<i16, 8>(a, b, i16::saturating_add);
    Phsubw(a, b, _) => pairs::<i16, 8>(a, b, i16::wrapping_sub);
    Phsubd(a, b, _) => pairs::<i32, 4>(a, b, i32::wrapping_sub);
    Phsubsw(a, b, _) => pairs::<i16, 8>(a, b, i16::saturating_sub);

    Psadbw(a, b, _) => host::psadbw(a, b).unwrap_or_else(|| psadbw(a, b));
    Mpsadbw(a, b, imm) => mpsadbw(a, b, imm);
    Phminposuw(_, b, _) => phminposuw(b);

    Pand(a, b, _) => a & b;
    Pandn(a, b, _) => !a & b;
    Por(a, b, _) => a | b;
    Pxor(a, b, _) => a ^ b;
}

/// `f` of neighbouring elements, first those of `a`, then those of `b`.
#[inline(always)]
fn pairs<T: Copy, const N: usize>(a: u128, b: u128, f: impl Fn(T, T) -> T) -> u128
where
    [T; N]: Elements,
{
    build::<T, T, N, N>(a, b, |a, b, k| {
        let (from, k) = if k < N / 2 { (a, k) } else { (b, k - N / 2) };
        f(from[2 * k], from[2 * k + 1])
    })
}

/// PMADDWD: products of words, neighbours added.
pub(super) fn pmaddwd(a: u128, b: u128) -> u128 {
    build::<i16, i32, 8, 4>(a, b, |a, b, k| {
        let product = |k: usize| i32::from(a[k]) * i32::from(b[k]);
        product(2 * k).wrapping_add(product(2 * k + 1))
    })
}

/// PMADDUBSW: products of unsigned and signed bytes, neighbours added with saturation.
fn pmaddubsw(a: u128, b: u128) -> u128 {
    build::<u8, i16, 16, 8>(a, b, |a, b, k| {
        let product = |k: usize| i32::from(a[k]) * i32::from(b[k] as i8);
        (product(2 * k) + product(2 * k + 1)).clamp(i16::MIN.into(), i16::MAX.into()) as i16
    })
}

/// PSADBW: in each half the sum of absolute differences of bytes.
pub(super) fn psadbw(a: u128, b: u128) -> u128 {
    build::<u8, u64, 16, 2>(a, b, |a, b, half| {
        (8 * half..8 * half + 8).map(|k| u64::from(a[k].abs_diff(b[k]))).sum()
    })
}

/// MPSADBW: a block of four bytes of `b` against eight positions in `a`.
fn mpsadbw(a: u128, b: u128, imm: u8) -> u128 {
    let (first, block) = (usize::from(imm >> 2 & 1) * 4, usize::from(imm & 3) * 4);
    build::<u8, u16, 16, 8>(a, b, |a, b, k| {
        (0..4).map(|m| u16::from(a[first + k + m].abs_diff(b[block + m]))).sum()
    })
}

/// PHMINPOSUW: the smallest word and the index where it is first.
fn phminposuw(b: u128) -> u128 {
    let words = <[u16; 8]>::of(b);
    let (index, word) = words.iter().enumerate().min_by_key(|&(_, &word)| word).unwrap_or((0, &0));
    u128::from(*word) | (index as u128) << 16
}
