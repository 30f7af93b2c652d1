//! What goes to the card: finished as far as it asks, in batches, and held back while it has no room.

use crate::offload;
use emu_core::backend::{Acceptance, NetworkReceiver, Packet};
use std::{collections::VecDeque, sync::Arc};

/// Packets offered at once.
const BATCH: usize = 64;
/// Packets that may wait, of those that nobody sends again.
const MOST_WAITING: usize = 1024;

/// The TCP segment that a packet's bytes belong to: they go back to it for the case that it must be sent again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    pub slot: usize,
    pub generation: u32,
    pub sequence: u32,
}

#[derive(Default)]
pub(super) struct Outlet {
    receiver: Option<Arc<dyn NetworkReceiver>>,
    waiting: VecDeque<(Packet, Option<Owner>)>,
    /// Offered next; as `acceptance` asks.
    ready: Vec<Packet>,
    owners: Vec<Option<Owner>>,
    acceptance: Acceptance,
    blocked: bool,
    /// Bytes of segments that have been sent.
    returned: Vec<(Owner, Vec<u8>)>,
}

impl Outlet {
    pub fn connect(&mut self, receiver: Arc<dyn NetworkReceiver>) {
        self.receiver = Some(receiver);
        self.blocked = false;
    }

    /// The card has room again.
    pub fn resume(&mut self) {
        self.blocked = false;
    }

    /// Whether more had better not be made now.
    pub fn is_blocked(&self) -> bool {
        self.blocked || self.receiver.is_none()
    }

    /// Whether [`flush`](Self::flush) has something to do.
    pub fn is_ready(&self) -> bool {
        let something = !self.waiting.is_empty() || !self.ready.is_empty();
        something && !self.is_blocked()
    }

    /// Sends a packet that may be lost.
    pub fn send(&mut self, packet: Packet) {
        if self.waiting.len() < MOST_WAITING {
            self.waiting.push_back((packet, None));
        }
    }

    /// Sends a segment whose bytes come back.
    pub fn send_owned(&mut self, packet: Packet, owner: Owner) {
        self.waiting.push_back((packet, Some(owner)));
    }

    /// Offers the card what waits.
    pub fn flush(&mut self) {
        let Some(receiver) = self.receiver.clone() else { return };
        while self.is_ready() {
            let acceptance = receiver.accepts();
            if acceptance != self.acceptance {
                // The guest's driver has changed its mind, or is another: what was made for it is lost.
                let ready = std::mem::take(&mut self.ready);
                let owners = std::mem::take(&mut self.owners);
                ready.into_iter().zip(owners).for_each(|(packet, owner)| self.give_back(packet, owner));
                self.acceptance = acceptance;
            }
            self.prepare();
            if self.ready.is_empty() {
                return;
            }
            let taken = receiver.receive(&self.ready).min(self.ready.len());
            self.blocked = taken < self.ready.len();
            for (packet, owner) in self.ready.drain(..taken).zip(self.owners.drain(..taken)) {
                if let Some(owner) = owner {
                    self.returned.push((owner, packet.bytes));
                }
            }
        }
    }

    fn prepare(&mut self) {
        while self.ready.len() < BATCH {
            let Some((packet, owner)) = self.waiting.pop_front() else { return };
            if offload::accepted(&packet, self.acceptance) {
                self.ready.push(packet);
                self.owners.push(owner);
            } else {
                offload::finish(&packet, self.acceptance, &mut self.ready);
                self.owners.resize(self.ready.len(), None);
                self.give_back(packet, owner);
            }
        }
    }

    fn give_back(&mut self, packet: Packet, owner: Option<Owner>) {
        if let Some(owner) = owner {
            self.returned.push((owner, packet.bytes));
        }
    }

    /// Bytes of segments that have been sent since this was last asked.
    pub fn returned(&mut self) -> Vec<(Owner, Vec<u8>)> {
        std::mem::take(&mut self.returned)
    }
}
