//! `cargo xtask ci`: the lint, a look whether it compiles for Arm, the handlers' machine code and every test, guests
//! included. The last words are the test runner's.

use crate::{
    guests::{self, Guest},
    handlers, lint,
    workspace::{TEST_PROFILE, build_emu, cargo, output, step},
};
use anyhow::Result;
use std::{path::Path, process::Command};

/// A target that is no x86.
const ARM: &str = "aarch64-unknown-linux-gnu";

/// Runs everything that must pass.
pub fn run() -> Result<()> {
    // Downloads first: a missing guest should be known before the long part. A guest that cannot be had is no
    // failure here; its tests say that they are skipped.
    for guest in Guest::ALL {
        match guests::obtain(guest) {
            Ok(files) => eprintln!("guest {}: {}", guest.name(), files.folder().display()),
            Err(error) => match guests::unavailable(&error) {
                Some(reason) => eprintln!("guest {}: skipped: {reason}", guest.name()),
                None => return Err(error),
            },
        }
    }
    lint::run()?;
    check_for_arm()?;
    let emu = build_emu(TEST_PROFILE)?;
    if cfg!(target_arch = "x86_64") {
        handlers::check(&emu)?;
    }
    step(&mut cargo(["test", "--workspace", "--no-fail-fast", "--profile", TEST_PROFILE]))
}

/// Whether everything but the tests compiles for a host that is no x86; if the compiler has the target.
fn check_for_arm() -> Result<()> {
    let library = output(Command::new("rustc").args(["--print", "target-libdir", "--target", ARM]))?;
    if !Path::new(library.trim()).is_dir() {
        eprintln!("{ARM}: skipped: not among the installed targets (rustup target add {ARM})");
        return Ok(());
    }
    step(&mut cargo(["check", "--quiet", "--workspace", "--locked", "--target", ARM]))
}
