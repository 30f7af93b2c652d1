//! Far JMP.

use super::{
    Pointer,
    code::{Target, check_direct},
    gate,
};
use crate::{
    arch::{Exception, system_type, vector},
    cpu::Cpu,
    microcode::{
        descriptor::{Descriptor, fetch, is_null},
        task_switch::{self, Reason},
    },
};

/// Far JMP to `pointer`.
pub(super) fn jump(cpu: &mut Cpu, pointer: Pointer) -> Result<(), Exception> {
    let Pointer { selector, offset } = pointer;
    if cpu.mode.is_real_or_vm86() {
        Target::real_or_vm86(cpu, selector, offset)?.commit(cpu);
        return Ok(());
    }
    if is_null(selector) {
        return Err(Exception::GP0);
    }
    let descriptor = fetch(cpu, selector, vector::GP)?;
    if descriptor.is_code() {
        check_direct(cpu, selector, &descriptor)?;
        Target::protected(cpu, selector, &descriptor, cpu.cpl, offset)?.commit(cpu);
        return Ok(());
    }
    system(cpu, selector, &descriptor)
}

fn system(cpu: &mut Cpu, selector: u16, descriptor: &Descriptor) -> Result<(), Exception> {
    let long = cpu.mode.is_long();
    match descriptor.system_type() {
        Some(system_type::CALL_GATE32) => {}
        Some(system_type::CALL_GATE16) if !long => {}
        Some(system_type::TASK_GATE) if !long => {
            return task_switch::gate(cpu, descriptor, selector, Reason::Jump);
        }
        Some(system_type::TSS16 | system_type::TSS32) if !long => {
            return task_switch::direct(cpu, descriptor, selector, Reason::Jump);
        }
        _ => return Err(Exception::gp(selector)),
    }
    let entry = gate::open(cpu, selector, descriptor)?;
    entry.check_jump(cpu)?;
    entry.target(cpu, cpu.cpl)?.commit(cpu);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        arch::{Seg, Segment},
        microcode::testing::*,
    };
    use rstest::rstest;

    #[test]
    fn a_protected_mode_jump_loads_cs_from_the_gdt() {
        let mut cpu = protected(0);
        jump(&mut cpu, Pointer { selector: KERNEL_CS16, offset: 0x1234 }).unwrap();
        assert_eq!((cpu.seg(Seg::Cs).selector, cpu.rip), (KERNEL_CS16, 0x1234));
        assert_eq!(cpu.mode.bitness(), 16);
    }

    #[rstest]
    #[case::null(0, Exception::GP0)]
    #[case::data(KERNEL_DS, Exception::gp(KERNEL_DS))]
    #[case::outer_code(USER_CS, Exception::gp(USER_CS))]
    #[case::beyond_the_table(0xFFF8, Exception::gp(0xFFF8))]
    fn a_jump_that_is_not_allowed_changes_nothing(#[case] selector: u16, #[case] expected: Exception) {
        let mut cpu = protected(0);
        let before = cpu.save_state();
        assert_eq!(jump(&mut cpu, Pointer { selector, offset: 0 }), Err(expected));
        assert_eq!(cpu.save_state(), before);
    }

    #[test]
    fn the_first_far_jump_after_setting_pe_enters_32_bit_code() {
        let mut cpu = protected(0);
        cpu.set_seg(Seg::Cs, Segment::real(0xF000));
        jump(&mut cpu, Pointer { selector: KERNEL_CS, offset: 0x10_0000 }).unwrap();
        assert_eq!((cpu.mode.bitness(), cpu.rip), (32, 0x10_0000));
    }

    #[test]
    fn a_real_mode_jump_beyond_64_kib_faults() {
        let mut cpu = real();
        assert_eq!(jump(&mut cpu, Pointer { selector: 0x100, offset: 0x1_0000 }), Err(Exception::GP0));
        jump(&mut cpu, Pointer { selector: 0x100, offset: 0xFFFF }).unwrap();
        assert_eq!((cpu.seg(Seg::Cs).base, cpu.rip), (0x1000, 0xFFFF));
    }

    #[test]
    fn compatibility_code_can_jump_into_64_bit_code() {
        let mut cpu = long(0);
        jump(&mut cpu, Pointer { selector: KERNEL_CS, offset: 0x1000 }).unwrap();
        assert_eq!(cpu.mode.bitness(), 32);
        jump(&mut cpu, Pointer { selector: KERNEL_CS64, offset: 0x2000 }).unwrap();
        assert_eq!(cpu.mode.bitness(), 64);
    }
}
