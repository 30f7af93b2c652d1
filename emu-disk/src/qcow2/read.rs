//! Reading: runs of clusters that lie beside each other in the file are one access.

use super::{Qcow2, layout::Cluster};
use crate::{
    buffers::Target,
    file::Wait,
    image::{Extent, ExtentKind},
};
use std::io;

/// What a stretch of the disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Run {
    Backing,
    Zero,
    /// At this offset of the file.
    Data(u64),
    /// One packed cluster, and where in it the stretch begins.
    Compressed {
        offset: u64,
        len: u64,
        begin: u64,
    },
}

impl Qcow2 {
    /// The runs that a stretch consists of, with their lengths.
    fn runs(&self, offset: u64, len: u64) -> io::Result<Vec<(Run, u64)>> {
        let mut runs: Vec<(Run, u64)> = Vec::new();
        let mut tables = self.tables.lock();
        let (mut at, end) = (offset, offset + len);
        while at < end {
            let begin = at % self.geometry.cluster();
            let now = (self.geometry.cluster() - begin).min(end - at);
            let run = match tables.look_up(&self.file, &self.geometry, at)? {
                Cluster::Unallocated => Run::Backing,
                Cluster::Zero(_) => Run::Zero,
                Cluster::Data(place) => Run::Data(place.offset + begin),
                Cluster::Compressed { offset, len } => Run::Compressed { offset, len, begin },
            };
            match runs.last_mut() {
                Some((last, so_far)) if continues(*last, *so_far, run) => *so_far += now,
                _ => runs.push((run, now)),
            }
            at += now;
        }
        Ok(runs)
    }

    /// Reads clusters that the caller holds.
    pub(super) fn read_held(&self, offset: u64, target: &Target<'_>, wait: Wait) -> io::Result<()> {
        let runs = self.runs(offset, target.len() as u64)?;
        let mut done = 0;
        for (run, len) in runs {
            let part = target.slice(done..done + len as usize);
            match run {
                Run::Backing => self.read_backing(offset + done as u64, &part, wait)?,
                Run::Zero => part.clear(),
                Run::Data(at) => self.file.read(at, &part, wait)?,
                Run::Compressed { .. } if wait == Wait::No => return Err(io::ErrorKind::WouldBlock.into()),
                Run::Compressed { offset, len, begin } => {
                    let unpacked = self.unpack(offset, len)?;
                    part.copy_from(&unpacked[begin as usize..]);
                }
            }
            done += len as usize;
        }
        Ok(())
    }

    /// Reads from the backing file; behind its end are zeroes.
    fn read_backing(&self, offset: u64, target: &Target<'_>, wait: Wait) -> io::Result<()> {
        let there = self.backing.as_ref().map_or(0, |backing| backing.len().saturating_sub(offset));
        let there = there.min(target.len() as u64) as usize;
        if let Some(backing) = self.backing.as_ref().filter(|_| there != 0) {
            backing.read(offset, &target.slice(0..there), wait)?;
        }
        target.slice(there..target.len()).clear();
        Ok(())
    }

    /// What is at `offset`, in clusters that the caller holds.
    pub(super) fn extent_held(&self, offset: u64, len: u64) -> io::Result<Extent> {
        // So many clusters are looked at in one go.
        let len = len.min(1024 << self.geometry.cluster_bits);
        let (run, len) = self.runs(offset, len)?[0];
        let own = |kind| Ok(Extent { len, kind, depth: 0 });
        match run {
            Run::Zero => own(ExtentKind::Zero),
            Run::Data(at) => own(ExtentKind::Data(at)),
            Run::Compressed { .. } => own(ExtentKind::Compressed),
            Run::Backing => match &self.backing {
                Some(backing) if offset < backing.len() => {
                    let extent = backing.extent(offset, len.min(backing.len() - offset))?;
                    Ok(Extent { depth: extent.depth + 1, ..extent })
                }
                _ => own(ExtentKind::Unallocated),
            },
        }
    }
}

fn continues(last: Run, len: u64, next: Run) -> bool {
    match (last, next) {
        (Run::Data(first), Run::Data(second)) => first + len == second,
        (Run::Compressed { .. }, _) => false,
        _ => last == next,
    }
}
