//! What is checked when an instruction is decoded, so that handlers contain only the operation: CPUID features,
//! modes, privilege, availability of x87, MMX, SSE and AVX.

use crate::{
    arch::Exception,
    cpu::Mode,
    cpu_model::{CpuModel, Generation},
    semantics::{Attr, Emitter, NO_ROW, Table},
};
use iced_x86::{Code, Mnemonic};

/// What is known of one form under one CPU model.
#[derive(Debug, Clone, Copy)]
pub struct CodeFacts {
    /// Row of the opcode table, or `NO_ROW`: undefined under this model.
    pub row: u16,
    /// The row's attributes.
    pub attr: Attr,
    /// The row is only for certain generations: specialised handlers are made from another's text.
    pub general: bool,
    known: bool,
}

/// Facts of all forms, found out as they are met.
pub struct Checks {
    facts: Vec<CodeFacts>,
}

impl Checks {
    /// Nothing found out yet.
    pub fn new() -> Self {
        let unknown = CodeFacts { row: NO_ROW, attr: Attr::empty(), general: false, known: false };
        Checks { facts: vec![unknown; Code::values().len()] }
    }

    /// Facts of `code`.
    pub fn facts<E: Emitter>(&mut self, code: Code, table: &Table<E>, model: &CpuModel) -> CodeFacts {
        let facts = &mut self.facts[code as usize];
        if !facts.known {
            let generation = model.generation();
            let only = table.find_only(code, generation);
            let hint = generation == Generation::Current && is_hint(code.mnemonic());
            let row = only.or_else(|| if model.allows(code) || hint { table.find(code) } else { None });
            let attr = row.map_or(Attr::empty(), |row| table.row(row).attr);
            *facts = CodeFacts { row: row.unwrap_or(NO_ROW), attr, general: only.is_some(), known: true };
        }
        *facts
    }
}

impl Default for Checks {
    fn default() -> Self {
        Self::new()
    }
}

/// Instructions in the space of hints: no-operations on processors that do not know them.
fn is_hint(mnemonic: Mnemonic) -> bool {
    use Mnemonic::{
        Cldemote, Endbr32, Endbr64, Prefetchit0, Prefetchit1, Prefetchw, Rdsspd, Rdsspq, Reservednop,
    };
    matches!(
        mnemonic,
        Endbr32 | Endbr64 | Rdsspd | Rdsspq | Cldemote | Prefetchit0 | Prefetchit1 | Prefetchw | Reservednop
    )
}

/// The exception that an instruction raises in `mode` before it does anything, by its row's attributes.
pub fn fault_of(attr: Attr, mode: Mode) -> Option<Exception> {
    let undefined = attr.contains(Attr::PROTECTED) && mode.is_real_or_vm86()
        || attr.contains(Attr::SSE) && mode.sse_undefined()
        || attr.contains(Attr::AVX) && mode.avx_undefined()
        || attr.contains(Attr::MMX) && mode.mmx_undefined();
    if undefined {
        return Some(Exception::UD);
    }
    if attr.intersects(Attr::SSE | Attr::AVX | Attr::MMX) && mode.task_switched() {
        return Some(Exception::NM);
    }
    if attr.contains(Attr::X87) && mode.x87_unavailable() {
        return Some(Exception::NM);
    }
    // In virtual-8086 mode CPL is 3.
    if attr.contains(Attr::CPL0) && (mode.is_user() || mode.is_vm86()) {
        return Some(Exception::GP0);
    }
    None
}
