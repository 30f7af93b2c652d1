//! Moving elements: pack, unpack, shuffle, blend, insert, extract, extend, sign masks.

use super::{
    LaneOp3, LaneOperation, LaneOperation3,
    elements::{Elements, build, map},
    operation::{host_operations, lane_operations},
};

lane_operations! {
    Pshufd(_, b, imm) => pshufd(b, imm);
    Pshuflw(_, b, imm) => shuffle_half(b as u64, imm) | b >> 64 << 64;
    Pshufhw(_, b, imm) => shuffle_half((b >> 64) as u64, imm) << 64 | u128::from(b as u64);
    Shufps(a, b, imm) => Punpcklqdq::apply(pshufd(a, imm), pshufd(b, imm >> 4), 0);
    Shufpd(a, b, imm) => build::<u64, u64, 2, 2>(a, b, |a, b, k| if k == 0 { a[usize::from(imm & 1)] } else { b[usize::from(imm >> 1 & 1)] });
    Movshdup(_, b, _) => build::<u32, u32, 4, 4>(b, b, |b, _, k| b[k | 1]);
    Movsldup(_, b, _) => build::<u32, u32, 4, 4>(b, b, |b, _, k| b[k & 2]);

    Pblendw(a, b, imm) => build::<u16, u16, 8, 8>(a, b, |a, b, k| if imm >> k & 1 != 0 { b[k] } else { a[k] });
    Blendps(a, b, imm) => build::<u32, u32, 4, 4>(a, b, |a, b, k| if imm >> k & 1 != 0 { b[k] } else { a[k] });
    Blendpd(a, b, imm) => build::<u64, u64, 2, 2>(a, b, |a, b, k| if imm >> k & 1 != 0 { b[k] } else { a[k] });
    Insertps(a, b, imm) => insertps(a, b, imm);

    Pinsrb(a, b, imm) => insert(a, b, 8, imm & 15);
    Pinsrw(a, b, imm) => insert(a, b, 16, imm & 7);
    Pinsrd(a, b, imm) => insert(a, b, 32, imm & 3);
    Pinsrq(a, b, imm) => insert(a, b, 64, imm & 1);
    Pextrb(_, b, imm) => (b >> (8 * (imm & 15))) & 0xFF;
    Pextrw(_, b, imm) => (b >> (16 * (imm & 7))) & 0xFFFF;
    Pextrd(_, b, imm) => (b >> (32 * (imm & 3))) & 0xFFFF_FFFF;
    Pextrq(_, b, imm) => (b >> (64 * (imm & 1))) & u128::from(u64::MAX);

    Pmovsxbw(_, b, _) => build::<i8, i16, 16, 8>(b, b, |b, _, k| b[k].into());
    Pmovsxbd(_, b, _) => build::<i8, i32, 16, 4>(b, b, |b, _, k| b[k].into());
    Pmovsxbq(_, b, _) => build::<i8, i64, 16, 2>(b, b, |b, _, k| b[k].into());
    Pmovsxwd(_, b, _) => build::<i16, i32, 8, 4>(b, b, |b, _, k| b[k].into());
    Pmovsxwq(_, b, _) => build::<i16, i64, 8, 2>(b, b, |b, _, k| b[k].into());
    Pmovsxdq(_, b, _) => build::<i32, i64, 4, 2>(b, b, |b, _, k| b[k].into());
    Pmovzxbw(_, b, _) => build::<u8, u16, 16, 8>(b, b, |b, _, k| b[k].into());
    Pmovzxbd(_, b, _) => build::<u8, u32, 16, 4>(b, b, |b, _, k| b[k].into());
    Pmovzxbq(_, b, _) => build::<u8, u64, 16, 2>(b, b, |b, _, k| b[k].into());
    Pmovzxwd(_, b, _) => build::<u16, u32, 8, 4>(b, b, |b, _, k| b[k].into());
    Pmovzxwq(_, b, _) => build::<u16, u64, 8, 2>(b, b, |b, _, k| b[k].into());
    Pmovzxdq(_, b, _) => build::<u32, u64, 4, 2>(b, b, |b, _, k| b[k].into());

    Movmskpd(_, b, _) => signs::<u64, 2>(b, |x| (x >> 63) as u8);
    Vpermilpd(_, b, imm) => Shufpd::apply(b, b, imm);
    Vpermilpsvar(a, b, _) => build::<u32, u32, 4, 4>(a, b, |a, b, k| a[(b[k] & 3) as usize]);
    Vpermilpdvar(a, b, _) => build::<u64, u64, 2, 2>(a, b, |a, b, k| a[(b[k] >> 1 & 1) as usize]);

    // The flags in RFLAGS' places: ZF and CF.
    Ptest(a, b, _) => u128::from(a & b == 0) << 6 | u128::from(!a & b == 0);
    Testps(a, b, _) => Ptest::apply(a, b & [1u32 << 31; 4].lane(), 0);
    Testpd(a, b, _) => Ptest::apply(a, b & [1u64 << 63; 2].lane(), 0);
}

