//! `cargo xtask bench io`: disks and network of a Debian guest, on emu and on QEMU in turn.
//!
//! The guest boots from a virtio disk, and measures by its own clock: a disk of a GiB on each controller in turn, with
//! fio and without its page cache, and TCP to a server on the host's loopback interface through the user-mode network.
//! The best of the runs counts.

mod server;

use crate::{
    guests::{self, Guest, GuestFiles, task},
    workspace::{build_emu, is_installed, output, root},
};
use anyhow::{Context, Result, bail};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Length of the disk that is measured; the script knows it by that.
const DISK: u64 = 1 << 30;

/// Options of `cargo xtask bench io`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Runs on each; the best counts
    #[arg(short = 'n', long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Controllers to measure
    #[arg(long, value_delimiter = ',', default_values = ["virtio", "nvme", "ahci", "ide"])]
    bus: Vec<Bus>,
    /// Seconds for each figure
    #[arg(long, default_value_t = 3)]
    seconds: u32,
    /// Leave the network out
    #[arg(long)]
    no_net: bool,
    /// Leave the disks out
    #[arg(long, conflicts_with = "no_net")]
    no_disk: bool,
    /// Cargo profile that emu is built in
    #[arg(long, default_value = "release")]
    profile: String,
}

/// A disk controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Bus {
    /// virtio-blk.
    Virtio,
    /// NVMe.
    Nvme,
    /// AHCI.
    Ahci,
    /// IDE.
    Ide,
}

impl Bus {
    fn name(self) -> &'static str {
        match self {
            Bus::Virtio => "virtio",
            Bus::Nvme => "nvme",
            Bus::Ahci => "ahci",
            Bus::Ide => "ide",
        }
    }

    /// QEMU's options for the disk called `d`.
    fn qemu(self) -> &'static [&'static str] {
        match self {
            Bus::Virtio => &["-device", "virtio-blk-pci,drive=d"],
            Bus::Nvme => &["-device", "nvme,drive=d,serial=d"],
            Bus::Ahci => &["-device", "ich9-ahci,id=a", "-device", "ide-hd,drive=d,bus=a.0"],
            Bus::Ide => &["-device", "ide-hd,drive=d,bus=ide.0"],
        }
    }
}

/// What a figure is measured in, and whether more is better.
const FIGURES: [(&str, &str, bool); 9] = [
    ("seq_read", "MB/s", true),
    ("seq_write", "MB/s", true),
    ("rand_read_1", "IOPS", true),
    ("rand_write_1", "IOPS", true),
    ("rand_read_32", "IOPS", true),
    ("rand_write_32", "IOPS", true),
    ("tcp_in", "MB/s", true),
    ("tcp_out", "MB/s", true),
    ("tcp_turn", "us", false),
];

type Figures = BTreeMap<String, f64>;

struct Bench {
    debian: GuestFiles,
    task: PathBuf,
    disk: PathBuf,
    emu: PathBuf,
}

/// Runs `cargo xtask bench io`.
pub fn run(options: &Options) -> Result<()> {
    if !is_installed("qemu-system-x86_64") {
        bail!("there is no peer to compare with: qemu-system-x86_64 is not installed");
    }
    let debian = guests::obtain(Guest::Debian)?;
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let bench = Bench {
        debian,
        task: folder.path().join("task.raw"),
        disk: folder.path().join("disk.raw"),
        emu: build_emu(&options.profile)?,
    };
    let program = folder.path().join("tcp");
    let source = root().join("xtask/bench-guest/net/tcp.c");
    output(Command::new("gcc").args(["-O2", "-static", "-Wall", "-o"]).arg(&program).arg(source))?;
    let program = fs::read(&program).context("the compiler made no program")?;
    fill(&bench.disk)?;
    let port = server::start().context("cannot start the server")?;
    let buses = if options.no_disk { &options.bus[..1] } else { &options.bus[..] };
    for (number, bus) in buses.iter().enumerate() {
        let port = if number == 0 && !options.no_net { port } else { 0 };
        let disks = if options.no_disk { "none" } else { "/sys/block/*" };
        let script = include_str!("script.sh").replace("PORT", &port.to_string()).replace("DISKS", disks);
        task::write_disk(&bench.task, &script.replace("SECONDS", &options.seconds.to_string()), &program)?;
        let (mut emu, mut qemu) = (Figures::new(), Figures::new());
        for round in 1..=options.runs {
            eprintln!("{} disk, run {round} of {}", bus.name(), options.runs);
            keep_best(&mut emu, &measure(bench.emu_command(*bus))?);
            keep_best(&mut qemu, &measure(bench.qemu_command(*bus))?);
        }
        print(bus.name(), &emu, &qemu);
    }
    Ok(())
}

