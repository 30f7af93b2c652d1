//! PCMPISTRI, PCMPISTRM, PCMPESTRI, PCMPESTRM (SSE4.2). SDM vol. 1, 12.10; vol. 2B, 4.1.
//!
//! Both comparisons give IntRes2 in bits 15:0 and the flags, in RFLAGS' places, in bits 63:32; index and mask
//! follow from that.

use super::{LaneOp3, LaneOperation3, elements::Elements, operation::lane_operations, text_host};

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
fn implicit_length(lane: u128, imm: u8) -> usize {
    // The lowest bit of each element. Taking one away from a zero borrows; nothing below the first zero does.
    const BYTES: u128 = u128::MAX / 0xFF;
    const WIDE: u128 = u128::MAX / 0xFFFF;
    let (bits, ones) = if imm & WORDS != 0 { (16, WIDE) } else { (8, BYTES) };
    let borrowed = lane.wrapping_sub(ones) & !lane & ones << (bits - 1);
    borrowed.trailing_zeros() as usize / bits
}

/// IntRes2 of the comparison of `a` and `b`, which are `lengths` elements long.
#[inline(never)]
fn intermediate(a: u128, b: u128, [a_len, b_len]: [usize; 2], imm: u8) -> u16 {
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
    second as u16
}

#[inline(never)]
fn compare(a: u128, b: u128, a_len: usize, b_len: usize, imm: u8) -> u128 {
    let count = elements(imm);
    let lengths = [a_len, b_len];
    let second =
        text_host::intermediate(a, b, lengths, imm).unwrap_or_else(|| intermediate(a, b, lengths, imm));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::host;

    /// Lanes with few different elements, so that there is much to find, and ends anywhere.
    fn lanes(seed: u64) -> [u128; 2] {
        let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        [(); 2].map(|()| {
            (0..16).fold(0, |lane, _| {
                x = x.wrapping_mul(0xD134_2543_DE82_EF95).wrapping_add(1);
                let element =
                    [0, 1, 2, 0x7F, 0x80, 0x81, 0xFE, 0xFF, 1, 2, 1, 2, 1, 2, 1, 2][(x >> 60) as usize];
                lane << 8 | element
            })
        })
    }

    #[test]
    fn the_portable_comparison_is_the_hosts() {
        host::detect();
        for imm in 0..64 {
            for seed in 0..500 {
                let [a, b] = lanes(seed * 64 + u64::from(imm));
                let lengths = [a, b].map(|lane| implicit_length(lane, imm));
                let Some(expected) = text_host::intermediate(a, b, lengths, imm) else {
                    return eprintln!("skipped: the host cannot compare text");
                };
                assert_eq!(intermediate(a, b, lengths, imm), expected, "{imm:#x} {a:032x} {b:032x}");
            }
        }
    }

    #[test]
    fn the_length_is_the_place_of_the_first_zero() {
        for imm in [0, WORDS] {
            for lane in (0..500).flat_map(lanes).chain([0, u128::MAX, 1, 1 << 127, 0x8080 << 16]) {
                let count = elements(imm);
                let first = numbers(lane, imm)[..count].iter().position(|&x| x == 0);
                assert_eq!(implicit_length(lane, imm), first.unwrap_or(count), "{lane:032x}");
            }
        }
    }
}
