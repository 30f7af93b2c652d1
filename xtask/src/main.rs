//! `cargo xtask`: the developer commands. See CONTRIBUTING.md.

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;
use xtask::{bench, ci, guests, handlers, lint, soak};

/// Developer commands of emu.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check layering, clippy, formatting and licences; list long files
    Lint,
    /// Fetch the guests that tests and benchmarks boot, into target/guests
    Guests(guests::Options),
    /// Run the benchmark guest on emu and on QEMU in turn, and compare
    Bench(bench::Options),
    /// Load on disks, network and a shared folder of a guest for an hour, and whether memory stays flat
    Soak(soak::Options),
    /// Check in the machine code that the interpreter's handlers continue by jumps
    Handlers(handlers::Options),
    /// What must pass before a change is merged: lint, handlers, then every test, the guests' included
    Ci,
}

fn main() -> ExitCode {
    match run(&Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<()> {
    match command {
        Command::Lint => lint::run(),
        Command::Guests(options) => guests::run(options),
        Command::Bench(options) => bench::run(options),
        Command::Handlers(options) => handlers::run(options),
        Command::Soak(options) => soak::run(options),
        Command::Ci => ci::run(),
    }
}
