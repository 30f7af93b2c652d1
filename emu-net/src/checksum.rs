//! The Internet checksum (RFC 1071): the ones' complement of the ones' complement sum of 16-bit words.

use std::net::IpAddr;

/// The sum of `bytes` as big-endian words, folded to 16 bits. An odd byte at the end is the upper half of a word.
pub fn sum(bytes: &[u8]) -> u16 {
    // The sum may be made in the host's byte order and of wider words, and turned round at the end (RFC 1071, 2).
    let (words, rest) = bytes.as_chunks::<4>();
    let mut total: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
    let mut tail = [0; 4];
    tail[..rest.len()].copy_from_slice(rest);
    total += u64::from(u32::from_ne_bytes(tail));
    u16::from_be(fold(total))
}

/// The sum of two folded sums.
pub fn add(one: u16, other: u16) -> u16 {
    fold(u64::from(one) + u64::from(other))
}

fn fold(mut total: u64) -> u16 {
    while total > 0xffff {
        total = (total >> 16) + (total & 0xffff);
    }
    total as u16
}

/// The sum of the pseudo-header that TCP, UDP and ICMPv6 put before their own bytes, of which there are `len`.
pub fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, len: usize) -> u16 {
    let addresses = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            add(sum(&source.octets()), sum(&destination.octets()))
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            add(sum(&source.octets()), sum(&destination.octets()))
        }
        _ => 0,
    };
    add(addresses, fold(u64::from(protocol) + len as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_sum_is_that_of_the_example_in_rfc_1071() {
        assert_eq!(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
    }

    proptest! {
        #[test]
        fn the_sum_is_that_of_its_words(bytes: Vec<u8>) {
            let words = bytes.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0)));
            prop_assert_eq!(sum(&bytes), fold(words.sum()));
        }
    }
}
