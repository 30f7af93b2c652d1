//! Tests of the XSAVE family.

use super::*;
use crate::microcode::test_cpu::{gp0, insn, long_cpu};
use rstest::rstest;

const AT: u64 = 0x1000;

/// A CPU with all components in use, XCR0 complete, the area at [`AT`] in RSI, all components requested.
fn busy_cpu() -> Box<Cpu> {
    let mut cpu = long_cpu("max");
    cpu.write_cr4((cpu.control.cr4 | Cr4::OSXSAVE | Cr4::PKE).bits()).unwrap();
    cpu.control.xcr0 = Xcr0::X87 | Xcr0::SSE | Xcr0::AVX | Xcr0::PKRU;
    cpu.x87 = fxsave::initial_x87();
    cpu.x87.fcw = 0x27F;
    cpu.simd.vector[15] = [15, 0xF];
    cpu.simd.mxcsr = 0x1FA0;
    // Key 15 write-disabled: nothing here has it.
    cpu.control.pkru = 0x8000_0000;
    cpu.regs[slot::RSI] = AT;
    (cpu.regs[slot::RDX], cpu.regs[slot::RAX]) = (0, u64::from(u32::MAX));
    cpu
}

fn clear(cpu: &mut Cpu) {
    cpu.x87 = fxsave::initial_x87();
    cpu.simd.vector[15] = [0, 0];
    cpu.simd.mxcsr = 0x1F80;
    cpu.control.pkru = 0;
}

fn quad(cpu: &mut Cpu, offset: usize) -> u64 {
    cpu.read_physical(AT + offset as u64, 8)
}

fn set_quad(cpu: &mut Cpu, offset: usize, value: u64) {
    cpu.write_physical(AT + offset as u64, 8, value);
}

#[rstest]
#[case(Save::Plain, false)]
#[case(Save::Optimized, false)]
#[case(Save::Compacted, false)]
#[case(Save::Supervisor, true)]
fn what_was_saved_is_restored(#[case] kind: Save, #[case] supervisor: bool) {
    let mut cpu = busy_cpu();
    let before = cpu.save_state();
    save(&mut cpu, &insn(&[]), kind, true).unwrap();
    clear(&mut cpu);
    restore(&mut cpu, &insn(&[]), true, supervisor).unwrap();
    assert_eq!(cpu.save_state(), before);
}

#[test]
fn the_formats_differ_in_xcomp_bv_and_in_where_pkru_is() {
    let mut cpu = busy_cpu();
    save(&mut cpu, &insn(&[]), Save::Plain, true).unwrap();
    assert_eq!((quad(&mut cpu, 512), quad(&mut cpu, 520), quad(&mut cpu, 2688)), (0x207, 0, 0x8000_0000));
    assert_eq!(quad(&mut cpu, 576 + 15 * 16), 0xF, "the upper half of YMM15");
    save(&mut cpu, &insn(&[]), Save::Compacted, true).unwrap();
    assert_eq!(
        (quad(&mut cpu, 512), quad(&mut cpu, 520), quad(&mut cpu, 576 + 256)),
        (0x207, 1 << 63 | 0x207, 0x8000_0000)
    );
    cpu.regs[slot::RAX] = 0x201;
    save(&mut cpu, &insn(&[]), Save::Compacted, true).unwrap();
    assert_eq!(quad(&mut cpu, 576), 0x8000_0000, "behind components that were not asked for there is no gap");
}

