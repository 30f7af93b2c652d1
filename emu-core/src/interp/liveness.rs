//! Which instructions of a block set flags that nobody sees.
//!
//! Flags are seen by instructions that read them, at the end of the block, and wherever the block can be left:
//! by a fault, or by microcode. An instruction whose flags are all overwritten before that runs without
//! computing them.

use crate::{
    decode::{Handler, Insn, Kind},
    semantics::Attr,
};
use iced_x86::{Instruction, Mnemonic, OpKind, RflagsBits};

/// The arithmetic flags, as iced numbers them.
const ALL: u32 =
    RflagsBits::OF | RflagsBits::SF | RflagsBits::ZF | RflagsBits::AF | RflagsBits::CF | RflagsBits::PF;

/// What one instruction does with the flags.
#[derive(Clone, Copy)]
pub struct FlagUse {
    /// Flags it needs from before (all, if the block can be left at it).
    needs: u32,
    /// Flags it certainly overwrites.
    overwrites: u32,
    /// Its handler without flags.
    silent: Option<Handler>,
}

impl FlagUse {
    /// Nothing is known: everything is needed.
    pub const OPAQUE: Self = FlagUse { needs: ALL, overwrites: 0, silent: None };

    /// Of a lowered instruction; `silent` makes its handler without flags.
    pub fn of(
        instruction: &Instruction,
        i: &Insn,
        attr: Attr,
        silent: impl FnOnce() -> Option<Handler>,
    ) -> Self {
        let microcode =
            Attr::MICROCODE | Attr::SIMD_FP | Attr::X87 | Attr::X87_WAITS | Attr::MMX | Attr::ENDS_BLOCK;
        if attr.intersects(microcode)
            || matches!(instruction.mnemonic(), Mnemonic::Div | Mnemonic::Idiv | Mnemonic::Pop)
        {
            return Self::OPAQUE;
        }
        let written = instruction.rflags_modified() & ALL;
        let conditional = shifts_by_nothing(instruction, i);
        let accesses = !matches!(instruction.mnemonic(), Mnemonic::Lea | Mnemonic::Nop)
            && (i.kind.contains(&Kind::Mem) || instruction.is_stack_instruction());
        let needs = if accesses || conditional { ALL } else { instruction.rflags_read() & ALL };
        let leaves_undefined =
            matches!(instruction.mnemonic(), Mnemonic::Bt | Mnemonic::Bts | Mnemonic::Btr | Mnemonic::Btc);
        let overwrites = match () {
            () if conditional => 0,
            () if leaves_undefined => written & !instruction.rflags_undefined(),
            () => written,
        };
        FlagUse { needs, overwrites, silent: if written != 0 { silent() } else { None } }
    }
}

/// A shift or rotation whose count is, or may turn out to be, zero: then it leaves the flags alone.
fn shifts_by_nothing(instruction: &Instruction, i: &Insn) -> bool {
    use Mnemonic::{Rcl, Rcr, Rol, Ror, Sal, Sar, Shl, Shld, Shr, Shrd};
    if !matches!(instruction.mnemonic(), Rcl | Rcr | Rol | Ror | Sal | Sar | Shl | Shld | Shr | Shrd) {
        return false;
    }
    let last = instruction.op_count() - 1;
    instruction.op_kind(last) == OpKind::Register || i.imm & 31 == 0
}

/// Replaces the handlers of instructions whose flags nobody sees. `uses` are those of `insns`, from the first;
/// instructions beyond them are the jump that ends a block which just stops.
pub fn silence(insns: &mut [Insn], uses: &[FlagUse]) {
    let mut seen = ALL;
    for (i, flags) in insns.iter_mut().zip(uses).rev() {
        if let Some(handler) = flags.silent
            && flags.overwrites & seen == 0
            && flags.overwrites != 0
        {
            i.handler = handler;
        }
        seen = seen & !flags.overwrites | flags.needs;
    }
}
