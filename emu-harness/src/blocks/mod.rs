//! Random blocks of user code in 64-bit mode on two executors, compared at the end of every block.
//!
//! A block is a few [`Piece`]s: instructions of all forms, forward branches, short loops, and stores into the
//! block's own code. A session runs one after the other, each from the state and the memory that the last left,
//! until one ends in an exception; then it begins anew. What two executors make differently of a block is shrunk
//! to the fewest pieces that still show it.
//!
//! Flags that the manual leaves undefined are given a value by a comparison right after the instruction, so that
//! a processor's own choice does not spread.

mod generate;
mod piece;

pub use generate::Generator;
pub use piece::{Block, Piece};

use crate::{
    Executor, Outcome, Region, Rights, Setup, corpus::Mode, encodings::Random, interpreter::Interpreter,
};
use emu_core::{arch::vector, state::CpuState};
use std::fmt;

/// Code lies here.
pub const CODE: u64 = 0x10_1000;
/// Loop counters.
pub const COUNTERS: u64 = 0x10_3000;
/// Data and stack.
pub const DATA: u64 = 0x10_8000;
const CODE_SIZE: usize = 0x2000;
const DATA_SIZE: usize = 0x2000;
/// A block that executes more is not compared: it has written itself into something endless.
const MAX_INSTRUCTIONS: u32 = 4000;

/// Memory and registers between two blocks.
#[derive(Clone)]
pub struct Session {
    state: CpuState,
    code: Vec<u8>,
    data: Vec<u8>,
}

impl Session {
    /// A beginning: registers and data of edge values.
    pub fn new(random: &mut Random) -> Self {
        let mut state = Interpreter::new().state_in(Mode::Long64, 3, 0, &[]);
        state.general.gpr = std::array::from_fn(|_| random.edge());
        state.general.gpr[4] = DATA + 0x1800;
        state.general.rflags |= emu_core::arch::Flags::IF;
        for vector in &mut state.simd.vector {
            vector[0] = u128::from(random.edge()) << 64 | u128::from(random.edge());
        }
        let data = (0..DATA_SIZE / 8).flat_map(|_| random.edge().to_le_bytes()).collect();
        Session { state, code: vec![0xF4; CODE_SIZE], data }
    }

    /// What executes `block` from here.
    pub fn setup(&self, block: &Block) -> Setup {
        let (code, stop) = block.assemble();
        let mut state = self.state.clone();
        state.general.rip = block.start;
        let mut bytes = self.code.clone();
        let at = (block.start - CODE) as usize;
        bytes[at..at + code.len()].copy_from_slice(&code);
        let region = |address, bytes| Region { address, bytes, rights: Rights::ALL };
        Setup {
            mode: Mode::Long64,
            state,
            memory: vec![
                region(CODE, bytes),
                region(COUNTERS, vec![0; 0x1000]),
                region(DATA, self.data.clone()),
            ],
            instructions: MAX_INSTRUCTIONS,
            stop: Some(stop),
        }
    }

    /// Goes on from where a block without an exception has led.
    fn advance(&mut self, outcome: &Outcome) {
        self.state = outcome.state.clone();
        self.code.clone_from(&outcome.memory[0]);
        self.data.clone_from(&outcome.memory[2]);
        // Blocks push and pop without balance: the stack stays where there is room.
        self.state.general.gpr[4] = DATA + 0x1800;
    }
}

/// What a run of the fuzzer came to.
#[derive(Debug, Default)]
pub struct Report {
    /// Blocks on which both executors agree.
    pub agreed: u64,
    /// Of those, how many ended in an exception.
    pub exceptions: u64,
    /// Blocks that one of the two could not run.
    pub unsuitable: u64,
    /// The first difference, shrunk.
    pub difference: Option<Difference>,
}

/// A block on which two executors differ.
#[derive(Debug)]
pub struct Difference {
    /// Number of the block in the sequence of the seed.
    pub number: u64,
    /// The block: no piece can be left out.
    pub block: Block,
    /// What it was executed from.
    pub setup: Setup,
    /// What differs, in words: first executor's value first.
    pub what: Vec<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "block {} differs:\n{}", self.number, self.block)?;
        let general = self.setup.state.general;
        writeln!(f, "from {:x?} rflags {:x}", general.gpr, general.rflags.bits())?;
        self.what.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

