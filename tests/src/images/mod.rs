//! Small guests of our own, assembled here: one for each way that the emulator starts a kernel which is not Linux,
//! and a program for Linux ([`vector_program`]).
//!
//! Each kernel prints on the first serial port what its loader told it, its command line, its module's command line and
//! its module's content, and ends by isa-debug-exit with a value that depends on the module's bytes.

mod elf;
mod program;
mod test_kernel;
mod vectors;

pub use program::{DEBUG_EXIT_PORT, WRONG_START};
pub use test_kernel::Check;
pub use vectors::{VectorResults, vector_program};

use elf::{Class, Elf};
use iced_x86::IcedError;
use program::Protocol;

/// Where the images are loaded: the first byte over 1 MiB.
const LOAD_ADDRESS: u32 = 0x10_0000;

/// First word of a multiboot header. Multiboot Specification 0.6.96, 3.1.1.
const MULTIBOOT_HEADER_MAGIC: u32 = 0x1BAD_B002;
/// Multiboot flags bit 1: memory information is wanted.
const MEMORY_INFO: u32 = 1 << 1;
/// Multiboot flags bit 16: the header's own addresses say how to load the image.
const ADDRESSES: u32 = 1 << 16;

/// Type of the PVH note that holds the entry point. Xen, public/elfnote.h.
const XEN_ELFNOTE_PHYS32_ENTRY: u32 = 18;

/// A 32-bit ELF executable with a multiboot 1 header.
pub fn multiboot_elf() -> Result<Vec<u8>, IcedError> {
    let header = multiboot_header(MEMORY_INFO, &[]);
    let entry = LOAD_ADDRESS + header.len() as u32;
    let image = [header, program::assemble(Protocol::Multiboot, entry)?].concat();
    Ok(Elf { class: Class::Elf32, entry, address: LOAD_ADDRESS, content: &image, note: None }.bytes())
}

/// A flat multiboot 1 image: loaded by the addresses in its header, no ELF at all.
pub fn multiboot_flat() -> Result<Vec<u8>, IcedError> {
    const HEADER_SIZE: u32 = 32;
    let entry = LOAD_ADDRESS + HEADER_SIZE;
    let program = program::assemble(Protocol::Multiboot, entry)?;
    let end = entry + program.len() as u32;
    // header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr
    let header = multiboot_header(MEMORY_INFO | ADDRESSES, &[LOAD_ADDRESS, LOAD_ADDRESS, end, end, entry]);
    assert_eq!(header.len() as u32, HEADER_SIZE, "the entry address is counted from the header's size");
    Ok([header, program].concat())
}

/// A 64-bit ELF executable with a PVH entry note. The entry itself is in 32-bit protected mode.
pub fn pvh_elf() -> Result<Vec<u8>, IcedError> {
    let program = program::assemble(Protocol::Pvh, LOAD_ADDRESS)?;
    let note = note(b"Xen\0", XEN_ELFNOTE_PHYS32_ENTRY, &LOAD_ADDRESS.to_le_bytes());
    let elf = Elf {
        class: Class::Elf64,
        entry: LOAD_ADDRESS,
        address: LOAD_ADDRESS,
        content: &program,
        note: Some(&note),
    };
    Ok(elf.bytes())
}

/// A multiboot ELF that makes the processor shut down: an interrupt without an IDT.
pub fn triple_fault_elf() -> Result<Vec<u8>, IcedError> {
    let header = multiboot_header(0, &[]);
    let entry = LOAD_ADDRESS + header.len() as u32;
    let image = [header, program::triple_fault(entry)?].concat();
    Ok(Elf { class: Class::Elf32, entry, address: LOAD_ADDRESS, content: &image, note: None }.bytes())
}

/// A 32-bit ELF of 64-bit code that tries the test devices, as test kernels are. Its exit value is zero, or a
/// [`Check`].
pub fn test_kernel_elf() -> Result<Vec<u8>, IcedError> {
    let header = multiboot_header(0, &[]);
    let entry = LOAD_ADDRESS + header.len() as u32;
    let image = [header, test_kernel::assemble(entry)?].concat();
    Ok(Elf { class: Class::Elf32, entry, address: LOAD_ADDRESS, content: &image, note: None }.bytes())
}

/// The value that the images write to [`DEBUG_EXIT_PORT`] for a module with this content.
pub fn debug_exit_value(module: &[u8]) -> u8 {
    module.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)) & 0x7F
}

fn multiboot_header(flags: u32, addresses: &[u32]) -> Vec<u8> {
    let checksum = 0u32.wrapping_sub(MULTIBOOT_HEADER_MAGIC).wrapping_sub(flags);
    let words = [MULTIBOOT_HEADER_MAGIC, flags, checksum];
    words.iter().chain(addresses).flat_map(|word| word.to_le_bytes()).collect()
}

/// An ELF note: sizes, type, name, descriptor. The name here is a multiple of four bytes long.
fn note(name: &[u8; 4], kind: u32, descriptor: &[u8; 4]) -> Vec<u8> {
    let head = [name.len() as u32, descriptor.len() as u32, kind];
    head.iter().flat_map(|word| word.to_le_bytes()).chain(*name).chain(*descriptor).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(bytes: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    #[test]
    fn the_multiboot_header_sums_to_zero_within_the_first_8_kib() {
        for image in [multiboot_elf().unwrap(), multiboot_flat().unwrap()] {
            let at = (0..8192).step_by(4).find(|&at| word(&image, at) == MULTIBOOT_HEADER_MAGIC).unwrap();
            let sum = (0..3).fold(0u32, |sum, index| sum.wrapping_add(word(&image, at + 4 * index)));
            assert_eq!(sum, 0);
        }
    }

    #[test]
    fn the_flat_image_ends_where_its_header_says() {
        let image = multiboot_flat().unwrap();
        assert_eq!(word(&image, 20), LOAD_ADDRESS + image.len() as u32);
    }

    #[test]
    fn the_pvh_note_is_in_the_image() {
        let note = note(b"Xen\0", 18, &LOAD_ADDRESS.to_le_bytes());
        assert!(pvh_elf().unwrap().windows(note.len()).any(|window| window == note));
    }

    #[test]
    fn the_exit_value_fits_an_exit_code_after_its_shift() {
        assert_eq!(debug_exit_value(&[0xFF, 0x02]), 1);
        assert_eq!(debug_exit_value(b"\x7F\x40"), 0x3F);
    }
}
