//! What a user reads when a guest cannot be started.

use super::{images::*, *};
use rstest::rstest;

fn message(mib: u64, kernel: &[u8], modules: &[Module], cmdline: &str) -> String {
    match Guest::start(mib, kernel, modules, cmdline) {
        Ok(_) => "started".into(),
        Err(error) => error.to_string(),
    }
}

#[rstest]
#[case::empty(b"", "empty")]
#[case::gzip(b"\x1F\x8B\x08 and more", "compressed with gzip (unpack it first)")]
#[case::script(b"#!/bin/sh\n", "a script")]
#[case::text(b"hello", "of no known format")]
fn file_that_is_no_kernel_is_named(#[case] kernel: &[u8], #[case] what: &str) {
    let expected = format!(
        "the kernel file is {what}, not a kernel: give a Linux bzImage, an ELF file with a PVH note, or a \
         multiboot kernel"
    );
    assert_eq!(message(16, kernel, &[], ""), expected);
}

#[rstest]
#[case::linux_header(&bzimage()[..0x210], "the setup header ends at byte 620, but the file has 528 bytes")]
#[case::linux_code(&bzimage()[..1024], "the kernel's code ends at byte 1025, but the file has 1024 bytes")]
#[case::elf_header(&pvh()[..40], "the ELF header ends at byte 64, but the file has 40 bytes")]
#[case::elf_program_headers(&pvh()[..100], "the ELF program header table ends at byte 120, but the file has 100")]
#[case::elf_segment(&pvh()[..180], "an ELF segment ends at byte")]
#[case::multiboot(&multiboot_flat(0x20_1000, 0), "the multiboot kernel ends at byte 4096, but")]
fn truncated_file_is_refused(#[case] kernel: &[u8], #[case] expected: &str) {
    let message = message(64, kernel, &[], "");
    assert!(message.contains(expected), "{message}");
    assert!(message.starts_with("the kernel file is truncated: "), "{message}");
    assert!(message.ends_with("copy it again"), "{message}");
}

#[rstest]
#[case::old_protocol(&bzimage_with(0x206, &[1, 2]), "its boot protocol is older than 2.02")]
#[case::zimage(&bzimage_with(0x211, &[0]), "it is a zImage")]
#[case::wild_address(&bzimage_with(0x258, &[0xFF; 8]), "its preferred address is no address")]
#[case::elf_without_protocol(
    &elf64(0, &[Part(1, (0, 0x10_0000), CODE, 64)]),
    "neither a multiboot header nor a PVH note"
)]
#[case::object_file(&elf64(0, &[]), "without a loadable segment")]
#[case::small_segment(&elf64(0, &[Part(1, (0, 0x10_0000), CODE, 1)]), "larger in the file than in memory")]
#[case::unknown_requirement(&multiboot_header(1 << 4), "requires features that are not known")]
#[case::neither_elf_nor_flat(&multiboot_header(0), "it is not an ELF file")]
#[case::over_the_vga_window(
    &elf64(0, &[Part(1, (0, 0xA_0000), CODE, 64), Part(4, (0, 0), &note(18, &[0; 4]), 0)]),
    "the kernel is to be loaded at 0xa0000 to 0xa0040, where a PC has no free RAM"
)]
#[case::note_without_address(
    &elf64(0, &[Part(1, (0, 0x10_0000), CODE, 64), Part(4, (0, 0), &note(18, b"x"), 0)]),
    "its PVH note holds no address"
)]
fn kernel_that_cannot_be_started_says_why(#[case] kernel: &[u8], #[case] expected: &str) {
    let message = message(16, kernel, &[], "");
    assert!(message.contains(expected), "{message}");
}

#[test]
fn elf_for_another_processor_is_refused() {
    let mut kernel = pvh();
    kernel[18] = 183;
    assert!(message(16, &kernel, &[], "").contains("another processor (machine 183)"));
}

#[test]
fn kernel_larger_than_ram_says_what_it_needs() {
    assert_eq!(
        message(16, &bzimage(), &[], ""),
        "the kernel needs RAM up to address 0x1100000, and RAM has 16 MiB: use --memory 19M or more"
    );
}

#[test]
fn ram_of_the_size_that_was_asked_for_is_enough() {
    assert_eq!(message(19, &bzimage(), &[], ""), "started");
}

#[rstest]
#[case::linux(&bzimage(), "initrd")]
#[case::multiboot(&multiboot_elf(), "module")]
#[case::pvh(&pvh(), "module")]
fn module_larger_than_ram_says_how_much_it_needs(#[case] kernel: &[u8], #[case] what: &str) {
    let contents = vec![0; 41 << 20];
    assert_eq!(
        message(32, kernel, &[Module { bytes: &contents, cmdline: "", name: "" }], ""),
        format!(
            "the {what} needs 41 MiB, and 32 MiB of RAM has no such room beside the kernel: use a larger --memory"
        )
    );
}

#[test]
fn long_command_line_is_refused() {
    let cmdline = "x".repeat(256);
    assert_eq!(
        message(64, &bzimage(), &[], &cmdline),
        "the kernel command line has 256 bytes, and this kernel takes at most 255: shorten --append"
    );
    assert_eq!(message(64, &bzimage(), &[], &cmdline[1..]), "started");
}

#[test]
fn kernel_of_64_bits_needs_long_mode() {
    let memory = GuestMemory::new(64 << 20).unwrap();
    let mut layout = fixture::machine(1);
    layout.long_mode = false;
    let image = GuestImage { kernel: &bzimage(), modules: &[], cmdline: "", name: "" };
    let error = crate::prepare(&memory, &image, &layout).unwrap_err();
    assert!(matches!(error, BootError::NeedsLongMode));
}

#[test]
fn one_mib_is_too_little() {
    assert!(message(1, &multiboot_elf(), &[], "").starts_with("1 MiB of RAM is too little"));
}
