//! Reading and writing the registers of a vCPU that stands.
//!
//! Written can be what a debugger may change without making a state that no processor could be in: no bit that switches
//! modes, and selectors only where they need no descriptor.

use super::{Environment, Place, REGISTERS, Register};
use crate::gdb::mode::{CodeMode, code_base, pc, rip_for};
use emu_core::{
    arch::{Cr0, Cr4, Efer, Flags, Seg},
    state::CpuState,
};

/// What a debugger sees of a vCPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Its state.
    pub state: CpuState,
    /// CR8, which is not part of it.
    pub task_priority: u8,
}

impl View {
    /// What is in `place`.
    pub fn read(&self, place: Place) -> u128 {
        let state = &self.state;
        let CpuState { general, segments, control, x87, simd, msrs, .. } = state;
        let segment = |seg: Seg| &segments.data[seg as usize];
        let table = |is_idtr| if is_idtr { &segments.idtr } else { &segments.gdtr };
        let narrow: u64 = match place {
            Place::St(number) => {
                let value = x87.r[usize::from(x87.top + number) % 8];
                return u128::from(value.sign_exponent) << 64 | u128::from(value.significand);
            }
            Place::Xmm(number) => return simd.vector[number][0],
            Place::YmmHigh(number) => return simd.vector[number][1],
            Place::General(number) => general.gpr[number],
            Place::Low(number) => general.gpr[number] & 0xFFFF_FFFF,
            Place::Pc => pc(state),
            Place::PcLow => pc(state) & 0xFFFF_FFFF,
            Place::Ip => general.rip,
            Place::Flags => general.rflags.bits().into(),
            Place::Selector(seg) => segment(seg).selector.into(),
            Place::Base(seg) => segment(seg).base,
            Place::KernelGsBase => msrs.kernel_gs_base,
            Place::X87(item) => self.environment(item).into(),
            Place::Mxcsr => simd.mxcsr.into(),
            Place::Control(0) => control.cr0.bits(),
            Place::Control(2) => control.cr2,
            Place::Control(3) => control.cr3,
            Place::Control(_) => control.cr4.bits(),
            Place::TaskPriority => self.task_priority.into(),
            Place::Efer => control.efer.bits(),
            Place::System(false) => segments.ldtr.selector.into(),
            Place::System(true) => segments.tr.selector.into(),
            Place::TableBase(is_idtr) => table(is_idtr).base,
            Place::TableLimit(is_idtr) => table(is_idtr).limit.into(),
        };
        narrow.into()
    }

    fn environment(&self, item: Environment) -> u32 {
        let x87 = &self.state.x87;
        match item {
            Environment::Fctrl => x87.fcw.into(),
            Environment::Fstat => x87.status().into(),
            Environment::Ftag => x87.tags().into(),
            Environment::Fiseg => x87.fcs.into(),
            Environment::Fioff => x87.fip as u32,
            Environment::Foseg => x87.fds.into(),
            Environment::Fooff => x87.fdp as u32,
            Environment::Fop => x87.fop.into(),
        }
    }

