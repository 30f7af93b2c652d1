//! `emu test`: instructions, blocks and corpora on the engines, and where they differ.

mod corpus;
mod engine;
mod fuzz;
mod insn;

use crate::exit::RunError;
use clap::Subcommand;

/// The commands of `emu test`.
#[derive(Debug, Subcommand)]
pub enum TestCommand {
    /// Run an instruction or a block from an exact state, and show what it changes
    Insn(Box<insn::InsnOptions>),
    /// Run the cases of corpus files and of recorded single-step tests
    Corpus(corpus::CorpusOptions),
    /// Run random blocks of user code on two engines, and compare them at the end of every block
    Fuzz(fuzz::FuzzOptions),
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
        }
    }
}
