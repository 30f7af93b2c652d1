//! What executing a setup has changed, in words and as JSON, for one engine or several beside each other.
//!
//! Numbers are hexadecimal without a prefix and names are those of the corpus, so that what is printed can be
//! written into a line of it.

mod disassembly;
mod table;
mod trace;

pub use disassembly::{Line, disassemble};
pub use table::{Row, differences, table};
pub use trace::step_by_step;

use crate::{
    Outcome, Setup,
    corpus::{Flag, Register, values},
    undefined,
};
use emu_core::{
    arch::{Flags, Seg},
    state::CpuState,
};
use iced_x86::{Decoder, DecoderOptions};
use serde::Serialize;

/// One thing that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// A register, `flags`, or `[address]` for memory from there on.
    pub what: String,
    /// Value before.
    pub before: String,
    /// Value after.
    pub after: String,
}

/// An exception in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Raised {
    /// Mnemonic with the error code, as in `#PF(6)`.
    pub name: String,
    /// Vector.
    pub vector: u8,
    /// Error code, if it has one.
    pub error_code: Option<u16>,
    /// Address of a page fault.
    pub cr2: Option<u64>,
}

/// What one engine has made of a setup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The engine's name.
    pub engine: String,
    /// Instructions completed.
    pub instructions: u32,
    /// The exception that ended them.
    pub exception: Option<Raised>,
    /// Registers and flags that changed. A flag with `?` is undefined: see [`crate::undefined`].
    pub registers: Vec<Change>,
    /// Memory that was written, in runs of at most 16 bytes.
    pub memory: Vec<Change>,
}

impl Report {
    /// What `engine` made of `setup`.
    pub fn new(engine: &str, setup: &Setup, outcome: &Outcome) -> Self {
        let exception = outcome.exception.map(|raised| Raised {
            name: raised.to_string(),
            vector: raised.vector,
            error_code: raised.error_code,
            cr2: (raised.vector == 14).then_some(outcome.state.control.cr2),
        });
        let undefined = if exception.is_some() { Flags::empty() } else { undefined_flags(setup) };
        Report {
            engine: engine.to_owned(),
            instructions: outcome.instructions,
            exception,
            registers: register_changes(&setup.state, &outcome.state, undefined),
            memory: memory_changes(setup, outcome),
        }
    }
}

/// Registers and flags that differ between two states.
fn register_changes(before: &CpuState, after: &CpuState, undefined: Flags) -> Vec<Change> {
    let (was, is) = (values(before), values(after));
    // CR2 is told with the exception.
    let told = |register: Register| register != Register::Control(2);
    let changed = was.into_iter().zip(is).filter(|((register, was), (_, is))| was != is && told(*register));
    let mut changes: Vec<Change> = changed
        .map(|((register, was), (_, is))| Change {
            what: register.to_string(),
            before: format!("{was:x}"),
            after: format!("{is:x}"),
        })
        .collect();
    let (was, is) = (before.general.rflags, after.general.rflags & !Flags::RF);
    if was != is || !undefined.is_empty() {
        changes.push(Change {
            what: "flags".into(),
            before: flag_names(was, Flags::empty()),
            after: flag_names(is, undefined),
        });
    }
    changes
}

/// Flags that are set, by name; `-` if none is.
fn flag_names(flags: Flags, undefined: Flags) -> String {
    let names = Flag::ALL.iter().filter_map(|(flag, name, _)| {
        let bit = Flags::from_bits_truncate(flag.mask() as u32);
        if undefined.contains(bit) {
            Some(format!("?{name}"))
        } else {
            flags.contains(bit).then(|| (*name).to_owned())
        }
    });
    let names: Vec<String> = names.collect();
    if names.is_empty() { "-".into() } else { names.join(" ") }
}

/// Flags that no model fixes after the one instruction of `setup`. Of several, none is known.
fn undefined_flags(setup: &Setup) -> Flags {
    if setup.instructions != 1 {
        return Flags::empty();
    }
    let code = setup.code();
    let mut decoder = Decoder::new(setup.mode.bitness(), code, DecoderOptions::NONE);
    let base = setup.state.segments.data[Seg::Ds as usize].base;
    let undefined = undefined::of(&decoder.decode(), &setup.state, base);
    Flags::from_bits_truncate(undefined.flags)
}

fn memory_changes(setup: &Setup, outcome: &Outcome) -> Vec<Change> {
    const LONGEST: usize = 16;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut changes = Vec::new();
    for (region, after) in setup.memory.iter().zip(&outcome.memory) {
        let differs = |at: &usize| region.bytes.get(*at) != after.get(*at);
        let mut next = 0;
        while let Some(start) = (next..region.bytes.len()).find(differs) {
            let end = (start..region.bytes.len().min(start + LONGEST)).take_while(differs).count() + start;
            changes.push(Change {
                what: format!("[{:x}]", region.address + start as u64),
                before: hex(&region.bytes[start..end]),
                after: after.get(start..end).map(hex).unwrap_or_default(),
            });
            next = end;
        }
    }
    changes
}

#[cfg(test)]
mod tests;