    /// Writes `value` to `place`. `None`: a debugger may not.
    pub fn write(&mut self, place: Place, value: u128) -> Option<()> {
        let mode = CodeMode::of(&self.state);
        let is_long = self.state.control.efer.contains(Efer::LMA);
        let CpuState { general, segments, control, x87, simd, msrs, .. } = &mut self.state;
        let narrow = value as u64;
        match place {
            Place::General(number) => general.gpr[number] = narrow,
            Place::Low(number) => {
                general.gpr[number] = general.gpr[number] & !0xFFFF_FFFF | narrow & 0xFFFF_FFFF;
            }
            Place::Pc => self.state.general.rip = rip_for(&self.state, narrow)?,
            Place::PcLow if mode == CodeMode::Long => return None,
            Place::PcLow => self.state.general.rip = rip_for(&self.state, narrow & 0xFFFF_FFFF)?,
            Place::Ip => {
                self.state.general.rip = rip_for(&self.state, code_base(&self.state).wrapping_add(narrow))?;
            }
            Place::Flags => {
                let flags = Flags::from_bits_truncate(narrow as u32);
                only(general.rflags.bits().into(), flags.bits().into(), !u64::from(Flags::VM.bits()))?;
                general.rflags = flags;
            }
            Place::Selector(seg) => {
                let segment = &mut segments.data[seg as usize];
                let selector = u16::try_from(value).ok()?;
                if segment.selector != selector {
                    mode.has_real_segments().then_some(())?;
                    (segment.selector, segment.base) = (selector, u64::from(selector) << 4);
                }
            }
            Place::Base(seg @ (Seg::Fs | Seg::Gs)) => segments.data[seg as usize].base = canonical(narrow)?,
            Place::KernelGsBase => msrs.kernel_gs_base = canonical(narrow)?,
            Place::St(number) => {
                let physical = (x87.top + number) & 7;
                let register = &mut x87.r[usize::from(physical)];
                (register.significand, register.sign_exponent) = (narrow, (value >> 64) as u16);
                x87.valid |= 1 << physical;
            }
            Place::X87(item) => self.write_environment(item, narrow as u32),
            Place::Xmm(number) => simd.vector[number][0] = value,
            Place::YmmHigh(number) => simd.vector[number][1] = value,
            Place::Mxcsr => simd.mxcsr = (narrow & !0xFFFF == 0).then_some(narrow as u32)?,
            Place::Control(0) => {
                let may = Cr0::MP | Cr0::EM | Cr0::TS | Cr0::WP | Cr0::AM;
                control.cr0 = Cr0::from_bits(only(control.cr0.bits(), narrow, may.bits())?)?;
            }
            Place::Control(2) => control.cr2 = narrow,
            // PAE paging has its first level in registers, which are loaded with CR3.
            Place::Control(3) if control.cr4.contains(Cr4::PAE) && !is_long => return None,
            Place::Control(3) => control.cr3 = (narrow >> 52 == 0).then_some(narrow)?,
            Place::Control(_) => {
                let may = Cr4::TSD | Cr4::DE | Cr4::PCE | Cr4::PGE;
                control.cr4 = Cr4::from_bits(only(control.cr4.bits(), narrow, may.bits())?)?;
            }
            Place::TaskPriority => self.task_priority = (narrow <= 15).then_some(narrow as u8)?,
            Place::Efer => {
                let may = Efer::SCE | Efer::NXE;
                control.efer = Efer::from_bits(only(control.efer.bits(), narrow, may.bits())?)?;
            }
            Place::Base(_) | Place::System(_) | Place::TableBase(_) | Place::TableLimit(_) => {
                return (self.read(place) == value).then_some(());
            }
        }
        Some(())
    }

    fn write_environment(&mut self, item: Environment, value: u32) {
        let x87 = &mut self.state.x87;
        let word = value as u16;
        match item {
            Environment::Fctrl => x87.fcw = word & 0x1F7F | 0x40,
            Environment::Fstat => (x87.fsw, x87.top) = (word & !0x3800, (word >> 11) as u8 & 7),
            Environment::Ftag => x87.set_tags(word),
            Environment::Fiseg => x87.fcs = word,
            Environment::Fioff => x87.fip = value.into(),
            Environment::Foseg => x87.fds = word,
            Environment::Fooff => x87.fdp = value.into(),
            Environment::Fop => x87.fop = word & 0x7FF,
        }
    }

    /// All registers, one behind the other.
    pub fn to_bytes(&self) -> Vec<u8> {
        let bytes =
            |register: &Register| self.read(register.place).to_le_bytes().into_iter().take(register.bytes());
        REGISTERS.iter().flat_map(bytes).collect()
    }

    /// Writes what is different in `bytes`, which are as [`to_bytes`](Self::to_bytes) gives them; all or nothing.
    pub fn write_bytes(&mut self, mut bytes: &[u8]) -> Option<()> {
        let mut changed = self.clone();
        for register in REGISTERS.iter() {
            let (own, rest) = bytes.split_at_checked(register.bytes())?;
            let value = from_bytes(own);
            if value != self.read(register.place) {
                changed.write(register.place, value)?;
            }
            bytes = rest;
        }
        *self = changed;
        Some(())
    }
}

/// A register's value of at most 16 bytes.
pub fn from_bytes(bytes: &[u8]) -> u128 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u128::from(*byte))
}

/// `new`, if it differs from `old` in bits of `may` only.
fn only(old: u64, new: u64, may: u64) -> Option<u64> {
    ((old ^ new) & !may == 0).then_some(new)
}

