//! LGDT, LIDT, SGDT, SIDT, LLDT, LTR, SLDT, STR. SDM vol. 3, 2.4 and 2.8.1.

use super::descriptor::{Descriptor, fetch, is_local, is_null};
use crate::{
    arch::{Cr4, Exception, Width, attr, system_type, vector},
    cpu::Cpu,
    decode::{Insn, Kind},
    semantics::{Attr, Emitter, Row, microcode, microcode_form},
    state::TableRegister,
};
use iced_x86::{Code, Mnemonic};

/// Base as LGDT and LIDT with 16-bit operand size load it.
const BASE24: u64 = 0x00FF_FFFF;
const BASE32: u64 = 0xFFFF_FFFF;

/// The pseudo-descriptor in memory: a 16-bit limit, and a base of which `mask` is used.
fn read_register(cpu: &mut Cpu, i: &Insn, mask: u64) -> Result<TableRegister, Exception> {
    let mut bytes = [0; 10];
    let len = if mask == u64::MAX { 10 } else { 6 };
    cpu.read_operand_bytes(i, &mut bytes[..len])?;
    let [low, high, base @ ..] = bytes;
    let base = u64::from_le_bytes(base) & mask;
    if mask == u64::MAX && !cpu.is_canonical(base) {
        return Err(Exception::GP0);
    }
    Ok(TableRegister { limit: u16::from_le_bytes([low, high]), base })
}

fn lgdt(cpu: &mut Cpu, i: &Insn, mask: u64) -> Result<(), Exception> {
    cpu.segments.gdtr = read_register(cpu, i, mask)?;
    Ok(())
}

fn lidt(cpu: &mut Cpu, i: &Insn, mask: u64) -> Result<(), Exception> {
    cpu.segments.idtr = read_register(cpu, i, mask)?;
    Ok(())
}

/// User-mode instruction prevention: #GP(0) above CPL 0 if CR4.UMIP.
fn check_umip(cpu: &Cpu) -> Result<(), Exception> {
    if cpu.cpl != 0 && cpu.control.cr4.contains(Cr4::UMIP) { Err(Exception::GP0) } else { Ok(()) }
}

/// With a 16-bit operand size too, all 32 bits of the base are stored.
fn store_register(cpu: &mut Cpu, i: &Insn, register: TableRegister, len: usize) -> Result<(), Exception> {
    check_umip(cpu)?;
    let mut bytes = [0; 10];
    bytes[..2].copy_from_slice(&register.limit.to_le_bytes());
    bytes[2..].copy_from_slice(&register.base.to_le_bytes());
    cpu.write_operand_bytes(i, &bytes[..len])
}

fn sgdt(cpu: &mut Cpu, i: &Insn, len: usize) -> Result<(), Exception> {
    store_register(cpu, i, cpu.segments.gdtr, len)
}

fn sidt(cpu: &mut Cpu, i: &Insn, len: usize) -> Result<(), Exception> {
    store_register(cpu, i, cpu.segments.idtr, len)
}

fn operand(cpu: &mut Cpu, i: &Insn) -> Result<u16, Exception> {
    let value = match i.kind[0] {
        Kind::Gpr => cpu.reg(Width::W16, i.reg[0]),
        _ => cpu.read_operand(i, Width::W16, 0)?,
    };
    Ok(value as u16)
}

/// Finds the system descriptor of `selector` for LLDT and LTR, which must be of a type in `kinds` and in the
/// GDT. Returns its second half too, 0 outside long mode.
fn system_descriptor(cpu: &mut Cpu, selector: u16, kinds: &[u16]) -> Result<(Descriptor, u64), Exception> {
    let fault = Exception::gp(selector);
    if is_local(selector) {
        return Err(fault);
    }
    let descriptor = fetch(cpu, selector, vector::GP)?;
    if !descriptor.system_type().is_some_and(|kind| kinds.contains(&kind)) {
        return Err(fault);
    }
    if !descriptor.present() {
        return Err(Exception::np(selector));
    }
    let upper = if cpu.mode.is_long() { descriptor.upper(cpu, vector::GP)? } else { 0 };
    if !cpu.is_canonical(descriptor.system_segment(upper).base) {
        return Err(fault);
    }
    Ok((descriptor, upper))
}

fn lldt(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    let selector = operand(cpu, i)?;
    cpu.segments.ldtr = if is_null(selector) {
        super::segment_load::null_segment(selector, 0)
    } else {
        let (descriptor, upper) = system_descriptor(cpu, selector, &[system_type::LDT])?;
        descriptor.system_segment(upper)
    };
    Ok(())
}

fn ltr(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    let selector = operand(cpu, i)?;
    if is_null(selector) {
        return Err(Exception::GP0);
    }
    let kinds: &[u16] =
        if cpu.mode.is_long() { &[system_type::TSS32] } else { &[system_type::TSS16, system_type::TSS32] };
    let (descriptor, upper) = system_descriptor(cpu, selector, kinds)?;
    descriptor.mark_busy(cpu, true)?;
    let mut tr = descriptor.system_segment(upper);
    tr.attr |= attr::WRITABLE;
    cpu.segments.tr = tr;
    Ok(())
}