host_operations! {
    Packsswb = packsswb(a, b), pack::<i16, i8, 8, 16>(a, b, |x| x.clamp(-0x80, 0x7F) as i8);
    Packssdw = packssdw(a, b), pack::<i32, i16, 4, 8>(a, b, |x| x.clamp(-0x8000, 0x7FFF) as i16);
    Packuswb = packuswb(a, b), pack::<i16, u8, 8, 16>(a, b, |x| x.clamp(0, 0xFF) as u8);
    Packusdw = packusdw(a, b), pack::<i32, u16, 4, 8>(a, b, |x| x.clamp(0, 0xFFFF) as u16);
    Punpcklbw = punpcklbw(a, b), interleave::<u8, 16>(a, b, 0);
    Punpcklwd = punpcklwd(a, b), interleave::<u16, 8>(a, b, 0);
    Punpckldq = punpckldq(a, b), interleave::<u32, 4>(a, b, 0);
    Punpcklqdq = punpcklqdq(a, b), interleave::<u64, 2>(a, b, 0);
    Punpckhbw = punpckhbw(a, b), interleave::<u8, 16>(a, b, 8);
    Punpckhwd = punpckhwd(a, b), interleave::<u16, 8>(a, b, 4);
    Punpckhdq = punpckhdq(a, b), interleave::<u32, 4>(a, b, 2);
    Punpckhqdq = punpckhqdq(a, b), interleave::<u64, 2>(a, b, 1);
    Pshufb = pshufb(a, b), pshufb(a, b);
    Pmovmskb = pmovmskb(_, b), signs::<u8, 16>(b, |x| x >> 7);
    Movmskps = movmskps(_, b), signs::<u32, 4>(b, |x| (x >> 31) as u8);
}

/// Narrowed elements of `a`, then those of `b`.
#[inline(always)]
fn pack<S: Copy, T, const N: usize, const M: usize>(a: u128, b: u128, narrow: impl Fn(S) -> T) -> u128
where
    [S; N]: Elements,
    [T; M]: Elements,
{
    build::<S, T, N, M>(a, b, |a, b, k| narrow(if k < N { a[k] } else { b[k - N] }))
}

/// Elements `from` and following of both, in turn.
#[inline(always)]
fn interleave<T: Copy, const N: usize>(a: u128, b: u128, from: usize) -> u128
where
    [T; N]: Elements,
{
    build::<T, T, N, N>(a, b, |a, b, k| if k % 2 == 0 { a[from + k / 2] } else { b[from + k / 2] })
}

/// Two-bit field `k` of an immediate.
#[inline(always)]
fn field(imm: u8, k: usize) -> usize {
    usize::from(imm >> (2 * k) & 3)
}

