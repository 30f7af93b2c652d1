//! Integer arithmetic, comparison and logic on elements.

use super::{
    elements::{Elements, build, map, map2},
    operation::{host_operations, lane_operations},
};

/// All ones or zero.
macro_rules! mask {
    ($t:ty, $c:expr) => {
        if $c { !(0 as $t) } else { 0 }
    };
}

lane_operations! {
    Pmuldq(a, b, _) => map2::<i64, 2>(a, b, |x, y| i64::from(x as i32) * i64::from(y as i32));

    Pminuw(a, b, _) => map2::<u16, 8>(a, b, u16::min);
    Pminud(a, b, _) => map2::<u32, 4>(a, b, u32::min);
    Pminsb(a, b, _) => map2::<i8, 16>(a, b, i8::min);
    Pminsd(a, b, _) => map2::<i32, 4>(a, b, i32::min);
    Pmaxuw(a, b, _) => map2::<u16, 8>(a, b, u16::max);
    Pmaxud(a, b, _) => map2::<u32, 4>(a, b, u32::max);
    Pmaxsb(a, b, _) => map2::<i8, 16>(a, b, i8::max);
    Pmaxsd(a, b, _) => map2::<i32, 4>(a, b, i32::max);

    Pcmpeqq(a, b, _) => map2::<u64, 2>(a, b, |x, y| mask!(u64, x == y));
    Pcmpgtq(a, b, _) => map2::<i64, 2>(a, b, |x, y| mask!(i64, x > y));

    Phaddw(a, b, _) => pairs::<i16, 8>(a, b, i16::wrapping_add);
    Phaddd(a, b, _) => pairs::<i32, 4>(a, b, i32::wrapping_add);
    Phaddsw(a, b, _) => pairs::<i16, 8>(a, b, i16::saturating_add);
    Phsubw(a, b, _) => pairs::<i16, 8>(a, b, i16::wrapping_sub);
    Phsubd(a, b, _) => pairs::<i32, 4>(a, b, i32::wrapping_sub);
    Phsubsw(a, b, _) => pairs::<i16, 8>(a, b, i16::saturating_sub);

    Mpsadbw(a, b, imm) => mpsadbw(a, b, imm);
    Phminposuw(_, b, _) => phminposuw(b);

    Pand(a, b, _) => a & b;
    Pandn(a, b, _) => !a & b;
    Por(a, b, _) => a | b;
    Pxor(a, b, _) => a ^ b;
}

