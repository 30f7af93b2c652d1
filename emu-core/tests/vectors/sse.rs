//! MMX and SSE.

use crate::machine::{ABSENT, CODE, DATA, GP, MF, NM, PF, UD, XM, long_mode, run};
use emu_core::arch::{Cr0, Cr4};
use iced_x86::code_asm::*;
use rstest::rstest;

const ONE: u128 = 0x3FF0 << 48;
const THREE: u128 = 0x4008 << 48;

#[rstest]
#[case::handled(Cr4::OSXMMEXCPT, XM)]
#[case::not_handled(Cr4::empty(), UD)]
fn an_unmasked_exception_faults_and_changes_mxcsr_alone(#[case] handled: Cr4, #[case] vector: u64) {
    // Arrange: zero divide unmasked.
    let mut cpu = long_mode();
    cpu.control.cr4 = Cr4::PAE | Cr4::OSFXSR | handled;
    cpu.simd.vector[0][0] = ONE;
    cpu.load_mxcsr(0x1F80 & !(1 << 9));
    // Act
    let raised = run(&mut cpu, |a| a.divsd(xmm0, xmm1));
    // Assert
    assert_eq!(raised, Some(vector));
    assert_eq!(cpu.simd.vector[0][0], ONE);
    assert_eq!(cpu.simd.mxcsr, 0x1F80 & !(1 << 9) | 1 << 2);
    assert_eq!(cpu.read_physical(cpu.regs[4], 8), CODE, "a fault: RIP is the instruction's");
}

#[test]
fn stmxcsr_sees_the_flags_and_ldmxcsr_forgets_them() {
    let mut cpu = long_mode();
    (cpu.simd.vector[0][0], cpu.simd.vector[1][0]) = (ONE, THREE);
    cpu.memory.ram().write(DATA, &0x1F80u32.to_le_bytes()).unwrap();
    let raised = run(&mut cpu, |a| {
        a.divsd(xmm0, xmm1)?;
        a.stmxcsr(dword_ptr(rdi + 4))?;
        a.ldmxcsr(dword_ptr(rdi))?;
        a.stmxcsr(dword_ptr(rdi + 8))
    });
    assert_eq!(raised, None);
    assert_eq!(cpu.read_physical(DATA + 4, 4), 0x1FA0);
    assert_eq!(cpu.read_physical(DATA + 8, 4), 0x1F80);
}

#[test]
fn flags_of_the_thread_before_do_not_become_the_guests() {
    let mut cpu = long_mode();
    emu_core::lane::fp::mxcsr::set_host(0x1FBF);
    run(&mut cpu, |a| a.addsd(xmm0, xmm1));
    assert_eq!(cpu.save_state().simd.mxcsr, 0x1F80);
}

#[rstest]
#[case::movaps(|a: &mut CodeAssembler| a.movaps(xmm0, xmmword_ptr(rdi + 8)), Some(GP))]
#[case::movaps_aligned(|a: &mut CodeAssembler| a.movaps(xmm0, xmmword_ptr(rdi + 16)), None)]
#[case::movups(|a: &mut CodeAssembler| a.movups(xmm0, xmmword_ptr(rdi + 8)), None)]
#[case::movdqa_store(|a: &mut CodeAssembler| a.movdqa(xmmword_ptr(rdi + 1), xmm0), Some(GP))]
#[case::paddb(|a: &mut CodeAssembler| a.paddb(xmm0, xmmword_ptr(rdi + 4)), Some(GP))]
#[case::addsd(|a: &mut CodeAssembler| a.addsd(xmm0, qword_ptr(rdi + 4)), None)]
#[case::addpd(|a: &mut CodeAssembler| a.addpd(xmm0, xmmword_ptr(rdi + 4)), Some(GP))]
#[case::cvtps2pd(|a: &mut CodeAssembler| a.cvtps2pd(xmm0, qword_ptr(rdi + 4)), None)]
#[case::pmovzxbw(|a: &mut CodeAssembler| a.pmovzxbw(xmm0, qword_ptr(rdi + 4)), None)]
#[case::pcmpistri(|a: &mut CodeAssembler| a.pcmpistri(xmm0, xmmword_ptr(rdi + 4), 0), None)]
#[case::aesenc(|a: &mut CodeAssembler| a.aesenc(xmm0, xmmword_ptr(rdi + 4)), Some(GP))]
fn alignment_is_asked_of_whole_lanes_unless_the_form_says_otherwise(
    #[case] build: fn(&mut CodeAssembler) -> Result<(), IcedError>,
    #[case] vector: Option<u64>,
) {
    // Twice: the first access fills the TLB, the second is direct.
    let mut cpu = long_mode();
    assert_eq!(run(&mut cpu, build), vector);
    assert_eq!(run(&mut cpu, build), vector);
}

