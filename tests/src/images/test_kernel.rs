//! A test kernel as kvm-unit-tests has them: a 32-bit ELF with a multiboot header whose code soon is 64-bit. It
//! prints its arguments and its environment file, tries the test devices, and ends by isa-debug-exit with the
//! number of the first check that failed, or zero.

use super::program::{COM1, LSR, THRE};
use crate::images::DEBUG_EXIT_PORT;
use iced_x86::{
    IcedError,
    code_asm::{
        CodeAssembler, CodeLabel, al, ax, byte_ptr, cl, cr0, cr3, cr4, ds, dword_ptr, dx, eax, ebp, ebx, ecx,
        edi, edx, es, esi, esp, ptr, qword_ptr, r12, r15, r15d, rax, rbx, rcx, rsi, rsp, ss, word_ptr,
    },
};

const STACK_TOP: u32 = 0x7F_0000;
/// PML4, PDPT and four page directories, in RAM that is zero at power-on.
const PAGE_TABLES: u32 = 0x80_0000;
const IDT: u32 = 0x81_0000;
/// Places in the image, from its entry: 64-bit code, descriptor table, strings.
const CODE64: u32 = 0x100;
const GDT: u32 = 0x500;
const STRINGS: u32 = 0x540;
/// Null, 64-bit code, data; and the table's own pointer behind them.
const DESCRIPTORS: [u64; 3] = [0, 0x00AF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF];
const CODE_SELECTOR: u32 = 8;
const DATA_SELECTOR: u32 = 16;

const MULTIBOOT_LOADER: u32 = 0x2BAD_B002;
/// Offsets in the multiboot information.
const CMDLINE: i32 = 16;
const MODS_ADDR: i32 = 24;

const LOCAL_APIC: u32 = 0xFEE0_0000;
const IO_APIC: u32 = 0xFEC0_0000;
const VECTOR: u32 = 0x40;
/// The interrupt line that is tried.
const LINE: u32 = 14;

/// What the kernel checks, in this order. The exit value is the number of the first that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Multiboot's magic number.
    Loader = 1,
    /// fw_cfg's signature.
    FwCfg,
    /// The port echo: four bytes, and one of them.
    PortEcho,
    /// The memory echo: eight bytes, also after a page flush.
    MemoryEcho,
    /// An interrupt for each rise of a line.
    Interrupt,
    /// The PCI test device is there.
    PciFound,
    /// It counts writes to memory.
    PciMemory,
    /// It answers at its ports.
    PciPorts,
}

/// Assembles the kernel, to be loaded and entered at `address`.
pub(super) fn assemble(address: u32) -> Result<Vec<u8>, IcedError> {
    let mut image = enter_long_mode(address)?;
    let mut strings = Vec::new();
    let code = test(address + CODE64, &mut |text| {
        let at = address + STRINGS + strings.len() as u32;
        strings.extend_from_slice(text.as_bytes());
        strings.push(0);
        at
    })?;
    for (place, part) in [(CODE64, code), (GDT, descriptor_table(address + GDT)), (STRINGS, strings)] {
        assert!(image.len() <= place as usize, "{} bytes before {place:#x}", image.len());
        image.resize(place as usize, 0);
        image.extend_from_slice(&part);
    }
    Ok(image)
}

fn descriptor_table(address: u32) -> Vec<u8> {
    let limit = size_of_val(&DESCRIPTORS) as u16 - 1;
    let table = DESCRIPTORS.iter().flat_map(|entry| entry.to_le_bytes());
    table.chain(limit.to_le_bytes()).chain(address.to_le_bytes()).collect()
}

/// 32-bit code: maps the first 4 GiB to themselves and goes to 64-bit mode, with EBX and EAX kept in EBP and EDI.
fn enter_long_mode(address: u32) -> Result<Vec<u8>, IcedError> {
    const PAE: u32 = 1 << 5;
    const EFER: u32 = 0xC000_0080;
    const LME: u32 = 1 << 8;
    const PG: u32 = 1 << 31;
    let mut a = CodeAssembler::new(32)?;
    a.mov(esp, STACK_TOP)?;
    a.mov(ebp, ebx)?;
    a.mov(edi, eax)?;
    a.lgdt(ptr(address + GDT + size_of_val(&DESCRIPTORS) as u32))?;
    a.mov(dword_ptr(PAGE_TABLES), PAGE_TABLES + 0x1003)?;
    for gib in 0..4 {
        a.mov(dword_ptr(PAGE_TABLES + 0x1000 + 8 * gib), PAGE_TABLES + 0x2003 + 0x1000 * gib)?;
    }
    let mut next = a.create_label();
    a.xor(ecx, ecx)?;
    a.mov(eax, 0x83)?;
    a.set_label(&mut next)?;
    a.mov(dword_ptr(ecx * 8 + (PAGE_TABLES + 0x2000)), eax)?;
    a.add(eax, 1 << 21)?;
    a.inc(ecx)?;
    a.cmp(ecx, 4 * 512)?;
    a.jb(next)?;
    a.mov(eax, cr4)?;
    a.or(eax, PAE)?;
    a.mov(cr4, eax)?;
    a.mov(eax, PAGE_TABLES)?;
    a.mov(cr3, eax)?;
    a.mov(ecx, EFER)?;
    a.rdmsr()?;
    a.or(eax, LME)?;
    a.wrmsr()?;
    a.mov(eax, cr0)?;
    a.or(eax, PG)?;
    a.mov(cr0, eax)?;
    a.push(CODE_SELECTOR)?;
    a.push(address + CODE64)?;
    a.retf()?;
    a.assemble(address.into())
}

