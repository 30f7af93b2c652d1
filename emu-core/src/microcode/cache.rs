//! Caches and translations: INVLPG, INVPCID, INVD, WBINVD, WBNOINVD, CLFLUSH, CLFLUSHOPT, CLWB, CLDEMOTE and the
//! prefetches. SDM vol. 2; vol. 3, 4.10.4.
//!
//! There are no caches to write back. What flushes a line still faults as a load of one byte would; what
//! prefetches does nothing. Left out: CLFLUSH of a line in an execute-only code segment faults as a load.

use crate::{
    arch::{Cr4, Exception, Seg, Width},
    cpu::{Cpu, slot},
    decode::{Insn, flag},
    mmu::{Access, Privilege},
    semantics::{Attr, Emitter, Row, Step, microcode, row},
};
use iced_x86::Mnemonic;

/// Rows of this family.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    let translations = Attr::CPL0 | Attr::ENDS_BLOCK;
    vec![
        microcode(Mnemonic::Invlpg, invlpg).with(translations),
        microcode(Mnemonic::Invpcid, invpcid).with(translations),
        row(Mnemonic::Invd, nothing).with(Attr::CPL0),
        row(Mnemonic::Wbinvd, nothing).with(Attr::CPL0),
        row(Mnemonic::Wbnoinvd, nothing).with(Attr::CPL0),
        microcode(Mnemonic::Clflush, touch_line),
        microcode(Mnemonic::Clflushopt, touch_line),
        microcode(Mnemonic::Clwb, touch_line),
        row(Mnemonic::Cldemote, nothing),
        row(Mnemonic::Prefetch, nothing),
        row(Mnemonic::Prefetchnta, nothing),
        row(Mnemonic::Prefetcht0, nothing),
        row(Mnemonic::Prefetcht1, nothing),
        row(Mnemonic::Prefetcht2, nothing),
        row(Mnemonic::Prefetchit0, nothing),
        row(Mnemonic::Prefetchit1, nothing),
        row(Mnemonic::Prefetchw, nothing),
        row(Mnemonic::Prefetchwt1, nothing),
    ]
}

fn nothing<E: Emitter>(_: &mut E, _: &Insn) -> Step<E> {
    Ok(())
}

fn invlpg(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    // Neither limit nor rights nor canonical form are looked at.
    let base = cpu.regs[usize::from(slot::SEGMENT_BASE) + usize::from(i.seg)];
    let linear = base.wrapping_add(cpu.effective_address(i)) & cpu.linear_mask;
    if cpu.is_canonical(linear) || !cpu.mode.is_64bit() {
        cpu.mmu.flush_page(linear);
    }
    Ok(())
}

fn invpcid(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    /// Types of invalidation.
    const ADDRESS: u64 = 0;
    const CONTEXT: u64 = 1;
    const ALL_AND_GLOBAL: u64 = 2;
    const ALL: u64 = 3;
    let width = if i.has(flag::MODE64) { Width::W64 } else { Width::W32 };
    let kind = cpu.reg(width, i.reg[0]);
    let mut descriptor = [0; 16];
    if kind > ALL {
        return Err(Exception::GP0);
    }
    cpu.read_operand_bytes(i, &mut descriptor)?;
    let descriptor = u128::from_le_bytes(descriptor);
    let (pcid, linear) = (descriptor as u64, (descriptor >> 64) as u64);
    let pcide = cpu.control.cr4.contains(Cr4::PCIDE);
    let bad = match kind {
        ADDRESS => pcid != 0 && !pcide || !cpu.is_canonical(linear),
        CONTEXT => pcid != 0 && !pcide,
        _ => false,
    };
    if pcid > 0xFFF || bad {
        return Err(Exception::GP0);
    }
    let current = if pcide { cpu.control.cr3 & 0xFFF } else { 0 };
    match kind {
        ADDRESS if pcid == current => cpu.mmu.flush_page(linear),
        CONTEXT if pcid == current => cpu.mmu.flush_non_global(),
        ADDRESS | CONTEXT => cpu.mmu.flush_pcid(pcid),
        ALL_AND_GLOBAL => cpu.mmu.flush_all(),
        ALL => cpu.mmu.flush_all_non_global(),
        _ => {}
    }
    Ok(())
}

