//! Which clusters of the disk are being read or written, so that none changes its place in the file meanwhile.
//!
//! Reads, and writes into clusters that have their place, share; what gives clusters a place or takes it away is alone.

use parking_lot::{Condvar, Mutex};
use std::ops::Range;

#[derive(Default)]
pub(super) struct InFlight {
    entries: Mutex<Vec<Entry>>,
    left: Condvar,
}

struct Entry {
    clusters: Range<u64>,
    alone: bool,
}

/// As long as it lives, the clusters keep their place, or nobody else sees them change it.
pub(super) struct Held<'a> {
    all: &'a InFlight,
    clusters: Range<u64>,
    alone: bool,
}

impl InFlight {
    /// Waits until nobody is in the way. Who holds some must not ask for more.
    pub fn enter(&self, clusters: Range<u64>, alone: bool) -> Held<'_> {
        let mut entries = self.entries.lock();
        while entries.iter().any(|entry| entry.conflicts(&clusters, alone)) {
            self.left.wait(&mut entries);
        }
        entries.push(Entry { clusters: clusters.clone(), alone });
        Held { all: self, clusters, alone }
    }
}

impl Entry {
    fn conflicts(&self, clusters: &Range<u64>, alone: bool) -> bool {
        (self.alone || alone) && self.clusters.start < clusters.end && clusters.start < self.clusters.end
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut entries = self.all.entries.lock();
        let own = |entry: &Entry| entry.alone == self.alone && entry.clusters == self.clusters;
        let index = entries.iter().position(own).expect("entered when this was made");
        entries.swap_remove(index);
        drop(entries);
        self.all.left.notify_all();
    }
}