#[test]
fn outside_64_bit_mode_half_of_the_vector_registers_do_not_exist() {
    let mut cpu = busy_cpu();
    let mut i = insn(&[]);
    i.flags &= !flag::MODE64;
    cpu.x87 = fxsave::initial_x87();
    cpu.simd.vector[7] = [7, 7];
    cpu.memory.ram().write(AT, &[0xEE; 1024]).unwrap();
    set_quad(&mut cpu, 512, 0);
    save(&mut cpu, &i, Save::Plain, false).unwrap();
    assert_eq!(quad(&mut cpu, 512), 0x206);
    assert_eq!(quad(&mut cpu, 576 + 8 * 16) as u8, 0xEE, "YMM8 has no place");
    cpu.simd.vector[7] = [0, 0];
    save(&mut cpu, &i, Save::Plain, false).unwrap();
    assert_eq!(quad(&mut cpu, 512), 0x200, "YMM15 is not in use");
}

#[test]
fn restoring_outside_64_bit_mode_keeps_the_registers_that_do_not_exist_there() {
    let mut cpu = busy_cpu();
    let mut i = insn(&[]);
    save(&mut cpu, &i, Save::Plain, true).unwrap();
    i.flags &= !flag::MODE64;
    cpu.simd.vector[7] = [7, 7];
    cpu.simd.vector[15] = [99, 99];
    restore(&mut cpu, &i, false, false).unwrap();
    assert_eq!((cpu.simd.vector[7], cpu.simd.vector[15]), ([0, 0], [99, 99]));
}

#[test]
fn components_in_their_initial_state_are_written_by_xsave_alone() {
    for (kind, written) in [(Save::Plain, true), (Save::Optimized, false), (Save::Compacted, false)] {
        let mut cpu = busy_cpu();
        clear(&mut cpu);
        cpu.memory.ram().write(AT, &[0xEE; 512]).unwrap();
        save(&mut cpu, &insn(&[]), kind, true).unwrap();
        assert_eq!(quad(&mut cpu, 512), 0);
        assert_eq!(quad(&mut cpu, 0) as u16 == 0x37F, written, "{kind:?}: x87");
        assert_eq!(quad(&mut cpu, 160) == 0, written, "{kind:?}: XMM0");
        let mxcsr = quad(&mut cpu, 24) as u32;
        assert_eq!(mxcsr == 0x1F80, !kind.is_compacted(), "{kind:?}: MXCSR");
    }
}

#[test]
fn a_changed_mxcsr_alone_makes_sse_used_in_the_compacted_format() {
    let mut cpu = busy_cpu();
    clear(&mut cpu);
    cpu.simd.mxcsr = 0x1F00;
    save(&mut cpu, &insn(&[]), Save::Compacted, true).unwrap();
    assert_eq!(quad(&mut cpu, 512), 2);
    save(&mut cpu, &insn(&[]), Save::Plain, true).unwrap();
    assert_eq!(quad(&mut cpu, 512), 0);
}

#[test]
fn components_not_requested_stay_in_xstate_bv_and_in_the_registers() {
    let mut cpu = busy_cpu();
    set_quad(&mut cpu, 512, 0x200);
    cpu.regs[slot::RAX] = 1;
    save(&mut cpu, &insn(&[]), Save::Plain, true).unwrap();
    assert_eq!(quad(&mut cpu, 512), 0x201);
    cpu.x87.fcw = 0x37F;
    cpu.simd.vector[15][0] = 99;
    restore(&mut cpu, &insn(&[]), true, false).unwrap();
    assert_eq!((cpu.x87.fcw, cpu.simd.vector[15][0], cpu.control.pkru), (0x27F, 99, 0x8000_0000));
}

#[test]
fn components_absent_from_the_area_are_initialised() {
    let mut cpu = busy_cpu();
    set_quad(&mut cpu, 24, 0x1FA0);
    restore(&mut cpu, &insn(&[]), true, false).unwrap();
    assert_eq!((cpu.x87, cpu.simd.vector[15][0], cpu.control.pkru), (fxsave::initial_x87(), 0, 0));
    assert_eq!(cpu.simd.mxcsr, 0x1FA0, "the standard format always has MXCSR");
    set_quad(&mut cpu, 520, 1 << 63 | 3);
    restore(&mut cpu, &insn(&[]), true, false).unwrap();
    assert_eq!(cpu.simd.mxcsr, 0x1F80, "the compacted one only with SSE");
}

