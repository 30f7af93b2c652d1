//! FCOM, FUCOM, FICOM with their popping forms, FCOMI, FUCOMI, FTST, FXAM. SDM vol. 1, 8.3.6.

use super::{
    arithmetic::read_real,
    soft::{
        self, Class, classify, is_negative,
        status::{C0, C1, C2, C3, DE, EXCEPTIONS, IE},
    },
    stack::{UNDERFLOW, note, note_memory, report},
    transfer::read_integer,
};
use crate::{
    arch::{Exception, Flags},
    cpu::{Cpu, LazyFlags},
    decode::{Insn, Kind},
    state::Extended,
};

type Done = Result<(), Exception>;

/// Compares ST(0) with `other` (none: an empty register). See [`is_set`] for unmasked
/// exceptions.
#[inline]
fn compare(cpu: &mut Cpu, i: &Insn, other: Option<Extended>, quiet: bool, pops: u32) {
    let outcome = result(cpu, other, quiet);
    conclude(cpu, i, outcome, pops);
}

/// Condition codes and exceptions of a comparison.
#[inline]
fn result(cpu: &Cpu, other: Option<Extended>, quiet: bool) -> u16 {
    match other {
        Some(other) if !cpu.x87.is_empty(0) => soft::compare(cpu.x87.st(0), other, quiet),
        _ => C3 | C2 | C0 | UNDERFLOW,
    }
}

#[inline]
fn conclude(cpu: &mut Cpu, i: &Insn, outcome: u16, pops: u32) {
    let completed = report(cpu, i, outcome);
    if is_set(cpu, outcome) {
        cpu.x87.set_conditions(outcome);
    }
    if completed {
        for _ in 0..pops {
            cpu.x87.pop();
        }
    }
}

/// Whether the result of a comparison is written: an unmasked invalid operation forbids it (SDM vol. 2, note to
/// FCOM's table), an unmasked denormal only forbids the pop.
fn is_set(cpu: &Cpu, outcome: u16) -> bool {
    cpu.x87.control().unmasked(outcome & IE) == 0
}

/// ST(k), unless empty.
fn register(cpu: &Cpu, k: u8) -> Option<Extended> {
    (!cpu.x87.is_empty(k)).then(|| cpu.x87.st(k))
}

#[inline]
fn real(cpu: &mut Cpu, i: &Insn, pops: u32) -> Done {
    if i.kind[0] != Kind::Mem {
        note(cpu, i);
        let other = register(cpu, i.reg[1]);
        compare(cpu, i, other, false, pops);
        return Ok(());
    }
    let (value, denormal) = read_real(cpu, i)?;
    note_memory(cpu, i);
    let mut outcome = result(cpu, Some(value), false);
    if denormal && outcome & IE == 0 {
        outcome |= DE;
    }
    conclude(cpu, i, outcome, pops);
    Ok(())
}

/// FCOM.
pub fn fcom(cpu: &mut Cpu, i: &Insn) -> Done {
    real(cpu, i, 0)
}
/// FCOMP.
pub fn fcomp(cpu: &mut Cpu, i: &Insn) -> Done {
    real(cpu, i, 1)
}
/// FCOMPP.
pub fn fcompp(cpu: &mut Cpu, i: &Insn) -> Done {
    note(cpu, i);
    let other = register(cpu, 1);
    compare(cpu, i, other, false, 2);
    Ok(())
}

fn unordered(cpu: &mut Cpu, i: &Insn, other: u8, pops: u32) -> Done {
    note(cpu, i);
    let other = register(cpu, other);
    compare(cpu, i, other, true, pops);
    Ok(())
}

/// FUCOM.
pub fn fucom(cpu: &mut Cpu, i: &Insn) -> Done {
    unordered(cpu, i, i.reg[1], 0)
}
/// FUCOMP.
pub fn fucomp(cpu: &mut Cpu, i: &Insn) -> Done {
    unordered(cpu, i, i.reg[1], 1)
}
/// FUCOMPP.
pub fn fucompp(cpu: &mut Cpu, i: &Insn) -> Done {
    unordered(cpu, i, 1, 2)
}

fn integer(cpu: &mut Cpu, i: &Insn, pops: u32) -> Done {
    let value = read_integer(cpu, i)?;
    note_memory(cpu, i);
    compare(cpu, i, Some(value), false, pops);
    Ok(())
}

/// FICOM.
pub fn ficom(cpu: &mut Cpu, i: &Insn) -> Done {
    integer(cpu, i, 0)
}
/// FICOMP.
pub fn ficomp(cpu: &mut Cpu, i: &Insn) -> Done {
    integer(cpu, i, 1)
}

/// FTST.
pub fn ftst(cpu: &mut Cpu, i: &Insn) -> Done {
    note(cpu, i);
    compare(cpu, i, Some(soft::zero(false)), false, 0);
    Ok(())
}

/// Compares into ZF, PF and CF; OF, SF and AF become zero. SDM vol. 2, FCOMI.
fn into_flags(cpu: &mut Cpu, i: &Insn, quiet: bool, pop: bool) -> Done {
    note(cpu, i);
    let outcome = result(cpu, register(cpu, i.reg[1]), quiet);
    let completed = report(cpu, i, outcome);
    if is_set(cpu, outcome) {
        let mut flags = Flags::empty();
        flags.set(Flags::ZF, outcome & C3 != 0);
        flags.set(Flags::PF, outcome & C2 != 0);
        flags.set(Flags::CF, outcome & C0 != 0);
        cpu.flags = LazyFlags::from_flags(flags);
    }
    if completed && pop {
        cpu.x87.pop();
    }
    Ok(())
}

/// FCOMI.
pub fn fcomi(cpu: &mut Cpu, i: &Insn) -> Done {
    into_flags(cpu, i, false, false)
}
/// FCOMIP.
pub fn fcomip(cpu: &mut Cpu, i: &Insn) -> Done {
    into_flags(cpu, i, false, true)
}
/// FUCOMI.
pub fn fucomi(cpu: &mut Cpu, i: &Insn) -> Done {
    into_flags(cpu, i, true, false)
}
/// FUCOMIP.
pub fn fucomip(cpu: &mut Cpu, i: &Insn) -> Done {
    into_flags(cpu, i, true, true)
}

/// FXAM.
pub fn fxam(cpu: &mut Cpu, i: &Insn) -> Done {
    note(cpu, i);
    let x = cpu.x87.st(0);
    let class = match classify(x) {
        _ if cpu.x87.is_empty(0) => C3 | C0,
        Class::Unsupported => 0,
        Class::Quiet | Class::Signalling => C0,
        Class::Normal => C2,
        Class::Infinity => C2 | C0,
        Class::Zero => C3,
        Class::Denormal => C3 | C2,
    };
    let sign = if is_negative(x) { C1 } else { 0 };
    cpu.x87.set_conditions(class);
    cpu.x87.fsw = cpu.x87.fsw & !C1 | sign;
    Ok(())
}

// Condition codes and exceptions share a word without meeting.
const _: () = assert!((C0 | C1 | C2 | C3) & EXCEPTIONS == 0);
