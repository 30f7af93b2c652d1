//! Changing an image in its place: its length, its snapshots, its reference counts.

use super::{only_qcow2, opening};
use crate::{
    error::DiskError,
    file::ImageFile,
    options::{CacheMode, Format},
    qcow2::{CheckReport, Qcow2, Snapshot},
};
use std::{io, path::Path};

/// Makes a disk `len` bytes long. Making it shorter loses what is at its end, and has to be asked for by `shrink`.
pub fn resize(path: &Path, format: Option<Format>, len: u64, shrink: bool) -> Result<(), DiskError> {
    let (_, format) = opening(false).open_one(path, format)?;
    let before = super::info(path, Some(format), false)?[0].disk_len;
    let refused = |problem: String| Err(DiskError::image(path, problem));
    if !len.is_multiple_of(512) || len > i64::MAX as u64 {
        return refused(format!("a disk of {len} bytes is not possible; ask for a multiple of 512"));
    }
    if len < before && !shrink {
        return refused(format!(
            "its disk has {before} bytes; making it shorter loses data, and takes --shrink"
        ));
    }
    let failed = |error| DiskError::host(path, "resized", error);
    match format {
        Format::Raw => {
            let file = ImageFile::open(path, true, CacheMode::Writeback)?;
            file.set_len(len).and_then(|()| file.sync()).map_err(failed)
        }
        Format::Qcow2 => opening(true).open_qcow2(path, true)?.resize(len).map_err(failed),
        other => refused(format!("images of format {other} can only be read; convert it to qcow2 or raw")),
    }
}

/// Looks whether an image is in order. `repair` frees clusters that nobody uses.
pub fn check(path: &Path, format: Option<Format>, repair: bool) -> Result<CheckReport, DiskError> {
    only_qcow2(path, format, "reference counts that could be checked")?;
    let image = opening(repair).open_qcow2(path, false)?;
    image.check(repair).map_err(|error| DiskError::host(path, "checked", error))
}

/// The snapshots of an image.
pub fn snapshots(path: &Path, format: Option<Format>) -> Result<Vec<Snapshot>, DiskError> {
    only_qcow2(path, format, "snapshots")?;
    Ok(super::info(path, Some(Format::Qcow2), false)?.remove(0).snapshots)
}

/// Keeps the disk as it is under a name.
pub fn make_snapshot(path: &Path, format: Option<Format>, name: &str) -> Result<(), DiskError> {
    on_snapshots(path, format, |image| image.make_snapshot(name))
}

/// Makes the disk what it was.
pub fn apply_snapshot(path: &Path, format: Option<Format>, name: &str) -> Result<(), DiskError> {
    on_snapshots(path, format, |image| image.apply_snapshot(name))
}

/// Forgets a snapshot.
pub fn delete_snapshot(path: &Path, format: Option<Format>, name: &str) -> Result<(), DiskError> {
    on_snapshots(path, format, |image| image.delete_snapshot(name))
}

fn on_snapshots(
    path: &Path,
    format: Option<Format>,
    operation: impl Fn(&Qcow2) -> io::Result<()>,
) -> Result<(), DiskError> {
    only_qcow2(path, format, "snapshots")?;
    let image = opening(true).open_qcow2(path, true)?;
    operation(&image).map_err(|error| DiskError::host(path, "changed", error))
}
