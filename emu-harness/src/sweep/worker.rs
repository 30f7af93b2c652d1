//! One thread of a sweep.

use super::{
    Difference, Extent, Tally, differ, differences,
    oracle::{Oracle, oracle},
    shrink,
};
use crate::{
    Outcome, Setup, Unsuitable,
    corpus::{self, Exception},
    generate::{Form, Generator, Trial},
    interpreter::Interpreter,
    undefined::Undefined,
};
use iced_x86::Mnemonic;

const UNDEFINED: Exception = Exception { vector: 6, error_code: None };

/// What the interpreter's outcome was compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Against {
    /// Its own outcome with empty TLB; what differs is its own with everything warm.
    Itself,
    /// The host's processor.
    Native,
}

impl std::fmt::Display for Against {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Against::Itself => "interp (exact)",
            Against::Native => "native",
        })
    }
}

/// A trial in which two executors differ.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The form.
    pub form: Form,
    /// Number of the trial.
    pub number: u64,
    /// The seed.
    pub seed: u64,
    /// Whom the interpreter was compared with.
    pub against: Against,
    /// What differs.
    pub differences: Vec<Difference>,
    /// The case with what the oracle makes of it, as a line of the corpus.
    pub line: String,
}

/// An interpreter and an oracle.
pub struct Worker {
    interpreter: Interpreter,
    oracle: Result<Oracle, String>,
}

/// What an oracle makes of a setup.
type Answer = Result<Outcome, Unsuitable>;

/// Two outcomes that were compared.
pub struct Pair {
    /// With whom.
    pub against: Against,
    /// The oracle's.
    pub wanted: Outcome,
    /// The interpreter's.
    pub found: Outcome,
}

impl Pair {
    fn extent(&self) -> Extent {
        match self.against {
            Against::Itself => Extent::All,
            Against::Native => Extent::User,
        }
    }

    /// What differs.
    pub fn differences(&self, setup: &Setup, undefined: &Undefined) -> Vec<Difference> {
        if !differ(undefined, self.extent(), &self.wanted, &self.found) {
            return Vec::new();
        }
        differences(setup, undefined, self.extent(), &self.wanted, &self.found)
    }
}

impl Default for Worker {
    fn default() -> Self {
        Self::new()
    }
}

impl Worker {
    /// With the host's processor as oracle, if it can be had.
    pub fn new() -> Self {
        Worker { interpreter: Interpreter::new(), oracle: oracle() }
    }

    /// Why there is no oracle.
    pub fn no_oracle(&self) -> Option<&str> {
        self.oracle.as_ref().err().map(String::as_str)
    }

    /// Makes and runs trials of `form`; the first `keep` in which something differs.
    pub fn unit(
        &mut self,
        generator: &Generator,
        form: &Form,
        (seed, numbers): (u64, std::ops::Range<u64>),
        keep: usize,
        tally: &mut Tally,
    ) -> Vec<Finding> {
        let (mut setups, mut others) = (Vec::new(), Vec::new());
        for number in numbers {
            match generator.trial(form, seed, number) {
                Some(Trial { setup, undefined, .. }) => {
                    setups.push(setup);
                    others.push((number, undefined));
                }
                None => tally.unmade += 1,
            }
        }
        let mut answers = self.ask(form, &setups).into_iter();
        let mut findings = Vec::new();
        for (setup, (number, undefined)) in setups.iter().zip(others) {
            let pairs = self.run(form, setup, answers.next(), tally);
            let wrong = pairs.into_iter().map(|pair| (pair.differences(setup, &undefined), pair.against));
            let wrong = wrong.into_iter().find(|(differences, _)| !differences.is_empty());
            let Some((differences, against)) = wrong else { continue };
            tally.different += 1;
            if findings.len() < keep {
                let line = String::new();
                findings.push(Finding { form: *form, number, seed, against, differences, line });
            }
        }
        findings
    }

    /// The oracle's answers, if it can tell the truth about `form`.
    pub fn ask(&mut self, form: &Form, setups: &[Setup]) -> Vec<Answer> {
        match &mut self.oracle {
            Ok(oracle) if form.unreachable.is_none() => oracle.execute_batch(setups),
            _ => Vec::new(),
        }
    }

    /// Runs a setup on the interpreter, and pairs what can be compared.
    pub fn run(
        &mut self,
        form: &Form,
        setup: &Setup,
        answer: Option<Answer>,
        tally: &mut Tally,
    ) -> Vec<Pair> {
        let Ok([cold, warm]) = self.interpreter.execute_cold_and_warm(setup) else { return Vec::new() };
        tally.trials += 1;
        let native = answer.and_then(|answer| judge(answer, &cold, tally));
        let mut pairs = Vec::with_capacity(2);
        if let Some(wanted) = native {
            pairs.push(Pair { against: Against::Native, wanted, found: cold.clone() });
        }
        if !by_chance(form) {
            pairs.push(Pair { against: Against::Itself, wanted: cold, found: warm });
        }
        pairs
    }

    /// Reduces a finding to what matters, and writes it as a line of the corpus.
    pub fn shrink(&mut self, generator: &Generator, mut finding: Finding) -> Finding {
        if let Some(trial) = generator.trial(&finding.form, finding.seed, finding.number) {
            let (Trial { setup, instruction, undefined, .. }, pair) =
                shrink::smallest(self, &finding, &trial);
            if let Some(pair) = pair {
                finding.differences = pair.differences(&setup, &undefined);
                finding.line = corpus::line_of(&setup, &instruction, &undefined, &pair.wanted);
            }
        }
        finding
    }
}

/// What of the oracle's answer can be compared.
fn judge(answer: Answer, found: &Outcome, tally: &mut Tally) -> Option<Outcome> {
    let Ok(wanted) = answer else {
        tally.unsuitable += 1;
        return None;
    };
    if wanted.exception == Some(UNDEFINED) && found.exception != Some(UNDEFINED) {
        tally.lacking += 1;
        return None;
    }
    tally.native += 1;
    tally.faults += u64::from(wanted.exception.is_some());
    Some(wanted)
}

/// Whether the instruction never does the same twice.
fn by_chance(form: &Form) -> bool {
    matches!(form.code.mnemonic(), Mnemonic::Rdrand | Mnemonic::Rdseed)
}
