//! `emu demo`: real Linux, without having to find one.

use super::{
    network::NetworkOptions,
    run::{command_line_for, machine_name, run_machine},
};
use crate::{
    config::{DiskSpec, MIB, MachineConfig, parse_cpus, parse_memory},
    exit::{ExitReason, OptionError, RunError},
    guests::{
        GuestError, Progress,
        debian::{self, DebianGuest},
        linux::{self, LinuxGuest},
    },
    logger,
};
use clap::{Args, ValueHint};
use emu_disk::Format;
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    env,
    path::{Path, PathBuf},
    time::Duration,
};

const BY_HAND: &str = "\
emu demo gets its guest from Debian by apt. Without that, boot a kernel and an initial ramdisk of your own:
  emu run --memory 256M --kernel vmlinuz --initrd initrd.gz --append console=ttyS0,115200
vmlinuz is any x86 Linux kernel with the 8250 serial console built in (a distribution's cloud kernel is one);
initrd.gz is a cpio archive with a static busybox and an executable /init, or your distribution's own.
";

const DEBIAN_BY_HAND: &str = "\
emu demo --debian makes its system with mmdebstrap and e2fsprogs (and fakeroot, unless root runs it):
  apt-get install mmdebstrap e2fsprogs fakeroot
";

/// The options of `emu demo`.
#[derive(Debug, Args)]
pub struct DemoOptions {
    /// A Debian system on a disk, with systemd and an ssh server; what is done in it stays
    #[arg(long)]
    debian: bool,

    /// Number of processors
    #[arg(long, value_name = "N", default_value = "1", value_parser = parse_cpus)]
    cpus: u32,

    /// Memory: a number of MiB, or a size such as 512M or 4G [default: 256M, with --debian 1G]
    #[arg(long, value_name = "SIZE", value_parser = parse_memory)]
    memory: Option<u64>,

    /// Where to keep the guest [default: emu in $XDG_CACHE_HOME or ~/.cache]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    cache: Option<PathBuf>,

    /// Only fetch the guest, and print the command that boots it
    #[arg(long)]
    prepare: bool,
}

impl DemoOptions {
    /// Obtains the guest and runs it to its end; `None` if it was only to be obtained.
    pub fn run(self) -> Result<Option<ExitReason>, RunError> {
        logger::start(logger::DEFAULT_FILTER, None)?;
        let cache = match &self.cache {
            Some(cache) => cache.clone(),
            None => default_cache()?,
        };
        let progress = Bar::new();
        eprintln!("emu: Linux from Debian, kept in {}", cache.display());
        let config = if self.debian { self.debian(&cache, &progress) } else { self.shell(&cache, &progress) };
        progress.0.finish_and_clear();
        let config = config?;
        if self.prepare {
            println!("{}", command_for(&config));
            return Ok(None);
        }
        run_machine(config).map(Some)
    }

    fn shell(&self, cache: &Path, progress: &dyn Progress) -> Result<MachineConfig, RunError> {
        let LinuxGuest { kernel, initrd } =
            linux::obtain(cache, progress).map_err(|error| explain(error, BY_HAND))?;
        eprintln!("emu: booting {} to a shell", kernel.display());
        Ok(MachineConfig {
            append: linux::COMMAND_LINE.into(),
            ..self.machine(kernel, initrd, linux::MEMORY)
        })
    }

    fn debian(&self, cache: &Path, progress: &dyn Progress) -> Result<MachineConfig, RunError> {
        let folder = cache.join("debian");
        let DebianGuest { kernel, initrd, image } =
            debian::obtain(&folder, progress).map_err(|error| explain(error, DEBIAN_BY_HAND))?;
        eprintln!("emu: booting {}; log in as root with the password emu", image.display());
        let disk = DiskSpec { format: Some(Format::Raw), ..DiskSpec::new(image) };
        Ok(MachineConfig {
            append: command_line_for(&disk),
            networks: NetworkOptions::default().cards(&machine_name(Some(&disk)))?,
            disks: vec![disk],
            ..self.machine(kernel, initrd, debian::MEMORY)
        })
    }

    fn machine(&self, kernel: PathBuf, initrd: PathBuf, memory: u64) -> MachineConfig {
        MachineConfig {
            kernel: Some(kernel),
            initrd: vec![crate::config::Module { path: initrd, command_line: String::new() }],
            memory: self.memory.unwrap_or(memory),
            cpus: self.cpus,
            ..MachineConfig::default()
        }
    }
}

/// What runs the same machine.
fn command_for(config: &MachineConfig) -> String {
    let mut command = format!("emu run --memory {}M --cpus {}", config.memory / MIB, config.cpus);
    if let Some(kernel) = &config.kernel {
        command += &format!(" --kernel {}", kernel.display());
    }
    for initrd in &config.initrd {
        command += &format!(" --initrd {}", initrd.path.display());
    }
    for disk in &config.disks {
        command += &format!(" --disk {},format=raw", disk.path.display());
    }
    format!("{command} --append '{}'", config.append)
}

/// Where files that can be fetched again belong (XDG Base Directory Specification).
fn default_cache() -> Result<PathBuf, OptionError> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    base.map(|base| base.join("emu")).ok_or_else(|| {
        OptionError::new("--cache", "", "there is no home directory; name one with --cache DIR")
    })
}

fn explain(error: GuestError, by_hand: &str) -> RunError {
    match error {
        // A read-only or missing directory is for the user to choose.
        GuestError::Io { path, source } => {
            let problem = format!(
                "cannot be used ({}); name a directory with --cache DIR",
                crate::console::describe_error(&source)
            );
            RunError::Option(OptionError::new("--cache", path.display(), problem))
        }
        error => RunError::Host(anyhow::anyhow!("demo: {error}\n{by_hand}")),
    }
}

/// Progress on the terminal; only steps, as lines, where there is none.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Bar {
        Bar(ProgressBar::new_spinner().with_style(ProgressStyle::default_spinner()))
    }
}

impl Progress for Bar {
    fn step(&self, what: &str) {
        if self.0.is_hidden() {
            eprintln!("emu: {what}");
            return;
        }
        self.0.suspend(|| eprintln!("emu: {what}"));
        self.0.set_style(ProgressStyle::default_spinner());
        self.0.enable_steady_tick(Duration::from_millis(100));
    }

    fn advance(&self, done: u64, total: u64) {
        if total > 0 {
            let template = "     {wide_bar} {bytes} of {total_bytes}";
            let style =
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            self.0.set_style(style);
            self.0.set_length(total);
            self.0.set_position(done);
        }
    }
}
