//! The table.

use emu_core::arch::Flags;
use iced_x86::Mnemonic::{self, *};

/// What a vendor's processors make of something that is undefined, or that the vendors' manuals define
/// differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Not known, or not the same on all of its processors.
    Unknown,
    /// It is cleared.
    Clear,
    /// It is set.
    Set,
    /// It keeps its value.
    Kept,
    /// It changes as if there were no exception.
    Changed,
}

/// When an entry holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Always.
    Always,
    /// The count of a shift or rotation, masked, is not zero.
    CountNotZero,
    /// It is greater than one.
    CountAboveOne,
    /// It is the operand's width or greater.
    CountReachesWidth,
    /// It is greater than the operand's width.
    CountBeyondWidth,
    /// The invalid-operation exception of the x87 is unmasked.
    InvalidUnmasked,
    /// An exception of SSE is unmasked.
    SimdUnmasked,
    /// A segment register goes into a slot of 32 bits.
    SegmentInDoubleword,
}

/// What an entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Flags.
    Flags(Flags),
    /// Bits of the x87's status word.
    Status(u16),
    /// Bits of MXCSR.
    Mxcsr(u32),
    /// TOP and tags of the x87.
    Stack,
    /// The upper half of what a push stores.
    PushedHalf,
    /// The byte of a large operand that a page fault names.
    FaultAddress,
}

/// Something after some instructions.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The instructions.
    pub mnemonics: &'static [Mnemonic],
    /// What is undefined.
    pub what: What,
    /// When it is.
    pub when: When,
    /// What Intel's processors do.
    pub intel: Rule,
    /// What AMD's processors do.
    pub amd: Rule,
    /// Where that is known from.
    pub source: &'static str,
}

impl Entry {
    /// Whether all vendors do the same.
    pub fn is_fixed(&self) -> bool {
        self.intel == self.amd && self.intel != Rule::Unknown
    }
}

const fn open(mnemonics: &'static [Mnemonic], flags: Flags, when: When, source: &'static str) -> Entry {
    Entry { mnemonics, what: What::Flags(flags), when, intel: Rule::Unknown, amd: Rule::Unknown, source }
}

/// C0, C2 and C3 of the x87, and C1.
const RESULT: u16 = 0x4500;
const C1: u16 = 0x200;
/// Comparisons of the x87 that set its status word, and those that set flags.
const COMPARISONS: &[Mnemonic] = &[Fcom, Fcomp, Fcompp, Fucom, Fucomp, Fucompp, Ficom, Ficomp, Ftst];
const FLAG_COMPARISONS: &[Mnemonic] = &[Fcomi, Fcomip, Fucomi, Fucomip];
/// Images that are stored and loaded piece by piece.
const IMAGES: &[Mnemonic] = &[
    Fxsave, Fxsave64, Fxrstor, Fxrstor64, Fnsave, Frstor, Fnstenv, Fldenv, Xsave, Xsave64, Xsaveopt,
    Xsaveopt64, Xsavec, Xsavec64, Xrstor, Xrstor64,
];

/// What is known. The flags of an instruction that has none here are undefined as the manual says.
pub const TABLE: &[Entry] = &[
    open(
        &[Shl, Sal, Shr, Sar, Shld, Shrd],
        Flags::AF,
        When::CountNotZero,
        "SDM vol. 2, SAL/SAR/SHL/SHR, SHLD",
    ),
    open(
        &[Shl, Sal, Shr, Sar, Rol, Ror, Rcl, Rcr, Shld, Shrd],
        Flags::OF,
        When::CountAboveOne,
        "SDM vol. 2, SAL/SAR/SHL/SHR, RCL/RCR/ROL/ROR, SHLD",
    ),
    open(&[Shl, Sal, Shr], Flags::CF, When::CountReachesWidth, "SDM vol. 2, SAL/SAR/SHL/SHR"),
    open(&[Shld, Shrd], Flags::ARITHMETIC, When::CountBeyondWidth, "SDM vol. 2, SHLD, SHRD"),
    Entry {
        mnemonics: COMPARISONS,
        what: What::Status(RESULT | C1),
        when: When::InvalidUnmasked,
        intel: Rule::Kept,
        amd: Rule::Changed,
        source: "SDM vol. 2, FCOM: \"if the invalid-operation exception is unmasked, the condition code flags are \
                 not set\"; on Zen 4 they say unordered",
    },
    Entry {
        mnemonics: FLAG_COMPARISONS,
        what: What::Flags(Flags::ARITHMETIC),
        when: When::InvalidUnmasked,
        intel: Rule::Kept,
        amd: Rule::Changed,
        source: "SDM vol. 2, FCOMI: \"if the invalid-operation exception is unmasked, the flags are not set\"; on \
                 Zen 4 they say unordered",
    },
    Entry {
        mnemonics: FLAG_COMPARISONS,
        what: What::Status(C1),
        when: When::Always,
        intel: Rule::Clear,
        amd: Rule::Kept,
        source: "SDM vol. 2, FCOMI: C1 is set to 0; measured on Zen 4",
    },
    Entry {
        mnemonics: &[Ffree, Ffreep],
        what: What::Status(RESULT | C1),
        when: When::Always,
        intel: Rule::Unknown,
        amd: Rule::Unknown,
        source: "SDM vol. 2, FFREE: C0, C1, C2 and C3 are undefined",
    },
    Entry {
        mnemonics: &[Cvtpi2ps, Cvtpi2pd, Cvtps2pi, Cvttps2pi, Cvtpd2pi, Cvttpd2pi],
        what: What::Stack,
        when: When::SimdUnmasked,
        intel: Rule::Unknown,
        amd: Rule::Changed,
        source: "whether the registers become MMX registers before #XM; measured on Zen 4",
    },
    Entry {
        mnemonics: &[Push],
        what: What::PushedHalf,
        when: When::SegmentInDoubleword,
        intel: Rule::Kept,
        amd: Rule::Clear,
        source: "SDM vol. 2, PUSH: \"either a zero-extended value is pushed on the stack or the segment selector is \
                 written on the stack using a 16-bit move\"; measured on Zen 4",
    },
    Entry {
        mnemonics: IMAGES,
        what: What::FaultAddress,
        when: When::Always,
        intel: Rule::Unknown,
        amd: Rule::Unknown,
        source: "the order in which the parts of an image are accessed is in no manual",
    },
];
