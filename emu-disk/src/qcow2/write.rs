//! Writing. What has its place is written there; else clusters are reserved, filled, and only then entered into the
//! tables: a cluster that the tables know has its data.

use super::{
    Qcow2,
    layout::{COPIED, Cluster, Place, ZERO},
};
use crate::{
    buffers::{Source, Target},
    file::Wait,
};
use std::{io, ops::Range};

/// Where data goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    /// Over the data at this offset of the file.
    Over(u64),
    /// Into this cluster, whose content is void.
    Void(Place),
    /// There is no place yet.
    New,
}

/// A part of a write that goes to one place: where on the disk, how much.
#[derive(Debug, Clone, Copy)]
struct Part {
    offset: u64,
    len: u64,
}

impl Qcow2 {
    pub(super) fn write_data(&self, offset: u64, source: &Source<'_>) -> io::Result<()> {
        let clusters = self.clusters(offset, source.len() as u64);
        {
            let _held = self.in_flight.enter(clusters.clone(), false);
            if self.write_over(offset, source)? {
                return Ok(());
            }
        }
        {
            let _held = self.in_flight.enter(clusters, true);
            self.write_held(offset, source)?;
        }
        self.relieve()
    }

    /// Writes if all clusters have their place.
    fn write_over(&self, offset: u64, source: &Source<'_>) -> io::Result<bool> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        {
            let mut tables = self.tables.lock();
            let (mut at, end) = (offset, offset + source.len() as u64);
            while at < end {
                let begin = at % self.geometry.cluster();
                let now = (self.geometry.cluster() - begin).min(end - at);
                let place = match tables.look_up(&self.file, &self.geometry, at)? {
                    Cluster::Data(place) if place.own => place.offset + begin,
                    _ => return Ok(false),
                };
                match runs.last_mut() {
                    Some((first, len)) if *first + *len == place => *len += now,
                    _ => runs.push((place, now)),
                }
                at += now;
            }
        }
        let mut done = 0;
        for (place, len) in runs {
            self.file.write(place, &source.slice(done..done + len as usize))?;
            done += len as usize;
        }
        Ok(true)
    }

    /// Writes to clusters that the caller holds alone.
    fn write_held(&self, offset: u64, source: &Source<'_>) -> io::Result<()> {
        let mut done = 0;
        while done < source.len() {
            let at = offset + done as u64;
            let (goal, len) = self.goal(at, (source.len() - done) as u64)?;
            let part = Part { offset: at, len };
            let data = |len: u64| source.slice(done..done + len as usize);
            let written = match goal {
                Goal::Over(place) => self.file.write(place, &data(len)).map(|()| len)?,
                Goal::Void(place) => self.fill_void(part, &data(len), place)?,
                Goal::New => self.write_new(part, data)?,
            };
            done += written as usize;
        }
        Ok(())
    }

    /// Where the data for `offset` goes, and how much of `len` goes on so.
    fn goal(&self, offset: u64, len: u64) -> io::Result<(Goal, u64)> {
        let mut tables = self.tables.lock();
        let mut at = offset;
        let mut first = None;
        while at < offset + len {
            let begin = at % self.geometry.cluster();
            let goal = match tables.look_up(&self.file, &self.geometry, at)? {
                Cluster::Data(place) if place.own => Goal::Over(place.offset + begin),
                Cluster::Zero(Some(place)) if place.own => Goal::Void(place),
                _ => Goal::New,
            };
            match first {
                None => first = Some(goal),
                Some(Goal::New) if goal == Goal::New => {}
                _ => break,
            }
            at = (at - begin + self.geometry.cluster()).min(offset + len);
        }
        Ok((first.unwrap_or(Goal::New), at - offset))
    }

    /// Fills one cluster that has a place, but reads as zeroes so far.
    fn fill_void(&self, part: Part, source: &Source<'_>, place: Place) -> io::Result<u64> {
        let (before, after) = self.around(part);
        let (before, after) = (
            vec![0; before.end as usize - before.start as usize],
            vec![0; after.end as usize - after.start as usize],
        );
        self.file.write(place.offset, &source.between(&before, &after))?;
        let mut tables = self.tables.lock();
        tables.change(&self.file, &self.geometry, part.offset, place.offset | COPIED)?;
        Ok(part.len)
    }

    /// The stretches of the disk that are in the clusters of `part`, but not in it.
    fn around(&self, part: Part) -> (Range<u64>, Range<u64>) {
        let begin = part.offset - part.offset % self.geometry.cluster();
        let end = part.offset + part.len;
        (begin..part.offset, end..end.next_multiple_of(self.geometry.cluster()))
    }

    /// Finds a place for clusters in a row, and fills it. Returns how much of the part was written.
    fn write_new<'s>(&self, part: Part, source: impl Fn(u64) -> Source<'s>) -> io::Result<u64> {
        let wanted = self.clusters(part.offset, part.len);
        let (run, fresh) = self.tables.lock().refcounts()?.reserve(&self.file, wanted.end - wanted.start)?;
        let end = (wanted.start + (run.end - run.start)) << self.geometry.cluster_bits;
        let part = Part { len: part.len.min(end - part.offset), ..part };
        let result = self.fill_new(part, &source(part.len), run.start, fresh);
        let result = result.and_then(|()| self.enter_new(wanted.start, run.clone()));
        if result.is_err()
            && let Ok(refcounts) = self.tables.lock().refcounts()
        {
            refcounts.give_back(run);
        }
        result.map(|()| part.len)
    }

    /// Writes data, and what was around it in its clusters, to a new place.
    fn fill_new(&self, part: Part, source: &Source<'_>, first: u64, fresh: bool) -> io::Result<()> {
        let place = first << self.geometry.cluster_bits;
        let (before, after) = self.around(part);
        let begin = part.offset - before.start;
        let before = self.old_content(before, fresh)?;
        let after = self.old_content(after, fresh)?;
        let skipped = if before.is_none() { begin } else { 0 };
        let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
        self.file.write(place + skipped, &source.between(&before, &after))
    }

    /// What the disk has there; `None` if a fresh place has it already, being zeroes.
    fn old_content(&self, stretch: Range<u64>, fresh: bool) -> io::Result<Option<Vec<u8>>> {
        let len = stretch.end - stretch.start;
        if len == 0 {
            return Ok(None);
        }
        let inside = stretch.end.min(self.geometry.size).saturating_sub(stretch.start);
        if fresh && (inside == 0 || self.reads_as_zero(stretch.start, inside)?) {
            return Ok(None);
        }
        let mut bytes = vec![0; len as usize];
        if inside != 0 {
            self.read_held(stretch.start, &Target::bytes(&mut bytes[..inside as usize]), Wait::Yes)?;
        }
        Ok(Some(bytes))
    }

    fn reads_as_zero(&self, offset: u64, len: u64) -> io::Result<bool> {
        let extent = self.extent_held(offset, len)?;
        Ok(extent.kind.reads_as_zero() && extent.len >= len)
    }

    /// Enters clusters that have their data into the tables.
    fn enter_new(&self, first: u64, run: Range<u64>) -> io::Result<()> {
        let mut tables = self.tables.lock();
        for (index, cluster) in run.enumerate() {
            let offset = (first + index as u64) << self.geometry.cluster_bits;
            tables.refcounts()?.count(&self.file, cluster..cluster + 1)?;
            let entry = cluster << self.geometry.cluster_bits | COPIED;
            tables.change(&self.file, &self.geometry, offset, entry)?;
        }
        drop(tables);
        Ok(())
    }

    pub(super) fn make_zeroes(&self, offset: u64, len: u64, unmap: bool) -> io::Result<()> {
        let cluster = self.geometry.cluster();
        let _held = self.in_flight.enter(self.clusters(offset, len), true);
        let end = offset + len;
        // The last cluster may be a part of one: behind the disk's end is nothing that would have to stay.
        let whole_end =
            if end >= self.geometry.size { end.next_multiple_of(cluster) } else { end / cluster * cluster };
        let whole = offset.next_multiple_of(cluster)..whole_end;
        if whole.is_empty() {
            return self.write_zero_bytes(offset, len);
        }
        self.write_zero_bytes(offset, whole.start - offset)?;
        self.write_zero_bytes(whole.end, end.saturating_sub(whole.end))?;
        for at in whole.step_by(cluster as usize) {
            self.zero_cluster(at, unmap)?;
        }
        Ok(())
    }

    fn zero_cluster(&self, at: u64, unmap: bool) -> io::Result<()> {
        let mut tables = self.tables.lock();
        let old = tables.look_up(&self.file, &self.geometry, at)?;
        if matches!(old, Cluster::Zero(_)) || old == Cluster::Unallocated && self.backing.is_none() {
            return Ok(());
        }
        let entry = match old {
            // Version 2 has no zero clusters.
            _ if self.geometry.version < 3 && self.backing.is_some() => {
                drop(tables);
                return self.write_zero_bytes(at, self.geometry.cluster().min(self.geometry.size - at));
            }
            _ if self.geometry.version < 3 => 0,
            Cluster::Data(place) if place.own && !unmap => place.offset | COPIED | ZERO,
            _ => ZERO,
        };
        tables.change(&self.file, &self.geometry, at, entry)
    }

    /// Writes zeroes as data, where the disk has others.
    fn write_zero_bytes(&self, offset: u64, len: u64) -> io::Result<()> {
        if len == 0 || self.reads_as_zero(offset, len)? {
            return Ok(());
        }
        let zeroes = vec![0; len as usize];
        self.write_held(offset, &Source::bytes(&zeroes))
    }

    /// Discards whole clusters.
    pub(super) fn forget(&self, offset: u64, len: u64) -> io::Result<()> {
        let cluster = self.geometry.cluster();
        let end = offset + len;
        let whole_end =
            if end >= self.geometry.size { end.next_multiple_of(cluster) } else { end / cluster * cluster };
        let whole = offset.next_multiple_of(cluster)..whole_end;
        if whole.is_empty() || self.geometry.version < 3 && self.backing.is_some() {
            return Ok(());
        }
        let _held = self.in_flight.enter(self.clusters(whole.start, whole.end - whole.start), true);
        let mut tables = self.tables.lock();
        // With a backing file, nothing would be its content: that must not come back.
        let entry = if self.backing.is_some() { ZERO } else { 0 };
        for at in whole.step_by(cluster as usize) {
            let old = tables.look_up(&self.file, &self.geometry, at)?;
            if !matches!(old, Cluster::Unallocated | Cluster::Zero(None)) {
                tables.change(&self.file, &self.geometry, at, entry)?;
            }
        }
        Ok(())
    }
}