#[rstest]
#[case::sse_without_fxsr(Cr0::empty(), Cr4::PAE, UD)]
#[case::emulated(Cr0::EM, Cr4::PAE.union(Cr4::OSFXSR), UD)]
#[case::task_switched(Cr0::TS, Cr4::PAE.union(Cr4::OSFXSR), NM)]
fn control_bits_make_sse_fault(#[case] also: Cr0, #[case] control: Cr4, #[case] vector: u64) {
    let mut cpu = long_mode();
    cpu.control.cr0 |= also;
    cpu.control.cr4 = control;
    cpu.mode_changed();
    assert_eq!(run(&mut cpu, |a| a.pxor(xmm0, xmm0)), Some(vector));
}

#[test]
fn mmx_waits_for_a_pending_x87_exception() {
    // Arrange: zero divide pending and unmasked.
    let mut cpu = long_mode();
    (cpu.x87.fcw, cpu.x87.fsw) = (0x37B, 0x8084);
    assert_eq!(run(&mut cpu, |a| a.paddb(mm0, mm1)), Some(MF));
    assert_eq!(cpu.x87.r[0].significand, 0);
}

#[test]
fn mmx_takes_the_x87_registers_over() {
    let mut cpu = long_mode();
    (cpu.x87.fcw, cpu.x87.top, cpu.x87.valid) = (0x37F, 3, 0);
    cpu.regs[0] = 0x1122_3344;
    let raised = run(&mut cpu, |a| {
        a.movd(mm2, eax)?;
        a.psllq(mm2, 4)
    });
    assert_eq!(raised, None);
    assert_eq!((cpu.x87.top, cpu.x87.valid), (0, 0xFF));
    assert_eq!((cpu.x87.r[2].significand, cpu.x87.r[2].sign_exponent), (0x1_1223_3440, 0xFFFF));
}

#[test]
fn a_lane_across_pages_is_whole_or_not_there_at_all() {
    let mut cpu = long_mode();
    cpu.simd.vector[0][0] = 0x0123_4567_89AB_CDEF_1122_3344_5566_7788;
    cpu.regs[3] = DATA + 0xFF8;
    let program = |a: &mut CodeAssembler| {
        a.movdqu(xmmword_ptr(rbx), xmm0)?;
        a.movdqu(xmm1, xmmword_ptr(rbx))
    };
    assert_eq!(run(&mut cpu, program), None);
    assert_eq!(cpu.simd.vector[1][0], cpu.simd.vector[0][0]);
    cpu.regs[3] = ABSENT - 8;
    assert_eq!(run(&mut cpu, program), Some(PF));
    assert_eq!((cpu.control.cr2, cpu.read_physical(ABSENT - 8, 8)), (ABSENT, 0));
}

#[test]
fn a_masked_store_writes_chosen_bytes_and_checks_them_first() {
    // Arrange: bytes 0, 7 and 15 are chosen.
    let mut cpu = long_mode();
    cpu.simd.vector[0][0] = 0xF0F1_F2F3_F4F5_F6F7_F8F9_FAFB_FCFD_FEFF;
    cpu.simd.vector[1][0] = 0x80 | 0x80 << 56 | 0xFF << 120;
    assert_eq!(run(&mut cpu, |a| a.maskmovdqu(xmm0, xmm1)), None);
    let halves = [cpu.read_physical(DATA, 8), cpu.read_physical(DATA + 8, 8)];
    assert_eq!(halves, [0xF800_0000_0000_00FF, 0xF000_0000_0000_0000]);
    cpu.regs[7] = ABSENT - 8;
    assert_eq!(run(&mut cpu, |a| a.maskmovdqu(xmm0, xmm1)), Some(PF));
    assert_eq!(cpu.read_physical(ABSENT - 8, 8), 0);
}
