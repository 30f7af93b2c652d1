//! What `emu disk` does with images that no guest uses.

mod alter;
mod convert;
mod create;
mod info;
mod rebase;

pub use alter::{apply_snapshot, check, delete_snapshot, make_snapshot, resize, snapshots};
pub use convert::{ConvertOptions, convert};
pub use create::{CLUSTER_SIZE, CreateOptions, create};
pub use info::{ImageInfo, MapEntry, info, map};
pub use rebase::{commit, rebase};

use crate::{
    buffers::Target,
    error::DiskError,
    file::Wait,
    image::Image,
    open::Opening,
    options::{CacheMode, Format},
};
use std::{io, path::Path};

/// Told how far an operation is: bytes that are done, and all bytes.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// What is copied at a time.
const CHUNK: u64 = 2 << 20;

/// For an operation that reads an image, or changes it.
fn opening(write: bool) -> Opening<'static> {
    // What an operation wrote is flushed once, at its end.
    Opening { write, cache: CacheMode::Writeback, discard: true, choices: &choices }
}

/// What the user of a command can write.
fn choices(formats: &[Format]) -> String {
    formats.iter().map(|format| format!("--format {format}")).collect::<Vec<_>>().join(" or ")
}

/// Refuses an image of another format.
fn only_qcow2(path: &Path, format: Option<Format>, what: &str) -> Result<(), DiskError> {
    let format = match format {
        Some(format) => format,
        None => opening(false).open_one(path, None)?.1,
    };
    if format == Format::Qcow2 {
        return Ok(());
    }
    Err(DiskError::image(
        path,
        format!("images of format {format} have no {what}; those of format qcow2 have"),
    ))
}

/// Reads from an image, and zeroes from behind its end.
fn read_padded(image: &dyn Image, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
    let there = image.len().saturating_sub(offset).min(bytes.len() as u64) as usize;
    bytes[there..].fill(0);
    if there == 0 { Ok(()) } else { image.read(offset, &Target::bytes(&mut bytes[..there]), Wait::Yes) }
}

fn is_zero(bytes: &[u8]) -> bool {
    // In words where it can be: this looks at every byte that is copied.
    // SAFETY: all bit patterns are valid u64s.
    let (before, words, after) = unsafe { bytes.align_to::<u64>() };
    before.iter().chain(after).all(|byte| *byte == 0) && words.iter().all(|word| *word == 0)
}
