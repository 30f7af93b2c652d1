//! Shifts of elements by a count in the low 64 bits of the second lane or each by its own (AVX2), and of whole
//! lanes by bytes.

use super::{
    elements::{map, map2},
    operation::{host_operations, lane_operations},
};

/// The count, one more than any element has bits if it is larger.
#[inline(always)]
fn count(b: u128) -> u32 {
    (b as u64).min(65) as u32
}

lane_operations! {
    Pslldq(a, _, imm) => a.checked_shl(8 * u32::from(imm)).unwrap_or(0);
    Psrldq(a, _, imm) => a.checked_shr(8 * u32::from(imm)).unwrap_or(0);
    Palignr(a, b, imm) => palignr(a, b, imm);
}

host_operations! {
    Psllw = psllw(a, b), if count(b) < 16 { map::<u16, 8>(a, |x| x << (count(b) & 15)) } else { 0 };
    Pslld = pslld(a, b), if count(b) < 32 { map::<u32, 4>(a, |x| x << (count(b) & 31)) } else { 0 };
    Psllq = psllq(a, b), if count(b) < 64 { map::<u64, 2>(a, |x| x << (count(b) & 63)) } else { 0 };
    Psrlw = psrlw(a, b), if count(b) < 16 { map::<u16, 8>(a, |x| x >> (count(b) & 15)) } else { 0 };
    Psrld = psrld(a, b), if count(b) < 32 { map::<u32, 4>(a, |x| x >> (count(b) & 31)) } else { 0 };
    Psrlq = psrlq(a, b), if count(b) < 64 { map::<u64, 2>(a, |x| x >> (count(b) & 63)) } else { 0 };
    Psraw = psraw(a, b), map::<i16, 8>(a, |x| x >> count(b).min(15));
    Psrad = psrad(a, b), map::<i32, 4>(a, |x| x >> count(b).min(31));
    Vpsllvd = psllvd(a, b), map2::<u32, 4>(a, b, |x, n| x.unbounded_shl(n));
    Vpsllvq = psllvq(a, b), map2::<u64, 2>(a, b, |x, n| x.unbounded_shl(n.min(64) as u32));
    Vpsrlvd = psrlvd(a, b), map2::<u32, 4>(a, b, |x, n| x.unbounded_shr(n));
    Vpsrlvq = psrlvq(a, b), map2::<u64, 2>(a, b, |x, n| x.unbounded_shr(n.min(64) as u32));
    Vpsravd = psravd(a, b), map2::<i32, 4>(a, b, |x, n| x >> (n as u32).min(31));
}

/// Bytes `imm` and following of the 32 bytes with `a` above `b`.
#[inline(always)]
fn palignr(a: u128, b: u128, imm: u8) -> u128 {
    let bits = 8 * u32::from(imm);
    match imm {
        0 => b,
        1..16 => b >> bits | a << (128 - bits),
        16..32 => a >> (bits - 128),
        _ => 0,
    }
}
