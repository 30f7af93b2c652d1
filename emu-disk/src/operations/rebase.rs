//! What builds on another image: writing it back into that, and making it build on another one.

use super::{CHUNK, Progress, only_qcow2, opening, read_padded};
use crate::{
    buffers::Source,
    error::DiskError,
    image::{ExtentKind, Image},
    open::{backing_format, backing_path},
    options::Format,
    qcow2::Backing,
};
use std::path::Path;

/// Writes what a qcow2 image has into its backing file, and empties it. Returns the backing file's name.
pub fn commit(path: &Path, format: Option<Format>, progress: Progress<'_>) -> Result<String, DiskError> {
    only_qcow2(path, format, "backing file")?;
    // Without the backing file, which is to be written: what the image does not have itself does not matter.
    let image = opening(true).open_qcow2(path, false)?;
    let facts = image.facts();
    let Some(name) = facts.backing_file else {
        return Err(DiskError::image(path, "it has no backing file that it could be written to"));
    };
    let backing = Backing { name: name.clone(), format: facts.backing_format };
    let target_path = backing_path(path, &backing)?;
    let look = crate::file::ImageFile::look_at(&target_path)?;
    let target_format = backing_format(path, &backing, &look)?;
    drop(look);
    let len = image.len();
    if super::info(&target_path, Some(target_format), false)?[0].disk_len < len {
        super::resize(&target_path, Some(target_format), len, false)?;
    }
    let target = opening(true).open(&target_path, Some(target_format))?;
    let failed = |error| DiskError::host(&target_path, "written", error);
    let mut bytes = vec![0; CHUNK as usize];
    let mut at = 0;
    while at < len {
        progress(at, len);
        let extent = image.extent(at, (len - at).min(CHUNK)).map_err(failed)?;
        match extent.kind {
            ExtentKind::Unallocated => {}
            ExtentKind::Zero => target.write_zeroes(at, extent.len, true).map_err(failed)?,
            _ => {
                let bytes = &mut bytes[..extent.len as usize];
                read_padded(&image, at, bytes).map_err(failed)?;
                target.write(at, &Source::bytes(bytes)).map_err(failed)?;
            }
        }
        at += extent.len;
    }
    // It is over there before it is gone here.
    target.flush().map_err(failed)?;
    drop(target);
    image.empty().map_err(|error| DiskError::host(path, "emptied", error))?;
    progress(len, len);
    Ok(name)
}

/// Makes a qcow2 image build on `backing`, or on nothing. Its content stays the same: what the new backing file has not
/// is copied; with `metadata_only` nothing is copied, and the user answers for the content.
pub fn rebase(
    path: &Path,
    format: Option<Format>,
    backing: Option<(String, Format)>,
    metadata_only: bool,
    progress: Progress<'_>,
) -> Result<(), DiskError> {
    only_qcow2(path, format, "backing file")?;
    let failed = |error| DiskError::host(path, "changed", error);
    let new = backing.map(|(name, format)| Backing { name, format: Some(format.to_string()) });
    if metadata_only {
        return opening(true).open_qcow2(path, false)?.name_backing(new).map_err(failed);
    }
    let image = opening(true).open_qcow2(path, true)?;
    let new_image = match &new {
        Some(backing) => {
            let format = backing.format.as_deref().and_then(|format| format.parse().ok());
            Some(opening(false).open(&backing_path(path, backing)?, format)?)
        }
        None => None,
    };
    let cluster = image.facts().cluster_size;
    let (mut old, mut other) = (vec![0; CHUNK as usize], vec![0; CHUNK as usize]);
    let (mut at, len) = (0, image.len());
    while at < len {
        progress(at, len);
        let extent = image.extent(at, (len - at).min(CHUNK)).map_err(failed)?;
        let own = extent.depth == 0 && extent.kind != ExtentKind::Unallocated;
        // What it does not have itself comes in clusters, whatever the backing file makes of it.
        let end = if own { at + extent.len } else { (at + extent.len).next_multiple_of(cluster).min(len) };
        if !own {
            let (old, other) = (&mut old[..(end - at) as usize], &mut other[..(end - at) as usize]);
            read_padded(&image, at, old).map_err(failed)?;
            match &new_image {
                Some(new) => read_padded(&**new, at, other).map_err(failed)?,
                None => other.fill(0),
            }
            for (index, (old, other)) in
                old.chunks(cluster as usize).zip(other.chunks(cluster as usize)).enumerate()
            {
                if old != other {
                    image.write(at + index as u64 * cluster, &Source::bytes(old)).map_err(failed)?;
                }
            }
        }
        at = end;
    }
    image.name_backing(new).map_err(failed)?;
    progress(len, len);
    Ok(())
}
