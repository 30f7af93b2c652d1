//! Registers of the corpus in the state of a CPU.

use super::{FlagState, Register, State};
use emu_core::{
    arch::{Cr0, Cr4, Efer, Flags, Xcr0},
    state::{CpuState, Extended},
};

/// Sets what `words` names.
pub(super) fn apply(state: &mut CpuState, words: &State) {
    // TOP first: the registers of the x87 are counted from it; tags last.
    for (register, value) in words.registers.iter().filter(|(register, _)| *register == Register::Fsw) {
        set(state, *register, *value);
    }
    for (register, value) in &words.registers {
        if !matches!(register, Register::Fsw | Register::Ftw) {
            set(state, *register, *value);
        }
    }
    for (register, value) in words.registers.iter().filter(|(register, _)| *register == Register::Ftw) {
        set(state, *register, *value);
    }
    for (flag, value) in &words.flags {
        let bit = Flags::from_bits_truncate(flag.mask() as u32);
        state.general.rflags.set(bit, *value == FlagState::Set);
    }
}

/// Sets one register. St registers are counted from the top that the state has; an MMX register makes all of
/// the x87's valid and the top 0, as an MMX instruction does. MSRs that are not plain storage stay.
pub fn set(state: &mut CpuState, register: Register, value: u128) {
    let word = value as u64;
    let top = usize::from(state.x87.top);
    match register {
        Register::General(n) => state.general.gpr[usize::from(n)] = word,
        Register::Rip => state.general.rip = word,
        Register::Selector(n) => state.segments.data[usize::from(n)].selector = word as u16,
        Register::Base(n) => state.segments.data[usize::from(n)].base = word,
        Register::Limit(n) => state.segments.data[usize::from(n)].limit = word as u32,
        Register::Control(0) => state.control.cr0 = Cr0::from_bits_retain(word as _),
        Register::Control(2) => state.control.cr2 = word,
        Register::Control(3) => state.control.cr3 = word,
        Register::Control(4) => state.control.cr4 = Cr4::from_bits_retain(word as _),
        Register::Debug(n @ 0..=3) => state.control.dr[usize::from(n)] = word,
        Register::Debug(6) => state.control.dr6 = word,
        Register::Debug(_) => state.control.dr7 = word,
        Register::Xcr0 => state.control.xcr0 = Xcr0::from_bits_retain(word as _),
        Register::Xmm(n) => state.simd.vector[usize::from(n)][0] = value,
        Register::YmmHigh(n) => state.simd.vector[usize::from(n)][1] = value,
        Register::Mm(n) => {
            state.x87.r[usize::from(n)] = Extended { significand: word, sign_exponent: 0xFFFF };
            (state.x87.top, state.x87.valid) = (0, 0xFF);
        }
        Register::St(n) => {
            let physical = (top + usize::from(n)) % 8;
            state.x87.r[physical] = Extended { significand: word, sign_exponent: (value >> 64) as u16 };
            state.x87.valid |= 1 << physical;
        }
        Register::Mxcsr => state.simd.mxcsr = word as u32,
        Register::Fcw => state.x87.fcw = word as u16,
        Register::Fsw => {
            (state.x87.fsw, state.x87.top) = (word as u16 & !0x3800, (word >> 11) as u8 & 7);
        }
        Register::Ftw => {
            state.x87.valid = (0..8).fold(0, |all, r| all | u8::from(word >> (2 * r) & 3 != 3) << r);
        }
        Register::Iopl => {
            let bits = state.general.rflags.bits() & !(3 << 12) | (word as u32 & 3) << 12;
            state.general.rflags = Flags::from_bits_retain(bits);
        }
        Register::Msr(EFER) => state.control.efer = Efer::from_bits_truncate(word),
        Register::Msr(number) => {
            if let Some(place) = msr(state, number) {
                *place = word;
            }
        }
        Register::Control(_) => {}
    }
}

/// IA32_EFER.
const EFER: u32 = 0xC000_0080;

/// Whether cases can set the MSR.
pub fn has_msr(number: u32) -> bool {
    number == EFER || msr(&mut CpuState::reset(0), number).is_some()
}

/// The MSRs that cases set and that are plain storage.
fn msr(state: &mut CpuState, number: u32) -> Option<&mut u64> {
    let msrs = &mut state.msrs;
    Some(match number {
        0x174 => &mut msrs.sysenter_cs,
        0x175 => &mut msrs.sysenter_esp,
        0x176 => &mut msrs.sysenter_eip,
        0xC000_0081 => &mut msrs.star,
        0xC000_0082 => &mut msrs.lstar,
        0xC000_0083 => &mut msrs.cstar,
        0xC000_0084 => &mut msrs.fmask,
        0xC000_0102 => &mut msrs.kernel_gs_base,
        0xC000_0103 => &mut msrs.tsc_aux,
        _ => return None,
    })
}

/// All registers that corpus lines can name, but for MSRs that no instruction changes. Empty x87 registers
/// read as zero.
pub fn values(state: &CpuState) -> Vec<(Register, u128)> {
    let CpuState { general, segments, control, x87, simd, msrs, .. } = state;
    let mut all = vec![(Register::Rip, general.rip.into())];
    for n in 0..16u8 {
        all.push((Register::General(n), general.gpr[usize::from(n)].into()));
        all.push((Register::Xmm(n), simd.vector[usize::from(n)][0]));
        all.push((Register::YmmHigh(n), simd.vector[usize::from(n)][1]));
    }
    for (n, segment) in segments.data.iter().enumerate() {
        all.push((Register::Selector(n as u8), segment.selector.into()));
        if !segment.unusable {
            all.push((Register::Base(n as u8), segment.base.into()));
            all.push((Register::Limit(n as u8), segment.limit.into()));
        }
    }
    for n in 0..8u8 {
        let physical = (usize::from(x87.top) + usize::from(n)) % 8;
        if x87.valid >> physical & 1 != 0 {
            let r = x87.r[physical];
            all.push((Register::St(n), u128::from(r.sign_exponent) << 64 | u128::from(r.significand)));
        } else {
            all.push((Register::St(n), 0));
        }
    }
    let tags = (0..8).fold(0u128, |all, r| all | if x87.valid >> r & 1 == 0 { 3 << (2 * r) } else { 0 });
    all.extend([
        (Register::Control(0), u128::from(control.cr0.bits())),
        (Register::Control(2), control.cr2.into()),
        (Register::Control(3), control.cr3.into()),
        (Register::Control(4), u128::from(control.cr4.bits())),
        (Register::Xcr0, u128::from(control.xcr0.bits())),
        (Register::Debug(6), control.dr6.into()),
        (Register::Debug(7), control.dr7.into()),
        (Register::Mxcsr, simd.mxcsr.into()),
        (Register::Fcw, x87.fcw.into()),
        (Register::Fsw, x87.status().into()),
        (Register::Ftw, tags),
        (Register::Iopl, u128::from(general.rflags.bits() >> 12 & 3)),
        (Register::Msr(EFER), u128::from(control.efer.bits())),
        (Register::Msr(0xC000_0081), msrs.star.into()),
        (Register::Msr(0xC000_0082), msrs.lstar.into()),
        (Register::Msr(0xC000_0084), msrs.fmask.into()),
        (Register::Msr(0xC000_0102), msrs.kernel_gs_base.into()),
    ]);
    all.extend((0..4u8).map(|n| (Register::Debug(n), control.dr[usize::from(n)].into())));
    all
}
