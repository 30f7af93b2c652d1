//! The x87 FPU: every instruction of D8 to DF from the 8087 to the P6 and SSE3, with WAIT and EMMS. SDM vol. 1,
//! ch. 8.
//!
//! Three layers. [`soft`] is numbers alone: classes, rounding, conversions, the basic operations in integers.
//! The *unit* does arithmetic: on x86-64 hosts `host`, which runs it on the host's own x87 (exact, the
//! transcendentals included), elsewhere `portable`. Above them the instructions: stack, tags, exceptions and
//! their reporting (`stack`), memory images (`environment`).
//!
//! The life of FADD ST(0), ST(1): [`check_pending`] has been called for the row; the instruction is
//! noted for FIP; empty registers answer with a stack fault; the unit computes value and status; `report`
//! merges the status, and if nothing unmasked forbids it the value is written.
//!
//! Left out: the opcode register is written with unmasked exceptions alone, as processors do since the
//! Pentium 4; IGNNE# is not modelled (with CR0.NE = 0 an error handler must clear the exception with the
//! non-waiting instructions); FRSTPM, FSTDW and FSTSG of the 287 and 387 SL are undefined, as on later ones.

mod arithmetic;
mod compare;
mod control;
mod environment;
mod function;
pub mod soft;
mod stack;
mod transfer;

#[cfg(target_arch = "x86_64")]
mod host;
#[cfg(any(test, not(target_arch = "x86_64")))]
mod portable;

#[cfg(target_arch = "x86_64")]
use host as unit;
#[cfg(not(target_arch = "x86_64"))]
use portable as unit;

#[cfg(all(test, target_arch = "x86_64"))]
mod agreement;
#[cfg(all(test, target_arch = "x86_64"))]
mod native;
#[cfg(test)]
mod tests;

pub use stack::check_pending;

use crate::semantics::{Attr, Emitter, Helper, Row, microcode, microcode_form};
use iced_x86::{Code, Mnemonic};

