//! A CPU's state at rest in each mode.

use super::TABLES;
use crate::corpus::Mode;
use emu_core::{
    arch::{Cr0, Cr4, Efer, Flags, Seg, Segment, Xcr0},
    state::{CpuState, TableRegister, X87},
};

/// Base of the GDT of cases that name its descriptors as memory.
pub const GDT: u64 = 0x8000;

/// State at rest in `mode` at privilege level `level`: segments of the mode's size at `base` (0 in 64-bit
/// mode), paging on if the mode has it. Registers are zero.
pub fn state_at_rest(mode: Mode, level: u8, base: u64) -> CpuState {
    let mut state = CpuState::reset(0);
    state.general.gpr = [0; 16];
    state.general.rflags = Flags::FIXED;
    state.x87 = X87 { fcw: 0x37F, valid: 0, ..X87::reset() };
    state.simd.mxcsr = 0x1F80;
    let long = matches!(mode, Mode::Long64 | Mode::Compatibility32 | Mode::Compatibility16);
    let control = &mut state.control;
    (control.cr0, control.cr4) = (Cr0::ET | Cr0::NE, Cr4::OSFXSR | Cr4::OSXMMEXCPT | Cr4::OSXSAVE);
    control.xcr0 = Xcr0::X87 | Xcr0::SSE | Xcr0::AVX;
    (control.dr6, control.dr7) = (0xFFFF_0FF0, 0x400);
    if mode != Mode::Real {
        control.cr0 |= Cr0::PE | Cr0::PG | Cr0::WP;
        control.cr3 = TABLES;
    }
    if long {
        control.cr4 |= Cr4::PAE;
        control.efer = Efer::LME | Efer::LMA | Efer::SCE | Efer::NXE;
    }
    if mode == Mode::V86 {
        state.general.rflags |= Flags::VM;
    }
    // No LDT, and no I/O permission bitmap in the TSS.
    state.segments.ldtr.unusable = true;
    state.segments.tr.limit = 0;
    state.segments.gdtr = TableRegister { base: GDT, limit: 0xFFF };
    state.segments.idtr = TableRegister { base: 0, limit: 0 };
    state.segments.data = segments(mode, level, base);
    state
}

fn segments(mode: Mode, level: u8, base: u64) -> [Segment; 6] {
    let dpl = u16::from(level) << 5;
    let (code, data, limit) = match mode {
        Mode::Real => (0x93, 0x93, 0xFFFF),
        Mode::V86 => (0xF3, 0xF3, 0xFFFF),
        Mode::Protected16 | Mode::Compatibility16 => (0x9B | dpl, 0x93 | dpl, 0xFFFF),
        Mode::Protected32 | Mode::Compatibility32 => (0xC09B | dpl, 0xC093 | dpl, u32::MAX),
        Mode::Long64 => (0xA09B | dpl, 0xC093 | dpl, u32::MAX),
    };
    let (cs, ds) = match mode {
        Mode::Real | Mode::V86 => (0, 0),
        _ => (0x8 | u16::from(level), 0x10 | u16::from(level)),
    };
    let segment = |selector, attr| Segment { selector, attr, limit, base, unusable: false };
    let mut all = [segment(ds, data); 6];
    all[Seg::Cs as usize] = segment(cs, code);
    all
}
