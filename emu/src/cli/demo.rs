//! `emu demo`: real Linux, without having to find one.

use super::run::run_machine;
use crate::{
    config::{MIB, MachineConfig, parse_cpus, parse_memory},
    exit::{ExitReason, OptionError, RunError},
    guests::{
        GuestError, Progress,
        linux::{self, LinuxGuest},
    },
    logger,
};
use clap::{Args, ValueHint};
use indicatif::{ProgressBar, ProgressStyle};
use std::{env, path::PathBuf, time::Duration};

const BY_HAND: &str = "\
emu demo gets its guest from Debian by apt. Without that, boot a kernel and an initial ramdisk of your own:
  emu run --memory 256M --kernel vmlinuz --initrd initrd.gz --append console=ttyS0,115200
vmlinuz is any x86 Linux kernel with the 8250 serial console built in (a distribution's cloud kernel is one);
initrd.gz is a cpio archive with a static busybox and an executable /init, or your distribution's own.
";

/// The options of `emu demo`.
#[derive(Debug, Args)]
pub struct DemoOptions {
    /// Number of processors
    #[arg(long, value_name = "N", default_value = "1", value_parser = parse_cpus)]
    cpus: u32,

    /// Memory: a number of MiB, or a size such as 512M or 4G
    #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = parse_memory)]
    memory: u64,

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
        let cache = match self.cache {
            Some(cache) => cache,
            None => default_cache()?,
        };
        let progress = Bar::new();
        eprintln!("emu: Linux from Debian, kept in {}", cache.display());
        let obtained = linux::obtain(&cache, &progress);
        progress.0.finish_and_clear();
        let guest = obtained.map_err(explain)?;
        if self.prepare {
            println!("{}", command_for(&guest, self.memory, self.cpus));
            return Ok(None);
        }
        eprintln!("emu: booting {} to a shell", guest.kernel.display());
        let config = MachineConfig {
            kernel: Some(guest.kernel),
            initrd: vec![crate::config::Module { path: guest.initrd, command_line: String::new() }],
            append: linux::COMMAND_LINE.into(),
            memory: self.memory,
            cpus: self.cpus,
            ..MachineConfig::default()
        };
        run_machine(config).map(Some)
    }
}

fn command_for(guest: &LinuxGuest, memory: u64, cpus: u32) -> String {
    format!(
        "emu run --memory {}M --cpus {cpus} --kernel {} --initrd {} --append '{}'",
        memory / MIB,
        guest.kernel.display(),
        guest.initrd.display(),
        linux::COMMAND_LINE
    )
}

/// Where files that can be fetched again belong (XDG Base Directory Specification).
fn default_cache() -> Result<PathBuf, OptionError> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    base.map(|base| base.join("emu")).ok_or_else(|| {
        OptionError::new("--cache", "", "there is no home directory; name one with --cache DIR")
    })
}

fn explain(error: GuestError) -> RunError {
    match error {
        // A read-only or missing directory is for the user to choose.
        GuestError::Io { path, source } => {
            let problem = format!(
                "cannot be used ({}); name a directory with --cache DIR",
                crate::console::describe_error(&source)
            );
            RunError::Option(OptionError::new("--cache", path.display(), problem))
        }
        error => RunError::Host(anyhow::anyhow!("demo: {error}\n{BY_HAND}")),
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
