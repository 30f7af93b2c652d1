//! Far CALL.

use super::{
    Pointer,
    code::{Target, check_direct},
    gate::{self, Entry, long_inner_ss},
};
use crate::{
    arch::{Exception, Seg, Width, system_type, vector},
    cpu::{Cpu, slot},
    microcode::{
        descriptor::{Descriptor, fetch, is_null},
        segment_load::put,
        stack::Stack,
        task_switch::{self, Reason},
        tss,
    },
    mmu::Privilege,
};

/// Far CALL of `pointer`; a direct one pushes `w`-wide values.
pub(super) fn call(cpu: &mut Cpu, pointer: Pointer, w: Width) -> Result<(), Exception> {
    let Pointer { selector, offset } = pointer;
    if cpu.mode.is_real_or_vm86() {
        let target = Target::real_or_vm86(cpu, selector, offset)?;
        return call_same_level(cpu, &target, Stack::current(cpu), w);
    }
    if is_null(selector) {
        return Err(Exception::GP0);
    }
    let descriptor = fetch(cpu, selector, vector::GP)?;
    if descriptor.is_code() {
        check_direct(cpu, selector, &descriptor)?;
        let target = Target::protected(cpu, selector, &descriptor, cpu.cpl, offset)?;
        return call_same_level(cpu, &target, Stack::current(cpu), w);
    }
    system(cpu, selector, &descriptor)
}

fn call_same_level(cpu: &mut Cpu, target: &Target, mut stack: Stack, w: Width) -> Result<(), Exception> {
    push_return_address(cpu, &mut stack, w)?;
    stack.commit(cpu);
    target.commit(cpu);
    Ok(())
}

fn push_return_address(cpu: &mut Cpu, stack: &mut Stack, w: Width) -> Result<(), Exception> {
    let (cs, rip) = (cpu.seg(Seg::Cs).selector, cpu.rip);
    stack.push(cpu, w, cs.into())?;
    stack.push(cpu, w, rip)
}

fn system(cpu: &mut Cpu, selector: u16, descriptor: &Descriptor) -> Result<(), Exception> {
    let long = cpu.mode.is_long();
    match descriptor.system_type() {
        Some(system_type::CALL_GATE32) => {}
        Some(system_type::CALL_GATE16) if !long => {}
        Some(system_type::TASK_GATE) if !long => {
            return task_switch::gate(cpu, descriptor, selector, Reason::Call);
        }
        Some(system_type::TSS16 | system_type::TSS32) if !long => {
            return task_switch::direct(cpu, descriptor, selector, Reason::Call);
        }
        _ => return Err(Exception::gp(selector)),
    }
    let entry = gate::open(cpu, selector, descriptor)?;
    let level = entry.call_level(cpu);
    if level < cpu.cpl {
        return if long { inner_long(cpu, &entry, level) } else { inner_legacy(cpu, &entry, level) };
    }
    let target = entry.target(cpu, level)?;
    let stack = if long { Stack::long(cpu.regs[slot::RSP], Privilege::Current) } else { Stack::current(cpu) };
    call_same_level(cpu, &target, stack, entry.width(cpu))
}

/// To an inner level: the new stack gets the old one's pointer, copies of the parameters, the return address.
fn inner_legacy(cpu: &mut Cpu, entry: &Entry, level: u8) -> Result<(), Exception> {
    let w = entry.width(cpu);
    let (mut stack, ss) = tss::legacy_stack(cpu, level)?;
    let target = entry.target(cpu, level)?;
    let old = Stack::current(cpu);
    stack.push(cpu, w, cpu.seg(Seg::Ss).selector.into())?;
    stack.push(cpu, w, old.pointer())?;
    for number in (0..entry.parameters()).rev() {
        let parameter = old.peek(cpu, w, number * w.bytes())?;
        stack.push(cpu, w, parameter)?;
    }
    push_return_address(cpu, &mut stack, w)?;
    cpu.cpl = level;
    stack.commit(cpu);
    put(cpu, Seg::Ss, ss);
    target.commit(cpu);
    Ok(())
}

