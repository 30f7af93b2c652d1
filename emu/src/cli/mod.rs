//! The command line: what `emu` understands, and how a command ends.

use crate::{
    console::{signals, terminal},
    exit::{ExitReason, RunError},
};
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use std::{io, path::PathBuf, process::ExitCode};

mod accel;
mod check;
mod cpu;
mod ctl;
mod demo;
mod disk;
mod network;
mod run;
mod test;
mod usage;

use accel::AccelOptions;
use cpu::CpuCommand;
use ctl::CtlOptions;
use demo::DemoOptions;
use disk::DiskCommand;
use run::RunOptions;

/// Exit code of a test that found one.
const DIFFERENCE: u8 = 1;

const EXIT_STATUS: &str = "\
Exit status:
  0  the guest powered off
  1  a test found a difference, or `emu disk check` damage
  2  the command line or a file named there cannot be used
  3  the host failed
  4  the guest crashed
  With --debug-exit, a guest's value V gives (V << 1) | 1.";

const EXAMPLES: &str = "\
Examples:
  emu run                                  the guest that is built in
  emu demo                                 Debian's Linux, fetched by apt
  emu run --kernel vmlinuz --initrd initrd.gz --append console=ttyS0
  emu disk create disk.qcow2 20G           an empty disk
  emu cpu list                             the processors that --cpu can name
  emu test sweep --rows add                every form of ADD against the host's processor
";

/// A full-system x86 emulator.
#[derive(Debug, Parser)]
#[command(name = "emu", version, subcommand_required = true, arg_required_else_help = true)]
#[command(disable_help_subcommand = true, after_help = format!("{EXAMPLES}\n{EXIT_STATUS}"))]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a guest: a kernel, or without one the guest that is built in
    Run(Box<RunOptions>),
    /// Boot Debian's Linux to a shell; apt fetches it, without root
    Demo(DemoOptions),
    /// List the processor models, or show one
    #[command(subcommand, arg_required_else_help = true)]
    Cpu(CpuCommand),
    /// Tell what this host has for running guests on its own processor
    Accel(AccelOptions),
    /// Make, copy and change disk images
    #[command(subcommand, arg_required_else_help = true)]
    Disk(DiskCommand),
    /// Control a machine that was run with --control
    Ctl(CtlOptions),
    /// Test instructions, blocks, corpora and guests on the engines
    #[command(subcommand)]
    Test(test::TestCommand),
    /// Print the completions of a shell, for its start-up file
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, or write the pages of all commands into a directory
    Man {
        /// Where to write them
        directory: Option<PathBuf>,
    },
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    terminal::end_on_panic();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage::report(&error),
    };
    let result = match arguments.command {
        Command::Run(options) => signals::handle().map_err(host).and_then(|()| options.run().map(Some)),
        Command::Demo(options) => signals::handle().map_err(host).and_then(|()| options.run()),
        Command::Cpu(command) => command.run().map(|()| None),
        Command::Accel(options) => options.run().map(|()| None),
        Command::Ctl(options) => options.run().map(|()| None),
        Command::Disk(command) => {
            return conclude(command.run().map(|in_order| match in_order {
                true => test::Verdict::Same,
                false => test::Verdict::Different,
            }));
        }
        Command::Test(command) => return conclude(command.run()),
        Command::Completions { shell } => print_completions(shell).map(|()| None),
        Command::Man { directory } => write_manual(directory).map(|()| None),
    };
    match result {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(reason)) => {
            if let ExitReason::Crashed(what) = &reason {
                eprintln!("emu: the guest crashed: {what}");
            }
            ExitCode::from(reason.code())
        }
        Err(error) => {
            eprintln!("emu: {error}");
            ExitCode::from(error.code())
        }
    }
}

/// Ends the process after a test.
fn conclude(result: Result<test::Verdict, RunError>) -> ExitCode {
    match result {
        Ok(test::Verdict::Same) => ExitCode::SUCCESS,
        Ok(test::Verdict::Different) => ExitCode::from(DIFFERENCE),
        Err(error) => {
            eprintln!("emu: {error}");
            ExitCode::from(error.code())
        }
    }
}

fn host(error: io::Error) -> RunError {
    RunError::Host(error.into())
}

fn print_completions(shell: Shell) -> Result<(), RunError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "emu", &mut script);
    print_out(&script)
}

fn write_manual(directory: Option<PathBuf>) -> Result<(), RunError> {
    let Some(directory) = directory else {
        let mut page = Vec::new();
        // Writing to memory does not fail.
        clap_mangen::Man::new(Arguments::command()).render(&mut page).map_err(anyhow::Error::new)?;
        return print_out(&page);
    };
    clap_mangen::generate_to(Arguments::command(), &directory).map_err(|error| {
        let problem = format!(
            "the pages cannot be written there ({}); name a directory that exists and is writable",
            crate::console::describe_error(&error)
        );
        crate::exit::OptionError::new("emu man", directory.display(), problem)
    })?;
    Ok(())
}

/// Prints to standard output. A reader that has gone away (`| head`) has what it wanted.
fn print_out(text: &[u8]) -> Result<(), RunError> {
    match io::Write::write_all(&mut io::stdout(), text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(RunError::Host(anyhow::Error::new(error).context("standard output")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn help_fits_a_terminal() {
        let mut command = Arguments::command().term_width(100);
        let mut run = command.find_subcommand_mut("run").unwrap().clone().term_width(100);
        for help in [command.render_help().to_string(), run.render_help().to_string()] {
            let longest = help.lines().map(|line| line.chars().count()).max();
            assert!(longest <= Some(100), "{help}");
        }
    }
}
