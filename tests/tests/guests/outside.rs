//! Images of guests, seen with other programs than ours: qemu-img, e2fsck, debugfs.

use std::{
    env,
    path::Path,
    process::{Command, Output},
};
use xtask::workspace::is_installed;

/// The programs that make file systems and look at them; a test that needs them is skipped without. e2fsprogs are where
/// only root looks for programs.
pub fn missing_program() -> Option<&'static str> {
    let is_there = |program: &&str| {
        is_installed(program)
            || ["/usr/sbin", "/sbin"].iter().any(|folder| Path::new(folder).join(program).is_file())
    };
    ["qemu-img", "mke2fs", "e2fsck", "debugfs"].into_iter().find(|program| !is_there(program))
}

/// Runs a program to its end, whatever that is.
pub fn run(command: &mut Command) -> Output {
    let path = env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"))
}

/// Runs a program; panics if it fails.
#[track_caller]
pub fn done(command: &mut Command) -> Output {
    let output = run(command);
    assert!(output.status.success(), "{command:?}: {}", told(&output));
    output
}

/// All that a program said.
pub fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Asserts that the ext4 file system, which is all of a raw image, is in order.
#[track_caller]
pub fn is_in_order(raw: &Path) {
    done(Command::new("e2fsck").args(["-f", "-n"]).arg(raw));
}

/// Copies a file out of the ext4 file system that is all of a raw image.
#[track_caller]
pub fn copy_file(raw: &Path, file: &str, to: &Path) {
    done(Command::new("debugfs").args(["-R", &format!("dump {file} {}", to.display())]).arg(raw));
}

/// A file's SHA-256.
#[track_caller]
pub fn digest(path: &Path) -> String {
    let line = done(Command::new("sha256sum").arg(path)).stdout;
    String::from_utf8_lossy(&line).split_whitespace().next().unwrap().to_owned()
}
