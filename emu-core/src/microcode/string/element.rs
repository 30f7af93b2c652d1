//! One iteration of each string instruction.

use super::{destination, source};
use crate::{
    arch::{Exception, Seg, Width},
    cpu::{Cpu, slot},
    decode::Insn,
    microcode::port::{check_io_permission, read_port, write_port},
    mmu::Privilege,
    semantics::{Arithmetic, integer::arith::set_flags_sub},
};

pub(super) fn movs(cpu: &mut Cpu, i: &Insn, w: Width) -> Result<(), Exception> {
    let value = cpu.read_seg(i.segment(), source(cpu, i), w)?;
    cpu.write_seg(Seg::Es, destination(cpu, i), w, value)
}

pub(super) fn stos(cpu: &mut Cpu, i: &Insn, w: Width) -> Result<(), Exception> {
    let value = cpu.gpr(w, slot::RAX);
    cpu.write_seg(Seg::Es, destination(cpu, i), w, value)
}

pub(super) fn lods(cpu: &mut Cpu, i: &Insn, w: Width) -> Result<(), Exception> {
    let value = cpu.read_seg(i.segment(), source(cpu, i), w)?;
    cpu.set_gpr(w, slot::RAX, value);
    Ok(())
}

/// Flags as CMP sets them.
pub(super) fn compare(cpu: &mut Cpu, w: Width, a: u64, b: u64) {
    cpu.with_emitter(|e| {
        let difference = e.sub(w, a, b);
        set_flags_sub(e, w, a, b, difference);
    });
}

pub(super) fn scas(cpu: &mut Cpu, i: &Insn, w: Width) -> Result<(), Exception> {
    let value = cpu.read_seg(Seg::Es, destination(cpu, i), w)?;
    let accumulator = cpu.gpr(w, slot::RAX);
    compare(cpu, w, accumulator, value);
    Ok(())
}

pub(super) fn cmps(cpu: &mut Cpu, i: &Insn, w: Width) -> Result<(), Exception> {
    let a = cpu.read_seg(i.segment(), source(cpu, i), w)?;
    let b = cpu.read_seg(Seg::Es, destination(cpu, i), w)?;
    compare(cpu, w, a, b);
    Ok(())
}

pub(super) fn ins(cpu: &mut Cpu, i: &Insn, w: Width) -> Result<(), Exception> {
    let port = cpu.gpr(Width::W16, slot::RDX) as u16;
    check_io_permission(cpu, port, w.bytes())?;
    // Reading a port can change the device: the store must be known to succeed.
    let linear = cpu.linear(Seg::Es, destination(cpu, i), w.bytes(), true)?;
    cpu.probe_write(linear, w.bytes(), Privilege::Current)?;
    let value = read_port(cpu, port, w);
    cpu.write_linear(linear, w, value, Privilege::Current)
}

pub(super) fn outs(cpu: &mut Cpu, i: &Insn, w: Width) -> Result<(), Exception> {
    let port = cpu.gpr(Width::W16, slot::RDX) as u16;
    check_io_permission(cpu, port, w.bytes())?;
    let value = cpu.read_seg(i.segment(), source(cpu, i), w)?;
    write_port(cpu, port, w, value);
    Ok(())
}
