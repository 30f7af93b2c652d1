//! The text corpus of instruction cases: one case a line, read here, run by whoever has a processor.
//! `tests/corpus/README.md` describes the format for those who write it.

mod outcome;
mod parse;
mod register;
mod run;
mod state;
mod write;

pub use outcome::{Exception, Flag, FlagState, Outcome, State};
pub use parse::{ParseError, parse, parse_line};
pub use register::Register;
pub use run::CODE;
pub use state::{set, values};
pub use write::{case_of, line_of};

use emu_core::cpu_model::Generation;

/// The mode that an instruction runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Real-address mode.
    Real,
    /// Virtual-8086 mode; always at privilege level 3.
    V86,
    /// Protected mode, 16-bit code segment.
    Protected16,
    /// Protected mode, 32-bit code segment.
    Protected32,
    /// IA-32e mode, 16-bit code segment.
    Compatibility16,
    /// IA-32e mode, 32-bit code segment.
    Compatibility32,
    /// IA-32e mode, 64-bit code segment.
    Long64,
}

impl Mode {
    /// Every mode with its name in the corpus.
    pub const ALL: [(Mode, &'static str); 7] = [
        (Mode::Real, "real"),
        (Mode::V86, "v86"),
        (Mode::Protected16, "p16"),
        (Mode::Protected32, "p32"),
        (Mode::Compatibility16, "c16"),
        (Mode::Compatibility32, "c32"),
        (Mode::Long64, "64"),
    ];

    /// Address and operand size that the mode decodes with if no prefix says otherwise.
    pub fn bitness(self) -> u32 {
        match self {
            Mode::Real | Mode::V86 | Mode::Protected16 | Mode::Compatibility16 => 16,
            Mode::Protected32 | Mode::Compatibility32 => 32,
            Mode::Long64 => 64,
        }
    }
}

/// One case: an instruction, the state before it, and what it makes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Mode of the processor.
    pub mode: Mode,
    /// Current privilege level.
    pub privilege: u8,
    /// The processor that it is about, if it is about one before CPUID: others may do something else.
    pub generation: Option<Generation>,
    /// The instruction's bytes; more than one instruction may stand in a row.
    pub code: Vec<u8>,
    /// What a disassembler makes of them, in Intel's syntax.
    pub disassembly: String,
    /// What is set before. The rest is zero, or as the mode needs it.
    pub before: State,
    /// What is expected after.
    pub after: Outcome,
}
