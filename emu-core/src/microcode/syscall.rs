//! SYSCALL, SYSRET, SYSENTER, SYSEXIT, SWAPGS. SDM vol. 2; vol. 3, 5.8.7 and 5.8.8.
//!
//! As on Intel's processors: SYSCALL and SYSRET exist in 64-bit mode alone, and SYSRET checks RCX at the inner
//! level. Code and stack segments are not read from tables.

use super::segment_load::put;
use crate::{
    arch::{Cr0, Efer, Exception, Flags, Seg, Segment, attr},
    cpu::{Cpu, slot},
    decode::Insn,
    semantics::{Attr, Emitter, Row, microcode, microcode_form},
};
use iced_x86::{Code, Mnemonic};

const R11: usize = 11;
/// Bits that SYSRET takes from R11.
const SYSRET_FLAGS: Flags = Flags::ALL.difference(Flags::RF).difference(Flags::VM);

/// Size of the code that is entered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Size {
    Code32,
    Code64,
}

/// Flat CS and SS of privilege level `level`, which is also their RPL and DPL.
fn enter(cpu: &mut Cpu, cs: u16, ss: u16, level: u8, size: Size) {
    const FLAT: u16 = attr::P | attr::S | attr::G | attr::ACCESSED | attr::WRITABLE;
    let flat = |selector: u16, kind: u16| Segment {
        selector: selector & !3 | u16::from(level),
        attr: FLAT | kind | u16::from(level) << attr::DPL_SHIFT,
        limit: u32::MAX,
        base: 0,
        unusable: false,
    };
    let bits = if size == Size::Code64 { attr::L } else { attr::D };
    cpu.cpl = level;
    put(cpu, Seg::Cs, flat(cs, attr::CODE | bits));
    put(cpu, Seg::Ss, flat(ss, attr::D));
}

fn check_enabled(cpu: &Cpu) -> Result<(), Exception> {
    let enabled = cpu.mode.is_64bit() && cpu.control.efer.contains(Efer::SCE);
    if enabled { Ok(()) } else { Err(Exception::UD) }
}

fn syscall(cpu: &mut Cpu, _: &Insn) -> Result<(), Exception> {
    check_enabled(cpu)?;
    let flags = cpu.rflags();
    cpu.regs[slot::RCX] = cpu.rip;
    cpu.regs[R11] = flags.bits().into();
    let cs = (cpu.msrs.star >> 32) as u16 & !3;
    enter(cpu, cs, cs.wrapping_add(8), 0, Size::Code64);
    cpu.rip = cpu.msrs.lstar;
    let masked = Flags::from_bits_truncate(cpu.msrs.fmask as u32) | Flags::RF;
    cpu.set_rflags(flags & !masked);
    // Whether a single-step trap follows is decided by the TF that the mask has left.
    cpu.events.no_single_step = !cpu.eflags.contains(Flags::TF);
    cpu.level_changed();
    Ok(())
}

fn sysret(cpu: &mut Cpu, size: Size) -> Result<(), Exception> {
    check_enabled(cpu)?;
    let rcx = cpu.regs[slot::RCX];
    if cpu.cpl != 0 || size == Size::Code64 && !cpu.is_canonical(rcx) {
        return Err(Exception::GP0);
    }
    let base = (cpu.msrs.star >> 48) as u16;
    let cs = if size == Size::Code64 { base.wrapping_add(16) } else { base };
    enter(cpu, cs, base.wrapping_add(8), 3, size);
    cpu.rip = if size == Size::Code64 { rcx } else { rcx & 0xFFFF_FFFF };
    cpu.set_rflags(Flags::from_bits_truncate(cpu.regs[R11] as u32) & SYSRET_FLAGS);
    cpu.level_changed();
    Ok(())
}

/// IA32_SYSENTER_CS; #GP(0) in real mode or if it is null.
fn sysenter_cs(cpu: &Cpu) -> Result<u16, Exception> {
    let cs = cpu.msrs.sysenter_cs as u16;
    if !cpu.control.cr0.contains(Cr0::PE) || cs & !3 == 0 { Err(Exception::GP0) } else { Ok(cs) }
}

fn sysenter(cpu: &mut Cpu, _: &Insn) -> Result<(), Exception> {
    let cs = sysenter_cs(cpu)?;
    let (size, mask) =
        if cpu.mode.is_long() { (Size::Code64, u64::MAX) } else { (Size::Code32, 0xFFFF_FFFF) };
    cpu.eflags.remove(Flags::VM | Flags::IF | Flags::RF);
    enter(cpu, cs, (cs & !3).wrapping_add(8), 0, size);
    cpu.regs[slot::RSP] = cpu.msrs.sysenter_esp & mask;
    cpu.rip = cpu.msrs.sysenter_eip & mask;
    cpu.level_changed();
    Ok(())
}

fn sysexit(cpu: &mut Cpu, size: Size) -> Result<(), Exception> {
    let base = sysenter_cs(cpu)?;
    let (rip, rsp) = (cpu.regs[slot::RDX], cpu.regs[slot::RCX]);
    let canonical = size == Size::Code32 || cpu.is_canonical(rip) && cpu.is_canonical(rsp);
    if cpu.cpl != 0 || !canonical {
        return Err(Exception::GP0);
    }
    let (offset, mask) = if size == Size::Code64 { (32, u64::MAX) } else { (16, 0xFFFF_FFFF) };
    let cs = base.wrapping_add(offset);
    enter(cpu, cs, cs.wrapping_add(8), 3, size);
    cpu.rip = rip & mask;
    cpu.regs[slot::RSP] = rsp & mask;
    cpu.level_changed();
    Ok(())
}

