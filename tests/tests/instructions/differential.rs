//! Random instructions on the interpreter and on the host's processor, which is always right.
//!
//! Every form that user code may execute, with operands and values where carries, signs and counts turn over,
//! memory operands across pages and into one that is not there. The interpreter runs each twice: with an empty
//! TLB, which takes its exact path, and again with a filled one, which takes the fast path.

use crate::line;
use emu_core::{
    arch::{Exception, Flags},
    cpu::LazyFlags,
    semantics::{Run, Table, effects::Effects},
    state::{CpuState, Extended, X87},
};
use emu_harness::{
    corpus::{self, Mode},
    encodings::{Random, Shape, encode, instruction},
    interpreter::Interpreter,
    native::{BASE, END, FIRST, Host, Registers, Result as Outcome, SIZE},
};
use iced_x86::{
    Code, CpuidFeature, FlowControl, Instruction, Mnemonic, OpCodeOperandKind as Operand, OpKind, Register,
};
use std::collections::BTreeMap;

/// Offset of the data pages, and their size.
const DATA: u64 = 0x8000;
const DATA_SIZE: usize = 0x2000;
/// Where branches of the tests go.
const TARGET: u64 = 0x1040;
/// Bytes between one instruction and the next that is tried.
const SLOT: u64 = 32;

/// Microcode that user code may run, and that does not depend on the machine.
const MICROCODE: &[Mnemonic] = &[
    Mnemonic::Movsb,
    Mnemonic::Movsw,
    Mnemonic::Movsd,
    Mnemonic::Movsq,
    Mnemonic::Stosb,
    Mnemonic::Stosw,
    Mnemonic::Stosd,
    Mnemonic::Stosq,
    Mnemonic::Lodsb,
    Mnemonic::Lodsw,
    Mnemonic::Lodsd,
    Mnemonic::Lodsq,
    Mnemonic::Scasb,
    Mnemonic::Scasw,
    Mnemonic::Scasd,
    Mnemonic::Scasq,
    Mnemonic::Cmpsb,
    Mnemonic::Cmpsw,
    Mnemonic::Cmpsd,
    Mnemonic::Cmpsq,
    Mnemonic::Cmpxchg8b,
    Mnemonic::Cmpxchg16b,
    Mnemonic::Daa,
    Mnemonic::Das,
    Mnemonic::Aaa,
    Mnemonic::Aas,
    Mnemonic::Aam,
    Mnemonic::Aad,
    Mnemonic::Bound,
    Mnemonic::Div,
    Mnemonic::Idiv,
    Mnemonic::Enter,
    Mnemonic::Pusha,
    Mnemonic::Pushad,
    Mnemonic::Popa,
    Mnemonic::Popad,
    Mnemonic::Lahf,
    Mnemonic::Sahf,
    Mnemonic::Salc,
    Mnemonic::Emms,
];

/// One instruction and the state it is tried in.
struct Trial {
    bitness: u32,
    instruction: Instruction,
    bytes: Vec<u8>,
    before: Registers,
    data: Vec<u8>,
}

#[test]
fn the_interpreter_does_what_the_host_does_in_64_bit_mode() {
    compare(64, 40, 0x1234_5678_9ABC_DEF1);
}

#[test]
fn the_interpreter_does_what_the_host_does_in_32_bit_code() {
    compare(32, 12, 0x2345_6789_ABCD_EF12);
}

#[test]
fn the_interpreter_does_what_the_host_does_in_16_bit_code() {
    compare(16, 12, 0x3456_789A_BCDE_F123);
}

fn compare(bitness: u32, trials: u32, seed: u64) {
    let mut host = match Host::take() {
        Ok(host) => host,
        Err(reason) => return println!("skipped: {reason}"),
    };
    let mut bench = Bench::new(bitness);
    let mut random = Random::new(seed);
    let (mut count, mut wrong, mut unknown) = (0, BTreeMap::new(), Vec::new());
    let table = Table::<Effects>::new();
    let codes: Vec<Code> = Code::values().filter(|code| eligible(*code, &table, &bench)).collect();
    for code in codes {
        for number in 0..2 * trials {
            let Some(trial) = Trial::new(code, bitness, number % 2 == 1, bench.next_slot(), &mut random)
            else {
                continue;
            };
            let (expected, memory) = bench.on_host(&mut host, &trial);
            let undefined = corpus::Exception { vector: 6, error_code: None };
            let mut found = Vec::new();
            for warm in [false, true] {
                let (outcome, data) = bench.on_interpreter(&trial, warm);
                if expected.exception == Some(undefined) && outcome.exception.is_none() {
                    unknown.push(code);
                    break;
                }
                found.extend(differences(&trial, (&expected, &memory), (&outcome, &data)));
            }
            count += 1;
            if !found.is_empty() {
                let line = trial.line(&expected, &memory);
                wrong
                    .entry(format!("{code:?}"))
                    .or_insert_with(Vec::new)
                    .push(format!("{line}\n    {}", found.join("; ")));
            }
        }
    }
    unknown.dedup();
    println!("{count} instructions compared; forms that this host does not have: {unknown:?}");
    assert!(count > 1000, "only {count} trials");
    let text: Vec<String> = wrong
        .iter()
        .map(|(code, lines)| {
            format!("{code}: {} times\n  {}", lines.len(), lines[..lines.len().min(2)].join("\n  "))
        })
        .collect();
    assert!(wrong.is_empty(), "{} forms differ\n{}", wrong.len(), text.join("\n"));
}

