//! A request of several segments, of which each is a request of its own to the disk.

use super::{Chain, request::Status};
use parking_lot::Mutex;
use std::sync::Arc;

/// What is still to come of it. Clones are the same.
#[derive(Clone)]
pub(super) struct Segments(Arc<Mutex<Remaining>>);

struct Remaining {
    segments: usize,
    /// The first that was not good.
    status: Status,
    chain: Option<Chain>,
}

impl Segments {
    /// So many segments of the request in `chain`.
    pub(super) fn new(segments: usize, chain: Chain) -> Self {
        Segments(Arc::new(Mutex::new(Remaining { segments, status: Status::Ok, chain: Some(chain) })))
    }

    /// One segment is done. With the last one comes the chain, and how the whole ended.
    pub(super) fn done(&self, status: Status) -> Option<(Chain, Status)> {
        let mut remaining = self.0.lock();
        remaining.segments -= 1;
        if remaining.status == Status::Ok {
            remaining.status = status;
        }
        let status = remaining.status;
        if remaining.segments == 0 { remaining.chain.take().map(|chain| (chain, status)) } else { None }
    }
}
