//! Which handler runs an instruction: specialised ones for the hot integer forms, made from the same semantic
//! text with kinds and widths as constants; the general ones for everything else.
//!
//! A specialised handler reaches memory only through flat segments by the address size of the mode. Each costs
//! about 4 ms of build time and 200 bytes, so the list stays with what profiles show: widths 8, 32 and 64,
//! operands in registers, immediates, and memory in two address forms.

mod arithmetic;
mod control;
mod instances;
mod moves;

use super::handlers::fast;
use crate::{
    arch::Width,
    cpu::{Mode, slot},
    decode::{Handler, Insn, Kind, flag},
    semantics::{
        Fixed,
        fixed::{BASE, IMM, REG, SCALED},
        integer::{arith::Not, moves::Lea, stack::Pop},
    },
};
use arithmetic::setting_flags;
use control::control_flow;
pub use control::{FALL_THROUGH, fuse};
use iced_x86::{Instruction, Mnemonic};
use instances::{D, Loud, Q, Shape, Silent};
use moves::{conditional, extend, mov, push};

/// The handler without flags for an instruction that has a specialised one and sets flags.
pub fn silent_handler(instruction: &Instruction, i: &Insn, mode: Mode) -> Option<Handler> {
    if i.has(flag::LOCK) {
        return None;
    }
    setting_flags::<Silent>(instruction.mnemonic(), i, shape(i, mode)?)
}

/// The specialised handler for a lowered instruction, if there is one.
pub fn handler(instruction: &Instruction, i: &Insn, mode: Mode) -> Option<Handler> {
    if i.has(flag::LOCK) {
        return None;
    }
    let mnemonic = instruction.mnemonic();
    if let Some(handler) = control_flow(mnemonic, instruction, i, mode) {
        return Some(handler);
    }
    let shape = shape(i, mode)?;
    let w = i.width[0] as u8;
    match mnemonic {
        Mnemonic::Mov => mov(w, shape),
        Mnemonic::Movzx => extend::<false>(i, shape),
        Mnemonic::Movsx | Mnemonic::Movsxd => extend::<true>(i, shape),
        Mnemonic::Lea => match w {
            D => Some(fast::<Lea<Fixed<D, REG, BASE>>>),
            Q => Some(fast::<Lea<Fixed<Q, REG, BASE>>>),
            _ => None,
        },
        Mnemonic::Not if shape.0 == REG => match w {
            D => Some(fast::<Not<Fixed<D, REG, IMM>>>),
            Q => Some(fast::<Not<Fixed<Q, REG, IMM>>>),
            _ => None,
        },
        Mnemonic::Push if flat_stack(mode) => push(w, shape),
        Mnemonic::Pop if flat_stack(mode) && i.kind[0] == Kind::Gpr => match w {
            D => Some(fast::<Pop<Fixed<D, REG, IMM>>>),
            Q => Some(fast::<Pop<Fixed<Q, REG, IMM>>>),
            _ => None,
        },
        _ => setting_flags::<Loud>(mnemonic, i, shape).or_else(|| conditional(mnemonic, w, shape)),
    }
}

/// Shape of a two-operand instruction, if its memory operand is one that the fast path reaches.
fn shape(i: &Insn, mode: Mode) -> Option<Shape> {
    Some((operand(i, 0, mode)?, operand(i, 1, mode)?))
}

fn operand(i: &Insn, k: usize, mode: Mode) -> Option<u8> {
    match i.kind[k] {
        Kind::Gpr => Some(REG),
        Kind::Imm | Kind::None => Some(IMM),
        Kind::Mem => memory(i, mode),
        _ => None,
    }
}

/// How the fast path reaches the memory operand: [`BASE`], [`SCALED`], or not at all.
pub(super) fn memory(i: &Insn, mode: Mode) -> Option<u8> {
    let native = if mode.is_64bit() { Width::W64 } else { Width::W32 };
    let seg = usize::from(i.seg);
    if i.asize != native
        || !mode.is_flat(seg)
        || mode.checks_alignment()
        || i.has(flag::MOFFS)
        || i.has(flag::LOCK)
    {
        return None;
    }
    Some(if i.index == slot::ZERO && mode.is_zero_based(seg) { BASE } else { SCALED })
}

/// Whether pushes and pops reach the stack by a flat segment with a pointer of the mode's size.
fn flat_stack(mode: Mode) -> bool {
    mode.is_flat(2)
        && (mode.is_64bit() || mode.stack_is_32bit() && mode.bitness() == 32)
        && !mode.checks_alignment()
}