/// Prints trials with what the host makes of them as lines of the corpus, from which a file for it can be chosen.
#[test]
#[ignore = "a source of lines, not a test"]
fn lines_for_the_corpus() {
    let mut host = Host::take().unwrap();
    for (bitness, trials, seed) in [(64, 4, 0x1357), (32, 2, 0x2468), (16, 2, 0x3579)] {
        let mut bench = Bench::new(bitness);
        let mut random = Random::new(seed);
        let table = Table::<Effects>::new();
        let codes: Vec<Code> = Code::values().filter(|code| eligible(*code, &table, &bench)).collect();
        for (code, number) in codes.into_iter().flat_map(|code| (0..trials).map(move |number| (code, number)))
        {
            let slot = bench.next_slot();
            if let Some(trial) = Trial::new(code, bitness, number % 2 == 1, slot, &mut random) {
                let (expected, memory) = bench.on_host(&mut host, &trial);
                println!("line: {}", trial.line(&expected, &memory));
            }
        }
    }
}

fn eligible(code: Code, table: &Table<Effects>, bench: &Bench) -> bool {
    use Mnemonic as M;
    let Some(row) = table.find(code).map(|number| table.row(number)) else { return false };
    let far =
        code.is_jmp_far() || code.is_jmp_far_indirect() || code.is_call_far() || code.is_call_far_indirect();
    let mnemonic = code.mnemonic();
    // Processors of different makers disagree, or the manual leaves the result open: 16-bit branches in 64-bit
    // mode, BSWAP and MOVSXD of 16 bits.
    let near = matches!(code.op_code().op_kind(0), Operand::br16_1 | Operand::br16_2 | Operand::r16_or_mem);
    let branch16 = bench.bitness == 64
        && (near && code.flow_control() != FlowControl::Next
            || matches!(code, Code::Retnw | Code::Retnw_imm16));
    let excluded = matches!(mnemonic, M::Rdsspd | M::Rdsspq | M::Pause | M::Zero_bytes | M::Serialize)
        || matches!(code, Code::Bswap_r16 | Code::Movsxd_r16_rm16)
        || branch16;
    let user = matches!(row.run, Run::Emit(_)) || MICROCODE.contains(&mnemonic);
    user && !far && !excluded && bench.interpreter.cpu.model.allows(code)
}

impl Trial {
    fn new(code: Code, bitness: u32, in_memory: bool, slot: u64, random: &mut Random) -> Option<Self> {
        let base = random.pick(match bitness {
            16 => &[Register::BX, Register::SI, Register::DI, Register::BP],
            32 => &[Register::EBX, Register::ESI, Register::EDI, Register::EBP],
            _ => &[
                Register::RBX,
                Register::RSI,
                Register::RDI,
                Register::R9,
                Register::R12,
                Register::R13,
                Register::EBP,
                Register::R14D,
            ],
        });
        let displacement = random.pick(&[0, 1, -8, 0x40, -0x200, 0x300]);
        let shape = Shape { bitness, base: in_memory.then_some(base), displacement };
        let mut made = instruction(code, shape, random)?;
        let form = code.op_code();
        if form.can_use_lock_prefix() && made.op0_kind() == OpKind::Memory {
            made.set_has_lock_prefix(random.below(2) == 0);
        }
        if form.can_use_rep_prefix() && made.is_string_instruction() {
            match random.below(3) {
                0 => made.set_has_rep_prefix(true),
                1 if form.can_use_repne_prefix() => made.set_has_repne_prefix(true),
                _ => {}
            }
        }
        let origin = if bitness == 64 { BASE } else { 0 };
        let bytes = encode(&made, bitness, slot + origin).or_else(|| {
            if made.is_jcc_short_or_near()
                || made.is_jmp_short()
                || made.is_loop()
                || made.is_loopcc()
                || made.is_jcx_short()
            {
                let mut near = made;
                near.set_near_branch64(slot + origin + 0x10);
                encode(&near, bitness, slot + origin)
            } else {
                None
            }
        })?;
        let mut trial =
            Trial { bitness, instruction: made, bytes, before: registers(random), data: data(random) };
        trial.before.rip = slot + origin;
        trial.place(base, origin, displacement, random)?;
        Some(trial)
    }

