//! System-management mode: SMI, RSM and the state save area. SDM vol. 3, ch. 31; the layout of the area is the
//! one of 64-bit processors as AMD documents it (APM vol. 2, table 10-1), which firmware finds by the
//! revision identifier.
//!
//! SMRAM is plain guest memory to the CPU: hiding it outside SMM is the chipset's. Left out: I/O instruction
//! restart (the revision says so), dual-monitor treatment.

use super::segment_load::put;
use crate::{
    arch::{Cr0, Cr4, Efer, Exception, Flags, Seg, Segment, Width, attr},
    cpu::Cpu,
    decode::Insn,
    semantics::{Attr, Emitter, Row, microcode},
    state::{Activity, TableRegister},
};
use iced_x86::Mnemonic;

/// The area begins here above SMBASE; offsets below are from SMBASE + 0x8000, as in the manual.
const AREA: u64 = 0x8000;
/// The save area's offsets.
mod at {
    pub const ES: u64 = 0x7E00;
    pub const GDTR: u64 = 0x7E60;
    pub const LDTR: u64 = 0x7E70;
    pub const IDTR: u64 = 0x7E80;
    pub const TR: u64 = 0x7E90;
    pub const AUTO_HALT: u64 = 0x7EC9;
    pub const NMI_MASK: u64 = 0x7ECA;
    pub const CPL: u64 = 0x7ECB;
    pub const EFER: u64 = 0x7ED0;
    pub const REVISION: u64 = 0x7EFC;
    pub const SMBASE: u64 = 0x7F00;
    pub const CR4: u64 = 0x7F48;
    pub const CR3: u64 = 0x7F50;
    pub const CR0: u64 = 0x7F58;
    pub const DR7: u64 = 0x7F60;
    pub const DR6: u64 = 0x7F68;
    pub const RFLAGS: u64 = 0x7F70;
    pub const RIP: u64 = 0x7F78;
    /// R15; the other registers follow in descending order up to RAX.
    pub const R15: u64 = 0x7F80;
}
/// Save-area format of 64-bit processors, with SMBASE relocation (bit 17).
const REVISION: u64 = 0x0002_0064;

struct Area {
    base: u64,
}

impl Area {
    fn of(cpu: &Cpu) -> Self {
        Area { base: u64::from(cpu.events.smbase) + AREA }
    }

    fn write(&self, cpu: &mut Cpu, offset: u64, w: Width, value: u64) {
        let address = cpu.memory.gate(self.base + offset);
        cpu.write_physical(address, w.bytes(), value & w.mask());
    }

    fn read(&self, cpu: &mut Cpu, offset: u64, w: Width) -> u64 {
        let address = cpu.memory.gate(self.base + offset);
        cpu.read_physical(address, w.bytes()) & w.mask()
    }

    /// Selector, attributes (bits 55:52 and 47:40 of a descriptor), limit, base.
    fn write_segment(&self, cpu: &mut Cpu, offset: u64, segment: &Segment) {
        let present = if segment.unusable { !attr::P } else { !0 };
        let rights = (segment.attr & 0xFF | segment.attr >> 4 & 0xF00) & present;
        self.write(cpu, offset, Width::W16, segment.selector.into());
        self.write(cpu, offset + 2, Width::W16, rights.into());
        self.write(cpu, offset + 4, Width::W32, segment.limit.into());
        self.write(cpu, offset + 8, Width::W64, segment.base);
    }

    fn read_segment(&self, cpu: &mut Cpu, offset: u64) -> Segment {
        let rights = self.read(cpu, offset + 2, Width::W16) as u16;
        let attr = rights & 0xFF | (rights & 0xF00) << 4;
        Segment {
            selector: self.read(cpu, offset, Width::W16) as u16,
            attr,
            limit: self.read(cpu, offset + 4, Width::W32) as u32,
            base: self.read(cpu, offset + 8, Width::W64),
            unusable: attr & attr::P == 0,
        }
    }

    fn write_table(&self, cpu: &mut Cpu, offset: u64, table: TableRegister) {
        self.write(cpu, offset + 4, Width::W16, table.limit.into());
        self.write(cpu, offset + 8, Width::W64, table.base);
    }

    fn read_table(&self, cpu: &mut Cpu, offset: u64) -> TableRegister {
        TableRegister {
            limit: self.read(cpu, offset + 4, Width::W16) as u16,
            base: self.read(cpu, offset + 8, Width::W64),
        }
    }
}

