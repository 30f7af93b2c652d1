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

/// An operation in its two shapes: by value under any control word, and on registers with all masked.
struct Operation {
    value: fn(Extended, Extended, ControlWord, u16) -> Outcome,
    in_place: fn(&mut Extended, &Extended, ControlWord, u16) -> u16,
}

const ADD: Operation = Operation { value: unit::add, in_place: unit::add_in_place };
const SUB: Operation = Operation { value: unit::sub, in_place: unit::sub_in_place };
const SUBR: Operation =
    Operation { value: |a, b, cw, s| unit::sub(b, a, cw, s), in_place: unit::subr_in_place };
const MUL: Operation = Operation { value: unit::mul, in_place: unit::mul_in_place };
const DIV: Operation = Operation { value: unit::div, in_place: unit::div_in_place };
const DIVR: Operation =
    Operation { value: |a, b, cw, s| unit::div(b, a, cw, s), in_place: unit::divr_in_place };

/// `ST(d) = ST(d) op ST(s)`.
#[inline(always)]
fn registers(cpu: &mut Cpu, i: &Insn, op: &Operation, pop: bool) -> Done {
    note(cpu, i);
    let (d, s) = (i.reg[0], i.reg[1]);
    let x87 = &mut cpu.x87;
    let outcome = if x87.is_empty(d) || x87.is_empty(s) {
        Outcome { value: INDEFINITE, status: UNDERFLOW }
    } else if x87.control().all_masked() {
        let (cw, sticky) = (x87.control(), x87.fsw);
        let status = match x87.st_pair(d, s) {
            Some((a, b)) => (op.in_place)(a, b, cw, sticky),
            None => {
                let copy = x87.st(s);
                (op.in_place)(x87.st_mut(d), &copy, cw, sticky)
            }
        };
        report(cpu, i, status);
        if pop {
            cpu.x87.pop();
        }
        return Ok(());
    } else {
        (op.value)(x87.st(d), x87.st(s), x87.control(), x87.fsw)
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
fn with_value(cpu: &mut Cpu, i: &Insn, op: &Operation, (value, denormal): (Extended, bool)) {
    note_memory(cpu, i);
    let x87 = &mut cpu.x87;
    let outcome = if x87.is_empty(0) {
        Outcome { value: INDEFINITE, status: UNDERFLOW }
    } else if denormal {
        let outcome = (op.value)(x87.st(0), value, x87.control(), 0);
        // Invalid operands, NaNs and a zero divisor come before the denormal.
        let first = outcome.status & (status::IE | status::ZE) != 0 || classify(outcome.value).is_nan_like();
        outcome.settled(!first, x87.control())
    } else if x87.control().all_masked() {
        let (cw, sticky) = (x87.control(), x87.fsw);
        let status = (op.in_place)(x87.st_mut(0), &value, cw, sticky);
        report(cpu, i, status);
        return;
    } else {
        (op.value)(x87.st(0), value, x87.control(), x87.fsw)
    };
    if report(cpu, i, outcome.status) {
        cpu.x87.set_st(0, outcome.value);
    }
}

#[inline(always)]
fn real(cpu: &mut Cpu, i: &Insn, op: &Operation) -> Done {
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
fn integer(cpu: &mut Cpu, i: &Insn, op: &Operation) -> Done {
    let value = read_integer(cpu, i)?;
    with_value(cpu, i, op, (value, false));
    Ok(())
}

/// FADD.
pub fn fadd(cpu: &mut Cpu, i: &Insn) -> Done {
    real(cpu, i, &ADD)
}
/// FSUB.
pub fn fsub(cpu: &mut Cpu, i: &Insn) -> Done {
    real(cpu, i, &SUB)
}
/// FSUBR.
pub fn fsubr(cpu: &mut Cpu, i: &Insn) -> Done {
    real(cpu, i, &SUBR)
}
/// FMUL.
pub fn fmul(cpu: &mut Cpu, i: &Insn) -> Done {
    real(cpu, i, &MUL)
}
/// FDIV.
pub fn fdiv(cpu: &mut Cpu, i: &Insn) -> Done {
    real(cpu, i, &DIV)
}
/// FDIVR.
pub fn fdivr(cpu: &mut Cpu, i: &Insn) -> Done {
    real(cpu, i, &DIVR)
}
/// FADDP.
pub fn faddp(cpu: &mut Cpu, i: &Insn) -> Done {
    registers(cpu, i, &ADD, true)
}
/// FSUBP.
pub fn fsubp(cpu: &mut Cpu, i: &Insn) -> Done {
    registers(cpu, i, &SUB, true)
}
/// FSUBRP.
pub fn fsubrp(cpu: &mut Cpu, i: &Insn) -> Done {
    registers(cpu, i, &SUBR, true)
}
/// FMULP.
pub fn fmulp(cpu: &mut Cpu, i: &Insn) -> Done {
    registers(cpu, i, &MUL, true)
}
/// FDIVP.
pub fn fdivp(cpu: &mut Cpu, i: &Insn) -> Done {
    registers(cpu, i, &DIV, true)
}
/// FDIVRP.
pub fn fdivrp(cpu: &mut Cpu, i: &Insn) -> Done {
    registers(cpu, i, &DIVR, true)
}
/// FIADD.
pub fn fiadd(cpu: &mut Cpu, i: &Insn) -> Done {
    integer(cpu, i, &ADD)
}
/// FISUB.
pub fn fisub(cpu: &mut Cpu, i: &Insn) -> Done {
    integer(cpu, i, &SUB)
}
/// FISUBR.
pub fn fisubr(cpu: &mut Cpu, i: &Insn) -> Done {
    integer(cpu, i, &SUBR)
}
/// FIMUL.
pub fn fimul(cpu: &mut Cpu, i: &Insn) -> Done {
    integer(cpu, i, &MUL)
}
/// FIDIV.
pub fn fidiv(cpu: &mut Cpu, i: &Insn) -> Done {
    integer(cpu, i, &DIV)
}
/// FIDIVR.
pub fn fidivr(cpu: &mut Cpu, i: &Insn) -> Done {
    integer(cpu, i, &DIVR)
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
