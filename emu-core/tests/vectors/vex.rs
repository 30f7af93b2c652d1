//! AVX, FMA and F16C: what makes them undefined, alignment, faults in the second half of a vector, registers above
//! the result.

use crate::machine::{ABSENT, CR4, DATA, GP, NM, PF, UD, XM, long_mode, run, run_bytes};
use emu_core::arch::{Cr0, Cr4, Xcr0};
use iced_x86::code_asm::*;
use rstest::rstest;

const ALL: Xcr0 = Xcr0::X87.union(Xcr0::SSE).union(Xcr0::AVX);

#[rstest]
#[case::enabled(Cr0::empty(), CR4, ALL, None)]
#[case::without_osfxsr(Cr0::empty(), CR4.difference(Cr4::OSFXSR), ALL, None)]
#[case::emulated(Cr0::EM, CR4, ALL, None)]
#[case::without_osxsave(Cr0::empty(), CR4.difference(Cr4::OSXSAVE), ALL, Some(UD))]
#[case::sse_state_alone(Cr0::empty(), CR4, Xcr0::X87.union(Xcr0::SSE), Some(UD))]
#[case::task_switched(Cr0::TS, CR4, ALL, Some(NM))]
#[case::undefined_before_unavailable(Cr0::TS, CR4.difference(Cr4::OSXSAVE), ALL, Some(UD))]
fn control_bits_make_avx_fault(
    #[case] also: Cr0,
    #[case] control: Cr4,
    #[case] components: Xcr0,
    #[case] vector: Option<u64>,
) {
    let mut cpu = long_mode();
    cpu.control.cr0 |= also;
    (cpu.control.cr4, cpu.control.xcr0) = (control, components);
    cpu.mode_changed();
    assert_eq!(run(&mut cpu, |a| a.vaddps(ymm0, ymm1, ymm2)), vector);
}

#[rstest]
#[case::plain(&[0xC5, 0xF4, 0x58, 0xC2], None)]
#[case::operand_size(&[0x66, 0xC5, 0xF4, 0x58, 0xC2], Some(UD))]
#[case::repne(&[0xF2, 0xC5, 0xF4, 0x58, 0xC2], Some(UD))]
#[case::rep(&[0xF3, 0xC5, 0xF4, 0x58, 0xC2], Some(UD))]
#[case::lock(&[0xF0, 0xC5, 0xF4, 0x58, 0xC2], Some(UD))]
#[case::rex(&[0x40, 0xC5, 0xF4, 0x58, 0xC2], Some(UD))]
#[case::segment(&[0x64, 0xC5, 0xF4, 0x58, 0xC2], None)]
#[case::lock_and_memory(&[0xF0, 0xC5, 0xFC, 0x11, 0x07], Some(UD))]
#[case::source_that_does_not_exist(&[0xC5, 0xF4, 0x51, 0xC2], Some(UD))]
#[case::scalar_ignores_the_length(&[0xC5, 0xF6, 0x58, 0xC2], None)]
#[case::no_256_bit_form(&[0xC5, 0xF4, 0x12, 0xC2], Some(UD))]
fn prefixes_and_fields_that_vex_does_not_have_are_undefined(
    #[case] code: &[u8],
    #[case] vector: Option<u64>,
) {
    assert_eq!(run_bytes(&mut long_mode(), code, 1), vector);
}

#[rstest]
#[case::real(Cr0::ET)]
#[case::protected(Cr0::ET.union(Cr0::PE))]
fn avx_is_of_protected_mode(#[case] control: Cr0) {
    // Arrange: 16-bit code with an identity mapping, at an address that it reaches.
    let mut cpu = long_mode();
    let mut state = cpu.save_state();
    state.control.cr0 = control;
    state.control.efer = emu_core::arch::Efer::empty();
    state.segments.data[1].attr = 0x009B;
    state.segments.data[1].limit = 0xFFFF;
    cpu.load_state(&state);
    // VXORPS XMM0, XMM0, XMM0
    cpu.memory.ram().write(0x4000, &[0xC5, 0xF8, 0x57, 0xC0]).unwrap();
    cpu.rip = 0x4000;
    cpu.simd.vector[0] = [1, 2];
    // Act
    cpu.step();
    // Assert
    let undefined = !control.contains(Cr0::PE);
    assert_eq!(cpu.simd.vector[0], if undefined { [1, 2] } else { [0, 0] });
    assert_eq!(cpu.rip == 0x4004, !undefined);
}