/// `address`, if it has at most 57 bits with its sign.
fn canonical(address: u64) -> Option<u64> {
    let sign = (address as i64) >> 56;
    (sign == 0 || sign == -1).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use emu_core::arch::{Segment, attr};
    use rstest::rstest;

    fn view() -> View {
        let mut state = CpuState::reset(0);
        state.segments.data[Seg::Cs as usize] = Segment::real(0x1000);
        state.general.rip = 0x7C00;
        View { state, task_priority: 0 }
    }

    fn long() -> View {
        let mut view = view();
        view.state.control.cr0 |= Cr0::PE | Cr0::PG;
        view.state.control.efer |= Efer::LME | Efer::LMA;
        view.state.segments.data[Seg::Cs as usize].attr |= attr::L;
        view
    }

    fn place(name: &str) -> Place {
        REGISTERS.iter().find(|register| register.name == name).unwrap().place
    }

    #[test]
    fn what_is_written_is_read_back() {
        for register in REGISTERS.iter() {
            let mut view = long();
            let value = match register.place {
                Place::Flags => 0x246,
                Place::X87(Environment::Fctrl) => 0x37F,
                Place::X87(Environment::Fstat) => 0x3800,
                Place::X87(Environment::Ftag) => 0xFFFF,
                Place::Control(0) => u128::from((view.state.control.cr0 | Cr0::TS).bits()),
                Place::Control(4) => u128::from(Cr4::TSD.bits()),
                Place::Efer => u128::from((view.state.control.efer | Efer::SCE).bits()),
                _ => 5,
            };
            match view.write(register.place, value) {
                Some(()) => assert_eq!(view.read(register.place), value, "{}", register.name),
                None => assert_eq!(view, long(), "{}", register.name),
            }
        }
    }

    #[test]
    fn all_registers_come_back_as_they_went() {
        let mut view = long();
        let bytes = view.to_bytes();
        assert_eq!(bytes.len(), REGISTERS.iter().map(Register::bytes).sum::<usize>());
        assert_eq!(view.write_bytes(&bytes), Some(()));
        assert_eq!(view, long());
        let mut changed = bytes.clone();
        // RBX, the second, and CS, which may not be written.
        changed[8] = 7;
        assert_eq!(view.write_bytes(&changed), Some(()));
        assert_eq!(view.state.general.gpr[3], 7);
        let cs = 17 * 8 + 4;
        changed[8] = 9;
        changed[cs] ^= 1;
        assert_eq!(view.write_bytes(&changed), None);
        assert_eq!(view.state.general.gpr[3], 7, "all or nothing");
        assert_eq!(view.write_bytes(&bytes[..9]), None);
    }

    #[test]
    fn real_mode_has_a_linear_pc_and_selectors_that_are_bases() {
        let mut view = view();
        assert_eq!((view.read(place("rip")), view.read(place("eip"))), (0x1_7C00, 0x1_7C00));
        assert_eq!((view.read(place("ip")), view.read(place("cs_base"))), (0x7C00, 0x1_0000));
        assert_eq!(view.write(place("eip"), 0x1_0010), Some(()));
        assert_eq!(view.state.general.rip, 0x10);
        assert_eq!(view.write(place("rip"), 0x2_0000), None);
        assert_eq!(view.write(place("ip"), 0x20), Some(()));
        assert_eq!(view.read(place("rip")), 0x1_0020);
        assert_eq!(view.write(place("ds"), 0x40), Some(()));
        assert_eq!(view.read(place("ds_base")), 0x400);
    }

    #[rstest]
    #[case::paging("cr0", 1 << 31)]
    #[case::protection("cr0", 1)]
    #[case::pae("cr4", 1 << 5)]
    #[case::long_mode("efer", 1 << 8)]
    #[case::virtual_8086("eflags", 1 << 17)]
    fn no_bit_that_switches_modes_may_be_written(#[case] name: &str, #[case] bit: u128) {
        let mut view = long();
        let value = view.read(place(name)) ^ bit;
        assert_eq!(view.write(place(name), value), None);
    }

    #[rstest]
    #[case("cs", 0x33)]
    #[case("gdtr_base", 0x1000)]
    #[case("fs_base", 1 << 60)]
    #[case("mxcsr", 1 << 16)]
    #[case("cr8", 16)]
    #[case("cr3", 1 << 63)]
    fn what_no_processor_could_hold_is_refused(#[case] name: &str, #[case] value: u128) {
        assert_eq!(long().write(place(name), value), None);
    }

    #[test]
    fn the_lower_half_leaves_the_upper_alone() {
        let mut view = long();
        view.state.general.gpr[0] = 0x1111_2222_3333_4444;
        assert_eq!(view.write(place("eax"), 5), Some(()));
        assert_eq!(view.read(place("rax")), 0x1111_2222_0000_0005);
    }
}
