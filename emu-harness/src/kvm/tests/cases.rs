//! Setups of kernel code: one instruction each, with values that make a difference.

use crate::{Region, Rights, Setup, corpus::Mode, interpreter::Interpreter};
use emu_core::arch::{Cr0, Cr4, Efer};

/// A setup and what it is.
pub(super) struct Named {
    pub(super) name: String,
    pub(super) setup: Setup,
}

const CODE: u64 = 0x1000;
const DATA: u64 = 0x2000;
const STACK: u64 = 0x6000;
const STACK_TOP: u64 = 0x6800;
const GDT: u64 = 0x8000;

/// Kernel-only memory that allows everything.
const KERNEL: Rights = Rights { user: false, ..Rights::ALL };

/// Descriptors, two entries to a system one of 64-bit mode. Entry n has selector 8n.
const DESCRIPTORS: [u64; 22] = [
    0,
    0x00AF_9B00_0000_FFFF, // 08: 64-bit code
    0x00CF_9300_0000_FFFF, // 10: data
    0x00CF_9B00_0000_FFFF, // 18: 32-bit code
    0x00CF_1300_0000_FFFF, // 20: data, not present
    0x00AF_FB00_0000_FFFF, // 28: 64-bit code, DPL 3
    0x00CF_F200_0000_FFFF, // 30: data, DPL 3, not accessed
    0x0000_8900_2000_0067, // 38: available TSS
    0,
    0x0000_8200_2000_0FFF, // 48: LDT
    0,
    0x00AF_9E00_0000_FFFF, // 58: conforming 64-bit code, not accessed
    0x00CF_9000_0000_FFFF, // 60: read-only data, not accessed
    0x00AF_9800_0000_FFFF, // 68: execute-only 64-bit code
    0x0000_8B00_2000_0067, // 70: busy TSS
    0,
    0x0000_8C00_0008_1010, // 80: call gate to 8:1010
    0,
    0x00EF_9B00_0000_FFFF, // 90: code with both L and D
    0x0000_8900_2000_0067, // 98: TSS, whose upper half is a type
    0x0000_0900_0000_0000,
    0x008F_9200_1234_5678, // a8: 16-bit data
];
const SELECTORS: [u16; 24] = [
    0, 1, 3, 8, 9, 0x0B, 0x0C, 0x10, 0x13, 0x18, 0x20, 0x28, 0x2B, 0x30, 0x33, 0x38, 0x48, 0x58, 0x60, 0x68,
    0x70, 0x80, 0x90, 0xA8,
];

/// 64-bit kernel code with data, a stack and a GDT. RBX is the data's address.
pub(super) fn long(code: &[u8]) -> Setup {
    let mut state = Interpreter::new().state_in(Mode::Long64, 0, 0, &[]);
    let general = &mut state.general;
    (general.rip, general.gpr[3], general.gpr[4]) = (CODE, DATA, STACK_TOP - 0x100);
    let gdt: Vec<u8> = DESCRIPTORS.iter().flat_map(|entry| entry.to_le_bytes()).collect();
    let region = |address, bytes: Vec<u8>| Region { address, bytes, rights: KERNEL };
    let memory = vec![
        region(CODE, code.to_vec()),
        region(DATA, vec![0; 0x200]),
        region(STACK, vec![0; (STACK_TOP - STACK) as usize]),
        region(GDT, gdt),
    ];
    Setup { mode: Mode::Long64, state, memory, instructions: 1, stop: None }
}

/// Puts bytes into the region at `address`.
fn put(setup: &mut Setup, address: u64, bytes: &[u8]) {
    let region =
        setup.memory.iter_mut().rfind(|region| region.address <= address).expect("there is such a region");
    let at = (address - region.address) as usize;
    region.bytes[at..at + bytes.len()].copy_from_slice(bytes);
}

fn with(name: String, code: &[u8], change: impl FnOnce(&mut Setup)) -> Named {
    let mut setup = long(code);
    change(&mut setup);
    Named { name, setup }
}

