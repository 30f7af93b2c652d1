//! `emu test coverage`.

use super::{Verdict, engine::Engine, sweep};
use crate::{
    cli::print_out,
    exit::{OptionError, RunError},
};
use clap::{Args, ValueHint};
use emu_core::cpu_model::CpuModel;
use emu_harness::{
    Executor,
    corpus::{self, CODE, Case},
    coverage::Coverage,
    sweep::Sweep,
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The options of `emu test coverage`.
#[derive(Debug, Args)]
pub struct CoverageOptions {
    /// Cases to run, divided evenly among the forms
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    cases: u64,

    /// What the cases follow from
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,

    /// A folder of corpus files, whose lines count too [default: tests/corpus, if it is there]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    corpus: Option<PathBuf>,
}

impl CoverageOptions {
    /// Runs a sweep and prints the table.
    pub fn run(self) -> Result<Verdict, RunError> {
        let usual = Path::new("tests/corpus");
        let folder = self.corpus.as_deref().or_else(|| usual.is_dir().then_some(usual));
        let cases = folder.map_or_else(|| Ok(Vec::new()), lines)?;
        let sweep = Sweep { cases: self.cases, seed: self.seed, keep: 0, ..Sweep::default() };
        let report = sweep::run(&sweep)?;
        let mut coverage = Coverage::of(&report, &cases);
        if let Ok(mut kvm) = Engine::Kvm.open(CpuModel::default()) {
            for case in cases.iter().filter(|case| agrees(kvm.as_mut(), case)) {
                coverage.add_kvm(case);
            }
        }
        print_out(coverage.to_string().as_bytes())?;
        Ok(Verdict::Same)
    }
}

/// Whether `executor` can run `case`, and does what it says.
fn agrees(executor: &mut dyn Executor, case: &Case) -> bool {
    let setup = case.setup(CODE);
    let outcome = if case.generation.is_some() { None } else { executor.execute(&setup).ok() };
    outcome.is_some_and(|outcome| case.mismatches(&setup, &outcome).is_empty())
}

/// The cases of all files in `folder`.
fn lines(folder: &Path) -> Result<Vec<Case>, OptionError> {
    let unreadable = |path: &Path, error: &io::Error| {
        let problem = format!("cannot be read ({error}); name a folder with corpus files (*.txt)");
        OptionError::new("--corpus", path.display(), problem)
    };
    let mut cases = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| unreadable(folder, &error))? {
        let path = entry.map_err(|error| unreadable(folder, &error))?.path();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        let text = fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))?;
        cases.extend(corpus::parse(&text).map_err(|(line, error)| {
            let problem = format!("line {line}: {error}; tests/corpus/README.md describes the format");
            OptionError::new("--corpus", path.display(), problem)
        })?);
    }
    Ok(cases)
}