fn touch_line(cpu: &mut Cpu, i: &Insn) -> Result<(), Exception> {
    let offset = cpu.effective_address(i);
    cpu.check_readable(i.segment(), offset)
}

impl Cpu {
    /// Faults as a load of the byte at `seg:offset` would, without loading it: it may be a device's.
    pub(super) fn check_readable(&mut self, seg: Seg, offset: u64) -> Result<(), Exception> {
        let linear = self.linear(seg, offset, 1, false)?;
        self.probe_read(linear, Privilege::Current)
    }

    fn probe_read(&mut self, linear: u64, privilege: Privilege) -> Result<(), Exception> {
        let user = privilege == Privilege::Current && self.cpl == 3;
        self.mmu.translate(linear, Access::Read, user).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        arch::PageFaultCode,
        decode::Kind,
        microcode::test_cpu::{gp0, insn, long_cpu},
    };

    /// Maps linear 2 MiB to `page` (not global), through the page directory of [`long_cpu`].
    fn map(cpu: &mut Cpu, page: u64) {
        cpu.write_physical(0x8_2008, 8, page | 0x87);
    }

    fn load(cpu: &mut Cpu) -> u64 {
        cpu.read_linear(2 << 20, Width::W8, Privilege::Current).unwrap_or(u64::MAX)
    }

    #[test]
    fn a_changed_translation_is_seen_after_invlpg() {
        let mut cpu = long_cpu("x86-64-v2");
        cpu.write_physical(0, 1, 0x11);
        map(&mut cpu, 0);
        assert_eq!(load(&mut cpu), 0x11);
        map(&mut cpu, 8 << 20);
        assert_eq!(load(&mut cpu), 0x11, "still cached");
        cpu.regs[slot::RSI] = (2 << 20) + 5;
        invlpg(&mut cpu, &insn(&[])).unwrap();
        assert_eq!(load(&mut cpu), 0xFF, "beyond RAM");
        cpu.regs[slot::RSI] = 1 << 62;
        invlpg(&mut cpu, &insn(&[])).unwrap();
    }

    #[rstest::rstest]
    #[case::unknown_type(4, 0, 0, false)]
    #[case::pcid_without_pcide(1, 1, 0, false)]
    #[case::reserved_bit(2, 0x1000, 0, false)]
    #[case::address_not_canonical(0, 0, 1 << 62, false)]
    #[case::other_types_ignore_the_address(3, 0, 1 << 62, true)]
    #[case::address(0, 0, 2 << 20, true)]
    #[case::context(1, 0, 0, true)]
    #[case::everything(2, 0, 0, true)]
    fn invpcid_checks_its_descriptor(
        #[case] kind: u64,
        #[case] pcid: u64,
        #[case] address: u64,
        #[case] accepted: bool,
    ) {
        let mut cpu = long_cpu("x86-64-v2");
        map(&mut cpu, 0);
        cpu.write_physical(0x1000, 8, pcid);
        cpu.write_physical(0x1008, 8, address);
        assert_eq!(load(&mut cpu), 0);
        map(&mut cpu, 8 << 20);
        (cpu.regs[slot::RAX], cpu.regs[slot::RSI]) = (kind, 0x1000);
        let result = invpcid(&mut cpu, &insn(&[(Kind::Gpr, 0), (Kind::Mem, 0)]));
        assert_eq!(result, if accepted { Ok(()) } else { gp0() });
        assert_eq!(load(&mut cpu), if accepted { 0xFF } else { 0 });
    }

    #[test]
    fn flushing_a_line_faults_as_a_load_does() {
        let mut cpu = long_cpu("x86-64-v2");
        assert_eq!(touch_line(&mut cpu, &insn(&[])), Ok(()));
        cpu.regs[slot::RSI] = 4 << 20;
        let fault = Exception::Page(PageFaultCode::empty(), 4 << 20);
        assert_eq!(touch_line(&mut cpu, &insn(&[])), Err(fault));
        cpu.regs[slot::RSI] = 1 << 62;
        assert_eq!(touch_line(&mut cpu, &insn(&[])), gp0());
    }
}
