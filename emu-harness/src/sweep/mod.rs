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
    jit::Translated,
};
use emu_core::{cpu_model::CpuModel, region::Tier};
use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};
use worker::Worker;

/// Trials that a thread does in a row, of one form or several: as many as fit into a batch of the oracle.
const UNIT: u64 = 128;

/// Whose results are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Subject {
    /// The interpreter's; the host's processor is the oracle.
    #[default]
    Interpreter,
    /// The translator's, in both tiers; the interpreter is the oracle.
    Translator,
}

/// What to run.
#[derive(Debug, Clone)]
pub struct Sweep {
    /// Whose results are looked at.
    pub subject: Subject,
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
            subject: Subject::default(),
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
    next: AtomicU64,
    found: Mutex<Found>,
}

/// Tallies and findings, with the numbers of their forms.
#[derive(Default)]
struct Found {
    tallies: BTreeMap<usize, Tally>,
    findings: Vec<(usize, Finding)>,
}

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

    fn worker(&self) -> Worker {
        match self.subject {
            Subject::Interpreter => Worker::new(),
            Subject::Translator => {
                let tiers = [Tier::Warm, Tier::Hot].map(Translated::new);
                Worker::of_translators(tiers.into_iter().flatten().collect())
            }
        }
    }

    /// Runs it. `progress` is told how many trials have been done, by any thread.
    pub fn run(&self, model: &CpuModel, progress: &(dyn Fn(u64) + Sync)) -> Report {
        let generator = Generator::new(model);
        let forms = self.forms(&generator);
        let per_form = self.cases.div_ceil(forms.len().max(1) as u64);
        let shared = Shared {
            sweep: self,
            generator: &generator,
            forms: &forms,
            per_form,
            next: AtomicU64::new(0),
            found: Mutex::default(),
        };
        thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                scope.spawn(|| shared.work(progress));
            }
        });
        let Found { tallies, findings } = shared.found.into_inner().unwrap_or_default();
        let mut worker = self.worker();
        let findings = findings.into_iter().map(|(_, finding)| worker.shrink(&generator, finding)).collect();
        let forms = tallies.into_iter().map(|(form, tally)| (forms[form], tally)).collect();
        Report { forms, findings, no_oracle: worker.no_oracle().map(str::to_owned) }
    }
}

impl Shared<'_> {
    fn work(&self, progress: &(dyn Fn(u64) + Sync)) {
        let mut worker = self.sweep.worker();
        let all = self.forms.len() as u64 * self.per_form;
        loop {
            let start = self.next.fetch_add(UNIT, Ordering::Relaxed);
            if start >= all {
                return;
            }
            let end = all.min(start + UNIT);
            let cases: Vec<(usize, u64)> = (start..end)
                .map(|case| ((case / self.per_form) as usize, self.sweep.first + case % self.per_form))
                .collect();
            let found = worker.unit(self.generator, self.forms, self.sweep, &cases);
            self.enter(found);
            progress(end - start);
        }
    }

    /// Takes over what a unit has found: of each form what has the lowest numbers, whichever thread came first.
    fn enter(&self, Found { tallies, findings }: Found) {
        let Ok(mut all) = self.found.lock() else { return };
        for (form, tally) in tallies {
            all.tallies.entry(form).or_default().add(&tally);
        }
        if findings.is_empty() {
            return;
        }
        let kept = &mut all.findings;
        kept.extend(findings);
        kept.sort_by_key(|(form, finding)| (*form, finding.number));
        let (mut last, mut count) = (usize::MAX, 0);
        kept.retain(|(form, _)| {
            count = if last == *form { count + 1 } else { 1 };
            last = *form;
            count <= self.sweep.keep
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