/// The 64-bit code. `string` places a text and says where.
fn test(address: u32, string: &mut dyn FnMut(&str) -> u32) -> Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(64)?;
    let (mut print, mut handler, mut exit) = (a.create_label(), a.create_label(), a.create_label());
    for segment in [ds, es, ss] {
        a.mov(eax, DATA_SELECTOR)?;
        a.mov(segment, eax)?;
    }
    a.mov(esp, STACK_TOP)?;
    a.mov(ebx, ebp)?;
    a.mov(r12, rbx)?;
    check(&mut a, exit, Check::Loader, |a| a.cmp(edi, MULTIBOOT_LOADER))?;

    say(&mut a, print, string("arguments: "))?;
    a.mov(eax, dword_ptr(r12 + CMDLINE))?;
    a.mov(rsi, rax)?;
    a.call(print)?;
    say(&mut a, print, string("\r\nenvironment: "))?;
    // The first module ends with a zero: it can be printed as it is.
    a.mov(eax, dword_ptr(r12 + MODS_ADDR))?;
    a.mov(eax, dword_ptr(rax))?;
    a.mov(rsi, rax)?;
    a.call(print)?;
    say(&mut a, print, string("\r\n"))?;

    fw_cfg(&mut a, exit)?;
    echoes(&mut a, exit)?;
    interrupts(&mut a, handler, exit)?;
    pci(&mut a, exit)?;
    say(&mut a, print, string("all checks pass\r\n"))?;
    a.xor(edi, edi)?;

    a.set_label(&mut exit)?;
    a.mov(eax, edi)?;
    a.mov(edx, u32::from(DEBUG_EXIT_PORT))?;
    a.out(dx, al)?;
    a.cli()?;
    a.hlt()?;
    print_string(&mut a, &mut print)?;

    a.set_label(&mut handler)?;
    a.inc(r15)?;
    a.push(rax)?;
    a.mov(eax, LOCAL_APIC + 0xB0)?;
    a.mov(dword_ptr(rax), 0)?;
    a.pop(rax)?;
    a.iretq()?;
    a.assemble(address.into())
}

/// Compares, and leaves with the check's number unless equal.
fn check(
    a: &mut CodeAssembler,
    exit: CodeLabel,
    number: Check,
    compare: impl Fn(&mut CodeAssembler) -> Result<(), IcedError>,
) -> Result<(), IcedError> {
    let mut right = a.create_label();
    compare(a)?;
    a.je(right)?;
    a.mov(edi, number as u32)?;
    a.jmp(exit)?;
    a.set_label(&mut right)?;
    // A label needs an instruction to stand before.
    a.nop()
}

fn fw_cfg(a: &mut CodeAssembler, exit: CodeLabel) -> Result<(), IcedError> {
    a.mov(edx, 0x510)?;
    a.xor(eax, eax)?;
    a.out(dx, ax)?;
    a.inc(edx)?;
    for _ in 0..4 {
        a.shl(ecx, 8)?;
        a.in_(al, dx)?;
        a.mov(cl, al)?;
    }
    check(a, exit, Check::FwCfg, |a| a.cmp(ecx, u32::from_be_bytes(*b"QEMU")))
}

fn echoes(a: &mut CodeAssembler, exit: CodeLabel) -> Result<(), IcedError> {
    a.mov(eax, 0x1234_5678)?;
    a.mov(edx, 0xE0)?;
    a.out(dx, eax)?;
    a.xor(eax, eax)?;
    a.in_(eax, dx)?;
    check(a, exit, Check::PortEcho, |a| a.cmp(eax, 0x1234_5678))?;
    a.mov(edx, 0xE9)?;
    a.in_(al, dx)?;
    check(a, exit, Check::PortEcho, |a| a.cmp(al, 0x56))?;

    a.mov(ebx, 0xFF00_0000_u32)?;
    a.mov(rax, 0x1122_3344_5566_7788_u64)?;
    a.mov(qword_ptr(rbx + 0x104), rax)?;
    a.mov(eax, ebx)?;
    a.mov(edx, 0xE4)?;
    a.out(dx, eax)?;
    a.mov(rax, 0x1122_3344_5566_7788_u64)?;
    check(a, exit, Check::MemoryEcho, |a| a.cmp(qword_ptr(rbx + 0x104), rax))
}

