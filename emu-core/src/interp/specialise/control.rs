//! Branches, and comparisons made one with the jump after them.

use super::{
    flat_stack,
    instances::{B, D, Q, by_condition},
    operand,
};
use crate::{
    arch::Width,
    cpu::Mode,
    decode::{Handler, Insn, Kind},
    interp::handlers::{branch, fast, fused, indirect},
    semantics::{
        Fixed, Semantics,
        fixed::{BASE, IMM, REG, SCALED},
        integer::{
            arith::{Add, And, Binary, Cmp, Sub, Test},
            branch::{Call, CallTo, Jcc, Jump, JumpTo, NextBlock, Ret},
        },
    },
};
use iced_x86::{Instruction, Mnemonic, OpKind};

/// Handler of the jump that ends a block which just stops.
pub const FALL_THROUGH: Handler = branch::<NextBlock>;

fn jcc<const CC: u8>() -> Option<Handler> {
    Some(branch::<Jcc<CC>>)
}

pub(super) fn control_flow(
    mnemonic: Mnemonic,
    instruction: &Instruction,
    i: &Insn,
    mode: Mode,
) -> Option<Handler> {
    let handler = by_condition!(
        mnemonic,
        [
            Jo = 0,
            Jno = 1,
            Jb = 2,
            Jae = 3,
            Je = 4,
            Jne = 5,
            Jbe = 6,
            Ja = 7,
            Js = 8,
            Jns = 9,
            Jp = 10,
            Jnp = 11,
            Jl = 12,
            Jge = 13,
            Jle = 14,
            Jg = 15
        ],
        jcc()
    );
    if handler.is_some() {
        return handler;
    }
    let near =
        matches!(instruction.op0_kind(), OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64);
    let native = if mode.is_64bit() { Width::W64 } else { Width::W32 };
    let near_form = matches!(i.kind[0], Kind::Gpr | Kind::Mem) && i.width[0] == native;
    match mnemonic {
        Mnemonic::Jmp if near => Some(branch::<Jump>),
        Mnemonic::Call if near && flat_stack(mode) && i.width[0] == native => Some(if mode.is_64bit() {
            branch::<Call<Fixed<Q, IMM, IMM>>>
        } else {
            branch::<Call<Fixed<D, IMM, IMM>>>
        }),
        Mnemonic::Ret if flat_stack(mode) && i.imm2_width() == native => Some(if mode.is_64bit() {
            indirect::<Ret<Fixed<Q, IMM, IMM>>>
        } else {
            indirect::<Ret<Fixed<D, IMM, IMM>>>
        }),
        Mnemonic::Jmp if near_form && is_near_indirect(instruction) => indirect_from::<false>(i, mode),
        Mnemonic::Call if near_form && is_near_indirect(instruction) && flat_stack(mode) => {
            indirect_from::<true>(i, mode)
        }
        _ => None,
    }
}

fn is_near_indirect(instruction: &Instruction) -> bool {
    use iced_x86::Code::{Call_rm32, Call_rm64, Jmp_rm32, Jmp_rm64};
    matches!(instruction.code(), Jmp_rm32 | Jmp_rm64 | Call_rm32 | Call_rm64)
}

fn indirect_from<const CALL: bool>(i: &Insn, mode: Mode) -> Option<Handler> {
    macro_rules! forms {
        ($name:ident) => {
            match (i.width[0] as u8, operand(i, 0, mode)?) {
                (D, REG) => Some(indirect::<$name<Fixed<D, REG, REG>>> as Handler),
                (D, BASE) => Some(indirect::<$name<Fixed<D, BASE, REG>>> as Handler),
                (D, SCALED) => Some(indirect::<$name<Fixed<D, SCALED, REG>>> as Handler),
                (Q, REG) => Some(indirect::<$name<Fixed<Q, REG, REG>>> as Handler),
                (Q, BASE) => Some(indirect::<$name<Fixed<Q, BASE, REG>>> as Handler),
                (Q, SCALED) => Some(indirect::<$name<Fixed<Q, SCALED, REG>>> as Handler),
                _ => None,
            }
        };
    }
    if CALL { forms!(CallTo) } else { forms!(JumpTo) }
}

/// Replaces the handler of a comparison that is followed by a conditional jump at the end of a block by one
/// that does both. The jump keeps its own, for when the comparison takes the exact path.
pub fn fuse(insns: &mut [Insn]) {
    let [.., compare, jump] = insns else { return };
    let with = |handler: Handler| std::ptr::fn_addr_eq(compare.handler, handler);
    macro_rules! pairs {
        ($($operation:ident: [$(($wide:ident, $dst:ident, $src:ident)),+]);+) => {
            $($(if with(fast::<Binary<$operation, Fixed<$wide, $dst, $src>>>) {
                compare.handler = fused_with::<Binary<$operation, Fixed<$wide, $dst, $src>>>(jump.handler).unwrap_or(compare.handler);
                return;
            })+)+
        };
    }
    pairs!(
        Cmp: [(B, REG, IMM), (B, BASE, IMM), (B, SCALED, IMM), (D, REG, REG), (D, REG, IMM), (D, BASE, IMM), (D, REG, BASE),
              (Q, REG, REG), (Q, REG, IMM), (Q, BASE, IMM), (Q, REG, BASE), (Q, BASE, REG)];
        Test: [(B, REG, REG), (B, REG, IMM), (D, REG, REG), (D, REG, IMM), (Q, REG, REG), (B, BASE, IMM)];
        Sub: [(D, REG, IMM), (Q, REG, IMM)];
        Add: [(D, REG, IMM), (Q, REG, IMM)];
        And: [(D, REG, IMM)]
    );
}

fn fused_with<S: Semantics>(jump: Handler) -> Option<Handler> {
    macro_rules! conditions {
        ($($cc:literal)+) => {
            $(if std::ptr::fn_addr_eq(jump, branch::<Jcc<$cc>> as Handler) {
                return Some(fused::<S, Jcc<$cc>>);
            })+
        };
    }
    conditions!(2 3 4 5 6 7 8 9 12 13 14 15);
    None
}
