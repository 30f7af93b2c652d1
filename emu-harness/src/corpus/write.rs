//! Writes cases as lines of the corpus, and makes cases of what was executed.

use super::{Case, Flag, FlagState, Mode, Outcome as Expected, Register, State};
use crate::{Outcome, Setup, undefined::Undefined};
use emu_core::state::CpuState;
use iced_x86::{FastFormatter, Instruction};
use std::fmt;

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Mode::ALL.iter().find(|(mode, _)| *mode == self.mode).map_or("", |(_, name)| name);
        f.write_str(name)?;
        if self.privilege != 0 && self.mode != Mode::V86 {
            write!(f, "/{}", self.privilege)?;
        }
        if let Some(generation) = self.generation {
            write!(f, "@{}", generation.name())?;
        }
        let code: Vec<String> = self.code.iter().map(|byte| format!("{byte:02x}")).collect();
        write!(f, " | {} | {} |{} =>{}", code.join(" "), self.disassembly, self.before, self.after.state)?;
        self.after.exception.map_or(Ok(()), |exception| write!(f, " {exception}"))
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (register, value) in &self.registers {
            write!(f, " {register}={value:x}")?;
        }
        for (flag, state) in &self.flags {
            let name = Flag::ALL.iter().find(|(other, ..)| other == flag).map_or("", |(_, name, _)| name);
            let sign = match state {
                FlagState::Set => "",
                FlagState::Clear => "!",
                FlagState::Undefined => "?",
            };
            write!(f, " {sign}{name}")?;
        }
        for (address, bytes) in &self.memory {
            write!(f, " [{address:x}]=")?;
            bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        }
        Ok(())
    }
}

/// What `instruction`, the only one of `setup`, has made of it, as a line. Addresses outside 64-bit mode are
/// offsets in the data segment, as a corpus case has its segments at 0.
pub fn line_of(setup: &Setup, instruction: &Instruction, undefined: &Undefined, outcome: &Outcome) -> String {
    case_of(setup, instruction, undefined, outcome).to_string()
}

/// The same as a case.
pub fn case_of(setup: &Setup, instruction: &Instruction, undefined: &Undefined, outcome: &Outcome) -> Case {
    let mut disassembly = String::new();
    FastFormatter::new().format(instruction, &mut disassembly);
    let origin = if setup.mode == Mode::Long64 { 0 } else { setup.state.segments.data[3].base };
    let code = setup.memory.first().map_or_else(Vec::new, |region| region.bytes.clone());
    let (was, is) = (registers(&setup.state), registers(&outcome.state));
    let next = setup.state.general.rip.wrapping_add(code.len() as u64);
    let mut before = State::default();
    let mut after = State::default();
    for ((register, was), (_, is)) in was.into_iter().zip(is) {
        if was != resting(register) {
            before.registers.push((register, was));
        }
        let expected = match register {
            Register::Rip if outcome.exception.is_none() => next.into(),
            _ => was,
        };
        if is != expected {
            after.registers.push((register, is));
        }
    }
    let prefix = instruction.segment_prefix();
    if setup.mode == Mode::Long64 && matches!(prefix, iced_x86::Register::FS | iced_x86::Register::GS) {
        let number = prefix.number();
        before.registers.push((Register::Base(number as u8), setup.state.segments.data[number].base.into()));
    }
    if outcome.exception.is_some_and(|exception| exception.vector == 14) {
        let address = outcome.state.control.cr2.wrapping_sub(origin);
        after.registers.push((Register::Control(2), address.into()));
    }
    flags(setup, undefined, outcome, (&mut before, &mut after));
    memory(setup, undefined, outcome, origin, (&mut before, &mut after));
    let privilege = setup.state.segments.data[2].dpl();
    let privilege = if setup.mode == Mode::Real { 0 } else { privilege };
    let after = Expected { exception: outcome.exception, state: after };
    Case { mode: setup.mode, privilege, generation: None, code, disassembly, before, after }
}

