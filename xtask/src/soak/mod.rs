//! `cargo xtask soak`: a Debian guest with load on disks of both formats, network and a shared folder for a long time, and
//! whether emu's memory stays as it is.
//!
//! All data is checked: in the guest while it runs, and afterwards on the host, where images are looked at with other
//! programs than ours.

mod sample;
mod stream;

use crate::{
    guests::{self, Guest, GuestFiles, task},
    workspace::{build_emu, output, root},
};
use anyhow::{Context, Result, bail, ensure};
use sample::Sample;
use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// MiB of the guest's memory, and of it what the guest uses once in the beginning.
const MEMORY: u64 = 384;
const FILLED: u64 = 230;
/// Length of each disk that has load.
const DISK: &str = "512M";
const SAMPLES_EVERY: Duration = Duration::from_secs(10);
/// What memory may differ by, in KiB: threads that come and go keep some each.
const SLACK: u64 = 16 << 10;
/// The port that the guest's server listens at.
const GUEST_PORT: u16 = 7000;

/// Options of `cargo xtask soak`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// How long the load lasts
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,
    /// Minutes in the beginning in which memory may grow: code is being translated
    #[arg(long, default_value_t = 5)]
    warm_up: u64,
    /// Cargo profile that emu is built in
    #[arg(long, default_value = "release")]
    profile: String,
}

/// What the guest has said.
#[derive(Debug, Default)]
struct Said {
    rounds: String,
    failures: Vec<String>,
    lost: u64,
    ended: bool,
    last: String,
}

/// What the host's own calls to the guest came to.
#[derive(Debug, Default)]
struct Calls {
    done: AtomicU64,
    failed: AtomicU64,
}

struct Soak {
    folder: PathBuf,
    emu: PathBuf,
    debian: GuestFiles,
    forward: u16,
}

/// Runs `cargo xtask soak`.
pub fn run(options: &Options) -> Result<()> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let soak = Soak {
        folder: folder.path().to_owned(),
        emu: build_emu(&options.profile)?,
        debian: guests::obtain(Guest::Debian)?,
        forward: TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr())?.port(),
    };
    soak.prepare(stream::start().context("cannot start the server")?)?;
    let mut child = soak.start()?;
    let said = Arc::new(Mutex::new(Said::default()));
    listen(&mut child, said.clone());
    let outcome = soak.watch(&mut child, options, &said);
    // It has ended, or must: an emulator is not left behind.
    child.kill().ok();
    child.wait().context("cannot wait for emu")?;
    let samples = outcome?;
    soak.check_disks()?;
    soak.check_share()?;
    let said = said.lock().unwrap_or_else(PoisonError::into_inner);
    println!("datagrams lost: {}", said.lost);
    ensure!(said.failures.is_empty(), "the guest found: {}", said.failures.join("; "));
    let grown = sample::growth(&samples, options.warm_up * 60, SLACK);
    ensure!(grown.is_empty(), "not flat: {}", grown.join("; "));
    println!("flat, and all data is right");
    Ok(())
}

