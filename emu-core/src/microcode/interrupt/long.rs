//! Delivery through 64-bit interrupt and trap gates. SDM vol. 3, 6.14.

use super::Event;
use crate::{
    arch::{Exception, Flags, Seg, Width, system_type, vector},
    cpu::{Cpu, slot},
    microcode::{
        descriptor::{Gate, fetch, is_null},
        far_transfer::Target,
        segment_load::{null_segment, put},
        stack::Stack,
        tss,
    },
    mmu::Privilege,
};

/// Delivers `event` in long mode.
pub(super) fn deliver(cpu: &mut Cpu, event: &Event) -> Result<(), Exception> {
    let gate = open(cpu, event)?;
    let selector = gate.selector;
    if is_null(selector) {
        return Err(Exception::GP0);
    }
    let code = fetch(cpu, selector, vector::GP)?;
    if !code.is_code64() || code.dpl() > cpu.cpl {
        return Err(Exception::gp(selector));
    }
    if !code.present() {
        return Err(Exception::np(selector));
    }
    let level = if code.is_conforming() { cpu.cpl } else { code.dpl() };
    let inner = level < cpu.cpl;
    let rsp = match gate.count & 7 {
        0 if inner => tss::long_stack(cpu, level)?,
        0 => cpu.regs[slot::RSP],
        number => tss::interrupt_stack(cpu, number)?,
    };
    let target = Target::protected(cpu, selector, &code, level, gate.offset)?;

    let privilege = if level == 3 { Privilege::Current } else { Privilege::System };
    let mut stack = Stack::long(rsp & !15, privilege);
    let frame = [
        cpu.seg(Seg::Ss).selector.into(),
        cpu.regs[slot::RSP],
        event.saved_flags(cpu).bits().into(),
        cpu.seg(Seg::Cs).selector.into(),
        cpu.rip,
    ];
    for value in frame {
        stack.push(cpu, Width::W64, value)?;
    }
    if let Some(error) = event.error {
        stack.push(cpu, Width::W64, error.into())?;
    }

    cpu.cpl = level;
    if inner {
        put(cpu, Seg::Ss, null_segment(level.into(), level));
    }
    stack.commit(cpu);
    target.put(cpu);
    cpu.eflags.remove(Flags::TF | Flags::NT | Flags::RF);
    if gate.kind == system_type::INTERRUPT_GATE32 {
        cpu.eflags.remove(Flags::IF);
    }
    cpu.level_changed();
    Ok(())
}

fn open(cpu: &mut Cpu, event: &Event) -> Result<Gate, Exception> {
    let idtr = cpu.segments.idtr;
    let offset = u64::from(event.vector) * 16;
    let fault = Exception::Code(vector::GP, event.idt_code());
    if offset + 15 > u64::from(idtr.limit) {
        return Err(fault);
    }
    let address = idtr.base.wrapping_add(offset);
    let raw = cpu.read_linear(address, Width::W64, Privilege::System)?;
    let upper = cpu.read_linear(address.wrapping_add(8), Width::W64, Privilege::System)?;
    let gate = Gate::parse(raw, upper & 0xFFFF_FFFF).ok_or(fault)?;
    if !matches!(gate.kind, system_type::INTERRUPT_GATE32 | system_type::TRAP_GATE32) {
        return Err(fault);
    }
    if event.checks_gate_privilege() && gate.dpl < cpu.cpl {
        return Err(fault);
    }
    if !gate.present {
        return Err(Exception::Code(vector::NP, event.idt_code()));
    }
    Ok(gate)
}

#[cfg(test)]
mod tests {
    use crate::{
        arch::{Exception, Flags, PageFaultCode, Seg, vector},
        cpu::slot,
        microcode::{
            interrupt::{deliver_exception, deliver_interrupt, deliver_nmi},
            testing::*,
        },
        state::Activity,
    };

    #[test]
    fn a_page_fault_from_user_code_switches_to_rsp0_and_tells_where() {
        let mut cpu = long(3);
        set_long_gate(&cpu, vector::PF, 14, 0, 0, 0xFFFF_8000_0000_1000);
        cpu.regs[slot::RSP] = 0x7000;
        cpu.rip = 0x40_0000;
        cpu.set_rflags(Flags::IF | Flags::ZF);

        deliver_exception(&mut cpu, Exception::Page(PageFaultCode::USER | PageFaultCode::WRITE, 0xDEAD_B000));

        assert_eq!((cpu.cpl, cpu.rip, cpu.mode.bitness()), (0, 0xFFFF_8000_0000_1000, 64));
        assert_eq!((cpu.seg(Seg::Cs).selector, cpu.seg(Seg::Ss).selector), (KERNEL_CS64, 0));
        assert_eq!((cpu.control.cr2, cpu.rflags()), (0xDEAD_B000, Flags::ZF | Flags::FIXED));
        let rsp = STACK0 - 48;
        assert_eq!(cpu.regs[slot::RSP], rsp);
        let frame = [6, 0x40_0000, USER_CS64.into(), 0x1_0242, 0x7000, USER_DS.into()];
        for (number, value) in frame.into_iter().enumerate() {
            assert_eq!(get_u64(&cpu, rsp + 8 * number as u64), value, "slot {number}");
        }
    }

    #[test]
    fn a_kernel_interrupt_stays_on_its_stack_aligned_to_16_bytes() {
        let mut cpu = long(0);
        set_long_gate(&cpu, 0x30, 15, 0, 0, 0x1000);
        cpu.regs[slot::RSP] = 0x7008;
        cpu.set_rflags(Flags::IF);
        deliver_interrupt(&mut cpu, 0x30);
        assert_eq!(cpu.regs[slot::RSP], 0x7000 - 40);
        assert_eq!(get_u64(&cpu, 0x7000 - 16), 0x7008);
        assert!(cpu.rflags().contains(Flags::IF), "a trap gate leaves IF");
    }

    #[test]
    fn an_nmi_uses_its_ist_stack_and_blocks_further_ones() {
        let mut cpu = long(0);
        set_long_gate(&cpu, vector::NMI, 14, 2, 0, 0x1000);
        cpu.events.activity = Activity::Halted;
        deliver_nmi(&mut cpu);
        assert_eq!(cpu.regs[slot::RSP], IST2 - 40);
        assert!(cpu.events.nmi_blocked);
        assert_eq!(cpu.events.activity, Activity::Active);
    }

    #[test]
    fn an_absent_gate_is_reported_with_ext_and_then_double_faults() {
        let mut cpu = long(0);
        set_long_gate(&cpu, vector::NP, 14, 0, 0, 0x1000);
        cpu.regs[slot::RSP] = 0x7000;
        put_u64(&cpu, IDT + 0x40 * 16, 14 << 40);
        deliver_interrupt(&mut cpu, 0x40);
        assert_eq!(get_u64(&cpu, 0x7000 - 48), 0x40 << 3 | 3);

        let mut cpu = long(0);
        cpu.regs[slot::RSP] = 0x7000;
        set_long_gate(&cpu, vector::DF, 14, 0, 0, 0x2000);
        deliver_exception(&mut cpu, Exception::GP0);
        assert_eq!((cpu.rip, get_u64(&cpu, 0x7000 - 48)), (0x2000, 0));
    }

    #[test]
    fn without_any_gate_the_cpu_shuts_down() {
        let mut cpu = long(3);
        let before = cpu.rip;
        deliver_exception(&mut cpu, Exception::UD);
        assert_eq!((cpu.events.activity, cpu.rip, cpu.cpl), (Activity::Shutdown, before, 3));
    }
}
