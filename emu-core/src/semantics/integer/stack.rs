//! PUSH, POP, PUSHA, POPA, ENTER, LEAVE. SDM vol. 1, 6.2 and 6.5.
//!
//! Flags: none is touched. A worked example: `PUSH [mem]` reads its operand, then stores it below the stack
//! pointer, and moves the pointer last, when nothing can fault any more.

use super::run;
use crate::{
    arch::{Exception, Seg, Width},
    cpu::{Cpu, slot},
    decode::{Insn, Kind},
    semantics::{
        AnyForm, Emitter, Form, Row, Semantics, Step, microcode,
        operand::{read, write},
        row,
    },
};
use iced_x86::Mnemonic;
use std::marker::PhantomData;

const SP: u8 = slot::byte_offset(slot::RSP);

/// Pushes `value`.
#[inline(always)]
pub fn push<E: Emitter, F: Form>(e: &mut E, i: &Insn, w: Width, value: E::Value) -> Step<E> {
    let sp_width = F::stack_width(i);
    let sp = e.gpr(sp_width, SP);
    let size = e.constant(w.bytes());
    let sp = e.sub(sp_width, sp, size);
    e.store_at(Seg::Ss, sp, w, value)?;
    e.set_gpr(sp_width, SP, sp);
    Ok(())
}

/// PUSH r, r/m or imm.
pub struct Push<F>(PhantomData<F>);

impl<F: Form> Semantics for Push<F> {
    #[inline(always)]
    fn run<E: Emitter>(e: &mut E, i: &Insn) -> Step<E> {
        let value = read::<E, F>(e, i, 0)?;
        push::<E, F>(e, i, F::width(i, 0), value)
    }
}

/// POP r or r/m.
pub struct Pop<F>(PhantomData<F>);

impl<F: Form> Semantics for Pop<F> {
    #[inline(always)]
    fn run<E: Emitter>(e: &mut E, i: &Insn) -> Step<E> {
        let w = F::width(i, 0);
        let sp_width = F::stack_width(i);
        let sp = e.gpr(sp_width, SP);
        let value = e.load_at(Seg::Ss, sp, w)?;
        let size = e.constant(w.bytes());
        let above = e.add(sp_width, sp, size);
        if F::kind(i, 0) == Kind::Mem {
            // An address that uses the stack pointer sees it already moved; undone if the store faults.
            return e.helper(i, pop_to_memory);
        }
        e.set_gpr(sp_width, SP, above);
        write::<E, F>(e, i, 0, value)
    }
}

fn pop_to_memory(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    let w = i.width[0];
    let sp_width = i.stack_width();
    let old = cpu.regs[slot::RSP];
    let sp = cpu.gpr(sp_width, slot::RSP);
    let value = cpu.read_seg(Seg::Ss, sp, w)?;
    cpu.set_gpr(sp_width, slot::RSP, sp.wrapping_add(w.bytes()));
    cpu.write_operand(i, w, 0, value).inspect_err(|_| cpu.regs[slot::RSP] = old)
}

/// LEAVE.
fn leave<E: Emitter>(e: &mut E, i: &Insn) -> Step<E> {
    let w = i.imm2_width();
    let sp_width = i.stack_width();
    let frame = slot::byte_offset(slot::RBP);
    let sp = e.gpr(sp_width, frame);
    let value = e.load_at(Seg::Ss, sp, w)?;
    let size = e.constant(w.bytes());
    let above = e.add(sp_width, sp, size);
    e.set_gpr(sp_width, SP, above);
    e.set_gpr(w, frame, value);
    Ok(())
}

/// ENTER size, level. SDM vol. 2.
fn enter(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    let w = i.imm2_operand_width();
    let sp_width = i.stack_width();
    let level = u64::from(i.imm2 & 31);
    let size = w.bytes();
    let mut sp = cpu.gpr(sp_width, slot::RSP);
    let mut put = |cpu: &mut Cpu, value| {
        sp = sp.wrapping_sub(size) & sp_width.mask();
        cpu.write_seg(Seg::Ss, sp, w, value)
    };
    let frame_pointer = cpu.gpr(w, slot::RBP);
    put(cpu, frame_pointer)?;
    let frame = cpu.gpr(sp_width, slot::RSP).wrapping_sub(size) & sp_width.mask();
    let mut outer = cpu.gpr(sp_width, slot::RBP);
    for _ in 1..level {
        outer = outer.wrapping_sub(size) & sp_width.mask();
        let pointer = cpu.read_seg(Seg::Ss, outer, w)?;
        put(cpu, pointer)?;
    }
    if level > 0 {
        put(cpu, frame)?;
    }
    let sp = sp.wrapping_sub(i.imm & 0xFFFF) & sp_width.mask();
    // The last byte of the new frame must be writable (the instruction must not leave an unusable stack). The
    // 80186 and 80286 do not look in real mode.
    if !cpu.model.generation().is_16_bit() || cpu.mode.is_protected() {
        let linear = cpu.linear(Seg::Ss, sp, size, true)?;
        cpu.probe_write(linear, size, crate::mmu::Privilege::Current)?;
    }
    cpu.set_gpr(w, slot::RBP, frame);
    cpu.set_gpr(sp_width, slot::RSP, sp);
    Ok(())
}

impl Insn {
    /// Operand size of ENTER, whose `imm2` is taken by the nesting level.
    fn imm2_operand_width(&self) -> Width {
        self.width[0]
    }
}

/// PUSHA, PUSHAD.
fn push_all(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    let w = i.imm2_width();
    let sp_width = i.stack_width();
    let top = cpu.gpr(sp_width, slot::RSP);
    let place = |register: usize| top.wrapping_sub(w.bytes() * (register as u64 + 1)) & sp_width.mask();
    if cpu.model.generation().is_16_bit() {
        // None is stored if any cannot be.
        (0..8).try_for_each(|register| cpu.linear(Seg::Ss, place(register), w.bytes(), true).map(|_| ()))?;
    }
    for register in 0..8 {
        let sp = place(register);
        // RSP has not moved yet: the value pushed for it is the one before.
        let value = cpu.gpr(w, register);
        cpu.write_seg(Seg::Ss, sp, w, value)?;
    }
    cpu.set_gpr(sp_width, slot::RSP, top.wrapping_sub(8 * w.bytes()));
    Ok(())
}

/// POPA, POPAD.
fn pop_all(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    let w = i.imm2_width();
    let sp_width = i.stack_width();
    let sp = cpu.gpr(sp_width, slot::RSP);
    let mut values = [0; 8];
    for (number, value) in values.iter_mut().enumerate() {
        *value = cpu.read_seg(Seg::Ss, sp.wrapping_add(w.bytes() * number as u64) & sp_width.mask(), w)?;
    }
    for (number, value) in values.into_iter().rev().enumerate() {
        if number != slot::RSP {
            cpu.set_gpr(w, number, value);
        }
    }
    cpu.set_gpr(sp_width, slot::RSP, sp.wrapping_add(8 * w.bytes()));
    Ok(())
}

/// Rows of this family.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    vec![
        row(Mnemonic::Push, run::<E, Push<AnyForm>>),
        row(Mnemonic::Pop, run::<E, Pop<AnyForm>>),
        row(Mnemonic::Leave, leave::<E>),
        microcode(Mnemonic::Enter, enter),
        microcode(Mnemonic::Pusha, push_all),
        microcode(Mnemonic::Pushad, push_all),
        microcode(Mnemonic::Popa, pop_all),
        microcode(Mnemonic::Popad, pop_all),
    ]
}