impl Soak {
    fn at(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Disks, the shared folder, and the guest's script with its program.
    fn prepare(&self, port: u16) -> Result<()> {
        for name in ["disk.qcow2", "disk.raw"] {
            output(Command::new(&self.emu).args(["disk", "create"]).arg(self.at(name)).arg(DISK))?;
        }
        fs::create_dir_all(self.at("share/made"))?;
        let given: Vec<u8> =
            (0..1u32 << 18).flat_map(|n| n.wrapping_mul(0x9E37_79B9).to_le_bytes()).collect();
        fs::write(self.at("share/given"), given)?;
        let program = self.at("stream");
        let source = root().join("xtask/bench-guest/net/stream.c");
        output(Command::new("gcc").args(["-O2", "-static", "-Wall", "-o"]).arg(&program).arg(source))?;
        let script = include_str!("script.sh")
            .replace("PORT", &port.to_string())
            .replace("FILL", &FILLED.to_string())
            .replace("GIVEN", &digest(&self.at("share/given"))?);
        task::write_disk(&self.at("task.raw"), &script, &fs::read(&program)?)
    }

    fn start(&self) -> Result<Child> {
        let disk = |path: &Path, options: &str| format!("{},{options}", path.display());
        let mut command = Command::new(&self.emu);
        command.args(["run", "--memory", &format!("{MEMORY}M"), "--kernel"]).arg(self.debian.kernel());
        command.arg("--initrd").arg(self.debian.debian_initrd());
        command.args(["--append", &task::command_line("/dev/vda", "/dev/vdb")]);
        command.args(["--disk", &disk(&self.debian.debian_image(), "format=raw,overlay")]);
        command.args(["--disk", &disk(&self.at("task.raw"), "format=raw,readonly")]);
        command.args(["--disk", &disk(&self.at("disk.qcow2"), "format=qcow2,discard")]);
        command.args(["--disk", &disk(&self.at("disk.raw"), "format=raw,bus=nvme,discard")]);
        command.args(["--share", &disk(&self.at("share"), "tag=soak"), "--rng"]);
        command.args(["--forward", &format!("tcp:127.0.0.1:{}:{GUEST_PORT}", self.forward)]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.spawn().context("cannot run emu")
    }

    /// Samples emu until the time is over, and then until the guest has come to its end.
    fn watch(&self, child: &mut Child, options: &Options, said: &Mutex<Said>) -> Result<Vec<Sample>> {
        let (begin, length) = (now(), Duration::from_secs(options.minutes * 60));
        let calls = self.call(length);
        let (mut samples, mut minute) = (Vec::new(), 0);
        println!("minute       RSS  threads  files  processors  rounds");
        while begin.elapsed() < length {
            if let Some(status) = child.try_wait().context("cannot wait for emu")? {
                bail!("emu ended early, with {status}; the guest said last: {}", heard(said).last);
            }
            samples.push(sample::take(child.id(), begin.elapsed().as_secs())?);
            if begin.elapsed().as_secs() / 60 >= minute {
                print_minute(&samples, minute, &heard(said), &calls);
                minute += 1;
            }
            thread::sleep(SAMPLES_EVERY);
        }
        samples.push(sample::take(child.id(), begin.elapsed().as_secs())?);
        print_minute(&samples, options.minutes, &heard(said), &calls);
        fs::write(self.at("share/stop"), "")?;
        while child.try_wait().context("cannot wait for emu")?.is_none() {
            ensure!(
                begin.elapsed() < length + Duration::from_secs(600),
                "the guest does not come to its end"
            );
            thread::sleep(Duration::from_millis(100));
        }
        let heard = heard(said);
        ensure!(heard.ended, "the guest did not come to its end; it said last: {}", heard.last);
        let failed = calls.failed.load(Ordering::Relaxed);
        ensure!(failed == 0, "{failed} calls to the guest failed");
        Ok(samples)
    }

    /// Calls the guest's server through the forwarded port, from a thread, for somewhat less than `length`.
    fn call(&self, length: Duration) -> Arc<Calls> {
        let calls = Arc::new(Calls::default());
        let (counted, port, begin) = (calls.clone(), self.forward, now());
        thread::spawn(move || {
            for seed in 1u64.. {
                if begin.elapsed() + Duration::from_secs(20) > length {
                    return;
                }
                // Mostly short ones. The guest is booting in the beginning, and a forward waits for it.
                let len = if seed.is_multiple_of(50) { 4 << 20 } else { seed % 4000 };
                let kind = if seed.is_multiple_of(2) { b'd' } else { b'u' };
                match stream::call(port, kind, seed * 7919, len) {
                    Ok(true) => counted.done.fetch_add(1, Ordering::Relaxed),
                    // Reset: the guest is up, and its server is not yet.
                    Err(_) if counted.done.load(Ordering::Relaxed) == 0 => 0,
                    other => {
                        eprintln!("a call to the guest failed: {other:?}");
                        counted.failed.fetch_add(1, Ordering::Relaxed)
                    }
                };
                thread::sleep(Duration::from_millis(100));
            }
        });
        calls
    }

    /// Both disks have the files that the guest says, seen from outside.
    fn check_disks(&self) -> Result<()> {
        output(Command::new("qemu-img").args(["check", "-q", "-f", "qcow2"]).arg(self.at("disk.qcow2")))?;
        for (disk, name) in [("disk.qcow2", "qcow2"), ("disk.raw", "nvme")] {
            let raw = self.at("content.raw");
            let mut convert = Command::new(&self.emu);
            convert.args(["disk", "convert", "--force", "-O", "raw"]).arg(self.at(disk)).arg(&raw);
            output(&mut convert)?;
            output(outside("e2fsck").args(["-f", "-n"]).arg(&raw))?;
            let sums = fs::read_to_string(self.at(&format!("share/{name}.sums")))?;
            ensure!(!sums.is_empty(), "{disk} has no files");
            for line in sums.lines() {
                let (expected, file) = line.split_once("  ").context("no line of sha256sum")?;
                let copy = self.at("file");
                output(
                    outside("debugfs").args(["-R", &format!("dump /{file} {}", copy.display())]).arg(&raw),
                )?;
                ensure!(digest(&copy)? == expected, "{file} on {disk} is not what the guest wrote");
            }
            println!("{disk}: {} files as the guest wrote them", sums.lines().count());
        }
        Ok(())
    }

    /// The shared folder has what the guest put there.
    fn check_share(&self) -> Result<()> {
        let mut count = 0;
        for entry in fs::read_dir(self.at("share/made"))? {
            let folder = entry?.path();
            let expected = fs::read_to_string(folder.join("digest"))?;
            ensure!(digest(&folder.join("file"))? == expected.trim(), "{} is not right", folder.display());
            count += 1;
        }
        ensure!(count > 0, "nothing was put into the shared folder");
        println!("shared folder: {count} files as the guest wrote them");
        Ok(())
    }
}

/// A program that is where only root looks for it.
fn outside(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()));
    command
}

