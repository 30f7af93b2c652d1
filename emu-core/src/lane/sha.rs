//! SHA extensions. SDM vol. 1, 5.19; FIPS 180-4. Element 3 of a lane is the earliest word of the message.

use super::{
    LaneOp3, LaneOperation3, bits,
    elements::Elements,
    host,
    operation::{host_operations, lane_operations},
};

lane_operations! {
    Sha1rnds4(a, b, imm) => host::sha1rnds4(a, b, imm).map_or_else(|| sha1rnds4(a, b, imm), bits);
}

host_operations! {
    Sha1nexte = sha1nexte(a, b), sha1nexte(a, b);
    Sha1msg1 = sha1msg1(a, b), sha1msg1(a, b);
    Sha1msg2 = sha1msg2(a, b), sha1msg2(a, b);
    Sha256msg1 = sha256msg1(a, b), sha256msg1(a, b);
    Sha256msg2 = sha256msg2(a, b), sha256msg2(a, b);
}

/// SHA256RNDS2: two rounds; the third lane's low half has the words with the constants added.
pub struct Sha256rnds2;

impl LaneOperation3 for Sha256rnds2 {
    const OP: LaneOp3 = LaneOp3::Sha256rnds2;
    #[inline(always)]
    fn apply(a: u128, b: u128, c: u128, _: u8) -> u128 {
        host::sha256rnds2(a, b, c).map_or_else(|| sha256rnds2(a, b, c), bits)
    }
}

#[inline(never)]
pub(super) fn sha1rnds4(state: u128, words: u128, imm: u8) -> u128 {
    let [mut d, mut c, mut b, mut a] = <[u32; 4]>::of(state);
    let constant = [0x5A82_7999, 0x6ED9_EBA1, 0x8F1B_BCDC, 0xCA62_C1D6][usize::from(imm & 3)];
    // The first word has E added already.
    let mut e = 0u32;
    for word in <[u32; 4]>::of(words).into_iter().rev() {
        let f = match imm & 3 {
            0 => b & c | !b & d,
            2 => b & c ^ b & d ^ c & d,
            _ => b ^ c ^ d,
        };
        let next = f.wrapping_add(a.rotate_left(5)).wrapping_add(word).wrapping_add(constant).wrapping_add(e);
        (a, b, c, d, e) = (next, a, b.rotate_left(30), c, d);
    }
    [d, c, b, a].lane()
}

fn sha1nexte(a: u128, b: u128) -> u128 {
    let (a, mut b) = (<[u32; 4]>::of(a), <[u32; 4]>::of(b));
    b[3] = b[3].wrapping_add(a[3].rotate_left(30));
    b.lane()
}

fn sha1msg1(a: u128, b: u128) -> u128 {
    a ^ (a << 64 | b >> 64)
}

fn sha1msg2(a: u128, b: u128) -> u128 {
    let (a, b) = (<[u32; 4]>::of(a), <[u32; 4]>::of(b));
    let w16 = (a[3] ^ b[2]).rotate_left(1);
    let w17 = (a[2] ^ b[1]).rotate_left(1);
    let w18 = (a[1] ^ b[0]).rotate_left(1);
    [(a[0] ^ w16).rotate_left(1), w18, w17, w16].lane()
}

#[inline(never)]
pub(super) fn sha256rnds2(cdgh: u128, abef: u128, words: u128) -> u128 {
    let [mut h, mut g, mut d, mut c] = <[u32; 4]>::of(cdgh);
    let [mut f, mut e, mut b, mut a] = <[u32; 4]>::of(abef);
    for word in <[u32; 4]>::of(words).into_iter().take(2) {
        let choose = e & f ^ !e & g;
        let majority = a & b ^ a & c ^ b & c;
        let upper_e = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let upper_a = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let first = choose.wrapping_add(upper_e).wrapping_add(word).wrapping_add(h);
        let next = first.wrapping_add(majority).wrapping_add(upper_a);
        (a, b, c, d, e, f, g, h) = (next, a, b, c, first.wrapping_add(d), e, f, g);
    }
    [f, e, b, a].lane()
}

fn sha256msg1(a: u128, b: u128) -> u128 {
    let sigma = |x: u32| x.rotate_right(7) ^ x.rotate_right(18) ^ x >> 3;
    let (words, next) = (<[u32; 4]>::of(a), <[u32; 4]>::of(a >> 32 | b << 96));
    std::array::from_fn::<u32, 4, _>(|k| words[k].wrapping_add(sigma(next[k]))).lane()
}

fn sha256msg2(a: u128, b: u128) -> u128 {
    let sigma = |x: u32| x.rotate_right(17) ^ x.rotate_right(19) ^ x >> 10;
    let (a, b) = (<[u32; 4]>::of(a), <[u32; 4]>::of(b));
    let (w16, w17) = (a[0].wrapping_add(sigma(b[2])), a[1].wrapping_add(sigma(b[3])));
    [w16, w17, a[2].wrapping_add(sigma(w16)), a[3].wrapping_add(sigma(w17))].lane()
}
