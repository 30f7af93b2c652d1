//! FMA: `a * b + c` rounded once, with signs. The manual's orders of operands (132, 213, 231) are the caller's
//! business: here `a` and `b` are factors. NaNs are chosen in that order too.

use super::soft::{self, Control, Formula};
use rustc_apfloat::ieee::{Double, Single};

/// Declares operations: name, kind of result, host's instruction, format and number of elements, what of them.
macro_rules! fused_operations {
    ($($name:ident -> $result:ident, $instruction:literal, $format:ident * $count:literal, $formula:expr;)*) => {$(
        #[doc = concat!("See the manual at `V", stringify!($name), "`.")]
        pub struct $name;
        impl $name {
            pub(super) fn software(operands: [u128; 3], control: Control) -> (u128, u32) {
                soft::fused_elements::<$format>(operands, $count, &$formula, control)
            }
            /// Never inlined, operands in registers: handlers stay short, and end in a jump.
            #[cfg(target_arch = "x86_64")]
            #[cold]
            #[inline(never)]
            fn on_old_host(a: u128, b: u128, c: u128) -> u128 {
                soft::leaving_flags(|control| Self::software([a, b, c], control))
            }
        }
        impl crate::lane::FpOperation3 for $name {
            const OP: crate::lane::FpOp3 = crate::lane::FpOp3::$name;
            const RESULT: crate::lane::FpResult = crate::lane::FpResult::$result;
            #[cfg(target_arch = "x86_64")]
            #[inline(always)]
            fn apply(a: u128, b: u128, c: u128) -> u128 {
                if !crate::lane::host::has_fma() {
                    return Self::on_old_host(a, b, c);
                }
                let mut r = crate::lane::lane(c);
                // SAFETY: the host has FMA; changes no more than its operand and MXCSR's flags.
                unsafe {
                    std::arch::asm!(concat!($instruction, " {r}, {a}, {b}"), r = inout(xmm_reg) r,
                        a = in(xmm_reg) crate::lane::lane(a), b = in(xmm_reg) crate::lane::lane(b),
                        options(nomem, nostack));
                }
                crate::lane::bits(r)
            }
            #[cfg(not(target_arch = "x86_64"))]
            fn apply(a: u128, b: u128, c: u128) -> u128 {
                Self::portable(a, b, c)
            }
            fn portable(a: u128, b: u128, c: u128) -> u128 {
                Self::software([a, b, c], Control::default()).0
            }
        }
    )*};
}

const MADD: Formula = Formula { negate: false, subtract: [false; 2] };
const MSUB: Formula = Formula { negate: false, subtract: [true; 2] };
const NMADD: Formula = Formula { negate: true, subtract: [false; 2] };
const NMSUB: Formula = Formula { negate: true, subtract: [true; 2] };
const MADDSUB: Formula = Formula { negate: false, subtract: [true, false] };
const MSUBADD: Formula = Formula { negate: false, subtract: [false, true] };

fused_operations! {
    Fmaddps -> Singles, "vfmadd231ps", Single * 4, MADD;
    Fmaddpd -> Doubles, "vfmadd231pd", Double * 2, MADD;
    Fmaddss -> Single, "vfmadd231ss", Single * 1, MADD;
    Fmaddsd -> Double, "vfmadd231sd", Double * 1, MADD;
    Fmsubps -> Singles, "vfmsub231ps", Single * 4, MSUB;
    Fmsubpd -> Doubles, "vfmsub231pd", Double * 2, MSUB;
    Fmsubss -> Single, "vfmsub231ss", Single * 1, MSUB;
    Fmsubsd -> Double, "vfmsub231sd", Double * 1, MSUB;
    Fnmaddps -> Singles, "vfnmadd231ps", Single * 4, NMADD;
    Fnmaddpd -> Doubles, "vfnmadd231pd", Double * 2, NMADD;
    Fnmaddss -> Single, "vfnmadd231ss", Single * 1, NMADD;
    Fnmaddsd -> Double, "vfnmadd231sd", Double * 1, NMADD;
    Fnmsubps -> Singles, "vfnmsub231ps", Single * 4, NMSUB;
    Fnmsubpd -> Doubles, "vfnmsub231pd", Double * 2, NMSUB;
    Fnmsubss -> Single, "vfnmsub231ss", Single * 1, NMSUB;
    Fnmsubsd -> Double, "vfnmsub231sd", Double * 1, NMSUB;
    Fmaddsubps -> Singles, "vfmaddsub231ps", Single * 4, MADDSUB;
    Fmaddsubpd -> Doubles, "vfmaddsub231pd", Double * 2, MADDSUB;
    Fmsubaddps -> Singles, "vfmsubadd231ps", Single * 4, MSUBADD;
    Fmsubaddpd -> Doubles, "vfmsubadd231pd", Double * 2, MSUBADD;
}
