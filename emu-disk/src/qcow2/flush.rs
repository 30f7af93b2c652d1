//! Bringing the tables to the file, so that it is consistent whenever this ends half-way.
//!
//! What is written is a picture of all tables at one moment. First the reference counts, then the L2 tables that refer
//! to what was counted, then the L1 table that refers to these; the host's cache is flushed between, so that a loss of
//! power finds the same order. What is left out of the new tables is freed when they are in the file, and counted so
//! with the next flush. Ending half-way leaves clusters that are counted and not used, at the worst.

use super::{
    Qcow2, Tables,
    layout::{OFFSET, Table},
};
use std::{io, ops::Range};

/// What the file does not have yet.
struct Picture {
    /// (index, offset, content)
    blocks: Vec<(usize, u64, Vec<u8>)>,
    reftable: Option<Vec<u8>>,
    reftable_offset: u64,
    reftable_moved: Option<Range<u64>>,
    /// (L1 index, offset, content)
    l2: Vec<(usize, u64, Vec<u8>)>,
    l1: Option<Vec<u8>>,
    released: Vec<u64>,
}

impl Tables {
    fn is_dirty(&self) -> bool {
        self.l1.dirty
            || self.l2.iter().flatten().any(|l2| l2.table.dirty)
            || self.refcounts.as_ref().is_some_and(|counts| counts.is_dirty() || !counts.released.is_empty())
    }

    fn picture(&mut self) -> Option<Picture> {
        if !self.is_dirty() {
            return None;
        }
        let l1_table = &self.l1;
        let dirty = self.l2.iter_mut().enumerate().filter_map(|(l1, l2)| Some((l1, l2.as_mut()?)));
        let dirty = dirty.filter(|(_, l2)| l2.table.dirty);
        let l2 = dirty.map(|(l1, l2)| {
            l2.table.dirty = false;
            (l1, l1_table.get(l1) & OFFSET, l2.table.bytes.clone())
        });
        let l2 = l2.collect();
        let l1 = take_dirty(&mut self.l1);
        self.writing = true;
        let counts = self.refcounts.as_mut()?;
        counts.writing = true;
        Some(Picture {
            blocks: counts.take_dirty(),
            reftable: take_dirty(&mut counts.table),
            reftable_offset: counts.table_offset,
            reftable_moved: counts.table_moved.take(),
            l2,
            l1,
            released: std::mem::take(&mut counts.released),
        })
    }

    /// The file did not take all of it.
    fn take_back(&mut self, picture: Picture) {
        for (l1, ..) in picture.l2 {
            if let Some(l2) = &mut self.l2[l1] {
                l2.table.dirty = true;
            }
        }
        self.l1.dirty |= picture.l1.is_some();
        if let Some(counts) = &mut self.refcounts {
            picture.blocks.iter().for_each(|(block, ..)| counts.mark_dirty(*block));
            counts.table.dirty |= picture.reftable.is_some();
            counts.table_moved = picture.reftable_moved.or(counts.table_moved.take());
            counts.released.extend(picture.released);
        }
    }
}

fn take_dirty(table: &mut Table) -> Option<Vec<u8>> {
    std::mem::take(&mut table.dirty).then(|| table.bytes.clone())
}

impl Qcow2 {
    /// Brings everything that was written to the file, and to the host's disk.
    pub(super) fn flush_tables(&self) -> io::Result<()> {
        let _one = self.flushing.lock();
        // What has been freed is counted so at once: a second round, of few blocks.
        while self.write_tables()? {}
        Ok(())
    }

    /// Returns whether clusters have become free.
    fn write_tables(&self) -> io::Result<bool> {
        let picture = self.tables.lock().picture();
        let Some(picture) = picture else { return self.file.sync().map(|()| false) };
        let result = self.write_picture(&picture);
        let mut tables = self.tables.lock();
        tables.writing = false;
        if let Some(counts) = &mut tables.refcounts {
            counts.writing = false;
        }
        if result.is_err() {
            tables.take_back(picture);
            return result.map(|()| false);
        }
        let freed = self.settle_released(&mut tables, picture)?;
        drop(tables);
        self.give_back(&freed);
        Ok(!freed.is_empty())
    }

    fn write_picture(&self, picture: &Picture) -> io::Result<()> {
        let write_all = |tables: &[(usize, u64, Vec<u8>)]| {
            tables.iter().try_for_each(|(_, offset, bytes)| self.file.write_bytes(*offset, bytes))
        };
        write_all(&picture.blocks)?;
        self.file.sync()?;
        if let Some(reftable) = &picture.reftable {
            self.file.write_bytes(picture.reftable_offset, reftable)?;
            self.file.sync()?;
            if picture.reftable_moved.is_some() {
                let clusters = (reftable.len() >> self.geometry.cluster_bits) as u32;
                let mut field = picture.reftable_offset.to_be_bytes().to_vec();
                field.extend(clusters.to_be_bytes());
                self.file.write_bytes(48, &field)?;
                self.file.sync()?;
            }
        }
        if !picture.l2.is_empty() {
            write_all(&picture.l2)?;
            self.file.sync()?;
        }
        if let Some(l1) = &picture.l1 {
            let offset = self.tables.lock().header.l1_offset;
            self.file.write_bytes(offset, l1)?;
            self.file.sync()?;
        }
        Ok(())
    }

    /// The tables without what was released are in the file.
    fn settle_released(&self, tables: &mut Tables, picture: Picture) -> io::Result<Vec<u64>> {
        let counts = tables.refcounts()?;
        let mut released = picture.released;
        released.extend(picture.reftable_moved.into_iter().flatten());
        let freed = counts.settle(&self.file, &released)?;
        if !freed.is_empty() {
            self.forget_unpacked();
        }
        // Nobody may take them until their space has been given back.
        Ok(counts.hold(freed))
    }

    fn give_back(&self, freed: &[u64]) {
        for run in freed.chunk_by(|a, b| a + 1 == *b).filter(|_| self.discard) {
            let len = (run.len() as u64) << self.geometry.cluster_bits;
            // Space that stays taken is no harm.
            let _ = self.file.punch(run[0] << self.geometry.cluster_bits, len);
        }
        if let Some(counts) = self.tables.lock().refcounts.as_mut().filter(|_| !freed.is_empty()) {
            counts.let_go(freed);
        }
    }

    /// Flushes until nothing is left to be written.
    pub(super) fn settle(&self) -> io::Result<()> {
        self.flush_tables()?;
        while self.tables.lock().is_dirty() {
            self.flush_tables()?;
        }
        Ok(())
    }

    /// Flushes if the changed tables take too much memory.
    pub(super) fn relieve(&self) -> io::Result<()> {
        if self.tables.lock().crowded(&self.geometry) { self.flush_tables() } else { Ok(()) }
    }
}
