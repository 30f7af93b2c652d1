//! Making room for code: what is used stays, what is not is given back, and nothing grows.

use super::machine;
use crate::{Jit, Options, Stats};
use emu_core::{
    cpu::Cpu,
    region::{Thresholds, Translator},
};
use std::sync::Arc;

/// Bytes of host code kept at most.
const CACHE: usize = 128 << 10;
/// Guest code that is executed now and then: a function in each of so many places.
const PLACES: u64 = 256;
const PLACE: u64 = 256;
const MANY: u64 = machine::CODE + 0x1_0000;

/// A loop of some instructions, which ends by [`machine::FINISH`].
fn program(number: u8) -> Vec<u8> {
    let mut code = vec![0xB9, 40, 0, 0, 0]; // mov ecx, 40
    let start = code.len() as i64;
    for _ in 0..20 {
        code.extend([0x83, 0xC0, number & 0x7F]); // add eax, number
    }
    code.extend([0xFF, 0xC9, 0x75]); // dec ecx; jnz
    code.push((start - code.len() as i64 - 1) as u8);
    code.extend(machine::FINISH);
    assert!(code.len() < PLACE as usize);
    code
}

/// Runs the program at `rip` once; EAX at its end.
fn run(cpu: &mut Cpu, rip: u64) -> u32 {
    machine::begin(cpu, true, rip);
    cpu.regs[0] = 0;
    assert!((0..1000).any(|_| cpu.run_slice(10_000).is_some()), "the program at {rip:#x} does not end");
    cpu.regs[0] as u32
}

struct Churn {
    jit: Arc<Jit>,
    cpu: Box<Cpu>,
}

impl Churn {
    fn new(hot: u32) -> Self {
        let options = Options {
            threads: 0,
            cache: CACHE,
            thresholds: Thresholds { warm: 1, hot },
            ..Options::default()
        };
        let jit = Arc::new(Jit::new(options).unwrap());
        let mut cpu = machine::cpu(0, true, machine::memory());
        cpu.set_translator(jit.clone());
        let churn = Churn { jit, cpu };
        churn.write(machine::CODE, 1);
        for n in 0..PLACES {
            churn.write(MANY + n * PLACE, n as u8);
        }
        churn
    }

    fn write(&self, at: u64, number: u8) {
        self.cpu.memory.ram().write(at, &program(number)).unwrap();
    }

    /// Executes what is at `at` until it is translated.
    fn warm(&mut self, at: u64, number: u8) {
        for _ in 0..4 {
            assert_eq!(run(&mut self.cpu, at), 40 * 20 * u32::from(number & 0x7F));
        }
    }

    /// One round: all places, with the code that stays in use between them.
    fn round(&mut self) -> Stats {
        for n in 0..PLACES {
            self.warm(MANY + n * PLACE, n as u8);
            self.warm(machine::CODE, 1);
        }
        self.jit.stats()
    }
}

/// The code that is in use is translated once, the rest again and again, and the memory that it takes stays within
/// bounds.
#[rstest::rstest]
fn what_is_used_stays_and_the_rest_goes(#[values(Thresholds::NEVER, 1)] hot: u32) {
    let mut churn = Churn::new(hot);
    churn.warm(machine::CODE, 1);
    let kept = churn.jit.find((machine::CODE, churn.cpu.mode.bits())).expect("it is translated");
    let kept = Arc::downgrade(&kept);

    let rounds: Vec<Stats> = (0..3).map(|_| churn.round()).collect();

    let last = rounds[2];
    assert!(last.looks >= 3, "{last:?}");
    assert_eq!(last.clearances, 0, "there is room without letting go of all: {last:?}");
    assert!(rounds.iter().all(|stats| stats.bytes <= CACHE as u64), "{rounds:?}");
    assert!(4 * last.released >= last.regions, "{last:?}");
    assert!(kept.strong_count() > 0, "what is used all the time has been let go of");
}

/// Code that is written again and again at the same place leaves nothing behind.
#[test]
fn code_that_is_rewritten_does_not_pile_up() {
    let mut churn = Churn::new(Thresholds::NEVER);
    let mut most = 0;
    for round in 0..12u8 {
        for n in 0..PLACES {
            let (at, number) = (MANY + n * PLACE, round.wrapping_mul(7).wrapping_add(n as u8));
            churn.write(at, number);
            churn.cpu.forget_code();
            churn.warm(at, number);
        }
        most = most.max(churn.jit.stats().bytes);
    }
    assert!(most <= CACHE as u64);
    let stats = churn.jit.stats();
    assert!(stats.regions >= 12 * PLACES, "{stats:?}");
}