host_operations! {
    Paddb = paddb(a, b), map2::<u8, 16>(a, b, u8::wrapping_add);
    Paddw = paddw(a, b), map2::<u16, 8>(a, b, u16::wrapping_add);
    Paddd = paddd(a, b), map2::<u32, 4>(a, b, u32::wrapping_add);
    Paddq = paddq(a, b), map2::<u64, 2>(a, b, u64::wrapping_add);
    Psubb = psubb(a, b), map2::<u8, 16>(a, b, u8::wrapping_sub);
    Psubw = psubw(a, b), map2::<u16, 8>(a, b, u16::wrapping_sub);
    Psubd = psubd(a, b), map2::<u32, 4>(a, b, u32::wrapping_sub);
    Psubq = psubq(a, b), map2::<u64, 2>(a, b, u64::wrapping_sub);
    Paddsb = paddsb(a, b), map2::<i8, 16>(a, b, i8::saturating_add);
    Paddsw = paddsw(a, b), map2::<i16, 8>(a, b, i16::saturating_add);
    Paddusb = paddusb(a, b), map2::<u8, 16>(a, b, u8::saturating_add);
    Paddusw = paddusw(a, b), map2::<u16, 8>(a, b, u16::saturating_add);
    Psubsb = psubsb(a, b), map2::<i8, 16>(a, b, i8::saturating_sub);
    Psubsw = psubsw(a, b), map2::<i16, 8>(a, b, i16::saturating_sub);
    Psubusb = psubusb(a, b), map2::<u8, 16>(a, b, u8::saturating_sub);
    Psubusw = psubusw(a, b), map2::<u16, 8>(a, b, u16::saturating_sub);
    Pmullw = pmullw(a, b), map2::<u16, 8>(a, b, u16::wrapping_mul);
    Pmulld = pmulld(a, b), map2::<u32, 4>(a, b, u32::wrapping_mul);
    Pmulhw = pmulhw(a, b), map2::<i16, 8>(a, b, |x, y| ((i32::from(x) * i32::from(y)) >> 16) as i16);
    Pmulhuw = pmulhuw(a, b), map2::<u16, 8>(a, b, |x, y| ((u32::from(x) * u32::from(y)) >> 16) as u16);
    Pmulhrsw = pmulhrsw(a, b), map2::<i16, 8>(a, b, |x, y| ((((i32::from(x) * i32::from(y)) >> 14) + 1) >> 1) as i16);
    Pmuludq = pmuludq(a, b), map2::<u64, 2>(a, b, |x, y| (x & 0xFFFF_FFFF) * (y & 0xFFFF_FFFF));
    Pmaddwd = pmaddwd(a, b), pmaddwd(a, b);
    Pmaddubsw = pmaddubsw(a, b), pmaddubsw(a, b);
    Pavgb = pavgb(a, b), map2::<u8, 16>(a, b, |x, y| ((u16::from(x) + u16::from(y) + 1) >> 1) as u8);
    Pavgw = pavgw(a, b), map2::<u16, 8>(a, b, |x, y| ((u32::from(x) + u32::from(y) + 1) >> 1) as u16);
    Pminub = pminub(a, b), map2::<u8, 16>(a, b, u8::min);
    Pminsw = pminsw(a, b), map2::<i16, 8>(a, b, i16::min);
    Pmaxub = pmaxub(a, b), map2::<u8, 16>(a, b, u8::max);
    Pmaxsw = pmaxsw(a, b), map2::<i16, 8>(a, b, i16::max);
    Pcmpeqb = pcmpeqb(a, b), map2::<u8, 16>(a, b, |x, y| mask!(u8, x == y));
    Pcmpeqw = pcmpeqw(a, b), map2::<u16, 8>(a, b, |x, y| mask!(u16, x == y));
    Pcmpeqd = pcmpeqd(a, b), map2::<u32, 4>(a, b, |x, y| mask!(u32, x == y));
    Pcmpgtb = pcmpgtb(a, b), map2::<i8, 16>(a, b, |x, y| mask!(i8, x > y));
    Pcmpgtw = pcmpgtw(a, b), map2::<i16, 8>(a, b, |x, y| mask!(i16, x > y));
    Pcmpgtd = pcmpgtd(a, b), map2::<i32, 4>(a, b, |x, y| mask!(i32, x > y));
    Pabsb = pabsb(_, b), map::<i8, 16>(b, i8::wrapping_abs);
    Pabsw = pabsw(_, b), map::<i16, 8>(b, i16::wrapping_abs);
    Pabsd = pabsd(_, b), map::<i32, 4>(b, i32::wrapping_abs);
    Psignb = psignb(a, b), map2::<i8, 16>(a, b, |x, y| x.wrapping_mul(y.signum()));
    Psignw = psignw(a, b), map2::<i16, 8>(a, b, |x, y| x.wrapping_mul(y.signum()));
    Psignd = psignd(a, b), map2::<i32, 4>(a, b, |x, y| x.wrapping_mul(y.signum()));
    Psadbw = psadbw(a, b), psadbw(a, b);
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
#[inline(never)]
fn mpsadbw(a: u128, b: u128, imm: u8) -> u128 {
    let (first, block) = (usize::from(imm >> 2 & 1) * 4, usize::from(imm & 3) * 4);
    build::<u8, u16, 16, 8>(a, b, |a, b, k| {
        (0..4).map(|m| u16::from(a[first + k + m].abs_diff(b[block + m]))).sum()
    })
}

/// PHMINPOSUW: the smallest word and the index where it is first.
#[inline(never)]
fn phminposuw(b: u128) -> u128 {
    let words = <[u16; 8]>::of(b);
    let (index, word) = words.iter().enumerate().min_by_key(|&(_, &word)| word).unwrap_or((0, &0));
    u128::from(*word) | (index as u128) << 16
}
