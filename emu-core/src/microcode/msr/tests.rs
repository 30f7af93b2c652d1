//! Tests of RDMSR and WRMSR.

use super::*;
use crate::microcode::test_cpu::{gp0, insn, long_cpu, reset_cpu};
use rstest::rstest;

#[rstest]
#[case::lstar(IA32_LSTAR, 0xFFFF_8000_0000_1000, true)]
#[case::lstar_not_canonical(IA32_LSTAR, 0x0000_8000_0000_0000, false)]
#[case::gs_base(IA32_GS_BASE, 0xFFFF_FFFF_0000_0000, true)]
#[case::kernel_gs_base_not_canonical(IA32_KERNEL_GS_BASE, 1 << 63, false)]
#[case::fmask(IA32_FMASK, 0x4_7700, true)]
#[case::fmask_upper_half(IA32_FMASK, 1 << 32, false)]
#[case::pat(IA32_PAT, 0x0007_0406_0007_0401, true)]
#[case::pat_reserved_type(IA32_PAT, 0x02, false)]
#[case::mtrr_fixed(IA32_MTRR_FIX4K_F8000, 0x0606_0606_0606_0606, true)]
#[case::mtrr_fixed_reserved_type(IA32_MTRR_FIX64K_00000, 0x07, false)]
#[case::mtrr_base(IA32_MTRR_PHYSBASE0, 0xC000_0000, true)]
#[case::mtrr_base_beyond_physical(IA32_MTRR_PHYSBASE0, 1 << 40, false)]
#[case::mtrr_mask(IA32_MTRR_PHYSBASE0 + 15, 0xFF_C000_0800, true)]
#[case::mtrr_mask_reserved(IA32_MTRR_PHYSBASE0 + 1, 1, false)]
#[case::mtrr_beyond_the_last(IA32_MTRR_PHYSBASE0 + 16, 0, false)]
#[case::mtrr_default(IA32_MTRR_DEF_TYPE, 0xC06, true)]
#[case::mtrr_default_reserved(IA32_MTRR_DEF_TYPE, 0x100, false)]
#[case::mtrr_capabilities(IA32_MTRRCAP, 0x508, false)]
#[case::spec_ctrl(IA32_SPEC_CTRL, 7, true)]
#[case::spec_ctrl_reserved(IA32_SPEC_CTRL, 8, false)]
#[case::capabilities(IA32_ARCH_CAPABILITIES, 0, false)]
#[case::tsc_aux(IA32_TSC_AUX, 0xFFFF_FFFF, true)]
#[case::tsc_aux_upper_half(IA32_TSC_AUX, 1 << 32, false)]
#[case::xss(IA32_XSS, 1, false)]
#[case::locked(IA32_FEATURE_CONTROL, 5, false)]
#[case::apic_base(IA32_APIC_BASE, 0xFEE0_0900, true)]
#[case::apic_base_reserved(IA32_APIC_BASE, 0xFEE0_0901, false)]
#[case::unknown(0x1234_5678, 0, false)]
fn what_is_written_is_read_back_and_reserved_bits_fault(
    #[case] msr: u32,
    #[case] value: u64,
    #[case] accepted: bool,
) {
    let mut cpu = long_cpu("x86-64-v2");
    let before = cpu.read_msr(msr);
    cpu.regs[slot::RCX] = msr.into();
    (cpu.regs[slot::RDX], cpu.regs[slot::RAX]) = (value >> 32, value);
    let result = wrmsr(&mut cpu, &insn(&[]));
    assert_eq!(result, if accepted { Ok(()) } else { gp0() });
    assert_eq!(cpu.read_msr(msr), if accepted { Some(value) } else { before });
}

#[rstest]
#[case(IA32_LSTAR, "syscall")]
#[case(IA32_MTRRCAP, "mtrr")]
#[case(IA32_SPEC_CTRL, "spec_ctrl")]
#[case(IA32_ARCH_CAPABILITIES, "arch_capabilities")]
#[case(IA32_TSC_DEADLINE, "tsc_deadline_timer")]
#[case(IA32_TSC_AUX, "rdtscp")]
#[case(IA32_TSC_ADJUST, "tsc_adjust")]
#[case(IA32_XSS, "xsaves")]
fn an_msr_exists_with_its_feature(#[case] msr: u32, #[case] feature: &str) {
    assert!(long_cpu("x86-64-v2").read_msr(msr).is_some());
    assert_eq!(long_cpu(&format!("x86-64-v2,-{feature}")).read_msr(msr), None);
}

#[test]
fn efer_takes_offered_bits_keeps_lma_and_guards_lme() {
    let mut cpu = long_cpu("x86-64-v2");
    assert_eq!(cpu.write_msr(IA32_EFER, 1), None, "LME cannot change while paging");
    cpu.write_msr(IA32_EFER, 0x901).unwrap();
    assert_eq!(cpu.read_msr(IA32_EFER), Some(0xD01));
    assert_eq!(cpu.write_msr(IA32_EFER, 0x1901), None, "SVME");
    assert_eq!(reset_cpu("x86-64-v2,-nx").write_msr(IA32_EFER, 0x800), None);
}

#[test]
fn writing_the_tsc_moves_it_and_the_deadline_with_it() {
    let mut cpu = long_cpu("x86-64-v2");
    cpu.write_msr(IA32_TIME_STAMP_COUNTER, 1_000_000).unwrap();
    assert_eq!(cpu.read_msr(IA32_TIME_STAMP_COUNTER), Some(1_000_000));
    assert_eq!(cpu.read_msr(IA32_TSC_ADJUST), Some(999_000));
    cpu.write_msr(IA32_TSC_DEADLINE, 1_000_500).unwrap();
    assert_eq!(cpu.io.apic_msr_read(0, IA32_TSC_DEADLINE), Some(1500));
    assert_eq!(cpu.read_msr(IA32_TSC_DEADLINE), Some(1_000_500));
    cpu.write_msr(IA32_TSC_DEADLINE, 5).unwrap();
    assert_eq!(cpu.io.apic_msr_read(0, IA32_TSC_DEADLINE), Some(1), "long past, but armed");
    cpu.write_msr(IA32_TSC_DEADLINE, 0).unwrap();
    assert_eq!(cpu.io.apic_msr_read(0, IA32_TSC_DEADLINE), Some(0));
}

#[test]
fn segment_bases_reach_the_address_slots() {
    let mut cpu = long_cpu("x86-64-v2");
    cpu.write_msr(IA32_GS_BASE, 0xFFFF_8880_0000_0000).unwrap();
    assert_eq!(cpu.regs[usize::from(slot::SEGMENT_BASE) + Seg::Gs as usize], 0xFFFF_8880_0000_0000);
}

#[test]
fn commands_are_write_only_and_take_one_bit() {
    let mut cpu = long_cpu("x86-64-v2");
    for command in [IA32_PRED_CMD, IA32_FLUSH_CMD] {
        assert_eq!(cpu.read_msr(command), None);
        assert_eq!(cpu.write_msr(command, 1), Some(()));
        assert_eq!(cpu.write_msr(command, 2), None);
    }
}

#[test]
fn rdmsr_of_what_does_not_exist_changes_nothing() {
    let mut cpu = long_cpu("x86-64-v2");
    cpu.regs[..4].copy_from_slice(&[1, 0xC001_0010, 2, 3]);
    assert_eq!(rdmsr(&mut cpu, &insn(&[])), gp0());
    assert_eq!(cpu.regs[..4], [1, 0xC001_0010, 2, 3]);
}
