//! The opcode table: for every instruction, what runs it and what is checked before it.
//!
//! Rows are found by iced-x86's `Code`, which has one value per form in the manual's operand letters
//! (`Add_rm32_r32` is `ADD r/m32, r32`); iced also tells each form's CPUID features, valid modes and whether
//! LOCK is allowed. A row names either all forms of a mnemonic or one form; the latter wins. What iced does
//! not tell (which control-register bits make the form fault, alignment, whether it ends a block) is said by
//! the row's attributes.
//!
//! Families list their rows in a function `rows`, generic over the emitter, beside their semantics.

use super::emitter::{Emitter, Helper, Step};
use crate::{cpu_model::Generation, decode::Insn};
use bitflags::bitflags;
use iced_x86::{Code, Mnemonic};

bitflags! {
    /// What is checked or known before a row runs.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Attr: u32 {
        /// Nothing may be executed after it without looking at the state anew: it may change RIP, the mode,
        /// translations, IF. RIP is that of the next instruction when it runs; it may set another.
        const ENDS_BLOCK = 1 << 0;
        /// A direct jump, call or conditional jump whose target is the immediate: the last of its block.
        const BRANCH = 1 << 1;
        /// An indirect jump, call or return within the segment: the last of its block.
        const INDIRECT = 1 << 2;
        /// #GP(0) unless CPL = 0.
        const CPL0 = 1 << 3;
        /// #UD in real and virtual-8086 mode.
        const PROTECTED = 1 << 4;
        /// x87: #NM if CR0.EM or CR0.TS.
        const X87 = 1 << 5;
        /// Waits for x87 exceptions: #MF (or FERR#) if one is pending and unmasked.
        const X87_WAITS = 1 << 6;
        /// MMX: #UD if CR0.EM, #NM if CR0.TS, #MF if an x87 exception is pending.
        const MMX = 1 << 7;
        /// SSE: #UD if CR0.EM or not CR4.OSFXSR, #NM if CR0.TS.
        const SSE = 1 << 8;
        /// A memory operand of 16 or 32 bytes must be aligned to its size: #GP(0).
        const ALIGNED = 1 << 9;
        /// May raise #XM (SIMD floating point).
        const SIMD_FP = 1 << 10;
        /// Always runs in the exact interpreter with RIP up to date (set for microcode rows).
        const MICROCODE = 1 << 11;
        /// AVX: #UD unless CR4.OSXSAVE and XCR0\[2:1\] = 11b, and in real and virtual-8086 mode; #NM if CR0.TS.
        const AVX = 1 << 12;
        /// Pushes the address of the next instruction and goes elsewhere, from where a [`RETURN`](Self::RETURN)
        /// leads back.
        const CALL = 1 << 13;
        /// Goes to an address that it pops.
        const RETURN = 1 << 14;
    }
}

/// Which forms a row is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// All forms of a mnemonic that have no row of their own.
    Mnemonic(Mnemonic),
    /// One form.
    Code(Code),
}

/// What runs a row.
pub enum Run<E: Emitter> {
    /// Semantics in the emitter's vocabulary.
    Emit(fn(&mut E, &Insn) -> Step<E>),
    /// Microcode, the same for all tiers.
    Microcode(Helper),
}

impl<E: Emitter> Clone for Run<E> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<E: Emitter> Copy for Run<E> {}

/// One row.
pub struct Row<E: Emitter> {
    /// Which forms.
    pub key: Key,
    /// What runs them.
    pub run: Run<E>,
    /// What is checked and known.
    pub attr: Attr,
    /// The generations that it is for, if not for all. There it wins over the row for all, and what it names
    /// decodes whatever CPUID says.
    pub only: Option<(Generation, Generation)>,
}

impl<E: Emitter> Row<E> {
    /// Only for the generations from `first` to `last`.
    pub fn only(mut self, first: Generation, last: Generation) -> Self {
        self.only = Some((first, last));
        self
    }

