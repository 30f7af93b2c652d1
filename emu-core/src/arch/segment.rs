//! Segment registers with their hidden parts. SDM vol. 3, 3.4.

use serde::{Deserialize, Serialize};

/// Segment registers, numbered as in instruction encodings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "register names")]
pub enum Seg {
    Es = 0,
    Cs = 1,
    Ss = 2,
    Ds = 3,
    Fs = 4,
    Gs = 5,
}

impl Seg {
    /// All six, in order.
    pub const ALL: [Seg; 6] = [Seg::Es, Seg::Cs, Seg::Ss, Seg::Ds, Seg::Fs, Seg::Gs];
}

/// Access rights: bits 8..=23 of the second doubleword of a descriptor, shifted down by 8.
pub mod attr {
    /// Type field; of a code or data segment, bit 0: accessed.
    pub const TYPE: u16 = 0xF;
    /// Accessed (code, data).
    pub const ACCESSED: u16 = 1 << 0;
    /// Writable (data) or readable (code).
    pub const WRITABLE: u16 = 1 << 1;
    /// Readable (code).
    pub const READABLE: u16 = 1 << 1;
    /// Expand-down (data).
    pub const EXPAND_DOWN: u16 = 1 << 2;
    /// Conforming (code).
    pub const CONFORMING: u16 = 1 << 2;
    /// Code, not data.
    pub const CODE: u16 = 1 << 3;
    /// Code or data, not system.
    pub const S: u16 = 1 << 4;
    /// Descriptor privilege level, two bits.
    pub const DPL: u16 = 3 << 5;
    /// Position of the DPL.
    pub const DPL_SHIFT: u16 = 5;
    /// Present.
    pub const P: u16 = 1 << 7;
    /// Available to software.
    pub const AVL: u16 = 1 << 12;
    /// 64-bit code.
    pub const L: u16 = 1 << 13;
    /// Default operand size 32 (code), 32-bit stack pointer (stack), 4 GiB bound (expand-down).
    pub const D: u16 = 1 << 14;
    /// Limit counts pages.
    pub const G: u16 = 1 << 15;
}

/// Types of system descriptors (S = 0).
pub mod system_type {
    #![expect(missing_docs, reason = "the manual's names")]
    pub const TSS16: u16 = 1;
    pub const LDT: u16 = 2;
    pub const TSS16_BUSY: u16 = 3;
    pub const CALL_GATE16: u16 = 4;
    pub const TASK_GATE: u16 = 5;
    pub const INTERRUPT_GATE16: u16 = 6;
    pub const TRAP_GATE16: u16 = 7;
    pub const TSS32: u16 = 9;
    pub const TSS32_BUSY: u16 = 11;
    pub const CALL_GATE32: u16 = 12;
    pub const INTERRUPT_GATE32: u16 = 14;
    pub const TRAP_GATE32: u16 = 15;
}

/// A segment register: selector and the descriptor loaded with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Segment {
    /// Visible selector.
    pub selector: u16,
    /// Access rights, see [`attr`].
    pub attr: u16,
    /// Limit in bytes, the granularity applied: offset of the last byte.
    pub limit: u32,
    /// Linear base.
    pub base: u64,
    /// Loaded with a null selector (or otherwise unusable): accesses fault outside 64-bit mode.
    pub unusable: bool,
}

impl Segment {
    /// A segment as real mode loads it: base = selector * 16.
    pub const fn real(selector: u16) -> Self {
        Segment {
            selector,
            attr: attr::P | attr::S | attr::WRITABLE | attr::ACCESSED,
            limit: 0xFFFF,
            base: (selector as u64) << 4,
            unusable: false,
        }
    }

    /// DPL.
    pub const fn dpl(&self) -> u8 {
        (self.attr >> attr::DPL_SHIFT) as u8 & 3
    }

    /// Code segment?
    pub const fn is_code(&self) -> bool {
        self.attr & (attr::S | attr::CODE) == attr::S | attr::CODE
    }

    /// Reads and writes at any 32-bit offset pass the limit and type checks.
    pub const fn is_flat_data(&self) -> bool {
        !self.unusable
            && self.limit == u32::MAX
            && self.attr & (attr::P | attr::S | attr::CODE | attr::EXPAND_DOWN | attr::WRITABLE)
                == attr::P | attr::S | attr::WRITABLE
    }
}
