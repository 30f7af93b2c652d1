//! String instructions: MOVS STOS LODS SCAS CMPS INS OUTS, with their repetition. SDM vol. 1, 7.3.9.
//!
//! One iteration is one function. The driver counts, moves the pointers after each iteration that succeeded,
//! and leaves the instruction to be begun again when something is requested of the CPU: state is always that
//! of a whole number of iterations. MOVS, STOS, SCAS and CMPS run in bulk inside a page where all they touch is RAM;
//! LODS, INS and OUTS do not.

mod bulk;
mod comparison;
mod element;
#[cfg(test)]
mod tests;

use crate::{
    arch::{Exception, Flags, Width},
    cpu::{Cpu, slot},
    cpu_model::Generation,
    decode::{Insn, flag},
    semantics::{Emitter, Row, microcode_form},
};
use bulk::{cmps_bulk, movs_bulk, scas_bulk, stos_bulk};
use element::{cmps, ins, lods, movs, outs, scas, stos};
use iced_x86::Code;
use std::sync::atomic::Ordering;

/// What repetition looks at besides the count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// Only the count.
    Count,
    /// REPE: ZF clear; REPNE: ZF set.
    ZeroFlag,
}

/// As many iterations as can be done in bulk, at most the count given and none after one that ends the repetition;
/// returns how many. What would fault is left to an iteration by itself, and so nothing fails.
type Bulk = fn(&mut Cpu, &Insn, Width, u64) -> u64;

/// One string instruction on elements of a width.
#[derive(Clone, Copy)]
struct Operation {
    width: Width,
    uses_source: bool,
    uses_destination: bool,
    until: Until,
    iterate: fn(&mut Cpu, &Insn, Width) -> Result<(), Exception>,
    bulk: Option<Bulk>,
}

pub(super) fn source(cpu: &Cpu, i: &Insn) -> u64 {
    cpu.gpr(i.asize, slot::RSI)
}

pub(super) fn destination(cpu: &Cpu, i: &Insn) -> u64 {
    cpu.gpr(i.asize, slot::RDI)
}

fn advance(cpu: &mut Cpu, i: &Insn, operation: &Operation, iterations: u64) {
    let bytes = iterations.wrapping_mul(operation.width.bytes());
    let step = if cpu.eflags.contains(Flags::DF) { bytes.wrapping_neg() } else { bytes };
    if operation.uses_source {
        let at = source(cpu, i).wrapping_add(step);
        cpu.set_gpr(i.asize, slot::RSI, at);
    }
    if operation.uses_destination {
        let at = destination(cpu, i).wrapping_add(step);
        cpu.set_gpr(i.asize, slot::RDI, at);
    }
}

fn iterate(cpu: &mut Cpu, i: &Insn, operation: &Operation) -> Result<(), Exception> {
    let result = (operation.iterate)(cpu, i, operation.width);
    if result.is_err() && cpu.model.generation() == Generation::I80286 && !cpu.mode.is_protected() {
        leave_off(cpu, i, operation);
    }
    result
}

/// What an 80286 has counted and moved when an element at the end of a segment faults: its count first, then
/// each pointer by its access, CMPS its destination's before its source's. A store that faults is counted
/// twice, the first access of CMPS not at all (recorded in real mode: SingleStepTests 80286).
#[cold]
fn leave_off(cpu: &mut Cpu, i: &Insn, operation: &Operation) {
    let bytes = operation.width.bytes();
    let outside = |offset: u64| offset + bytes > 0x1_0000;
    let compares = operation.until == Until::ZeroFlag;
    let reads_destination_first = compares && operation.uses_source;
    let at_source = operation.uses_source && outside(source(cpu, i));
    let at_destination = operation.uses_destination && outside(destination(cpu, i));
    if !at_source && !at_destination {
        return;
    }
    let (source_moved, destination_moved) = match reads_destination_first {
        true => (!at_destination, true),
        false => (operation.uses_source, operation.uses_destination && !at_source),
    };
    let moved = Operation { uses_source: source_moved, uses_destination: destination_moved, ..*operation };
    advance(cpu, i, &moved, 1);
    let counted = match (compares, destination_moved && at_destination) {
        (false, true) => 2,
        (true, true) if reads_destination_first => 0,
        _ => 1,
    };
    if i.has(flag::REP | flag::REPNE) {
        let count = cpu.gpr(i.asize, slot::RCX);
        cpu.set_gpr(i.asize, slot::RCX, count.wrapping_sub(counted));
    }
}

