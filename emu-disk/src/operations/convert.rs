//! Copying a disk into an image of another format. Zeroes are not written: the new image is as small as it can be.

use super::{CHUNK, CreateOptions, Progress, create, is_zero, opening, read_padded};
use crate::{buffers::Source, error::DiskError, file::PAGE, image::Image, options::Format};
use std::path::PathBuf;

/// What to copy.
#[derive(Debug, Clone)]
pub struct ConvertOptions {
    /// From where.
    pub from: PathBuf,
    /// Its format; `None` goes by its name and content.
    pub from_format: Option<Format>,
    /// To where.
    pub to: PathBuf,
    /// Raw or qcow2.
    pub to_format: Format,
    /// Bytes of a qcow2 cluster.
    pub cluster_size: u32,
    /// An existing file is replaced.
    pub replace: bool,
}

/// Copies a disk. Returns its length.
pub fn convert(options: &ConvertOptions, progress: Progress<'_>) -> Result<u64, DiskError> {
    let ConvertOptions { from, from_format, to, to_format, cluster_size, replace } = options;
    let source = opening(false).open(from, *from_format)?;
    let len = source.len();
    create(&CreateOptions {
        path: to.clone(),
        format: *to_format,
        size: Some(len),
        cluster_size: *cluster_size,
        backing: None,
        replace: *replace,
    })?;
    let target = opening(true).open(to, Some(*to_format))?;
    // Smaller pieces would not make a qcow2 image smaller, but slower.
    let unit = if *to_format == Format::Raw { PAGE } else { u64::from(*cluster_size).max(PAGE) };
    let mut copy = Copy { source: &*source, target: &*target, unit, bytes: vec![0; CHUNK as usize] };
    let mut at = 0;
    while at < len {
        progress(at, len);
        let failed = |error| DiskError::host(from, "read", error);
        let extent = source.extent(at, (len - at).min(CHUNK)).map_err(failed)?;
        if !extent.kind.reads_as_zero() {
            // Whole units, but for the end: an extent may begin or end within one.
            let end = (at + extent.len).next_multiple_of(unit).min(len);
            let begin = at / unit * unit;
            copy.copy(begin, end).map_err(|error| DiskError::host(to, "written", error))?;
            at = end;
        } else {
            at += extent.len;
        }
    }
    target.flush().map_err(|error| DiskError::host(to, "written", error))?;
    progress(len, len);
    Ok(len)
}

struct Copy<'a> {
    source: &'a dyn Image,
    target: &'a dyn Image,
    unit: u64,
    bytes: Vec<u8>,
}

impl Copy<'_> {
    fn copy(&mut self, mut at: u64, end: u64) -> std::io::Result<()> {
        while at < end {
            let now = (end - at).min(CHUNK);
            let bytes = &mut self.bytes[..now as usize];
            read_padded(self.source, at, bytes)?;
            let units: Vec<&[u8]> = bytes.chunks(self.unit as usize).collect();
            let mut offset = at;
            for run in units.chunk_by(|a, b| is_zero(a) == is_zero(b)) {
                let len: usize = run.iter().map(|unit| unit.len()).sum();
                let begin = (offset - at) as usize;
                if !is_zero(run[0]) {
                    self.target.write(offset, &Source::bytes(&bytes[begin..begin + len]))?;
                }
                offset += len as u64;
            }
            at += now;
        }
        Ok(())
    }
}
