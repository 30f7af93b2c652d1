//! Arithmetic on the host's own x87: exactly the host's results, transcendentals included.
//!
//! Every block of assembly finds the host's register stack empty and its control word at the ABI's 0x37F, and
//! leaves both so. The status word's sticky flags are nobody's in compiled code; clearing them costs several
//! times an addition, so the masked operations are told which flags the guest has set already (`sticky`): only
//! if the host holds others are they cleared, and the flags that come back may include sticky ones.
//!
//! With an unmasked exception in the control word the operation runs under the guest's own masks: FNSAVE, which
//! does not wait, collects the result and the status before any waiting instruction could trap on the host. So
//! the rules for operands and scaled results (SDM vol. 1, 8.5) are the hardware's as well.

use super::soft::{ControlWord, INDEFINITE, Outcome, status};
use crate::state::Extended;
use std::arch::asm;

/// What compiled code runs under.
static ABI_CONTROL: u16 = 0x37F;

/// The control word as the host takes it: its reserved bits out of the way.
const fn effective(cw: ControlWord) -> u16 {
    cw.0 & 0xF3F | 0x40
}

/// Clears the host's exception flags unless they are among `sticky`.
#[inline(always)]
fn forget_flags(sticky: u16) {
    let held: u16;
    // SAFETY: reads the x87 status word into AX, nothing else.
    unsafe { asm!("fnstsw ax", out("ax") held, options(nomem, nostack, preserves_flags)) };
    if held & status::EXCEPTIONS & !sticky != 0 {
        // SAFETY: clears the status word's exception flags, which belong to whoever runs an operation next.
        unsafe { asm!("fnclex", options(nomem, nostack, preserves_flags)) };
    }
}

/// Runs `$code` on operands loaded by `$load`, the control word all-masked, and pops one result.
macro_rules! masked {
    ($name:ident, [$($load:literal),*], $code:literal, [$($drop:literal),*]) => {
        #[inline]
        fn $name(a: *const Extended, b: *const Extended, value: &mut Extended, cw: u16, sticky: u16) -> u16 {
            forget_flags(sticky);
            let status: u16;
            if cw == ABI_CONTROL {
                // SAFETY: `a` and `b` point to values (the callers here see to it; `value` may be one of them, and
                // is written last); the stack is empty before and after; all exceptions are masked, so nothing
                // traps.
                unsafe {
                    asm!($($load,)* $code, "fnstsw ax", "fstp tbyte ptr [{r}]", $($drop,)*
                        "/* {a} {b} */",
                        a = in(reg) a, b = in(reg) b, r = in(reg) &raw mut *value, out("ax") status,
                        out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
                        out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
                        options(nostack));
                }
            } else {
                // SAFETY: as above; the control word masks everything too, and is put back.
                unsafe {
                    asm!("fldcw [{cw}]", $($load,)* $code, "fnstsw ax", "fstp tbyte ptr [{r}]", $($drop,)*
                        "fldcw [{abi}]", "/* {a} {b} */",
                        a = in(reg) a, b = in(reg) b, r = in(reg) &raw mut *value, out("ax") status,
                        cw = in(reg) &raw const cw, abi = in(reg) &raw const ABI_CONTROL,
                        out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
                        out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
                        options(nostack));
                }
            }
            status
        }
    };
}

/// FNSAVE's 32-bit protected-mode image.
#[repr(C, align(16))]
struct Image([u8; 108]);

impl Image {
    fn status(&self) -> u16 {
        u16::from_le_bytes([self.0[4], self.0[5]])
    }
    /// ST(i), if it is not empty.
    fn st(&self, i: usize) -> Option<Extended> {
        let physical = (usize::from(self.status() >> 11) + i) & 7;
        let tags = u16::from_le_bytes([self.0[8], self.0[9]]);
        if tags >> (2 * physical) & 3 == 3 {
            return None;
        }
        let at = 28 + 10 * i;
        let mut significand = [0; 8];
        significand.copy_from_slice(&self.0[at..at + 8]);
        Some(Extended {
            significand: u64::from_le_bytes(significand),
            sign_exponent: u16::from_le_bytes([self.0[at + 8], self.0[at + 9]]),
        })
    }
}

