//! PCMPISTRI, PCMPISTRM, PCMPESTRI, PCMPESTRM (SSE4.2). SDM vol. 1, 12.10; vol. 2B, 4.1.
//!
//! Both comparisons give IntRes2 in bits 15:0 and the flags, in RFLAGS' places, in bits 63:32; index and mask
//! follow from that.

use super::{LaneOp3, LaneOperation3, elements::Elements, operation::lane_operations};

lane_operations! {
    Pcmpistr(a, b, imm) => compare(a, b, implicit_length(a, imm), implicit_length(b, imm), imm);
    // IntRes2 in the low bits of `b`: a bit mask (imm[6] = 0), or a mask of bytes or words.
    ExpandMask(_, b, imm) => expand(b as u16, imm);
}

/// The comparison with explicit lengths: 64-bit signed numbers in the halves of the third lane.
pub struct Pcmpestr;

impl LaneOperation3 for Pcmpestr {
    const OP: LaneOp3 = LaneOp3::Pcmpestr;
    fn apply(a: u128, b: u128, c: u128, imm: u8) -> u128 {
        let count = elements(imm);
        let length = |value: u64| (value as i64).unsigned_abs().min(count as u64) as usize;
        compare(a, b, length(c as u64), length((c >> 64) as u64), imm)
    }
}

const WORDS: u8 = 1;
const SIGNED: u8 = 2;

/// Elements in a lane: 16 bytes or 8 words.
fn elements(imm: u8) -> usize {
    if imm & WORDS != 0 { 8 } else { 16 }
}

/// The elements as numbers.
fn numbers(lane: u128, imm: u8) -> [i32; 16] {
    let mut numbers = [0; 16];
    for (k, number) in numbers.iter_mut().enumerate().take(elements(imm)) {
        *number = match imm & (WORDS | SIGNED) {
            0 => i32::from((lane >> (8 * k)) as u8),
            WORDS => i32::from((lane >> (16 * k)) as u16),
            SIGNED => i32::from((lane >> (8 * k)) as i8),
            _ => i32::from((lane >> (16 * k)) as i16),
        };
    }
    numbers
}

/// Elements before the first that is zero.
#[inline(never)]
fn implicit_length(lane: u128, imm: u8) -> usize {
    let count = elements(imm);
    numbers(lane, imm)[..count].iter().position(|&x| x == 0).unwrap_or(count)
}

#[inline(never)]
fn compare(a: u128, b: u128, a_len: usize, b_len: usize, imm: u8) -> u128 {
    let count = elements(imm);
    let (x, y) = (numbers(a, imm), numbers(b, imm));
    let (x, y) = (&x[..count], &y[..count]);
    let matches = |j: usize| match imm >> 2 & 3 {
        // Equal any: b[j] is one of the elements of a.
        0 => j < b_len && x[..a_len].contains(&y[j]),
        // Ranges: b[j] lies in one of the ranges that pairs of a's elements give.
        1 => j < b_len && x[..a_len].chunks_exact(2).any(|range| range[0] <= y[j] && y[j] <= range[1]),
        // Equal each; beyond both ends counts as equal.
        2 => (j < a_len && j < b_len && x[j] == y[j]) || (j >= a_len && j >= b_len),
        // Equal ordered: a is found in b from j on, as far as b's register shows.
        _ => (0..count - j).all(|i| i >= a_len || (j + i < b_len && x[i] == y[j + i])),
    };
    let first = (0..count).fold(0u32, |mask, j| mask | u32::from(matches(j)) << j);
    let all = (1u32 << count) - 1;
    let second = match imm >> 4 & 3 {
        1 => !first & all,
        3 => first ^ ((1 << b_len) - 1),
        _ => first,
    };
    let bit = |condition: bool, at: u32| u64::from(condition) << at;
    let flags =
        bit(second != 0, 0) | bit(b_len < count, 6) | bit(a_len < count, 7) | bit(second & 1 != 0, 11);
    (flags << 32 | u64::from(second)).into()
}

#[inline(never)]
fn expand(mask: u16, imm: u8) -> u128 {
    if imm & 0x40 == 0 {
        mask.into()
    } else if imm & WORDS != 0 {
        std::array::from_fn::<u16, 8, _>(|k| if mask >> k & 1 != 0 { u16::MAX } else { 0 }).lane()
    } else {
        std::array::from_fn::<u8, 16, _>(|k| if mask >> k & 1 != 0 { u8::MAX } else { 0 }).lane()
    }
}
