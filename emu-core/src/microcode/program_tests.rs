//! Small programs of system instructions, decoded and run by the interpreter: that rows, attributes and
//! operands fit together.

use super::test_cpu::{long_cpu, reset_cpu};
use crate::{
    arch::{Cr0, Efer, Exception, Seg, Segment, attr, vector},
    cpu::{Cpu, slot},
    interp::{Exact, Fast},
    semantics::{Emitter, Table},
};
use iced_x86::Code;

const AT: u64 = 0x1000;

/// Runs as many instructions as `program` has, from address [`AT`].
fn run(cpu: &mut Cpu, program: &[&[u8]]) {
    cpu.memory.ram().write(AT, &program.concat()).unwrap();
    cpu.rip = AT;
    for _ in program {
        cpu.step();
    }
}

#[test]
fn a_program_enters_long_mode_and_uses_it() {
    let mut cpu = reset_cpu("x86-64-v2");
    let tables = long_cpu("x86-64-v2");
    for at in [0x8_0000, 0x8_1000, 0x8_2000] {
        let mut entry = [0; 8];
        tables.memory.ram().read(at, &mut entry).unwrap();
        cpu.memory.ram().write(at, &entry).unwrap();
    }
    let code = attr::P | attr::S | attr::CODE | attr::READABLE | attr::ACCESSED;
    cpu.set_seg(Seg::Cs, Segment { attr: code, ..Segment::real(0) });
    let program: &[&[u8]] = &[
        &[0x66, 0xB8, 0x20, 0x02, 0x04, 0x00], // mov eax, PAE | OSFXSR | OSXSAVE
        &[0x0F, 0x22, 0xE0],                   // mov cr4, eax
        &[0x66, 0xB8, 0x00, 0x00, 0x08, 0x00], // mov eax, 80000h
        &[0x0F, 0x22, 0xD8],                   // mov cr3, eax
        &[0x66, 0xB9, 0x80, 0x00, 0x00, 0xC0], // mov ecx, IA32_EFER
        &[0x0F, 0x32],                         // rdmsr
        &[0x66, 0x0D, 0x00, 0x01, 0x00, 0x00], // or eax, LME
        &[0x0F, 0x30],                         // wrmsr
        &[0x66, 0xB8, 0x19, 0x00, 0x00, 0x80], // mov eax, PG | ET | TS | PE
        &[0x0F, 0x22, 0xC0],                   // mov cr0, eax
        &[0x0F, 0x06],                         // clts
        &[0x0F, 0xAE, 0x06, 0x00, 0x20],       // fxsave [2000h]
        &[0x0F, 0x01, 0xE3],                   // smsw bx
        &[0x66, 0x31, 0xC9],                   // xor ecx, ecx
        &[0x0F, 0x01, 0xD0],                   // xgetbv
        &[0x66, 0x89, 0xC5],                   // mov ebp, eax
        &[0x0F, 0x20, 0xDE],                   // mov esi, cr3
        &[0x0F, 0x31],                         // rdtsc
    ];
    run(&mut cpu, program);
    assert_eq!(cpu.control.efer, Efer::LME | Efer::LMA);
    assert_eq!(cpu.control.cr0, Cr0::PG | Cr0::PE | Cr0::ET);
    assert!(cpu.mode.is_long() && !cpu.mode.is_64bit());
    assert_eq!(cpu.read_physical(0x2018, 4), 0x1F80, "MXCSR in the image");
    assert_eq!(cpu.gpr(crate::arch::Width::W16, slot::RBX), 0x11);
    assert_eq!((cpu.regs[slot::RBP], cpu.regs[slot::RSI], cpu.regs[slot::RAX]), (1, 0x8_0000, 1000));
}