fn digest(path: &Path) -> Result<String> {
    let line = output(Command::new("sha256sum").arg(path))?;
    Ok(line.split_whitespace().next().unwrap_or_default().to_owned())
}

/// Hears what the guest says, from a thread.
fn listen(child: &mut Child, said: Arc<Mutex<Said>>) {
    let Some(console) = child.stdout.take() else { return };
    thread::spawn(move || {
        for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim().to_owned();
            said.lock().unwrap_or_else(PoisonError::into_inner).hear(&line);
        }
    });
}

fn heard(said: &Mutex<Said>) -> std::sync::MutexGuard<'_, Said> {
    said.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Said {
    fn hear(&mut self, line: &str) {
        self.last = line.to_owned();
        let Some((_, word)) = line.split_once("emu-soak: ") else { return };
        if let Some(rounds) = word.strip_prefix("rounds ") {
            self.rounds = rounds.to_owned();
        } else if let Some(what) = word.strip_prefix("failed: ") {
            eprintln!("{line}");
            self.failures.push(what.to_owned());
        } else if let Some(lost) = word.strip_prefix("lost ") {
            self.lost += lost.split(' ').next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
        } else if word == "ended" {
            self.ended = true;
        }
    }
}

fn print_minute(samples: &[Sample], minute: u64, said: &Said, calls: &Calls) {
    // Seven samples are a minute.
    let latest = &samples[samples.len().saturating_sub(7)..];
    let (Some(first), Some(last)) = (latest.first(), latest.last()) else { return };
    let seconds = (last.second - first.second).max(1);
    let busy = (last.ticks - first.ticks) as f64 / 100.0 / seconds as f64;
    let (done, failed) = (calls.done.load(Ordering::Relaxed), calls.failed.load(Ordering::Relaxed));
    println!(
        "{minute:6} {:7} K  {:7}  {:5}  {busy:10.2}  {} calls={done}/{failed}",
        last.resident, last.threads, last.files, said.rounds
    );
}

#[expect(clippy::disallowed_methods, reason = "how long a run lasts is the host's time, not a machine's")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_guest_says_is_understood() {
        let mut said = Said::default();
        said.hear("\u{1b}[2Jemu-soak: rounds qcow2=3 net=4");
        said.hear("emu-soak: failed: net: connect: refused");
        said.hear("emu-soak: lost 2 datagrams");
        assert_eq!((said.rounds.as_str(), said.lost, said.ended), ("qcow2=3 net=4", 2, false));
        assert_eq!(said.failures, ["net: connect: refused"]);
        said.hear("emu-soak: ended");
        assert!(said.ended);
    }
}
