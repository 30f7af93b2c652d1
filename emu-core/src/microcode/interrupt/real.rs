//! Delivery through the interrupt vector table of real mode. SDM vol. 3, 20.1.4.

use super::{Event, Source};
use crate::{
    arch::{Exception, Flags, Seg, Width, vector},
    cpu::Cpu,
    cpu_model::Generation,
    microcode::{descriptor::system_linear, far_transfer::Target, flags_image::pushed, stack::Stack},
    mmu::Privilege,
};

/// Pushes FLAGS, CS and IP and goes where the table says. No error code.
pub(super) fn deliver(cpu: &mut Cpu, event: &Event) -> Result<(), Exception> {
    let idtr = cpu.segments.idtr;
    // To a 16-bit processor the stack segment is no other than the rest (recorded: SingleStepTests 80286).
    let stack_fault = event.vector == vector::SS && matches!(event.source, Source::Exception { .. });
    let vector = if stack_fault && cpu.model.generation().is_16_bit() { vector::GP } else { event.vector };
    let offset = u64::from(vector) * 4;
    if offset + 3 > u64::from(idtr.limit) {
        return Err(Exception::Code(vector::GP, event.idt_code()));
    }
    let entry = system_linear(cpu, idtr.base, offset);
    let mut stack = Stack::current(cpu);
    let flags = event.saved_flags(cpu);
    // The 80286 pushes before it looks where to go, which shows if the stack lies on the table.
    let pushes_first = cpu.model.generation() == Generation::I80286;
    if pushes_first {
        push_frame(cpu, &mut stack, flags)?;
    }
    let entry = cpu.read_linear(entry, Width::W32, Privilege::System)?;
    let target = Target::real_or_vm86(cpu, (entry >> 16) as u16, entry & 0xFFFF)?;
    if !pushes_first {
        push_frame(cpu, &mut stack, flags)?;
    }
    stack.commit(cpu);
    target.put(cpu);
    cpu.eflags.remove(Flags::IF | Flags::TF | Flags::RF | Flags::AC);
    cpu.level_changed();
    Ok(())
}

/// Pushes `flags`, CS and IP as 16-bit values and enters `selector`:`offset`, as real mode and redirected
/// interrupts of virtual-8086 mode do.
pub(super) fn enter(cpu: &mut Cpu, selector: u16, offset: u64, flags: Flags) -> Result<(), Exception> {
    let target = Target::real_or_vm86(cpu, selector, offset)?;
    let mut stack = Stack::current(cpu);
    push_frame(cpu, &mut stack, flags)?;
    stack.commit(cpu);
    target.put(cpu);
    Ok(())
}

fn push_frame(cpu: &mut Cpu, stack: &mut Stack, flags: Flags) -> Result<(), Exception> {
    for value in [pushed(cpu, flags), cpu.seg(Seg::Cs).selector.into(), cpu.rip] {
        stack.push(cpu, Width::W16, value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::{
        arch::{Exception, Flags, Seg},
        cpu::slot,
        microcode::{
            interrupt::{deliver_exception, deliver_interrupt},
            testing::*,
        },
        state::Activity,
    };

    #[test]
    fn an_interrupt_goes_through_the_vector_table() {
        let mut cpu = real();
        put_u32(&cpu, 8 * 4, 0x1234_5678);
        cpu.regs[slot::RSP] = 0x100;
        cpu.rip = 0x42;
        cpu.set_rflags(Flags::IF | Flags::CF);
        deliver_interrupt(&mut cpu, 8);
        assert_eq!((cpu.seg(Seg::Cs).base, cpu.rip, cpu.regs[slot::RSP]), (0x1_2340, 0x5678, 0xFA));
        assert_eq!(cpu.rflags(), Flags::CF | Flags::FIXED);
        let base = cpu.seg(Seg::Ss).base;
        assert_eq!(get_u32(&cpu, base + 0xFC), 0x0203_0000 | REAL_CS as u32);
    }

    #[test]
    fn no_table_and_no_double_fault_entry_is_a_shutdown() {
        let mut cpu = real();
        cpu.segments.idtr.limit = 0;
        deliver_exception(&mut cpu, Exception::UD);
        assert_eq!(cpu.events.activity, Activity::Shutdown);
    }
}
