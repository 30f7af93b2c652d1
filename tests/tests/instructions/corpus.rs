//! Every case of the corpus on the interpreter.

use emu_core::{
    arch::{Cr0, Cr4, Exception as Raised, Flags, Xcr0},
    state::{CpuState, Extended},
};
use emu_harness::{
    corpus::{Case, Exception, Flag, FlagState, Register, State, parse_line},
    interpreter::Interpreter,
};
use std::{collections::BTreeMap, fs, path::Path};

/// Where code begins if a case does not say.
const CODE: u64 = 0x1000;
/// No case has more instructions.
const MAX_INSTRUCTIONS: usize = 32;

/// A case and where it stands.
pub struct Entry {
    /// File and line.
    place: String,
    /// What stands there, up to the expectation.
    text: String,
    case: Case,
}

/// The cases of all files.
pub fn cases() -> Vec<Entry> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    let mut all = Vec::new();
    for path in files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        all.extend(lines.map(|(index, line)| {
            let place = format!("{name}:{}", index + 1);
            let case = parse_line(line).unwrap_or_else(|error| panic!("{place}: {error}"));
            Entry { place, text: line.split("=>").next().unwrap_or(line).to_owned(), case }
        }));
    }
    all
}

#[test]
fn the_interpreter_does_what_the_corpus_says() {
    let mut interpreter = Interpreter::new();
    check(&cases(), |case| {
        let before = state_before(&mut interpreter, case);
        let found = on_interpreter(&mut interpreter, case, &before);
        mismatches(case, &before, &found)
    });
}

/// Runs all cases and tells which ones differ: each as its line, with what was found for what it says wrongly.
pub fn check(entries: &[Entry], mut mismatches: impl FnMut(&Case) -> Vec<String>) {
    let wrong: Vec<String> = entries
        .iter()
        .filter_map(|Entry { place, text, case }| {
            let found = mismatches(case);
            (!found.is_empty()).then(|| format!("{place}: {text}=> {}", found.join(" ")))
        })
        .collect();
    assert!(entries.len() >= 400, "only {} cases", entries.len());
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), entries.len(), wrong.join("\n"));
}

/// What came of a case: state, exception, and the bytes of memory that it names.
pub struct Found {
    /// State; CR2 is that of a page fault.
    pub state: CpuState,
    /// The exception.
    pub exception: Option<Exception>,
    /// Address and byte.
    pub memory: BTreeMap<u64, u8>,
}

fn on_interpreter(interpreter: &mut Interpreter, case: &Case, before: &CpuState) -> Found {
    for (address, bytes) in &case.before.memory {
        interpreter.write(*address, bytes);
    }
    let start = before.segments.data[1].base + before.general.rip;
    interpreter.write(start, &case.code);
    interpreter.forget();
    interpreter.cpu.load_state(before);
    let inside = before.general.rip..before.general.rip + case.code.len() as u64;
    let mut raised = None;
    for _ in 0..MAX_INSTRUCTIONS {
        raised = interpreter.execute().err();
        if raised.is_some() || !inside.contains(&interpreter.cpu.rip) {
            break;
        }
    }
    let mut state = interpreter.cpu.save_state();
    if let Some(Raised::Page(_, address)) = raised {
        state.control.cr2 = address;
    }
    let exception = raised.and_then(|raised| Exception::of(raised, case.mode));
    let memory = wanted_memory(case)
        .into_keys()
        .filter_map(|address| Some((address, *interpreter.read(address, 1).first()?)))
        .collect();
    Found { state, exception, memory }
}

