//! F16C: numbers of half precision from and to single precision. SDM vol. 1, 14.4.

use super::{
    fp_operations,
    soft::{self, Control},
};
#[cfg(target_arch = "x86_64")]
use crate::lane::host;

/// The immediate is part of the instruction; bit 2 says that MXCSR's rounding mode counts.
#[cfg(target_arch = "x86_64")]
macro_rules! to_halves {
    ($b:expr, $imm:literal) => {{
        let r: std::arch::x86_64::__m128i;
        // SAFETY: the caller has seen that the host has F16C; changes no more than `r` and MXCSR's flags.
        unsafe {
            std::arch::asm!(concat!("vcvtps2ph {r}, {b}, ", $imm), r = lateout(xmm_reg) r,
                b = in(xmm_reg) crate::lane::lane($b), options(nomem, nostack));
        }
        crate::lane::bits(r)
    }};
}

fp_operations! {
    Vcvtph2ps(_, b, _) -> Other, widen(b), soft::halves_to_singles(b).0;
    Vcvtps2ph(_, b, imm) -> Halves, narrow(b, imm), soft::singles_to_halves(b, Control::default().rounding(imm)).0;
}

// Never inlined, operands in registers: handlers stay short, and end in a jump.

#[cfg(target_arch = "x86_64")]
#[cold]
#[inline(never)]
fn widen_on_old_host(b: u128) -> u128 {
    soft::leaving_flags(|_| soft::halves_to_singles(b))
}

#[cfg(target_arch = "x86_64")]
#[cold]
#[inline(never)]
fn narrow_on_old_host(b: u128, imm: u8) -> u128 {
    soft::leaving_flags(|control| soft::singles_to_halves(b, control.rounding(imm)))
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn widen(b: u128) -> u128 {
    if !host::has_f16c() {
        return widen_on_old_host(b);
    }
    let r: std::arch::x86_64::__m128i;
    // SAFETY: the host has F16C; changes no more than `r` and MXCSR's flags.
    unsafe {
        std::arch::asm!("vcvtph2ps {r}, {b}", r = lateout(xmm_reg) r, b = in(xmm_reg) crate::lane::lane(b),
            options(nomem, nostack));
    }
    crate::lane::bits(r)
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn narrow(b: u128, imm: u8) -> u128 {
    if !host::has_f16c() {
        return narrow_on_old_host(b, imm);
    }
    match imm & 7 {
        0 => to_halves!(b, 0),
        1 => to_halves!(b, 1),
        2 => to_halves!(b, 2),
        3 => to_halves!(b, 3),
        _ => to_halves!(b, 4),
    }
}
