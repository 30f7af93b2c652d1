//! Asynchronous events: what the controller has to tell without being asked. NVM Express 1.4, 5.2.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Requests that may be outstanding: Identify Controller, AERL and one.
pub(super) const MOST_REQUESTS: usize = 4;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Event {
    /// A write to the doorbell of no queue.
    InvalidDoorbell,
    /// A value that the doorbell's queue does not have.
    InvalidDoorbellValue,
    /// The temperature passed a threshold.
    Temperature,
}

impl Event {
    /// Type and information, and the log page to read: dword 0 of the completion.
    fn dword(self) -> u32 {
        let (kind, information, page) = match self {
            Event::InvalidDoorbell => (0, 0, 1),
            Event::InvalidDoorbellValue => (0, 1, 1),
            Event::Temperature => (1, 1, 2),
        };
        page << 16 | information << 8 | kind
    }

    fn page(self) -> u32 {
        self.dword() >> 16
    }
}

/// Events that wait for requests, and requests that wait for events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Events {
    /// Command identifiers.
    requests: VecDeque<u16>,
    /// Each kind at most once.
    pending: Vec<Event>,
    /// Log pages whose events have been told; no more of them until the host has read the page.
    masked: Vec<u32>,
}

impl Events {
    /// ASYNCHRONOUS EVENT REQUEST; false if there are too many.
    pub(super) fn request(&mut self, command: u16) -> bool {
        let room = self.requests.len() < MOST_REQUESTS;
        if room {
            self.requests.push_back(command);
        }
        room
    }

    /// ABORT of a request. Whether there was one.
    pub(super) fn abort(&mut self, command: u16) -> bool {
        let found = self.requests.iter().position(|request| *request == command);
        found.is_some_and(|at| self.requests.remove(at).is_some())
    }

    pub(super) fn raise(&mut self, event: Event) {
        if !self.pending.contains(&event) {
            self.pending.push(event);
        }
    }

    /// The host has read log page `page`: further events of its kind may be told.
    pub(super) fn page_read(&mut self, page: u32) {
        self.masked.retain(|masked| *masked != page);
    }

    /// The next request that an event completes, and its result.
    pub(super) fn next(&mut self) -> Option<(u16, u32)> {
        let at = self.pending.iter().position(|event| !self.masked.contains(&event.page()))?;
        let command = self.requests.pop_front()?;
        let event = self.pending.remove(at);
        self.masked.push(event.page());
        Some((command, event.dword()))
    }
}
