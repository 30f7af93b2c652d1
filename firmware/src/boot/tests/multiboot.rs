//! Multiboot 1.

use super::{images::*, *};

/// Fields of the information structure, from EBX.
const FLAGS: u64 = 0;
const MEM_LOWER: u64 = 4;
const MEM_UPPER: u64 = 8;
const CMDLINE: u64 = 16;
const MODS_COUNT: u64 = 20;
const MODS_ADDR: u64 = 24;
const MMAP_LENGTH: u64 = 44;
const MMAP_ADDR: u64 = 48;
const BOOT_LOADER_NAME: u64 = 64;

impl Guest {
    fn info(&self, field: u64) -> u64 {
        self.u32(self.state.rbx + field).into()
    }
}

#[test]
fn elf_kernel_starts_at_the_physical_address_of_its_entry() {
    let guest = Guest::start(16, &multiboot_elf(), &[], "").unwrap();
    assert_eq!(guest.state.mode, BootMode::Protected32);
    assert_eq!(guest.state.rip, 0x10_000C);
    assert_eq!(guest.state.rax, 0x2BAD_B002);
    assert_eq!(guest.bytes(0x10_000C, CODE.len()), CODE);
}

#[test]
fn flat_kernel_is_loaded_as_its_header_says_and_its_bss_is_cleared() {
    let memory = GuestMemory::new(16 << 20).unwrap();
    memory.write(0x20_0000, &[0xAA; 0x2000]).unwrap();
    let kernel = multiboot_flat(0, 0x20_1000);
    let image = GuestImage { kernel: &kernel, modules: &[], cmdline: "", name: "" };
    let state = crate::prepare(&memory, &image, &fixture::machine(1)).unwrap();
    let guest = Guest { memory, state };
    assert_eq!(guest.state.rip, 0x20_0024);
    assert_eq!(guest.bytes(0x20_0000, kernel.len()), kernel);
    assert_eq!(guest.bytes(0x20_0FFE, 4), [0, 0, 0xAA, 0xAA]);
}

#[test]
fn flat_kernel_ends_where_its_header_says() {
    let guest = Guest::start(16, &multiboot_flat(0x20_0026, 0), &[], "").unwrap();
    assert_eq!(guest.bytes(0x20_0024, 4), [CODE[0], CODE[1], 0, 0]);
}

#[test]
fn information_has_command_line_memory_and_loader() {
    let guest = Guest::start(16, &multiboot_elf(), &[], "root=fd0 -v").unwrap();
    assert_eq!(guest.info(FLAGS), 0b10_0100_1101);
    assert_eq!(guest.info(MEM_LOWER), 639);
    assert!((14 << 10..=15 << 10).contains(&guest.info(MEM_UPPER)));
    assert_eq!(guest.string(guest.info(CMDLINE)), "a_kernel root=fd0 -v");
    assert_eq!(guest.string(guest.info(BOOT_LOADER_NAME)), "emu");
}

#[test]
fn memory_map_entries_say_their_size() {
    let guest = Guest::start(16, &multiboot_elf(), &[], "").unwrap();
    let (start, length) = (guest.info(MMAP_ADDR), guest.info(MMAP_LENGTH));
    assert_eq!(length % 24, 0);
    let entries: Vec<_> = (0..length / 24).map(|index| start + 24 * index).collect();
    assert!(entries.iter().all(|&at| guest.u32(at) == 20));
    assert_eq!(
        (guest.u64(entries[0] + 4), guest.u64(entries[0] + 12), guest.u32(entries[0] + 20)),
        (0, 0x9_FC00, 1)
    );
    let ram: u64 = entries.iter().filter(|&&at| guest.u32(at + 20) == 1).map(|&at| guest.u64(at + 12)).sum();
    assert!(ram > 15 << 20 && ram < 16 << 20);
}

#[test]
fn modules_are_on_page_boundaries_behind_the_kernel_with_their_command_lines() {
    let modules = [
        Module { bytes: &[7; 5000], cmdline: "one a=b", name: "first" },
        Module { bytes: &[8; 3], cmdline: "", name: "second" },
    ];
    let guest = Guest::start(16, &multiboot_elf(), &modules, "").unwrap();
    assert_eq!(guest.info(MODS_COUNT), 2);
    let list = guest.info(MODS_ADDR);
    let mut previous_end = 0x10_2000;
    for (index, (module, line)) in modules.iter().zip(["first one a=b", "second"]).enumerate() {
        let entry = list + 16 * index as u64;
        let (start, end): (u64, u64) = (guest.u32(entry).into(), guest.u32(entry + 4).into());
        assert_eq!(start % 4096, 0);
        assert!(start >= previous_end);
        assert_eq!(guest.bytes(start, (end - start) as usize), module.bytes);
        assert_eq!(guest.string(guest.u32(entry + 8).into()), line);
        previous_end = end;
    }
}

#[test]
fn header_with_a_wrong_checksum_is_none() {
    let mut kernel = multiboot_header(3);
    kernel[8] ^= 1;
    assert!(super::super::multiboot::find_header(&kernel).is_none());
    let mut late = vec![0; 8192];
    late.extend_from_slice(&multiboot_header(3));
    assert!(super::super::multiboot::find_header(&late).is_none());
}
