//! The host's instructions against the portable texts, and known answers. That the host agrees with the whole
//! is told by `tests/vectors_native.rs`.

use super::{
    LaneOperation, LaneOperation3, Pcmpestr, Pcmpistr, Vpermd, Vpermq, aes, arith, bits, carryless, galois,
    host, operation::Pair, sha, shift, shuffle,
};
use proptest::prelude::*;
use rstest::rstest;

/// Lanes with many equal, extreme and zero elements.
fn lane() -> impl Strategy<Value = u128> {
    let bytes =
        prop::array::uniform16(prop_oneof![Just(0u8), Just(0x7F), Just(0x80), Just(0xFF), any::<u8>()]);
    prop_oneof![any::<u128>(), bytes.prop_map(u128::from_le_bytes), 0..70u128]
}

proptest! {
    #[test]
    fn the_host_agrees_with_the_portable_text(a in lane(), b in lane()) {
        host::detect();
        let all: [&[Pair]; 6] =
            [arith::PAIRS, shuffle::PAIRS, shift::PAIRS, aes::PAIRS, sha::PAIRS, galois::PAIRS];
        for &(op, apply, portable) in all.into_iter().flatten() {
            prop_assert_eq!(apply(a, b, 0), portable(a, b), "{:?} {:x} {:x}", op, a, b);
        }
    }

    #[test]
    fn the_host_agrees_on_rounds_and_polynomials(a in lane(), b in lane(), c in lane(), imm in 0u8..4) {
        host::detect();
        if let Some(result) = host::sha1rnds4(a, b, imm) {
            prop_assert_eq!(bits(result), sha::sha1rnds4(a, b, imm));
        }
        if let Some(result) = host::sha256rnds2(a, b, c) {
            prop_assert_eq!(bits(result), sha::sha256rnds2(a, b, c));
        }
        if let Some(result) = host::clmul(a, b) {
            prop_assert_eq!(bits(result), carryless::multiply(a as u64, b as u64));
        }
        if let Some(result) = host::affine::<false>(a, b) {
            prop_assert_eq!(bits(result), galois::affine(a, b));
        }
        if let Some(result) = host::affine::<true>(a, b) {
            prop_assert_eq!(bits(result), galois::affine(galois::invert(a), b));
        }
        let width = u64::from(imm);
        let value = b as u64 & (u64::MAX >> (64 - (8 << width)));
        if let Some(result) = host::crc32(a as u32, value, width) {
            prop_assert_eq!(result, carryless::crc32_by_bits(a as u32, value, width));
        }
    }
}

#[test]
fn crc32_of_the_check_string_is_the_check_value() {
    let crc = b"123456789".iter().fold(!0, |crc, &byte| carryless::crc32_by_bits(crc, byte.into(), 0));
    assert_eq!(!crc, 0xE306_9283);
}

#[test]
fn aes_128_encrypts_the_vector_of_fips_197() {
    // Arrange: appendix B, with the round keys as the key schedule gives them.
    let mut key = u128::from_le_bytes(*b"\x2b\x7e\x15\x16\x28\xae\xd2\xa6\xab\xf7\x15\x88\x09\xcf\x4f\x3c");
    let mut state =
        u128::from_le_bytes(*b"\x32\x43\xf6\xa8\x88\x5a\x30\x8d\x31\x31\x98\xa2\xe0\x37\x07\x34") ^ key;
    // Act
    for round in [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0x1B, 0x36] {
        let word = aes::Aeskeygenassist::apply(0, key, round) >> 96;
        let spread = word | word << 32 | word << 64 | word << 96;
        key ^= key << 32;
        key ^= key << 64;
        key ^= spread;
        state = if round == 0x36 {
            aes::Aesenclast::apply(state, key, 0)
        } else {
            aes::Aesenc::apply(state, key, 0)
        };
    }
    // Assert
    assert_eq!(&state.to_le_bytes(), b"\x39\x25\x84\x1d\x02\xdc\x09\xfb\xdc\x11\x85\x97\x19\x6a\x0b\x32");
}

/// IntRes2 and flags of a comparison of strings.
fn found(result: u128) -> (u16, u32) {
    (result as u16, (result >> 32) as u32)
}

fn text(bytes: &[u8]) -> u128 {
    bytes.iter().rev().fold(0, |lane, &byte| lane << 8 | u128::from(byte))
}

const CF: u32 = 1;
const ZF: u32 = 1 << 6;
const SF: u32 = 1 << 7;

#[rstest]
#[case::any_vowel(b"aeiou", b"hello world", 0x00, 0b00010010010, CF | ZF | SF)]
#[case::in_ranges(b"azAZ", b"a-Z-m", 0x04, 0b10101, CF | ZF | SF | 1 << 11)]
#[case::equal_each(b"abc", b"abd", 0x08, 0xFFFB, CF | ZF | SF | 1 << 11)]
#[case::substring(b"lo", b"hello", 0x0C, 0b01000, CF | ZF | SF)]
#[case::not_a_vowel_within_the_string(b"aeiou", b"hello", 0x30, 0b01101, CF | ZF | SF | 1 << 11)]
fn strings_that_end_in_zero_are_compared(
    #[case] a: &[u8],
    #[case] b: &[u8],
    #[case] imm: u8,
    #[case] mask: u16,
    #[case] flags: u32,
) {
    assert_eq!(found(Pcmpistr::apply(text(a), text(b), imm)), (mask, flags));
}

#[test]
fn explicit_lengths_count_by_magnitude_and_saturate() {
    let (a, b) = (text(b"a"), text(b"\0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0"));
    let lengths = u128::from((-1i64) as u64) | 1000 << 64;
    assert_eq!(found(Pcmpestr::apply(a, b, lengths, 0)), (0b10, CF | SF));
}

#[test]
fn every_element_but_zero_times_its_inverse_is_one() {
    let inverses = galois::inverses();
    assert_eq!(inverses[0], 0);
    for x in 1..=255u8 {
        assert_eq!(galois::multiply(x, inverses[usize::from(x)]), 1, "{x:#x}");
    }
}

#[test]
fn permutes_choose_from_both_lanes() {
    let (low, high) = (0x3_0000_0002_0000_0001_0000_0000, 0x7_0000_0006_0000_0005_0000_0004);
    // Bits beyond the third of an index do not matter.
    let index = 0xFFFF_FFF8_0000_0004_0000_0007_8000_0001;
    assert_eq!(Vpermd::apply(low, high, index, 0), 0x0_0000_0004_0000_0007_0000_0001);
    assert_eq!(Vpermq::apply(low, high, 0b01_10), 0x3_0000_0002_0000_0005_0000_0004);
}
