//! Reduces a trial in which executors differ to the smallest one in which they still do.

use super::{
    Finding, Tally,
    worker::{Run, Worker},
};
use crate::{Setup, generate::Trial, undefined};
use emu_core::{
    arch::Flags,
    state::{Extended, X87},
};

/// One simplification of a setup.
type Step = fn(&mut Setup, usize);

/// Simplifications, and how many places each has.
const STEPS: [(Step, usize); 12] = [
    (|setup, _| setup.state.simd.vector = [[0; 2]; 16], 1),
    (|setup, k| setup.state.simd.vector[k] = [0; 2], 16),
    (|setup, k| setup.state.simd.vector[k][1] = 0, 16),
    (|setup, _| setup.state.simd.mxcsr = 0x1F80, 1),
    (|setup, _| setup.state.x87 = X87 { fcw: 0x37F, valid: 0, ..X87::reset() }, 1),
    (|setup, _| setup.state.x87.r = [Extended::default(); 8], 1),
    (|setup, k| setup.state.x87.r[k] = Extended::default(), 8),
    (|setup, _| (setup.state.x87.fcw, setup.state.x87.fsw) = (0x37F, 0), 1),
    (|setup, k| setup.state.general.gpr[k] = 0, 16),
    (|setup, _| setup.state.general.rflags &= !(Flags::ARITHMETIC | Flags::DF), 1),
    (|setup, k| setup.state.general.rflags &= !Flags::from_bits_retain(1 << k), 12),
    // The instruction's own bytes, in region 0, stay.
    (|setup, k| setup.memory.iter_mut().skip(1 + k).take(1).for_each(|region| region.bytes.fill(0)), 4),
];

/// The smallest trial like `trial` for which executors still differ, and what they make of it.
pub fn smallest(worker: &mut Worker, finding: &Finding, trial: &Trial) -> (Trial, Option<Run>) {
    let mut best = (trial.clone(), differing(worker, finding, trial));
    for (step, places) in STEPS {
        for place in 0..places {
            let mut simpler = best.0.clone();
            step(&mut simpler.setup, place);
            if simpler.setup != best.0.setup {
                accept(worker, finding, &mut best, simpler);
            }
        }
    }
    for k in 1..best.0.setup.memory.len() {
        clear_blocks(worker, finding, &mut best, k);
    }
    best
}

/// Clears region `k` by pieces of half its length, a quarter, and so on, down to single words.
fn clear_blocks(worker: &mut Worker, finding: &Finding, best: &mut (Trial, Option<Run>), k: usize) {
    let len = best.0.setup.memory[k].bytes.len();
    let mut size = len / 2;
    while size >= 8 {
        for at in (0..len).step_by(size) {
            let piece = at..(at + size).min(len);
            if best.0.setup.memory[k].bytes[piece.clone()].iter().any(|byte| *byte != 0) {
                let mut simpler = best.0.clone();
                simpler.setup.memory[k].bytes[piece].fill(0);
                accept(worker, finding, best, simpler);
            }
        }
        size /= 2;
    }
}

fn accept(worker: &mut Worker, finding: &Finding, best: &mut (Trial, Option<Run>), mut simpler: Trial) {
    let base = simpler.setup.state.segments.data[3].base;
    simpler.undefined = undefined::of(&simpler.instruction, &simpler.setup.state, base);
    if let Some(run) = differing(worker, finding, &simpler) {
        *best = (simpler, Some(run));
    }
}

/// What was compared with the finding's oracle, if it differs as before: in the exception, or without one.
fn differing(worker: &mut Worker, finding: &Finding, trial: &Trial) -> Option<Run> {
    let asked = finding.form.unreachable.is_none().then_some(&trial.setup);
    let answer = worker.ask(asked).pop();
    let run = worker.run(&finding.form, &trial.setup, answer, &mut Tally::default())?;
    let pair = run.pairs().find(|pair| pair.against == finding.against)?;
    let differences = pair.differences(&trial.setup, &trial.undefined);
    let about = |differences: &[super::Difference]| differences.iter().any(|d| d.what == "exception");
    (!differences.is_empty() && about(&differences) == about(&finding.differences)).then_some(run)
}