/// Runs `$code` on operands loaded by `$load` under any control word, and returns the state after it.
macro_rules! saved {
    ($name:ident, [$($load:literal),*], $code:literal) => {
        fn $name(a: &Extended, b: &Extended, cw: u16) -> Image {
            let mut image = Image([0; 108]);
            // SAFETY: `a` and `b` are 10 readable bytes and more, `image` the 108 that FNSAVE writes. No
            // instruction after `$code` waits, so an exception that it leaves pending is cleared by FNSAVE,
            // which also empties the stack and loads 0x37F.
            unsafe {
                asm!("fnclex", "fldcw [{cw}]", $($load,)* $code, "fnsave [{image}]", "/* {a} {b} */",
                    a = in(reg) a, b = in(reg) b, cw = in(reg) &raw const cw, image = in(reg) &raw mut image,
                    out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
                    out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
                    options(nostack));
            }
            image
        }
    };
}

masked!(add_masked, ["fld tbyte ptr [{a}]", "fld tbyte ptr [{b}]"], "faddp st(1), st", []);
masked!(sub_masked, ["fld tbyte ptr [{b}]", "fld tbyte ptr [{a}]"], "fsubrp st(1), st", []);
masked!(mul_masked, ["fld tbyte ptr [{a}]", "fld tbyte ptr [{b}]"], "fmulp st(1), st", []);
masked!(div_masked, ["fld tbyte ptr [{b}]", "fld tbyte ptr [{a}]"], "fdivrp st(1), st", []);
masked!(sqrt_masked, ["fld tbyte ptr [{a}]"], "fsqrt", []);
masked!(f2xm1_masked, ["fld tbyte ptr [{a}]"], "f2xm1", []);
masked!(sin_masked, ["fld tbyte ptr [{a}]"], "fsin", []);
masked!(cos_masked, ["fld tbyte ptr [{a}]"], "fcos", []);
masked!(rndint_masked, ["fld tbyte ptr [{a}]"], "frndint", []);
masked!(yl2x_masked, ["fld tbyte ptr [{b}]", "fld tbyte ptr [{a}]"], "fyl2x", []);
masked!(yl2xp1_masked, ["fld tbyte ptr [{b}]", "fld tbyte ptr [{a}]"], "fyl2xp1", []);
masked!(patan_masked, ["fld tbyte ptr [{b}]", "fld tbyte ptr [{a}]"], "fpatan", []);
masked!(scale_masked, ["fld tbyte ptr [{b}]", "fld tbyte ptr [{a}]"], "fscale", ["fstp st(0)"]);
masked!(prem_masked, ["fld tbyte ptr [{b}]", "fld tbyte ptr [{a}]"], "fprem", ["fstp st(0)"]);
masked!(prem1_masked, ["fld tbyte ptr [{b}]", "fld tbyte ptr [{a}]"], "fprem1", ["fstp st(0)"]);

