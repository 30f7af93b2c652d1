//! Builds the benchmark guest: the C programs of `xtask/bench-guest`, as process 1 of an initramfs that holds
//! nothing else.

use super::{GuestFiles, copy, write};
use crate::workspace::{is_installed, output, root};
use anyhow::{Context, Result};
use emu::guests::{GuestError, Initramfs};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Sources, in the order given to the compiler.
const SOURCES: [&str; 4] = ["main.c", "memory.c", "processor.c", "system.c"];

/// Vectorised or fused loops would measure, and give, something else on each compiler.
const FLAGS: [&str; 7] = [
    "-O2",
    "-static",
    "-Wall",
    "-fno-tree-vectorize",
    "-fno-math-errno",
    "-ffp-contract=off",
    "-fcf-protection=none",
];
/// SSE for double arithmetic, as in the 64-bit build: the checksums have to be the same.
const FLAGS_32: [&str; 3] = ["-m32", "-msse2", "-mfpmath=sse"];

/// What the guest is made from.
pub fn recipe() -> Result<String> {
    let mut recipe = FLAGS.join(" ") + &FLAGS_32.join(" ");
    for name in SOURCES.iter().chain(&["guest.h"]) {
        let path = folder().join(name);
        recipe += &fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    }
    Ok(recipe)
}

/// Compiles the programs and packs them, on the kernel of `linux`.
pub fn make(files: &GuestFiles, linux: &GuestFiles) -> Result<()> {
    if !is_installed("gcc") {
        return Err(GuestError::MissingProgram("gcc").into());
    }
    let program = native_program(files);
    compile(&[], &program)?;
    let mut tree = Initramfs::new();
    // The kernel opens /dev/console for process 1 before anything is mounted.
    tree.character_device("/dev/console", 0o600, 5, 1).file("/init", 0o755, read(&program)?);
    let program_32 = files.folder().join("bench32");
    match compile(&FLAGS_32, &program_32) {
        Ok(()) => {
            tree.file("/bench32", 0o755, read(&program_32)?);
        }
        // The guest itself says SKIP for what needs it.
        Err(error) => {
            eprintln!(
                "the benchmark guest does without 32-bit programs (Debian package gcc-multilib): {error:#}"
            );
        }
    }
    write(&files.benchmark_initrd(), &tree.write_gzip(Vec::new())?)?;
    copy(&linux.kernel(), &files.kernel())
}

/// The benchmark program as one for the host, which says what the checksums must be.
pub fn native_program(files: &GuestFiles) -> PathBuf {
    files.folder().join("bench")
}

fn compile(extra: &[&str], program: &Path) -> Result<()> {
    let sources = SOURCES.map(|name| folder().join(name));
    output(Command::new("gcc").args(FLAGS).args(extra).arg("-o").arg(program).args(sources).arg("-lm"))?;
    Ok(())
}

fn folder() -> PathBuf {
    root().join("xtask/bench-guest")
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
