//! Commands that the backend works on, and the way back of its completions.
//!
//! A completion goes to the inbox. The first in an empty one takes the controller's lock and hands over all that have
//! come by then; the others leave theirs to it. So what comes together is posted together, with one interrupt.

use super::{Nvme, command::Command};
use emu_core::{
    backend::{BlockError, Data},
    memory::DmaBuffer,
};
use parking_lot::Mutex;
use std::sync::{Arc, OnceLock, Weak};

/// Commands of I/O queues that may be at the backend at a time. Further ones stay in their queues.
pub(super) const MOST_OUTSTANDING: usize = 1024;
/// Admin commands that may be there besides.
pub(super) const MOST_ADMIN: usize = 16;
/// How many of the former may be COMPAREs, which need memory of the host's.
pub(super) const MOST_COMPARES: usize = 16;

/// What the controller does when the backend is done.
#[derive(Debug)]
pub(super) enum Task {
    /// READ, WRITE, FLUSH, and other requests after which nothing is to be done.
    Plain,
    /// COMPARE: what has been read is to equal this.
    Compare(DmaBuffer),
    /// WRITE ZEROES that is to outlive a loss of power: a flush is next.
    Zeroes,
    /// DATASET MANAGEMENT: bytes (offset, length) that are still to be discarded, the next at the end.
    Deallocate(Vec<(u64, u64)>),
    /// A shutdown's flush. No command.
    Shutdown,
}

/// A request at the backend.
#[derive(Debug)]
pub(super) struct Outstanding {
    pub submission: u16,
    pub command: Command,
    pub task: Task,
}

/// Requests at the backend by number.
#[derive(Debug, Default)]
pub(super) struct Slots {
    slots: Vec<Option<Outstanding>>,
    free: Vec<usize>,
    compares: usize,
}

impl Slots {
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether as many COMPAREs are at the backend as may be.
    pub(super) fn compares_full(&self) -> bool {
        self.compares >= MOST_COMPARES
    }

    pub(super) fn insert(&mut self, outstanding: Outstanding) -> usize {
        self.compares += usize::from(matches!(outstanding.task, Task::Compare(_)));
        if let Some(number) = self.free.pop() {
            self.slots[number] = Some(outstanding);
            return number;
        }
        self.slots.push(Some(outstanding));
        self.slots.len() - 1
    }

    pub(super) fn remove(&mut self, number: usize) -> Option<Outstanding> {
        let outstanding = self.slots.get_mut(number)?.take()?;
        self.free.push(number);
        self.compares -= usize::from(matches!(outstanding.task, Task::Compare(_)));
        Some(outstanding)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Outstanding> {
        self.slots.iter().flatten()
    }
}

/// A request that the backend is done with.
#[derive(Debug)]
pub(super) struct Finished {
    pub number: usize,
    pub result: Result<(), BlockError>,
    pub data: Option<Data>,
}

/// Where completions arrive, on threads of the backend's.
#[derive(Default)]
pub(super) struct Inbox {
    finished: Mutex<Vec<Finished>>,
    controller: OnceLock<Weak<Mutex<Nvme>>>,
}

impl Inbox {
    /// Whose completions these are. Once.
    pub(super) fn connect(&self, controller: &Arc<Mutex<Nvme>>) {
        let first = self.controller.set(Arc::downgrade(controller)).is_ok();
        assert!(first, "a controller is connected once");
    }

    pub(super) fn deliver(&self, finished: Finished) {
        let is_first = {
            let mut list = self.finished.lock();
            list.push(finished);
            list.len() == 1
        };
        if is_first && let Some(controller) = self.controller.get().and_then(Weak::upgrade) {
            controller.lock().collect();
        }
    }

    /// Gives what has come for an empty list.
    pub(super) fn swap(&self, list: &mut Vec<Finished>) {
        std::mem::swap(&mut *self.finished.lock(), list);
    }
}