    /// Adds attributes.
    pub fn with(mut self, attr: Attr) -> Self {
        self.attr |= attr;
        self
    }
}

/// A row for all forms of `mnemonic` that have none of their own.
pub fn row<E: Emitter>(mnemonic: Mnemonic, run: fn(&mut E, &Insn) -> Step<E>) -> Row<E> {
    Row { key: Key::Mnemonic(mnemonic), run: Run::Emit(run), attr: Attr::empty(), only: None }
}

/// A row for one form.
pub fn form<E: Emitter>(code: Code, run: fn(&mut E, &Insn) -> Step<E>) -> Row<E> {
    Row { key: Key::Code(code), run: Run::Emit(run), attr: Attr::empty(), only: None }
}

/// A row whose forms run in microcode.
pub fn microcode<E: Emitter>(mnemonic: Mnemonic, run: Helper) -> Row<E> {
    Row { key: Key::Mnemonic(mnemonic), run: Run::Microcode(run), attr: Attr::MICROCODE, only: None }
}

/// A row for one form that runs in microcode.
pub fn microcode_form<E: Emitter>(code: Code, run: Helper) -> Row<E> {
    Row { key: Key::Code(code), run: Run::Microcode(run), attr: Attr::MICROCODE, only: None }
}

/// Number of a row that does not exist.
pub const NO_ROW: u16 = u16::MAX;

/// All rows for one emitter.
pub struct Table<E: Emitter> {
    rows: Vec<Row<E>>,
    /// By `Code`: row number, or [`NO_ROW`].
    by_code: Vec<u16>,
}

impl<E: Emitter> Table<E> {
    /// Collects the rows of all families.
    pub fn new() -> Self {
        let mut rows = super::rows::<E>();
        rows.extend(crate::microcode::rows::<E>());
        let mut by_mnemonic = vec![NO_ROW; Mnemonic::values().len()];
        for (number, row) in rows.iter().enumerate() {
            if let (Key::Mnemonic(mnemonic), None) = (row.key, row.only) {
                debug_assert_eq!(by_mnemonic[mnemonic as usize], NO_ROW, "two rows for {mnemonic:?}");
                by_mnemonic[mnemonic as usize] = number as u16;
            }
        }
        let mut by_code: Vec<u16> =
            Code::values().map(|code| by_mnemonic[code.mnemonic() as usize]).collect();
        for (number, row) in rows.iter().enumerate() {
            if let (Key::Code(code), None) = (row.key, row.only) {
                debug_assert!(
                    rows.get(usize::from(by_code[code as usize]))
                        .is_none_or(|row| row.key != Key::Code(code)),
                    "two rows for {code:?}"
                );
                by_code[code as usize] = number as u16;
            }
        }
        Table { rows, by_code }
    }

    /// Number of the row for `code`.
    pub fn find(&self, code: Code) -> Option<u16> {
        let number = self.by_code[code as usize];
        (number != NO_ROW).then_some(number)
    }

    /// Number of the row for `code` that is only for certain generations, `generation` among them. Costs a
    /// search; the decoder asks once per form.
    pub fn find_only(&self, code: Code, generation: Generation) -> Option<u16> {
        let found = self.rows.iter().position(|row| {
            let here = row.only.is_some_and(|(first, last)| (first..=last).contains(&generation));
            here && match row.key {
                Key::Code(key) => key == code,
                Key::Mnemonic(mnemonic) => mnemonic == code.mnemonic(),
            }
        });
        found.map(|number| number as u16)
    }

    /// Row by number.
    pub fn row(&self, number: u16) -> &Row<E> {
        &self.rows[usize::from(number)]
    }

    /// All rows.
    pub fn rows(&self) -> &[Row<E>] {
        &self.rows
    }
}

impl<E: Emitter> Default for Table<E> {
    fn default() -> Self {
        Self::new()
    }
}