/// MOV to and from CR0, CR3, CR4 and DR, LMSW, SMSW, CLTS.
pub(super) fn control_registers() -> Vec<Named> {
    let mut all = Vec::new();
    let cr0 = long(&[]).state.control.cr0.bits();
    let cr4 = long(&[]).state.control.cr4.bits();
    for bit in (0..64).filter(|bit| *bit != 31) {
        for value in [cr0 ^ 1 << bit, 1 << bit] {
            all.push(with(format!("mov cr0,{value:#x}"), &[0x0F, 0x22, 0xC0], |s| {
                s.state.general.gpr[0] = value;
            }));
        }
    }
    // Features that a host may not have: VMXE, SMXE, FSGSBASE and what came later.
    for bit in (0..13_u32).chain([24, 25, 30, 31, 32, 63]) {
        for value in [cr4 ^ 1 << bit, 1 << 5 | 1 << bit] {
            all.push(with(format!("mov cr4,{value:#x}"), &[0x0F, 0x22, 0xE0], |s| {
                s.state.general.gpr[0] = value;
            }));
        }
    }
    for value in [0x30_0000, 0x30_0018, 0x1_0000, 1 << 52, 1 << 62] {
        all.push(with(format!("mov cr3,{value:#x}"), &[0x0F, 0x22, 0xD8], |s| {
            s.state.general.gpr[0] = value;
        }));
    }
    for (number, modrm) in [(0, 0xC0), (2, 0xD0), (3, 0xD8), (4, 0xE0), (1, 0xC8), (5, 0xE8)] {
        all.push(with(format!("mov rax,cr{number}"), &[0x0F, 0x20, modrm], |s| s.state.control.cr2 = 0x1234));
    }
    for number in 0..8_u8 {
        let modrm = 0xC0 | number << 3;
        all.push(with(format!("mov rax,dr{number}"), &[0x0F, 0x21, modrm], |s| s.state.control.dr[0] = 0x77));
        for value in [0, 0x400, 0xFFFF_FFFF, 1 << 32, 0xFFFF_0FF0_u64] {
            // Breakpoints that are on would be KVM's to tell; bit 11 is that of a feature.
            if !matches!(number, 5 | 7) || value & 0x8FF == 0 {
                let change = |s: &mut Setup| s.state.general.gpr[0] = value;
                all.push(with(format!("mov dr{number},{value:#x}"), &[0x0F, 0x23, modrm], change));
            }
        }
    }
    for value in [0_u64, 1, 2, 4, 8, 0xE, 0xF, 0xFFF0] {
        all.push(with(format!("lmsw {value:#x}"), &[0x0F, 0x01, 0xF0], |s| s.state.general.gpr[0] = value));
    }
    for code in [&[0x0F, 0x01, 0xE0][..], &[0x48, 0x0F, 0x01, 0xE0], &[0x0F, 0x01, 0x23]] {
        all.push(with(format!("smsw {code:02x?}"), code, |s| s.state.general.gpr[0] = u64::MAX));
    }
    all.push(with("clts".into(), &[0x0F, 0x06], |s| s.state.control.cr0 |= Cr0::TS));
    for (name, code) in
        [("invlpg", &[0x0F, 0x01, 0x3B][..]), ("wbinvd", &[0x0F, 0x09]), ("invd", &[0x0F, 0x08])]
    {
        all.push(with(name.into(), code, |_| {}));
    }
    for (name, code) in [("cli", 0xFA), ("sti", 0xFB), ("pushf", 0x9C), ("hlt", 0xF4), ("cld", 0xFC)] {
        all.push(with(name.into(), &[code], |_| {}));
    }
    all
}

/// LGDT, LIDT, SGDT, SIDT.
pub(super) fn tables() -> Vec<Named> {
    let mut all = Vec::new();
    let bases = [0, 0x8000, 0xFFFF_FFFF, 0x7FFF_FFFF_FFFF, 0xFFFF_8000_0000_0000, 1 << 47, 1 << 63];
    for base in bases {
        for (name, modrm) in [("lgdt", 0x13), ("lidt", 0x1B)] {
            all.push(with(format!("{name} {base:#x}"), &[0x0F, 0x01, modrm], |s| {
                put(s, DATA, &[&0x1234_u16.to_le_bytes()[..], &u64::to_le_bytes(base)].concat());
            }));
        }
    }
    for (name, modrm) in [("sgdt", 0x03), ("sidt", 0x0B), ("sgdt reg", 0xC0), ("lgdt reg", 0xD0)] {
        all.push(with(name.into(), &[0x0F, 0x01, modrm], |s| s.state.segments.idtr.limit = 0));
    }
    all
}

