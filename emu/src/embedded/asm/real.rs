//! Real mode: the UART, what CMOS says of memory, and the way into protected mode.

use super::{Data, Result, at, port, selector};
use iced_x86::code_asm::{CodeAssembler, CodeLabel, registers::*};

/// Addresses of the routines.
struct Routines {
    print: CodeLabel,
    number: CodeLabel,
    cmos: CodeLabel,
}

pub fn assemble(a: &mut CodeAssembler, data: &mut Data) -> Result<()> {
    let mut routines = Routines { print: a.create_label(), number: a.create_label(), cmos: a.create_label() };
    a.cli()?;
    a.cld()?;
    a.xor(ax, ax)?;
    a.mov(ds, ax)?;
    a.mov(es, ax)?;
    a.mov(ss, ax)?;
    a.mov(sp, at::REAL as i32)?;

    start_uart(a)?;
    a.mov(si, data.text("\nemu: the embedded guest. It needs no file, no disk and no network.\n\n"))?;
    a.call(routines.print)?;
    tell_memory(a, data, &routines)?;
    enter_protected_mode(a, data)?;

    print_routine(a, &mut routines)?;
    number_routine(a, &mut routines)?;
    cmos_routine(a, &mut routines)
}

/// 115200 baud, 8 data bits, no parity, FIFO on, no interrupts yet.
fn start_uart(a: &mut CodeAssembler) -> Result<()> {
    const DLAB: i32 = 0x80;
    const EIGHT_BITS: i32 = 0x03;
    let registers = [
        (port::COM1_IER, 0),
        (port::COM1_LCR, DLAB | EIGHT_BITS),
        // Divisor latch: 1, low byte and high byte.
        (port::COM1, 1),
        (port::COM1_IER, 0),
        (port::COM1_LCR, EIGHT_BITS),
        // Enable and clear both FIFOs.
        (port::COM1_FCR, 0x07),
        // DTR and RTS.
        (port::COM1_MCR, 0x03),
    ];
    for (register, value) in registers {
        a.mov(dx, register)?;
        a.mov(al, value)?;
        a.out(dx, al)?;
    }
    Ok(())
}

/// Base memory in KiB and all memory below 4 GiB in MiB, from CMOS.
fn tell_memory(a: &mut CodeAssembler, data: &mut Data, routines: &Routines) -> Result<()> {
    let (mut sixteen_mib, mut tell) = (a.create_label(), a.create_label());
    a.mov(si, data.text("Real mode       "))?;
    a.call(routines.print)?;
    // 0x15, 0x16: base memory in KiB.
    a.mov(ax, 0x1516)?;
    a.call(routines.cmos)?;
    a.call(routines.number)?;
    a.mov(si, data.text(" KiB of base memory, "))?;
    a.call(routines.print)?;
    // 0x34, 0x35: memory above 16 MiB in units of 64 KiB; 0x30, 0x31: above 1 MiB in KiB, if there is less.
    a.mov(ax, 0x3435)?;
    a.call(routines.cmos)?;
    a.test(ax, ax)?;
    a.jne(sixteen_mib)?;
    a.mov(ax, 0x3031)?;
    a.call(routines.cmos)?;
    a.mov(cl, 10)?;
    a.shr(ax, cl)?;
    a.inc(ax)?;
    a.jmp(tell)?;
    a.set_label(&mut sixteen_mib)?;
    a.mov(cl, 4)?;
    a.shr(ax, cl)?;
    a.add(ax, 16)?;
    a.set_label(&mut tell)?;
    a.call(routines.number)?;
    a.mov(si, data.text(" MiB below 4 GiB, says CMOS\n"))?;
    a.call(routines.print)
}

/// Opens A20 and switches to 32-bit flat segments.
fn enter_protected_mode(a: &mut CodeAssembler, data: &mut Data) -> Result<()> {
    // Null, 32-bit code, data, 64-bit code: all of them base 0, limit 4 GiB, privilege 0.
    let descriptors: [u64; 4] = [0, 0x00CF_9A00_0000_FFFF, 0x00CF_9200_0000_FFFF, 0x00AF_9A00_0000_FFFF];
    let table: Vec<u8> = descriptors.iter().flat_map(|descriptor| descriptor.to_le_bytes()).collect();
    let gdt = data.place(&table);
    let pointer = [&(table.len() as u16 - 1).to_le_bytes()[..], &gdt.to_le_bytes()].concat();
    let pointer = data.place(&pointer);

    a.in_(al, port::SYSTEM_CONTROL_A)?;
    a.or(al, 2)?;
    // Bit 0 would reset the machine.
    a.and(al, 0xFE)?;
    a.out(port::SYSTEM_CONTROL_A, al)?;
    a.mov(bx, pointer)?;
    a.lgdt(iced_x86::code_asm::ptr(bx))?;
    a.mov(eax, cr0)?;
    a.or(eax, 1)?;
    a.mov(cr0, eax)?;
    a.jmp_far(selector::CODE_32, at::PROTECTED as u32)
}

/// Prints the text at SI. Changes AX, DX, SI.
fn print_routine(a: &mut CodeAssembler, routines: &mut Routines) -> Result<()> {
    let (mut wait, mut done) = (a.create_label(), a.create_label());
    a.set_label(&mut routines.print)?;
    a.lodsb()?;
    a.test(al, al)?;
    a.je(done)?;
    a.mov(ah, al)?;
    a.mov(dx, port::COM1_LSR)?;
    a.set_label(&mut wait)?;
    a.in_(al, dx)?;
    a.test(al, 0x20)?;
    a.je(wait)?;
    a.mov(al, ah)?;
    a.mov(dx, port::COM1)?;
    a.out(dx, al)?;
    a.jmp(routines.print)?;
    a.set_label(&mut done)?;
    a.ret()
}

/// Prints AX in decimal. Changes AX, BX, DX, SI, DI.
fn number_routine(a: &mut CodeAssembler, routines: &mut Routines) -> Result<()> {
    let mut digit = a.create_label();
    a.set_label(&mut routines.number)?;
    // The digits come last one first: build the text backwards.
    a.mov(di, (at::REAL - 0x200) as i32)?;
    a.mov(iced_x86::code_asm::byte_ptr(di), 0)?;
    a.mov(bx, 10)?;
    a.set_label(&mut digit)?;
    a.xor(dx, dx)?;
    a.div(bx)?;
    a.add(dl, '0' as i32)?;
    a.dec(di)?;
    a.mov(iced_x86::code_asm::byte_ptr(di), dl)?;
    a.test(ax, ax)?;
    a.jne(digit)?;
    a.mov(si, di)?;
    a.jmp(routines.print)
}

/// AX = CMOS registers AH (low byte) and AL (high byte). Changes DX.
fn cmos_routine(a: &mut CodeAssembler, routines: &mut Routines) -> Result<()> {
    a.set_label(&mut routines.cmos)?;
    a.out(port::CMOS_INDEX, al)?;
    a.mov(dl, ah)?;
    a.in_(al, port::CMOS_DATA)?;
    a.mov(ah, al)?;
    a.mov(al, dl)?;
    a.out(port::CMOS_INDEX, al)?;
    a.in_(al, port::CMOS_DATA)?;
    a.ret()
}