/// Runs `operation` once, or under a repeat prefix until it ends.
fn drive(cpu: &mut Cpu, i: &Insn, operation: &Operation) -> Result<(), Exception> {
    if !i.has(flag::REP | flag::REPNE) {
        iterate(cpu, i, operation)?;
        advance(cpu, i, operation, 1);
        return Ok(());
    }
    loop {
        let count = cpu.gpr(i.asize, slot::RCX);
        if count == 0 {
            return Ok(());
        }
        let done = match operation.bulk {
            // A single step is one iteration.
            Some(bulk) if count > 1 && !cpu.mode.is_stepping() => bulk(cpu, i, operation.width, count),
            _ => 0,
        };
        let done = if done == 0 {
            iterate(cpu, i, operation)?;
            1
        } else {
            done
        };
        advance(cpu, i, operation, done);
        cpu.set_gpr(i.asize, slot::RCX, count.wrapping_sub(done));
        if operation.until == Until::ZeroFlag && (cpu.flags.result == 0) == i.has(flag::REPNE) {
            return Ok(());
        }
        if count == done {
            return Ok(());
        }
        if cpu.signal.attention().load(Ordering::Relaxed) != 0 || cpu.leave_block || cpu.mode.is_stepping() {
            return Err(Exception::Restart);
        }
    }
}

const MOVS: Operation = Operation {
    width: Width::W8,
    uses_source: true,
    uses_destination: true,
    until: Until::Count,
    iterate: movs,
    bulk: Some(movs_bulk),
};
const STOS: Operation = Operation {
    width: Width::W8,
    uses_source: false,
    uses_destination: true,
    until: Until::Count,
    iterate: stos,
    bulk: Some(stos_bulk),
};
const LODS: Operation = Operation {
    width: Width::W8,
    uses_source: true,
    uses_destination: false,
    until: Until::Count,
    iterate: lods,
    bulk: None,
};
const SCAS: Operation = Operation {
    width: Width::W8,
    uses_source: false,
    uses_destination: true,
    until: Until::ZeroFlag,
    iterate: scas,
    bulk: Some(scas_bulk),
};
const CMPS: Operation = Operation {
    width: Width::W8,
    uses_source: true,
    uses_destination: true,
    until: Until::ZeroFlag,
    iterate: cmps,
    bulk: Some(cmps_bulk),
};
const INS: Operation = Operation {
    width: Width::W8,
    uses_source: false,
    uses_destination: true,
    until: Until::Count,
    iterate: ins,
    bulk: None,
};
const OUTS: Operation = Operation {
    width: Width::W8,
    uses_source: true,
    uses_destination: false,
    until: Until::Count,
    iterate: outs,
    bulk: None,
};

/// `OPERATIONS[K]` on elements of 1 << `W` bytes, as a routine of its own.
fn instruction<const K: usize, const W: u8>(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    const OPERATIONS: [Operation; 7] = [MOVS, STOS, LODS, SCAS, CMPS, INS, OUTS];
    let width = match W {
        0 => Width::W8,
        1 => Width::W16,
        2 => Width::W32,
        _ => Width::W64,
    };
    drive(cpu, i, &Operation { width, ..OPERATIONS[K] })
}

/// Rows of this family.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    let forms: [(Code, crate::semantics::Helper); 26] = [
        (Code::Movsb_m8_m8, instruction::<0, 0>),
        (Code::Movsw_m16_m16, instruction::<0, 1>),
        (Code::Movsd_m32_m32, instruction::<0, 2>),
        (Code::Movsq_m64_m64, instruction::<0, 3>),
        (Code::Stosb_m8_AL, instruction::<1, 0>),
        (Code::Stosw_m16_AX, instruction::<1, 1>),
        (Code::Stosd_m32_EAX, instruction::<1, 2>),
        (Code::Stosq_m64_RAX, instruction::<1, 3>),
        (Code::Lodsb_AL_m8, instruction::<2, 0>),
        (Code::Lodsw_AX_m16, instruction::<2, 1>),
        (Code::Lodsd_EAX_m32, instruction::<2, 2>),
        (Code::Lodsq_RAX_m64, instruction::<2, 3>),
        (Code::Scasb_AL_m8, instruction::<3, 0>),
        (Code::Scasw_AX_m16, instruction::<3, 1>),
        (Code::Scasd_EAX_m32, instruction::<3, 2>),
        (Code::Scasq_RAX_m64, instruction::<3, 3>),
        (Code::Cmpsb_m8_m8, instruction::<4, 0>),
        (Code::Cmpsw_m16_m16, instruction::<4, 1>),
        (Code::Cmpsd_m32_m32, instruction::<4, 2>),
        (Code::Cmpsq_m64_m64, instruction::<4, 3>),
        (Code::Insb_m8_DX, instruction::<5, 0>),
        (Code::Insw_m16_DX, instruction::<5, 1>),
        (Code::Insd_m32_DX, instruction::<5, 2>),
        (Code::Outsb_DX_m8, instruction::<6, 0>),
        (Code::Outsw_DX_m16, instruction::<6, 1>),
        (Code::Outsd_DX_m32, instruction::<6, 2>),
    ];
    forms.into_iter().map(|(code, run)| microcode_form(code, run)).collect()
}