/// What takes a selector from AX, over all kinds of descriptors.
pub(super) fn selectors() -> Vec<Named> {
    /// TI: the descriptor is in the LDT.
    const LOCAL: u16 = 1 << 2;
    let instructions: [(&str, &[u8]); 13] = [
        ("mov es,ax", &[0x8E, 0xC0]),
        ("mov ss,ax", &[0x8E, 0xD0]),
        ("mov ds,ax", &[0x8E, 0xD8]),
        ("mov fs,ax", &[0x8E, 0xE0]),
        ("mov gs,ax", &[0x8E, 0xE8]),
        ("mov cs,ax", &[0x8E, 0xC8]),
        ("lldt ax", &[0x0F, 0x00, 0xD0]),
        ("ltr ax", &[0x0F, 0x00, 0xD8]),
        ("lar ecx,ax", &[0x0F, 0x02, 0xC8]),
        ("lsl ecx,ax", &[0x0F, 0x03, 0xC8]),
        ("verr ax", &[0x0F, 0x00, 0xE0]),
        ("verw ax", &[0x0F, 0x00, 0xE8]),
        ("mov rax,ds", &[0x48, 0x8C, 0xD8]),
    ];
    let mut all = Vec::new();
    for (name, code) in instructions {
        for selector in SELECTORS {
            if name == "ltr ax" && selector & LOCAL != 0 {
                // Linux's emulator raises #GP(0), where the manual has the selector as the error code.
                continue;
            }
            all.push(with(format!("{name} of {selector:#x}"), code, |s| {
                s.state.general.gpr[0] = selector.into();
            }));
        }
    }
    all
}

/// Far jumps, returns and interrupt returns to all kinds of descriptors.
pub(super) fn far_transfers() -> Vec<Named> {
    const TARGET: u64 = 0x1100;
    let mut all = Vec::new();
    for selector in SELECTORS {
        all.push(with(format!("jmp far {selector:#x}"), &[0x48, 0xFF, 0x2B], |s| {
            put(s, DATA, &[&TARGET.to_le_bytes()[..], &selector.to_le_bytes()].concat());
        }));
        let words = |s: &mut Setup, words: &[u64]| {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            put(s, STACK_TOP - 0x100, &bytes);
        };
        all.push(with(format!("call far {selector:#x}"), &[0x48, 0xFF, 0x1B], |s| {
            put(s, DATA, &[&TARGET.to_le_bytes()[..], &selector.to_le_bytes()].concat());
        }));
        all.push(with(format!("retfq {selector:#x}"), &[0x48, 0xCB], |s| {
            words(s, &[TARGET, selector.into(), 0x6700, 0x30 | u64::from(selector & 3)]);
        }));
        for ss in [0x10, 0, 0x20] {
            all.push(with(format!("iretq {selector:#x}, ss {ss:#x}"), &[0x48, 0xCF], |s| {
                words(s, &[TARGET, selector.into(), 0x4_0ED7, 0x6700, ss]);
            }));
        }
    }
    for rip in [1 << 47, 1 << 63, 0xFFFF_8000_0000_0000] {
        all.push(with(format!("iretq to {rip:#x}"), &[0x48, 0xCF], |s| {
            let words = [rip, 8, 2, 0x6700, 0x10];
            let bytes: Vec<u8> = words.iter().flat_map(|word: &u64| word.to_le_bytes()).collect();
            put(s, STACK_TOP - 0x100, &bytes);
        }));
    }
    all
}

