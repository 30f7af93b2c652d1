//! The sweep: every form of the opcode table against an oracle, in parallel.
//!
//! Each trial runs on the interpreter twice, cold (every access goes the exact way) and warm (fast handlers,
//! filled TLB); the two must agree in everything. Where the host's processor can tell the truth
//! ([`generate::native`](crate::generate::native)), what user code can see must agree with it too.
//!
//! Work is divided by form and number of the trial, which alone determine it under a seed: the report does not
//! depend on the number of threads.

mod compare;
mod oracle;
mod shrink;
mod worker;

pub use compare::{Difference, Extent, differ, differences};
pub use worker::{Against, Finding};

use crate::{
    corpus::Mode,
    generate::{Form, Generator},
};
use emu_core::cpu_model::CpuModel;
use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};
use worker::Worker;

/// Trials of one form that a thread does in a row.
const UNIT: u64 = 64;

/// What to run.
#[derive(Debug, Clone)]
pub struct Sweep {
    /// Forms whose name (`Add_rm32_r32`) or mnemonic contains this, regardless of case. Empty: all.
    pub rows: String,
    /// Only forms in the mode of this name in the corpus. Empty: all.
    pub mode: String,
    /// Trials in all, divided evenly among the forms.
    pub cases: u64,
    /// Number of the first trial of each form.
    pub first: u64,
    /// The seed.
    pub seed: u64,
    /// Threads; each has its own interpreter and its own oracle.
    pub threads: usize,
    /// Differences kept of each form, those with the lowest numbers.
    pub keep: usize,
}

impl Default for Sweep {
    fn default() -> Self {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        Sweep {
            rows: String::new(),
            mode: String::new(),
            cases: 100_000,
            first: 0,
            seed: 1,
            threads,
            keep: 3,
        }
    }
}

/// What has run of one form.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Trials that ran on the interpreter, exactly and fast.
    pub trials: u64,
    /// Of these, compared with the host's processor.
    pub native: u64,
    /// Of those, how many faulted.
    pub faults: u64,
    /// Not compared, because the host's processor does not have the form.
    pub lacking: u64,
    /// Not compared, because the oracle could not run the setup.
    pub unsuitable: u64,
    /// Numbers that gave no instruction.
    pub unmade: u64,
    /// Trials that differ.
    pub different: u64,
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        let Tally { trials, native, faults, lacking, unsuitable, unmade, different } = *other;
        self.trials += trials;
        self.native += native;
        self.faults += faults;
        self.lacking += lacking;
        self.unsuitable += unsuitable;
        self.unmade += unmade;
        self.different += different;
    }
}

/// What a sweep has found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Forms that ran, in the generator's order, and what of them ran.
    pub forms: Vec<(Form, Tally)>,
    /// Differences that were kept, by form and number, reduced to what matters.
    pub findings: Vec<Finding>,
    /// Why there was no oracle, if there was none.
    pub no_oracle: Option<String>,
}

impl Report {
    /// Sums over all forms.
    pub fn total(&self) -> Tally {
        let mut total = Tally::default();
        self.forms.iter().for_each(|(_, tally)| total.add(tally));
        total
    }
}

/// What the threads share.
struct Shared<'a> {
    sweep: &'a Sweep,
    generator: &'a Generator,
    forms: &'a [Form],
    per_form: u64,
    next: AtomicUsize,
    found: Mutex<Found>,
}

/// Tallies by form, and findings with their form's number.
type Found = (Vec<Tally>, Vec<(usize, Finding)>);

impl Sweep {
    /// Forms that match.
    pub fn forms(&self, generator: &Generator) -> Vec<Form> {
        let rows = self.rows.to_ascii_lowercase();
        let name = |form: &Form| format!("{:?}", form.code).to_ascii_lowercase();
        // The whole name of a form selects no other.
        let exact = !rows.is_empty() && generator.forms().iter().any(|form| name(form) == rows);
        let in_mode = |form: &Form| {
            let mode = Mode::ALL.iter().find(|(mode, _)| *mode == form.mode);
            self.mode.is_empty() || mode.is_some_and(|(_, name)| *name == self.mode)
        };
        let has_name = |form: &Form| match rows.as_str() {
            "" => true,
            rows if exact => name(form) == rows,
            rows => name(form).contains(rows),
        };
        generator.forms().iter().filter(|form| in_mode(form) && has_name(form)).copied().collect()
    }