/// Runs `count` blocks of the sequence of `seed` (not zero) on `first` and `second`, until they differ.
pub fn run(first: &mut dyn Executor, second: &mut dyn Executor, seed: u64, count: u64) -> Report {
    let mut random = Random::new(seed);
    let generator = Generator::new();
    let mut session = Session::new(&mut random);
    let mut report = Report::default();
    for number in 0..count {
        let block = generator.block(&mut random);
        let setup = session.setup(&block);
        let (Ok(one), Ok(two)) = (first.execute(&setup), second.execute(&setup)) else {
            report.unsuitable += 1;
            session = Session::new(&mut random);
            continue;
        };
        let endless = one.exception.is_none() && Some(one.state.general.rip) != setup.stop;
        if endless || lacks(second, &one, &two) {
            report.unsuitable += 1;
            session = Session::new(&mut random);
            continue;
        }
        if !differences(&one, &two).is_empty() {
            report.difference = Some(shrink(first, second, &session, block, number));
            return report;
        }
        report.agreed += 1;
        if one.exception.is_some() {
            report.exceptions += 1;
            session = Session::new(&mut random);
        } else {
            session.advance(&one);
        }
    }
    report
}

/// Whether `executor` does not know an instruction of what it has made `found` of.
fn lacks(executor: &dyn Executor, wanted: &Outcome, found: &Outcome) -> bool {
    let undefined = |outcome: &Outcome| outcome.exception.is_some_and(|raised| raised.vector == vector::UD);
    executor.may_lack_instructions() && undefined(found) && !undefined(wanted)
}

/// Leaves out pieces as long as the two still differ.
fn shrink(
    first: &mut dyn Executor,
    second: &mut dyn Executor,
    session: &Session,
    mut block: Block,
    number: u64,
) -> Difference {
    let mut differ =
        |block: &Block| match (first.execute(&session.setup(block)), second.execute(&session.setup(block))) {
            (Ok(one), Ok(two)) if !lacks(second, &one, &two) => differences(&one, &two),
            _ => Vec::new(),
        };
    let mut at = 0;
    while at < block.pieces.len() {
        let smaller = block.without(at);
        if differ(&smaller).is_empty() {
            at += 1;
        } else {
            block = smaller;
            at = 0;
        }
    }
    let what = differ(&block);
    Difference { number, setup: session.setup(&block), block, what }
}

/// What differs between two outcomes of one setup, in words: the first's value, then the second's. The x87's
/// pointers to its last instruction are left out: processors differ in when they move them.
pub fn differences(one: &Outcome, two: &Outcome) -> Vec<String> {
    let mut all = Vec::new();
    if one.exception != two.exception {
        all.push(format!("exception: {:?}, {:?}", one.exception, two.exception));
    }
    let mut check = |name: String, a: u128, b: u128| {
        if a != b {
            all.push(format!("{name}: {a:x}, {b:x}"));
        }
    };
    let (a, b) = (&one.state, &two.state);
    for n in 0..16 {
        check(format!("r{n}"), a.general.gpr[n].into(), b.general.gpr[n].into());
        for lane in 0..2 {
            check(format!("ymm{n} lane {lane}"), a.simd.vector[n][lane], b.simd.vector[n][lane]);
        }
    }
    check("rip".into(), a.general.rip.into(), b.general.rip.into());
    check("rflags".into(), a.general.rflags.bits().into(), b.general.rflags.bits().into());
    check("mxcsr".into(), a.simd.mxcsr.into(), b.simd.mxcsr.into());
    for n in 0..8 {
        let raw = |state: &CpuState| {
            let r = state.x87.r[n];
            u128::from(r.sign_exponent) << 64 | u128::from(r.significand)
        };
        check(format!("x87 register {n}"), raw(a), raw(b));
    }
    check("fcw".into(), a.x87.fcw.into(), b.x87.fcw.into());
    check("fsw".into(), a.x87.status().into(), b.x87.status().into());
    check("x87 tags".into(), a.x87.valid.into(), b.x87.valid.into());
    if one.exception.is_some_and(|e| e.vector == vector::PF) {
        check("cr2".into(), a.control.cr2.into(), b.control.cr2.into());
    }
    for (number, (a, b)) in one.memory.iter().zip(&two.memory).enumerate() {
        if let Some(at) = a.iter().zip(b).position(|(a, b)| a != b) {
            check(format!("region {number} offset {at:x}"), a[at].into(), b[at].into());
        }
    }
    all
}

#[cfg(test)]
mod tests;
