//! Which processor of the line a model is, as far as it shows to a program that CPUID does not tell: the
//! meaning of bytes, what wraps and what faults, results that later processors changed.
//!
//! It is consulted when an instruction is decoded (`decode::early`, and rows of the opcode table that are for
//! certain generations only), and on ways that end in a fault. Nothing that runs often asks for it.

use iced_x86::CpuidFeature;

/// A generation of processors, in the order of their appearance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Generation {
    /// 8086 and 8088.
    I8086,
    /// 80186 and 80188: what they added, on an 80286 that never leaves real mode.
    I80186,
    /// 80286.
    I80286,
    /// 80386, without a coprocessor.
    I80386,
    /// Everything with CPUID.
    Current,
}

impl Generation {
    /// Those before CPUID.
    pub const EARLY: [Generation; 4] =
        [Generation::I8086, Generation::I80186, Generation::I80286, Generation::I80386];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Generation::I8086 => "8086",
            Generation::I80186 => "80186",
            Generation::I80286 => "80286",
            Generation::I80386 => "80386",
            Generation::Current => "current",
        }
    }

    /// Before the 80386: 16 bits, one opcode map of its own, every byte of which means something to the 8086.
    pub const fn is_16_bit(self) -> bool {
        matches!(self, Generation::I8086 | Generation::I80186 | Generation::I80286)
    }

    /// What this generation decodes, of what has no CPUID bit. None for [`Generation::Current`], which has more
    /// than its predecessors.
    pub(super) fn decodes(self) -> &'static [CpuidFeature] {
        use CpuidFeature::{INTEL186, INTEL286, INTEL386, INTEL8086};
        match self {
            Generation::I8086 => &[INTEL8086],
            Generation::I80186 => &[INTEL8086, INTEL186],
            Generation::I80286 => &[INTEL8086, INTEL186, INTEL286],
            Generation::I80386 => &[INTEL8086, INTEL186, INTEL286, INTEL386],
            Generation::Current => &super::BASELINE,
        }
    }
}
