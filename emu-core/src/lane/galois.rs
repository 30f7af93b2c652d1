//! GFNI: bytes as elements of GF(2^8) and as vectors of bits. SDM vol. 2, GF2P8AFFINEINVQB, GF2P8AFFINEQB,
//! GF2P8MULB. The field is that of AES, which takes its arithmetic from here.

use super::{
    bits,
    elements::{Elements, build, map, map2},
    host, lane,
    operation::{host_operations, lane_operations},
};

lane_operations! {
    Gf2p8affineqb(a, b, imm) => host::or(host::affine::<false>(a, b), a, b, |a, b| lane(affine(bits(a), bits(b)))) ^ [imm; 16].lane();
    Gf2p8affineinvqb(a, b, imm) => host::or(host::affine::<true>(a, b), a, b, |a, b| lane(affine(invert(bits(a)), bits(b)))) ^ [imm; 16].lane();
}

host_operations! {
    Gf2p8mulb = gf2p8mulb(a, b), map2::<u8, 16>(a, b, multiply);
}

/// Product in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1.
pub(super) const fn multiply(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    while b != 0 {
        if b & 1 != 0 {
            product ^= a;
        }
        a = a << 1 ^ if a & 0x80 != 0 { 0x1B } else { 0 };
        b >>= 1;
    }
    product
}

/// Inverses in the field; zero's is zero.
pub(super) const fn inverses() -> [u8; 256] {
    let mut table = [0; 256];
    // p runs through all powers of 3, q through those of its inverse.
    let (mut p, mut q) = (1u8, 1u8);
    loop {
        p = multiply(p, 3);
        q = multiply(q, 0xF6);
        table[p as usize] = q;
        if p == 1 {
            return table;
        }
    }
}

static INVERSES: [u8; 256] = inverses();

/// Each byte inverted.
#[inline(never)]
pub(super) fn invert(a: u128) -> u128 {
    map::<u8, 16>(a, |x| INVERSES[usize::from(x)])
}

/// Each byte of `a` times the 8 by 8 matrix of bits in the same half of `matrices`, whose row for bit `k` of the
/// result is byte 7 - k.
#[inline(never)]
pub(super) fn affine(a: u128, matrices: u128) -> u128 {
    build::<u8, u8, 16, 16>(a, matrices, |a, rows, at| {
        let row = |k: usize| rows[(at & 8) + 7 - k];
        (0..8).fold(0, |result, k| result | ((row(k) & a[at]).count_ones() as u8 & 1) << k)
    })
}
