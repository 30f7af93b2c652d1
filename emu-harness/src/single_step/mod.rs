//! Hardware-captured tests of single instructions, in the formats of the SingleStepTests collections: read here,
//! run on the interpreter with a CPU model of the recorded processor's generation.
//!
//! A test sets registers and RAM, runs one instruction (a repeated string instruction is one), follows an
//! exception to its handler, and compares registers and RAM. Flags that are undefined are masked: by the masks in
//! the file, by the collection's `metadata.json` if there is one, else by the manuals (see [`undefined`]).
//! `revocation_list.txt` names tests that were recorded wrongly. Bus cycles and prefetch queues are not compared.
//!
//! [`files`] finds the files of a folder, [`load`] reads one, [`run`] runs it.

mod collection;
pub mod differences;
mod json;
mod load;
mod machine;
mod moo;
mod registers;
mod run;
pub mod undefined;

use emu_core::cpu_model::Generation;

pub use differences::Difference;
pub use load::{LoadError, files, load};
pub use registers::{Register, Registers};
pub use run::{Explained, Failure, Report, run};

/// A processor that tests were recorded from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Processor {
    /// 8086 and 8088, which differ only in bus cycles.
    I8086,
    /// 80186.
    I80186,
    /// 80286.
    I80286,
    /// 80386.
    I80386,
}

impl Processor {
    /// The processor that a collection calls `id`, in whatever case and with whatever padding.
    pub fn named(id: &str) -> Option<Processor> {
        match id.trim_matches(['\0', ' ']).to_ascii_uppercase().as_str() {
            "8086" | "8088" => Some(Processor::I8086),
            "186" | "80186" | "C186" => Some(Processor::I80186),
            "286" | "80286" | "C286" => Some(Processor::I80286),
            "386" | "80386" | "386E" => Some(Processor::I80386),
            _ => None,
        }
    }

    /// The generation of CPU models that runs its tests.
    pub fn generation(self) -> Generation {
        match self {
            Processor::I8086 => Generation::I8086,
            Processor::I80186 => Generation::I80186,
            Processor::I80286 => Generation::I80286,
            Processor::I80386 => Generation::I80386,
        }
    }

    /// Whether a test ends after a HLT that follows the instruction (or is found where it leads): the recorded IP
    /// is behind that.
    fn ends_in_halt(self) -> bool {
        self != Processor::I8086
    }
}

/// One file of tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Where the tests were recorded.
    pub processor: Processor,
    /// The tests, revoked ones left out.
    pub tests: Vec<Test>,
    /// Number of revoked tests.
    pub revoked: usize,
    /// Bits of registers that are compared, where the file says so for all of its tests.
    pub masks: Registers,
    /// What the collection says of flags.
    metadata: Option<std::sync::Arc<collection::Metadata>>,
}

/// One test.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Test {
    /// Number in the file.
    pub index: u32,
    /// The instruction, disassembled.
    pub name: String,
    /// Its bytes; those of the HLT behind it too, if there is one.
    pub bytes: Vec<u8>,
    /// Registers and RAM before: all registers.
    pub initial: State,
    /// Registers and RAM after: what changed, or more.
    pub last: State,
    /// The exception, if it raised one.
    pub exception: Option<Exception>,
    /// What identifies it.
    pub hash: Option<[u8; 20]>,
}

/// Registers and RAM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// Registers.
    pub registers: Registers,
    /// Bits of registers that are compared.
    pub masks: Registers,
    /// RAM: physical address, byte.
    pub ram: Vec<(u32, u8)>,
}

/// A recorded exception.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exception {
    /// Its vector.
    pub vector: u8,
    /// Physical address of the flags on the handler's stack.
    pub flags_address: u32,
}

impl Test {
    /// Physical address of what lies `offset` bytes above the top of the stack afterwards, in the stack segment
    /// from before. `None` if SP did not change.
    fn on_last_stack(&self, offset: u32) -> Option<u32> {
        let sp = self.last.registers.get(Register::Esp)?;
        Some((self.initial.registers.value(Register::Ss) << 4) + (sp.wrapping_add(offset) & 0xFFFF))
    }

    /// Opcode and the register field of what follows it, behind the prefixes: what a form of instructions is
    /// known by. Two-byte opcodes are 0F00 and above.
    pub fn form(&self, processor: Processor) -> (u16, u8) {
        let is_prefix = |byte: &&u8| match **byte {
            0x26 | 0x2E | 0x36 | 0x3E | 0xF0 | 0xF2 | 0xF3 => true,
            0xF1 => processor == Processor::I8086,
            0x64..=0x67 => processor == Processor::I80386,
            _ => false,
        };
        let prefixes = self.bytes.iter().take_while(is_prefix).count();
        let byte = |at: usize| self.bytes.get(prefixes + at).copied().unwrap_or(0);
        let reg = |at: usize| byte(at) >> 3 & 7;
        match byte(0) {
            0x0F if processor != Processor::I8086 => (0x0F00 | u16::from(byte(1)), reg(2)),
            opcode => (opcode.into(), reg(1)),
        }
    }
}

#[cfg(test)]
mod tests;
