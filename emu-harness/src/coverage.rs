//! Which rows of the opcode table are exercised, in which modes, and by what.
//!
//! A row is exercised by trials of a sweep that were compared with the host's processor; by trials that ran on
//! the interpreter alone, exactly and fast, which must agree; by lines of the corpus, of which some run on the
//! host's KVM as well; and by the check of its effects, if it is written in the vocabulary of the emitters. Rows
//! that are for processors before CPUID alone have lines of the corpus.

use crate::{
    corpus::{Case, Mode},
    generate::Reason,
    sweep::Report,
};
use emu_core::{
    cpu_model::Generation,
    semantics::{Key, Run, Table, effects::Effects},
};
use iced_x86::Mnemonic;
use std::{collections::BTreeSet, fmt};

/// The host's processor could run it, and has not.
const NEVER: &str = "no trial of it has run";

/// What has run of a row in one mode.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ran {
    /// Trials that were compared with the host's processor.
    pub native: u64,
    /// Trials on the interpreter, these included.
    pub trials: u64,
}

/// What exercises a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowCoverage {
    /// The mnemonic, or the form, that the row is for.
    pub name: String,
    /// By mode, in the order of [`Mode::ALL`].
    pub modes: [Ran; Mode::ALL.len()],
    /// Why forms of the row do not run on the host's processor in its modes.
    pub reasons: BTreeSet<Reason>,
    /// The host's processor does not have it.
    pub lacking: bool,
    /// Processors before CPUID that the row is for, if it is not for all.
    pub only: Option<(Generation, Generation)>,
    /// Lines of the corpus.
    pub lines: u64,
    /// Of these, compared with the host's KVM.
    pub kvm: u64,
    /// Its effects are recorded and checked.
    pub effects: bool,
}

impl RowCoverage {
    /// Trials compared with the host's processor, in all modes.
    pub fn native(&self) -> u64 {
        self.modes.iter().map(|ran| ran.native).sum()
    }

    /// Whether anything at all exercises it.
    pub fn is_exercised(&self) -> bool {
        self.lines > 0 || self.modes.iter().any(|ran| ran.trials > 0)
    }

    /// Why it has never been compared with the host's processor; empty if it has.
    pub fn excuse(&self) -> String {
        if self.native() > 0 {
            return String::new();
        }
        if let Some((first, last)) = self.only {
            let names = if first == last { String::new() } else { format!("{} to ", first.name()) };
            return format!("only for the {names}{}", last.name());
        }
        let other = |reason: &&Reason| **reason != Reason::Mode;
        let reasons = self.reasons.iter().filter(other).map(ToString::to_string);
        let lacking = self.lacking.then(|| "this host's processor does not have it".to_owned());
        let all: Vec<String> = reasons.chain(lacking).collect();
        if !all.is_empty() {
            return all.join("; ");
        }
        self.reasons.first().map_or_else(|| NEVER.to_owned(), ToString::to_string)
    }
}

/// What exercises the rows of the opcode table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage {
    /// All rows, as the table numbers them.
    rows: Vec<RowCoverage>,
}

/// What ends a block that just stops is no instruction of the guest.
fn is_instruction(row: &&RowCoverage) -> bool {
    row.name != format!("{:?}", Mnemonic::Zero_bytes)
}

impl Coverage {
    /// Of a sweep and a corpus.
    pub fn of(report: &Report, corpus: &[Case]) -> Self {
        let table = Table::<Effects>::new();
        let mut rows: Vec<RowCoverage> = table
            .rows()
            .iter()
            .map(|row| RowCoverage {
                name: match row.key {
                    Key::Mnemonic(mnemonic) => format!("{mnemonic:?}"),
                    Key::Code(code) => format!("{code:?}"),
                },
                modes: Default::default(),
                reasons: BTreeSet::new(),
                lacking: false,
                only: row.only,
                lines: 0,
                kvm: 0,
                effects: matches!(row.run, Run::Emit(_)),
            })
            .collect();
        for (form, tally) in &report.forms {
            let row = &mut rows[usize::from(form.row)];
            let ran = &mut row.modes[form.mode as usize];
            ran.native += tally.native;
            ran.trials += tally.trials;
            row.lacking |= tally.lacking > 0;
            row.reasons.extend(form.unreachable);
        }
        for case in corpus {
            for number in rows_of(&table, case) {
                rows[usize::from(number)].lines += 1;
            }
        }
        Coverage { rows }
    }