/// Serves an SMI: saves the state and enters the handler at SMBASE + 0x8000. SMIs and NMIs are blocked until
/// RSM; the caller does not call this in SMM.
pub fn enter_smm(cpu: &mut Cpu) {
    let area = Area::of(cpu);
    save(cpu, &area);
    let smbase = cpu.events.smbase;
    cpu.events.activity = Activity::Active;
    cpu.events.shadow = false;
    cpu.events.shadow_from_mov_ss = false;
    cpu.events.in_smm = true;
    cpu.events.nmi_blocked = true;

    cpu.control.cr0.remove(Cr0::PE | Cr0::EM | Cr0::TS | Cr0::PG);
    cpu.control.cr4 = Cr4::empty();
    cpu.control.efer = Efer::empty();
    cpu.control.dr7 = super::debug::dr7::FIXED;
    cpu.cpl = 0;
    let flat = |selector: u16, base: u64| Segment { limit: u32::MAX, base, ..Segment::real(selector) };
    for seg in Seg::ALL {
        put(cpu, seg, flat(0, 0));
    }
    // The selector is that of the default SMBASE divided by 16, whatever 16 bits can hold of it.
    put(cpu, Seg::Cs, flat((smbase >> 4) as u16, smbase.into()));
    cpu.rip = AREA;
    cpu.set_rflags(Flags::FIXED);
    super::debug::breakpoints_changed(cpu);
}

fn save(cpu: &mut Cpu, area: &Area) {
    use Width::{W8, W32, W64};
    for seg in Seg::ALL {
        let segment = *cpu.seg(seg);
        area.write_segment(cpu, at::ES + 16 * seg as u64, &segment);
    }
    let segments = cpu.segments;
    area.write_segment(cpu, at::LDTR, &segments.ldtr);
    area.write_segment(cpu, at::TR, &segments.tr);
    area.write_table(cpu, at::GDTR, segments.gdtr);
    area.write_table(cpu, at::IDTR, segments.idtr);
    let (control, events) = (cpu.control, cpu.events);
    let flags = cpu.rflags().bits().into();
    let words = [
        (at::EFER, control.efer.bits()),
        (at::CR4, control.cr4.bits()),
        (at::CR3, control.cr3),
        (at::CR0, control.cr0.bits()),
        (at::DR7, control.dr7),
        (at::DR6, control.dr6),
        (at::RFLAGS, flags),
        (at::RIP, cpu.rip),
    ];
    for (offset, value) in words {
        area.write(cpu, offset, W64, value);
    }
    for number in 0..16 {
        let value = cpu.regs[number];
        area.write(cpu, at::R15 + 8 * (15 - number as u64), W64, value);
    }
    area.write(cpu, at::AUTO_HALT, W8, (events.activity == Activity::Halted).into());
    area.write(cpu, at::NMI_MASK, W8, events.nmi_blocked.into());
    let cpl = cpu.cpl.into();
    area.write(cpu, at::CPL, W8, cpl);
    area.write(cpu, at::REVISION, W32, REVISION);
    area.write(cpu, at::SMBASE, W32, events.smbase.into());
}