/// Byte indices for PSHUFB of two 32-bit elements that four bits choose.
static PAIR_OF_ELEMENTS: [u64; 16] = {
    let mut table = [0; 16];
    let mut bits = 0;
    while bits < 16 {
        let (first, second) = (bits as u64 & 3, bits as u64 >> 2);
        table[bits] = (0x0302_0100 + first * 0x0404_0404) | (0x0302_0100 + second * 0x0404_0404) << 32;
        bits += 1;
    }
    table
};

/// PSHUFD, by PSHUFB: the host's own has its choice encoded in the instruction.
#[inline(always)]
fn pshufd(b: u128, imm: u8) -> u128 {
    let pair = |bits: u8| u128::from(PAIR_OF_ELEMENTS[usize::from(bits & 15)]);
    let indices = pair(imm) | pair(imm >> 4) << 64;
    Pshufb::apply(b, indices, 0)
}

/// Four words chosen by the fields of `imm`.
#[inline(always)]
fn shuffle_half(words: u64, imm: u8) -> u128 {
    let word = |k: usize| (words >> (16 * field(imm, k)) & 0xFFFF) << (16 * k);
    (word(0) | word(1) | word(2) | word(3)).into()
}

/// PSHUFB: bytes of `a` chosen by `b`, or zero.
pub(super) fn pshufb(a: u128, b: u128) -> u128 {
    build::<u8, u8, 16, 16>(a, b, |a, b, k| if b[k] & 0x80 != 0 { 0 } else { a[usize::from(b[k] & 15)] })
}

/// `a` with element `k` of `bits` bits replaced by the low bits of `b`.
#[inline(always)]
fn insert(a: u128, b: u128, bits: u32, k: u8) -> u128 {
    let shift = bits * u32::from(k);
    let mask = (1u128 << bits) - 1;
    a & !(mask << shift) | (b & mask) << shift
}

/// INSERTPS: an element of `b` into `a`, then zeros where the mask says.
#[inline(never)]
fn insertps(a: u128, b: u128, imm: u8) -> u128 {
    let (mut to, from) = (<[u32; 4]>::of(a), <[u32; 4]>::of(b));
    to[usize::from(imm >> 4 & 3)] = from[usize::from(imm >> 6)];
    build::<u32, u32, 4, 4>(to.lane(), 0, |to, _, k| if imm >> k & 1 != 0 { 0 } else { to[k] })
}

/// One bit of each element, element 0's lowest.
#[inline(always)]
fn signs<T: Copy, const N: usize>(b: u128, bit: impl Fn(T) -> u8) -> u128
where
    [T; N]: Elements,
{
    <[T; N]>::of(b).into_iter().enumerate().fold(0, |mask, (k, x)| mask | u128::from(bit(x)) << k)
}

/// PBLENDVB: bytes of `b` where the mask `c` has the sign bit, of `a` elsewhere.
pub struct Pblendvb;
/// BLENDVPS.
pub struct Blendvps;
/// BLENDVPD.
pub struct Blendvpd;

/// `b` where `mask` is ones, `a` where it is zero.
#[inline(always)]
fn choose(a: u128, b: u128, mask: u128) -> u128 {
    a & !mask | b & mask
}

impl LaneOperation3 for Pblendvb {
    const OP: LaneOp3 = LaneOp3::Pblendvb;
    #[inline(always)]
    fn apply(a: u128, b: u128, c: u128, _: u8) -> u128 {
        choose(a, b, map::<i8, 16>(c, |x| x >> 7))
    }
}
impl LaneOperation3 for Blendvps {
    const OP: LaneOp3 = LaneOp3::Blendvps;
    #[inline(always)]
    fn apply(a: u128, b: u128, c: u128, _: u8) -> u128 {
        choose(a, b, map::<i32, 4>(c, |x| x >> 31))
    }
}
impl LaneOperation3 for Blendvpd {
    const OP: LaneOp3 = LaneOp3::Blendvpd;
    #[inline(always)]
    fn apply(a: u128, b: u128, c: u128, _: u8) -> u128 {
        choose(a, b, map::<i64, 2>(c, |x| x >> 63))
    }
}
