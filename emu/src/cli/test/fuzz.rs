//! `emu test fuzz`: random blocks on two engines.

use super::Verdict;
use crate::{
    cli::print_out,
    config::JitStress,
    exit::{OptionError, RunError},
};
use clap::{Args, ValueEnum};
use emu_harness::{Executor, blocks, free_running::FreeRunning, interpreter::Interpreter};
use std::num::NonZeroU64;

/// What the interpreter, one instruction at a time, is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Against {
    /// The interpreter as guests run it, blocks chained, exceptions delivered
    Blocks,
    /// The same, with interrupts between blocks
    Interrupts,
    /// The host's processor
    Native,
    /// The translator, everything translated as soon as it is executed again
    Jit,
    /// The same, with interrupts between blocks
    JitInterrupts,
}

/// The options of `emu test fuzz`.
#[derive(Debug, Args)]
pub struct FuzzOptions {
    /// What the interpreter, one instruction at a time, is held against
    #[arg(long, value_enum, default_value = "blocks")]
    against: Against,

    /// Blocks to run
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    blocks: u64,

    /// Which sequence of blocks
    #[arg(long, value_name = "N", default_value = "1")]
    seed: NonZeroU64,

    /// What the translator overdoes, with --against jit
    #[arg(long, value_name = "KIND")]
    jit_stress: Option<JitStress>,
}

impl FuzzOptions {
    /// Runs the blocks; prints the first difference with what repeats it.
    pub fn run(self) -> Result<Verdict, RunError> {
        let mut other = self.other()?;
        let mut interpreter = Interpreter::new();
        let report = blocks::run(&mut interpreter, other.as_mut(), self.seed.get(), self.blocks);
        let mut text = format!(
            "{} blocks agree ({} of them end in an exception); {} could not be compared\n",
            report.agreed, report.exceptions, report.unsuitable
        );
        let verdict = match report.difference {
            None => Verdict::Same,
            Some(difference) => {
                let against = self.against.to_possible_value().map_or(String::new(), |v| v.get_name().into());
                let mut repeat = format!(
                    "emu test fuzz --against {against} --seed {} --blocks {}",
                    self.seed,
                    difference.number + 1
                );
                if let Some(stress) = self.jit_stress.and_then(|stress| stress.to_possible_value()) {
                    repeat += &format!(" --jit-stress {}", stress.get_name());
                }
                text += &format!("{difference}again: {repeat}\n");
                Verdict::Different
            }
        };
        print_out(text.as_bytes())?;
        Ok(verdict)
    }

    fn other(&self) -> Result<Box<dyn Executor>, RunError> {
        match self.against {
            Against::Blocks => Ok(Box::new(FreeRunning::new(None))),
            Against::Interrupts => Ok(Box::new(FreeRunning::new(Some(self.seed.get())))),
            Against::Native => native(),
            Against::Jit => self.translated(None),
            Against::JitInterrupts => self.translated(Some(self.seed.get())),
        }
    }

    fn translated(&self, interrupts: Option<u64>) -> Result<Box<dyn Executor>, RunError> {
        match FreeRunning::translated(interrupts, self.jit_stress.map(Into::into)) {
            Ok(free) => Ok(Box::new(free)),
            Err(reason) => {
                let problem = format!("{reason}; use blocks or interrupts");
                Err(OptionError::new("--against", "jit", problem).into())
            }
        }
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn native() -> Result<Box<dyn Executor>, RunError> {
    match emu_harness::native::Native::start() {
        Ok(native) => Ok(Box::new(native)),
        Err(reason) => {
            let problem = format!("{reason}; use blocks or interrupts");
            Err(OptionError::new("--against", "native", problem).into())
        }
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
fn native() -> Result<Box<dyn Executor>, RunError> {
    let problem = "only an x86-64 host with Linux can execute instructions itself; use blocks or interrupts";
    Err(OptionError::new("--against", "native", problem).into())
}
