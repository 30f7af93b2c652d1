//! Moves, with a condition or without, and those of the stack.

use super::instances::{B, D, H, Loud, Make, Q, Shape, by_condition, pick};
use crate::{
    decode::{Handler, Insn},
    interp::handlers::fast,
    semantics::{
        Fixed, Semantics,
        fixed::{BASE, IMM, REG, SCALED},
        integer::{
            moves::{Cmov, Extend, Mov, Set},
            stack::Push,
        },
    },
};
use iced_x86::Mnemonic;

pub(super) fn mov(w: u8, shape: Shape) -> Option<Handler> {
    type M = Loud;
    pick!(
        M,
        w,
        shape,
        [B, H, D, Q],
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
        Mov,
        []
    )
}

pub(super) fn push(w: u8, shape: Shape) -> Option<Handler> {
    type M = Loud;
    pick!(M, w, (IMM, shape.0), [D, Q], [(IMM, REG), (IMM, IMM), (IMM, BASE), (IMM, SCALED)], PushFrom, [])
}

/// [`Push`] with the form's second place as the operand pushed.
struct PushFrom<F>(std::marker::PhantomData<F>);

impl<const W: u8, const DST: u8, const SRC: u8> Semantics for PushFrom<Fixed<W, DST, SRC>> {
    #[inline(always)]
    fn run<E: crate::semantics::Emitter>(e: &mut E, i: &Insn) -> crate::semantics::Step<E> {
        Push::<Fixed<W, SRC, SRC>>::run(e, i)
    }
}

pub(super) fn extend<const SIGNED: bool>(i: &Insn, shape: Shape) -> Option<Handler> {
    macro_rules! sources {
        ($to:ident, $from:ident) => {
            match shape.1 {
                REG => Some(fast::<Extend<SIGNED, Fixed<$to, REG, REG, $from>>> as Handler),
                BASE => Some(fast::<Extend<SIGNED, Fixed<$to, REG, BASE, $from>>> as Handler),
                SCALED => Some(fast::<Extend<SIGNED, Fixed<$to, REG, SCALED, $from>>> as Handler),
                _ => None,
            }
        };
    }
    match (i.width[0] as u8, i.width[1] as u8) {
        (D, B) => sources!(D, B),
        (D, H) => sources!(D, H),
        (Q, B) => sources!(Q, B),
        (Q, H) => sources!(Q, H),
        (Q, D) => sources!(Q, D),
        _ => None,
    }
}

pub(super) fn conditional(mnemonic: Mnemonic, w: u8, shape: Shape) -> Option<Handler> {
    by_condition!(
        mnemonic,
        [
            Cmovo = 0,
            Cmovno = 1,
            Cmovb = 2,
            Cmovae = 3,
            Cmove = 4,
            Cmovne = 5,
            Cmovbe = 6,
            Cmova = 7,
            Cmovs = 8,
            Cmovns = 9,
            Cmovp = 10,
            Cmovnp = 11,
            Cmovl = 12,
            Cmovge = 13,
            Cmovle = 14,
            Cmovg = 15
        ],
        cmov(w, shape)
    )
    .or_else(|| {
        by_condition!(
            mnemonic,
            [
                Seto = 0,
                Setno = 1,
                Setb = 2,
                Setae = 3,
                Sete = 4,
                Setne = 5,
                Setbe = 6,
                Seta = 7,
                Sets = 8,
                Setns = 9,
                Setp = 10,
                Setnp = 11,
                Setl = 12,
                Setge = 13,
                Setle = 14,
                Setg = 15
            ],
            set(shape)
        )
    })
}

fn cmov<const CC: u8>(w: u8, shape: Shape) -> Option<Handler> {
    type M = Loud;
    pick!(M, w, shape, [D, Q], [(REG, REG), (REG, BASE)], Cmov, [CC])
}

fn set<const CC: u8>(shape: Shape) -> Option<Handler> {
    match shape.0 {
        REG => Some(fast::<Set<CC, Fixed<B, REG, IMM>>>),
        _ => None,
    }
}