fn swapgs(cpu: &mut Cpu, _: &Insn) -> Result<(), Exception> {
    let mut gs = *cpu.seg(Seg::Gs);
    std::mem::swap(&mut gs.base, &mut cpu.msrs.kernel_gs_base);
    put(cpu, Seg::Gs, gs);
    Ok(())
}

/// Rows of this file.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    vec![
        microcode(Mnemonic::Syscall, syscall).with(Attr::ENDS_BLOCK),
        microcode_form(Code::Sysretd, |cpu, _| sysret(cpu, Size::Code32)).with(Attr::ENDS_BLOCK),
        microcode_form(Code::Sysretq, |cpu, _| sysret(cpu, Size::Code64)).with(Attr::ENDS_BLOCK),
        microcode(Mnemonic::Sysenter, sysenter).with(Attr::ENDS_BLOCK),
        microcode_form(Code::Sysexitd, |cpu, _| sysexit(cpu, Size::Code32)).with(Attr::ENDS_BLOCK),
        microcode_form(Code::Sysexitq, |cpu, _| sysexit(cpu, Size::Code64)).with(Attr::ENDS_BLOCK),
        microcode(Mnemonic::Swapgs, swapgs).with(Attr::CPL0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::microcode::testing::*;

    fn with_syscall(level: u8) -> Box<Cpu> {
        let mut cpu = long(level);
        cpu.control.efer.insert(Efer::SCE);
        cpu.msrs.star = 0x0023_0010 << 32;
        cpu.msrs.lstar = 0xFFFF_FFFF_8000_0000;
        cpu.msrs.fmask = 0x4_7700;
        cpu
    }

    #[test]
    fn syscall_and_sysret_are_a_round_trip() {
        let mut cpu = with_syscall(3);
        cpu.rip = 0x40_0002;
        cpu.set_rflags(Flags::IF | Flags::CF);
        syscall(&mut cpu, &insn()).unwrap();
        assert_eq!((cpu.cpl, cpu.rip, cpu.mode.bitness()), (0, 0xFFFF_FFFF_8000_0000, 64));
        assert_eq!((cpu.seg(Seg::Cs).selector, cpu.seg(Seg::Ss).selector), (0x10, 0x18));
        assert_eq!((cpu.regs[slot::RCX], cpu.regs[R11]), (0x40_0002, 0x203));
        assert_eq!(cpu.rflags(), Flags::CF | Flags::FIXED);

        sysret(&mut cpu, Size::Code64).unwrap();
        assert_eq!((cpu.cpl, cpu.rip, cpu.mode.bitness()), (3, 0x40_0002, 64));
        assert_eq!((cpu.seg(Seg::Cs).selector, cpu.seg(Seg::Ss).selector), (0x33, 0x2B));
        assert_eq!(cpu.rflags().bits(), 0x203);
    }

    #[test]
    fn sysret_checks_rcx_at_the_inner_level() {
        let mut cpu = with_syscall(0);
        cpu.regs[slot::RCX] = 0x8000_0000_0000;
        assert_eq!(sysret(&mut cpu, Size::Code64), Err(Exception::GP0));
        assert_eq!(cpu.cpl, 0);
    }

    #[test]
    fn syscall_is_undefined_outside_64_bit_mode_or_when_disabled() {
        assert_eq!(syscall(&mut long(3), &insn()), Err(Exception::UD));
        assert_eq!(syscall(&mut protected(3), &insn()), Err(Exception::UD));
    }

    #[test]
    fn sysenter_and_sysexit_in_protected_mode() {
        let mut cpu = protected(3);
        assert_eq!(sysenter(&mut cpu, &insn()), Err(Exception::GP0));
        (cpu.msrs.sysenter_cs, cpu.msrs.sysenter_esp, cpu.msrs.sysenter_eip) = (8, 0x9000, 0x1_0000);
        sysenter(&mut cpu, &insn()).unwrap();
        assert_eq!((cpu.cpl, cpu.rip, cpu.regs[slot::RSP], cpu.mode.bitness()), (0, 0x1_0000, 0x9000, 32));
        (cpu.regs[slot::RDX], cpu.regs[slot::RCX]) = (0x1234, 0x5678);
        sysexit(&mut cpu, Size::Code32).unwrap();
        assert_eq!((cpu.cpl, cpu.rip, cpu.regs[slot::RSP]), (3, 0x1234, 0x5678));
        assert_eq!((cpu.seg(Seg::Cs).selector, cpu.seg(Seg::Ss).selector), (0x1B, 0x23));
    }

    #[test]
    fn swapgs_exchanges_the_base_that_addresses_use() {
        let mut cpu = long(0);
        cpu.msrs.kernel_gs_base = 0xFFFF_8880_0000_0000;
        swapgs(&mut cpu, &insn()).unwrap();
        assert_eq!(cpu.linear(Seg::Gs, 0x10, 8, false), Ok(0xFFFF_8880_0000_0010));
        assert_eq!(cpu.msrs.kernel_gs_base, 0);
    }
}
