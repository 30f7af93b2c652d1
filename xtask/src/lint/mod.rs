//! `cargo xtask lint`: the rules that a compiler does not check, and the tools that check the rest.

mod layers;
mod mnemonics;
mod sizes;

use crate::workspace::{cargo, is_installed, output, root, step};
use anyhow::{Context, Result, bail};

/// Runs every check; the quick ones first.
pub fn run() -> Result<()> {
    let metadata = output(&mut cargo(["metadata", "--format-version", "1", "--no-deps", "--locked"]))?;
    let metadata = serde_json::from_str(&metadata).context("cannot read cargo's metadata")?;
    let mut violations = layers::check(&metadata)?;
    violations.extend(mnemonics::check(&root().join("emu-jit/src"))?);
    for violation in &violations {
        eprintln!("lint: {violation}");
    }
    if !violations.is_empty() {
        bail!("{} broken rules", violations.len());
    }
    for long in sizes::over_limit(&root())? {
        println!("lint: {long}");
    }
    step(&mut cargo(["fmt", "--all", "--check"]))?;
    step(&mut cargo([
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ]))?;
    if is_installed("cargo-deny") {
        // Not advisories: their database comes from a network that a test must not depend on.
        step(&mut cargo(["deny", "check", "bans", "licenses", "sources"]))?;
    } else {
        println!("lint: cargo deny skipped: cargo-deny is not installed");
    }
    Ok(())
}
