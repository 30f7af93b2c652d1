//! MOV to and from CR0, CR2, CR3, CR4 and CR8; LMSW, SMSW, CLTS. SDM vol. 3, 2.5, 4.10.4 and 10.8.5; vol. 2, MOV.
//!
//! The checks of a write are all made before anything changes. What a write does to cached translations follows
//! from the change of mode, apart from the cases that are said here.

use crate::{
    arch::{Cr0, Cr4, Efer, Exception, Seg, Width, attr, system_type},
    cpu::Cpu,
    cpu_model::Feature,
    decode::{Insn, Kind, flag},
    semantics::{Attr, Emitter, Row, microcode},
};
use iced_x86::{Code, Mnemonic};

/// Rows of this family.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    use crate::semantics::microcode_form as form;
    let writes = Attr::CPL0 | Attr::ENDS_BLOCK;
    vec![
        form(Code::Mov_r32_cr, mov_from_cr).with(Attr::CPL0),
        form(Code::Mov_r64_cr, mov_from_cr).with(Attr::CPL0),
        form(Code::Mov_cr_r32, mov_to_cr).with(writes),
        form(Code::Mov_cr_r64, mov_to_cr).with(writes),
        microcode(Mnemonic::Lmsw, lmsw).with(writes),
        microcode(Mnemonic::Clts, clts).with(writes),
        microcode(Mnemonic::Smsw, smsw),
    ]
}

/// Bits of CR3 that are not an address, below the PDPTEs' alignment in PAE paging.
const PAE_CR3: u64 = 0xFFFF_FFE0;
/// MOV to CR3 with CR4.PCIDE: keep the translations of the new PCID.
const CR3_NO_FLUSH: u64 = 1 << 63;

fn width(i: &Insn) -> Width {
    if i.has(flag::MODE64) { Width::W64 } else { Width::W32 }
}

fn mov_from_cr(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    let value = match i.reg[1] {
        0 => cpu.control.cr0.bits(),
        2 => cpu.control.cr2,
        3 => cpu.control.cr3,
        4 => cpu.control.cr4.bits(),
        8 => cpu.io.task_priority(cpu.id).into(),
        _ => return Err(Exception::UD),
    };
    cpu.set_reg(width(i), i.reg[0], value);
    Ok(())
}

fn mov_to_cr(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    let value = cpu.reg(width(i), i.reg[1]);
    match i.reg[0] {
        0 => cpu.write_cr0(value),
        2 => {
            cpu.control.cr2 = value;
            Ok(())
        }
        3 => cpu.write_cr3(value),
        4 => cpu.write_cr4(value),
        8 if value > 15 => Err(Exception::GP0),
        8 => {
            cpu.io.set_task_priority(cpu.id, value as u8);
            Ok(())
        }
        _ => Err(Exception::UD),
    }
}

fn lmsw(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    let source = match i.kind[0] {
        Kind::Mem => cpu.read_operand(i, Width::W16, 0)?,
        _ => cpu.reg(Width::W16, i.reg[0]),
    };
    // PE can be set this way, not cleared.
    let kept = cpu.control.cr0 - (Cr0::MP | Cr0::EM | Cr0::TS);
    cpu.write_cr0(kept.bits() | source & 0xF)
}

fn smsw(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    if cpu.control.cr4.contains(Cr4::UMIP) && cpu.cpl > 0 && cpu.control.cr0.contains(Cr0::PE) {
        return Err(Exception::GP0);
    }
    let value = cpu.control.cr0.bits();
    match i.kind[0] {
        Kind::Mem => cpu.write_operand(i, Width::W16, 0, value & 0xFFFF)?,
        _ => cpu.set_reg(i.w(), i.reg[0], value & i.w().mask()),
    }
    Ok(())
}

fn clts(cpu: &mut Cpu, _: &Insn) -> Result<(), Exception> {
    cpu.control.cr0.remove(Cr0::TS);
    cpu.mode_changed();
    Ok(())
}

