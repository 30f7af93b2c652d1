//! Long mode: the main program and the routines that the rest of it calls.

use super::{Data, Result, facts, keys, measure, port};
use iced_x86::code_asm::{CodeAssembler, CodeLabel, byte_ptr, registers::*};

/// The routines of long mode. All keep RBX, RBP and R8 to R15 unless they say otherwise.
pub struct Routines {
    /// Prints the text at RSI. Changes RAX, RDX, RSI.
    pub print: CodeLabel,
    /// Prints the character in AL. Changes RDX.
    pub put: CodeLabel,
    /// Prints RAX in decimal. Changes RAX, RCX, RDX, RSI, RDI.
    pub number: CodeLabel,
    /// EAX = the CMOS register AL.
    pub cmos: CodeLabel,
    /// Measures and tells clock and speed. Changes everything.
    pub measure: CodeLabel,
}

pub fn assemble(a: &mut CodeAssembler, data: &mut Data) -> Result<()> {
    let mut routines = Routines {
        print: a.create_label(),
        put: a.create_label(),
        number: a.create_label(),
        cmos: a.create_label(),
        measure: a.create_label(),
    };
    say(
        a,
        data,
        &routines,
        "Long mode       CR4.PAE, EFER.LME, CR0.PG: 4-level page tables, 4 GiB mapped\n\n",
    )?;
    facts::tell_processor(a, data, &routines)?;
    facts::tell_features(a, data, &routines)?;
    facts::tell_processors(a, data, &routines)?;
    facts::tell_memory(a, data, &routines)?;
    a.call(routines.measure)?;
    keys::take(a, data, &routines)?;

    measure::routine(a, data, &mut routines)?;
    print_routines(a, &mut routines)?;
    number_routine(a, &mut routines)?;
    cmos_routine(a, &mut routines)
}

/// Code that prints `text`.
pub fn say(a: &mut CodeAssembler, data: &mut Data, routines: &Routines, text: &str) -> Result<()> {
    a.mov(esi, data.text(text))?;
    a.call(routines.print)
}

/// Code that prints one character.
pub fn say_character(a: &mut CodeAssembler, routines: &Routines, character: char) -> Result<()> {
    a.mov(al, character as i32)?;
    a.call(routines.put)
}

fn print_routines(a: &mut CodeAssembler, routines: &mut Routines) -> Result<()> {
    let (mut wait, mut done) = (a.create_label(), a.create_label());
    a.set_label(&mut routines.print)?;
    a.lodsb()?;
    a.test(al, al)?;
    a.je(done)?;
    a.call(routines.put)?;
    a.jmp(routines.print)?;
    a.set_label(&mut done)?;
    a.ret()?;

    a.set_label(&mut routines.put)?;
    a.push(rax)?;
    a.mov(edx, port::COM1_LSR)?;
    a.set_label(&mut wait)?;
    a.in_(al, dx)?;
    a.test(al, 0x20)?;
    a.je(wait)?;
    a.pop(rax)?;
    a.mov(edx, port::COM1)?;
    a.out(dx, al)?;
    a.ret()
}

fn number_routine(a: &mut CodeAssembler, routines: &mut Routines) -> Result<()> {
    let mut digit = a.create_label();
    a.set_label(&mut routines.number)?;
    // The digits come last one first: build the text backwards, on the stack.
    a.sub(rsp, 32)?;
    a.lea(rdi, rsp + 31)?;
    a.mov(byte_ptr(rdi), 0)?;
    a.mov(ecx, 10)?;
    a.set_label(&mut digit)?;
    a.xor(edx, edx)?;
    a.div(rcx)?;
    a.add(dl, '0' as i32)?;
    a.dec(rdi)?;
    a.mov(byte_ptr(rdi), dl)?;
    a.test(rax, rax)?;
    a.jne(digit)?;
    a.mov(rsi, rdi)?;
    a.call(routines.print)?;
    a.add(rsp, 32)?;
    a.ret()
}

fn cmos_routine(a: &mut CodeAssembler, routines: &mut Routines) -> Result<()> {
    a.set_label(&mut routines.cmos)?;
    a.out(port::CMOS_INDEX, al)?;
    a.xor(eax, eax)?;
    a.in_(al, port::CMOS_DATA)?;
    a.ret()
}
