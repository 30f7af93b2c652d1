//! Delivery through interrupt, trap and task gates outside long mode, from protected and virtual-8086 code.
//! SDM vol. 3, 6.11, 6.12 and 20.3.1.

use super::Event;
use crate::{
    arch::{Exception, Flags, Seg, Width, system_type, vector},
    cpu::Cpu,
    microcode::{
        descriptor::{Descriptor, Gate, fetch, is_null, system_linear},
        far_transfer::Target,
        segment_load::{null_segment, put},
        stack::Stack,
        task_switch::{self, Reason},
        tss,
    },
    mmu::Privilege,
};

/// Delivers `event` in protected or virtual-8086 mode.
pub(super) fn deliver(cpu: &mut Cpu, event: &Event) -> Result<(), Exception> {
    let gate = open(cpu, event)?;
    if gate.kind == system_type::TASK_GATE {
        let reason =
            Reason::Interrupt { saved_flags: event.saved_flags(cpu), error: event.error, ext: event.ext() };
        return task_switch::switch(cpu, gate.selector, reason);
    }
    let selector = gate.selector;
    if is_null(selector) {
        return Err(Exception::GP0);
    }
    let code = fetch(cpu, selector, vector::GP)?;
    if !code.is_code() || code.dpl() > cpu.cpl {
        return Err(Exception::gp(selector));
    }
    if !code.present() {
        return Err(Exception::np(selector));
    }
    let inner = !code.is_conforming() && code.dpl() < cpu.cpl;
    let vm86 = cpu.mode.is_vm86();
    if vm86 && !(inner && code.dpl() == 0) {
        return Err(Exception::gp(selector));
    }
    let flags = event.saved_flags(cpu);
    if inner {
        to_inner_level(cpu, event, &gate, &code, flags)?;
    } else {
        to_same_level(cpu, event, &gate, &code, flags)?;
    }
    cpu.eflags.remove(Flags::TF | Flags::NT | Flags::RF | Flags::VM);
    if matches!(gate.kind, system_type::INTERRUPT_GATE16 | system_type::INTERRUPT_GATE32) {
        cpu.eflags.remove(Flags::IF);
    }
    cpu.level_changed();
    Ok(())
}

fn open(cpu: &mut Cpu, event: &Event) -> Result<Gate, Exception> {
    let idtr = cpu.segments.idtr;
    let offset = u64::from(event.vector) * 8;
    let fault = Exception::Code(vector::GP, event.idt_code());
    if offset + 7 > u64::from(idtr.limit) {
        return Err(fault);
    }
    let address = system_linear(cpu, idtr.base, offset);
    let raw = cpu.read_linear(address, Width::W64, Privilege::System)?;
    let gate = Gate::parse(raw, 0).ok_or(fault)?;
    let is_gate = matches!(
        gate.kind,
        system_type::TASK_GATE
            | system_type::INTERRUPT_GATE16
            | system_type::TRAP_GATE16
            | system_type::INTERRUPT_GATE32
            | system_type::TRAP_GATE32
    );
    if !is_gate || event.checks_gate_privilege() && gate.dpl < cpu.cpl {
        return Err(fault);
    }
    if !gate.present {
        return Err(Exception::Code(vector::NP, event.idt_code()));
    }
    Ok(gate)
}

/// FLAGS, CS, IP and the error code, which all handlers find.
fn push_frame(
    cpu: &mut Cpu,
    stack: &mut Stack,
    w: Width,
    flags: Flags,
    error: Option<u32>,
) -> Result<(), Exception> {
    for value in [u64::from(flags.bits()), cpu.seg(Seg::Cs).selector.into(), cpu.rip] {
        stack.push(cpu, w, value)?;
    }
    error.map_or(Ok(()), |error| stack.push(cpu, w, error.into()))
}

fn to_same_level(
    cpu: &mut Cpu,
    event: &Event,
    gate: &Gate,
    code: &Descriptor,
    flags: Flags,
) -> Result<(), Exception> {
    let level = cpu.cpl;
    let mut stack = Stack::current(cpu);
    push_frame(cpu, &mut stack, gate.width(), flags, event.error)?;
    let target = Target::protected(cpu, gate.selector, code, level, gate.offset)?;
    stack.commit(cpu);
    target.put(cpu);
    Ok(())
}

