//! One port: a receive and a transmit queue, and the host's end.

use super::PortKind;
use crate::virtio::{Chain, Queues};
use emu_core::backend::StreamBackend;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Bytes that are handed to the host's end together.
const PIECE: usize = 4096;

/// A port.
pub(super) struct Port {
    pub(super) kind: PortKind,
    pub(super) backend: Arc<dyn StreamBackend>,
    /// A program in the guest has it open.
    pub(super) guest_open: bool,
    /// Somebody on the host listens.
    pub(super) host_open: bool,
    /// The host's end was refused bytes.
    pub(super) refused: bool,
    /// What the guest sends and the host's end has not taken yet.
    waiting: Option<Chain>,
    /// How much of the waiting chain has been taken.
    taken: usize,
}

/// A port, as saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortState {
    guest_open: bool,
    host_open: bool,
    taken: usize,
}

impl Port {
    pub(super) fn new(kind: PortKind, backend: Arc<dyn StreamBackend>) -> Self {
        Port { kind, backend, guest_open: false, host_open: false, refused: false, waiting: None, taken: 0 }
    }

    pub(super) fn is_console(&self) -> bool {
        self.kind == PortKind::Console
    }

    /// The host's end stays as it is, but may offer again what the guest had no room for.
    pub(super) fn reset(&mut self) {
        (self.guest_open, self.waiting, self.taken) = (false, None, 0);
    }

    pub(super) fn set_guest_open(&mut self, open: bool) {
        self.guest_open = open;
    }

    /// Hands on what the guest sends, until the host's end takes no more.
    pub(super) fn transmit(&mut self, queue: u16, queues: &mut Queues) {
        while let Some(chain) = self.waiting.take().or_else(|| queues.pop(queue)) {
            if !self.hand_on(&chain) {
                self.waiting = Some(chain);
                return;
            }
            self.taken = 0;
            queues.complete(chain, 0);
        }
    }

    /// Whether the host's end has taken all of it.
    fn hand_on(&mut self, chain: &Chain) -> bool {
        let mut piece = [0; PIECE];
        while let Some(left) = chain.readable.len().checked_sub(self.taken).filter(|left| *left != 0) {
            let bytes = &mut piece[..left.min(PIECE)];
            chain.readable.copy_to(self.taken, bytes);
            let sent = self.backend.send(bytes);
            self.taken += sent;
            if sent < bytes.len() {
                return false;
            }
        }
        true
    }

    pub(super) fn save(&self) -> PortState {
        let Port { kind: _, backend: _, guest_open, host_open, refused: _, waiting: _, taken } = self;
        PortState { guest_open: *guest_open, host_open: *host_open, taken: *taken }
    }

    /// Takes saved registers. Whether somebody was listening on the host.
    pub(super) fn restore(&mut self, state: PortState) -> bool {
        let PortState { guest_open, host_open, taken } = state;
        (self.guest_open, self.taken) = (guest_open, taken);
        host_open
    }
}

/// Puts bytes into the guest's buffers. Returns how many there was room for.
pub(super) fn fill(queue: u16, bytes: &[u8], queues: &mut Queues) -> usize {
    let mut taken = 0;
    while taken < bytes.len() {
        let Some(chain) = queues.pop(queue) else { break };
        let len = chain.writable.len().min(bytes.len() - taken);
        if len == 0 {
            queues.fail("no room for bytes of a port");
            break;
        }
        chain.writable.copy_from(0, &bytes[taken..taken + len]);
        queues.complete(chain, len as u32);
        taken += len;
    }
    taken
}
