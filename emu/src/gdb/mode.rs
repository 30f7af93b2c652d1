//! The mode of a vCPU that stands, as a debugger has to know it.

use emu_core::{
    arch::{Cr0, Efer, Flags, Seg, attr},
    state::CpuState,
};

/// The mode in which code is executed. SDM vol. 3, 2.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeMode {
    /// Real-address mode.
    Real,
    /// Virtual-8086 mode.
    Virtual8086,
    /// Protected mode, with 16 or 32-bit code.
    Protected(u8),
    /// Compatibility mode, with 16 or 32-bit code.
    Compatibility(u8),
    /// 64-bit mode.
    Long,
}

impl CodeMode {
    /// The mode of `state`.
    pub fn of(state: &CpuState) -> CodeMode {
        let cs = &state.segments.data[Seg::Cs as usize];
        let bits = if cs.attr & attr::D != 0 { 32 } else { 16 };
        match () {
            () if !state.control.cr0.contains(Cr0::PE) => CodeMode::Real,
            () if state.general.rflags.contains(Flags::VM) => CodeMode::Virtual8086,
            () if !state.control.efer.contains(Efer::LMA) => CodeMode::Protected(bits),
            () if cs.attr & attr::L == 0 => CodeMode::Compatibility(bits),
            () => CodeMode::Long,
        }
    }

    /// 16, 32 or 64: the size of code.
    pub fn bits(self) -> u8 {
        match self {
            CodeMode::Real | CodeMode::Virtual8086 => 16,
            CodeMode::Protected(bits) | CodeMode::Compatibility(bits) => bits,
            CodeMode::Long => 64,
        }
    }

    /// Whether a selector is a segment's base.
    pub fn has_real_segments(self) -> bool {
        matches!(self, CodeMode::Real | CodeMode::Virtual8086)
    }

    /// What gdb calls the architecture.
    pub fn architecture(self) -> &'static str {
        match self.bits() {
            64 => "i386:x86-64",
            32 => "i386",
            _ => "i8086",
        }
    }

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            CodeMode::Real => "real mode",
            CodeMode::Virtual8086 => "virtual-8086 mode",
            CodeMode::Protected(16) => "protected mode, 16-bit code",
            CodeMode::Protected(_) => "protected mode, 32-bit code",
            CodeMode::Compatibility(16) => "compatibility mode, 16-bit code",
            CodeMode::Compatibility(_) => "compatibility mode, 32-bit code",
            CodeMode::Long => "64-bit mode",
        }
    }
}

/// What to add to an instruction pointer to get a linear address.
pub fn code_base(state: &CpuState) -> u64 {
    match CodeMode::of(state) {
        CodeMode::Long => 0,
        _ => state.segments.data[Seg::Cs as usize].base,
    }
}

/// Linear address of the next instruction.
pub fn pc(state: &CpuState) -> u64 {
    match CodeMode::of(state) {
        CodeMode::Long => state.general.rip,
        _ => code_base(state).wrapping_add(state.general.rip) & 0xFFFF_FFFF,
    }
}

/// The instruction pointer for the instruction at linear address `pc`, if CS reaches there.
pub fn rip_for(state: &CpuState, pc: u64) -> Option<u64> {
    match CodeMode::of(state) {
        CodeMode::Long => Some(pc),
        mode => {
            let offset = u32::try_from(pc).ok()?.wrapping_sub(code_base(state) as u32);
            (mode.bits() == 32 || offset <= 0xFFFF).then_some(offset.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use emu_core::arch::Segment;
    use rstest::rstest;

    fn state(cr0: Cr0, efer: Efer, attributes: u16, base: u64) -> CpuState {
        let mut state = CpuState::reset(0);
        (state.control.cr0, state.control.efer) = (cr0, efer);
        let cs = &mut state.segments.data[Seg::Cs as usize];
        *cs = Segment { attr: attributes, base, ..*cs };
        state.general.rip = 0xFFF0;
        state
    }

    #[rstest]
    #[case::real(Cr0::empty(), Efer::empty(), 0, CodeMode::Real, 0x1_FFF0)]
    #[case::protected(Cr0::PE, Efer::empty(), attr::D, CodeMode::Protected(32), 0x1_FFF0)]
    #[case::small(Cr0::PE, Efer::empty(), 0, CodeMode::Protected(16), 0x1_FFF0)]
    #[case::compatibility(Cr0::PE, Efer::LMA, attr::D, CodeMode::Compatibility(32), 0x1_FFF0)]
    #[case::long(Cr0::PE, Efer::LMA, attr::L, CodeMode::Long, 0xFFF0)]
    fn the_pc_is_linear_in_every_mode(
        #[case] cr0: Cr0,
        #[case] efer: Efer,
        #[case] attributes: u16,
        #[case] mode: CodeMode,
        #[case] linear: u64,
    ) {
        let state = state(cr0, efer, attributes, 0x1_0000);
        assert_eq!((CodeMode::of(&state), pc(&state)), (mode, linear));
        assert_eq!(rip_for(&state, linear), Some(0xFFF0));
    }

    #[test]
    fn cs_reaches_64_kib_in_16_bit_code() {
        let state = state(Cr0::empty(), Efer::empty(), 0, 0x1_0000);
        assert_eq!(rip_for(&state, 0x1_FFFF), Some(0xFFFF));
        assert_eq!((rip_for(&state, 0x2_0000), rip_for(&state, 0xFFFF)), (None, None));
    }
}