fn to_inner_level(
    cpu: &mut Cpu,
    event: &Event,
    gate: &Gate,
    code: &Descriptor,
    flags: Flags,
) -> Result<(), Exception> {
    let (w, level, vm86) = (gate.width(), code.dpl(), cpu.mode.is_vm86());
    let (mut stack, ss) = tss::legacy_stack(cpu, level)?;
    let target = Target::protected(cpu, gate.selector, code, level, gate.offset)?;
    if vm86 {
        for seg in [Seg::Gs, Seg::Fs, Seg::Ds, Seg::Es] {
            let selector = cpu.seg(seg).selector.into();
            stack.push(cpu, w, selector)?;
        }
    }
    let (old_ss, old_esp) = (cpu.seg(Seg::Ss).selector.into(), cpu.regs[crate::cpu::slot::RSP]);
    stack.push(cpu, w, old_ss)?;
    stack.push(cpu, w, old_esp)?;
    push_frame(cpu, &mut stack, w, flags, event.error)?;

    cpu.cpl = level;
    if vm86 {
        for seg in [Seg::Gs, Seg::Fs, Seg::Ds, Seg::Es] {
            put(cpu, seg, null_segment(0, 0));
        }
    }
    put(cpu, Seg::Ss, ss);
    stack.commit(cpu);
    target.put(cpu);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::{
        arch::{Exception, Flags, Seg, vector},
        cpu::slot,
        microcode::{
            interrupt::{deliver_exception, deliver_interrupt},
            testing::*,
        },
    };

    #[test]
    fn an_interrupt_of_user_code_switches_to_the_stack_of_the_tss() {
        let mut cpu = protected(3);
        set_gate(&cpu, 0x21, 14, KERNEL_CS, 0x10_2000);
        cpu.regs[slot::RSP] = 0x7000;
        cpu.rip = 0x1234;
        cpu.set_rflags(Flags::IF | Flags::CF);
        deliver_interrupt(&mut cpu, 0x21);
        assert_eq!((cpu.cpl, cpu.rip, cpu.regs[slot::RSP]), (0, 0x10_2000, STACK0 - 20));
        let frame = [0x1234, USER_CS.into(), 0x203, 0x7000, USER_DS.into()];
        for (number, value) in frame.into_iter().enumerate() {
            assert_eq!(get_u32(&cpu, STACK0 - 20 + 4 * number as u64), value, "slot {number}");
        }
        assert!(!cpu.rflags().contains(Flags::IF));
    }

    #[test]
    fn a_16_bit_trap_gate_pushes_words() {
        let mut cpu = protected(0);
        set_gate(&cpu, vector::GP, 7, KERNEL_CS, 0xFFFF_4321);
        cpu.regs[slot::RSP] = 0x7000;
        cpu.rip = 0x1234;
        deliver_exception(&mut cpu, Exception::gp(0x18));
        assert_eq!((cpu.rip, cpu.regs[slot::RSP]), (0x4321, 0x7000 - 8));
        assert_eq!(get_u64(&cpu, 0x7000 - 8), 0x0002_0000_1234_0018 | u64::from(KERNEL_CS) << 32);
    }

    #[test]
    fn an_interrupt_of_virtual_8086_code_saves_its_segments_and_clears_them() {
        let mut cpu = vm86();
        set_gate(&cpu, 0x20, 14, KERNEL_CS, 0x2000);
        crate::microcode::segment_load::load(&mut cpu, Seg::Gs, 0x4444).unwrap();
        cpu.regs[slot::RSP] = 0x800;
        deliver_interrupt(&mut cpu, 0x20);
        assert_eq!((cpu.cpl, cpu.mode.is_vm86(), cpu.regs[slot::RSP]), (0, false, STACK0 - 36));
        assert_eq!(get_u32(&cpu, STACK0 - 4), 0x4444);
        assert!(cpu.seg(Seg::Gs).unusable);
        assert_ne!(get_u32(&cpu, STACK0 - 28) & Flags::VM.bits(), 0);
    }

    #[test]
    fn an_inner_stack_of_the_wrong_level_is_an_invalid_tss() {
        let mut cpu = protected(3);
        set_gate(&cpu, 0x21, 14, KERNEL_CS, 0x2000);
        set_gate(&cpu, vector::TS, 14, USER_CS, 0x3000);
        put_u32(&cpu, TSS + 8, USER_DS.into());
        cpu.regs[slot::RSP] = 0x7000;
        deliver_interrupt(&mut cpu, 0x21);
        // The handler of #TS runs at CPL 3: its stack needs no TSS.
        assert_eq!((cpu.cpl, cpu.rip), (3, 0x3000));
        assert_eq!(get_u32(&cpu, cpu.regs[slot::RSP]), u32::from(USER_DS & !3) | 1);
    }
}
