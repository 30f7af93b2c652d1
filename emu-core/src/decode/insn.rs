//! [`Insn`]: one decoded instruction, laid out for execution.

use crate::{
    arch::{Seg, Width},
    cpu::slot,
};

/// What an operand is. Which register file [`Insn::reg`] numbers is told by the kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// No such operand.
    None,
    /// General-purpose register; `reg` is the byte offset in the register file (AH is RAX's plus one).
    Gpr,
    /// The memory operand.
    Mem,
    /// Immediate, already sign-extended as the form says and truncated to the operand's width.
    Imm,
    /// XMM, YMM or ZMM register by number.
    Vector,
    /// MMX register by number.
    Mmx,
    /// x87 stack register by distance from the top.
    St,
    /// Segment register by number.
    Segment,
    /// Control register by number.
    Control,
    /// Debug register by number.
    Debug,
    /// Mask register by number.
    Mask,
}

/// How the address of the memory operand is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum AddressForm {
    /// Flat: base slot + displacement.
    Base,
    /// Flat: base slot + index slot * scale + displacement + segment base.
    Scaled,
    /// Everything: address size, segment limits and rights, as the instruction and the mode say.
    Checked,
}

/// Prefixes and other decode-time facts.
pub mod flag {
    /// LOCK, and the form is one that may have it (or XCHG with memory).
    pub const LOCK: u16 = 1 << 0;
    /// F3.
    pub const REP: u16 = 1 << 1;
    /// F2.
    pub const REPNE: u16 = 1 << 2;
    /// Address is offset `imm` alone (MOV with moffs).
    pub const MOFFS: u16 = 1 << 3;
    /// VEX-encoded.
    pub const VEX: u16 = 1 << 4;
    /// 256-bit vector length.
    pub const L256: u16 = 1 << 5;
    /// Operand size override present.
    pub const OPSIZE: u16 = 1 << 6;
    /// The memory operand must be aligned to its size: else #GP(0).
    pub const ALIGNED: u16 = 1 << 7;
    /// The stack pointer of the mode is 16 bits wide (neither this nor `SP32`: 64).
    pub const SP16: u16 = 1 << 8;
    /// The stack pointer of the mode is 32 bits wide.
    pub const SP32: u16 = 1 << 9;
    /// Decoded in 64-bit mode.
    pub const MODE64: u16 = 1 << 10;
    /// No instruction, but what a block begins with that is counted or translated: see `interp::hot`.
    pub const ENTRY: u16 = 1 << 11;
    /// First of a block that must be decoded again, or has moved. (Its handler has no one address to know it by.)
    pub const GONE: u16 = 1 << 12;
    /// No instruction, but a link into another page: see `interp::blocks::Crossing`.
    pub const CROSSING: u16 = 1 << 13;
}

/// Executes one instruction and (in a tail call) what follows it; see `interp`. Translated code is one as well, and so
/// the calling convention is the host's.
pub type Handler = unsafe extern "C-unwind" fn(&mut crate::cpu::Cpu, *const Insn) -> u32;

/// One decoded instruction: plain data, in a row with its neighbours.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Insn {
    /// What executes it.
    pub handler: Handler,
    /// Immediate; of a direct branch the target, of a far pointer `selector << 32 | offset`. Branch targets
    /// are relative to the RIP base of the block: RIP of the page's first byte.
    pub imm: u64,
    /// Displacement; RIP-relative ones are relative to the RIP base.
    pub disp: u64,
    /// Row of the opcode table.
    pub row: u16,
    /// Offset of the first byte in its page.
    pub off: u16,
    /// Slot of the base register (or the zero slot).
    pub base: u8,
    /// Slot of the index register (or the zero slot).
    pub index: u8,
    /// log2 of the scale.
    pub scale: u8,
    /// Segment of the memory operand, by number.
    pub seg: u8,
    /// Operand kinds.
    pub kind: [Kind; 4],
    /// Operand registers, as their kind numbers them.
    pub reg: [u8; 4],
    /// Operand widths, for integer operands.
    pub width: [Width; 2],
    /// Address size.
    pub asize: Width,
    /// Length in bytes.
    pub len: u8,
    /// See [`flag`].
    pub flags: u16,
    /// Size of the memory operand in bytes (0: none or not fixed), up to 64; larger images say 0.
    pub mem_size: u8,
    /// Second immediate (ENTER's nesting level, and the like).
    pub imm2: u8,
}

impl Insn {
    /// An instruction without operands.
    pub fn blank(handler: Handler) -> Self {
        Insn {
            handler,
            imm: 0,
            disp: 0,
            row: crate::semantics::NO_ROW,
            off: 0,
            base: crate::cpu::slot::ZERO,
            index: crate::cpu::slot::ZERO,
            scale: 0,
            seg: 3,
            kind: [Kind::None; 4],
            reg: [0; 4],
            width: [Width::W32; 2],
            asize: Width::W64,
            len: 0,
            flags: 0,
            mem_size: 0,
            imm2: 0,
        }
    }

    /// Whether any of the [`flag`] bits is set.
    #[inline(always)]
    pub const fn has(&self, bits: u16) -> bool {
        self.flags & bits != 0
    }

    /// Width of the first operand: the operation's width.
    #[inline(always)]
    pub const fn w(&self) -> Width {
        self.width[0]
    }

    /// Segment of the memory operand.
    pub fn segment(&self) -> Seg {
        Seg::ALL[usize::from(self.seg)]
    }

    /// Width of the stack pointer in the mode this was decoded for.
    #[inline(always)]
    pub const fn stack_width(&self) -> Width {
        if self.has(flag::SP16) {
            Width::W16
        } else if self.has(flag::SP32) {
            Width::W32
        } else {
            Width::W64
        }
    }

    /// Whether the memory operand's base is RIP.
    pub const fn is_rip_relative(&self) -> bool {
        self.base == slot::RIP_BASE
    }
}

impl std::fmt::Debug for Insn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Insn(row {}, off {:#x}, len {}, {:?}, imm {:#x})",
            self.row, self.off, self.len, self.kind, self.imm
        )
    }
}