/// RSM: back to what the save area says. A state that cannot be is a shutdown.
fn rsm(cpu: &mut Cpu, _: &Insn) -> Result<(), Exception> {
    use Width::{W8, W32, W64};
    if !cpu.events.in_smm {
        return Err(Exception::UD);
    }
    let area = Area::of(cpu);
    let [cr0, cr3, cr4, efer] =
        [at::CR0, at::CR3, at::CR4, at::EFER].map(|offset| area.read(cpu, offset, W64));
    if !is_possible(cr0, cr4, efer) {
        shut_down(cpu);
        return Ok(());
    }
    for seg in Seg::ALL {
        let segment = area.read_segment(cpu, at::ES + 16 * seg as u64);
        put(cpu, seg, segment);
    }
    cpu.segments.ldtr = area.read_segment(cpu, at::LDTR);
    cpu.segments.tr = area.read_segment(cpu, at::TR);
    cpu.segments.gdtr = area.read_table(cpu, at::GDTR);
    cpu.segments.idtr = area.read_table(cpu, at::IDTR);
    for number in 0..16 {
        cpu.regs[number] = area.read(cpu, at::R15 + 8 * (15 - number as u64), W64);
    }
    cpu.rip = area.read(cpu, at::RIP, W64);
    cpu.control.dr6 = area.read(cpu, at::DR6, W64);
    cpu.control.dr7 = area.read(cpu, at::DR7, W64);
    cpu.control.cr0 = Cr0::from_bits_truncate(cr0) | Cr0::ET;
    cpu.control.cr4 = Cr4::from_bits_truncate(cr4);
    cpu.control.efer = Efer::from_bits_truncate(efer);
    cpu.cpl = area.read(cpu, at::CPL, W8) as u8 & 3;
    let smbase = area.read(cpu, at::SMBASE, W32) as u32;
    let halted = area.read(cpu, at::AUTO_HALT, W8) & 1 != 0;
    let nmi_blocked = area.read(cpu, at::NMI_MASK, W8) & 1 != 0;
    let events = &mut cpu.events;
    (events.smbase, events.in_smm, events.nmi_blocked) = (smbase, false, nmi_blocked);
    events.activity = if halted { Activity::Halted } else { Activity::Active };
    let flags = Flags::from_bits_truncate(area.read(cpu, at::RFLAGS, W64) as u32);
    cpu.set_rflags(flags);
    super::debug::breakpoints_changed(cpu);
    if cpu.write_cr3(cr3).is_err() {
        shut_down(cpu);
    }
    // SMIs, NMIs and INIT that arrived meanwhile.
    cpu.signal.poll_again_if_waiting();
    Ok(())
}

fn shut_down(cpu: &mut Cpu) {
    cpu.events.activity = Activity::Shutdown;
    cpu.io.shutdown(cpu.id);
}

/// Whether such control registers can be: else RSM ends in a shutdown.
fn is_possible(cr0: u64, cr4: u64, efer: u64) -> bool {
    let (cr0_bits, cr4_bits) = (Cr0::from_bits_truncate(cr0), Cr4::from_bits_truncate(cr4));
    let paging_without_protection = cr0_bits.contains(Cr0::PG) && !cr0_bits.contains(Cr0::PE);
    let uncached_write_through = cr0_bits.contains(Cr0::NW) && !cr0_bits.contains(Cr0::CD);
    let active = Efer::from_bits_truncate(efer).contains(Efer::LMA);
    let long_without_paging = active && !(cr0_bits.contains(Cr0::PG) && cr4_bits.contains(Cr4::PAE));
    cr0 >> 32 == 0
        && Cr4::from_bits(cr4).is_some()
        && !(paging_without_protection || uncached_write_through || long_without_paging)
}

/// Rows of this file.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    vec![microcode(Mnemonic::Rsm, rsm).with(Attr::ENDS_BLOCK)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cpu::slot, microcode::testing::*};

    #[test]
    fn an_smi_and_rsm_restore_everything() {
        let mut cpu = protected(3);
        cpu.regs[slot::RAX] = 0x1234_5678;
        cpu.regs[15] = 15;
        cpu.set_rflags(Flags::IF | Flags::ZF);
        cpu.events.activity = Activity::Halted;
        let before = cpu.save_state();

        enter_smm(&mut cpu);

        assert_eq!((cpu.seg(Seg::Cs).base, cpu.rip, cpu.mode.bitness(), cpu.cpl), (0x3_0000, 0x8000, 16, 0));
        assert!(cpu.events.in_smm && cpu.events.nmi_blocked && cpu.mode.is_real_or_vm86());
        assert_eq!(get_u32(&cpu, 0x3_FEFC), 0x2_0064);
        assert_eq!(get_u64(&cpu, 0x3_FFF8), 0x1234_5678);

        rsm(&mut cpu, &insn()).unwrap();

        assert_eq!(cpu.save_state(), before);
    }

    #[test]
    fn the_handler_can_move_smbase() {
        let mut cpu = real();
        enter_smm(&mut cpu);
        put_u32(&cpu, 0x3_FF00, 0xA_0000);
        rsm(&mut cpu, &insn()).unwrap();
        assert_eq!(cpu.events.smbase, 0xA_0000);
    }

    #[test]
    fn rsm_is_undefined_outside_smm_and_shuts_down_on_nonsense() {
        let mut cpu = real();
        assert_eq!(rsm(&mut cpu, &insn()), Err(Exception::UD));
        enter_smm(&mut cpu);
        put_u32(&cpu, 0x3_FF58, Cr0::PG.bits() as u32);
        rsm(&mut cpu, &insn()).unwrap();
        assert_eq!(cpu.events.activity, Activity::Shutdown);
    }
}
