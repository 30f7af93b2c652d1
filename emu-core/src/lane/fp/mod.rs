//! SSE floating point. On x86 hosts every operation is the host's own instruction, so that results, NaNs and
//! flags are right by construction; [`mxcsr`] brings the guest's control word to it.
//!
//! Elsewhere `portable` does it in Rust: rounding to nearest whatever MXCSR says, and without flags. What even an
//! x86 host may lack is in `soft`, with both.

mod compare;
mod compute;
mod convert;
mod fused;
mod half;
pub mod mxcsr;
mod portable;
mod round;
mod soft;

pub use compare::{
    Cmppd, Cmpps, Cmpsd, Cmpss, Comisd, Comiss, Ucomisd, Ucomiss, Vcmppd, Vcmpps, Vcmpsd, Vcmpss,
};
pub use compute::*;
pub use convert::*;
pub use fused::*;
pub use half::{Vcvtph2ps, Vcvtps2ph};
pub use round::{Roundpd, Roundps, Roundsd, Roundss};

/// `$instruction a, b` on the host: `a` is read too.
///
/// Written as assembly because the compiler may fold, move or drop floating-point arithmetic that it knows,
/// with the flags that it would have set. The blocks are not `pure`, so they stay in order with those that
/// read or write MXCSR.
#[cfg(target_arch = "x86_64")]
macro_rules! host_binary {
    ($instruction:expr, $a:expr, $b:expr) => {{
        let mut a = $crate::lane::lane($a);
        // SAFETY: an SSE2 instruction on registers; changes no more than its operand and MXCSR's flags.
        unsafe {
            std::arch::asm!(concat!($instruction, " {a}, {b}"), a = inout(xmm_reg) a,
                b = in(xmm_reg) $crate::lane::lane($b), options(nomem, nostack));
        }
        $crate::lane::bits(a)
    }};
}
#[cfg(target_arch = "x86_64")]
use host_binary;

/// `$instruction r, b` on the host: all of `r` is written.
#[cfg(target_arch = "x86_64")]
macro_rules! host_unary {
    ($instruction:expr, $b:expr) => {{
        let r: std::arch::x86_64::__m128i;
        // SAFETY: an SSE2 instruction on registers; changes no more than its operand and MXCSR's flags.
        unsafe {
            std::arch::asm!(concat!($instruction, " {r}, {b}"), r = lateout(xmm_reg) r,
                b = in(xmm_reg) $crate::lane::lane($b), options(nomem, nostack));
        }
        $crate::lane::bits(r)
    }};
}
#[cfg(target_arch = "x86_64")]
use host_unary;

/// Declares floating-point operations: name, operands, kind of result, text on x86-64 hosts, portable text.
macro_rules! fp_operations {
    ($($name:ident($a:pat, $b:pat, $imm:pat) -> $result:ident, $host:expr, $portable:expr;)*) => {$(
        #[doc = concat!("See the manual at `", stringify!($name), "`.")]
        pub struct $name;
        impl $crate::lane::FpOperation for $name {
            const OP: $crate::lane::FpOp = $crate::lane::FpOp::$name;
            const RESULT: $crate::lane::FpResult = $crate::lane::FpResult::$result;
            #[cfg(target_arch = "x86_64")]
            #[inline(always)]
            fn apply($a: u128, $b: u128, $imm: u8) -> u128 {
                $host
            }
            #[cfg(not(target_arch = "x86_64"))]
            fn apply(a: u128, b: u128, imm: u8) -> u128 {
                Self::portable(a, b, imm)
            }
            fn portable($a: u128, $b: u128, $imm: u8) -> u128 {
                $portable
            }
        }
    )*};
}
use fp_operations;

#[cfg(all(test, target_arch = "x86_64"))]
mod soft_tests;
#[cfg(test)]
mod tests;
