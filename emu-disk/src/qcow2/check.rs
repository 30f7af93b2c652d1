//! Whether an image is in order: every cluster is counted as often as something refers to it, and nothing refers to
//! what cannot be.

use super::{
    Qcow2,
    references::{Reference, visit},
    snapshots,
};
use std::{collections::HashMap, io};

/// Sentences that are kept; the others are only counted.
const MOST_SENTENCES: usize = 20;

/// What is wrong with an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Damage: the guest can lose data.
    pub errors: u64,
    /// Clusters that are counted more often than used: space that nobody gets, but no damage.
    pub leaks: u64,
    /// Of these, clusters that have been put in order.
    pub repaired: u64,
    /// What was found, in words; not more than a few.
    pub sentences: Vec<String>,
    /// Clusters of the disk that have a place of their own in the file.
    pub allocated: u64,
}

impl CheckReport {
    fn say(&mut self, sentence: String) {
        if self.sentences.len() < MOST_SENTENCES {
            self.sentences.push(sentence);
        }
    }
}

impl Qcow2 {
    /// Looks at all tables. `repair` frees what is counted and not used, in an image that was opened to be written.
    pub fn check(&self, repair: bool) -> io::Result<CheckReport> {
        let mut report = CheckReport::default();
        let used = self.used(&mut report)?;
        let mut tables = self.tables.lock();
        let mut counts = match tables.refcounts.take() {
            Some(counts) => counts,
            None => {
                let (offset, clusters) = (tables.header.reftable_offset, tables.header.reftable_clusters);
                super::Refcounts::load(&self.file, self.geometry, offset, clusters)?
            }
        };
        let mut wrong = Vec::new();
        for (cluster, (used, own)) in &used {
            let count = counts.get(&self.file, *cluster)?;
            if count < *used {
                report.errors += 1;
                report.say(format!("cluster {cluster} is used {used} times, but counted {count} times"));
            } else if *own && count != 1 {
                report.errors += 1;
                report.say(format!("cluster {cluster} is marked as used once, but counted {count} times"));
            }
        }
        let blocks: Vec<_> = (0..counts.blocks()).map(|block| counts.clusters_of(block)).collect();
        for cluster in blocks.into_iter().flatten() {
            let count = counts.get(&self.file, cluster)?;
            let used = used.get(&cluster).map_or(0, |used| used.0);
            if count > used {
                report.leaks += 1;
                report.say(format!("cluster {cluster} is counted {count} times, but used {used} times"));
                wrong.push((cluster, used));
            }
        }
        if repair && report.errors == 0 {
            for (cluster, used) in &wrong {
                counts.set(&self.file, *cluster, *used)?;
            }
            report.repaired = wrong.len() as u64;
        }
        if self.file.writable() {
            tables.refcounts = Some(counts);
        }
        drop(tables);
        if repair { self.settle().map(|()| report) } else { Ok(report) }
    }

    /// How often each cluster is used, and whether somebody claims to be the only one.
    fn used(&self, report: &mut CheckReport) -> io::Result<HashMap<u64, (u64, bool)>> {
        let tables = self.tables.lock();
        let cluster = self.geometry.cluster();
        let mut used: HashMap<u64, (u64, bool)> = HashMap::new();
        let mut add = |first: u64, end: u64, own: bool| {
            for index in first..end {
                let entry = used.entry(index).or_default();
                entry.0 += 1;
                entry.1 |= own;
            }
        };
        let place = |offset: u64, len: u64| (offset / cluster, (offset + len).div_ceil(cluster));
        let header = &tables.header;
        let (snapshots, table_len) = snapshots::read(&self.file, header.snapshots, header.snapshots_offset)?;
        let reftable_len = u64::from(header.reftable_clusters) * cluster;
        let mut places = vec![
            place(0, 1),
            place(header.l1_offset, tables.l1.bytes.len() as u64),
            place(header.reftable_offset, reftable_len),
            place(header.snapshots_offset, table_len),
        ];
        places.extend(snapshots.iter().map(|snapshot| {
            let (offset, len) = snapshot.l1_place();
            place(offset, len)
        }));
        places.iter().for_each(|(first, end)| add(*first, *end, false));
        let reftable = super::references::read_table(&self.file, header.reftable_offset, reftable_len)?;
        for index in 0..reftable.entries() {
            let offset = reftable.get(index) & !0x1FF;
            if offset != 0 {
                add(offset / cluster, offset / cluster + 1, false);
            }
        }
        // Places of which there are more than the file can hold are errors, not clusters.
        let limit = self.file.len()?.div_ceil(cluster) + 1;
        let mut beyond = 0_u64;
        let mut problems = Vec::new();
        let mut walk = |l1: &super::Table, active: bool| {
            let mut allocated = 0;
            let mut visitor = |reference: Reference| {
                if reference.clusters.end > limit {
                    beyond += 1;
                    return Ok(());
                }
                allocated += u64::from(active && !reference.table);
                let own = active && reference.own;
                add(reference.clusters.start, reference.clusters.end, own);
                Ok(())
            };
            visit(&self.file, &self.geometry, l1, &mut visitor, &mut |problem| {
                problems.push(problem);
                Ok(())
            })?;
            Ok::<_, io::Error>(allocated)
        };
        report.allocated = walk(&tables.l1, true)?;
        for snapshot in &snapshots {
            walk(&snapshot.l1(&self.file)?, false)?;
        }
        report.errors += beyond + problems.len() as u64;
        if beyond != 0 {
            report.say(format!("{beyond} entries refer to what is beyond the end of the file"));
        }
        problems.into_iter().for_each(|problem| report.say(problem));
        Ok(used)
    }
}