    /// Gives pointers, counts and targets values that lead somewhere.
    fn place(&mut self, base: Register, origin: u64, displacement: i32, random: &mut Random) -> Option<()> {
        use Mnemonic as M;
        let made = &self.instruction;
        let gpr = &mut self.before.gpr;
        let pointer = |random: &mut Random| {
            origin
                + DATA
                + match random.below(16) {
                    0 => 0xFF0 + random.below(16),
                    1 => 0x1FF0 + random.below(16),
                    2..4 => 0x800 + random.below(64),
                    _ => 0x800 + random.below(64) * 16,
                }
        };
        (gpr[4], gpr[5]) = (origin + DATA + 0x1400 + random.below(64) * 8, gpr[5]);
        if matches!(
            made.flow_control(),
            FlowControl::IndirectBranch | FlowControl::IndirectCall | FlowControl::Return
        ) {
            let target = origin + TARGET;
            let stack = gpr[4];
            *gpr = [target; 16];
            gpr[4] = stack;
            let size = if self.bitness == 64 { 8 } else { self.bitness as usize / 8 };
            // The smaller sizes of operands get the low part, which lies outside in 64-bit mode as on the host.
            self.data = target.to_le_bytes()[..size].repeat(DATA_SIZE / size);
        }
        if matches!(made.mnemonic(), M::Leave | M::Enter) {
            gpr[5] = origin + DATA + 0x1000 + random.below(32) * 8;
        }
        if made.is_string_instruction() || matches!(made.mnemonic(), M::Maskmovq | M::Maskmovdqu) {
            (gpr[6], gpr[7]) = (pointer(random), pointer(random));
            if made.has_rep_prefix() || made.has_repne_prefix() {
                gpr[1] = random.below(12);
            }
        }
        if matches!(made.mnemonic(), M::Maskmovq | M::Maskmovdqu) {
            // Bytes that the mask leaves out may fault or not.
            gpr[7] = origin + DATA + 0x800 + random.below(64);
        }
        if made.mnemonic() == M::Xlatb {
            gpr[3] = pointer(random);
        }
        if made.mnemonic() == M::Loop || made.mnemonic() == M::Jrcxz {
            gpr[1] = random.pick(&[0, 1, 2, 0x1_0000, 0x1_0000_0000]);
        }
        if matches!(made.mnemonic(), M::Bt | M::Bts | M::Btr | M::Btc)
            && made.op0_kind() == OpKind::Memory
            && made.op1_kind() == OpKind::Register
        {
            let index = made.op1_register().full_register().number();
            if index == base.number() {
                return None;
            }
            gpr[index] = random.below(0x2000).wrapping_sub(0x1000);
        }
        if (0..made.op_count()).any(|k| made.op_kind(k) == OpKind::Memory) && made.mnemonic() != M::Xlatb {
            let full = pointer(random).wrapping_sub(i64::from(displacement) as u64);
            gpr[base.number()] = match base.size() {
                // What is above the address size does not count.
                4 => full & 0xFFFF_FFFF | gpr[base.number()] << 32,
                2 => full & 0xFFFF | gpr[base.number()] << 16,
                _ => full,
            };
        }
        if self.bitness != 64 {
            gpr.iter_mut().for_each(|value| *value &= 0xFFFF_FFFF);
            gpr[8..].fill(0);
        }
        if self.bitness == 16 {
            // 16-bit segments end at 64 KiB, 32-bit addresses do not.
            gpr[4] &= 0xFFFF;
        }
        // A count beyond the width leaves the result of SHLD and SHRD undefined.
        let double = matches!(made.mnemonic(), M::Shld | M::Shrd) && made.op1_register().size() == 2;
        let count = if made.op2_kind() == OpKind::Register { gpr[1] as u8 } else { made.immediate8() };
        if double && count & 31 > 16 {
            return None;
        }
        // SHA instructions need alignment on Intel's processors, not on AMD's.
        let sha = made.cpuid_features().contains(&CpuidFeature::SHA);
        let aligned = gpr[base.number()].wrapping_add(i64::from(displacement) as u64) & 15 == 0;
        (!sha || aligned).then_some(())
    }

