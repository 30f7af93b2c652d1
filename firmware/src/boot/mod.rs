//! Boot protocols: what a kernel file is, where it goes in guest RAM, and how the processor enters it.
//!
//! The order in which a file is recognised: Linux image, multiboot header, ELF with PVH note. A kernel that is
//! both multiboot and PVH (Xen) is started as multiboot, which has a place for more than one module.

mod elf;
mod entry;
mod error;
mod linux;
mod loader;
mod multiboot;
mod placement;
mod pvh;
mod setup_header;
mod state;

pub use error::BootError;
pub use state::{BootMode, BootState, DescriptorTable, Segment};

use crate::{e820::MemoryMap, layout::MachineLayout};
use elf::ElfImage;
use emu_core::memory::GuestMemory;
use linux::LinuxImage;
use loader::Loader;
use multiboot::MultibootImage;
use placement::Placement;
use pvh::PvhImage;

/// What is to be started.
#[derive(Debug, Clone, Copy)]
pub struct GuestImage<'a> {
    /// The kernel file.
    pub kernel: &'a [u8],
    /// Initrds of a Linux kernel, which sees them as one, or modules of a multiboot or PVH kernel.
    pub modules: &'a [Module<'a>],
    /// The kernel's command line.
    pub cmdline: &'a str,
    /// Name of the kernel file, for kernels that expect it as the first word of their command line.
    pub name: &'a str,
}

/// An initrd or boot module.
#[derive(Debug, Clone, Copy)]
pub struct Module<'a> {
    /// Its contents.
    pub bytes: &'a [u8],
    /// Its own command line, which Linux does not have.
    pub cmdline: &'a str,
    /// Name of its file, for kernels that expect it as the first word of that line.
    pub name: &'a str,
}

/// By which protocol a kernel file is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// The Linux/x86 boot protocol.
    Linux,
    /// Multiboot 1.
    Multiboot,
    /// PVH.
    Pvh,
}

/// A kernel file that has been recognised and checked.
#[derive(Debug)]
pub(crate) enum Kernel<'a> {
    Linux(LinuxImage<'a>),
    Multiboot(MultibootImage<'a>),
    Pvh(PvhImage<'a>),
}

impl<'a> Kernel<'a> {
    /// Recognises and checks a kernel file.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, BootError> {
        if linux::detect(bytes) {
            LinuxImage::parse(bytes).map(Kernel::Linux)
        } else if let Some(offset) = multiboot::find_header(bytes) {
            MultibootImage::parse(bytes, offset).map(Kernel::Multiboot)
        } else if elf::detect(bytes) {
            PvhImage::parse(ElfImage::parse(bytes)?).map(Kernel::Pvh)
        } else {
            Err(BootError::NotAKernel(describe(bytes)))
        }
    }

    fn protocol(&self) -> Protocol {
        match self {
            Kernel::Linux(_) => Protocol::Linux,
            Kernel::Multiboot(_) => Protocol::Multiboot,
            Kernel::Pvh(_) => Protocol::Pvh,
        }
    }
}

/// Recognises and checks a kernel file without loading it.
pub fn identify(kernel: &[u8]) -> Result<Protocol, BootError> {
    Kernel::parse(kernel).map(|kernel| kernel.protocol())
}

/// What a file that is no kernel seems to be.
fn describe(bytes: &[u8]) -> &'static str {
    let signatures: [(&[u8], &str); 7] = [
        (b"\x1F\x8B", "compressed with gzip (unpack it first)"),
        (b"\xFD7zXZ\0", "compressed with xz (unpack it first)"),
        (b"\x28\xB5\x2F\xFD", "compressed with zstd (unpack it first)"),
        (b"070701", "a cpio archive (an initrd?)"),
        (b"MZ", "an EFI or DOS program"),
        (b"!<arch>\n", "a Debian package or library (unpack it first)"),
        (b"#!", "a script"),
    ];
    let known = signatures.iter().find(|(signature, _)| bytes.starts_with(signature));
    match known {
        Some((_, what)) => what,
        None if bytes.is_empty() => "empty",
        None if bytes.get(0x8001..0x8006) == Some(b"CD001") => "a CD image",
        None if bytes.get(510..512) == Some(&[0x55, 0xAA]) => "a boot sector or disk image",
        None => "of no known format",
    }
}

/// Puts `image`, which was parsed as `kernel`, into RAM as `map` allows.
pub(crate) fn load(
    kernel: &Kernel,
    image: &GuestImage,
    memory: &GuestMemory,
    layout: &MachineLayout,
    (map, rsdp): (&MemoryMap, u64),
) -> Result<BootState, BootError> {
    let placement = Placement::new(map, memory.size());
    let mut loader = Loader { memory, layout, map, image, rsdp, placement };
    match kernel {
        Kernel::Linux(linux) => linux.load(&mut loader),
        Kernel::Multiboot(multiboot) => multiboot.load(&mut loader),
        Kernel::Pvh(pvh) => pvh.load(&mut loader),
    }
}

#[cfg(test)]
mod tests;