/// What was found that the case does not expect, as words of the corpus.
pub fn mismatches(case: &Case, before: &CpuState, found: &Found) -> Vec<String> {
    let mut wrong = Vec::new();
    if found.exception != case.after.exception {
        wrong.push(found.exception.map_or("no exception".into(), |e| e.to_string()));
    }
    let mut expected = before.clone();
    let inside = before.general.rip..before.general.rip + case.code.len() as u64;
    let rip = found.state.general.rip;
    // One of several instructions may have faulted: which one is said by `rip`, if by anything.
    let faulted = found.exception.is_some() && inside.contains(&rip);
    expected.general.rip = if faulted { rip } else { inside.end };
    apply(&mut expected, &case.after.state);
    let wanted = values(&expected);
    for (register, value) in values(&found.state) {
        let wanted = wanted.iter().find(|(other, _)| *other == register).map_or(0, |(_, value)| *value);
        if value != wanted {
            wrong.push(format!("{register}={value:x}"));
        }
    }
    wrong.extend(flag_mismatches(case, expected.general.rflags, found.state.general.rflags));
    let memory = wanted_memory(case);
    let differs = found.memory.iter().filter(|(address, byte)| memory.get(address) != Some(byte));
    wrong.extend(differs.map(|(address, byte)| format!("[{address:x}]={byte:02x}")));
    wrong
}

/// The bytes of memory that a case names, as they are after it.
pub fn wanted_memory(case: &Case) -> BTreeMap<u64, u8> {
    let mut memory = BTreeMap::new();
    for (address, bytes) in case.before.memory.iter().chain(&case.after.state.memory) {
        memory.extend(bytes.iter().enumerate().map(|(at, byte)| (address + at as u64, *byte)));
    }
    memory
}

fn flag_mismatches(case: &Case, expected: Flags, found: Flags) -> Vec<String> {
    let undefined = |flag: Flag| case.after.state.flags.contains(&(flag, FlagState::Undefined));
    Flag::ALL
        .iter()
        // RF is the delivery's affair.
        .filter(|(flag, ..)| !undefined(*flag) && *flag != Flag::Rf)
        .filter(|(.., bit)| (expected.bits() ^ found.bits()) >> bit & 1 != 0)
        .map(|(_, name, bit)| format!("{}{name}", if found.bits() >> bit & 1 != 0 { "" } else { "!" }))
        .collect()
}

/// The state that a case begins with.
pub fn state_before(interpreter: &mut Interpreter, case: &Case) -> CpuState {
    let rip = case.before.registers.iter().find(|(register, _)| *register == Register::Rip);
    let rip = rip.map_or(CODE, |(_, rip)| *rip as u64);
    let base = case.before.registers.iter().find(|(register, _)| *register == Register::Base(1));
    let code = rip + base.map_or(0, |(_, base)| *base as u64);
    let mut present = vec![code, code + case.code.len() as u64 - 1];
    for (address, bytes) in case.before.memory.iter().chain(&case.after.state.memory) {
        present.extend([*address, address + bytes.len() as u64 - 1]);
        interpreter.write(*address & !0xFFF, &[0; 0x1000]);
        interpreter.write((address + bytes.len() as u64 - 1) & !0xFFF, &[0; 0x1000]);
    }
    let mut state = interpreter.state_in(case.mode, case.privilege, 0, &present);
    state.general.rip = rip;
    apply(&mut state, &case.before);
    state
}

/// Sets what `words` names.
fn apply(state: &mut CpuState, words: &State) {
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

fn set(state: &mut CpuState, register: Register, value: u128) {
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
        Register::Msr(number) => {
            if let Some(place) = msr(state, number) {
                *place = word;
            }
        }
        Register::Control(_) => {}
    }
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
        _ => return None,
    })
}

/// All registers. Of empty x87 registers the values do not count.
fn values(state: &CpuState) -> Vec<(Register, u128)> {
    let CpuState { general, segments, control, x87, simd, msrs, .. } = state;
    let mut all = vec![(Register::Rip, general.rip.into())];
    for n in 0..16u8 {
        all.push((Register::General(n), general.gpr[usize::from(n)].into()));
        all.push((Register::Xmm(n), simd.vector[usize::from(n)][0]));
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
        (Register::Msr(0xC000_0081), msrs.star.into()),
        (Register::Msr(0xC000_0082), msrs.lstar.into()),
        (Register::Msr(0xC000_0084), msrs.fmask.into()),
        (Register::Msr(0xC000_0102), msrs.kernel_gs_base.into()),
    ]);
    all.extend((0..4u8).map(|n| (Register::Debug(n), control.dr[usize::from(n)].into())));
    all
}
