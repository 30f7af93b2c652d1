//! PVH.

use super::{images::*, *};
use rstest::rstest;

#[test]
fn kernel_starts_at_its_note_in_protected_mode() {
    let guest = Guest::start(16, &pvh(), &[], "").unwrap();
    assert_eq!(guest.state.mode, BootMode::Protected32);
    assert_eq!(guest.state.rip, 0x10_0004);
    assert_eq!(guest.bytes(0x10_0000, CODE.len()), CODE);
}

#[rstest]
#[case::four_bytes(&0x10_0008_u32.to_le_bytes())]
#[case::eight_bytes(&0x10_0008_u64.to_le_bytes())]
fn note_is_found_behind_others(#[case] description: &[u8]) {
    let notes = [note(6, b"generic"), note(18, description)].concat();
    let parts = [Part(1, (0x10_0000, 0x10_0000), CODE, 0x1000), Part(4, (0, 0), &notes, 0)];
    assert_eq!(Guest::start(16, &elf64(0, &parts), &[], "").unwrap().state.rip, 0x10_0008);
    assert_eq!(Guest::start(16, &elf32(0, &parts), &[], "").unwrap().state.rip, 0x10_0008);
}

#[test]
fn start_info_has_everything() {
    let modules = [Module { bytes: b"module", cmdline: "its line", name: "" }];
    let guest = Guest::start(16, &pvh(), &modules, "the line").unwrap();
    let info = guest.state.rbx;
    assert_eq!((guest.u32(info), guest.u32(info + 4)), (0x336E_C578, 1));
    assert_eq!(guest.u32(info + 12), 1, "nr_modules");
    let module = guest.u64(info + 16);
    assert_eq!(guest.bytes(guest.u64(module), 6), b"module");
    assert_eq!(guest.u64(module + 8), 6);
    assert_eq!(guest.string(guest.u64(module + 16)), "its line");
    assert_eq!(guest.string(guest.u64(info + 24)), "the line");
    assert_eq!(guest.bytes(guest.u64(info + 32), 8), b"RSD PTR ");
    let memmap = guest.u64(info + 40);
    assert_eq!((guest.u64(memmap), guest.u64(memmap + 8), guest.u32(memmap + 16)), (0, 0x9_FC00, 1));
    assert!(guest.u32(info + 48) > 3, "memmap_entries");
}

#[test]
fn bss_is_cleared() {
    let memory = GuestMemory::new(16 << 20).unwrap();
    memory.write(0x10_0000, &[0xAA; 0x2000]).unwrap();
    let image = GuestImage { kernel: &pvh(), modules: &[], cmdline: "", name: "" };
    crate::prepare(&memory, &image, &fixture::machine(1)).unwrap();
    let mut tail = [0; 4];
    memory.read(0x10_0FFE, &mut tail).unwrap();
    assert_eq!(tail, [0, 0, 0xAA, 0xAA]);
}
