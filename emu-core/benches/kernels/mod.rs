//! What the interpreter is measured on: one small guest program for each thing that costs time.
//!
//! Shared by the benchmark `interpreter` (time) and the example `kernels` (host instructions).

mod machine;
mod programs;

use iced_x86::{IcedError, code_asm::CodeAssembler};
pub use machine::Machine;

/// Where programs are assembled to.
pub const CODE: u64 = 0x10_0000;
/// Top of the stack.
pub const STACK: u64 = 0x30_0000;
/// Data of programs.
pub const DATA: u64 = 0x40_0000;
/// Bytes of RAM, all mapped to itself in pages of 4 KiB.
pub const RAM: u64 = 32 << 20;

/// What the cost of a kernel is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Instructions that the guest executed.
    Instruction,
    /// Walks of the page tables: so many in one run.
    Walk(u64),
    /// Bytes moved, filled or compared: so many in one run.
    Byte(u64),
}

/// A guest program to be measured.
pub struct Kernel {
    /// Its name on the command line and in results.
    pub name: &'static str,
    /// What its cost is divided by.
    pub unit: Unit,
    /// Each run begins without decoded blocks.
    pub cold: bool,
    /// Assembles it. It may begin with any registers but RSP = [`STACK`], and runs on off its end.
    pub build: fn(&mut CodeAssembler) -> Result<(), IcedError>,
}

/// All kernels.
pub const KERNELS: &[Kernel] = &[
    Kernel { name: "decode", unit: Unit::Instruction, cold: true, build: programs::functions },
    Kernel { name: "branches", unit: Unit::Instruction, cold: false, build: programs::branches },
    Kernel { name: "indirect-calls", unit: Unit::Instruction, cold: false, build: programs::indirect_calls },
    Kernel { name: "recursion", unit: Unit::Instruction, cold: false, build: programs::recursion },
    Kernel { name: "tlb-hit-base", unit: Unit::Instruction, cold: false, build: programs::at_base },
    Kernel { name: "tlb-hit-scaled", unit: Unit::Instruction, cold: false, build: programs::at_scaled },
    Kernel {
        name: "tlb-miss",
        unit: Unit::Walk(programs::PAGES_WALKED),
        cold: false,
        build: programs::page_stride,
    },
    Kernel {
        name: "string-move",
        unit: Unit::Byte(programs::BYTES_MOVED),
        cold: false,
        build: programs::string_move,
    },
    Kernel {
        name: "string-compare",
        unit: Unit::Byte(programs::BYTES_COMPARED),
        cold: false,
        build: programs::string_compare,
    },
    Kernel { name: "float", unit: Unit::Instruction, cold: false, build: programs::float },
    Kernel { name: "vector", unit: Unit::Instruction, cold: false, build: programs::vector },
];