/// RDMSR and WRMSR, SWAPGS.
pub(super) fn msrs() -> Vec<Named> {
    let mut all = Vec::new();
    let numbers = [
        0x174,
        0x175,
        0x176,
        0x277,
        0xC000_0081,
        0xC000_0082,
        0xC000_0083,
        0xC000_0084,
        0xC000_0100,
        0xC000_0101,
        0xC000_0102,
        0xC000_0080_u32,
        0x1234_5678,
    ];
    for number in numbers {
        all.push(with(format!("rdmsr {number:#x}"), &[0x0F, 0x32], |s| {
            s.state.general.gpr[1] = number.into();
        }));
        // What EFER takes; then addresses that are canonical, or not, with 48 bits and with 57.
        for value in [0x500_u64, 0x501, 0x7FFF_FFFF_F000, 1 << 62, 0xFFFF_8000_0000_0000, u64::MAX] {
            all.push(with(format!("wrmsr {number:#x},{value:#x}"), &[0x0F, 0x30], |s| {
                let gpr = &mut s.state.general.gpr;
                (gpr[1], gpr[0], gpr[2]) = (number.into(), value & 0xFFFF_FFFF, value >> 32);
            }));
        }
    }
    all.push(with("swapgs".into(), &[0x0F, 0x01, 0xF8], |s| {
        s.state.segments.data[5].base = 5;
        s.state.msrs.kernel_gs_base = 7;
    }));
    all
}

/// Loads, stores, updates and fetches through entries of every kind, with page tables of the setup's own: their
/// accessed and dirty bits are compared.
pub(super) fn paging() -> Vec<Named> {
    const ROOT: u64 = 0x1_0000;
    const PAGE: u64 = 0x2_0000;
    let accesses: [(&str, &[u8]); 4] = [
        ("load", &[0x8B, 0x03]),
        ("store", &[0x89, 0x03]),
        ("update", &[0x01, 0x03]),
        ("jump", &[0xFF, 0xE3]),
    ];
    let protections = [Cr4::empty(), Cr4::SMEP, Cr4::SMAP];
    let mut all = Vec::new();
    // Present, writable, user; accessed; no-execute and a reserved bit.
    for flags in (0..16).flat_map(|low: u64| [low, low | 1 << 63, low | 1 << 51]) {
        let entry = flags & !8 | (flags & 8) << 2;
        for (name, code) in accesses {
            for (protection, write_protect) in protections.iter().flat_map(|p| [(*p, true), (*p, false)]) {
                // Whether an update that may not write has accessed the page is left to the processor: it may
                // set the flag ahead of time. SDM vol. 3, 5.8.
                if name == "update" && entry & 3 == 1 && write_protect {
                    continue;
                }
                let name = format!("{name}, entry {entry:#x}, {protection:?}, WP {write_protect}");
                all.push(with(name, code, |s| {
                    let control = &mut s.state.control;
                    control.cr3 = ROOT;
                    control.cr4 |= protection;
                    control.cr0.set(Cr0::WP, write_protect);
                    control.efer |= Efer::NXE;
                    s.state.general.gpr[3] = PAGE;
                    s.instructions = 1;
                    let table = |address, bytes| Region { address, bytes, rights: KERNEL };
                    s.memory.push(table(ROOT, page_tables(ROOT, PAGE, PAGE | entry)));
                    s.memory.push(table(PAGE, vec![0x90; 16]));
                }));
            }
        }
    }
    all
}

/// Four levels that map the first 2 MiB to themselves for the kernel, but for `page`, which has `entry`.
fn page_tables(root: u64, page: u64, entry: u64) -> Vec<u8> {
    let mut bytes = vec![0; 0x4000];
    let mut put = |at: usize, entry: u64| bytes[at..at + 8].copy_from_slice(&entry.to_le_bytes());
    for level in 0..3 {
        put(0x1000 * level, (root + 0x1000 * (level as u64 + 1)) | 7);
    }
    for number in 0..0x40 {
        put(0x3000 + 8 * number, (number as u64) << 12 | 3);
    }
    put(0x3000 + 8 * (page >> 12) as usize, entry);
    bytes
}