/// The registers of user code that a line may name. Of the x87 the status comes first: registers count from
/// its top. Those that are empty count as zero.
fn registers(state: &CpuState) -> Vec<(Register, u128)> {
    let CpuState { general, x87, simd, .. } = state;
    let mut all = vec![(Register::Rip, general.rip.into())];
    all.extend((0..16).map(|n| (Register::General(n), general.gpr[usize::from(n)].into())));
    all.extend((0..16).map(|n| (Register::Xmm(n), simd.vector[usize::from(n)][0])));
    all.extend((0..16).map(|n| (Register::YmmHigh(n), simd.vector[usize::from(n)][1])));
    all.push((Register::Mxcsr, simd.mxcsr.into()));
    all.push((Register::Fcw, x87.fcw.into()));
    all.push((Register::Fsw, x87.status().into()));
    for n in 0..8u8 {
        let physical = (usize::from(x87.top) + usize::from(n)) % 8;
        let r = x87.r[physical];
        let value = u128::from(r.sign_exponent) << 64 | u128::from(r.significand);
        all.push((Register::St(n), if x87.valid >> physical & 1 != 0 { value } else { 0 }));
    }
    let tags = (0..8).fold(0u128, |all, r| all | if x87.valid >> r & 1 == 0 { 3 << (2 * r) } else { 0 });
    all.push((Register::Ftw, tags));
    all
}

/// What a register has if a case does not name it.
fn resting(register: Register) -> u128 {
    match register {
        Register::Rip => 0x1000,
        Register::Mxcsr => 0x1F80,
        Register::Fcw => 0x37F,
        Register::Ftw => 0xFFFF,
        _ => 0,
    }
}

fn flags(setup: &Setup, undefined: &Undefined, outcome: &Outcome, (before, after): (&mut State, &mut State)) {
    let (was, is) = (setup.state.general.rflags.bits(), outcome.state.general.rflags.bits());
    // User code has no say in these, and the host always has IF.
    let told = |flag: &Flag| !matches!(flag, Flag::Tf | Flag::If | Flag::Rf | Flag::Vif | Flag::Vip);
    for (flag, _, bit) in Flag::ALL.iter().filter(|(flag, ..)| told(flag)) {
        let (was, is) = (was >> bit & 1, is >> bit & 1);
        if was != 0 {
            before.flags.push((*flag, FlagState::Set));
        }
        match (undefined.flags >> bit & 1, was, is) {
            (1, ..) if outcome.exception.is_none() => after.flags.push((*flag, FlagState::Undefined)),
            (_, 0, 1) => after.flags.push((*flag, FlagState::Set)),
            (_, 1, 0) => after.flags.push((*flag, FlagState::Clear)),
            _ => {}
        }
    }
}

/// Data that is not zero or that changes, in runs of 8 bytes; bytes that are undefined are left out after.
fn memory(
    setup: &Setup,
    undefined: &Undefined,
    outcome: &Outcome,
    origin: u64,
    (before, after): (&mut State, &mut State),
) {
    let masked = |address: u64| undefined.memory.iter().any(|(place, _)| *place == address);
    for (region, new) in setup.memory.iter().zip(&outcome.memory).skip(1) {
        let address = region.address - origin;
        let changed = |at: usize| region.bytes[at] != new[at] && !masked(region.address + at as u64);
        runs(region.bytes.len(), |at| region.bytes[at] != 0 || changed(at))
            .for_each(|run| before.memory.push((address + run.start as u64, region.bytes[run].to_vec())));
        runs(region.bytes.len(), changed)
            .for_each(|run| after.memory.push((address + run.start as u64, new[run].to_vec())));
    }
}

/// Runs of bytes of which something is to be told.
fn runs(len: usize, told: impl Fn(usize) -> bool) -> impl Iterator<Item = std::ops::Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = (at..len).find(|at| told(*at))?;
        let end = (start..len).find(|at| !told(*at)).unwrap_or(len);
        at = end;
        Some(start..end)
    })
}
