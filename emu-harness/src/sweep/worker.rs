//! One thread of a sweep.

use super::{
    Difference, Extent, Found, Sweep, Tally, differ, differences,
    oracle::{Oracle, oracle},
    shrink,
};
use crate::{
    Executor, Outcome, Setup, Unsuitable,
    corpus::{self, Exception},
    generate::{Form, Generator, Trial},
    interpreter::Interpreter,
    jit::Translated,
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
    /// Its own outcome; what differs is the translator's.
    Translated,
}

impl std::fmt::Display for Against {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Against::Itself => "interp (exact)",
            Against::Native => "native",
            Against::Translated => "interp, which the translator differs from",
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
    translators: Vec<Translated>,
}

/// What an oracle makes of a setup.
type Answer = Result<Outcome, Unsuitable>;

/// What became of a trial.
pub struct Run {
    /// On the interpreter, every access the exact way.
    cold: Outcome,
    /// On the interpreter again, if it does the same twice.
    warm: Option<Outcome>,
    /// On the host's processor, if that can be compared.
    native: Option<Outcome>,
    /// On the translators.
    translated: Vec<Outcome>,
}

impl Run {
    /// What is to be compared.
    pub fn pairs(&self) -> impl Iterator<Item = Pair<'_>> {
        let native = self.native.as_ref();
        let native = native.map(|wanted| Pair { against: Against::Native, wanted, found: &self.cold });
        let warm = self.warm.as_ref();
        let itself = warm.map(|found| Pair { against: Against::Itself, wanted: &self.cold, found });
        let translated = self.translated.iter();
        let translated =
            translated.map(|found| Pair { against: Against::Translated, wanted: &self.cold, found });
        native.into_iter().chain(itself).chain(translated)
    }
}

/// Two outcomes to compare.
#[derive(Clone, Copy)]
pub struct Pair<'a> {
    /// With whom.
    pub against: Against,
    /// The oracle's.
    pub wanted: &'a Outcome,
    /// The interpreter's.
    pub found: &'a Outcome,
}

impl Pair<'_> {
    fn extent(&self) -> Extent {
        match self.against {
            Against::Itself | Against::Translated => Extent::All,
            Against::Native => Extent::User,
        }
    }

    /// What differs.
    pub fn differences(&self, setup: &Setup, undefined: &Undefined) -> Vec<Difference> {
        if !differ(undefined, self.extent(), self.wanted, self.found) {
            return Vec::new();
        }
        differences(setup, undefined, self.extent(), self.wanted, self.found)
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
        Worker { interpreter: Interpreter::new(), oracle: oracle(), translators: Vec::new() }
    }

    /// With the interpreter as the oracle of translators.
    pub fn of_translators(translators: Vec<Translated>) -> Self {
        let oracle = Err("the interpreter is the oracle".to_owned());
        Worker { interpreter: Interpreter::new(), oracle, translators }
    }

    /// Why there is no oracle.
    pub fn no_oracle(&self) -> Option<&str> {
        self.oracle.as_ref().err().map(String::as_str)
    }

    /// Makes and runs `cases`: numbers of a form among `forms`, and of one of its trials.
    pub fn unit(
        &mut self,
        generator: &Generator,
        forms: &[Form],
        sweep: &Sweep,
        cases: &[(usize, u64)],
    ) -> Found {
        let mut found = Found::default();
        let mut trials = Vec::with_capacity(cases.len());
        for (form, number) in cases {
            let tally = found.tallies.entry(*form).or_default();
            match generator.trial(&forms[*form], sweep.seed, *number) {
                Some(trial) => trials.push((*form, trial)),
                None => tally.unmade += 1,
            }
        }
        let reachable = |form: usize| forms[form].unreachable.is_none();
        let asked = trials.iter().filter(|(form, _)| reachable(*form));
        let mut answers = self.ask(asked.map(|(_, trial)| &trial.setup)).into_iter();
        for (number, Trial { number: trial, setup, undefined, .. }) in &trials {
            let answer = if reachable(*number) { answers.next() } else { None };
            let (form, tally) = (forms[*number], found.tallies.entry(*number).or_default());
            let Some(run) = self.run(&form, setup, answer, tally) else { continue };
            let wrong = run.pairs().map(|pair| (pair.differences(setup, undefined), pair.against));
            let Some((differences, against)) = wrong.into_iter().find(|(all, _)| !all.is_empty()) else {
                continue;
            };
            tally.different += 1;
            if found.findings.iter().filter(|(other, _)| other == number).count() < sweep.keep {
                let (seed, line) = (sweep.seed, String::new());
                let finding = Finding { form, number: *trial, seed, against, differences, line };
                found.findings.push((*number, finding));
            }
        }
        found
    }

    /// The oracle's answers, if there is one: one for each setup.
    pub fn ask<'a>(&mut self, setups: impl IntoIterator<Item = &'a Setup>) -> Vec<Answer> {
        self.oracle.as_mut().map_or(Vec::new(), |oracle| oracle.execute_batch(setups))
    }

    /// Runs a setup on the interpreter, to be compared with the oracle's answer; nothing if it cannot.
    pub fn run(
        &mut self,
        form: &Form,
        setup: &Setup,
        answer: Option<Answer>,
        tally: &mut Tally,
    ) -> Option<Run> {
        let [cold, warm] = self.interpreter.execute_cold_and_warm(setup).ok()?;
        tally.trials += 1;
        let native = answer.and_then(|answer| judge(answer, &cold, tally));
        let sure = !by_chance(form);
        let translators = self.translators.iter_mut().filter(|_| sure);
        let translated = translators.filter_map(|translator| translator.execute(setup).ok()).collect();
        Some(Run { cold, warm: Some(warm).filter(|_| sure), native, translated })
    }

    /// Reduces a finding to what matters, and writes it as a line of the corpus.
    pub fn shrink(&mut self, generator: &Generator, mut finding: Finding) -> Finding {
        if let Some(trial) = generator.trial(&finding.form, finding.seed, finding.number) {
            let (Trial { setup, instruction, undefined, .. }, run) = shrink::smallest(self, &finding, &trial);
            let pair = run.as_ref().and_then(|run| run.pairs().find(|pair| pair.against == finding.against));
            if let Some(pair) = pair {
                finding.differences = pair.differences(&setup, &undefined);
                finding.line = corpus::line_of(&setup, &instruction, &undefined, pair.wanted);
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
