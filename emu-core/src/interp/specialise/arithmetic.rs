//! Instructions that set flags.

use super::instances::{B, D, H, Make, Q, Shape, pick};
use crate::{
    decode::{Handler, Insn, Kind},
    semantics::{
        Fixed,
        fixed::{BASE, IMM, REG, SCALED},
        integer::{
            arith::{Adc, Add, And, Binary, Cmp, Neg, Operation, Or, Sbb, Step1, Sub, Test, Xor},
            multiply::Imul,
            shift::{ROL, ROR, SAR, SHL, SHR, Shift},
        },
    },
};
use iced_x86::Mnemonic;

/// Instructions that set flags.
pub(super) fn setting_flags<M: Make>(mnemonic: Mnemonic, i: &Insn, shape: Shape) -> Option<Handler> {
    let w = i.width[0] as u8;
    match mnemonic {
        Mnemonic::Add => binary::<M, Add>(w, shape),
        Mnemonic::Adc => binary_common::<M, Adc>(w, shape),
        Mnemonic::Sub => binary::<M, Sub>(w, shape),
        Mnemonic::Sbb => binary_common::<M, Sbb>(w, shape),
        Mnemonic::And => binary::<M, And>(w, shape),
        Mnemonic::Or => binary::<M, Or>(w, shape),
        Mnemonic::Xor => binary::<M, Xor>(w, shape),
        Mnemonic::Cmp => binary::<M, Cmp>(w, shape),
        Mnemonic::Test => binary::<M, Test>(w, shape),
        Mnemonic::Inc => unary_step::<M, false>(w, shape),
        Mnemonic::Dec => unary_step::<M, true>(w, shape),
        Mnemonic::Neg if shape.0 == REG => match w {
            D => Some(M::handler::<Neg<Fixed<D, REG, IMM>>>()),
            Q => Some(M::handler::<Neg<Fixed<Q, REG, IMM>>>()),
            _ => None,
        },
        Mnemonic::Shl | Mnemonic::Sal => shift::<M, SHL>(w, shape),
        Mnemonic::Shr => shift::<M, SHR>(w, shape),
        Mnemonic::Sar => shift::<M, SAR>(w, shape),
        Mnemonic::Rol => shift::<M, ROL>(w, shape),
        Mnemonic::Ror => shift::<M, ROR>(w, shape),
        Mnemonic::Imul if i.kind[1] != Kind::None => match (w, shape.1) {
            (D, REG) => Some(M::handler::<Imul<Fixed<D, REG, REG>>>()),
            (Q, REG) => Some(M::handler::<Imul<Fixed<Q, REG, REG>>>()),
            (D, BASE) => Some(M::handler::<Imul<Fixed<D, REG, BASE>>>()),
            (Q, BASE) => Some(M::handler::<Imul<Fixed<Q, REG, BASE>>>()),
            _ => None,
        },
        _ => None,
    }
}

fn binary<M: Make, O: Operation>(w: u8, shape: Shape) -> Option<Handler> {
    pick!(
        M,
        w,
        shape,
        [B, D, Q],
        [
            (REG, REG),
            (REG, IMM),
            (REG, BASE),
            (REG, SCALED),
            (BASE, REG),
            (SCALED, REG),
            (BASE, IMM),
            (SCALED, IMM)
        ],
        Binary,
        [O]
    )
    .or_else(|| pick!(M, w, shape, [H], [(REG, REG), (REG, IMM), (REG, BASE), (BASE, IMM)], Binary, [O]))
}

fn binary_common<M: Make, O: Operation>(w: u8, shape: Shape) -> Option<Handler> {
    pick!(M, w, shape, [D, Q], [(REG, REG), (REG, IMM), (REG, BASE), (BASE, REG)], Binary, [O])
}

fn unary_step<M: Make, const DOWN: bool>(w: u8, shape: Shape) -> Option<Handler> {
    pick!(M, w, (shape.0, IMM), [B, D, Q], [(REG, IMM), (BASE, IMM), (SCALED, IMM)], Step1, [DOWN])
}

fn shift<M: Make, const K: u8>(w: u8, shape: Shape) -> Option<Handler> {
    pick!(M, w, shape, [B, D, Q], [(REG, REG), (REG, IMM)], Shift, [K])
}