impl Cpu {
    /// MOV to CR0, its checks included.
    pub fn write_cr0(&mut self, value: u64) -> Result<(), Exception> {
        if value >> 32 != 0 {
            return Err(Exception::GP0);
        }
        let old = self.control.cr0;
        let new = Cr0::from_bits_truncate(value) | Cr0::ET;
        if new.contains(Cr0::PG) && !new.contains(Cr0::PE) || new.contains(Cr0::NW) && !new.contains(Cr0::CD)
        {
            return Err(Exception::GP0);
        }
        let mut efer = self.control.efer;
        let changed = old ^ new;
        if changed.contains(Cr0::PG) {
            if new.contains(Cr0::PG) {
                if efer.contains(Efer::LME) {
                    self.check_long_mode_entry()?;
                    efer.insert(Efer::LMA);
                }
            } else {
                if self.mode.is_64bit() || self.control.cr4.contains(Cr4::PCIDE) {
                    return Err(Exception::GP0);
                }
                efer.remove(Efer::LMA);
            }
        }
        let pae = new.contains(Cr0::PG) && self.control.cr4.contains(Cr4::PAE) && !efer.contains(Efer::LMA);
        if pae && changed.intersects(Cr0::PG | Cr0::CD | Cr0::NW) {
            self.control.pdpte = self.read_pdptes(self.control.cr3)?;
        }
        (self.control.cr0, self.control.efer) = (new, efer);
        self.mode_changed();
        Ok(())
    }

    /// What must hold when paging is enabled with EFER.LME set. SDM vol. 3, 10.8.5.
    fn check_long_mode_entry(&self) -> Result<(), Exception> {
        let tss = self.segments.tr.attr & attr::TYPE;
        let tss16 = tss == system_type::TSS16 || tss == system_type::TSS16_BUSY;
        if !self.control.cr4.contains(Cr4::PAE) || self.seg(Seg::Cs).attr & attr::L != 0 || tss16 {
            return Err(Exception::GP0);
        }
        Ok(())
    }

    /// MOV to CR3, its checks included. (Task switches load CR3 with it too.)
    pub fn write_cr3(&mut self, value: u64) -> Result<(), Exception> {
        let Cr3Context { pcide, pae } = self.cr3_context();
        let keep = pcide && value & CR3_NO_FLUSH != 0;
        let value = if keep { value & !CR3_NO_FLUSH } else { value };
        if value >> self.model.physical_address_bits() != 0 {
            return Err(Exception::GP0);
        }
        if pae {
            self.control.pdpte = self.read_pdptes(value)?;
        }
        self.control.cr3 = value;
        let pdpte = self.control.pdpte;
        if pcide {
            self.mmu.set_cr3_and_pcid(value, keep);
        } else {
            self.mmu.set_cr3(value, pdpte);
        }
        Ok(())
    }

    fn cr3_context(&self) -> Cr3Context {
        let crate::state::Control { cr0, cr4, efer, .. } = self.control;
        let paged = cr0.contains(Cr0::PG) && cr4.contains(Cr4::PAE);
        Cr3Context { pcide: cr4.contains(Cr4::PCIDE), pae: paged && !efer.contains(Efer::LMA) }
    }

    /// MOV to CR4, its checks included.
    pub fn write_cr4(&mut self, value: u64) -> Result<(), Exception> {
        let old = self.control.cr4;
        let new = Cr4::from_bits(value).ok_or(Exception::GP0)?;
        let changed = old ^ new;
        let long = self.control.efer.contains(Efer::LMA);
        let enters_pcid = changed.contains(Cr4::PCIDE) && new.contains(Cr4::PCIDE);
        if !offered_cr4(self).contains(new)
            || long && (!new.contains(Cr4::PAE) || changed.contains(Cr4::LA57))
            || enters_pcid && (!long || self.control.cr3 & 0xFFF != 0)
        {
            return Err(Exception::GP0);
        }
        let pae = self.control.cr0.contains(Cr0::PG) && new.contains(Cr4::PAE) && !long;
        if pae && changed.intersects(Cr4::PAE | Cr4::PGE | Cr4::PSE | Cr4::SMEP) {
            self.control.pdpte = self.read_pdptes(self.control.cr3)?;
        }
        self.control.cr4 = new;
        self.mode_changed();
        if changed.intersects(Cr4::PGE | Cr4::PAE | Cr4::PSE) || changed.contains(Cr4::PCIDE) && !enters_pcid
        {
            self.mmu.flush_all();
        }
        Ok(())
    }

