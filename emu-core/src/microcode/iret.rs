//! IRET: real mode, from and to virtual-8086 mode, protected mode (same and outer level, nested task), long
//! mode with 64-bit and compatibility-mode targets. SDM vol. 2, IRET; vol. 3, 6.12.1, 6.14.3, 20.2.3.

use super::{
    far_transfer::{Target, forget_inner_segments, outer_stack, put_outer_stack, return_target},
    flags_image,
    segment_load::put,
    stack::Stack,
    task_switch, vm86,
};
use crate::{
    arch::{Cr4, Exception, Flags, Seg, Width},
    cpu::{Cpu, slot},
    semantics::{Attr, Emitter, Row, microcode_form},
};
use iced_x86::Code;

fn iret(cpu: &mut Cpu, w: Width) -> Result<(), Exception> {
    if cpu.mode.is_vm86() {
        from_vm86(cpu, w)?;
    } else if cpu.mode.is_real_or_vm86() {
        in_real_mode(cpu, w)?;
    } else if cpu.eflags.contains(Flags::NT) {
        if cpu.mode.is_long() {
            return Err(Exception::GP0);
        }
        task_switch::return_to_previous(cpu)?;
    } else {
        in_protected_mode(cpu, w)?;
    }
    if cpu.events.nmi_blocked {
        cpu.events.nmi_blocked = false;
        cpu.signal.poll_again_if_waiting();
    }
    Ok(())
}

/// RIP, CS and RFLAGS, which all forms pop.
fn pop_frame(cpu: &mut Cpu, stack: &mut Stack, w: Width) -> Result<(u64, u16, Flags), Exception> {
    let rip = stack.pop(cpu, w)?;
    let cs = stack.pop(cpu, w)? as u16;
    let flags = stack.pop(cpu, w)? as u32;
    Ok((rip, cs, Flags::from_bits_truncate(flags)))
}

/// What is loaded of the popped flags: as POPF, and RF with a wide image.
fn loadable(cpu: &Cpu, w: Width) -> Flags {
    let rf = if w == Width::W16 { Flags::empty() } else { Flags::RF };
    flags_image::loadable(cpu, w) | rf
}

fn in_real_mode(cpu: &mut Cpu, w: Width) -> Result<(), Exception> {
    let mut stack = Stack::current(cpu);
    let (ip, cs, image) = pop_frame(cpu, &mut stack, w)?;
    let target = Target::real_or_vm86(cpu, cs, ip)?;
    stack.commit(cpu);
    target.commit(cpu);
    let mask = loadable(cpu, w);
    flags_image::load(cpu, image, mask);
    Ok(())
}

fn from_vm86(cpu: &mut Cpu, w: Width) -> Result<(), Exception> {
    let restricted = vm86::iopl(cpu) < 3;
    if restricted && !(w == Width::W16 && cpu.control.cr4.contains(Cr4::VME)) {
        return Err(Exception::GP0);
    }
    let mut stack = Stack::current(cpu);
    let (ip, cs, mut image) = pop_frame(cpu, &mut stack, w)?;
    let target = Target::real_or_vm86(cpu, cs, ip)?;
    let mut mask = loadable(cpu, w);
    if restricted {
        vm86::check_virtual_flags(cpu, image)?;
        image.set(Flags::VIF, image.contains(Flags::IF));
        mask |= Flags::VIF;
    }
    stack.commit(cpu);
    target.commit(cpu);
    flags_image::load(cpu, image, mask);
    Ok(())
}

fn in_protected_mode(cpu: &mut Cpu, w: Width) -> Result<(), Exception> {
    let mut stack = Stack::current(cpu);
    let (rip, cs, image) = pop_frame(cpu, &mut stack, w)?;
    if image.contains(Flags::VM) && cpu.cpl == 0 && w == Width::W32 && !cpu.mode.is_long() {
        return to_vm86(cpu, stack, rip, cs, image);
    }
    let target = return_target(cpu, cs, rip)?;
    let outer = target.level() > cpu.cpl;
    let mut mask = loadable(cpu, w);
    if cpu.cpl == 0 && w != Width::W16 {
        mask |= Flags::VIF | Flags::VIP;
    }
    // 64-bit code always finds RSP and SS in the frame.
    if outer || cpu.mode.is_64bit() {
        let rsp = stack.pop(cpu, w)?;
        let ss = stack.pop(cpu, w)? as u16;
        let ss = outer_stack(cpu, ss, &target)?;
        cpu.cpl = target.level();
        target.put(cpu);
        put_outer_stack(cpu, ss, rsp, 0);
    } else {
        stack.commit(cpu);
        target.put(cpu);
    }
    if outer {
        forget_inner_segments(cpu);
    }
    flags_image::load(cpu, image, mask);
    cpu.level_changed();
    Ok(())
}

fn to_vm86(cpu: &mut Cpu, mut stack: Stack, eip: u64, cs: u16, image: Flags) -> Result<(), Exception> {
    if eip > 0xFFFF {
        return Err(Exception::GP0);
    }
    let esp = stack.pop(cpu, Width::W32)?;
    let mut selectors = [0; 5];
    for selector in &mut selectors {
        *selector = stack.pop(cpu, Width::W32)? as u16;
    }
    for (seg, selector) in [Seg::Ss, Seg::Es, Seg::Ds, Seg::Fs, Seg::Gs].into_iter().zip(selectors) {
        put(cpu, seg, vm86::segment(selector));
    }
    put(cpu, Seg::Cs, vm86::segment(cs));
    cpu.cpl = 3;
    cpu.regs[slot::RSP] = esp;
    cpu.rip = eip;
    cpu.set_rflags(image & Flags::ALL);
    cpu.level_changed();
    Ok(())
}

