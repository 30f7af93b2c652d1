//! `cargo xtask bench`: the benchmark guest on emu and on a peer in turn, compared by the CPU time of the host.
//!
//! CPU time, not wall time, and the least of several alternating runs: developers' machines are shared. The guest
//! says `BEGIN name` and `END name checksum`; what the emulator's process used between the two lines is the
//! benchmark's cost, and the checksum must be the same on both.

mod command;
mod io;
mod report;
mod run;

pub use run::{Results, run_guest};

use crate::{
    guests::{self, Guest},
    workspace::{build_emu, is_installed},
};
use anyhow::{Result, bail};
use command::Template;
use report::{Side, print};
use std::time::Duration;

/// The emulator compared with if no other is named: QEMU with its translator, not KVM.
const QEMU: &str = "qemu-system-x86_64 -accel tcg -cpu max -m {memory} -display none -no-reboot -monitor none \
                    -serial stdio -kernel {kernel} -initrd {initrd} -append {append}";

/// How emu runs the guest.
const EMU: &str = "{emu} run --memory {memory}M --kernel {kernel} --initrd {initrd} --append {append}";

/// Guest memory in MiB.
const MEMORY: &str = "512";

/// The longest time without a line from the guest before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(600);

/// Options of `cargo xtask bench`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Options {
    #[command(subcommand)]
    other: Option<Other>,
    /// Command of the emulator to compare with, its standard output being the guest's serial port;
    /// {kernel} {initrd} {append} {memory} are filled in (default: QEMU TCG, if it is installed)
    #[arg(long, value_name = "COMMAND")]
    peer: Option<String>,
    /// Runs on each; the least time counts
    #[arg(short = 'n', long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Only these benchmarks, as in sieve,x87,syscall32
    #[arg(long, value_name = "NAMES", default_value = "")]
    filter: String,
    /// Amount of work in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    scale: u32,
    /// Cargo profile that emu is built in
    #[arg(long, default_value = "release")]
    profile: String,
}

/// Other things to measure.
#[derive(Debug, clap::Subcommand)]
enum Other {
    /// Disks and network of a Debian guest, on emu and on QEMU in turn
    Io(io::Options),
}

/// Runs `cargo xtask bench`.
pub fn run(options: &Options) -> Result<()> {
    if let Some(Other::Io(options)) = &options.other {
        return io::run(options);
    }
    let guest = guests::obtain(Guest::Benchmark)?;
    let emu = build_emu(&options.profile)?;
    let append = command_line(&options.filter, options.scale);
    let fill = [
        ("emu", emu.display().to_string()),
        ("kernel", guest.kernel().display().to_string()),
        ("initrd", guest.benchmark_initrd().display().to_string()),
        ("append", append),
        ("memory", MEMORY.to_owned()),
    ];
    let peer = match &options.peer {
        Some(command) => Some(command.as_str()),
        None if is_installed("qemu-system-x86_64") => Some(QEMU),
        None => {
            println!("no peer to compare with: qemu-system-x86_64 is not installed, and --peer names none");
            None
        }
    };
    let mut sides = vec![Side::new("emu", Template::parse(EMU)?.fill(&fill))];
    if let Some(peer) = peer {
        sides.push(Side::new("peer", Template::parse(peer)?.fill(&fill)));
    }
    for round in 1..=options.runs {
        for side in &mut sides {
            eprintln!("run {round} of {}: {}", options.runs, side.name);
            let results = run_guest(&side.command, PATIENCE)?;
            if !results.complete {
                bail!(
                    "the guest on {} did not come to its end; it said last: {}",
                    side.name,
                    results.last_line
                );
            }
            side.add(&results);
        }
    }
    let [emu, rest @ ..] = &sides[..] else { bail!("nothing was run") };
    match print(emu, rest.first()) {
        0 => Ok(()),
        wrong => bail!("{wrong} benchmarks did not give the same checksum on both, or not on emu"),
    }
}

/// The kernel command line for the benchmarks in `names` (all if empty) with `scale` percent of the work.
///
/// The rate is named because the kernel would otherwise drive the UART at 9600 baud.
pub fn command_line(names: &str, scale: u32) -> String {
    let mut line = format!("console=ttyS0,115200 quiet panic=-1 scale={scale}");
    if !names.is_empty() {
        line += " bench=";
        line += names;
    }
    line
}
