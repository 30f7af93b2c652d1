//! ROUNDPS, ROUNDPD, ROUNDSS, ROUNDSD (SSE4.1): bits 1:0 of the immediate are the rounding mode unless bit 2
//! says MXCSR's; bit 3 suppresses the precision exception.

use super::fp_operations;
#[cfg(target_arch = "x86_64")]
use super::{host_binary, mxcsr};
#[cfg(target_arch = "x86_64")]
use crate::lane::host;

/// A function that executes `$instruction`, whose immediate is part of it. Not inlined: sixteen instructions in
/// a handler are so many that the handler would call what it is made of, its successor last.
#[cfg(target_arch = "x86_64")]
macro_rules! by_immediate {
    ($name:ident, $instruction:literal, [$($n:literal)*]) => {
        #[inline(never)]
        pub(super) fn $name(a: u128, b: u128, imm: u8) -> u128 {
            let mut a = crate::lane::lane(a);
            let b = crate::lane::lane(b);
            match imm & 15 {
                // SAFETY: called only where the host has SSE4.1.
                $($n => unsafe {
                    std::arch::asm!(concat!($instruction, " {a}, {b}, ", $n), a = inout(xmm_reg) a,
                        b = in(xmm_reg) b, options(nomem, nostack));
                },)*
                _ => unreachable!("four bits"),
            }
            crate::lane::bits(a)
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod native {
    by_immediate!(roundps, "roundps", [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15]);
    by_immediate!(roundpd, "roundpd", [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15]);
    by_immediate!(roundss, "roundss", [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15]);
    by_immediate!(roundsd, "roundsd", [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15]);
}

#[cfg(target_arch = "x86_64")]
macro_rules! on_host {
    ($native:ident, $a:expr, $b:expr, $imm:expr, $soft:ident) => {
        if host::has_sse4_1() { native::$native($a, $b, $imm) } else { in_software($a, $b, $imm, $soft) }
    };
}

fp_operations! {
    Roundps(a, b, imm) -> Other, on_host!(roundps, a, b, imm, singles), singles(a, b, mode(0, imm)).0;
    Roundpd(a, b, imm) -> Other, on_host!(roundpd, a, b, imm, doubles), doubles(a, b, mode(0, imm)).0;
    Roundss(a, b, imm) -> Other, on_host!(roundss, a, b, imm, single), single(a, b, mode(0, imm)).0;
    Roundsd(a, b, imm) -> Other, on_host!(roundsd, a, b, imm, double), double(a, b, mode(0, imm)).0;
}

/// IE and PE as MXCSR has them.
const INVALID: u32 = 1;
const INEXACT: u32 = 1 << 5;

/// How to round: the mode (0 nearest, 1 down, 2 up, 3 to zero), and whether denormals are zeros.
#[derive(Clone, Copy)]
pub(super) struct How {
    mode: u32,
    denormals_are_zeros: bool,
}

fn mode(mxcsr: u32, imm: u8) -> How {
    let mode = if imm & 4 != 0 { mxcsr >> 13 & 3 } else { u32::from(imm & 3) };
    How { mode, denormals_are_zeros: mxcsr & 1 << 6 != 0 }
}

/// The portable text, which then leaves its flags in the host's MXCSR.
#[cfg(target_arch = "x86_64")]
#[cold]
#[inline(never)]
pub(super) fn in_software(a: u128, b: u128, imm: u8, soft: fn(u128, u128, How) -> (u128, u32)) -> u128 {
    let (result, flags) = soft(a, b, mode(mxcsr::host(), imm));
    let flags = if imm & 8 != 0 { flags & !INEXACT } else { flags };
    // A signalling NaN, and a quotient that does not end, raise them.
    if flags & INVALID != 0 {
        host_binary!("addss", 0x7FA0_0000, 0x7FA0_0000);
    }
    if flags & INEXACT != 0 {
        host_binary!("divss", 0x3F80_0000, 0x4040_0000);
    }
    result
}

/// Rounds a number with `fraction` bits of fraction to an integer; gives the flags too.
fn round(x: u64, fraction: u32, exponent_bits: u32, how: How) -> (u64, u32) {
    let sign = x >> (fraction + exponent_bits);
    let magnitude = x & !(sign << (fraction + exponent_bits));
    let (all_ones, bias) = ((1u64 << exponent_bits) - 1, (1u64 << (exponent_bits - 1)) - 1);
    let exponent = magnitude >> fraction;
    let zero = sign << (fraction + exponent_bits);
    if exponent == all_ones {
        let quiet = 1 << (fraction - 1);
        let nan = magnitude & ((1 << fraction) - 1) != 0;
        return if nan { (x | quiet, if x & quiet == 0 { INVALID } else { 0 }) } else { (x, 0) };
    }
    if magnitude == 0 || (exponent == 0 && how.denormals_are_zeros) {
        return (zero, 0);
    }
    if exponent >= bias + u64::from(fraction) {
        return (x, 0);
    }
    let one = bias << fraction;
    let half = (bias - 1) << fraction;
    let away = match how.mode {
        1 => sign != 0,
        2 => sign == 0,
        _ => false,
    };
    if exponent < bias {
        let up = if how.mode == 0 { magnitude > half } else { away };
        return (zero | if up { one } else { 0 }, INEXACT);
    }
    let unit = 1u64 << (u64::from(fraction) - (exponent - bias));
    let rest = magnitude & (unit - 1);
    if rest == 0 {
        return (x, 0);
    }
    let floor = magnitude - rest;
    // At the exponent of one the bit below is part of the exponent, which is odd there as is the integer.
    let odd = floor & unit != 0;
    let up = if how.mode == 0 { rest > unit / 2 || (rest == unit / 2 && odd) } else { away };
    (zero | (floor + if up { unit } else { 0 }), INEXACT)
}

fn one32(x: u32, how: How) -> (u32, u32) {
    let (r, flags) = round(x.into(), 23, 8, how);
    (r as u32, flags)
}

pub(super) fn singles(_: u128, b: u128, how: How) -> (u128, u32) {
    (0..4).fold((0, 0), |(lane, flags), k| {
        let (r, raised) = one32((b >> (32 * k)) as u32, how);
        (lane | u128::from(r) << (32 * k), flags | raised)
    })
}

pub(super) fn doubles(_: u128, b: u128, how: How) -> (u128, u32) {
    let (low, first) = round(b as u64, 52, 11, how);
    let (high, second) = round((b >> 64) as u64, 52, 11, how);
    (u128::from(high) << 64 | u128::from(low), first | second)
}

fn single(a: u128, b: u128, how: How) -> (u128, u32) {
    let (r, flags) = one32(b as u32, how);
    (super::portable::low32(a, r.into()), flags)
}

fn double(a: u128, b: u128, how: How) -> (u128, u32) {
    let (r, flags) = round(b as u64, 52, 11, how);
    (super::portable::low64(a, r.into()), flags)
}