/// Rows of this file.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    vec![
        microcode_form(Code::Iretw, |cpu, _| iret(cpu, Width::W16)).with(Attr::ENDS_BLOCK),
        microcode_form(Code::Iretd, |cpu, _| iret(cpu, Width::W32)).with(Attr::ENDS_BLOCK),
        microcode_form(Code::Iretq, |cpu, _| iret(cpu, Width::W64)).with(Attr::ENDS_BLOCK),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::microcode::testing::*;

    fn frame64(cpu: &mut Cpu, values: [u64; 5]) {
        cpu.regs[slot::RSP] = 0x7000;
        for (number, value) in values.into_iter().enumerate() {
            put_u64(cpu, 0x7000 + 8 * number as u64, value);
        }
    }

    fn frame32(cpu: &mut Cpu, values: &[u32]) {
        cpu.regs[slot::RSP] = 0x7000;
        for (number, value) in values.iter().enumerate() {
            put_u32(cpu, 0x7000 + 4 * number as u64, *value);
        }
    }

    #[test]
    fn iretq_returns_to_user_code_and_unblocks_nmis() {
        let mut cpu = long(0);
        cpu.events.nmi_blocked = true;
        frame64(&mut cpu, [0x40_0000, USER_CS64.into(), 0x1_0202, 0x7FFF_0000_0000, USER_DS.into()]);
        iret(&mut cpu, Width::W64).unwrap();
        assert_eq!((cpu.cpl, cpu.rip, cpu.regs[slot::RSP]), (3, 0x40_0000, 0x7FFF_0000_0000));
        assert_eq!(cpu.rflags().bits(), 0x1_0202);
        assert!(cpu.mode.is_user() && cpu.mode.is_64bit() && !cpu.events.nmi_blocked);
    }

    #[test]
    fn iretq_to_compatibility_code_uses_its_stack_width() {
        let mut cpu = long(0);
        frame64(&mut cpu, [0x40_0000, USER_CS.into(), 2, 0x1_0000_8000, USER_DS.into()]);
        iret(&mut cpu, Width::W64).unwrap();
        assert_eq!((cpu.mode.bitness(), cpu.regs[slot::RSP]), (32, 0x8000));
    }

    #[test]
    fn iretq_within_the_kernel_takes_a_null_ss() {
        let mut cpu = long(0);
        frame64(&mut cpu, [0x1000, KERNEL_CS64.into(), 2, 0x6000, 0]);
        iret(&mut cpu, Width::W64).unwrap();
        assert_eq!((cpu.cpl, cpu.rip, cpu.regs[slot::RSP]), (0, 0x1000, 0x6000));
    }

    #[test]
    fn a_non_canonical_return_faults_before_anything_changes() {
        let mut cpu = long(0);
        frame64(&mut cpu, [0x8000_0000_0000, USER_CS64.into(), 2, 0x6000, USER_DS.into()]);
        let before = cpu.save_state();
        assert_eq!(iret(&mut cpu, Width::W64), Err(Exception::GP0));
        assert_eq!(cpu.save_state(), before);
    }

    #[test]
    fn nested_task_is_an_error_in_long_mode() {
        let mut cpu = long(0);
        cpu.set_rflags(Flags::NT);
        assert_eq!(iret(&mut cpu, Width::W64), Err(Exception::GP0));
    }

    #[test]
    fn iretd_enters_virtual_8086_mode() {
        let mut cpu = protected(0);
        frame32(&mut cpu, &[0x42, 0x1000, 0x2_0202, 0x800, 0x2000, 0x3000, 0x4000, 0x5000, 0x6000]);
        iret(&mut cpu, Width::W32).unwrap();
        assert!(cpu.mode.is_vm86());
        assert_eq!((cpu.cpl, cpu.rip, cpu.regs[slot::RSP]), (3, 0x42, 0x800));
        let bases = Seg::ALL.map(|seg| cpu.seg(seg).base);
        assert_eq!(bases, [0x3_0000, 0x1_0000, 0x2_0000, 0x4_0000, 0x5_0000, 0x6_0000]);
    }

    #[test]
    fn user_code_cannot_change_if_or_iopl() {
        let mut cpu = protected(3);
        cpu.set_rflags(Flags::IF);
        frame32(&mut cpu, &[0x42, USER_CS.into(), 0x3001]);
        iret(&mut cpu, Width::W32).unwrap();
        assert_eq!(cpu.rflags(), Flags::IF | Flags::CF | Flags::FIXED);
        assert_eq!(cpu.regs[slot::RSP], 0x700C);
    }

    #[test]
    fn a_real_mode_iret_loads_16_bits_of_flags() {
        let mut cpu = real();
        cpu.set_rflags(Flags::AC);
        cpu.regs[slot::RSP] = 0x100;
        let base = cpu.seg(Seg::Ss).base;
        put_u64(&cpu, base + 0x100, 0x7FD7_0200_0042);
        iret(&mut cpu, Width::W16).unwrap();
        assert_eq!((cpu.seg(Seg::Cs).base, cpu.rip, cpu.regs[slot::RSP]), (0x2000, 0x42, 0x106));
        assert_eq!(cpu.rflags().bits(), 0x4_7FD7);
    }
}
