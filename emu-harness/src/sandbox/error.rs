//! Mistakes in the use of a sandbox.

use emu_core::{cpu_model::CpuModelError, memory::MemoryError};

/// What a sandbox cannot do. Guest behaviour is never an error: see [`Exit`](super::Exit).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No such CPU.
    #[error(transparent)]
    Model(#[from] CpuModelError),
    /// Physical memory of that size cannot be had.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The mode has no such privilege level.
    #[error("{mode} code runs at privilege level {possible}, not {given}")]
    Privilege {
        /// The mode.
        mode: &'static str,
        /// What was asked for.
        given: u8,
        /// What there is.
        possible: &'static str,
    },
    /// The mode cannot translate so.
    #[error("{mode} code cannot run with {given}; {possible} would work")]
    Paging {
        /// The mode.
        mode: &'static str,
        /// What was asked for.
        given: &'static str,
        /// What the mode has.
        possible: &'static str,
    },
    /// A range that is not made of whole pages.
    #[error(
        "{size:#x} bytes at {address:#x} are not whole pages; address and size must be multiples of 0x1000, and the size not 0"
    )]
    NotPages {
        /// First byte.
        address: u64,
        /// Bytes.
        size: u64,
    },
    /// A range beyond the addresses of the mode.
    #[error("{size:#x} bytes at {address:#x} do not lie within the {bits}-bit addresses of the mode")]
    Beyond {
        /// First byte.
        address: u64,
        /// Bytes.
        size: u64,
        /// Width of addresses.
        bits: u32,
    },
    /// Something is mapped already.
    #[error("page {0:#x} is mapped already; unmap it first, or use protect to change its permissions")]
    Mapped(u64),
    /// Nothing is mapped.
    #[error("nothing is mapped at {0:#x}")]
    NotMapped(u64),
    /// Not RAM, and paging is not the sandbox's.
    #[error(
        "there is no RAM at physical address {0:#x}; Builder::memory gives more (0xa0000 to 0xbffff never are RAM)"
    )]
    NotRam(u64),
    /// RAM, where a device was to be.
    #[error(
        "there is RAM at physical address {0:#x}: a device can be at 0xa0000 to 0xbffff, or behind the memory that Builder::memory gives"
    )]
    IsRam(u64),
    /// No physical memory is left.
    #[error("no physical memory is left for {0:#x} more bytes; Builder::memory gives more")]
    Exhausted(u64),
    /// No such register.
    #[error(
        "unknown register \"{0}\"; names are those of the manuals, as rax, r8d, xmm3, cr0, fs.base, zf, msr:c0000080"
    )]
    Register(String),
    /// A value does not fit into a register.
    #[error("{value:#x} does not fit into {register}, which has {bits} bits")]
    Width {
        /// The register.
        register: String,
        /// Its bits.
        bits: u32,
        /// What was to be written.
        value: u128,
    },
    /// A register is wider than what it is read as.
    #[error("{register} has {bits} bits; Sandbox::read_register reads it as a whole")]
    Wide {
        /// The register.
        register: String,
        /// Its bits.
        bits: u32,
    },
    /// The processor would refuse the value, or has no such register.
    #[error(
        "the processor does not take {value:#x} for {register}: it has reserved bits, is not possible in this mode, or the CPU model has no such register"
    )]
    Refused {
        /// The register.
        register: String,
        /// What was to be written.
        value: u128,
    },
    /// Descriptor tables have not been installed.
    #[error("there are no descriptor tables; Sandbox::install_tables makes them")]
    NoTables,
    /// A context that was saved without memory.
    #[error("the context was saved by another sandbox, with other memory or paging")]
    Foreign,
}