/// Raises the line twice; counts in R15.
fn interrupts(a: &mut CodeAssembler, handler: CodeLabel, exit: CodeLabel) -> Result<(), IcedError> {
    const PRESENT_GATE: u32 = 0x8E00;
    let gate = IDT + 16 * VECTOR;
    a.mov(ebx, gate)?;
    a.lea(rax, ptr(handler))?;
    a.mov(word_ptr(rbx), ax)?;
    a.mov(word_ptr(rbx + 2), CODE_SELECTOR)?;
    a.shr(eax, 16)?;
    a.mov(word_ptr(rbx + 6), ax)?;
    a.mov(word_ptr(rbx + 4), PRESENT_GATE)?;
    a.mov(eax, IDT)?;
    a.push(rax)?;
    a.push(rax)?;
    a.mov(word_ptr(rsp + 6), 0xFFF)?;
    a.lidt(ptr(rsp + 6))?;

    // Spurious-interrupt vector with the APIC on; the redirection entry's two halves.
    let registers = [
        (LOCAL_APIC + 0xF0, 0x1FF),
        (IO_APIC, 0x11 + 2 * LINE),
        (IO_APIC + 0x10, 0),
        (IO_APIC, 0x10 + 2 * LINE),
        (IO_APIC + 0x10, VECTOR),
    ];
    for (register, value) in registers {
        a.mov(ebx, register)?;
        a.mov(dword_ptr(rbx), value)?;
    }
    a.xor(r15d, r15d)?;
    a.sti()?;
    a.mov(edx, 0x2000 + LINE)?;
    for rises in 1..=2 {
        for level in [1, 0] {
            a.mov(al, level)?;
            a.out(dx, al)?;
        }
        // Delivered between instructions: some are given it.
        let mut wait = a.create_label();
        a.mov(ecx, 1000)?;
        a.set_label(&mut wait)?;
        a.loop_(wait)?;
        check(a, exit, Check::Interrupt, |a| a.cmp(r15, rises))?;
    }
    a.cli()
}

/// Finds the PCI test device on bus 0 and runs its first tests.
fn pci(a: &mut CodeAssembler, exit: CodeLabel) -> Result<(), IcedError> {
    let (mut next, mut found) = (a.create_label(), a.create_label());
    a.mov(ecx, 0x8000_0000_u32)?;
    a.set_label(&mut next)?;
    read_config(a)?;
    a.cmp(eax, 0x0005_1B36)?;
    a.je(found)?;
    a.add(ecx, 1 << 11)?;
    a.cmp(ecx, 0x8001_0000_u32)?;
    a.jb(next)?;
    a.set_label(&mut found)?;
    check(a, exit, Check::PciFound, |a| a.cmp(eax, 0x0005_1B36))?;

    a.add(ecx, 0x10)?;
    read_config(a)?;
    a.mov(ebx, eax)?;
    a.add(ecx, 4)?;
    read_config(a)?;
    a.and(eax, !3)?;
    a.mov(esi, eax)?;
    a.mov(byte_ptr(rbx), 0)?;
    a.mov(ecx, dword_ptr(rbx + 4))?;
    a.mov(eax, dword_ptr(rbx + 8))?;
    for _ in 0..3 {
        a.mov(byte_ptr(rbx + rcx), al)?;
    }
    check(a, exit, Check::PciMemory, |a| a.cmp(dword_ptr(rbx + 12), 3))?;
    // A started test has the width of one byte.
    a.mov(edx, esi)?;
    a.xor(eax, eax)?;
    a.out(dx, al)?;
    a.inc(edx)?;
    a.in_(al, dx)?;
    check(a, exit, Check::PciPorts, |a| a.cmp(al, 1))
}

/// Reads the configuration register that ECX names, to EAX.
fn read_config(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.mov(eax, ecx)?;
    a.mov(edx, 0xCF8)?;
    a.out(dx, eax)?;
    a.mov(edx, 0xCFC)?;
    a.in_(eax, dx)
}

fn say(a: &mut CodeAssembler, print: CodeLabel, text: u32) -> Result<(), IcedError> {
    a.mov(esi, text)?;
    a.call(print)
}

/// The routine `print`: prints the zero-terminated string at RSI on COM1. Changes RAX, RCX, RDX.
fn print_string(a: &mut CodeAssembler, print: &mut CodeLabel) -> Result<(), IcedError> {
    let (mut wait, mut done) = (a.create_label(), a.create_label());
    a.set_label(print)?;
    a.movzx(ecx, byte_ptr(rsi))?;
    a.inc(rsi)?;
    a.jrcxz(done)?;
    a.mov(edx, u32::from(LSR))?;
    a.set_label(&mut wait)?;
    a.in_(al, dx)?;
    a.test(al, THRE)?;
    a.je(wait)?;
    a.mov(edx, u32::from(COM1))?;
    a.mov(eax, ecx)?;
    a.out(dx, al)?;
    a.jmp(*print)?;
    a.set_label(&mut done)?;
    a.ret()
}