#[rstest]
#[case::vmovaps(|a: &mut CodeAssembler| a.vmovaps(ymm0, ymmword_ptr(rdi + 32)), None)]
#[case::vmovaps_half_aligned(|a: &mut CodeAssembler| a.vmovaps(ymm0, ymmword_ptr(rdi + 16)), Some(GP))]
#[case::vmovaps_128(|a: &mut CodeAssembler| a.vmovaps(xmm0, xmmword_ptr(rdi + 16)), None)]
#[case::vmovaps_128_misaligned(|a: &mut CodeAssembler| a.vmovaps(xmm0, xmmword_ptr(rdi + 8)), Some(GP))]
#[case::vmovdqa_store(|a: &mut CodeAssembler| a.vmovdqa(ymmword_ptr(rdi + 16), ymm0), Some(GP))]
#[case::vmovntps(|a: &mut CodeAssembler| a.vmovntps(ymmword_ptr(rdi + 16), ymm0), Some(GP))]
#[case::vmovntdqa(|a: &mut CodeAssembler| a.vmovntdqa(ymm0, ymmword_ptr(rdi + 16)), Some(GP))]
#[case::vmovups(|a: &mut CodeAssembler| a.vmovups(ymm0, ymmword_ptr(rdi + 1)), None)]
#[case::vlddqu(|a: &mut CodeAssembler| a.vlddqu(ymm0, ymmword_ptr(rdi + 1)), None)]
#[case::vaddps(|a: &mut CodeAssembler| a.vaddps(ymm0, ymm1, ymmword_ptr(rdi + 4)), None)]
#[case::vfmadd(|a: &mut CodeAssembler| a.vfmadd231ps(xmm0, xmm1, xmmword_ptr(rdi + 4)), None)]
#[case::vinsertf128(|a: &mut CodeAssembler| a.vinsertf128(ymm0, ymm1, xmmword_ptr(rdi + 4), 1), None)]
#[case::vcvtps2ph(|a: &mut CodeAssembler| a.vcvtps2ph(xmmword_ptr(rdi + 1), ymm0, 0), None)]
fn alignment_is_asked_of_aligned_moves_alone(
    #[case] build: fn(&mut CodeAssembler) -> Result<(), IcedError>,
    #[case] vector: Option<u64>,
) {
    // Twice: the first access fills the TLB, the second is direct.
    let mut cpu = long_mode();
    assert_eq!(run(&mut cpu, build), vector);
    assert_eq!(run(&mut cpu, build), vector);
}

#[rstest]
#[case::between_lanes(16)]
#[case::within_a_lane(8)]
fn a_vector_across_pages_is_whole_or_not_there_at_all(#[case] before: u64) {
    let mut cpu = long_mode();
    cpu.simd.vector[0] = [u128::MAX / 3, u128::MAX / 5];
    cpu.regs[3] = DATA + 0x1000 - before;
    let program = |a: &mut CodeAssembler| {
        a.vmovdqu(ymmword_ptr(rbx), ymm0)?;
        a.vmovdqu(ymm1, ymmword_ptr(rbx))
    };
    assert_eq!(run(&mut cpu, program), None);
    assert_eq!(cpu.simd.vector[1], cpu.simd.vector[0]);
    cpu.regs[3] = ABSENT - before;
    assert_eq!(run(&mut cpu, program), Some(PF));
    assert_eq!((cpu.control.cr2, cpu.read_physical(ABSENT - before, 8)), (ABSENT, 0));
}

#[test]
fn a_load_that_faults_in_its_second_lane_changes_no_register() {
    let mut cpu = long_mode();
    cpu.simd.vector[0] = [1, 2];
    cpu.regs[3] = ABSENT - 16;
    assert_eq!(run(&mut cpu, |a| a.vaddpd(ymm0, ymm1, ymmword_ptr(rbx))), Some(PF));
    assert_eq!(cpu.simd.vector[0], [1, 2]);
}

