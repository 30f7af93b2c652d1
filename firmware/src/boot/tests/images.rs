//! Builders of the smallest images that each protocol accepts.

/// What the code of every image is: recognisable bytes.
pub(super) const CODE: &[u8] = b"\xF4\xEB\xFDkernel code";

fn put(bytes: &mut [u8], offset: usize, value: &[u8]) {
    bytes[offset..offset + value.len()].copy_from_slice(value);
}

/// A bzImage with one setup sector after the boot sector, protocol 2.15, relocatable, preferred at 16 MiB, with a
/// 64-bit entry.
pub(super) fn bzimage() -> Vec<u8> {
    let mut image = vec![0; 1024];
    put(&mut image, 0x1F1, &[1]);
    put(&mut image, 0x1F4, &1_u32.to_le_bytes());
    put(&mut image, 0x1FE, &[0x55, 0xAA, 0xEB, 0x6A]);
    put(&mut image, 0x202, b"HdrS");
    put(&mut image, 0x206, &0x020F_u16.to_le_bytes());
    put(&mut image, 0x211, &[1]);
    put(&mut image, 0x22C, &0x7FFF_FFFF_u32.to_le_bytes());
    put(&mut image, 0x234, &[1]);
    put(&mut image, 0x236, &1_u16.to_le_bytes());
    put(&mut image, 0x238, &255_u32.to_le_bytes());
    put(&mut image, 0x258, &0x100_0000_u64.to_le_bytes());
    put(&mut image, 0x260, &0x10_0000_u32.to_le_bytes());
    image.extend_from_slice(CODE);
    image
}

/// A bzImage changed at one place.
pub(super) fn bzimage_with(offset: usize, value: &[u8]) -> Vec<u8> {
    let mut image = bzimage();
    put(&mut image, offset, value);
    image
}

/// A note as in a note segment.
pub(super) fn note(kind: u32, description: &[u8]) -> Vec<u8> {
    let mut note = Vec::new();
    for field in [4, description.len() as u32, kind] {
        note.extend_from_slice(&field.to_le_bytes());
    }
    note.extend_from_slice(b"Xen\0");
    note.extend_from_slice(description);
    note.resize(note.len().next_multiple_of(4), 0);
    note
}

/// One ELF segment: type, (virtual, physical) address, contents, size in memory.
pub(super) struct Part<'a>(pub(super) u32, pub(super) (u64, u64), pub(super) &'a [u8], pub(super) u64);

/// An ELF executable for x86-64.
pub(super) fn elf64(entry: u64, parts: &[Part]) -> Vec<u8> {
    let mut image = vec![0; 64 + 56 * parts.len()];
    put(&mut image, 0, b"\x7FELF\x02\x01\x01");
    put(&mut image, 16, &[2, 0, 62, 0, 1]);
    put(&mut image, 24, &entry.to_le_bytes());
    put(&mut image, 32, &64_u64.to_le_bytes());
    put(&mut image, 54, &[56, 0, parts.len() as u8]);
    for (index, Part(kind, (vaddr, paddr), data, memsz)) in parts.iter().enumerate() {
        let at = 64 + 56 * index;
        put(&mut image, at, &kind.to_le_bytes());
        let offset = image.len() as u64;
        for (field, value) in [offset, *vaddr, *paddr, data.len() as u64, *memsz, 4].into_iter().enumerate() {
            put(&mut image, at + 8 + 8 * field, &value.to_le_bytes());
        }
        image.extend_from_slice(data);
    }
    image
}

/// An ELF executable for i386.
pub(super) fn elf32(entry: u32, parts: &[Part]) -> Vec<u8> {
    let mut image = vec![0; 52 + 32 * parts.len()];
    put(&mut image, 0, b"\x7FELF\x01\x01\x01");
    put(&mut image, 16, &[2, 0, 3, 0, 1]);
    put(&mut image, 24, &entry.to_le_bytes());
    put(&mut image, 28, &52_u32.to_le_bytes());
    put(&mut image, 42, &[32, 0, parts.len() as u8]);
    for (index, Part(kind, (vaddr, paddr), data, memsz)) in parts.iter().enumerate() {
        let at = 52 + 32 * index;
        let offset = image.len() as u32;
        let fields = [*kind, offset, *vaddr as u32, *paddr as u32, data.len() as u32, *memsz as u32, 7, 4];
        for (field, value) in fields.into_iter().enumerate() {
            put(&mut image, at + 4 * field, &value.to_le_bytes());
        }
        image.extend_from_slice(data);
    }
    image
}

/// An x86-64 ELF kernel at 1 MiB with a BSS of a page and a PVH entry.
pub(super) fn pvh() -> Vec<u8> {
    let note = note(18, &0x10_0004_u32.to_le_bytes());
    elf64(
        0xFFFF_FFFF_8010_0000,
        &[Part(1, (0xFFFF_FFFF_8010_0000, 0x10_0000), CODE, 0x1000), Part(4, (0, 0), &note, 0)],
    )
}

/// A multiboot header with these flags, and nothing behind.
pub(super) fn multiboot_header(flags: u32) -> Vec<u8> {
    let magic = 0x1BAD_B002_u32;
    let checksum = 0_u32.wrapping_sub(magic).wrapping_sub(flags);
    [magic, flags, checksum].iter().flat_map(|field| field.to_le_bytes()).collect()
}

/// A multiboot ELF kernel for i386, linked at 3 GiB and loaded at 1 MiB.
pub(super) fn multiboot_elf() -> Vec<u8> {
    let mut contents = multiboot_header(3);
    contents.extend_from_slice(CODE);
    elf32(0xC010_000C, &[Part(1, (0xC010_0000, 0x10_0000), &contents, 0x2000)])
}

/// A flat multiboot kernel: 4 bytes before the header, loaded at 2 MiB.
pub(super) fn multiboot_flat(load_end: u32, bss_end: u32) -> Vec<u8> {
    let mut image = vec![0x90; 4];
    image.extend_from_slice(&multiboot_header(1 << 16));
    for field in [0x20_0004, 0x20_0000, load_end, bss_end, 0x20_0024_u32] {
        image.extend_from_slice(&field.to_le_bytes());
    }
    image.extend_from_slice(CODE);
    image
}
