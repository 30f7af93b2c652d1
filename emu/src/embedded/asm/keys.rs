//! Keys: the guest sleeps in HLT until COM1 interrupts, then does what the key says.

use super::{
    Data, Result, SLEEP_S5, at,
    long::{Routines, say, say_character},
    port,
};
use iced_x86::code_asm::{CodeAssembler, CodeLabel, ptr, qword_ptr, registers::*, word_ptr};

const HELP: &str = "\nh help   t time   m measure again   r reboot   q power off   c crash (triple fault)\n";

/// Vector that IRQ 4, COM1, is given.
const COM1_VECTOR: u64 = 0x24;

/// Takes keys for ever.
pub fn take(a: &mut CodeAssembler, data: &mut Data, routines: &Routines) -> Result<()> {
    let (mut prompt, mut wait, mut key) = (a.create_label(), a.create_label(), a.create_label());
    let mut handler = a.create_label();
    route_interrupts(a, data, handler)?;
    say(a, data, routines, HELP)?;
    a.set_label(&mut prompt)?;
    say(a, data, routines, "> ")?;
    a.set_label(&mut wait)?;
    // STI takes effect after the next instruction: nothing can come between the look and the sleep.
    a.cli()?;
    a.mov(edx, port::COM1_LSR)?;
    a.in_(al, dx)?;
    a.test(al, 1)?;
    a.jne(key)?;
    a.sti()?;
    a.hlt()?;
    a.jmp(wait)?;

    a.set_label(&mut key)?;
    a.mov(edx, port::COM1)?;
    a.in_(al, dx)?;
    a.mov(bl, al)?;
    say(a, data, routines, "\n")?;
    a.or(bl, 0x20)?;
    let actions: [(char, Action); 6] =
        [('h', help), ('t', time), ('m', measure), ('r', reboot), ('q', power_off), ('c', crash)];
    for (character, action) in actions {
        let mut other = a.create_label();
        a.cmp(bl, character as i32)?;
        a.jne(other)?;
        action(a, data, routines)?;
        a.jmp(prompt)?;
        a.set_label(&mut other)?;
    }
    a.jmp(prompt)?;

    // There is nothing to do but to wake up.
    a.set_label(&mut handler)?;
    a.push(rax)?;
    a.mov(al, 0x20)?;
    a.out(port::PIC_MASTER, al)?;
    a.pop(rax)?;
    a.iretq()
}

type Action = fn(&mut CodeAssembler, &mut Data, &Routines) -> Result<()>;

/// Sets up both PICs, with only IRQ 4 let through, an IDT with its handler, and the UART's interrupt.
fn route_interrupts(a: &mut CodeAssembler, data: &mut Data, handler: CodeLabel) -> Result<()> {
    a.mov(edi, at::IDT as i32)?;
    a.mov(ecx, 4096 / 8)?;
    a.xor(eax, eax)?;
    a.rep().stosq()?;
    // An interrupt gate. The handler is below 64 KiB: only the lowest 16 bits of its address are not zero.
    let gate = at::IDT + COM1_VECTOR * 16;
    a.lea(rax, ptr(handler))?;
    a.mov(word_ptr(gate), ax)?;
    a.mov(word_ptr(gate + 2), i32::from(super::selector::CODE_64))?;
    a.mov(word_ptr(gate + 4), 0x8E00)?;
    let pointer = data.place(&[&4095u16.to_le_bytes()[..], &at::IDT.to_le_bytes()].concat());
    a.lidt(ptr(pointer))?;

    let (master, slave) = (port::PIC_MASTER, port::PIC_SLAVE);
    let commands = [
        // ICW1: edge-triggered, cascaded, ICW4 follows. ICW2: vectors. ICW3: the slave is at IRQ 2.
        // ICW4: 8086 mode. OCW1: what is masked.
        (master, 0x11),
        (slave, 0x11),
        (master + 1, 0x20),
        (slave + 1, 0x28),
        (master + 1, 0x04),
        (slave + 1, 0x02),
        (master + 1, 0x01),
        (slave + 1, 0x01),
        (master + 1, 0xEF),
        (slave + 1, 0xFF),
    ];
    for (register, value) in commands {
        a.mov(al, value)?;
        a.out(register, al)?;
    }
    // OUT2 connects the UART's interrupt to its IRQ; then enable "data available".
    for (register, value) in [(port::COM1_MCR, 0x0B), (port::COM1_IER, 0x01)] {
        a.mov(edx, register)?;
        a.mov(al, value)?;
        a.out(dx, al)?;
    }
    Ok(())
}

