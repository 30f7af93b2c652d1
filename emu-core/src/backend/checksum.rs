//! The Internet checksum (RFC 1071): the ones' complement of the ones' complement sum of 16-bit words.

/// The sum of `bytes` as big-endian words, folded to 16 bits. An odd byte at the end is the upper half of a word.
pub fn sum(bytes: &[u8]) -> u16 {
    // Words of the host's byte order give the sum in that order (RFC 1071, 2 (B)), and wider ones fewer additions.
    let (words, rest) = bytes.as_chunks::<4>();
    let mut total: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    total += u64::from(u32::from_ne_bytes(last));
    u16::from_be(fold(total))
}

/// The sum of two sums.
pub fn add(one: u16, other: u16) -> u16 {
    fold(u64::from(one) + u64::from(other))
}

fn fold(mut total: u64) -> u16 {
    while total > 0xFFFF {
        total = (total >> 16) + (total & 0xFFFF);
    }
    total as u16
}

/// What goes into the field whose message has this sum. Zero would say, in UDP, that there is no checksum; the other
/// zero is as good everywhere.
pub fn of_sum(sum: u16) -> u16 {
    match !sum {
        0 => 0xFFFF,
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_sum_is_that_of_the_example_in_rfc_1071() {
        assert_eq!(sum(&[0x00, 0x01, 0xF2, 0x03, 0xF4, 0xF5, 0xF6, 0xF7]), 0xDDF2);
    }

    proptest! {
        #[test]
        fn the_sum_is_that_of_its_words(bytes: Vec<u8>) {
            let pairs = bytes.chunks(2);
            let words = pairs.map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0)));
            prop_assert_eq!(sum(&bytes), fold(words.sum()));
        }
    }
}