    /// Runs it. `progress` is told how many trials have been done, by any thread.
    pub fn run(&self, model: &CpuModel, progress: &(dyn Fn(u64) + Sync)) -> Report {
        let generator = Generator::new(model);
        let forms = self.forms(&generator);
        let per_form = self.cases.div_ceil(forms.len().max(1) as u64);
        let found = Mutex::new((vec![Tally::default(); forms.len()], Vec::new()));
        let shared = Shared {
            sweep: self,
            generator: &generator,
            forms: &forms,
            per_form,
            next: AtomicUsize::new(0),
            found,
        };
        thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                scope.spawn(|| shared.work(progress));
            }
        });
        let (tallies, mut found) = shared.found.into_inner().unwrap_or_default();
        found.sort_by_key(|(form, finding)| (*form, finding.number));
        let mut worker = Worker::new();
        let findings = found.into_iter().map(|(_, finding)| worker.shrink(&generator, finding)).collect();
        let forms = forms.into_iter().zip(tallies).collect();
        Report { forms, findings, no_oracle: worker.no_oracle().map(str::to_owned) }
    }
}

impl Shared<'_> {
    fn work(&self, progress: &(dyn Fn(u64) + Sync)) {
        let mut worker = Worker::new();
        loop {
            let unit = self.next.fetch_add(1, Ordering::Relaxed);
            let (round, form) = (unit / self.forms.len().max(1), unit % self.forms.len().max(1));
            let start = round as u64 * UNIT;
            if start >= self.per_form || self.forms.is_empty() {
                return;
            }
            let count = UNIT.min(self.per_form - start);
            let first = self.sweep.first + start;
            let mut tally = Tally::default();
            let numbers = (self.sweep.seed, first..first + count);
            let (generator, keep) = (self.generator, self.sweep.keep);
            let findings = worker.unit(generator, &self.forms[form], numbers, keep, &mut tally);
            self.enter(form, &tally, findings);
            progress(count);
        }
    }

    /// Takes over what a unit has found: of each form what has the lowest numbers, whichever thread came first.
    fn enter(&self, form: usize, tally: &Tally, findings: Vec<Finding>) {
        let Ok(mut shared) = self.found.lock() else { return };
        shared.0[form].add(tally);
        if findings.is_empty() {
            return;
        }
        shared.1.extend(findings.into_iter().map(|finding| (form, finding)));
        shared.1.sort_by_key(|(form, finding)| (*form, finding.number));
        let mut kept = 0;
        let keep = self.sweep.keep;
        shared.1.retain(|(other, _)| {
            kept += usize::from(*other == form);
            *other != form || kept <= keep
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(sweep: &Sweep) -> Report {
        sweep.run(&CpuModel::named("max").unwrap(), &|_| ())
    }

    #[test]
    fn a_report_does_not_depend_on_the_number_of_threads() {
        let sweep = |threads| Sweep { rows: "xadd".into(), cases: 3000, threads, ..Sweep::default() };
        let (one, three) = (run(&sweep(1)), run(&sweep(3)));
        assert!(one.total().trials >= 3000);
        assert_eq!(one.forms, three.forms);
    }

    #[test]
    fn the_whole_name_of_a_form_selects_no_other() {
        let sweep = |rows: &str| Sweep { rows: rows.into(), mode: "64".into(), cases: 1, ..Sweep::default() };
        assert_eq!(run(&sweep("Bsf_r32_rm32")).forms.len(), 1);
        assert_eq!(run(&sweep("bsf")).forms.len(), 3);
        assert_eq!(run(&sweep("none such")).forms.len(), 0);
    }
}