const ONES: u128 = 0x3FF0_0000_0000_0000_3FF0_0000_0000_0000;
const THREES: u128 = 0x4008_0000_0000_0000_4008_0000_0000_0000;
const ZE: u32 = 1 << 2;
const PE: u32 = 1 << 5;

#[rstest]
#[case::in_the_lower_lane([0, THREES])]
#[case::in_the_upper_lane([THREES, 0])]
fn an_exception_before_the_operation_in_one_lane_hides_those_after_it_in_the_other(
    #[case] divisor: [u128; 2],
) {
    // Arrange: zero divide unmasked; the other lane is inexact.
    let mut cpu = long_mode();
    (cpu.simd.vector[1], cpu.simd.vector[2]) = ([ONES; 2], divisor);
    cpu.load_mxcsr(0x1F80 & !(ZE << 7));
    // Act
    let raised = run(&mut cpu, |a| a.vdivpd(ymm0, ymm1, ymm2));
    // Assert
    assert_eq!(raised, Some(XM));
    assert_eq!(cpu.simd.vector[0], [0, 0]);
    assert_eq!(cpu.simd.mxcsr, 0x1F80 & !(ZE << 7) | ZE);
}

#[test]
fn an_exception_after_the_operation_comes_with_the_flags_of_both_lanes() {
    // Arrange: inexact unmasked; the upper lane divides by zero, which is masked.
    let mut cpu = long_mode();
    (cpu.simd.vector[1], cpu.simd.vector[2]) = ([ONES; 2], [THREES, 0]);
    cpu.load_mxcsr(0x1F80 & !(PE << 7));
    assert_eq!(run(&mut cpu, |a| a.vdivpd(ymm0, ymm1, ymm2)), Some(XM));
    assert_eq!(cpu.simd.mxcsr, 0x1F80 & !(PE << 7) | PE | ZE);
}

#[test]
fn a_denormal_half_is_a_tiny_result() {
    // Arrange: underflow unmasked; 2^-15 is an exact denormal half.
    let mut cpu = long_mode();
    cpu.simd.vector[1][0] = 0x3800_0000;
    cpu.load_mxcsr(0x1F80 & !(1 << 11));
    assert_eq!(run(&mut cpu, |a| a.vcvtps2ph(xmm0, xmm1, 0)), Some(XM));
    assert_eq!(cpu.simd.mxcsr, 0x1F80 & !(1 << 11) | 1 << 4);
}

#[test]
fn vzeroupper_clears_upper_lanes_and_vzeroall_all_of_the_registers_of_the_mode() {
    let mut cpu = long_mode();
    cpu.simd.vector = [[7, 9]; 16];
    assert_eq!(run(&mut cpu, |a| a.vzeroupper()), None);
    assert_eq!(cpu.simd.vector, [[7, 0]; 16]);
    let mut cpu = long_mode();
    cpu.simd.vector = [[7, 9]; 16];
    assert_eq!(run(&mut cpu, |a| a.vzeroall()), None);
    assert_eq!(cpu.simd.vector, [[0, 0]; 16]);
}

#[test]
fn outside_64_bit_mode_vzeroall_leaves_registers_that_cannot_be_named() {
    // Arrange: compatibility mode.
    let mut cpu = long_mode();
    let mut state = cpu.save_state();
    state.segments.data[1].attr = 0xC09B;
    cpu.load_state(&state);
    cpu.simd.vector = [[7, 9]; 16];
    // Act
    assert_eq!(run_bytes(&mut cpu, &[0xC5, 0xFC, 0x77], 1), None);
    // Assert
    assert_eq!(cpu.simd.vector[..8], [[0, 0]; 8]);
    assert_eq!(cpu.simd.vector[8..], [[7, 9]; 8]);
}

#[test]
fn vldmxcsr_takes_only_bits_that_exist() {
    let mut cpu = long_mode();
    cpu.memory.ram().write(DATA, &0x0001_1F80u32.to_le_bytes()).unwrap();
    assert_eq!(run(&mut cpu, |a| a.vldmxcsr(dword_ptr(rdi))), Some(GP));
}