/// Instructions that wait for a pending exception: all but the control instructions.
#[rustfmt::skip]
const WAITING: &[(Mnemonic, Helper)] = {
    use {arithmetic as a, compare as c, control as k, function as f, transfer as t};
    &[
        (Mnemonic::Fadd, a::fadd), (Mnemonic::Faddp, a::faddp), (Mnemonic::Fiadd, a::fiadd),
        (Mnemonic::Fsub, a::fsub), (Mnemonic::Fsubp, a::fsubp), (Mnemonic::Fisub, a::fisub),
        (Mnemonic::Fsubr, a::fsubr), (Mnemonic::Fsubrp, a::fsubrp), (Mnemonic::Fisubr, a::fisubr),
        (Mnemonic::Fmul, a::fmul), (Mnemonic::Fmulp, a::fmulp), (Mnemonic::Fimul, a::fimul),
        (Mnemonic::Fdiv, a::fdiv), (Mnemonic::Fdivp, a::fdivp), (Mnemonic::Fidiv, a::fidiv),
        (Mnemonic::Fdivr, a::fdivr), (Mnemonic::Fdivrp, a::fdivrp), (Mnemonic::Fidivr, a::fidivr),
        (Mnemonic::Fabs, a::fabs), (Mnemonic::Fchs, a::fchs),
        (Mnemonic::Fcom, c::fcom), (Mnemonic::Fcomp, c::fcomp), (Mnemonic::Fcompp, c::fcompp),
        (Mnemonic::Fucom, c::fucom), (Mnemonic::Fucomp, c::fucomp), (Mnemonic::Fucompp, c::fucompp),
        (Mnemonic::Ficom, c::ficom), (Mnemonic::Ficomp, c::ficomp),
        (Mnemonic::Fcomi, c::fcomi), (Mnemonic::Fcomip, c::fcomip),
        (Mnemonic::Fucomi, c::fucomi), (Mnemonic::Fucomip, c::fucomip),
        (Mnemonic::Ftst, c::ftst), (Mnemonic::Fxam, c::fxam),
        (Mnemonic::Fld, t::fld), (Mnemonic::Fst, t::fst), (Mnemonic::Fstp, t::fstp), 
        (Mnemonic::Fstpnce, t::fstpnce),
        (Mnemonic::Fild, t::fild), (Mnemonic::Fist, t::fist), (Mnemonic::Fistp, t::fistp),
        (Mnemonic::Fisttp, t::fisttp), (Mnemonic::Fbld, t::fbld), (Mnemonic::Fbstp, t::fbstp),
        (Mnemonic::Fxch, t::fxch),
        (Mnemonic::Fcmovb, t::fcmovb), (Mnemonic::Fcmovnb, t::fcmovnb),
        (Mnemonic::Fcmove, t::fcmove), (Mnemonic::Fcmovne, t::fcmovne),
        (Mnemonic::Fcmovbe, t::fcmovbe), (Mnemonic::Fcmovnbe, t::fcmovnbe),
        (Mnemonic::Fcmovu, t::fcmovu), (Mnemonic::Fcmovnu, t::fcmovnu),
        (Mnemonic::Fld1, t::fld1), (Mnemonic::Fldz, t::fldz), (Mnemonic::Fldpi, t::fldpi),
        (Mnemonic::Fldl2t, t::fldl2t), (Mnemonic::Fldl2e, t::fldl2e),
        (Mnemonic::Fldlg2, t::fldlg2), (Mnemonic::Fldln2, t::fldln2),
        (Mnemonic::Fsqrt, f::fsqrt), (Mnemonic::Frndint, f::frndint), (Mnemonic::Fscale, f::fscale),
        (Mnemonic::Fprem, f::fprem), (Mnemonic::Fprem1, f::fprem1), (Mnemonic::Fxtract, f::fxtract),
        (Mnemonic::F2xm1, f::f2xm1), (Mnemonic::Fyl2x, f::fyl2x), (Mnemonic::Fyl2xp1, f::fyl2xp1),
        (Mnemonic::Fpatan, f::fpatan), (Mnemonic::Fptan, f::fptan),
        (Mnemonic::Fsin, f::fsin), (Mnemonic::Fcos, f::fcos), (Mnemonic::Fsincos, f::fsincos),
        (Mnemonic::Fincstp, k::fincstp), (Mnemonic::Fdecstp, k::fdecstp),
        (Mnemonic::Ffree, k::ffree), (Mnemonic::Ffreep, k::ffreep), (Mnemonic::Fnop, k::fnop),
        (Mnemonic::Fldcw, k::fldcw),
    ]
};

/// Instructions that do not wait.
const NOT_WAITING: &[(Mnemonic, Helper)] = &[
    (Mnemonic::Fnstcw, control::fnstcw),
    (Mnemonic::Fnstsw, control::fnstsw),
    (Mnemonic::Fninit, control::fninit),
    (Mnemonic::Fnclex, control::fnclex),
    (Mnemonic::Fneni, control::ignored),
    (Mnemonic::Fndisi, control::ignored),
    (Mnemonic::Fnsetpm, control::ignored),
];

/// Memory images: (form, routine, waits).
const IMAGES: &[(Code, Helper, bool)] = &[
    (Code::Fnstenv_m14byte, environment::fnstenv_14, false),
    (Code::Fnstenv_m28byte, environment::fnstenv_28, false),
    (Code::Fldenv_m14byte, environment::fldenv_14, true),
    (Code::Fldenv_m28byte, environment::fldenv_28, true),
    (Code::Fnsave_m94byte, environment::fnsave_94, false),
    (Code::Fnsave_m108byte, environment::fnsave_108, false),
    (Code::Frstor_m94byte, environment::frstor_94, true),
    (Code::Frstor_m108byte, environment::frstor_108, true),
];

/// Rows of this family.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    let waits = Attr::X87 | Attr::X87_WAITS;
    let mut rows = Vec::new();
    rows.extend(WAITING.iter().map(|&(mnemonic, run)| microcode(mnemonic, run).with(waits)));
    rows.extend(NOT_WAITING.iter().map(|&(mnemonic, run)| microcode(mnemonic, run).with(Attr::X87)));
    rows.extend(
        IMAGES
            .iter()
            .map(|&(code, run, wait)| microcode_form(code, run).with(if wait { waits } else { Attr::X87 })),
    );
    rows.push(microcode(Mnemonic::Wait, control::wait));
    rows.push(microcode(Mnemonic::Emms, control::emms).with(Attr::MMX));
    rows
}
