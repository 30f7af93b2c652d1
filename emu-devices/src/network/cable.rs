//! The cable in a card's socket: what is about to be sent, and who is told of received packets.

use super::MacAddress;
use crate::pci::PciWires;
use emu_core::backend::{Acceptance, NetworkBackend, NetworkReceiver, Packet};
use parking_lot::Mutex;
use std::sync::{Arc, Weak};

/// Packets and bytes that are handed over together at most: a ring full of long packets is never in memory at once.
const MOST_PACKETS: usize = 64;
const MOST_BYTES: usize = 1 << 20;

/// What a network card is connected to, and its address.
#[derive(Clone)]
pub struct CardWires {
    /// The slot.
    pub pci: PciWires,
    /// The other end of the cable.
    pub backend: Arc<dyn NetworkBackend>,
    /// The address it was made with.
    pub mac: MacAddress,
}

/// A card, as its cable sees it.
pub trait NetworkCard: Send + 'static {
    /// See [`NetworkReceiver::accepts`].
    fn accepts(&self) -> Acceptance;
    /// See [`NetworkReceiver::receive`].
    fn receive(&mut self, packets: &[Packet]) -> usize;
}

/// Lets `backend` send to `card`, as long as that exists.
pub fn connect<C: NetworkCard>(card: &Arc<Mutex<C>>, backend: &dyn NetworkBackend) {
    backend.connect(Arc::new(Plug(Arc::downgrade(card))));
}

struct Plug<C>(Weak<Mutex<C>>);

impl<C: NetworkCard> NetworkReceiver for Plug<C> {
    fn accepts(&self) -> Acceptance {
        self.0.upgrade().map_or_else(Acceptance::default, |card| card.lock().accepts())
    }

    fn receive(&self, packets: &[Packet]) -> usize {
        self.0.upgrade().map_or(packets.len(), |card| card.lock().receive(packets))
    }
}

/// One end of a cable.
pub struct Cable {
    backend: Arc<dyn NetworkBackend>,
    outgoing: Vec<Packet>,
    bytes: usize,
    /// The other end has packets that the card did not take.
    refused: bool,
}

impl Cable {
    /// A cable to `backend`.
    pub fn new(backend: Arc<dyn NetworkBackend>) -> Self {
        Cable { backend, outgoing: Vec::new(), bytes: 0, refused: false }
    }

    /// Packets are for `receiver`.
    pub fn connect(&self, receiver: Arc<dyn NetworkReceiver>) {
        self.backend.connect(receiver);
    }

    /// Whether something is plugged in at the other end.
    pub fn is_up(&self) -> bool {
        self.backend.link_up()
    }

    /// Sends `packet`, with others, at [`flush`](Self::flush) at the latest.
    pub fn send(&mut self, packet: Packet) {
        self.bytes += packet.bytes.len();
        self.outgoing.push(packet);
        if self.outgoing.len() >= MOST_PACKETS || self.bytes >= MOST_BYTES {
            self.flush();
        }
    }

    /// Sends what is waiting.
    pub fn flush(&mut self) {
        if !self.outgoing.is_empty() {
            self.bytes = 0;
            self.backend.send(std::mem::take(&mut self.outgoing));
        }
    }

    /// The card could not take all packets that it was offered.
    pub fn refuse(&mut self) {
        self.refused = true;
    }

    /// The card has room for packets: whatever it refused may come again.
    pub fn has_room(&mut self) {
        if std::mem::take(&mut self.refused) {
            self.backend.resume();
        }
    }
}
