//! The Linux boot protocol.

use super::{images::*, *};
use crate::e820::EBDA_START;
use rstest::rstest;

/// Addresses in `boot_params`, from RSI.
const RAMDISK_IMAGE: u64 = 0x218;
const RAMDISK_SIZE: u64 = 0x21C;
const CMD_LINE_PTR: u64 = 0x228;

fn initrd(bytes: &[u8]) -> Module<'_> {
    Module { bytes, cmdline: "", name: "" }
}

#[test]
fn kernel_is_entered_at_its_64_bit_entry_where_it_prefers_to_be() {
    let guest = Guest::start(64, &bzimage(), &[], "console=ttyS0").unwrap();
    assert_eq!(guest.state.mode, BootMode::Long64);
    assert_eq!(guest.state.rip, 0x100_0200);
    assert_eq!(guest.bytes(0x100_0000, CODE.len()), CODE);
    assert_eq!(guest.state.cs.attributes & (1 << 13), 1 << 13, "64-bit code segment");
}

#[test]
fn kernel_without_64_bit_entry_is_entered_in_protected_mode() {
    let guest = Guest::start(64, &bzimage_with(0x236, &[0, 0]), &[], "").unwrap();
    assert_eq!(guest.state.mode, BootMode::Protected32);
    assert_eq!(guest.state.rip, 0x100_0000);
    assert_eq!(guest.state.cr0 & (1 << 31), 0);
    assert_eq!(guest.u32(guest.state.rsi + 0x214), 0x100_0000, "code32_start");
}

#[test]
fn kernel_that_is_not_relocatable_is_loaded_at_1_mib() {
    let guest = Guest::start(8, &bzimage_with(0x234, &[0]), &[], "").unwrap();
    assert_eq!(guest.state.rip, 0x10_0200);
    assert_eq!(guest.bytes(0x10_0000, CODE.len()), CODE);
}

#[test]
fn boot_params_have_command_line_header_and_root_pointer() {
    let guest = Guest::start(64, &bzimage(), &[], "console=ttyS0 quiet").unwrap();
    let params = guest.state.rsi;
    assert_eq!(guest.string(guest.u32(params + CMD_LINE_PTR).into()), "console=ttyS0 quiet");
    assert_eq!(guest.bytes(params + 0x202, 4), b"HdrS");
    assert_eq!(guest.bytes(params + 0x210, 1), [0xFF], "type_of_loader");
    assert_eq!(guest.bytes(guest.u64(params + 0x70), 8), b"RSD PTR ");
    assert_eq!(guest.bytes(params + 0x1EF, 1), [0], "sentinel");
    assert_eq!((guest.u32(params + RAMDISK_IMAGE), guest.u32(params + RAMDISK_SIZE)), (0, 0));
}

#[test]
fn e820_map_begins_with_conventional_memory_and_has_the_acpi_tables() {
    let guest = Guest::start(64, &bzimage(), &[], "").unwrap();
    let params = guest.state.rsi;
    let count = guest.bytes(params + 0x1E8, 1)[0];
    let entries: Vec<_> = (0..u64::from(count))
        .map(|index| params + 0x2D0 + 20 * index)
        .map(|at| (guest.u64(at), guest.u64(at + 8), guest.u32(at + 16)))
        .collect();
    assert_eq!(entries[0], (0, EBDA_START, 1));
    let acpi = entries.iter().find(|entry| entry.2 == 3).unwrap();
    let nvs = entries.iter().find(|entry| entry.2 == 4).unwrap();
    assert_eq!(acpi.0 + acpi.1, 64 << 20);
    assert_eq!(nvs.0 + nvs.1, acpi.0);
}

#[rstest]
#[case::end_of_ram(64, 0x7FFF_FFFF)]
#[case::said_by_the_kernel(64, 0x037F_FFFF)]
#[case::below_4_gib(5 << 10, 0xFFFF_FFFF)]
fn initrd_is_as_high_as_allowed(#[case] mib: u64, #[case] addr_max: u32) {
    let contents = vec![0x5A; 0x1801];
    let image = bzimage_with(0x22C, &addr_max.to_le_bytes());
    let guest = Guest::start(mib, &image, &[initrd(&contents)], "").unwrap();
    let address = u64::from(guest.u32(guest.state.rsi + RAMDISK_IMAGE));
    let size = guest.u32(guest.state.rsi + RAMDISK_SIZE);
    assert_eq!(size, 0x1804, "padded to a multiple of 4");
    assert_eq!(address % 4096, 0);
    assert_eq!(guest.bytes(address, contents.len()), contents);
    let limit = (mib << 20).min(0xC000_0000).min(u64::from(addr_max) + 1);
    assert!(address + u64::from(size) <= limit);
    assert!(limit - address < 0x1_0000, "{address:#x} is far below {limit:#x}");
}

#[test]
fn several_initrds_become_one() {
    let guest = Guest::start(64, &bzimage(), &[initrd(b"first"), initrd(b"second!!")], "").unwrap();
    let address = u64::from(guest.u32(guest.state.rsi + RAMDISK_IMAGE));
    assert_eq!(guest.u32(guest.state.rsi + RAMDISK_SIZE), 16);
    assert_eq!(guest.bytes(address, 16), b"first\0\0\0second!!");
}

#[test]
fn nothing_that_is_passed_overlaps() {
    let contents = vec![1; 0x4000];
    let guest = Guest::start(20, &bzimage(), &[initrd(&contents)], "x").unwrap();
    let params = guest.state.rsi;
    let mut ranges = [
        (0x100_0000, 0x10_0000),
        (params, 0x1000),
        (guest.u32(params + CMD_LINE_PTR).into(), 2),
        (guest.u32(params + RAMDISK_IMAGE).into(), 0x4000),
        (guest.state.gdt.base, 0x1000),
        (guest.state.rsp - 0x1000, 0x1000),
        (guest.state.cr3, 0x6000),
    ];
    ranges.sort_unstable();
    assert!(ranges.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0), "{ranges:x?}");
}

#[test]
fn guest_can_be_prepared_again_in_used_memory() {
    let guest = Guest::start(64, &bzimage(), &[], "again").unwrap();
    guest.memory.write(0x100_0000, &[0xFF; 0x100]).unwrap();
    guest.memory.write(guest.state.rsi, &[0xFF; 0x1000]).unwrap();
    let image = GuestImage { kernel: &bzimage(), modules: &[], cmdline: "again", name: "" };
    let state = crate::prepare(&guest.memory, &image, &fixture::machine(2)).unwrap();
    assert_eq!(state, guest.state);
    assert_eq!(guest.bytes(state.rsi + 0x1EF, 1), [0]);
}
