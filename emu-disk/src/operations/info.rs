//! What an image is, and where its data is. Looks without locks: a guest may be using it.

use super::{choices, opening};
use crate::{
    detect,
    error::DiskError,
    file::ImageFile,
    foreign::Foreign,
    image::{Extent, ExtentKind, Image},
    open::{backing_format, backing_path},
    options::Format,
    qcow2::{Backing, Qcow2, Qcow2Facts, Snapshot},
    raw::Raw,
};
use std::path::{Path, PathBuf};

/// What an image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageInfo {
    /// The file.
    pub path: PathBuf,
    /// Its format.
    pub format: Format,
    /// Bytes of the disk.
    pub disk_len: u64,
    /// Bytes of the file.
    pub file_len: u64,
    /// Bytes that the file takes of the host's disk.
    pub allocated: u64,
    /// Of a qcow2 image.
    pub qcow2: Option<Qcow2Facts>,
    /// Of a qcow2 image.
    pub snapshots: Vec<Snapshot>,
}

/// Chains are followed so far.
const DEEPEST: usize = 64;

/// Tells what an image is, and with `chain` what it builds on.
pub fn info(path: &Path, format: Option<Format>, chain: bool) -> Result<Vec<ImageInfo>, DiskError> {
    let file = ImageFile::look_at(path)?;
    let format = format.map_or_else(|| detect::detect(&file, choices), Ok)?;
    let mut all = vec![info_of(file, format)?];
    while let Some(facts) = all[all.len() - 1].qcow2.as_ref().filter(|_| chain) {
        let Some(name) = facts.backing_file.clone() else { break };
        if all.len() == DEEPEST {
            return Err(DiskError::image(path, "its backing files lead back to itself, or are too many"));
        }
        let of = &all[all.len() - 1].path;
        let backing = Backing { name, format: facts.backing_format.clone() };
        let file = ImageFile::look_at(&backing_path(of, &backing)?)?;
        let format = backing_format(of, &backing, &file)?;
        all.push(info_of(file, format)?);
    }
    Ok(all)
}

fn info_of(file: ImageFile, format: Format) -> Result<ImageInfo, DiskError> {
    let path = file.path().to_owned();
    let failed = |error| DiskError::host(&path, "read", error);
    let (file_len, allocated) = (file.len().map_err(failed)?, file.allocated().map_err(failed)?);
    let (mut facts, mut snapshots) = (None, Vec::new());
    let disk_len = match format {
        Format::Raw => Raw::new(file).map_err(failed)?.len(),
        Format::Qcow2 => {
            let image = Qcow2::open(file, None, false).map_err(failed)?;
            facts = Some(image.facts());
            snapshots = image.snapshots().map_err(failed)?;
            image.len()
        }
        other => Foreign::open(file, other)?.len(),
    };
    Ok(ImageInfo { path: path.clone(), format, disk_len, file_len, allocated, qcow2: facts, snapshots })
}

/// A stretch of a disk that is all of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapEntry {
    /// Where on the disk.
    pub start: u64,
    /// What is there.
    pub extent: Extent,
}

/// Tells where the data of a disk is.
pub fn map(path: &Path, format: Option<Format>) -> Result<Vec<MapEntry>, DiskError> {
    let image = opening(false).open(path, format)?;
    let mut entries: Vec<MapEntry> = Vec::new();
    let mut start = 0;
    while start < image.len() {
        let failed = |error| DiskError::host(path, "read", error);
        let extent = image.extent(start, image.len() - start).map_err(failed)?;
        match entries.last_mut() {
            Some(last) if continues(last, extent) => last.extent.len += extent.len,
            _ => entries.push(MapEntry { start, extent }),
        }
        start += extent.len;
    }
    Ok(entries)
}

fn continues(last: &MapEntry, next: Extent) -> bool {
    let kind = match (last.extent.kind, next.kind) {
        (ExtentKind::Data(at), ExtentKind::Data(next)) => at + last.extent.len == next,
        (last, next) => last == next,
    };
    kind && last.extent.depth == next.depth
}
