//! Why a guest cannot be started: one sentence each, with what would work.

use emu_core::memory::MemoryError;

/// Why a guest cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The file is something else.
    #[error(
        "the kernel file is {0}, not a kernel: give a Linux bzImage, an ELF file with a PVH note, or a multiboot \
         kernel"
    )]
    NotAKernel(&'static str),
    /// An ELF file that says nowhere how it is started.
    #[error(
        "the kernel file is an ELF file with neither a multiboot header nor a PVH note: for Linux give the bzImage, \
         or a vmlinux built with CONFIG_PVH"
    )]
    ElfWithoutProtocol,
    /// An ELF file for other processors.
    #[error("the kernel file is an ELF file for another processor (machine {0}): give one built for x86")]
    WrongMachine(u16),
    /// The file ends early.
    #[error(
        "the kernel file is truncated: {what} ends at byte {end}, but the file has {size} bytes: copy it again"
    )]
    Truncated {
        /// Which part is missing.
        what: &'static str,
        /// Where that part would end.
        end: u64,
        /// The file's size.
        size: u64,
    },
    /// A header field contradicts another.
    #[error("the kernel file is damaged: {0}")]
    Damaged(&'static str),
    /// The kernel asks for what is not offered.
    #[error("the kernel cannot be started: {0}")]
    Unsupported(&'static str),
    /// A 64-bit kernel on 32-bit CPUs.
    #[error("the kernel has 64-bit code only, and the CPU model has no long mode: choose a 64-bit CPU model")]
    NeedsLongMode,
    /// The kernel is larger than RAM.
    #[error(
        "the kernel needs RAM up to address {end:#x}, and RAM has {ram_mib} MiB: use --memory {need_mib}M or more"
    )]
    TooLargeForRam {
        /// One past the last address that it needs.
        end: u64,
        /// RAM in MiB.
        ram_mib: u64,
        /// RAM that would do, in MiB.
        need_mib: u64,
    },
    /// The kernel's place is not free RAM.
    #[error(
        "the kernel is to be loaded at {start:#x} to {end:#x}, where a PC has no free RAM: give a kernel linked \
         elsewhere, at 1 MiB for example"
    )]
    NotFree {
        /// First address.
        start: u64,
        /// One past the last.
        end: u64,
    },
    /// No room for an initrd or module.
    #[error(
        "the {what} needs {need_mib} MiB, and {ram_mib} MiB of RAM has no such room beside the kernel: use a larger \
         --memory"
    )]
    NoRoom {
        /// What is to be placed.
        what: &'static str,
        /// Its size, rounded up.
        need_mib: u64,
        /// RAM in MiB.
        ram_mib: u64,
    },
    /// The command line is longer than the kernel reads.
    #[error(
        "the kernel command line has {length} bytes, and this kernel takes at most {limit}: shorten --append"
    )]
    CommandLineTooLong {
        /// Its length.
        length: usize,
        /// The kernel's limit.
        limit: usize,
    },
    /// Too little RAM for the tables.
    #[error("{ram_mib} MiB of RAM is too little for any guest: use --memory 2M or more")]
    TooLittleMemory {
        /// RAM in MiB.
        ram_mib: u64,
    },
    /// Guest memory refused a write that the memory map allows.
    #[error("guest memory cannot be written")]
    Memory(#[from] MemoryError),
}