#[test]
fn sixty_four_bit_forms_find_their_operands() {
    let mut cpu = long_cpu("max");
    cpu.control.cr4 |= crate::arch::Cr4::OSXSAVE | crate::arch::Cr4::FSGSBASE;
    cpu.control.xcr0 = cpu.model.xcr0();
    cpu.mode_changed();
    cpu.simd.vector[9][0] = 0x99;
    cpu.regs[slot::RSI] = 0x2000;
    cpu.regs[slot::RAX] = 0xFFFF_8000_0000_0000;
    let program: &[&[u8]] = &[
        &[0xF3, 0x48, 0x0F, 0xAE, 0xD8], // wrgsbase rax
        &[0xF3, 0x48, 0x0F, 0xAE, 0xCB], // rdgsbase rbx
        &[0x31, 0xD2],                   // xor edx, edx
        &[0xB8, 0x07, 0x00, 0x00, 0x00], // mov eax, 7
        &[0x48, 0x0F, 0xC7, 0x26],       // xsavec64 [rsi]
        &[0x0F, 0xAE, 0x3E],             // clflush [rsi]
        &[0x0F, 0x18, 0x0E],             // prefetcht0 [rsi]
        &[0x0F, 0x01, 0x3E],             // invlpg [rsi]
        &[0x0F, 0xAE, 0x5E, 0x40],       // stmxcsr [rsi+40h]
        &[0x44, 0x0F, 0x20, 0xC7],       // mov rdi, cr8
        &[0x49, 0x0F, 0xC7, 0xF4],       // rdrand r12
    ];
    run(&mut cpu, program);
    assert_eq!(cpu.raised, None);
    assert_eq!(cpu.rip, AT + program.concat().len() as u64);
    assert_eq!(cpu.regs[slot::RBX], 0xFFFF_8000_0000_0000);
    assert_eq!((cpu.read_physical(0x2200, 8), cpu.read_physical(0x2208, 8)), (3, 1 << 63 | 7));
    assert_eq!(cpu.read_physical(0x2000 + 160 + 9 * 16, 8), 0x99);
    assert_eq!(cpu.read_physical(0x2040, 4), 0x1F80);
    assert_ne!(cpu.regs[12], 0);
}

/// Rows of all families, for both emitters of the interpreter.
#[test]
fn every_system_instruction_that_a_model_can_offer_has_a_row() {
    fn missing<E: Emitter>(codes: &[Code]) -> Vec<Code> {
        let table = Table::<E>::new();
        codes.iter().copied().filter(|&code| table.find(code).is_none()).collect()
    }
    let codes = [
        Code::Mov_r32_cr,
        Code::Mov_cr_r64,
        Code::Smsw_r32m16,
        Code::Lmsw_rm16,
        Code::Clts,
        Code::Cpuid,
        Code::Rdmsr,
        Code::Wrmsr,
        Code::Rdtsc,
        Code::Rdtscp,
        Code::Rdpid_r64,
        Code::Rdpmc,
        Code::Invlpg_m,
        Code::Invpcid_r64_m128,
        Code::Invd,
        Code::Wbinvd,
        Code::Wbnoinvd,
        Code::Clflush_m8,
        Code::Clflushopt_m8,
        Code::Clwb_m8,
        Code::Cldemote_m8,
        Code::Prefetchnta_m8,
        Code::Prefetchw_m8,
        Code::Monitorq,
        Code::Mwait,
        Code::Rdrand_r64,
        Code::Rdseed_r16,
        Code::Xgetbv,
        Code::Xsetbv,
        Code::Rdpkru,
        Code::Wrpkru,
        Code::Stac,
        Code::Clac,
        Code::Rdfsbase_r32,
        Code::Wrgsbase_r64,
        Code::Fxsave_m512byte,
        Code::Fxrstor64_m512byte,
        Code::Xsave_mem,
        Code::Xsaveopt64_mem,
        Code::Xsavec64_mem,
        Code::Xsaves64_mem,
        Code::Xrstor_mem,
        Code::Xrstors64_mem,
        Code::Ldmxcsr_m32,
        Code::Stmxcsr_m32,
    ];
    assert_eq!(missing::<Exact>(&codes), []);
    assert_eq!(missing::<Fast>(&codes), []);
}

#[test]
fn privilege_is_checked_before_the_routine_runs() {
    let programs: &[&[u8]] = &[
        &[0x0F, 0x22, 0xC0], // mov cr0, eax
        &[0x0F, 0x20, 0xC0], // mov eax, cr0
        &[0x0F, 0x32],       // rdmsr
        &[0x0F, 0x30],       // wrmsr
        &[0x0F, 0x06],       // clts
        &[0x0F, 0x01, 0x3E], // invlpg [rsi]
        &[0x0F, 0x09],       // wbinvd
        &[0x0F, 0x33],       // rdpmc
    ];
    for bytes in programs {
        let mut decoder = iced_x86::Decoder::new(64, bytes, 0);
        let instruction = decoder.decode();
        let table = Table::<Exact>::new();
        let attr = table.row(table.find(instruction.code()).unwrap()).attr;
        let mut cpu = long_cpu("x86-64-v2");
        cpu.cpl = 3;
        cpu.mode_changed();
        let fault = crate::decode::fault_of(attr, cpu.mode);
        let expected = (bytes[1] != 0x33).then_some(Exception::Code(vector::GP, 0));
        assert_eq!(fault, expected, "{bytes:x?}: RDPMC checks by itself");
    }
}