/// Protected mode without paging: selectors and a few faults.
pub(super) fn protected_mode() -> Vec<Named> {
    let instructions: [(&str, &[u8]); 9] = [
        ("mov ss,ax", &[0x8E, 0xD0]),
        ("mov ds,ax", &[0x8E, 0xD8]),
        ("push eax", &[0x50]),
        ("lds esi,[ebx]", &[0xC5, 0x33]),
        ("jmp far [ebx]", &[0xFF, 0x2B]),
        ("retf", &[0xCB]),
        ("ud2", &[0x0F, 0x0B]),
        ("div ecx", &[0xF7, 0xF1]),
        ("mov eax,cr0", &[0x0F, 0x20, 0xC0]),
    ];
    let mut all = Vec::new();
    for (name, code) in instructions {
        for selector in SELECTORS {
            let mut setup = long(code);
            setup.mode = Mode::Protected32;
            setup.state = Interpreter::new().state_in(Mode::Protected32, 0, 0, &[]);
            setup.state.control.cr0 -= Cr0::PG;
            let general = &mut setup.state.general;
            (general.rip, general.gpr[0]) = (CODE, selector.into());
            (general.gpr[3], general.gpr[4]) = (DATA, STACK_TOP - 0x100);
            let [low, high] = selector.to_le_bytes();
            put(&mut setup, DATA, &[0x00, 0x11, 0, 0, low, high]);
            put(
                &mut setup,
                STACK_TOP - 0x100,
                &[0x00, 0x11, 0, 0, low, high, 0, 0, 0, 0x67, 0, 0, 0x10, 0, 0, 0],
            );
            all.push(Named { name: format!("{name}, {selector:#x}"), setup });
        }
    }
    all
}

/// Real mode: what differs from user code, and a few faults.
pub(super) fn real_mode() -> Vec<Named> {
    let instructions: [(&str, &[u8]); 24] = [
        ("mov ds,ax", &[0x8E, 0xD8]),
        ("mov cs,ax", &[0x8E, 0xC8]),
        ("lmsw", &[0x0F, 0x01, 0xF0]),
        ("smsw ax", &[0x0F, 0x01, 0xE0]),
        ("mov eax,cr0", &[0x0F, 0x20, 0xC0]),
        ("mov cr0,eax", &[0x0F, 0x22, 0xC0]),
        ("lgdt [bx]", &[0x0F, 0x01, 0x17]),
        ("o32 lgdt [bx]", &[0x66, 0x0F, 0x01, 0x17]),
        ("sgdt [bx]", &[0x0F, 0x01, 0x07]),
        ("jmp far", &[0xEA, 0x00, 0x11, 0x34, 0x02]),
        ("call far", &[0x9A, 0x00, 0x11, 0x34, 0x02]),
        ("retf", &[0xCB]),
        ("iret", &[0xCF]),
        ("lds si,[bx]", &[0xC5, 0x37]),
        ("les si,[bx]", &[0xC4, 0x37]),
        ("lar", &[0x0F, 0x02, 0xC8]),
        ("lldt", &[0x0F, 0x00, 0xD0]),
        ("ud2", &[0x0F, 0x0B]),
        ("div cl", &[0xF6, 0xF1]),
        ("a word at ffff", &[0xA1, 0xFF, 0xFF]),
        ("a word of the stack at ffff", &[0x36, 0xA1, 0xFF, 0xFF]),
        ("a dword at fffd", &[0x66, 0xA1, 0xFD, 0xFF]),
        ("rep stosb", &[0xF3, 0xAA]),
        ("in al,dx", &[0xEC]),
    ];
    let mut all = Vec::new();
    for (name, code) in instructions {
        for ax in [0_u64, 0x1234, 0x10] {
            let mut setup = long(code);
            setup.mode = Mode::Real;
            setup.state = Interpreter::new().state_in(Mode::Real, 0, 0, &[]);
            let general = &mut setup.state.general;
            (general.rip, general.gpr[0]) = (CODE, ax);
            (general.gpr[3], general.gpr[4], general.gpr[7]) = (DATA, STACK_TOP - 0x100, DATA + 0x10);
            general.gpr[1] = if name == "rep stosb" { 100 } else { 0 };
            put(&mut setup, DATA, &[0x34, 0x12, 0x78, 0x56, 0x34, 0x92]);
            put(&mut setup, STACK_TOP - 0x100, &[0x00, 0x11, 0x34, 0x02, 0xD7, 0x0E]);
            all.push(Named { name: format!("{name}, ax {ax:#x}"), setup });
        }
    }
    all
}
