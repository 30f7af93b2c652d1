//! Packets on their way to and from a file descriptor of the host's: what taps and sockets have in common.
//!
//! One thread waits for the descriptor and for the card. What the card sends waits here, up to a limit, until the
//! descriptor takes it; what comes from the descriptor is finished as the card asks, and while the card has no room
//! nothing more is read.

use crate::offload;
use emu_core::backend::{NetworkReceiver, Packet};
use parking_lot::Mutex;
use rustix::{
    event::{EventfdFlags, eventfd},
    fd::OwnedFd,
    io,
};
use std::{collections::VecDeque, sync::Arc};

/// Bytes that wait for the host; more is lost, as on a cable.
const MOST_WAITING: usize = 4 << 20;
/// What a packet takes beyond its bytes.
const PACKET: usize = 64;

#[derive(Default)]
struct State {
    receiver: Option<Arc<dyn NetworkReceiver>>,
    outgoing: VecDeque<Packet>,
    outgoing_bytes: usize,
    stop: bool,
}

/// What the card and the thread share.
pub(crate) struct Pipe {
    state: Mutex<State>,
    waker: OwnedFd,
}

impl Pipe {
    pub fn new() -> io::Result<Self> {
        let waker = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Pipe { state: Mutex::default(), waker })
    }

    /// What becomes readable when there is something for the thread.
    pub fn waker(&self) -> &OwnedFd {
        &self.waker
    }

    /// The thread has woken.
    pub fn awake(&self) {
        let _ = io::read(&self.waker, &mut [0; 8]);
    }

    pub fn wake(&self) {
        let _ = io::write(&self.waker, &1u64.to_ne_bytes());
    }

    pub fn connect(&self, receiver: Arc<dyn NetworkReceiver>) {
        self.state.lock().receiver = Some(receiver);
        self.wake();
    }

    pub fn send(&self, packets: Vec<Packet>) {
        let mut state = self.state.lock();
        let idle = state.outgoing.is_empty();
        for packet in packets {
            let bytes = packet.bytes.len() + PACKET;
            if state.outgoing_bytes + bytes <= MOST_WAITING {
                state.outgoing_bytes += bytes;
                state.outgoing.push_back(packet);
            }
        }
        drop(state);
        if idle {
            self.wake();
        }
    }

    pub fn stop(&self) {
        self.state.lock().stop = true;
        self.wake();
    }

    pub fn is_stopped(&self) -> bool {
        self.state.lock().stop
    }

    /// The next packet for the host.
    pub fn next(&self) -> Option<Packet> {
        let mut state = self.state.lock();
        let packet = state.outgoing.pop_front()?;
        state.outgoing_bytes -= packet.bytes.len() + PACKET;
        Some(packet)
    }

    /// Whether there is something for the host.
    pub fn has_outgoing(&self) -> bool {
        !self.state.lock().outgoing.is_empty()
    }

    /// Nobody is there to take what waits.
    pub fn discard_outgoing(&self) {
        let mut state = self.state.lock();
        state.outgoing.clear();
        state.outgoing_bytes = 0;
    }

    fn receiver(&self) -> Option<Arc<dyn NetworkReceiver>> {
        self.state.lock().receiver.clone()
    }
}

/// What has come from the host and waits for the card.
#[derive(Default)]
pub(crate) struct Incoming(Vec<Packet>);

impl Incoming {
    /// Whether nothing waits: then more may be read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes a packet as the card wants it.
    pub fn push(&mut self, pipe: &Pipe, packet: Packet) {
        if let Some(receiver) = pipe.receiver() {
            let acceptance = receiver.accepts();
            if offload::accepted(&packet, acceptance) {
                self.0.push(packet);
            } else {
                offload::finish(&packet, acceptance, &mut self.0);
            }
        }
    }

    /// Offers the card what waits.
    pub fn deliver(&mut self, pipe: &Pipe) {
        if self.0.is_empty() {
            return;
        }
        let Some(receiver) = pipe.receiver() else { return self.0.clear() };
        let acceptance = receiver.accepts();
        // Made for a driver that is gone.
        self.0.retain(|packet| offload::accepted(packet, acceptance));
        let taken = receiver.receive(&self.0).min(self.0.len());
        self.0.drain(..taken);
    }
}