    /// The rows of instructions.
    pub fn rows(&self) -> impl Iterator<Item = &RowCoverage> {
        self.rows.iter().filter(is_instruction)
    }

    /// Notes that the host's KVM does what `case` says.
    pub fn add_kvm(&mut self, case: &Case) {
        for number in rows_of(&Table::new(), case) {
            self.rows[usize::from(number)].kvm += 1;
        }
    }

    /// Rows that nothing exercises.
    pub fn unexercised(&self) -> impl Iterator<Item = &RowCoverage> {
        self.rows().filter(|row| !row.is_exercised())
    }
}

/// Rows of the instructions of a case.
fn rows_of(table: &Table<Effects>, case: &Case) -> Vec<u16> {
    let early = |code| case.generation.and_then(|generation| table.find_only(code, generation));
    let codes = case.instructions().into_iter().map(|instruction| instruction.code());
    codes.filter_map(|code| early(code).or_else(|| table.find(code))).collect()
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<32}", "row")?;
        for (_, name) in Mode::ALL {
            write!(f, "{name:>9}")?;
        }
        writeln!(f, "{:>8} {:>5} {:<7} not compared with the processor because", "corpus", "kvm", "effects")?;
        for row in self.rows() {
            write!(f, "{:<32}", row.name)?;
            for ran in row.modes {
                let text = match ran {
                    Ran { native: 0, trials: 0 } => "-".to_owned(),
                    Ran { native: 0, trials } => format!("({trials})"),
                    Ran { native, .. } => native.to_string(),
                };
                write!(f, "{text:>9}")?;
            }
            let effects = if row.effects { "checked" } else { "" };
            let line = format!("{:>8} {:>5} {effects:<7} {}", row.lines, row.kvm, row.excuse());
            writeln!(f, "{}", line.trim_end())?;
        }
        let count = |holds: fn(&RowCoverage) -> bool| self.rows().filter(|row| holds(row)).count();
        let (all, exercised) = (count(|_| true), count(RowCoverage::is_exercised));
        let (native, kvm) = (count(|row| row.native() > 0), count(|row| row.native() == 0 && row.kvm > 0));
        writeln!(
            f,
            "{all} rows: {exercised} exercised, {native} of them compared with the host's processor, {kvm} others with \
             its KVM. A number is of trials compared with the processor; in brackets, of trials on the interpreter \
             alone, exactly and fast. The corpus is lines, kvm those of them that KVM ran."
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{corpus, sweep::Sweep};
    use emu_core::cpu_model::CpuModel;

    #[test]
    fn a_line_of_the_corpus_exercises_the_row_of_its_instruction_alone() {
        let cases = corpus::parse("64 | 0f a2 | cpuid | => rax=16").unwrap();
        let coverage = Coverage::of(&Report::default(), &cases);
        let exercised: Vec<&str> =
            coverage.rows().filter(|row| row.is_exercised()).map(|row| row.name.as_str()).collect();
        assert_eq!(exercised, ["Cpuid"]);
    }

    #[test]
    fn trials_of_every_row_can_be_made() {
        let sweep = Sweep { cases: 1, ..Sweep::default() };
        let report = sweep.run(&CpuModel::named("max").unwrap(), &|_| ());
        let coverage = Coverage::of(&report, &[]);
        // Those of processors before CPUID are the corpus's.
        let missing = coverage.unexercised().filter(|row| row.only.is_none());
        assert_eq!(missing.map(|row| row.name.as_str()).collect::<Vec<_>>(), Vec::<&str>::new());
        // What has not been compared has a reason.
        let silent = coverage.rows().filter(|row| row.native() == 0 && row.excuse() == NEVER);
        let no_oracle = report.no_oracle.is_some();
        assert_eq!(
            silent.filter(|_| !no_oracle).map(|row| &row.name).collect::<Vec<_>>(),
            Vec::<&String>::new()
        );
    }
}
