//! Programs of a few instructions, run by the interpreter: what depends on microcode and run loop together.
//! Each ends with `out STOP_PORT, al`.

use super::{debug, testing::*};
use crate::{
    arch::{Flags, vector},
    cpu::{Cpu, slot},
    interp::Stop,
};

const CODE: u64 = 0x1_0000;
const HANDLER: u64 = 0x2_0000;
const OUT: [u8; 2] = [0xE6, STOP_PORT];

fn begin(cpu: &mut Cpu, code: &[u8]) {
    put_code(cpu, CODE, code);
    cpu.rip = CODE;
}

#[test]
fn a_system_call_by_interrupt_gate_goes_to_the_kernel_and_back() {
    let mut cpu = protected(3);
    cpu.set_rflags(Flags::IOPL);
    set_gate(&cpu, 0x80, 14, KERNEL_CS, HANDLER);
    let gate = get_u64(&cpu, IDT + 0x80 * 8);
    put_u64(&cpu, IDT + 0x80 * 8, gate | 3 << 45);
    // int 0x80
    begin(&mut cpu, &[0xCD, 0x80, OUT[0], OUT[1]]);
    // mov eax, 42; iretd
    put_code(&cpu, HANDLER, &[0xB8, 42, 0, 0, 0, 0xCF]);

    assert_eq!(cpu.run(), Stop::Requested);

    assert_eq!((cpu.rip, cpu.cpl, cpu.regs[slot::RAX], cpu.regs[slot::RSP]), (CODE + 4, 3, 42, 0x8000));
}

#[test]
fn a_fault_saves_the_rip_of_its_instruction() {
    let mut cpu = long(0);
    set_long_gate(&cpu, vector::GP, 14, 0, 0, HANDLER);
    // nop; mov ds, ax with a selector beyond the table
    begin(&mut cpu, &[0x90, 0x8E, 0xD8]);
    cpu.regs[slot::RAX] = 0xFFF8;
    put_code(&cpu, HANDLER, &OUT);

    cpu.run();

    let rsp = cpu.regs[slot::RSP];
    assert_eq!((get_u64(&cpu, rsp), get_u64(&cpu, rsp + 8)), (0xFFF8, CODE + 1));
}

#[test]
fn single_step_traps_after_every_instruction_that_began_with_tf() {
    let mut cpu = long(0);
    set_long_gate(&cpu, vector::DB, 14, 0, 0, HANDLER);
    // pushfq; or dword [rsp], 0x100; popfq; nop; nop; out
    let code = [0x9C, 0x81, 0x0C, 0x24, 0, 1, 0, 0, 0x9D, 0x90, 0x90, OUT[0], OUT[1]];
    begin(&mut cpu, &code);
    // inc rbx; mov rcx, [rsp]; iretq
    put_code(&cpu, HANDLER, &[0x48, 0xFF, 0xC3, 0x48, 0x8B, 0x0C, 0x24, 0x48, 0xCF]);

    cpu.run();

    // The third trap, after OUT, has been delivered but its handler not executed.
    assert_eq!((cpu.regs[slot::RBX], cpu.regs[slot::RCX], cpu.rip), (2, CODE + 11, HANDLER));
}

#[test]
fn an_instruction_breakpoint_is_passed_with_rf() {
    let mut cpu = long(0);
    set_long_gate(&cpu, vector::DB, 14, 0, 0, HANDLER);
    (cpu.control.dr[0], cpu.control.dr7) = (CODE + 1, debug::dr7::FIXED | 1);
    debug::breakpoints_changed(&mut cpu);
    // nop; inc ebx; out
    begin(&mut cpu, &[0x90, 0xFF, 0xC3, OUT[0], OUT[1]]);
    // or dword [rsp + 16], RF; inc ecx; iretq
    put_code(&cpu, HANDLER, &[0x81, 0x4C, 0x24, 16, 0, 0, 1, 0, 0xFF, 0xC1, 0x48, 0xCF]);

    cpu.run();

    assert_eq!((cpu.regs[slot::RBX], cpu.regs[slot::RCX], cpu.rip), (1, 1, CODE + 5));
    assert!(!cpu.rflags().contains(Flags::RF));
}

#[test]
fn no_nmi_comes_between_the_two_halves_of_a_stack_switch() {
    let mut cpu = protected(0);
    set_gate(&cpu, vector::NMI, 14, KERNEL_CS, HANDLER);
    let [a, b, c, d] = NMI_REGISTER.to_le_bytes();
    // mov ss, [NMI_REGISTER]; mov esp, 0x7000; nop; out
    begin(&mut cpu, &[0x8E, 0x15, a, b, c, d, 0xBC, 0, 0x70, 0, 0, 0x90, OUT[0], OUT[1]]);
    // mov ebx, esp; iretd
    put_code(&cpu, HANDLER, &[0x89, 0xE3, 0xCF]);

    cpu.run();
    assert_eq!(cpu.regs[slot::RBX], 0x7000 - 12);
    assert!(!cpu.events.nmi_blocked);
}

#[test]
fn a_real_mode_program_calls_far_and_returns() {
    let mut cpu = real();
    cpu.rip = 0;
    cpu.regs[slot::RSP] = 0x100;
    // call 0x2000:0x10; push ds; pop es; out
    put_code(&cpu, REAL_CS << 4, &[0x9A, 0x10, 0, 0, 0x20, 0x1E, 0x07, OUT[0], OUT[1]]);
    // mov ax, 0x1234; mov ds, ax; retf
    put_code(&cpu, 0x2_0010, &[0xB8, 0x34, 0x12, 0x8E, 0xD8, 0xCB]);

    cpu.run();

    assert_eq!((cpu.rip, cpu.regs[slot::RSP]), (9, 0x100));
    assert_eq!(cpu.seg(crate::arch::Seg::Es).base, 0x1_2340);
}
