//! One instruction of a block: what it is lowered to, and which handler it gets.

use super::MAX_BYTES;
use crate::{
    arch::Exception,
    cpu::{Cpu, Mode},
    decode::{Insn, flag, lower},
    interp::{blocks::TABLE, handlers, liveness::FlagUse, specialise, vector},
    semantics::{Attr, NO_ROW, Run},
};
use iced_x86::{Code, Instruction, Mnemonic};

impl Cpu {
    /// Lowers one instruction and chooses its handler. Returns whether it is the last of its block.
    pub(super) fn push(&mut self, instruction: &Instruction, bytes: &[u8], at: usize, mode: Mode) -> bool {
        let template = Insn::blank(handlers::undefined);
        if instruction.is_invalid() {
            let too_long = prefixes(bytes) >= MAX_BYTES;
            self.push_undefined(at, 1, if too_long { Exception::GP0 } else { Exception::UD });
            return true;
        }
        let facts = self.blocks.checks.facts(instruction.code(), &TABLE, &self.model);
        let fault =
            if facts.row == NO_ROW { Some(Exception::UD) } else { crate::decode::fault_of(facts.attr, mode) };
        if let Some(exception) = fault {
            self.push_undefined(at, instruction.len() as u8, exception);
            return true;
        }
        let mut i = lower(instruction, facts.attr, mode, &template);
        i.row = facts.row;
        let special = if facts.general { None } else { specialise::handler(instruction, &i, mode) };
        i.handler = special
            .or_else(|| vector::handler(instruction, &i, mode))
            .unwrap_or_else(|| general_handler(facts.attr, facts.row));
        self.blocks.scratch.push(i);
        let silent = || if facts.general { None } else { specialise::silent_handler(instruction, &i, mode) };
        self.blocks.flag_uses.push(FlagUse::of(instruction, &i, facts.attr, silent));
        facts.attr.intersects(Attr::ENDS_BLOCK | Attr::BRANCH | Attr::INDIRECT)
    }

    /// An instruction of `len` bytes that only raises `exception`: #UD, #NM or #GP(0).
    pub(super) fn push_undefined(&mut self, at: usize, len: u8, exception: Exception) {
        let imm = match exception {
            Exception::UD => 0,
            Exception::NM => 1,
            _ => 2,
        };
        let i = Insn { off: at as u16, len, imm, ..Insn::blank(handlers::undefined) };
        self.blocks.scratch.push(i);
        self.blocks.flag_uses.push(FlagUse::OPAQUE);
    }

    /// Ends a block that just stops with a jump to the offset `next` in the page.
    pub(super) fn fall_through(&mut self, next: usize) {
        let mut i = Insn::blank(specialise::FALL_THROUGH);
        i.row = TABLE.find(Code::Zero_bytes).unwrap_or(NO_ROW);
        (i.off, i.len) = (next as u16, 0);
        self.blocks.scratch.push(i);
    }
}

/// Handler of a row that has no specialised one.
fn general_handler(attr: Attr, row: u16) -> crate::decode::Handler {
    if attr.contains(Attr::ENDS_BLOCK) {
        handlers::ends_block
    } else if attr.contains(Attr::INDIRECT) {
        handlers::indirect_exact
    } else if attr.contains(Attr::BRANCH) {
        handlers::branch_exact
    } else if attr.intersects(Attr::X87_WAITS | Attr::MMX) {
        handlers::waiting
    } else {
        debug_assert!(matches!(TABLE.row(row).run, Run::Emit(_) | Run::Microcode(_)));
        handlers::general
    }
}

/// Number of prefix bytes at the start: an instruction longer than 15 bytes raises #GP, not #UD.
fn prefixes(bytes: &[u8]) -> usize {
    let is_prefix = |byte: &&u8| matches!(byte, 0x26 | 0x2E | 0x36 | 0x3E | 0x40..=0x4F | 0x64..=0x67 | 0xF0 | 0xF2 | 0xF3);
    bytes.iter().take_while(is_prefix).count()
}

impl Insn {
    /// Whether the decoder saw this mnemonic's row (used by fusing).
    pub fn is_row_of(&self, mnemonic: Mnemonic) -> bool {
        matches!(TABLE.row(self.row).key, crate::semantics::Key::Mnemonic(m) if m == mnemonic)
            && !self.has(flag::LOCK)
    }
}