fn help(a: &mut CodeAssembler, data: &mut Data, routines: &Routines) -> Result<()> {
    say(a, data, routines, HELP)
}

fn measure(a: &mut CodeAssembler, _: &mut Data, routines: &Routines) -> Result<()> {
    a.call(routines.measure)
}

/// Shows the real-time clock, which counts in BCD or in binary.
fn time(a: &mut CodeAssembler, data: &mut Data, routines: &Routines) -> Result<()> {
    const STATUS_A: i32 = 0x0A;
    const STATUS_B: i32 = 0x0B;
    const UPDATE_IN_PROGRESS: i32 = 0x80;
    const BINARY: i32 = 0x04;
    let mut updating = a.create_label();
    a.set_label(&mut updating)?;
    a.mov(al, STATUS_A)?;
    a.call(routines.cmos)?;
    a.test(al, UPDATE_IN_PROGRESS)?;
    a.jne(updating)?;
    // Century, year, month, day, hour, minute, second.
    let fields = [(0x32, ""), (0x09, ""), (0x08, "-"), (0x07, "-"), (0x04, " "), (0x02, ":"), (0x00, ":")];
    for (register, separator) in fields {
        let mut bcd = a.create_label();
        if let Some(separator) = separator.chars().next() {
            say_character(a, routines, separator)?;
        }
        a.mov(al, register)?;
        a.call(routines.cmos)?;
        a.mov(ebx, eax)?;
        a.mov(al, STATUS_B)?;
        a.call(routines.cmos)?;
        a.test(al, BINARY)?;
        a.je(bcd)?;
        // Tens in the upper half, ones in the lower: 6 more for each ten.
        a.mov(eax, ebx)?;
        a.mov(cl, 10)?;
        a.div(cl)?;
        a.movzx(eax, al)?;
        a.imul_3(eax, eax, 6)?;
        a.add(ebx, eax)?;
        a.set_label(&mut bcd)?;
        a.mov(eax, ebx)?;
        a.shr(al, 4)?;
        a.add(al, '0' as i32)?;
        a.call(routines.put)?;
        a.mov(eax, ebx)?;
        a.and(al, 0x0F)?;
        a.add(al, '0' as i32)?;
        a.call(routines.put)?;
    }
    say(a, data, routines, "\n")
}

/// The reset control register, then the keyboard controller's reset line.
fn reboot(a: &mut CodeAssembler, data: &mut Data, routines: &Routines) -> Result<()> {
    say(a, data, routines, "Rebooting.\n")?;
    wait_until_sent(a)?;
    a.mov(edx, port::RESET_CONTROL)?;
    for value in [0x02, 0x06] {
        a.mov(al, value)?;
        a.out(dx, al)?;
    }
    a.mov(al, 0xFE)?;
    a.out(port::I8042_COMMAND, al)?;
    say(a, data, routines, "The machine does not reset.\n")
}

fn power_off(a: &mut CodeAssembler, data: &mut Data, routines: &Routines) -> Result<()> {
    say(a, data, routines, "Power off.\n")?;
    wait_until_sent(a)?;
    a.mov(edx, port::PM1A_CNT)?;
    a.mov(eax, SLEEP_S5)?;
    a.out(dx, ax)?;
    say(a, data, routines, "The machine does not power off.\n")
}

/// An exception without an IDT, and another, and another.
fn crash(a: &mut CodeAssembler, data: &mut Data, routines: &Routines) -> Result<()> {
    say(a, data, routines, "Triple fault.\n")?;
    wait_until_sent(a)?;
    a.mov(qword_ptr(at::TEXT), 0)?;
    a.mov(word_ptr(at::TEXT + 8), 0)?;
    a.lidt(ptr(at::TEXT))?;
    a.int3()
}

/// Waits until the last character has left the UART: what follows may end the machine.
fn wait_until_sent(a: &mut CodeAssembler) -> Result<()> {
    let mut wait = a.create_label();
    a.mov(edx, port::COM1_LSR)?;
    a.set_label(&mut wait)?;
    a.in_(al, dx)?;
    a.test(al, 0x40)?;
    a.je(wait)
}
