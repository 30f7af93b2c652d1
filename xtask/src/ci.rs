//! `cargo xtask ci`: the lint, the handlers' machine code and every test, guests included. The last words are the test runner's.

use crate::{
    guests::{self, Guest},
    handlers, lint,
    workspace::{TEST_PROFILE, build_emu, cargo, step},
};
use anyhow::Result;

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
    let emu = build_emu(TEST_PROFILE)?;
    if cfg!(target_arch = "x86_64") {
        handlers::check(&emu)?;
    }
    step(&mut cargo(["test", "--workspace", "--no-fail-fast", "--profile", TEST_PROFILE]))
}
