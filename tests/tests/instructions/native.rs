//! The corpus is right: what it says of user code is what the host's processor does.
//!
//! Cases run where the host's memory is: 64-bit ones that name addresses there, 16-bit and 32-bit ones in
//! segments with a base. Cases with anything that only a kernel can set up are left out.

use crate::corpus::{Found, cases, check, mismatches, state_before, wanted_memory};
use emu_core::{
    arch::Flags,
    state::{CpuState, Extended},
};
use emu_harness::{
    corpus::{Case, Exception, Mode, Register},
    interpreter::Interpreter,
    native::{BASE, END, FIRST, Host, Registers},
};

const UNDEFINED: Exception = Exception { vector: 6, error_code: None };

#[test]
fn the_host_does_what_the_corpus_says() {
    let mut host = match Host::take() {
        Ok(host) => host,
        Err(reason) => return println!("skipped: {reason}"),
    };
    let mut interpreter = Interpreter::new();
    let mut compared = 0;
    check(&cases(), |case| {
        let before = state_before(&mut interpreter, case);
        let Some(found) = on_host(&mut host, case, &before) else { return Vec::new() };
        // The processor may be older than the model `max`.
        if found.exception == Some(UNDEFINED) && case.after.exception.is_none() {
            return Vec::new();
        }
        compared += 1;
        mismatches(case, &before, &found)
    });
    println!("{compared} cases compared");
}

/// Whether the host can run the case: plain registers, memory in its window, one instruction of user code.
fn suits(case: &Case, origin: u64) -> bool {
    let words = case.before.registers.iter().chain(&case.after.state.registers);
    let plain = |register: &Register| {
        matches!(
            register,
            Register::General(_)
                | Register::Rip
                | Register::Xmm(_)
                | Register::Mm(_)
                | Register::St(_)
                | Register::Mxcsr
                | Register::Fcw
                | Register::Fsw
                | Register::Ftw
                | Register::Control(2)
        )
    };
    let user = case.privilege == 3
        && matches!(case.mode, Mode::Long64 | Mode::Compatibility32 | Mode::Compatibility16);
    let inside = |address: u64, len: usize| {
        (FIRST..END).contains(&(address + origin)) && address + origin + len as u64 <= END
    };
    let memory = case.before.memory.iter().chain(&case.after.state.memory);
    // The host has pages where the case has none.
    let absent = case.after.exception.is_some_and(|e| e.vector == 14)
        && !case.after.state.registers.contains(&(Register::Control(2), u128::from(END - origin)));
    user && !absent && words.clone().all(|(register, _)| plain(register)) && {
        let mut memory = memory;
        memory.all(|(address, bytes)| inside(*address, bytes.len()))
    }
}

fn on_host(host: &mut Host, case: &Case, before: &CpuState) -> Option<Found> {
    let long = case.mode == Mode::Long64;
    if !suits(case, if long { 0 } else { BASE }) {
        return None;
    }
    // Code of 64-bit cases that do not say where it is goes where the host has memory.
    let shift = if long && before.general.rip < FIRST { BASE } else { 0 };
    let window = host.memory();
    window.fill(0);
    let mut put = |address: u64, bytes: &[u8]| {
        let at = (address - FIRST) as usize;
        window[at..at + bytes.len()].copy_from_slice(bytes);
    };
    let origin = if long { 0 } else { BASE };
    for (address, bytes) in &case.before.memory {
        put(address + origin, bytes);
    }
    put(before.general.rip + shift + origin, &case.code);
    let mut registers = registers(before);
    registers.rip += shift;
    registers.rflags |= 0x200;
    let outcome = host.execute(case.mode.bitness(), &registers);
    let mut state = before.clone();
    take(&mut state, &outcome.registers);
    state.general.rip -= shift;
    if !long {
        state.general.gpr.iter_mut().for_each(|value| *value &= 0xFFFF_FFFF);
        state.general.gpr[8..].fill(0);
    }
    // User code of the host runs with interrupts enabled, whatever the case says.
    state.general.rflags.set(Flags::IF, before.general.rflags.contains(Flags::IF));
    if outcome.exception.is_some_and(|e| e.vector == 14) {
        state.control.cr2 = outcome.cr2 - origin;
    }
    let memory = host.memory();
    let memory = wanted_memory(case)
        .into_keys()
        .map(|address| (address, memory[(address + origin - FIRST) as usize]))
        .collect();
    Some(Found { state, exception: outcome.exception, memory })
}

fn registers(state: &CpuState) -> Registers {
    let CpuState { general, x87, simd, .. } = state;
    Registers {
        gpr: general.gpr,
        rip: general.rip,
        rflags: general.rflags.bits().into(),
        xmm: std::array::from_fn(|k| simd.vector[k][0]),
        st: std::array::from_fn(|k| {
            let r = x87.r[(usize::from(x87.top) + k) % 8];
            u128::from(r.sign_exponent) << 64 | u128::from(r.significand)
        }),
        mxcsr: simd.mxcsr,
        fcw: x87.fcw,
        fsw: x87.status(),
        valid: x87.valid,
    }
}

fn take(state: &mut CpuState, registers: &Registers) {
    let CpuState { general, x87, simd, .. } = state;
    general.gpr = registers.gpr;
    general.rip = registers.rip;
    general.rflags = Flags::from_bits_truncate(registers.rflags as u32) & !Flags::RF | Flags::FIXED;
    for (lane, value) in simd.vector.iter_mut().zip(registers.xmm) {
        lane[0] = value;
    }
    x87.top = (registers.fsw >> 11) as u8 & 7;
    for (k, st) in registers.st.iter().enumerate() {
        let physical = (usize::from(x87.top) + k) % 8;
        x87.r[physical] = Extended { significand: *st as u64, sign_exponent: (st >> 64) as u16 };
    }
    (x87.fcw, x87.fsw, x87.valid) = (registers.fcw, registers.fsw & !0x3800, registers.valid);
    simd.mxcsr = registers.mxcsr;
}
