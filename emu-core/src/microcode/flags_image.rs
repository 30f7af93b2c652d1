//! PUSHF and POPF in all modes, and which bits of an image of RFLAGS an instruction may load. SDM vol. 2,
//! POPF table 4-16; vol. 3, 20.2.7 and 20.3.

use super::{stack::Stack, vm86};
use crate::{
    arch::{Cr4, Exception, Flags, Width},
    cpu::Cpu,
    cpu_model::Generation,
    semantics::{Attr, Emitter, Row, microcode_form},
};
use iced_x86::Code;

/// Bits that any code may load with a 16-bit image: the arithmetic flags, TF, DF, NT.
pub const COMMON16: Flags = Flags::ARITHMETIC.union(Flags::TF).union(Flags::DF).union(Flags::NT);
/// Bits that any code may load with a wider image, RF aside.
const COMMON32: Flags = COMMON16.union(Flags::AC).union(Flags::ID);

/// The bits that code at the current level may load from an image `w` wide, by its CPL and IOPL.
pub fn loadable(cpu: &Cpu, w: Width) -> Flags {
    let mut mask = if w == Width::W16 { COMMON16 } else { COMMON32 };
    if cpu.model.generation().is_16_bit() && !cpu.mode.is_protected() {
        mask.remove(Flags::NT);
    } else if cpu.cpl == 0 {
        mask |= Flags::IOPL;
    }
    if cpu.cpl <= vm86::iopl(cpu) {
        mask |= Flags::IF;
    }
    mask
}

/// The low half of `flags` as it is pushed. Bits 12 to 15 are ones on the 8086, and zeros on the 80286 in real
/// mode (80286 Programmer's Reference, 4.4).
pub fn pushed(cpu: &Cpu, flags: Flags) -> u64 {
    const UPPER: u64 = 0xF000;
    let image = u64::from(flags.bits());
    match cpu.model.generation() {
        Generation::I8086 => image | UPPER,
        Generation::I80186 | Generation::I80286 if !cpu.mode.is_protected() => image & !UPPER,
        _ => image,
    }
}

/// Replaces the bits of RFLAGS in `mask` by those of `image`.
pub fn load(cpu: &mut Cpu, image: Flags, mask: Flags) {
    let flags = cpu.rflags() & !mask | image & mask;
    cpu.set_rflags(flags);
}

fn is_restricted_vm86(cpu: &Cpu) -> bool {
    cpu.mode.is_vm86() && vm86::iopl(cpu) < 3
}

/// Under VME, restricted virtual-8086 code may use the 16-bit forms, with VIF in IF's place.
fn check_restricted(cpu: &Cpu, w: Width) -> Result<(), Exception> {
    if w == Width::W16 && cpu.control.cr4.contains(Cr4::VME) { Ok(()) } else { Err(Exception::GP0) }
}

fn push_flags(cpu: &mut Cpu, w: Width) -> Result<(), Exception> {
    let image = if is_restricted_vm86(cpu) {
        check_restricted(cpu, w)?;
        vm86::image_with_virtual_interrupt_flag(cpu)
    } else {
        cpu.rflags() & !(Flags::VM | Flags::RF)
    };
    let mut stack = Stack::current(cpu);
    let image = pushed(cpu, image);
    stack.push(cpu, w, image)?;
    stack.commit(cpu);
    Ok(())
}

fn pop_flags(cpu: &mut Cpu, w: Width) -> Result<(), Exception> {
    let restricted = is_restricted_vm86(cpu);
    if restricted {
        check_restricted(cpu, w)?;
    }
    let mut stack = Stack::current(cpu);
    let mut image = Flags::from_bits_truncate(stack.pop(cpu, w)? as u32);
    let mut mask = loadable(cpu, w);
    if restricted {
        vm86::check_virtual_flags(cpu, image)?;
        image.set(Flags::VIF, image.contains(Flags::IF));
        mask |= Flags::VIF;
    }
    if w != Width::W16 {
        image.remove(Flags::RF);
        mask |= Flags::RF;
    }
    stack.commit(cpu);
    load(cpu, image, mask);
    Ok(())
}

/// Rows of this file.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    vec![
        microcode_form(Code::Pushfw, |cpu, _| push_flags(cpu, Width::W16)),
        microcode_form(Code::Pushfd, |cpu, _| push_flags(cpu, Width::W32)),
        microcode_form(Code::Pushfq, |cpu, _| push_flags(cpu, Width::W64)),
        microcode_form(Code::Popfw, |cpu, _| pop_flags(cpu, Width::W16)).with(Attr::ENDS_BLOCK),
        microcode_form(Code::Popfd, |cpu, _| pop_flags(cpu, Width::W32)).with(Attr::ENDS_BLOCK),
        microcode_form(Code::Popfq, |cpu, _| pop_flags(cpu, Width::W64)).with(Attr::ENDS_BLOCK),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cpu::slot, microcode::testing::*};
    use rstest::rstest;

    const EVERYTHING: u32 = 0x3F_7FD5;

    #[rstest]
    #[case::kernel(0, 0, 0x24_7FD7)]
    #[case::user(3, 0, 0x24_4DD7)]
    #[case::user_with_iopl(3, 3, 0x24_7FD7)]
    fn popf_loads_what_the_level_may(#[case] level: u8, #[case] iopl: u32, #[case] expected: u32) {
        let mut cpu = protected(level);
        cpu.set_rflags(Flags::from_bits_truncate(iopl << 12));
        cpu.regs[slot::RSP] = 0x7000;
        put_u32(&cpu, 0x7000, EVERYTHING);
        pop_flags(&mut cpu, Width::W32).unwrap();
        assert_eq!((cpu.rflags().bits(), cpu.regs[slot::RSP]), (expected, 0x7004));
    }

    #[test]
    fn pushf_hides_rf_and_vm() {
        let mut cpu = long(0);
        cpu.set_rflags(Flags::RF | Flags::ZF);
        cpu.regs[slot::RSP] = 0x7000;
        push_flags(&mut cpu, Width::W64).unwrap();
        assert_eq!((get_u64(&cpu, 0x6FF8), cpu.regs[slot::RSP]), (0x42, 0x6FF8));
    }

    #[test]
    fn virtual_8086_code_moves_vif_under_vme_and_faults_without() {
        let mut cpu = vm86();
        cpu.regs[slot::RSP] = 0x800;
        assert_eq!(push_flags(&mut cpu, Width::W16), Err(Exception::GP0));
        cpu.control.cr4.insert(Cr4::VME);
        cpu.set_rflags(Flags::VM | Flags::VIF | Flags::IF);
        push_flags(&mut cpu, Width::W16).unwrap();
        let top = cpu.seg(crate::arch::Seg::Ss).base + 0x7FE;
        assert_eq!(get_u32(&cpu, top) & 0xFFFF, 0x3202);
        put_u32(&cpu, top, 0x0002);
        pop_flags(&mut cpu, Width::W16).unwrap();
        assert_eq!(cpu.rflags() & (Flags::VIF | Flags::IF), Flags::IF);
    }

    #[test]
    fn a_pending_virtual_interrupt_traps_popf_that_enables() {
        let mut cpu = vm86();
        cpu.control.cr4.insert(Cr4::VME);
        cpu.set_rflags(Flags::VM | Flags::VIP);
        cpu.regs[slot::RSP] = 0x800;
        let top = cpu.seg(crate::arch::Seg::Ss).base + 0x800;
        put_u32(&cpu, top, 0x0202);
        assert_eq!(pop_flags(&mut cpu, Width::W16), Err(Exception::GP0));
        assert_eq!(cpu.regs[slot::RSP], 0x800);
    }
}