    /// The trial as a line of the corpus.
    fn line(&self, expected: &Outcome, memory: &[u8]) -> String {
        line::of_trial(
            self.bitness,
            &self.instruction,
            &self.bytes,
            &self.before,
            (DATA, &self.data),
            expected,
            memory,
        )
    }
}

fn registers(random: &mut Random) -> Registers {
    let flags = random.bits() & (Flags::ARITHMETIC | Flags::DF).bits() as u64;
    let lane = |random: &mut Random| match random.below(3) {
        0 => u128::from(random.bits()) << 64 | u128::from(random.bits()),
        1 => floats(random),
        _ => u128::from(random.edge()) << 64 | u128::from(random.edge()),
    };
    Registers {
        gpr: std::array::from_fn(|_| random.edge()),
        rip: 0,
        rflags: flags | 0x202,
        xmm: std::array::from_fn(|_| lane(random)),
        st: std::array::from_fn(|_| u128::from(random.edge()) | (random.bits() as u128 & 0xFFFF) << 64),
        // All exceptions masked: the four ways of rounding, denormals as they are or as zero.
        mxcsr: 0x1F80 | (random.below(4) as u32) << 13 | random.pick(&[0, 0, 0, 0x40, 0x8000]),
        fcw: 0x37F,
        fsw: 0,
        valid: 0xFF,
    }
}

/// Four single-precision numbers of the difficult kind.
fn floats(random: &mut Random) -> u128 {
    let values = [
        0.0f32,
        -0.0,
        1.0,
        -1.5,
        f32::MAX,
        f32::MIN_POSITIVE,
        f32::INFINITY,
        f32::NAN,
        2147483648.0,
        0.5,
        3.0,
    ];
    if random.below(2) == 0 {
        return (0..4).fold(0, |all, _| all << 32 | u128::from(random.pick(&values).to_bits()));
    }
    (0..2).fold(0, |all, _| all << 64 | u128::from(f64::from(random.pick(&values)).to_bits()))
}

fn data(random: &mut Random) -> Vec<u8> {
    (0..DATA_SIZE / 8).flat_map(|_| random.edge().to_le_bytes()).collect()
}

/// What differs, in words.
fn differences(trial: &Trial, expected: (&Outcome, &[u8]), found: (&Outcome, &[u8])) -> Vec<String> {
    let (want, is) = (&expected.0.registers, &found.0.registers);
    let mut all = Vec::new();
    let mut check = |name: &str, want: u128, is: u128| {
        if want != is {
            all.push(format!("{name} is {is:x}, not {want:x}"));
        }
    };
    let number = |e: Option<corpus::Exception>| {
        e.map_or(0, |e| 1 << 32 | u128::from(e.vector) << 16 | u128::from(e.error_code.unwrap_or(0)))
    };
    check("exception", number(expected.0.exception), number(found.0.exception));
    check("cr2", expected.0.cr2.into(), found.0.cr2.into());
    for (k, name) in line::GENERAL.iter().enumerate() {
        check(name, want.gpr[k].into(), is.gpr[k].into());
    }
    check("rip", want.rip.into(), is.rip.into());
    let defined = (Flags::ARITHMETIC | Flags::DF).bits() as u64
        & !line::undefined_flags(&trial.instruction, &trial.before);
    check("rflags", (want.rflags & defined).into(), (is.rflags & defined).into());
    for k in 0..16 {
        check(&format!("xmm{k}"), want.xmm[k], is.xmm[k]);
    }
    for k in 0..8 {
        check(&format!("st{k}"), want.st[k], is.st[k]);
    }
    check("mxcsr", want.mxcsr.into(), is.mxcsr.into());
    check("fsw", want.fsw.into(), is.fsw.into());
    check("tags", want.valid.into(), is.valid.into());
    if let Some(at) = (0..DATA_SIZE).find(|at| expected.1[*at] != found.1[*at]) {
        check(&format!("[{:x}]", DATA + at as u64), expected.1[at].into(), found.1[at].into());
    }
    all
}

/// The two processors with the same memory.
struct Bench {
    interpreter: Interpreter,
    bitness: u32,
    state: CpuState,
    slot: u64,
}

impl Bench {
    fn new(bitness: u32) -> Self {
        let mut interpreter = Interpreter::new();
        let (mode, base) = match bitness {
            16 => (Mode::Compatibility16, BASE),
            32 => (Mode::Compatibility32, BASE),
            _ => (Mode::Long64, 0),
        };
        let pages: Vec<u64> = (FIRST..END).step_by(0x1000).collect();
        let mut state = interpreter.state_in(mode, 3, base, &pages);
        if bitness != 64 {
            state.segments.data.iter_mut().for_each(|segment| segment.limit = SIZE as u32 - 1);
        }
        Bench { interpreter, bitness, state, slot: TARGET }
    }

