//! `emu test corpus`: the cases of text files, and single-step tests recorded from hardware.

use super::{Verdict, engine::Engine};
use crate::{
    cli::print_out,
    console::describe_error,
    exit::{OptionError, RunError},
};
use clap::{Args, ValueHint};
use emu_core::cpu_model::CpuModel;
use emu_harness::{
    Executor,
    corpus::{CODE, parse_line},
    interpreter::Interpreter,
    single_step,
};
use std::{
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
};

/// Failures that are shown of one file.
const SHOWN: usize = 20;

/// The options of `emu test corpus`.
#[derive(Debug, Args)]
pub struct CorpusOptions {
    /// Files and folders: corpus text (.txt), or recorded tests (.MOO, .json, also .gz; interpreter only)
    #[arg(value_name = "PATH", required = true, value_hint = ValueHint::AnyPath)]
    paths: Vec<PathBuf>,

    /// Engines to run on, separated by commas
    #[arg(long, value_name = "LIST", value_enum, value_delimiter = ',', default_value = "interp")]
    engine: Vec<Engine>,

    /// Processor model of the interpreter for corpus text
    #[arg(long, value_name = "MODEL[,+F,-F]", default_value = "max")]
    cpu: String,
}

/// What came of files.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    /// Cases that an engine could not run, and recorded tests that differ for a known reason.
    left_out: usize,
    text: String,
}

impl CorpusOptions {
    /// Runs all files on all engines and prints what fails.
    pub fn run(self) -> Result<Verdict, RunError> {
        let model: CpuModel = self
            .cpu
            .parse()
            .map_err(|error| OptionError::new("--cpu", &self.cpu, format!("{error}; see emu cpu list")))?;
        let (mut texts, mut recorded) = (Vec::new(), Vec::new());
        for path in &self.paths {
            find(path, &mut texts, &mut recorded)?;
        }
        let mut verdict = Verdict::Same;
        for engine in &self.engine {
            let mut executor = engine.open(model.clone())?;
            // Cases of early processors need their own.
            let mut early = (*engine == Engine::Interp).then(Interpreter::new);
            let mut tally = Tally::default();
            for path in &texts {
                run_text(executor.as_mut(), early.as_mut(), path, &mut tally)?;
            }
            for path in recorded.iter().filter(|_| *engine == Engine::Interp) {
                run_recorded(path, &mut tally)?;
            }
            let Tally { passed, failed, left_out, text } = tally;
            let name = executor.name();
            print_out(
                format!("{text}{name}: {passed} passed, {failed} failed, {left_out} left out\n").as_bytes(),
            )?;
            if failed > 0 {
                verdict = Verdict::Different;
            }
        }
        Ok(verdict)
    }
}

fn unreadable(path: &Path, problem: impl std::fmt::Display) -> OptionError {
    OptionError::new("emu test corpus", path.display(), problem)
}

fn cannot_read(path: &Path, error: &io::Error) -> OptionError {
    unreadable(path, format!("cannot be read ({})", describe_error(error)))
}

fn is_text(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "txt")
        // Of the collections of recorded tests.
        && path.file_name().is_none_or(|name| name != "revocation_list.txt")
}

/// Sorts the files at `path`, and in it if it is a folder, by their kind.
fn find(path: &Path, texts: &mut Vec<PathBuf>, recorded: &mut Vec<PathBuf>) -> Result<(), RunError> {
    if is_text(path) {
        texts.push(path.to_owned());
        return Ok(());
    }
    if path.is_dir() {
        find_texts(path, texts)?;
    }
    let files = single_step::files(path).map_err(|error| unreadable(path, error))?;
    recorded.extend(files);
    Ok(())
}

fn find_texts(folder: &Path, texts: &mut Vec<PathBuf>) -> Result<(), RunError> {
    let entries = fs::read_dir(folder).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
    let mut paths: Vec<_> =
        entries.map_err(|error| cannot_read(folder, &error))?.iter().map(fs::DirEntry::path).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            find_texts(&path, texts)?;
        } else if is_text(&path) {
            texts.push(path);
        }
    }
    Ok(())
}

/// Runs the lines of a corpus file; those of early processors on `early`, if there is one.
fn run_text(
    executor: &mut dyn Executor,
    mut early: Option<&mut Interpreter>,
    path: &Path,
    tally: &mut Tally,
) -> Result<(), RunError> {
    let text = fs::read_to_string(path).map_err(|error| cannot_read(path, &error))?;
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        let place = format!("{}:{}", path.display(), index + 1);
        let case = parse_line(line).map_err(|error| OptionError::new("emu test corpus", &place, error))?;
        let setup = case.setup(CODE);
        let outcome = match (case.generation, early.as_deref_mut()) {
            (None, _) => executor.execute(&setup).ok(),
            (Some(_), None) => None,
            (generation, Some(early)) => {
                early.set_generation(generation);
                Executor::execute(early, &setup).ok()
            }
        };
        let Some(outcome) = outcome else {
            tally.left_out += 1;
            continue;
        };
        let wrong = case.mismatches(&setup, &outcome);
        if wrong.is_empty() {
            tally.passed += 1;
        } else {
            tally.failed += 1;
            let before = line.split("=>").next().unwrap_or(line);
            // Writing to a string does not fail.
            let _ = writeln!(tally.text, "{place}: {before}=> {}", wrong.join(" "));
        }
    }
    Ok(())
}

/// Runs a file of recorded tests, on the interpreter with the model they were recorded from.
fn run_recorded(path: &Path, tally: &mut Tally) -> Result<(), RunError> {
    let set = single_step::load(path).map_err(|error| unreadable(path, error))?;
    let report = single_step::run(&set).map_err(|error| RunError::Host(error.into()))?;
    tally.passed += report.passed;
    tally.failed += report.failed.len() + report.stray.len();
    tally.left_out += report.explained.iter().map(|explained| explained.tests).sum::<usize>();
    let text = &mut tally.text;
    for failure in report.failed.iter().take(SHOWN) {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}: {failure}", path.display());
    }
    for address in &report.stray {
        let _ = writeln!(text, "{}: [{address:x}] is written, which no test says", path.display());
    }
    Ok(())
}