#[rstest]
#[case::component_not_enabled(512, 8, false)]
#[case::standard_needs_zeroes(528, 1, false)]
#[case::xcomp_bv_without_the_format_bit(520, 1, false)]
#[case::compacted_component_not_enabled(520, 1 << 63 | 8, false)]
#[case::reserved_mxcsr_bit(24, 0x1_0000, false)]
#[case::xrstors_takes_no_standard_format(512, 1, true)]
fn a_bad_header_faults_and_changes_nothing(
    #[case] offset: usize,
    #[case] value: u64,
    #[case] supervisor: bool,
) {
    let mut cpu = busy_cpu();
    set_quad(&mut cpu, offset, value);
    let before = cpu.save_state();
    assert_eq!(restore(&mut cpu, &insn(&[]), true, supervisor), gp0());
    assert_eq!(cpu.save_state(), before);
}

#[test]
fn compacted_xstate_bv_lies_within_xcomp_bv_and_the_rest_is_zero() {
    let mut cpu = busy_cpu();
    set_quad(&mut cpu, 520, 1 << 63 | 1);
    set_quad(&mut cpu, 512, 3);
    assert_eq!(restore(&mut cpu, &insn(&[]), true, false), gp0());
    set_quad(&mut cpu, 512, 1);
    set_quad(&mut cpu, 568, 1);
    assert_eq!(restore(&mut cpu, &insn(&[]), true, false), gp0());
    set_quad(&mut cpu, 568, 0);
    assert_eq!(restore(&mut cpu, &insn(&[]), true, false), Ok(()));
}

#[test]
fn availability_and_alignment_are_checked_in_order() {
    let mut cpu = busy_cpu();
    cpu.regs[slot::RSI] = AT + 32;
    assert_eq!(save(&mut cpu, &insn(&[]), Save::Plain, true), gp0());
    cpu.control.cr0.insert(crate::arch::Cr0::TS);
    cpu.mode_changed();
    assert_eq!(save(&mut cpu, &insn(&[]), Save::Plain, true), Err(Exception::NM));
    cpu.control.cr4.remove(Cr4::OSXSAVE);
    assert_eq!(save(&mut cpu, &insn(&[]), Save::Plain, true), Err(Exception::UD));
}

#[rstest]
#[case::x87_cannot_be_off(0, 2, false)]
#[case::no_other_register(1, 3, false)]
#[case::avx_builds_on_sse(0, 5, false)]
#[case::not_of_this_model(0, 0x27, false)]
#[case::all(0, 0x207, true)]
fn xsetbv_checks_its_value(#[case] register: u64, #[case] value: u64, #[case] accepted: bool) {
    let mut cpu = busy_cpu();
    cpu.control.xcr0 = Xcr0::X87;
    (cpu.regs[slot::RCX], cpu.regs[slot::RAX]) = (register, value);
    assert_eq!(xsetbv(&mut cpu, &insn(&[])).is_ok(), accepted);
    assert_eq!(cpu.control.xcr0.bits(), if accepted { value } else { 1 });
}

#[test]
fn xgetbv_1_tells_what_is_in_use() {
    let mut cpu = busy_cpu();
    cpu.control.pkru = 0;
    cpu.regs[slot::RCX] = 1;
    xgetbv(&mut cpu, &insn(&[])).unwrap();
    assert_eq!((cpu.regs[slot::RDX], cpu.regs[slot::RAX]), (0, 7));
    cpu.simd.vector[15] = [0, 0];
    xgetbv(&mut cpu, &insn(&[])).unwrap();
    assert_eq!(cpu.regs[slot::RAX], 3, "MXCSR counts as SSE");
    cpu.regs[slot::RCX] = 2;
    assert_eq!(xgetbv(&mut cpu, &insn(&[])), gp0());
}