/// The same in long mode: no parameters, and SS becomes null.
fn inner_long(cpu: &mut Cpu, entry: &Entry, level: u8) -> Result<(), Exception> {
    let rsp = tss::long_stack(cpu, level)?;
    let target = entry.target(cpu, level)?;
    let mut stack = Stack::long(rsp, Privilege::System);
    stack.push(cpu, Width::W64, cpu.seg(Seg::Ss).selector.into())?;
    stack.push(cpu, Width::W64, cpu.regs[slot::RSP])?;
    push_return_address(cpu, &mut stack, Width::W64)?;
    cpu.cpl = level;
    stack.commit(cpu);
    put(cpu, Seg::Ss, long_inner_ss(level));
    target.commit(cpu);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::microcode::{far_transfer::ret::far_return, testing::*};

    const GATE: u16 = 0x78;

    /// A call gate of DPL 3 to `selector`:`offset` with `parameters`.
    fn set_gate(cpu: &Cpu, kind: u64, selector: u16, offset: u64, parameters: u64) {
        let high = offset & 0xFFFF_0000 | (0xE0 | kind) << 8 | parameters;
        put_u64(cpu, GDT + u64::from(GATE), high << 32 | u64::from(selector) << 16 | offset & 0xFFFF);
    }

    #[test]
    fn a_gate_switches_stacks_copies_parameters_and_returns() {
        let mut cpu = protected(3);
        set_gate(&cpu, 12, KERNEL_CS, 0x4_5678, 2);
        cpu.regs[slot::RSP] = 0x7000;
        cpu.rip = 0x5005;
        put_u64(&cpu, 0x7000, 0x2222_2222_1111_1111);

        call(&mut cpu, Pointer { selector: GATE | 3, offset: 0xDEAD }, Width::W32).unwrap();

        assert_eq!((cpu.cpl, cpu.rip, cpu.seg(Seg::Cs).selector), (0, 0x4_5678, KERNEL_CS));
        assert_eq!(cpu.seg(Seg::Ss).selector, KERNEL_DS);
        let esp = STACK0 - 24;
        assert_eq!(cpu.regs[slot::RSP], esp);
        let words = [0x5005, USER_CS.into(), 0x1111_1111, 0x2222_2222, 0x7000, USER_DS.into()];
        for (number, word) in words.into_iter().enumerate() {
            assert_eq!(get_u32(&cpu, esp + 4 * number as u64), word, "word {number}");
        }

        far_return(&mut cpu, Width::W32, 8).unwrap();

        assert_eq!((cpu.cpl, cpu.rip, cpu.seg(Seg::Cs).selector), (3, 0x5005, USER_CS));
        assert_eq!((cpu.regs[slot::RSP], cpu.seg(Seg::Ss).selector), (0x7008, USER_DS));
    }

    #[test]
    fn a_64_bit_gate_takes_rsp_from_the_tss() {
        let mut cpu = long(3);
        set_gate(&cpu, 12, KERNEL_CS64, 0x4_5678, 0);
        put_u64(&cpu, GDT + u64::from(GATE) + 8, 0);
        cpu.regs[slot::RSP] = 0x7000;
        cpu.rip = 0x5005;

        call(&mut cpu, Pointer { selector: GATE, offset: 0 }, Width::W64).unwrap();

        assert_eq!((cpu.cpl, cpu.rip, cpu.mode.bitness()), (0, 0x4_5678, 64));
        assert_eq!((cpu.seg(Seg::Ss).selector, cpu.regs[slot::RSP]), (0, STACK0 - 32));
        far_return(&mut cpu, Width::W64, 0).unwrap();
        assert_eq!((cpu.cpl, cpu.rip, cpu.regs[slot::RSP]), (3, 0x5005, 0x7000));
        assert_eq!(cpu.seg(Seg::Ss).selector, USER_DS);
    }

    #[test]
    fn a_gate_of_an_inner_level_is_closed() {
        let mut cpu = protected(3);
        set_gate(&cpu, 12, KERNEL_CS, 0, 0);
        let raw = get_u64(&cpu, GDT + u64::from(GATE));
        put_u64(&cpu, GDT + u64::from(GATE), raw & !(3 << 45));
        assert_eq!(
            call(&mut cpu, Pointer { selector: GATE, offset: 0 }, Width::W32),
            Err(Exception::gp(GATE))
        );
    }

    #[test]
    fn a_call_whose_push_faults_changes_no_register() {
        let mut cpu = real();
        cpu.regs[slot::RSP] = 3;
        let before = cpu.save_state();
        assert_eq!(call(&mut cpu, Pointer { selector: 0x10, offset: 0 }, Width::W16), Err(Exception::SS0));
        assert_eq!(cpu.save_state(), before);
    }
}