    /// The PAE page-directory-pointer registers, as CR3 loads them: #GP(0) if a present one has a reserved bit.
    fn read_pdptes(&self, cr3: u64) -> Result<[u64; 4], Exception> {
        let reserved = !0 << self.model.physical_address_bits() | 0x1E6;
        let mut pdptes = [0; 4];
        for (n, pdpte) in pdptes.iter_mut().enumerate() {
            let address = (cr3 & PAE_CR3) + 8 * n as u64;
            *pdpte = self.memory.read_u64(self.memory.gate(address));
            if *pdpte & 1 != 0 && *pdpte & reserved != 0 {
                return Err(Exception::GP0);
            }
        }
        Ok(pdptes)
    }
}

/// What decides the meaning of CR3.
struct Cr3Context {
    pcide: bool,
    pae: bool,
}

/// Bits of CR4 that the model has; the others are reserved.
fn offered_cr4(cpu: &Cpu) -> Cr4 {
    const BITS: [(Cr4, Feature); 18] = [
        (Cr4::VME.union(Cr4::PVI), Feature::Vme),
        (Cr4::TSD, Feature::Tsc),
        (Cr4::DE, Feature::De),
        (Cr4::PSE, Feature::Pse),
        (Cr4::PAE, Feature::Pae),
        (Cr4::MCE, Feature::Mce),
        (Cr4::PGE, Feature::Pge),
        (Cr4::PCE, Feature::Fpu),
        (Cr4::OSFXSR, Feature::Fxsr),
        (Cr4::OSXMMEXCPT, Feature::Sse),
        (Cr4::UMIP, Feature::Umip),
        (Cr4::LA57, Feature::La57),
        (Cr4::FSGSBASE, Feature::Fsgsbase),
        (Cr4::PCIDE, Feature::Pcid),
        (Cr4::OSXSAVE, Feature::Xsave),
        (Cr4::SMEP, Feature::Smep),
        (Cr4::SMAP, Feature::Smap),
        (Cr4::PKE, Feature::Pku),
    ];
    let offered = BITS.iter().filter(|(_, feature)| cpu.model.has(*feature));
    offered.fold(Cr4::empty(), |bits, &(bit, _)| bits | bit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::microcode::test_cpu::{self, gp0, reset_cpu};

    #[rstest::rstest]
    #[case::pg_without_pe(0x8000_0010, false)]
    #[case::nw_without_cd(0x2000_0011, false)]
    #[case::upper_half(1 << 32 | 0x11, false)]
    #[case::protected(0x11, true)]
    #[case::reserved_low_bits_are_ignored(0x11 | 1 << 6, true)]
    fn cr0_combinations(#[case] value: u64, #[case] accepted: bool) {
        let mut cpu = reset_cpu("x86-64-v2");
        let before = cpu.control.cr0;
        let result = cpu.write_cr0(value);
        if accepted {
            assert_eq!((result, cpu.control.cr0), (Ok(()), Cr0::PE | Cr0::ET));
        } else {
            assert_eq!((result, cpu.control.cr0), (gp0(), before));
        }
    }

    #[test]
    fn paging_with_lme_enters_long_mode_only_with_pae() {
        let mut cpu = reset_cpu("x86-64-v2");
        cpu.control.efer = Efer::LME;
        assert_eq!(cpu.write_cr0(0x8000_0011), gp0());
        cpu.write_cr4(Cr4::PAE.bits()).unwrap();
        cpu.write_cr0(0x8000_0011).unwrap();
        assert!(cpu.control.efer.contains(Efer::LMA) && cpu.mode.is_long());
        assert_eq!(cpu.write_cr4(0), gp0(), "PAE cannot be cleared in long mode");
        cpu.write_cr0(0x11).unwrap();
        assert!(!cpu.control.efer.contains(Efer::LMA) && !cpu.mode.is_long());
    }

    #[test]
    fn paging_cannot_be_cleared_in_64_bit_mode() {
        let mut cpu = test_cpu::long_cpu("x86-64-v2");
        assert_eq!(cpu.write_cr0(0x11), gp0());
    }

    #[test]
    fn pae_loads_the_pdptes_and_checks_their_reserved_bits() {
        let mut cpu = reset_cpu("x86-64-v2");
        cpu.write_cr4(Cr4::PAE.bits()).unwrap();
        cpu.write_cr3(0x1000).unwrap();
        cpu.memory.ram().write(0x1008, &0x5003u64.to_le_bytes()).unwrap();
        assert_eq!(cpu.write_cr0(0x8000_0011), gp0(), "bit 1 of a PDPTE is reserved");
        cpu.memory.ram().write(0x1008, &0x5001u64.to_le_bytes()).unwrap();
        cpu.write_cr0(0x8000_0011).unwrap();
        assert_eq!(cpu.control.pdpte, [0, 0x5001, 0, 0]);
        cpu.memory.ram().write(0x2000, &0x6006u64.to_le_bytes()).unwrap();
        cpu.write_cr3(0x2000).unwrap();
        assert_eq!(cpu.control.pdpte, [0x6006, 0, 0, 0], "what is not present is not checked");
    }

    #[test]
    fn cr3_keeps_no_bit_63_and_none_above_the_physical_address() {
        let mut cpu = test_cpu::long_cpu("x86-64-v2");
        assert_eq!(cpu.write_cr3(1 << 63 | 0x1000), gp0(), "without PCIDE");
        assert_eq!(cpu.write_cr3(1 << 40), gp0());
        let cr4 = (cpu.control.cr4 | Cr4::PCIDE).bits();
        cpu.write_cr3(0x1001).unwrap();
        assert_eq!(cpu.write_cr4(cr4), gp0(), "PCID must be zero when it is enabled");
        cpu.write_cr3(0x1000).unwrap();
        cpu.write_cr4(cr4).unwrap();
        cpu.write_cr3(1 << 63 | 0x1005).unwrap();
        assert_eq!(cpu.control.cr3, 0x1005);
    }

    #[rstest::rstest]
    #[case(Cr4::LA57, "x86-64-v2", false)]
    #[case(Cr4::LA57, "max", true)]
    #[case(Cr4::PKE, "x86-64-v2", false)]
    #[case(Cr4::SMAP, "x86-64-v2", true)]
    #[case(Cr4::SMAP, "x86-64-v2,-smap", false)]
    #[case(Cr4::PCIDE, "max", false)]
    fn cr4_bits_follow_the_model(#[case] bit: Cr4, #[case] model: &str, #[case] accepted: bool) {
        let mut cpu = reset_cpu(model);
        assert_eq!(cpu.write_cr4(bit.bits()).is_ok(), accepted);
        assert_eq!(cpu.write_cr4(1 << 13), gp0(), "VMXE");
    }

    #[test]
    fn lmsw_sets_pe_but_does_not_clear_it() {
        let mut cpu = reset_cpu("x86-64-v2");
        let i = test_cpu::insn(&[(Kind::Gpr, 0)]);
        cpu.regs[0] = 0x000B;
        lmsw(&mut cpu, &i).unwrap();
        assert!(cpu.control.cr0.contains(Cr0::PE | Cr0::MP | Cr0::TS));
        cpu.regs[0] = 0;
        lmsw(&mut cpu, &i).unwrap();
        assert_eq!(cpu.control.cr0 & (Cr0::PE | Cr0::MP | Cr0::TS), Cr0::PE);
    }

    #[test]
    fn cr8_is_the_task_priority_of_four_bits() {
        let mut cpu = test_cpu::long_cpu("x86-64-v2");
        let to = test_cpu::insn(&[(Kind::Control, 8), (Kind::Gpr, 0)]);
        let from = test_cpu::insn(&[(Kind::Gpr, 8), (Kind::Control, 8)]);
        cpu.regs[0] = 16;
        assert_eq!(mov_to_cr(&mut cpu, &to), gp0());
        cpu.regs[0] = 9;
        mov_to_cr(&mut cpu, &to).unwrap();
        mov_from_cr(&mut cpu, &from).unwrap();
        assert_eq!(cpu.regs[1], 9);
    }

    #[test]
    fn umip_keeps_smsw_from_users() {
        let mut cpu = test_cpu::long_cpu("x86-64-v2");
        let i = test_cpu::insn(&[(Kind::Gpr, 0)]);
        cpu.control.cr4.insert(Cr4::UMIP);
        smsw(&mut cpu, &i).unwrap();
        assert_eq!(cpu.regs[0], cpu.control.cr0.bits());
        cpu.cpl = 3;
        assert_eq!(smsw(&mut cpu, &i), gp0());
    }
}
