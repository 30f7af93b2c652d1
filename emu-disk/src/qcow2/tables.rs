//! Looking up clusters in the L1 and L2 tables, and changing what stands there.

use super::{
    L2, Tables,
    layout::{COPIED, Cluster, Geometry, OFFSET, Table},
    refcounts::Refcounts,
};
use crate::{error::damaged, file::ImageFile};
use std::io;

/// Bytes of L2 tables that are kept in memory: those of 256 GiB with clusters of 64 KiB.
const L2_KEPT: u64 = 32 << 20;

impl Tables {
    pub fn refcounts(&mut self) -> io::Result<&mut Refcounts> {
        self.refcounts.as_mut().ok_or_else(|| io::ErrorKind::PermissionDenied.into())
    }

    /// What stands about the cluster of the disk that `offset` is in.
    pub fn look_up(&mut self, file: &ImageFile, geometry: &Geometry, offset: u64) -> io::Result<Cluster> {
        let (l1, l2) = geometry.indices(offset);
        match self.l2_table(file, geometry, l1)? {
            Some(table) => geometry.decode(table.get(l2)).map_err(damaged),
            None => Ok(Cluster::Unallocated),
        }
    }

    /// The L2 table for an L1 index, if there is one.
    fn l2_table(
        &mut self,
        file: &ImageFile,
        geometry: &Geometry,
        l1: usize,
    ) -> io::Result<Option<&mut Table>> {
        if l1 >= self.l2.len() {
            return Err(damaged("its L1 table is too short"));
        }
        if self.l2[l1].is_none() {
            let offset = self.l1.get(l1) & OFFSET;
            if offset == 0 {
                return Ok(None);
            }
            if !offset.is_multiple_of(geometry.cluster()) {
                return Err(damaged(format!("an L2 table is at {offset:#x}, where none can be")));
            }
            let mut bytes = vec![0; geometry.cluster() as usize];
            file.read_bytes(offset, &mut bytes)?;
            self.make_room(geometry);
            self.put_l2(l1, Table { bytes, dirty: false });
        }
        self.used += 1;
        let used = self.used;
        Ok(self.l2[l1].as_mut().map(|l2| {
            l2.used = used;
            &mut l2.table
        }))
    }

    fn put_l2(&mut self, l1: usize, table: Table) {
        self.l2_loaded += 1;
        self.l2[l1] = Some(Box::new(L2 { table, used: self.used }));
    }

    /// Forgets half of the tables that the file has, if there are too many.
    fn make_room(&mut self, geometry: &Geometry) {
        if self.writing || (self.l2_loaded as u64) << geometry.cluster_bits < L2_KEPT {
            return;
        }
        let mut used: Vec<u64> = self.l2.iter().flatten().map(|l2| l2.used).collect();
        let middle = used.len() / 2;
        let limit = *used.select_nth_unstable(middle).1;
        for slot in &mut self.l2 {
            if slot.as_ref().is_some_and(|l2| !l2.table.dirty && l2.used <= limit) {
                *slot = None;
                self.l2_loaded -= 1;
            }
        }
    }

    /// Whether there are so many changed tables that they should go to the file.
    pub fn crowded(&self, geometry: &Geometry) -> bool {
        (self.l2_loaded as u64) << geometry.cluster_bits > 2 * L2_KEPT
    }

    /// The L2 table for an L1 index, made or copied so that it may be changed.
    pub fn own_l2(&mut self, file: &ImageFile, geometry: &Geometry, l1: usize) -> io::Result<&mut Table> {
        let entry = self.l1.get(l1);
        if entry & COPIED == 0 {
            // Nobody's yet, or a snapshot's too.
            let mut table = match self.l2_table(file, geometry, l1)? {
                Some(table) => table.clone(),
                None => Table { bytes: vec![0; geometry.cluster() as usize], dirty: true },
            };
            table.dirty = true;
            let refcounts = self.refcounts()?;
            let place = refcounts.reserve(file, 1)?.0;
            refcounts.count(file, place.clone())?;
            if entry & OFFSET != 0 {
                refcounts.release((entry & OFFSET) >> geometry.cluster_bits);
            }
            self.l1.set(l1, place.start << geometry.cluster_bits | COPIED);
            if self.l2[l1].take().is_some() {
                self.l2_loaded -= 1;
            }
            self.put_l2(l1, table);
        }
        let table = self.l2_table(file, geometry, l1)?;
        table.ok_or_else(|| damaged("an L1 entry has no table"))
    }

    /// Changes what stands about the cluster that `offset` is in, and gives up what it referred to, unless that is in
    /// `entry` again.
    pub fn change(
        &mut self,
        file: &ImageFile,
        geometry: &Geometry,
        offset: u64,
        entry: u64,
    ) -> io::Result<()> {
        let (l1, l2) = geometry.indices(offset);
        let table = self.own_l2(file, geometry, l1)?;
        let old = geometry.decode(table.get(l2)).map_err(damaged)?;
        table.set(l2, entry);
        let refcounts = self.refcounts()?;
        match old {
            Cluster::Data(place) | Cluster::Zero(Some(place)) if place.offset != entry & OFFSET => {
                refcounts.release(place.offset >> geometry.cluster_bits);
            }
            Cluster::Compressed { offset, len } => {
                let last = (offset + len - 1) >> geometry.cluster_bits;
                (offset >> geometry.cluster_bits..=last).for_each(|cluster| refcounts.release(cluster));
            }
            _ => {}
        }
        Ok(())
    }
}
