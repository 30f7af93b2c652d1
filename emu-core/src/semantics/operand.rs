//! Operands: reading, writing and updating whatever an instruction names, by a [`Form`].
//!
//! The same semantic text serves the general row, where kinds and widths are looked up in the instruction
//! ([`AnyForm`]), and specialised handlers, where they are constants ([`Fixed`]) and fold away.

use super::emitter::{Emitter, Memory, Step};
use crate::{
    arch::Width,
    decode::{AddressForm, Insn, Kind},
};

/// Where a semantic function learns kinds and widths of its operands.
pub trait Form {
    /// Width of operand `k` (0 or 1).
    fn width(i: &Insn, k: usize) -> Width;
    /// Kind of operand `k`.
    fn kind(i: &Insn, k: usize) -> Kind;
    /// How the memory operand's address is computed.
    const ADDRESS: AddressForm;
    /// Width of the stack pointer.
    #[inline(always)]
    fn stack_width(i: &Insn) -> Width {
        i.stack_width()
    }
    /// Operand size of an instruction that has no operand to tell it (RET).
    #[inline(always)]
    fn implied_width(i: &Insn) -> Width {
        i.imm2_width()
    }
}

/// Looked up in the instruction.
pub struct AnyForm;

impl Form for AnyForm {
    #[inline(always)]
    fn width(i: &Insn, k: usize) -> Width {
        i.width[k & 1]
    }
    #[inline(always)]
    fn kind(i: &Insn, k: usize) -> Kind {
        i.kind[k & 3]
    }
    const ADDRESS: AddressForm = AddressForm::Checked;
}

/// Constants: width of both operands (0..=3 as [`Width`]), kinds (0 register, 1 memory by base and
/// displacement, 2 memory by base and scaled index, 3 immediate), width of the second operand if it differs
/// (4: the same).
pub struct Fixed<const W: u8, const DST: u8, const SRC: u8, const W2: u8 = 4>;

/// [`Fixed`]'s operand kinds.
pub mod fixed {
    #![expect(missing_docs, reason = "told at `Fixed`")]
    pub const REG: u8 = 0;
    pub const BASE: u8 = 1;
    pub const SCALED: u8 = 2;
    pub const IMM: u8 = 3;
}

const fn width_of(number: u8) -> Width {
    match number {
        0 => Width::W8,
        1 => Width::W16,
        2 => Width::W32,
        _ => Width::W64,
    }
}

const fn kind_of(number: u8) -> Kind {
    match number {
        fixed::REG => Kind::Gpr,
        fixed::IMM => Kind::Imm,
        _ => Kind::Mem,
    }
}

impl<const W: u8, const DST: u8, const SRC: u8, const W2: u8> Form for Fixed<W, DST, SRC, W2> {
    #[inline(always)]
    fn width(_: &Insn, k: usize) -> Width {
        if k == 1 && W2 < 4 { width_of(W2) } else { width_of(W) }
    }
    #[inline(always)]
    fn kind(_: &Insn, k: usize) -> Kind {
        kind_of(if k == 0 { DST } else { SRC })
    }
    const ADDRESS: AddressForm =
        if DST == fixed::SCALED || SRC == fixed::SCALED { AddressForm::Scaled } else { AddressForm::Base };
    /// Specialised stack instructions push and pop what the mode's stack pointer is wide.
    #[inline(always)]
    fn stack_width(_: &Insn) -> Width {
        width_of(W)
    }
    #[inline(always)]
    fn implied_width(_: &Insn) -> Width {
        width_of(W)
    }
}

/// A semantic function as a type, so that handlers can be made from it.
pub trait Semantics {
    /// The instruction's meaning.
    fn run<E: Emitter>(e: &mut E, i: &Insn) -> Step<E>;
}

/// Value of operand `k`.
#[inline(always)]
pub fn read<E: Emitter, F: Form>(e: &mut E, i: &Insn, k: usize) -> Result<E::Value, <E as Memory>::Fault> {
    match F::kind(i, k) {
        Kind::Gpr => Ok(e.gpr(F::width(i, k), i.reg[k])),
        Kind::Mem => e.load(i, F::ADDRESS, F::width(i, k), 0),
        _ => Ok(e.constant(i.imm & F::width(i, k).mask())),
    }
}

/// Writes operand `k`.
#[inline(always)]
pub fn write<E: Emitter, F: Form>(e: &mut E, i: &Insn, k: usize, value: E::Value) -> Step<E> {
    match F::kind(i, k) {
        Kind::Mem => e.store(i, F::ADDRESS, F::width(i, k), 0, value),
        _ => {
            e.set_gpr(F::width(i, k), i.reg[k], value);
            Ok(())
        }
    }
}

/// Reads operand `k`, changes it and writes it back, atomically if the instruction is locked. `change` must be
/// pure. Returns (old, new).
#[inline(always)]
pub fn update<E: Emitter, F: Form>(
    e: &mut E,
    i: &Insn,
    k: usize,
    change: impl Fn(&mut E, E::Value) -> E::Value,
) -> Result<(E::Value, E::Value), <E as Memory>::Fault> {
    let w = F::width(i, k);
    match F::kind(i, k) {
        Kind::Mem => e.update(i, F::ADDRESS, w, change),
        _ => {
            let old = e.gpr(w, i.reg[k]);
            let new = change(e, old);
            e.set_gpr(w, i.reg[k], new);
            Ok((old, new))
        }
    }
}