saved!(add_saved, ["fld tbyte ptr [{b}]", "fld tbyte ptr [{a}]"], "fadd st, st(1)");
saved!(sub_saved, ["fld tbyte ptr [{b}]", "fld tbyte ptr [{a}]"], "fsub st, st(1)");
saved!(mul_saved, ["fld tbyte ptr [{b}]", "fld tbyte ptr [{a}]"], "fmul st, st(1)");
saved!(div_saved, ["fld tbyte ptr [{b}]", "fld tbyte ptr [{a}]"], "fdiv st, st(1)");
saved!(sqrt_saved, ["fld tbyte ptr [{a}]"], "fsqrt");
saved!(f2xm1_saved, ["fld tbyte ptr [{a}]"], "f2xm1");
saved!(sin_saved, ["fld tbyte ptr [{a}]"], "fsin");
saved!(cos_saved, ["fld tbyte ptr [{a}]"], "fcos");
saved!(rndint_saved, ["fld tbyte ptr [{a}]"], "frndint");
saved!(yl2x_saved, ["fld tbyte ptr [{b}]", "fld tbyte ptr [{a}]"], "fyl2x");
saved!(yl2xp1_saved, ["fld tbyte ptr [{b}]", "fld tbyte ptr [{a}]"], "fyl2xp1");
saved!(patan_saved, ["fld tbyte ptr [{b}]", "fld tbyte ptr [{a}]"], "fpatan");
saved!(scale_saved, ["fld tbyte ptr [{b}]", "fld tbyte ptr [{a}]"], "fscale");
saved!(prem_saved, ["fld tbyte ptr [{b}]", "fld tbyte ptr [{a}]"], "fprem");
saved!(prem1_saved, ["fld tbyte ptr [{b}]", "fld tbyte ptr [{a}]"], "fprem1");
saved!(ptan_saved, ["fld tbyte ptr [{a}]"], "fptan");
saved!(sincos_saved, ["fld tbyte ptr [{a}]"], "fsincos");

type Masked = fn(*const Extended, *const Extended, &mut Extended, u16, u16) -> u16;
type Saved = fn(&Extended, &Extended, u16) -> Image;

#[inline(always)]
fn run(
    masked: Masked,
    saved: Saved,
    operands: (Extended, Extended),
    cw: ControlWord,
    sticky: u16,
) -> Outcome {
    let (a, b) = operands;
    if cw.all_masked() {
        let mut value = Extended::default();
        let status = masked(&raw const a, &raw const b, &mut value, effective(cw), sticky);
        return Outcome { value, status };
    }
    let image = saved(&a, &b, effective(cw));
    // Only an unmasked invalid operand of an operation that pops could leave ST(0) empty, and none does.
    Outcome { value: image.st(0).unwrap_or(INDEFINITE), status: image.status() }
}

