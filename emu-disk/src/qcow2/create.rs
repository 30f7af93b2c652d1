//! New images.

use super::{
    Backing,
    header::{Compression, Header},
    layout::{Geometry, L1_MOST},
    refcounts::Refcounts,
};
use crate::{error::damaged, file::ImageFile};
use std::io;

/// What a new image is like.
#[derive(Debug, Clone)]
pub(crate) struct CreateQcow2 {
    pub size: u64,
    /// 9 to 21.
    pub cluster_bits: u32,
    pub backing: Option<Backing>,
}

/// L1 entries of a disk of `size` bytes.
pub(super) fn l1_entries(size: u64, cluster_bits: u32) -> io::Result<u32> {
    let covered = 1_u64 << (2 * cluster_bits - 3);
    let entries = size.div_ceil(covered).max(1);
    if entries * 8 > L1_MOST {
        return Err(damaged("a disk of that size needs larger clusters; ask for cluster_size=65536 or more"));
    }
    Ok(entries as u32)
}

/// Makes an empty image of version 3 of the empty `file`.
pub(crate) fn create(file: &ImageFile, options: &CreateQcow2) -> io::Result<()> {
    let cluster = 1_u64 << options.cluster_bits;
    let mut header = Header {
        version: 3,
        backing_file: options.backing.as_ref().map(|backing| backing.name.clone()),
        backing_format: options.backing.as_ref().and_then(|backing| backing.format.clone()),
        cluster_bits: options.cluster_bits,
        size: options.size,
        l1_entries: l1_entries(options.size, options.cluster_bits)?,
        l1_offset: 0,
        reftable_offset: cluster,
        reftable_clusters: 1,
        snapshots: 0,
        snapshots_offset: 0,
        incompatible: 0,
        compatible: 0,
        autoclear: 0,
        refcount_order: 4,
        compression: Compression::Deflate,
        extensions: Vec::new(),
    };
    // The header and an empty refcount table; all else is found room for as in any image.
    file.set_len(2 * cluster)?;
    let mut counts = Refcounts::load(file, Geometry::new(&header), cluster, 1)?;
    let first = counts.reserve_run(file, 2)?;
    counts.count(file, first)?;
    let l1 = counts.reserve_run(file, (u64::from(header.l1_entries) * 8).div_ceil(cluster))?;
    counts.count(file, l1.clone())?;
    if let Some(moved) = counts.table_moved.take() {
        let moved: Vec<u64> = moved.collect();
        counts.settle(file, &moved)?;
    }
    let blocks = counts.take_dirty();
    let table_end = counts.table_offset + counts.table.bytes.len() as u64;
    let end = blocks.iter().map(|(_, offset, _)| offset + cluster).chain([l1.end * cluster, table_end]).max();
    file.set_len(end.unwrap_or_default())?;
    for (_, offset, bytes) in blocks {
        file.write_bytes(offset, &bytes)?;
    }
    file.write_bytes(counts.table_offset, &counts.table.bytes)?;
    header.l1_offset = l1.start * cluster;
    header.reftable_offset = counts.table_offset;
    header.reftable_clusters = (counts.table.bytes.len() as u64 / cluster) as u32;
    file.write_bytes(0, &header.to_bytes().map_err(damaged)?)
}
