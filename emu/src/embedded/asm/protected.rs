//! Protected mode: a look whether the processor has long mode, page tables, and the way into it.

use super::{Data, Result, at, port, selector};
use iced_x86::code_asm::{CodeAssembler, CodeLabel, dword_ptr, registers::*};

const CR0_PG: i32 = i32::MIN;
const CR4_PAE_OSFXSR: i32 = 1 << 5 | 1 << 9;
const EFER: i32 = 0xC000_0080u32 as i32;
const EFER_LME: i32 = 1 << 8;
const CPUID_LM: i32 = 1 << 29;

/// Present, writable.
const TABLE: i32 = 0x03;
/// Present, writable, 2 MiB.
const PAGE: i32 = 0x83;

pub fn assemble(a: &mut CodeAssembler, data: &mut Data) -> Result<()> {
    let mut print = a.create_label();
    let mut no_long_mode = a.create_label();
    a.mov(eax, i32::from(selector::DATA))?;
    a.mov(ds, eax)?;
    a.mov(es, eax)?;
    a.mov(ss, eax)?;
    a.mov(esp, at::REAL as i32)?;
    a.mov(esi, data.text("Protected mode  CR0.PE, flat 32-bit segments\n"))?;
    a.call(print)?;

    a.mov(eax, 0x8000_0000u32 as i32)?;
    a.cpuid()?;
    a.cmp(eax, 0x8000_0001u32 as i32)?;
    a.jb(no_long_mode)?;
    a.mov(eax, 0x8000_0001u32 as i32)?;
    a.cpuid()?;
    a.test(edx, CPUID_LM)?;
    a.je(no_long_mode)?;

    build_page_tables(a)?;
    a.mov(eax, at::PML4 as i32)?;
    a.mov(cr3, eax)?;
    a.mov(eax, cr4)?;
    a.or(eax, CR4_PAE_OSFXSR)?;
    a.mov(cr4, eax)?;
    a.mov(ecx, EFER)?;
    a.rdmsr()?;
    a.or(eax, EFER_LME)?;
    a.wrmsr()?;
    a.mov(eax, cr0)?;
    a.or(eax, CR0_PG)?;
    a.mov(cr0, eax)?;
    a.jmp_far(selector::CODE_64, at::LONG as u32)?;

    a.set_label(&mut no_long_mode)?;
    a.mov(esi, data.text("This processor has no long mode: the embedded guest ends here.\n"))?;
    a.call(print)?;
    // Halt for good: interrupts are off.
    let mut halt = a.create_label();
    a.set_label(&mut halt)?;
    a.hlt()?;
    a.jmp(halt)?;
    print_routine(a, &mut print)
}

/// Maps the first 4 GiB one to one with 2 MiB pages.
fn build_page_tables(a: &mut CodeAssembler) -> Result<()> {
    const GIB: i32 = 4;
    let (mut directory, mut page) = (a.create_label(), a.create_label());
    a.mov(edi, at::PML4 as i32)?;
    a.mov(ecx, (at::IDT - at::PML4) as i32 / 4)?;
    a.xor(eax, eax)?;
    a.rep().stosd()?;
    a.mov(dword_ptr(at::PML4), at::PDPT as i32 | TABLE)?;

    a.mov(edi, at::PDPT as i32)?;
    a.mov(eax, at::PAGE_DIRECTORIES as i32 | TABLE)?;
    a.mov(ecx, GIB)?;
    a.set_label(&mut directory)?;
    a.mov(dword_ptr(edi), eax)?;
    a.add(eax, 0x1000)?;
    a.add(edi, 8)?;
    a.loop_(directory)?;

    a.mov(edi, at::PAGE_DIRECTORIES as i32)?;
    a.mov(eax, PAGE)?;
    a.mov(ecx, GIB * 512)?;
    a.set_label(&mut page)?;
    a.mov(dword_ptr(edi), eax)?;
    a.add(eax, 0x20_0000)?;
    a.add(edi, 8)?;
    a.loop_(page)
}

/// Prints the text at ESI. Changes EAX, EDX, ESI.
fn print_routine(a: &mut CodeAssembler, print: &mut CodeLabel) -> Result<()> {
    let (mut wait, mut done) = (a.create_label(), a.create_label());
    a.set_label(print)?;
    a.lodsb()?;
    a.test(al, al)?;
    a.je(done)?;
    a.mov(ah, al)?;
    a.mov(edx, port::COM1_LSR)?;
    a.set_label(&mut wait)?;
    a.in_(al, dx)?;
    a.test(al, 0x20)?;
    a.je(wait)?;
    a.mov(al, ah)?;
    a.mov(edx, port::COM1)?;
    a.out(dx, al)?;
    a.jmp(*print)?;
    a.set_label(&mut done)?;
    a.ret()
}
