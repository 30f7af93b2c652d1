//! Walking through everything in an image that refers to clusters of its file.

use super::{
    Qcow2, Tables,
    layout::{COPIED, Cluster, Geometry, OFFSET, Table},
};
use crate::{error::damaged, file::ImageFile};
use std::{io, ops::Range};

/// Clusters of the file, and which of the disk's refers to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    pub clusters: Range<u64>,
    /// The entry says that nobody else refers to them.
    pub own: bool,
    /// It is an L2 table.
    pub table: bool,
}

/// Reads a table of the file.
pub(super) fn read_table(file: &ImageFile, offset: u64, bytes: u64) -> io::Result<Table> {
    let mut table = Table { bytes: vec![0; bytes as usize], dirty: false };
    file.read_bytes(offset, &mut table.bytes)?;
    Ok(table)
}

/// Visits what an L1 table refers to: L2 tables, and the clusters that these refer to. What makes no sense is given to
/// `wrong`, and passed over.
pub(super) fn visit(
    file: &ImageFile,
    geometry: &Geometry,
    l1: &Table,
    visitor: &mut dyn FnMut(Reference) -> io::Result<()>,
    wrong: &mut dyn FnMut(String) -> io::Result<()>,
) -> io::Result<()> {
    // More tables than the file has room for: some entries say the same, and nobody wants to wait for all of them.
    let mut tables_left = file.len()?.div_ceil(geometry.cluster());
    for index in 0..l1.entries() {
        let entry = l1.get(index);
        let offset = entry & OFFSET;
        if offset == 0 {
            continue;
        }
        tables_left = tables_left.checked_sub(1).ok_or_else(|| damaged("its L1 table makes no sense"))?;
        if !offset.is_multiple_of(geometry.cluster()) {
            wrong(format!("L1 entry {index} is {entry:#x}, which is no place of a table"))?;
            continue;
        }
        let cluster = offset >> geometry.cluster_bits;
        visitor(Reference { clusters: cluster..cluster + 1, own: entry & COPIED != 0, table: true })?;
        let table = match read_table(file, offset, geometry.cluster()) {
            Ok(table) => table,
            Err(error) => {
                wrong(format!("the L2 table at {offset:#x} cannot be read ({error})"))?;
                continue;
            }
        };
        for index in 0..table.entries() {
            match geometry.decode(table.get(index)) {
                Ok(cluster) => {
                    if let Some(reference) = reference(geometry, cluster) {
                        visitor(reference)?;
                    }
                }
                Err(problem) => wrong(problem)?,
            }
        }
    }
    Ok(())
}

/// What an L2 entry refers to.
fn reference(geometry: &Geometry, cluster: Cluster) -> Option<Reference> {
    match cluster {
        Cluster::Unallocated | Cluster::Zero(None) => None,
        Cluster::Data(place) | Cluster::Zero(Some(place)) => {
            let first = place.offset >> geometry.cluster_bits;
            Some(Reference { clusters: first..first + 1, own: place.own, table: false })
        }
        Cluster::Compressed { offset, len } => {
            let clusters = offset >> geometry.cluster_bits..((offset + len - 1) >> geometry.cluster_bits) + 1;
            Some(Reference { clusters, own: false, table: false })
        }
    }
}

impl Qcow2 {
    /// Adds to (or takes from) the count of everything that an L1 table refers to.
    pub(super) fn count_all(&self, tables: &mut Tables, l1: &Table, add: i64) -> io::Result<()> {
        let refcounts = tables.refcounts()?;
        let mut change = |reference: Reference| {
            for cluster in reference.clusters {
                let count = refcounts.get(&self.file, cluster)?.checked_add_signed(add);
                let count =
                    count.ok_or_else(|| damaged("a cluster is used without being counted; check it"))?;
                refcounts.set(&self.file, cluster, count)?;
            }
            Ok(())
        };
        visit(&self.file, &self.geometry, l1, &mut change, &mut |problem| Err(damaged(problem)))
    }

    /// Makes the marks in the tables say who is the only one to refer to a cluster.
    pub(super) fn mark_own(&self, tables: &mut Tables) -> io::Result<()> {
        for l1 in 0..tables.l1.entries() {
            let entry = tables.l1.get(l1);
            if entry & OFFSET == 0 {
                continue;
            }
            let marked = self.marked(tables, entry)?;
            if marked != entry {
                tables.l1.set(l1, marked);
            }
            for l2 in 0..self.geometry.l2_entries() as usize {
                let entry = tables.entry(&self.file, &self.geometry, l1, l2)?;
                let marked = match self.geometry.decode(entry).map_err(damaged)? {
                    Cluster::Data(_) | Cluster::Zero(Some(_)) => self.marked(tables, entry)?,
                    _ => entry,
                };
                if marked != entry {
                    tables.set_entry(l1, l2, marked);
                }
            }
        }
        Ok(())
    }

    fn marked(&self, tables: &mut Tables, entry: u64) -> io::Result<u64> {
        let cluster = (entry & OFFSET) >> self.geometry.cluster_bits;
        let only = tables.refcounts()?.get(&self.file, cluster)? == 1;
        Ok(if only { entry | COPIED } else { entry & !COPIED })
    }
}
