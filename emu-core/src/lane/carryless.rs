//! Arithmetic on polynomials over GF(2): PCLMULQDQ, and CRC32 (SSE4.2).

use super::{bits, host, lane, operation::lane_operations};

lane_operations! {
    Pclmulqdq(a, b, imm) => {
        let half = |lane: u128, high: bool| if high { lane >> 64 } else { u128::from(lane as u64) };
        let (a, b) = (half(a, imm & 1 != 0), half(b, imm & 0x10 != 0));
        host::or(host::clmul(a, b), a, b, |a, b| lane(multiply(bits(a) as u64, bits(b) as u64)))
    };
}

/// Product of two polynomials.
#[inline(never)]
pub(super) fn multiply(a: u64, b: u64) -> u128 {
    (0..64).filter(|k| b >> k & 1 != 0).fold(0, |product, k| product ^ u128::from(a) << k)
}

/// The Castagnoli polynomial, bits in reverse order.
const POLYNOMIAL: u32 = 0x82F6_3B78;

/// CRC32 over a `8 << width`-bit value; a [`Pure`](crate::semantics::Pure) function.
pub fn crc32(crc: u64, value: u64, width: u64) -> u64 {
    host::crc32(crc as u32, value, width).unwrap_or_else(|| crc32_by_bits(crc as u32, value, width)).into()
}

pub(super) fn crc32_by_bits(crc: u32, value: u64, width: u64) -> u32 {
    let bytes = 1 << (width & 3);
    value.to_le_bytes().iter().take(bytes).fold(crc, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| crc >> 1 ^ if crc & 1 != 0 { POLYNOMIAL } else { 0 })
    })
}