/// A disk whose every block is there and is not zero.
fn fill(path: &Path) -> Result<()> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    let chunk: Vec<u8> = (0..1u32 << 18).flat_map(|n| n.wrapping_mul(0x9E37_79B9).to_le_bytes()).collect();
    for _ in 0..DISK / chunk.len() as u64 {
        std::io::Write::write_all(&mut &file, &chunk).context("cannot fill the disk")?;
    }
    file.sync_all().context("cannot fill the disk")
}

impl Bench {
    fn emu_command(&self, bus: Bus) -> Command {
        let mut command = Command::new(&self.emu);
        command.args(["run", "--memory", "1G", "--kernel"]).arg(self.debian.kernel());
        command.arg("--initrd").arg(self.debian.debian_initrd());
        command.args(["--append", &task::command_line("/dev/vda", "/dev/vdb")]);
        let disk = |path: &Path, options: &str| format!("{}{options}", path.display());
        command.args(["--disk", &disk(&self.debian.debian_image(), ",format=raw,overlay")]);
        command.args(["--disk", &disk(&self.task, ",format=raw,readonly")]);
        command.args(["--disk", &disk(&self.disk, &format!(",format=raw,bus={}", bus.name()))]);
        command.args(["--net", "user"]);
        command
    }

    fn qemu_command(&self, bus: Bus) -> Command {
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-accel", "tcg", "-cpu", "max", "-m", "1G", "-nographic", "-no-reboot"]);
        command.arg("-kernel").arg(self.debian.kernel()).arg("-initrd").arg(self.debian.debian_initrd());
        command.args(["-append", &task::command_line("/dev/vda", "/dev/vdb")]);
        let drive = |path: &Path, options: &str| format!("file={},format=raw,{options}", path.display());
        // Devices come in the order of `-device`; those that `if=virtio` makes come after all of them.
        command.args(["-drive", &drive(&self.debian.debian_image(), "if=none,id=root,snapshot=on")]);
        command.args(["-device", "virtio-blk-pci,drive=root"]);
        command.args(["-drive", &drive(&self.task, "if=none,id=task,readonly=on")]);
        command.args(["-device", "virtio-blk-pci,drive=task"]);
        command.args(["-drive", &drive(&self.disk, "if=none,id=d")]).args(bus.qemu());
        command.args(["-nic", "user,model=virtio-net-pci"]);
        command
    }
}

/// Runs a guest to its end; what it measured.
fn measure(mut command: Command) -> Result<Figures> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {program}"))?;
    let (mut figures, mut last) = (Figures::new(), String::new());
    if let Some(console) = child.stdout.take() {
        for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
            last = String::from_utf8_lossy(&line).trim().to_owned();
            figures.extend(figure(&last));
        }
    }
    child.wait().with_context(|| format!("cannot wait for {program}"))?;
    if figures.remove("done").is_none() {
        bail!("the guest on {program} did not come to its end; it said last: {last}");
    }
    Ok(figures)
}

/// `emu-io: NAME=VALUE`, anywhere in a line: a console clears its screen in front of the first.
fn figure(line: &str) -> Option<(String, f64)> {
    let (name, value) = line.split_once("emu-io: ")?.1.split_once('=')?;
    Some((name.to_owned(), value.parse().ok()?))
}

fn keep_best(best: &mut Figures, new: &Figures) {
    for (name, value) in new {
        let more_is_better = FIGURES.iter().any(|(figure, _, more)| figure == name && *more);
        let kept = best.entry(name.clone()).or_insert(*value);
        *kept = if more_is_better { kept.max(*value) } else { kept.min(*value) };
    }
}

fn print(bus: &str, emu: &Figures, qemu: &Figures) {
    println!("{bus:16}{:>10}{:>10}{:>8}", "QEMU", "emu", "ratio");
    for (name, unit, more_is_better) in FIGURES {
        if let (Some(ours), Some(theirs)) = (emu.get(name), qemu.get(name)) {
            let ratio = if more_is_better { ours / theirs } else { theirs / ours };
            println!("  {name:14}{theirs:10.0}{ours:10.0}{ratio:8.2}  {unit}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_behind_what_a_console_prints() {
        assert_eq!(figure("\u{1b}[2Jemu-io: seq_read=12.5"), Some(("seq_read".into(), 12.5)));
        assert_eq!(figure("emu-io: tcp_connect: refused"), None);
    }

    #[test]
    fn the_best_is_the_most_or_the_shortest() {
        let of = |read: f64, turn: f64| Figures::from([("seq_read".into(), read), ("tcp_turn".into(), turn)]);
        let mut best = of(1.0, 5.0);
        keep_best(&mut best, &of(2.0, 9.0));
        assert_eq!(best, of(2.0, 5.0));
    }
}
