//! Changing what an image is, while nobody uses it: its length, its backing file.

use super::{
    Backing, Qcow2,
    create::l1_entries,
    layout::{Geometry, OFFSET},
};
use crate::error::damaged;
use std::io;

impl Qcow2 {
    /// Makes the disk longer or shorter. What a longer one gains reads as zeroes.
    pub fn resize(&mut self, len: u64) -> io::Result<()> {
        let old = self.geometry.size;
        if self.tables.get_mut().header.snapshots != 0 && len != old {
            return Err(damaged("it has snapshots of its present length; delete them first"));
        }
        if len < old {
            self.discard_tail(len)?;
        }
        let entries = l1_entries(len, self.geometry.cluster_bits)?;
        let tables = self.tables.get_mut();
        if entries as usize > tables.l1.entries() {
            self.grow_l1(entries)?;
        }
        // The backing file may be longer than the disk was.
        self.geometry.size = len.max(old);
        if len > old && self.backing.as_ref().is_some_and(|backing| backing.len() > old) {
            self.make_zeroes(old, len - old, true)?;
        }
        self.settle()?;
        self.file.write_bytes(24, &len.to_be_bytes())?;
        let tables = self.tables.get_mut();
        tables.header.size = len;
        self.geometry = Geometry::new(&tables.header);
        self.file.sync()
    }

    /// Gives up what lies behind the new end.
    fn discard_tail(&mut self, len: u64) -> io::Result<()> {
        let cluster = self.geometry.cluster();
        let first = len.next_multiple_of(cluster);
        let mut tables = self.tables.lock();
        let mut at = first;
        while at < self.geometry.size {
            let (l1, l2) = self.geometry.indices(at);
            if tables.l1.get(l1) & OFFSET == 0 {
                at += (self.geometry.l2_entries() - l2 as u64) * cluster;
                continue;
            }
            tables.change(&self.file, &self.geometry, at, 0)?;
            at += cluster;
        }
        drop(tables);
        // The rest of the last cluster must not come back.
        let end = first.min(self.geometry.size);
        if end > len { self.make_zeroes(len, end - len, false) } else { Ok(()) }
    }

    fn grow_l1(&mut self, entries: u32) -> io::Result<()> {
        self.settle()?;
        let tables = self.tables.get_mut();
        let (old, old_len) = (tables.header.l1_offset, tables.l1.bytes.len() as u64);
        tables.l1.bytes.resize(entries as usize * 8, 0);
        tables.l2.resize_with(entries as usize, || None);
        let bytes = tables.l1.bytes.clone();
        let offset = tables.refcounts()?.place(&self.file, bytes.len() as u64)?;
        // Whole clusters: what is behind the entries may have been something else.
        let mut padded = bytes;
        padded.resize(padded.len().next_multiple_of(self.geometry.cluster() as usize), 0);
        self.file.write_bytes(offset, &padded)?;
        self.settle()?;
        let mut field = entries.to_be_bytes().to_vec();
        field.extend(offset.to_be_bytes());
        self.file.write_bytes(36, &field)?;
        self.file.sync()?;
        let tables = self.tables.get_mut();
        (tables.header.l1_entries, tables.header.l1_offset) = (entries, offset);
        tables.refcounts()?.release_bytes(old, old_len);
        self.settle()
    }

    /// Gives up all that the image has itself: its disk is the backing file's then.
    pub fn empty(&self) -> io::Result<()> {
        let mut tables = self.tables.lock();
        for l1 in 0..tables.l1.entries() {
            if tables.l1.get(l1) & OFFSET == 0 {
                continue;
            }
            for l2 in 0..self.geometry.l2_entries() {
                let offset = (l1 as u64 * self.geometry.l2_entries() + l2) << self.geometry.cluster_bits;
                if tables.entry(&self.file, &self.geometry, l1, l2 as usize)? != 0 {
                    tables.change(&self.file, &self.geometry, offset, 0)?;
                }
            }
        }
        drop(tables);
        self.settle()
    }

    /// Makes the header name another backing file, or none.
    pub fn name_backing(&self, backing: Option<Backing>) -> io::Result<()> {
        self.settle()?;
        let mut tables = self.tables.lock();
        let mut header = tables.header.clone();
        header.backing_file = backing.as_ref().map(|backing| backing.name.clone());
        header.backing_format = backing.and_then(|backing| backing.format);
        let mut bytes = header.to_bytes().map_err(damaged)?;
        // Nothing of the old names stays behind.
        bytes.resize(self.geometry.cluster() as usize, 0);
        self.file.write_bytes(0, &bytes)?;
        tables.header = header;
        self.file.sync()
    }
}
