//! FADD, FSUB, FSUBR, FMUL, FDIV, FDIVR with their popping and integer forms; FABS, FCHS. SDM vol. 1, 8.3.5.

use super::{
    soft::{self, ControlWord, INDEFINITE, Outcome, classify, status},
    stack::{UNDERFLOW, note, note_memory, report},
    transfer::read_integer,
    unit,
};
use crate::{
    arch::{Exception, Width},
    cpu::Cpu,
    decode::{Insn, Kind},
    state::Extended,
};

type Done = Result<(), Exception>;
type Operation = fn(Extended, Extended, ControlWord, u16) -> Outcome;

/// Minuend and subtrahend, dividend and divisor change places.
fn subr(a: Extended, b: Extended, cw: ControlWord, sticky: u16) -> Outcome {
    unit::sub(b, a, cw, sticky)
}
fn divr(a: Extended, b: Extended, cw: ControlWord, sticky: u16) -> Outcome {
    unit::div(b, a, cw, sticky)
}

/// `ST(d) = ST(d) op ST(s)`.
#[inline(always)]
fn registers(cpu: &mut Cpu, i: &Insn, op: Operation, pop: bool) -> Done {
    note(cpu, i);
    let (d, s) = (i.reg[0], i.reg[1]);
    let x87 = &cpu.x87;
    let outcome = if x87.is_empty(d) || x87.is_empty(s) {
        Outcome { value: INDEFINITE, status: UNDERFLOW }
    } else {
        op(x87.st(d), x87.st(s), x87.control(), x87.fsw)
    };
    if report(cpu, i, outcome.status) {
        cpu.x87.set_st(d, outcome.value);
        if pop {
            cpu.x87.pop();
        }
    }
    Ok(())
}

/// `ST(0) = ST(0) op value`; `denormal` if the value was so in its memory format.
#[inline(always)]
fn with_value(cpu: &mut Cpu, i: &Insn, op: Operation, (value, denormal): (Extended, bool)) {
    note_memory(cpu, i);
    let x87 = &cpu.x87;
    let outcome = if x87.is_empty(0) {
        Outcome { value: INDEFINITE, status: UNDERFLOW }
    } else if denormal {
        let outcome = op(x87.st(0), value, x87.control(), 0);
        // Invalid operands, NaNs and a zero divisor come before the denormal.
        let first = outcome.status & (status::IE | status::ZE) != 0 || classify(outcome.value).is_nan_like();
        outcome.settled(!first, x87.control())
    } else {
        op(x87.st(0), value, x87.control(), x87.fsw)
    };
    if report(cpu, i, outcome.status) {
        cpu.x87.set_st(0, outcome.value);
    }
}

#[inline(always)]
fn real(cpu: &mut Cpu, i: &Insn, op: Operation) -> Done {
    if i.kind[0] != Kind::Mem {
        return registers(cpu, i, op, false);
    }
    let value = read_real(cpu, i)?;
    with_value(cpu, i, op, value);
    Ok(())
}

/// The single- or double-precision memory operand, and whether it is denormal.
#[inline]
pub fn read_real(cpu: &mut Cpu, i: &Insn) -> Result<(Extended, bool), Exception> {
    Ok(match i.mem_size {
        4 => soft::widen_f32(cpu.read_operand(i, Width::W32, 0)? as u32),
        _ => soft::widen_f64(cpu.read_operand(i, Width::W64, 0)?),
    })
}

#[inline(always)]
fn integer(cpu: &mut Cpu, i: &Insn, op: Operation) -> Done {
    let value = read_integer(cpu, i)?;
    with_value(cpu, i, op, (value, false));
    Ok(())
}

/// FADD.
pub fn fadd(cpu: &mut Cpu, i: &Insn) -> Done {
    real(cpu, i, unit::add)
}
/// FSUB.
pub fn fsub(cpu: &mut Cpu, i: &Insn) -> Done {
    real(cpu, i, unit::sub)
}
/// FSUBR.
pub fn fsubr(cpu: &mut Cpu, i: &Insn) -> Done {
    real(cpu, i, subr)
}
/// FMUL.
pub fn fmul(cpu: &mut Cpu, i: &Insn) -> Done {
    real(cpu, i, unit::mul)
}
/// FDIV.
pub fn fdiv(cpu: &mut Cpu, i: &Insn) -> Done {
    real(cpu, i, unit::div)
}
/// FDIVR.
pub fn fdivr(cpu: &mut Cpu, i: &Insn) -> Done {
    real(cpu, i, divr)
}
/// FADDP.
pub fn faddp(cpu: &mut Cpu, i: &Insn) -> Done {
    registers(cpu, i, unit::add, true)
}
/// FSUBP.
pub fn fsubp(cpu: &mut Cpu, i: &Insn) -> Done {
    registers(cpu, i, unit::sub, true)
}
/// FSUBRP.
pub fn fsubrp(cpu: &mut Cpu, i: &Insn) -> Done {
    registers(cpu, i, subr, true)
}
/// FMULP.
pub fn fmulp(cpu: &mut Cpu, i: &Insn) -> Done {
    registers(cpu, i, unit::mul, true)
}
/// FDIVP.
pub fn fdivp(cpu: &mut Cpu, i: &Insn) -> Done {
    registers(cpu, i, unit::div, true)
}
/// FDIVRP.
pub fn fdivrp(cpu: &mut Cpu, i: &Insn) -> Done {
    registers(cpu, i, divr, true)
}
/// FIADD.
pub fn fiadd(cpu: &mut Cpu, i: &Insn) -> Done {
    integer(cpu, i, unit::add)
}
/// FISUB.
pub fn fisub(cpu: &mut Cpu, i: &Insn) -> Done {
    integer(cpu, i, unit::sub)
}
/// FISUBR.
pub fn fisubr(cpu: &mut Cpu, i: &Insn) -> Done {
    integer(cpu, i, subr)
}
/// FIMUL.
pub fn fimul(cpu: &mut Cpu, i: &Insn) -> Done {
    integer(cpu, i, unit::mul)
}
/// FIDIV.
pub fn fidiv(cpu: &mut Cpu, i: &Insn) -> Done {
    integer(cpu, i, unit::div)
}
/// FIDIVR.
pub fn fidivr(cpu: &mut Cpu, i: &Insn) -> Done {
    integer(cpu, i, divr)
}

/// The sign of ST(0) changed by `change`: no operand is invalid.
fn sign(cpu: &mut Cpu, i: &Insn, change: fn(u16) -> u16) -> Done {
    note(cpu, i);
    let empty = cpu.x87.is_empty(0);
    if report(cpu, i, if empty { UNDERFLOW } else { 0 }) {
        let x = cpu.x87.st(0);
        let changed = Extended { sign_exponent: change(x.sign_exponent), ..x };
        cpu.x87.set_st(0, if empty { INDEFINITE } else { changed });
    }
    Ok(())
}

/// FABS.
pub fn fabs(cpu: &mut Cpu, i: &Insn) -> Done {
    sign(cpu, i, |x| x & 0x7FFF)
}
/// FCHS.
pub fn fchs(cpu: &mut Cpu, i: &Insn) -> Done {
    sign(cpu, i, |x| x ^ 0x8000)
}
