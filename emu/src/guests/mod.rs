//! Obtaining guests: Debian's packages by apt without root, whole systems by mmdebstrap, and initramfs archives built
//! here.

mod apt;
pub mod archive;
pub mod debian;
mod initramfs;
pub mod linux;

pub use apt::{fetch_deb, resolve_dependency};
pub use initramfs::Initramfs;

use std::{io, path::PathBuf};

/// Why a guest could not be obtained.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// A program that is needed is not installed.
    #[error("{0} is not installed here")]
    MissingProgram(&'static str),
    /// A program failed; its own last words.
    #[error("{command} failed: {message}")]
    Failed {
        /// The program and what it was to do.
        command: String,
        /// What it said.
        message: String,
    },
    /// apt knows no such package, not even after an update.
    #[error("apt finds no package {package} for {arch}")]
    NoPackage {
        /// The package.
        package: String,
        /// Its Debian architecture.
        arch: String,
    },
    /// A package does not hold the file expected.
    #[error("{package} has no {file}")]
    NoFile {
        /// The package.
        package: String,
        /// The file.
        file: String,
    },
    /// A file of the cache could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
}

/// Hears how far the work is.
pub trait Progress {
    /// A new step begins.
    fn step(&self, what: &str);
    /// So many bytes of `total` of the current step are done.
    fn advance(&self, done: u64, total: u64);
}

/// Tells nobody.
pub struct Silent;

impl Progress for Silent {
    fn step(&self, _what: &str) {}
    fn advance(&self, _done: u64, _total: u64) {}
}

/// Puts the path into an I/O error.
fn at(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> GuestError {
    let path = path.into();
    move |source| GuestError::Io { path, source }
}
