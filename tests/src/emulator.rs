//! The emulator under test, and the guests that it runs.

use crate::session::Session;
use std::{
    env,
    ffi::OsStr,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
    thread,
};
use xtask::{
    guests::{self, Guest, GuestFiles},
    workspace,
};

/// The kernel command line that puts a Linux console on the first serial port. The rate is named because the
/// kernel would otherwise drive the port at 9600 baud.
pub const LINUX_CONSOLE: &str = "console=ttyS0,115200 quiet";

/// A command line of the emulator.
#[derive(Debug)]
pub struct Emulator {
    command: Command,
}

impl Emulator {
    /// `emu run`.
    pub fn run() -> Self {
        let mut command = Command::new(binary());
        command.arg("run");
        Emulator { command }
    }

    /// `emu test diff`.
    pub fn diff() -> Self {
        let mut command = Command::new(binary());
        command.args(["test", "diff"]);
        Emulator { command }
    }

    /// `emu disk`.
    pub fn disk() -> Self {
        let mut command = Command::new(binary());
        command.arg("disk");
        Emulator { command }
    }

    /// `emu accel`.
    pub fn accel() -> Self {
        let mut command = Command::new(binary());
        command.arg("accel");
        Emulator { command }
    }

    /// `emu ctl` with the control socket at `path`.
    pub fn ctl(path: &Path) -> Self {
        let mut command = Command::new(binary());
        command.arg("ctl").arg(path);
        Emulator { command }
    }

    /// `emu run` with `kernel` and `initrd` and the Linux console.
    pub fn linux(kernel: &Path, initrd: &Path) -> Self {
        Self::run().option("--kernel", kernel).option("--initrd", initrd).option("--append", LINUX_CONSOLE)
    }

    /// `emu run` with a guest of Debian's kernel and its modules, and a shell on its console.
    pub fn shell(guest: &GuestFiles) -> Self {
        Self::run()
            .option("--kernel", guest.kernel())
            .option("--initrd", guest.modules_initrd())
            .option("--append", format!("{LINUX_CONSOLE} task=shell"))
    }

    /// `emu run` with the Debian guest, 512 MiB and two virtio disks: its own, which stays as it is, and `script`, which
    /// `xtask::guests::task` has written and the guest carries out.
    pub fn debian_task(guest: &GuestFiles, script: &Path) -> Self {
        Self::run()
            .option("--kernel", guest.kernel())
            .option("--initrd", guest.debian_initrd())
            .option("--append", guests::task::command_line("/dev/vda", "/dev/vdb"))
            .option("--memory", "512M")
            .option("--disk", format!("{},format=raw,overlay", guest.debian_image().display()))
            .option("--disk", format!("{},format=raw,readonly", script.display()))
    }

    /// Adds an option with its value.
    pub fn option(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.arg(name).arg(value);
        self
    }

    /// Adds one word: an option without a value.
    pub fn flag(mut self, name: &str) -> Self {
        self.command.arg(name);
        self
    }

    /// Starts it with its console on pipes.
    pub fn start(self) -> Session {
        Session::on_pipes(self.command)
    }

    /// Starts it with its console on a terminal.
    pub fn start_on_terminal(self) -> Session {
        Session::on_terminal(self.command)
    }

    /// Runs it to its end without input: for what ends before a guest starts.
    pub fn output(mut self) -> Output {
        self.command.stdin(Stdio::null()).output().expect("the emulator was built, so it can be run")
    }
}

/// The emulator's program, built first in the profile that this test was built in. A stale program would test
/// the wrong thing.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let test = env::current_exe().expect("a test knows its own path");
        // target/PROFILE/deps/test
        let profile = test.parent().and_then(Path::parent).and_then(Path::file_name).and_then(OsStr::to_str);
        let profile = match profile.expect("cargo puts tests into a folder of their profile") {
            "debug" => "dev",
            other => other,
        };
        workspace::build_emu(profile).unwrap_or_else(|error| panic!("the emulator does not build: {error:#}"))
    })
}

/// A guest's files; or nothing, after saying which test is skipped and why, if the guest cannot be had on this
/// host. Panics if it should be had and cannot.
pub fn guest_or_skip(guest: Guest) -> Option<GuestFiles> {
    match guests::obtain(guest) {
        Ok(files) => Some(files),
        Err(error) => {
            let reason = guests::unavailable(&error);
            let reason = reason.unwrap_or_else(|| panic!("{error:#}"));
            skip(&format!("the guest {} cannot be had: {reason}", guest.name()));
            None
        }
    }
}

/// Says that the current test is skipped, and why, past the test runner's capture of output.
pub fn skip(reason: &str) {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    // Nothing depends on the message: a closed standard error must not fail the test.
    writeln!(io::stderr(), "{test} skipped: {reason}").unwrap_or_default();
}
