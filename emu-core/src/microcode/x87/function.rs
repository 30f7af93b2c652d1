//! FSQRT, FRNDINT, FSCALE, FPREM, FPREM1, FXTRACT and the transcendental instructions. SDM vol. 1, 8.3.7 to
//! 8.3.9.

use super::{
    soft::{
        self, ControlWord, INDEFINITE, Outcome, classify,
        status::{C0, C2, C3},
    },
    stack::{OVERFLOW, UNDERFLOW, note, report},
    unit,
};
use crate::{arch::Exception, cpu::Cpu, decode::Insn, state::Extended};

type Done = Result<(), Exception>;

/// Writes a result to ST(d) with those condition codes that the instruction defines. With a NaN, or a result
/// that is not written, there is no quotient: C2 is clear (the reduction is over), the others stay.
fn finish(cpu: &mut Cpu, i: &Insn, d: u8, outcome: Outcome, conditions: u16) -> bool {
    let completed = report(cpu, i, outcome.status);
    if completed {
        cpu.x87.set_st(d, outcome.value);
    }
    let meaningless = !completed || classify(outcome.value).is_nan_like();
    let (changed, new) =
        if meaningless { (conditions & C2, 0) } else { (conditions, outcome.status & conditions) };
    cpu.x87.fsw = cpu.x87.fsw & !changed | new;
    completed
}

/// `ST(0) = f(ST(0))`.
fn one(cpu: &mut Cpu, i: &Insn, f: fn(Extended, ControlWord, u16) -> Outcome, conditions: u16) -> Done {
    note(cpu, i);
    let x87 = &cpu.x87;
    let outcome = if x87.is_empty(0) {
        Outcome { value: INDEFINITE, status: UNDERFLOW }
    } else {
        f(x87.st(0), x87.control(), x87.fsw)
    };
    finish(cpu, i, 0, outcome, conditions);
    Ok(())
}

type OfTwo = fn(Extended, Extended, ControlWord, u16) -> Outcome;

/// `f(ST(0), ST(1))`.
fn two(cpu: &mut Cpu, f: OfTwo) -> Outcome {
    let x87 = &cpu.x87;
    if x87.is_empty(0) || x87.is_empty(1) {
        return Outcome { value: INDEFINITE, status: UNDERFLOW };
    }
    f(x87.st(0), x87.st(1), x87.control(), x87.fsw)
}

/// `ST(0) = f(ST(0), ST(1))`.
fn in_place(cpu: &mut Cpu, i: &Insn, f: OfTwo, conditions: u16) -> Done {
    note(cpu, i);
    let outcome = two(cpu, f);
    finish(cpu, i, 0, outcome, conditions);
    Ok(())
}

/// `ST(1) = f(ST(0), ST(1))`, and pop.
fn popping(cpu: &mut Cpu, i: &Insn, f: OfTwo) -> Done {
    note(cpu, i);
    let outcome = two(cpu, f);
    if finish(cpu, i, 1, outcome, 0) {
        cpu.x87.pop();
    }
    Ok(())
}

/// Replaces ST(0) and pushes a second result.
fn pushing(
    cpu: &mut Cpu,
    i: &Insn,
    f: fn(Extended, ControlWord) -> (Extended, Option<Extended>, u16),
) -> Done {
    note(cpu, i);
    let fault = if cpu.x87.is_empty(0) {
        UNDERFLOW
    } else if cpu.x87.is_full() {
        OVERFLOW
    } else {
        0
    };
    let (value, pushed, status) =
        if fault != 0 { (INDEFINITE, Some(INDEFINITE), fault) } else { f(cpu.x87.st(0), cpu.x87.control()) };
    if finish(cpu, i, 0, Outcome { value, status }, C2)
        && let Some(pushed) = pushed
    {
        cpu.x87.push(pushed);
    }
    Ok(())
}

/// FSQRT.
pub fn fsqrt(cpu: &mut Cpu, i: &Insn) -> Done {
    one(cpu, i, unit::sqrt, 0)
}
/// FRNDINT.
pub fn frndint(cpu: &mut Cpu, i: &Insn) -> Done {
    one(cpu, i, unit::round_to_integer, 0)
}
/// F2XM1.
pub fn f2xm1(cpu: &mut Cpu, i: &Insn) -> Done {
    one(cpu, i, unit::f2xm1, 0)
}
/// FSIN.
pub fn fsin(cpu: &mut Cpu, i: &Insn) -> Done {
    one(cpu, i, unit::sin, C2)
}
/// FCOS.
pub fn fcos(cpu: &mut Cpu, i: &Insn) -> Done {
    one(cpu, i, unit::cos, C2)
}
/// FPREM.
pub fn fprem(cpu: &mut Cpu, i: &Insn) -> Done {
    in_place(cpu, i, unit::prem, C0 | C2 | C3)
}
/// FPREM1.
pub fn fprem1(cpu: &mut Cpu, i: &Insn) -> Done {
    in_place(cpu, i, unit::prem1, C0 | C2 | C3)
}
/// FSCALE.
pub fn fscale(cpu: &mut Cpu, i: &Insn) -> Done {
    in_place(cpu, i, unit::scale, 0)
}
/// FYL2X.
pub fn fyl2x(cpu: &mut Cpu, i: &Insn) -> Done {
    popping(cpu, i, unit::yl2x)
}
/// FYL2XP1.
pub fn fyl2xp1(cpu: &mut Cpu, i: &Insn) -> Done {
    popping(cpu, i, unit::yl2xp1)
}
/// FPATAN.
pub fn fpatan(cpu: &mut Cpu, i: &Insn) -> Done {
    popping(cpu, i, unit::patan)
}
/// FPTAN.
pub fn fptan(cpu: &mut Cpu, i: &Insn) -> Done {
    pushing(cpu, i, unit::ptan)
}
/// FSINCOS.
pub fn fsincos(cpu: &mut Cpu, i: &Insn) -> Done {
    pushing(cpu, i, unit::sincos)
}

/// FXTRACT: the exponent in ST(0)'s place, the significand pushed.
pub fn fxtract(cpu: &mut Cpu, i: &Insn) -> Done {
    let conditions = cpu.x87.fsw & C2;
    pushing(cpu, i, |x, cw| {
        let (exponent, significand, status) = soft::extract(x, cw);
        (exponent, Some(significand), status)
    })?;
    // C2 is not this instruction's.
    cpu.x87.fsw = cpu.x87.fsw & !C2 | conditions;
    Ok(())
}
