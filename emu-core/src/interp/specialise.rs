//! Which handler runs an instruction: specialised ones for the hot integer forms, made from the same semantic
//! text with kinds and widths as constants; the general ones for everything else.
//!
//! A specialised handler reaches memory only through flat segments by the address size of the mode. Each costs
//! about 4 ms of build time and 200 bytes, so the list stays with what profiles show: widths 8, 32 and 64,
//! operands in registers, immediates, and memory in two address forms.

use super::handlers::{branch, fast, fused, indirect, quiet};
use crate::{
    arch::Width,
    cpu::{Mode, slot},
    decode::{Handler, Insn, Kind, flag},
    semantics::{
        Fixed, Semantics,
        fixed::{BASE, IMM, REG, SCALED},
        integer::{
            arith::{Adc, Add, And, Binary, Cmp, Neg, Not, Operation, Or, Sbb, Step1, Sub, Test, Xor},
            branch::{Call, CallTo, Jcc, Jump, JumpTo, NextBlock, Ret},
            moves::{Cmov, Extend, Lea, Mov, Set},
            multiply::Imul,
            shift::{ROL, ROR, SAR, SHL, SHR, Shift},
            stack::{Pop, Push},
        },
    },
};
use iced_x86::{Instruction, Mnemonic, OpKind};

/// Handler of the jump that ends a block which just stops.
pub const FALL_THROUGH: Handler = branch::<NextBlock>;

const B: u8 = Width::W8 as u8;
const H: u8 = Width::W16 as u8;
const D: u8 = Width::W32 as u8;
const Q: u8 = Width::W64 as u8;

/// Operand shape in [`Fixed`]'s numbers.
type Shape = (u8, u8);

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

/// How handlers are made from semantics.
pub trait Make {
    /// The handler for `S`.
    fn handler<S: Semantics>() -> Handler;
}

/// Handlers that set flags.
pub struct Loud;
/// Handlers that do not: for instructions whose flags nobody sees.
pub struct Silent;

impl Make for Loud {
    fn handler<S: Semantics>() -> Handler {
        fast::<S>
    }
}

impl Make for Silent {
    fn handler<S: Semantics>() -> Handler {
        quiet::<S>
    }
}

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

/// Instructions that set flags.
fn setting_flags<M: Make>(mnemonic: Mnemonic, i: &Insn, shape: Shape) -> Option<Handler> {
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

/// Whether pushes and pops reach the stack by a flat segment with a pointer of the mode's size.
fn flat_stack(mode: Mode) -> bool {
    mode.is_flat(2)
        && (mode.is_64bit() || mode.stack_is_32bit() && mode.bitness() == 32)
        && !mode.checks_alignment()
}

/// The handler for a semantics type with (or without) a parameter before its form.
macro_rules! instance {
    ($make:ident, $name:ident, [], $form:ty) => {
        Some($make::handler::<$name<$form>>())
    };
    ($make:ident, $name:ident, [$operation:tt], $form:ty) => {
        Some($make::handler::<$name<$operation, $form>>())
    };
}

/// Picks the instance of a semantics type for a width and a shape.
macro_rules! pick {
    ($make:ident, $w:expr, $shape:expr, [$($wide:ident),+], $forms:tt, $name:ident, $parameter:tt) => {
        match $w {
            $($wide => pick!(@forms $make, $shape, $wide, $forms, $name, $parameter),)+
            _ => None,
        }
    };
    (@forms $make:ident, $shape:expr, $wide:ident, [$(($dst:ident, $src:ident)),+], $name:ident, $parameter:tt) => {
        match $shape {
            $(($dst, $src) => instance!($make, $name, $parameter, Fixed<$wide, $dst, $src>),)+
            _ => None,
        }
    };
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

fn mov(w: u8, shape: Shape) -> Option<Handler> {
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

fn unary_step<M: Make, const DOWN: bool>(w: u8, shape: Shape) -> Option<Handler> {
    pick!(M, w, (shape.0, IMM), [B, D, Q], [(REG, IMM), (BASE, IMM), (SCALED, IMM)], Step1, [DOWN])
}

fn shift<M: Make, const K: u8>(w: u8, shape: Shape) -> Option<Handler> {
    pick!(M, w, shape, [B, D, Q], [(REG, REG), (REG, IMM)], Shift, [K])
}

fn push(w: u8, shape: Shape) -> Option<Handler> {
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

fn extend<const SIGNED: bool>(i: &Insn, shape: Shape) -> Option<Handler> {
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

/// Calls `$pick` with the condition code of a mnemonic of the family `$o $no ...`.
macro_rules! by_condition {
    ($mnemonic:expr, [$($name:ident = $cc:literal),+], $with:ident $arguments:tt) => {
        match $mnemonic {
            $(Mnemonic::$name => $with::<$cc> $arguments,)+
            _ => None,
        }
    };
}

fn conditional(mnemonic: Mnemonic, w: u8, shape: Shape) -> Option<Handler> {
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

fn jcc<const CC: u8>() -> Option<Handler> {
    Some(branch::<Jcc<CC>>)
}

fn control_flow(mnemonic: Mnemonic, instruction: &Instruction, i: &Insn, mode: Mode) -> Option<Handler> {
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
