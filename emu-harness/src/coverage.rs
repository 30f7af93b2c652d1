//! Which rows of the opcode table are exercised, in which modes, and by what.
//!
//! A row is exercised by trials of a sweep that were compared with the host's processor; by trials that ran on
//! the interpreter alone, exactly and fast, which must agree; by lines of the corpus; and by the check of its
//! effects, if it is written in the vocabulary of the emitters.

use crate::{
    corpus::{Case, Mode},
    generate::Reason,
    sweep::Report,
};
use emu_core::semantics::{Key, Run, Table, effects::Effects};
use iced_x86::{Decoder, DecoderOptions, Mnemonic};
use std::{collections::BTreeSet, fmt};

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
    /// Lines of the corpus.
    pub lines: u64,
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
        let other = |reason: &&Reason| **reason != Reason::Mode;
        let reasons = self.reasons.iter().filter(other).map(ToString::to_string);
        let lacking = self.lacking.then(|| "this host's processor does not have it".to_owned());
        let all: Vec<String> = reasons.chain(lacking).collect();
        if !all.is_empty() {
            return all.join("; ");
        }
        self.reasons.first().map_or_else(|| "no trial of it has run".to_owned(), ToString::to_string)
    }
}

/// What exercises the rows of the opcode table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage {
    /// All rows but those that are no instruction.
    pub rows: Vec<RowCoverage>,
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
                lines: 0,
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
        // What ends a block that just stops is no instruction of the guest.
        let pseudo = format!("{:?}", Mnemonic::Zero_bytes);
        rows.retain(|row| row.name != pseudo);
        Coverage { rows }
    }

    /// Rows that nothing exercises.
    pub fn unexercised(&self) -> impl Iterator<Item = &RowCoverage> {
        self.rows.iter().filter(|row| !row.is_exercised())
    }
}

/// Rows of the instructions of a case.
fn rows_of(table: &Table<Effects>, case: &Case) -> Vec<u16> {
    let decoder = Decoder::new(case.mode.bitness(), &case.code, DecoderOptions::NONE);
    decoder.into_iter().filter_map(|instruction| table.find(instruction.code())).collect()
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<32}", "row")?;
        for (_, name) in Mode::ALL {
            write!(f, "{name:>9}")?;
        }
        writeln!(f, "{:>8} {:<7} not compared because", "corpus", "effects")?;
        for row in &self.rows {
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
            let line = format!("{:>8} {effects:<7} {}", row.lines, row.excuse());
            writeln!(f, "{}", line.trim_end())?;
        }
        let native = self.rows.iter().filter(|row| row.native() > 0).count();
        let exercised = self.rows.iter().filter(|row| row.is_exercised()).count();
        writeln!(
            f,
            "{} rows: {exercised} exercised, {native} of them compared with the host's processor. A number is of \
             trials compared with it; in brackets, of trials on the interpreter alone, exactly and fast.",
            self.rows.len()
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
            coverage.rows.iter().filter(|row| row.is_exercised()).map(|row| row.name.as_str()).collect();
        assert_eq!(exercised, ["Cpuid"]);
    }

    #[test]
    fn trials_of_every_row_can_be_made() {
        let sweep = Sweep { cases: 1, ..Sweep::default() };
        let report = sweep.run(&CpuModel::named("max").unwrap(), &|_| ());
        let coverage = Coverage::of(&report, &[]);
        let missing: Vec<&str> = coverage.unexercised().map(|row| row.name.as_str()).collect();
        assert_eq!(missing, Vec::<&str>::new());
    }
}