/// SLDT and STR: the operand's width of a register, always 16 bits of memory.
fn store_selector(cpu: &mut Cpu, i: &Insn, selector: u16) -> Result<(), Exception> {
    check_umip(cpu)?;
    if i.kind[0] == Kind::Gpr {
        cpu.set_reg(i.w(), i.reg[0], selector.into());
        return Ok(());
    }
    cpu.write_operand(i, Width::W16, 0, selector.into())
}

/// Rows of this file.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    vec![
        microcode_form(Code::Lgdt_m1632_16, |cpu, i| lgdt(cpu, i, BASE24)).with(Attr::CPL0),
        microcode_form(Code::Lgdt_m1632, |cpu, i| lgdt(cpu, i, BASE32)).with(Attr::CPL0),
        microcode_form(Code::Lgdt_m1664, |cpu, i| lgdt(cpu, i, u64::MAX)).with(Attr::CPL0),
        microcode_form(Code::Lidt_m1632_16, |cpu, i| lidt(cpu, i, BASE24)).with(Attr::CPL0),
        microcode_form(Code::Lidt_m1632, |cpu, i| lidt(cpu, i, BASE32)).with(Attr::CPL0),
        microcode_form(Code::Lidt_m1664, |cpu, i| lidt(cpu, i, u64::MAX)).with(Attr::CPL0),
        microcode_form(Code::Sgdt_m1632_16, |cpu, i| sgdt(cpu, i, 6)),
        microcode_form(Code::Sgdt_m1632, |cpu, i| sgdt(cpu, i, 6)),
        microcode_form(Code::Sgdt_m1664, |cpu, i| sgdt(cpu, i, 10)),
        microcode_form(Code::Sidt_m1632_16, |cpu, i| sidt(cpu, i, 6)),
        microcode_form(Code::Sidt_m1632, |cpu, i| sidt(cpu, i, 6)),
        microcode_form(Code::Sidt_m1664, |cpu, i| sidt(cpu, i, 10)),
        microcode(Mnemonic::Lldt, lldt).with(Attr::PROTECTED | Attr::CPL0),
        microcode(Mnemonic::Ltr, ltr).with(Attr::PROTECTED | Attr::CPL0),
        microcode(Mnemonic::Sldt, |cpu, i| store_selector(cpu, i, cpu.segments.ldtr.selector))
            .with(Attr::PROTECTED),
        microcode(Mnemonic::Str, |cpu, i| store_selector(cpu, i, cpu.segments.tr.selector))
            .with(Attr::PROTECTED),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cpu::slot, microcode::testing::*};

    fn memory(at: u64) -> Insn {
        Insn { kind: [Kind::Mem, Kind::None, Kind::None, Kind::None], disp: at, asize: Width::W64, ..insn() }
    }

    fn register() -> Insn {
        Insn { kind: [Kind::Gpr, Kind::None, Kind::None, Kind::None], ..insn() }
    }

    #[test]
    fn a_16_bit_lgdt_loads_24_bits_of_base() {
        let mut cpu = real();
        put_u64(&cpu, 0x500, 0x1234_5678_0FFF);
        lgdt(&mut cpu, &memory(0x500), BASE24).unwrap();
        assert_eq!(cpu.segments.gdtr, TableRegister { base: 0x34_5678, limit: 0xFFF });
    }

    #[test]
    fn a_non_canonical_base_is_refused() {
        let mut cpu = long(0);
        put_u64(&cpu, 0x500, 0x0000_0000_0000_0FFF);
        put_u64(&cpu, 0x508, 0x8000);
        let before = cpu.segments.idtr;
        assert_eq!(lidt(&mut cpu, &memory(0x500), u64::MAX), Err(Exception::GP0));
        assert_eq!(cpu.segments.idtr, before);
    }

    #[test]
    fn sidt_obeys_umip() {
        let mut cpu = long(3);
        sidt(&mut cpu, &memory(0x500), 10).unwrap();
        assert_eq!(get_u64(&cpu, 0x500), IDT << 16 | 0xFFF);
        cpu.control.cr4.insert(Cr4::UMIP);
        assert_eq!(sidt(&mut cpu, &memory(0x500), 10), Err(Exception::GP0));
    }

    #[test]
    fn ltr_takes_a_16_byte_descriptor_and_marks_it_busy() {
        let mut cpu = long(0);
        put_u64(&cpu, GDT + 0x80, 0x1200_8934_5678_0067);
        put_u64(&cpu, GDT + 0x88, 0xFFFF_8000);
        cpu.regs[slot::RAX] = 0x80;
        ltr(&mut cpu, &register()).unwrap();
        assert_eq!((cpu.segments.tr.base, cpu.segments.tr.limit), (0xFFFF_8000_1234_5678, 0x67));
        assert_eq!(get_u64(&cpu, GDT + 0x80), 0x1200_8B34_5678_0067);
        assert_eq!(ltr(&mut cpu, &register()), Err(Exception::gp(0x80)), "busy");
    }

    #[test]
    fn a_null_ldt_is_unusable_and_a_wrong_type_refused() {
        let mut cpu = protected(0);
        lldt(&mut cpu, &register()).unwrap();
        assert!(cpu.segments.ldtr.unusable);
        cpu.regs[slot::RAX] = KERNEL_DS.into();
        assert_eq!(lldt(&mut cpu, &register()), Err(Exception::gp(KERNEL_DS)));
    }
}
