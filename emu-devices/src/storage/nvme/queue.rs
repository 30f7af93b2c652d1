//! Submission and completion queues: rings in guest memory. NVM Express 1.4, 4.1 and 4.6.

use super::{command::COMMAND_LEN, status::Status};
use emu_core::memory::{Dma, MemoryError};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Most entries of an I/O queue: CAP.MQES and one.
pub(super) const LARGEST_QUEUE: u32 = 1024;
/// Commands that are fetched in one access.
pub(super) const FETCH: usize = 16;
/// Bytes of a completion queue entry, and where in it the status with the phase tag is.
const COMPLETION_LEN: u64 = 16;
const PHASE_AT: u64 = 14;

/// A doorbell was given a value that its queue does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InvalidValue;

/// A submission queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SubmissionQueue {
    base: u64,
    /// Entries.
    size: u32,
    head: u32,
    tail: u32,
    /// The completion queue of its commands.
    pub completion: u16,
    /// Commands of this queue that the backend works on.
    pub outstanding: u32,
    /// The identifier of the admin command that deletes this queue, and waits for those.
    pub deleted_by: Option<u16>,
}

impl SubmissionQueue {
    pub(super) fn new(base: u64, size: u32, completion: u16) -> Self {
        SubmissionQueue { base, size, head: 0, tail: 0, completion, outstanding: 0, deleted_by: None }
    }

    /// The doorbell.
    pub(super) fn set_tail(&mut self, value: u32) -> Result<(), InvalidValue> {
        if value >= self.size {
            return Err(InvalidValue);
        }
        self.tail = value;
        Ok(())
    }

    /// What the host is told: entries before it are free.
    pub(super) fn head(&self) -> u16 {
        self.head as u16
    }

    /// Whether commands have not been taken.
    pub(super) fn is_waiting(&self) -> bool {
        self.head != self.tail && self.deleted_by.is_none()
    }

    /// Copies the next commands, as many as lie one behind the other, and returns how many.
    pub(super) fn peek(
        &self,
        dma: &Dma,
        commands: &mut [u8; FETCH * COMMAND_LEN],
    ) -> Result<usize, MemoryError> {
        let end = if self.tail < self.head { self.size } else { self.tail };
        let count = ((end - self.head) as usize).min(FETCH);
        dma.read(
            self.base.wrapping_add(u64::from(self.head) * COMMAND_LEN as u64),
            &mut commands[..count * COMMAND_LEN],
        )?;
        Ok(count)
    }

    /// The command at the head has been taken.
    pub(super) fn advance(&mut self) {
        self.head = (self.head + 1) % self.size;
    }

    /// Whether a saved queue makes sense.
    pub(super) fn is_sound(&self) -> bool {
        is_ring(self.size, self.head, self.tail)
    }
}

fn is_ring(size: u32, head: u32, tail: u32) -> bool {
    (2..=4096).contains(&size) && head < size && tail < size
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ended {
    pub submission: u16,
    pub command: u16,
    /// Command specific.
    pub result: u32,
    pub status: Status,
}

/// A completion queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CompletionQueue {
    base: u64,
    /// Entries.
    size: u32,
    head: u32,
    tail: u32,
    /// The phase tag of this round.
    phase: bool,
    /// Its interrupt, if it has one.
    pub vector: Option<u16>,
    /// The host has been sent a message, and has not answered by taking entries.
    pub notified: bool,
    /// Commands for whose completions there was no room yet.
    pub waiting: VecDeque<Ended>,
}

impl CompletionQueue {
    pub(super) fn new(base: u64, size: u32, vector: Option<u16>) -> Self {
        let waiting = VecDeque::new();
        CompletionQueue { base, size, head: 0, tail: 0, phase: true, vector, notified: false, waiting }
    }

    /// The doorbell. The host cannot take what has not been posted.
    pub(super) fn set_head(&mut self, value: u32) -> Result<(), InvalidValue> {
        let ahead = |of: u32| (of + self.size - self.head) % self.size;
        if value >= self.size || ahead(value) > ahead(self.tail) {
            return Err(InvalidValue);
        }
        self.head = value;
        Ok(())
    }

    /// Whether entries are there that the host has not taken.
    pub(super) fn has_entries(&self) -> bool {
        self.head != self.tail
    }

    /// Whether a command that ends at once finds room for its completion.
    pub(super) fn has_room(&self) -> bool {
        (self.waiting.len() as u32) < self.free()
    }

    fn free(&self) -> u32 {
        (self.head + self.size - self.tail - 1) % self.size
    }

    /// Posts what is waiting as long as there is room; `head_of` tells a submission queue's head. Whether anything was
    /// posted.
    pub(super) fn post(&mut self, dma: &Dma, head_of: impl Fn(u16) -> u16) -> Result<bool, MemoryError> {
        let mut posted = false;
        while self.free() != 0
            && let Some(ended) = self.waiting.pop_front()
        {
            let Ended { submission, command, result, status } = ended;
            let mut entry = [0; PHASE_AT as usize];
            entry[0..4].copy_from_slice(&result.to_le_bytes());
            entry[8..10].copy_from_slice(&head_of(submission).to_le_bytes());
            entry[10..12].copy_from_slice(&submission.to_le_bytes());
            entry[12..14].copy_from_slice(&command.to_le_bytes());
            let at = self.base.wrapping_add(u64::from(self.tail) * COMPLETION_LEN);
            dma.write(at, &entry)?;
            // By its phase tag the host knows that the entry is there: it comes last.
            dma.store_u16(at.wrapping_add(PHASE_AT), status.with_phase(self.phase))?;
            self.tail += 1;
            if self.tail == self.size {
                (self.tail, self.phase) = (0, !self.phase);
            }
            posted = true;
        }
        Ok(posted)
    }

    /// Whether a saved queue makes sense.
    pub(super) fn is_sound(&self) -> bool {
        is_ring(self.size, self.head, self.tail)
    }
}
