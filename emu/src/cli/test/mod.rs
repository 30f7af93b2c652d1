//! `emu test`: instructions, blocks, corpora and whole guests on the engines, and where they differ.

mod corpus;
mod coverage;
mod diff;
mod engine;
mod fuzz;
mod insn;
mod sweep;

use crate::exit::RunError;
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};

/// The commands of `emu test`.
#[derive(Debug, Subcommand)]
pub enum TestCommand {
    /// Run an instruction or a block from an exact state, and show what it changes
    Insn(Box<insn::InsnOptions>),
    /// Run the cases of corpus files and of recorded single-step tests
    Corpus(corpus::CorpusOptions),
    /// Run random blocks of user code on two engines, and compare them at the end of every block
    Fuzz(fuzz::FuzzOptions),
    /// Run a guest on two engines in lock step, and show the first instruction after which they differ
    Diff(Box<diff::DiffOptions>),
    /// Run every instruction form on the interpreter and on the host's processor, and show where they differ
    Sweep(sweep::SweepOptions),
    /// Show which rows of the opcode table are exercised, in which modes, and by what
    Coverage(coverage::CoverageOptions),
}

/// What a test came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Everything compared was the same.
    Same,
    /// Something differed; it has been printed.
    Different,
}

impl TestCommand {
    /// Runs it.
    pub fn run(self) -> Result<Verdict, RunError> {
        match self {
            TestCommand::Insn(options) => options.run(),
            TestCommand::Corpus(options) => options.run(),
            TestCommand::Fuzz(options) => options.run(),
            TestCommand::Diff(options) => options.run(),
            TestCommand::Sweep(options) => options.run(),
            TestCommand::Coverage(options) => options.run(),
        }
    }
}

/// A bar for `cases` trials on standard error; invisible if that is no terminal.
fn progress_bar(cases: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar} {human_pos}/{human_len}  {per_sec}  {eta}");
    let bar = ProgressBar::new(cases);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