    /// Where the next instruction goes, as an offset from `BASE`: fresh memory, so that nothing decoded is stale.
    fn next_slot(&mut self) -> u64 {
        self.slot += SLOT;
        if self.slot >= DATA - 2 * SLOT {
            self.interpreter.forget();
            self.slot = TARGET + SLOT;
        }
        self.slot
    }

    fn on_host(&mut self, host: &mut Host, trial: &Trial) -> (Outcome, Vec<u8>) {
        let memory = host.memory();
        let at = (BASE + self.slot - FIRST) as usize;
        memory[at..at + SLOT as usize].fill(0xF4);
        memory[at..at + trial.bytes.len()].copy_from_slice(&trial.bytes);
        let data = (BASE + DATA - FIRST) as usize..(END - FIRST) as usize;
        memory[data.clone()].copy_from_slice(&trial.data);
        let mut outcome = host.execute(self.bitness, &trial.before);
        if self.bitness != 64 {
            outcome.registers.gpr.iter_mut().for_each(|value| *value &= 0xFFFF_FFFF);
            outcome.registers.gpr[8..].fill(0);
        }
        (outcome, host.memory()[data].to_vec())
    }

    fn on_interpreter(&mut self, trial: &Trial, warm: bool) -> (Outcome, Vec<u8>) {
        self.interpreter.write(BASE + DATA, &trial.data);
        if !warm {
            let mut code = [0xF4; SLOT as usize];
            code[..trial.bytes.len()].copy_from_slice(&trial.bytes);
            self.interpreter.write(BASE + self.slot, &code);
            let mut state = self.state.clone();
            state.general.gpr = trial.before.gpr;
            state.general.rip = trial.before.rip;
            state.general.rflags = flags(trial.before.rflags);
            (state.x87, state.simd.mxcsr) = (x87(&trial.before), trial.before.mxcsr);
            for (lane, value) in state.simd.vector.iter_mut().zip(trial.before.xmm) {
                lane[0] = value;
            }
            self.interpreter.cpu.load_state(&state);
        } else {
            // By hand: loading a state empties the TLB.
            let cpu = &mut self.interpreter.cpu;
            cpu.regs[..16].copy_from_slice(&trial.before.gpr);
            cpu.rip = trial.before.rip;
            cpu.set_rflags(flags(trial.before.rflags));
            cpu.flags = LazyFlags::from_flags(flags(trial.before.rflags));
            cpu.x87 = x87(&trial.before);
            cpu.load_mxcsr(trial.before.mxcsr);
            for (lane, value) in cpu.simd.vector.iter_mut().zip(trial.before.xmm) {
                lane[0] = value;
            }
        }
        let result = self.interpreter.execute();
        let state = self.interpreter.cpu.save_state();
        let (exception, cr2) = match result {
            Ok(()) => (None, 0),
            Err(Exception::Page(code, address)) => {
                (Some(corpus::Exception { vector: 14, error_code: Some(code.bits() as u16) }), address)
            }
            Err(Exception::Code(vector, code)) => {
                (Some(corpus::Exception { vector, error_code: Some(code as u16) }), 0)
            }
            Err(Exception::Plain(vector)) => (Some(corpus::Exception { vector, error_code: None }), 0),
            Err(other) => panic!("{other:?} from {:?}", trial.instruction.code()),
        };
        let registers = Registers {
            gpr: state.general.gpr,
            rip: state.general.rip,
            rflags: state.general.rflags.bits().into(),
            xmm: std::array::from_fn(|k| state.simd.vector[k][0]),
            st: std::array::from_fn(|k| {
                let r = state.x87.r[(usize::from(state.x87.top) + k) % 8];
                u128::from(r.sign_exponent) << 64 | u128::from(r.significand)
            }),
            mxcsr: state.simd.mxcsr,
            fcw: state.x87.fcw,
            fsw: state.x87.status(),
            valid: state.x87.valid,
        };
        (Outcome { registers, exception, cr2 }, self.interpreter.read(BASE + DATA, DATA_SIZE))
    }
}

fn flags(bits: u64) -> Flags {
    Flags::from_bits_truncate(bits as u32)
}

fn x87(registers: &Registers) -> X87 {
    let r = registers.st.map(|st| Extended { significand: st as u64, sign_exponent: (st >> 64) as u16 });
    X87 { r, fcw: registers.fcw, fsw: registers.fsw, valid: registers.valid, ..X87::reset() }
}