/// a + b.
#[inline]
pub fn add(a: Extended, b: Extended, cw: ControlWord, sticky: u16) -> Outcome {
    run(add_masked, add_saved, (a, b), cw, sticky)
}
/// a - b.
#[inline]
pub fn sub(a: Extended, b: Extended, cw: ControlWord, sticky: u16) -> Outcome {
    run(sub_masked, sub_saved, (a, b), cw, sticky)
}
/// a * b.
#[inline]
pub fn mul(a: Extended, b: Extended, cw: ControlWord, sticky: u16) -> Outcome {
    run(mul_masked, mul_saved, (a, b), cw, sticky)
}
/// a / b.
#[inline]
pub fn div(a: Extended, b: Extended, cw: ControlWord, sticky: u16) -> Outcome {
    run(div_masked, div_saved, (a, b), cw, sticky)
}
/// `a = a + b` with all exceptions masked; the status. Where the value is in memory already: a copy between the
/// store and the next load of ten bytes costs more than the operation.
#[inline]
pub fn add_in_place(a: &mut Extended, b: &Extended, cw: ControlWord, sticky: u16) -> u16 {
    add_masked(&raw const *a, b, a, effective(cw), sticky)
}
/// `a = a - b`, as [`add_in_place`].
#[inline]
pub fn sub_in_place(a: &mut Extended, b: &Extended, cw: ControlWord, sticky: u16) -> u16 {
    sub_masked(&raw const *a, b, a, effective(cw), sticky)
}
/// `a = b - a`, as [`add_in_place`].
#[inline]
pub fn subr_in_place(a: &mut Extended, b: &Extended, cw: ControlWord, sticky: u16) -> u16 {
    sub_masked(b, &raw const *a, a, effective(cw), sticky)
}
/// `a = a * b`, as [`add_in_place`].
#[inline]
pub fn mul_in_place(a: &mut Extended, b: &Extended, cw: ControlWord, sticky: u16) -> u16 {
    mul_masked(&raw const *a, b, a, effective(cw), sticky)
}
/// `a = a / b`, as [`add_in_place`].
#[inline]
pub fn div_in_place(a: &mut Extended, b: &Extended, cw: ControlWord, sticky: u16) -> u16 {
    div_masked(&raw const *a, b, a, effective(cw), sticky)
}
/// `a = b / a`, as [`add_in_place`].
#[inline]
pub fn divr_in_place(a: &mut Extended, b: &Extended, cw: ControlWord, sticky: u16) -> u16 {
    div_masked(b, &raw const *a, a, effective(cw), sticky)
}
/// Square root.
pub fn sqrt(a: Extended, cw: ControlWord, sticky: u16) -> Outcome {
    run(sqrt_masked, sqrt_saved, (a, a), cw, sticky)
}
/// FRNDINT.
pub fn round_to_integer(a: Extended, cw: ControlWord, sticky: u16) -> Outcome {
    run(rndint_masked, rndint_saved, (a, a), cw, sticky)
}
/// FSCALE: a * 2^b.
pub fn scale(a: Extended, b: Extended, cw: ControlWord, sticky: u16) -> Outcome {
    run(scale_masked, scale_saved, (a, b), cw, sticky)
}
/// FPREM of a by b.
pub fn prem(a: Extended, b: Extended, cw: ControlWord, sticky: u16) -> Outcome {
    run(prem_masked, prem_saved, (a, b), cw, sticky)
}
/// FPREM1 of a by b.
pub fn prem1(a: Extended, b: Extended, cw: ControlWord, sticky: u16) -> Outcome {
    run(prem1_masked, prem1_saved, (a, b), cw, sticky)
}
/// 2^a - 1.
pub fn f2xm1(a: Extended, cw: ControlWord, sticky: u16) -> Outcome {
    run(f2xm1_masked, f2xm1_saved, (a, a), cw, sticky)
}
/// Sine. C2: out of range, value unchanged.
pub fn sin(a: Extended, cw: ControlWord, sticky: u16) -> Outcome {
    run(sin_masked, sin_saved, (a, a), cw, sticky)
}
/// Cosine. C2: out of range, value unchanged.
pub fn cos(a: Extended, cw: ControlWord, sticky: u16) -> Outcome {
    run(cos_masked, cos_saved, (a, a), cw, sticky)
}
/// y * log2(x).
pub fn yl2x(x: Extended, y: Extended, cw: ControlWord, sticky: u16) -> Outcome {
    run(yl2x_masked, yl2x_saved, (x, y), cw, sticky)
}
/// y * log2(x + 1).
pub fn yl2xp1(x: Extended, y: Extended, cw: ControlWord, sticky: u16) -> Outcome {
    run(yl2xp1_masked, yl2xp1_saved, (x, y), cw, sticky)
}
/// Angle of (x, y).
pub fn patan(x: Extended, y: Extended, cw: ControlWord, sticky: u16) -> Outcome {
    run(patan_masked, patan_saved, (x, y), cw, sticky)
}

/// Two results: what replaces ST(0), and what is pushed above it, if anything is.
fn pair(image: &Image) -> (Extended, Option<Extended>, u16) {
    let top = image.st(0).unwrap_or(INDEFINITE);
    match image.st(1) {
        Some(below) => (below, Some(top), image.status()),
        None => (top, None, image.status()),
    }
}

/// Tangent, and the one that FPTAN pushes; nothing pushed with C2 (out of range) or an unmasked exception.
pub fn ptan(a: Extended, cw: ControlWord) -> (Extended, Option<Extended>, u16) {
    pair(&ptan_saved(&a, &a, effective(cw)))
}
/// Sine, and the cosine that is pushed; as [`ptan`].
pub fn sincos(a: Extended, cw: ControlWord) -> (Extended, Option<Extended>, u16) {
    pair(&sincos_saved(&a, &a, effective(cw)))
}
