//! Disk images: formats, their I/O threads, and the operations of `emu disk`.
//!
//! [`open`] gives what a disk controller needs. Below it, an `Image` is a disk's content (`image.rs`); formats are
//! images made of an `ImageFile` (`file/`), and of other images where they build on some. Images are asked by several
//! threads at once, and wait. `backend` has the threads that wait for the guest.
//!
//! All that is read from an image is hostile: sizes and offsets are checked before they are used.

mod backend;
mod buffers;
mod detect;
mod error;
mod file;
mod foreign;
pub mod fuzz;
mod image;
mod open;
mod operations;
mod options;
mod qcow2;
mod raw;

pub use error::DiskError;
pub use image::{Extent, ExtentKind};
pub use open::open;
pub use operations::{
    CLUSTER_SIZE, ConvertOptions, CreateOptions, ImageInfo, MapEntry, Progress, apply_snapshot, check,
    commit, convert, create, delete_snapshot, info, make_snapshot, map, rebase, resize, snapshots,
};
pub use options::{CacheMode, DiskOptions, Format, SpaceWatch};
pub use qcow2::{CheckReport, Qcow2Facts, Snapshot};
