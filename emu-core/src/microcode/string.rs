//! String instructions: MOVS STOS LODS SCAS CMPS INS OUTS, with their repetition. SDM vol. 1, 7.3.9.
//!
//! One iteration is one function. The driver counts, moves the pointers after each iteration that succeeded,
//! and leaves the instruction to be begun again when something is requested of the CPU: state is always that
//! of a whole number of iterations. MOVS and STOS run in bulk inside a page where both ends are RAM.

use crate::{
    arch::{Exception, Flags, Seg, Width},
    cpu::{Cpu, slot},
    cpu_model::Generation,
    decode::{Insn, flag},
    microcode::port::{check_io_permission, read_port, write_port},
    mmu::{Access, Privilege},
    semantics::{Arithmetic, Emitter, Row, integer::arith::set_flags_sub, microcode_form},
};
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

/// As many iterations as can be done in bulk, at most the count given; returns how many.
type Bulk = fn(&mut Cpu, &Insn, Width, u64) -> Result<u64, Exception>;

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

fn source(cpu: &Cpu, i: &Insn) -> u64 {
    cpu.gpr(i.asize, slot::RSI)
}

fn destination(cpu: &Cpu, i: &Insn) -> u64 {
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
            Some(bulk) if count > 1 => bulk(cpu, i, operation.width, count)?,
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

fn movs(cpu: &mut Cpu, i: &Insn, w: Width) -> Result<(), Exception> {
    let value = cpu.read_seg(i.segment(), source(cpu, i), w)?;
    cpu.write_seg(Seg::Es, destination(cpu, i), w, value)
}

fn stos(cpu: &mut Cpu, i: &Insn, w: Width) -> Result<(), Exception> {
    let value = cpu.gpr(w, slot::RAX);
    cpu.write_seg(Seg::Es, destination(cpu, i), w, value)
}

fn lods(cpu: &mut Cpu, i: &Insn, w: Width) -> Result<(), Exception> {
    let value = cpu.read_seg(i.segment(), source(cpu, i), w)?;
    cpu.set_gpr(w, slot::RAX, value);
    Ok(())
}

/// Flags as CMP sets them.
fn compare(cpu: &mut Cpu, w: Width, a: u64, b: u64) {
    cpu.with_emitter(|e| {
        let difference = e.sub(w, a, b);
        set_flags_sub(e, w, a, b, difference);
    });
}

fn scas(cpu: &mut Cpu, i: &Insn, w: Width) -> Result<(), Exception> {
    let value = cpu.read_seg(Seg::Es, destination(cpu, i), w)?;
    let accumulator = cpu.gpr(w, slot::RAX);
    compare(cpu, w, accumulator, value);
    Ok(())
}

fn cmps(cpu: &mut Cpu, i: &Insn, w: Width) -> Result<(), Exception> {
    let a = cpu.read_seg(i.segment(), source(cpu, i), w)?;
    let b = cpu.read_seg(Seg::Es, destination(cpu, i), w)?;
    compare(cpu, w, a, b);
    Ok(())
}

fn ins(cpu: &mut Cpu, i: &Insn, w: Width) -> Result<(), Exception> {
    let port = cpu.gpr(Width::W16, slot::RDX) as u16;
    check_io_permission(cpu, port, w.bytes())?;
    // Reading a port can change the device: the store must be known to succeed.
    let linear = cpu.linear(Seg::Es, destination(cpu, i), w.bytes(), true)?;
    cpu.probe_write(linear, w.bytes(), Privilege::Current)?;
    let value = read_port(cpu, port, w);
    cpu.write_linear(linear, w, value, Privilege::Current)
}

fn outs(cpu: &mut Cpu, i: &Insn, w: Width) -> Result<(), Exception> {
    let port = cpu.gpr(Width::W16, slot::RDX) as u16;
    check_io_permission(cpu, port, w.bytes())?;
    let value = cpu.read_seg(i.segment(), source(cpu, i), w)?;
    write_port(cpu, port, w, value);
    Ok(())
}

/// A stretch of elements inside one page of RAM: host address of its lowest byte, and how many elements of `w`
/// from `offset` on, in the direction of travel, lie in it. `None` if bulk does not apply.
fn stretch(
    cpu: &mut Cpu,
    seg: Seg,
    offset: u64,
    w: Width,
    asize: Width,
    access: Access,
) -> Result<Option<(*mut u8, u64, u64)>, Exception> {
    let flat = cpu.mode.is_flat(seg as usize) && asize >= Width::W32;
    if !flat || cpu.mode.checks_alignment() {
        return Ok(None);
    }
    let linear = cpu.linear(seg, offset, w.bytes(), access == Access::Write)?;
    if cpu.mmu.watches_page(linear) {
        return Ok(None);
    }
    let in_page = linear & 0xFFF;
    if in_page + w.bytes() > 0x1000 {
        return Ok(None);
    }
    let down = cpu.eflags.contains(Flags::DF);
    let elements = if down { in_page / w.bytes() + 1 } else { (0x1000 - in_page) / w.bytes() };
    // Addresses must not wrap inside the stretch.
    let bytes = elements * w.bytes();
    let wraps =
        if down { offset < bytes } else { offset.checked_add(bytes).is_none_or(|end| end > asize.mask()) };
    if wraps {
        return Ok(None);
    }
    let user = cpu.cpl == 3;
    let physical = cpu.mmu.translate(linear, access, user)?;
    let Some(host) = cpu.memory.ram().host_ptr(physical) else { return Ok(None) };
    let first = if down { elements - 1 } else { 0 } * w.bytes();
    Ok(Some((host.wrapping_sub(first as usize), elements, physical - first)))
}

fn movs_bulk(cpu: &mut Cpu, i: &Insn, w: Width, count: u64) -> Result<u64, Exception> {
    let Some((from, readable, _)) = stretch(cpu, i.segment(), source(cpu, i), w, i.asize, Access::Read)?
    else {
        return Ok(0);
    };
    let Some((to, writable, physical)) =
        stretch(cpu, Seg::Es, destination(cpu, i), w, i.asize, Access::Write)?
    else {
        return Ok(0);
    };
    let elements = count.min(readable).min(writable);
    let bytes = (elements * w.bytes()) as usize;
    let down = cpu.eflags.contains(Flags::DF);
    // In a downward stretch the elements at the top are the first.
    let skip = |whole: u64| if down { ((whole - elements) * w.bytes()) as usize } else { 0 };
    let (from, to_skip) = (from.wrapping_add(skip(readable)), skip(writable));
    let (to, physical) = (to.wrapping_add(to_skip), physical + to_skip as u64);
    let distance = (to as usize).wrapping_sub(from as usize);
    let against = if down { distance.wrapping_neg() } else { distance };
    if against != 0 && against < bytes {
        // The copy would read what it has written: a pattern is repeated, one element at a time.
        return Ok(0);
    }
    cpu.before_write(physical, bytes as u64);
    // SAFETY: both stretches lie in pages of RAM, which stays mapped; `copy` allows overlap.
    unsafe { std::ptr::copy(from, to, bytes) };
    Ok(elements)
}

fn stos_bulk(cpu: &mut Cpu, i: &Insn, w: Width, count: u64) -> Result<u64, Exception> {
    let Some((to, writable, physical)) =
        stretch(cpu, Seg::Es, destination(cpu, i), w, i.asize, Access::Write)?
    else {
        return Ok(0);
    };
    let elements = count.min(writable);
    let down = cpu.eflags.contains(Flags::DF);
    let skip = if down { ((writable - elements) * w.bytes()) as usize } else { 0 };
    let (to, physical) = (to.wrapping_add(skip), physical + skip as u64);
    let bytes = (elements * w.bytes()) as usize;
    cpu.before_write(physical, bytes as u64);
    let value = cpu.gpr(w, slot::RAX).to_le_bytes();
    let element = &value[..w.bytes() as usize];
    if element.iter().all(|&byte| byte == element[0]) {
        // SAFETY: the stretch lies in a page of RAM.
        unsafe { std::ptr::write_bytes(to, element[0], bytes) };
    } else {
        for at in (0..bytes).step_by(element.len()) {
            // SAFETY: as above.
            unsafe { std::ptr::copy_nonoverlapping(element.as_ptr(), to.wrapping_add(at), element.len()) };
        }
    }
    Ok(elements)
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
    bulk: None,
};
const CMPS: Operation = Operation {
    width: Width::W8,
    uses_source: true,
    uses_destination: true,
    until: Until::ZeroFlag,
    iterate: cmps,
    bulk: None,
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
