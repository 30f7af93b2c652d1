//! LAR, LSL, VERR, VERW, ARPL: questions about selectors that never fault on them. SDM vol. 3, 5.10.

use super::descriptor::{Descriptor, is_null, lookup, rpl};
use crate::{
    arch::{Exception, Flags, Width, system_type},
    cpu::{Cpu, LazyFlags},
    decode::{Insn, Kind},
    semantics::{Attr, Emitter, Row, microcode},
};
use iced_x86::Mnemonic;

fn set_zf(cpu: &mut Cpu, zf: bool) {
    let mut flags = cpu.flags.flags();
    flags.set(Flags::ZF, zf);
    cpu.flags = LazyFlags::from_flags(flags);
}

/// The 16-bit selector that operand `number` is.
fn selector(cpu: &mut Cpu, i: &Insn, number: usize) -> Result<u16, Exception> {
    let value = match i.kind[number] {
        Kind::Gpr => cpu.reg(Width::W16, i.reg[number]),
        _ => cpu.read_operand(i, Width::W16, 0)?,
    };
    Ok(value as u16)
}

/// The descriptor of `selector`, if there is one and code at the current level may know it.
fn visible(cpu: &mut Cpu, selector: u16) -> Result<Option<Descriptor>, Exception> {
    if is_null(selector) {
        return Ok(None);
    }
    let level = cpu.cpl.max(rpl(selector));
    let found = lookup(cpu, selector)?;
    Ok(found.filter(|descriptor| descriptor.is_conforming() || descriptor.dpl() >= level))
}

/// LAR and LSL: if `valid` accepts a system descriptor's type, the destination becomes `f` of the descriptor.
fn query(
    cpu: &mut Cpu,
    i: &Insn,
    valid: fn(u16, bool) -> bool,
    f: fn(&Descriptor) -> u32,
) -> Result<(), Exception> {
    let selector = selector(cpu, i, 1)?;
    let long = cpu.mode.is_long();
    let found = visible(cpu, selector)?
        .filter(|descriptor| descriptor.system_type().is_none_or(|kind| valid(kind, long)));
    if let Some(descriptor) = found {
        cpu.set_reg(i.w(), i.reg[0], u64::from(f(&descriptor)) & i.w().mask());
    }
    set_zf(cpu, found.is_some());
    Ok(())
}

fn has_limit(kind: u16, long: bool) -> bool {
    match kind {
        system_type::LDT | system_type::TSS32 | system_type::TSS32_BUSY => true,
        system_type::TSS16 | system_type::TSS16_BUSY => !long,
        _ => false,
    }
}

fn has_rights(kind: u16, long: bool) -> bool {
    match kind {
        system_type::CALL_GATE32 => true,
        system_type::CALL_GATE16 | system_type::TASK_GATE => !long,
        _ => has_limit(kind, long),
    }
}

fn lar(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    query(cpu, i, has_rights, |descriptor| descriptor.high() & 0x00FF_FF00)
}

fn lsl(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    query(cpu, i, has_limit, Descriptor::limit)
}

fn verify(cpu: &mut Cpu, i: &Insn, allowed: fn(&Descriptor) -> bool) -> Result<(), Exception> {
    let selector = selector(cpu, i, 0)?;
    let found = visible(cpu, selector)?.is_some_and(|descriptor| allowed(&descriptor));
    set_zf(cpu, found);
    Ok(())
}

fn verr(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    verify(cpu, i, Descriptor::is_readable)
}

fn verw(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    verify(cpu, i, Descriptor::is_writable_data)
}

/// ARPL: raises the RPL of the destination to that of the source.
fn arpl(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    let old = selector(cpu, i, 0)?;
    let level = rpl(cpu.reg(Width::W16, i.reg[1]) as u16);
    let raise = rpl(old) < level;
    if raise {
        let new = u64::from(old & !3 | u16::from(level));
        match i.kind[0] {
            Kind::Gpr => cpu.set_reg(Width::W16, i.reg[0], new),
            _ => cpu.write_operand(i, Width::W16, 0, new)?,
        }
    }
    set_zf(cpu, raise);
    Ok(())
}

/// Rows of this file.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    vec![
        microcode(Mnemonic::Lar, lar).with(Attr::PROTECTED),
        microcode(Mnemonic::Lsl, lsl).with(Attr::PROTECTED),
        microcode(Mnemonic::Verr, verr).with(Attr::PROTECTED),
        microcode(Mnemonic::Verw, verw).with(Attr::PROTECTED),
        microcode(Mnemonic::Arpl, arpl).with(Attr::PROTECTED),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cpu::slot, microcode::testing::*};
    use rstest::rstest;

    fn two_registers() -> Insn {
        let reg = [slot::byte_offset(slot::RAX), slot::byte_offset(slot::RCX), 0, 0];
        Insn { kind: [Kind::Gpr, Kind::Gpr, Kind::None, Kind::None], reg, ..insn() }
    }

    #[rstest]
    #[case::data(0, KERNEL_DS, Some((0x00CF_9300, 0xFFFF_FFFF)))]
    #[case::hidden(3, KERNEL_DS, None)]
    #[case::null(0, 0, None)]
    #[case::tss(0, TSS_SELECTOR, Some((0x0000_8B00, 0x67)))]
    fn lar_and_lsl_answer_or_clear_zf(
        #[case] level: u8,
        #[case] selector: u16,
        #[case] expected: Option<(u64, u64)>,
    ) {
        let mut cpu = protected(level);
        cpu.regs[slot::RCX] = selector.into();
        cpu.regs[slot::RAX] = 0x1111;
        let mut answers = [0; 2];
        for (answer, routine) in answers.iter_mut().zip([lar, lsl]) {
            routine(&mut cpu, &two_registers()).unwrap();
            assert_eq!(cpu.rflags().contains(Flags::ZF), expected.is_some());
            *answer = cpu.regs[slot::RAX];
        }
        let expected = expected.unwrap_or((0x1111, 0x1111));
        assert_eq!((answers[0], answers[1]), expected);
    }

    #[rstest]
    #[case::code_is_readable(KERNEL_CS, true, false)]
    #[case::data_is_both(KERNEL_DS, true, true)]
    #[case::system_is_neither(TSS_SELECTOR, false, false)]
    fn verr_and_verw(#[case] selector: u16, #[case] readable: bool, #[case] writable: bool) {
        let mut cpu = protected(0);
        cpu.regs[slot::RAX] = selector.into();
        verr(&mut cpu, &two_registers()).unwrap();
        assert_eq!(cpu.rflags().contains(Flags::ZF), readable);
        verw(&mut cpu, &two_registers()).unwrap();
        assert_eq!(cpu.rflags().contains(Flags::ZF), writable);
    }

    #[test]
    fn arpl_only_raises() {
        let mut cpu = protected(0);
        cpu.regs[slot::RAX] = 0xFFFF_0011;
        cpu.regs[slot::RCX] = 3;
        arpl(&mut cpu, &two_registers()).unwrap();
        assert_eq!((cpu.regs[slot::RAX], cpu.rflags().contains(Flags::ZF)), (0xFFFF_0013, true));
        cpu.regs[slot::RCX] = 0;
        arpl(&mut cpu, &two_registers()).unwrap();
        assert_eq!((cpu.regs[slot::RAX], cpu.rflags().contains(Flags::ZF)), (0xFFFF_0013, false));
    }
}
