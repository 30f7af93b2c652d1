//! STAC and CLAC, RDPKRU and WRPKRU, and the instructions for FS and GS bases. SDM vol. 2.

use crate::{
    arch::{Cr4, Exception, Flags, Seg, Width},
    cpu::{Cpu, slot},
    decode::Insn,
    semantics::{Attr, Emitter, Row, microcode},
};
use iced_x86::Mnemonic;

/// Rows of this family.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    vec![
        microcode(Mnemonic::Stac, |cpu, _| set_access_override(cpu, true)).with(Attr::ENDS_BLOCK),
        microcode(Mnemonic::Clac, |cpu, _| set_access_override(cpu, false)).with(Attr::ENDS_BLOCK),
        microcode(Mnemonic::Rdpkru, rdpkru),
        microcode(Mnemonic::Wrpkru, wrpkru).with(Attr::ENDS_BLOCK),
        microcode(Mnemonic::Rdfsbase, |cpu, i| read_base(cpu, i, Seg::Fs)),
        microcode(Mnemonic::Rdgsbase, |cpu, i| read_base(cpu, i, Seg::Gs)),
        microcode(Mnemonic::Wrfsbase, |cpu, i| write_base(cpu, i, Seg::Fs)),
        microcode(Mnemonic::Wrgsbase, |cpu, i| write_base(cpu, i, Seg::Gs)),
    ]
}

fn set_access_override(cpu: &mut Cpu, on: bool) -> Result<(), Exception> {
    if cpu.cpl > 0 {
        return Err(Exception::UD);
    }
    cpu.eflags.set(Flags::AC, on);
    // At CPL 0 AC matters to SMAP alone: the mode as the decoder sees it stays, and this pair surrounds every
    // access of a kernel to its users' memory.
    cpu.mmu.set_context(&cpu.control, cpu.eflags, false);
    Ok(())
}

fn check_keys_enabled(cpu: &Cpu) -> Result<(), Exception> {
    if !cpu.control.cr4.contains(Cr4::PKE) {
        return Err(Exception::UD);
    }
    if cpu.gpr(Width::W32, slot::RCX) != 0 {
        return Err(Exception::GP0);
    }
    Ok(())
}

fn rdpkru(cpu: &mut Cpu, _: &Insn) -> Result<(), Exception> {
    check_keys_enabled(cpu)?;
    cpu.set_edx_eax(cpu.control.pkru.into());
    Ok(())
}

fn wrpkru(cpu: &mut Cpu, _: &Insn) -> Result<(), Exception> {
    check_keys_enabled(cpu)?;
    if cpu.gpr(Width::W32, slot::RDX) != 0 {
        return Err(Exception::GP0);
    }
    cpu.control.pkru = cpu.gpr(Width::W32, slot::RAX) as u32;
    cpu.mode_changed();
    Ok(())
}

fn check_bases_enabled(cpu: &Cpu) -> Result<(), Exception> {
    if cpu.control.cr4.contains(Cr4::FSGSBASE) { Ok(()) } else { Err(Exception::UD) }
}

fn read_base(cpu: &mut Cpu, i: &Insn, seg: Seg) -> Result<(), Exception> {
    check_bases_enabled(cpu)?;
    let base = cpu.seg(seg).base;
    cpu.set_reg(i.w(), i.reg[0], base);
    Ok(())
}

fn write_base(cpu: &mut Cpu, i: &Insn, seg: Seg) -> Result<(), Exception> {
    check_bases_enabled(cpu)?;
    let base = cpu.reg(i.w(), i.reg[0]);
    if !cpu.is_canonical(base) {
        return Err(Exception::GP0);
    }
    cpu.set_segment_base(seg, base);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        decode::Kind,
        microcode::test_cpu::{gp0, insn, long_cpu},
        mmu::Privilege,
    };

    #[test]
    fn stac_opens_user_pages_to_the_kernel_and_clac_closes_them() {
        let mut cpu = long_cpu("x86-64-v2");
        cpu.write_cr4((cpu.control.cr4 | Cr4::SMAP).bits()).unwrap();
        let load = |cpu: &mut Cpu| cpu.read_linear(0, Width::W8, Privilege::Current);
        assert!(load(&mut cpu).is_err());
        set_access_override(&mut cpu, true).unwrap();
        assert!(load(&mut cpu).is_ok());
        set_access_override(&mut cpu, false).unwrap();
        assert!(load(&mut cpu).is_err());
        cpu.cpl = 3;
        assert_eq!(set_access_override(&mut cpu, true), Err(Exception::UD));
    }

    #[test]
    fn pkru_takes_effect_at_once_and_wants_zero_in_ecx_and_edx() {
        let mut cpu = long_cpu("max");
        assert_eq!(wrpkru(&mut cpu, &insn(&[])), Err(Exception::UD));
        cpu.write_cr4((cpu.control.cr4 | Cr4::PKE).bits()).unwrap();
        assert!(cpu.read_linear(0, Width::W8, Privilege::Current).is_ok());
        cpu.regs[slot::RAX] = 1;
        wrpkru(&mut cpu, &insn(&[])).unwrap();
        assert!(cpu.read_linear(0, Width::W8, Privilege::Current).is_err(), "key 0 denies access");
        cpu.regs[slot::RDX] = 1;
        assert_eq!(wrpkru(&mut cpu, &insn(&[])), gp0());
        cpu.regs[slot::RCX] = 1;
        assert_eq!(rdpkru(&mut cpu, &insn(&[])), gp0());
    }

    #[test]
    fn segment_bases_must_be_canonical_and_enabled() {
        let mut cpu = long_cpu("x86-64-v2");
        let i = insn(&[(Kind::Gpr, 0)]);
        assert_eq!(read_base(&mut cpu, &i, Seg::Fs), Err(Exception::UD));
        cpu.write_cr4((cpu.control.cr4 | Cr4::FSGSBASE).bits()).unwrap();
        cpu.regs[slot::RAX] = 1 << 47;
        assert_eq!(write_base(&mut cpu, &i, Seg::Fs), gp0());
        cpu.regs[slot::RAX] = 0x7FFF_1234_5678;
        write_base(&mut cpu, &i, Seg::Fs).unwrap();
        cpu.regs[slot::RAX] = 0;
        read_base(&mut cpu, &i, Seg::Fs).unwrap();
        assert_eq!(cpu.regs[slot::RAX], 0x7FFF_1234_5678);
        assert_eq!(cpu.regs[usize::from(slot::SEGMENT_BASE) + Seg::Fs as usize], 0x7FFF_1234_5678);
    }
}
