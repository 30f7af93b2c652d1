//! Far JMP, CALL and RET: direct, indirect and through call gates. SDM vol. 3, 5.8; vol. 2, CALL, JMP, RET.
//!
//! Everything that can fault is done first, on a [`Target`] and a [`Stack`](super::stack::Stack) that are not
//! yet the CPU's; then both are committed.

mod call;
mod code;
mod gate;
mod jump;
mod ret;

pub use code::Target;
pub use ret::{forget_inner_segments, outer_stack, put_outer_stack, return_target};

use crate::{
    arch::{Exception, Width},
    cpu::Cpu,
    decode::Insn,
    semantics::{Attr, Emitter, Row, microcode_form},
};
use iced_x86::Code;

/// Selector and offset of a far pointer.
#[derive(Debug, Clone, Copy)]
struct Pointer {
    selector: u16,
    offset: u64,
}

fn immediate(i: &Insn, w: Width) -> Pointer {
    Pointer { selector: (i.imm >> 32) as u16, offset: i.imm & 0xFFFF_FFFF & w.mask() }
}

fn in_memory(cpu: &mut Cpu, i: &Insn, w: Width) -> Result<Pointer, Exception> {
    let offset = cpu.read_operand(i, w, 0)?;
    let selector = cpu.read_operand(i, Width::W16, w.bytes())? as u16;
    Ok(Pointer { selector, offset })
}

fn jump_direct(cpu: &mut Cpu, i: &Insn, w: Width) -> Result<(), Exception> {
    jump::jump(cpu, immediate(i, w))
}

fn jump_indirect(cpu: &mut Cpu, i: &Insn, w: Width) -> Result<(), Exception> {
    let pointer = in_memory(cpu, i, w)?;
    jump::jump(cpu, pointer)
}

fn call_direct(cpu: &mut Cpu, i: &Insn, w: Width) -> Result<(), Exception> {
    call::call(cpu, immediate(i, w), w)
}

fn call_indirect(cpu: &mut Cpu, i: &Insn, w: Width) -> Result<(), Exception> {
    let pointer = in_memory(cpu, i, w)?;
    call::call(cpu, pointer, w)
}

/// Rows of this folder.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    use Width::{W16, W32, W64};
    let far = |code, run| microcode_form(code, run).with(Attr::ENDS_BLOCK);
    vec![
        far(Code::Jmp_ptr1616, |cpu, i| jump_direct(cpu, i, W16)),
        far(Code::Jmp_ptr1632, |cpu, i| jump_direct(cpu, i, W32)),
        far(Code::Jmp_m1616, |cpu, i| jump_indirect(cpu, i, W16)),
        far(Code::Jmp_m1632, |cpu, i| jump_indirect(cpu, i, W32)),
        far(Code::Jmp_m1664, |cpu, i| jump_indirect(cpu, i, W64)),
        far(Code::Call_ptr1616, |cpu, i| call_direct(cpu, i, W16)),
        far(Code::Call_ptr1632, |cpu, i| call_direct(cpu, i, W32)),
        far(Code::Call_m1616, |cpu, i| call_indirect(cpu, i, W16)),
        far(Code::Call_m1632, |cpu, i| call_indirect(cpu, i, W32)),
        far(Code::Call_m1664, |cpu, i| call_indirect(cpu, i, W64)),
        far(Code::Retfw, |cpu, _| ret::far_return(cpu, W16, 0)),
        far(Code::Retfd, |cpu, _| ret::far_return(cpu, W32, 0)),
        far(Code::Retfq, |cpu, _| ret::far_return(cpu, W64, 0)),
        far(Code::Retfw_imm16, |cpu, i| ret::far_return(cpu, W16, i.imm & 0xFFFF)),
        far(Code::Retfd_imm16, |cpu, i| ret::far_return(cpu, W32, i.imm & 0xFFFF)),
        far(Code::Retfq_imm16, |cpu, i| ret::far_return(cpu, W64, i.imm & 0xFFFF)),
    ]
}
