//! What other threads hand to the network's thread: packets of the card's, answers of the resolver's.

use super::poll;
use emu_core::backend::{NetworkReceiver, Packet};
use parking_lot::Mutex;
use rustix::fd::OwnedFd;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Bytes that wait; more is lost.
const MOST_BYTES: usize = 16 << 20;
/// What a packet takes beyond its bytes.
const PACKET: usize = 64;

/// What came since it was last looked at.
#[derive(Default)]
pub(super) struct Mail {
    pub packets: Vec<Packet>,
    bytes: usize,
    pub answers: Vec<super::dns::Answer>,
    pub receiver: Option<Arc<dyn NetworkReceiver>>,
    pub resumed: bool,
    pub stop: bool,
}

pub(super) struct Inbox {
    mail: Mutex<Mail>,
    /// There is mail: to be looked at without the lock.
    filled: AtomicBool,
    /// The network's thread waits or is about to: it must be woken.
    sleeping: AtomicBool,
    pub waker: OwnedFd,
}

impl Inbox {
    pub fn new() -> rustix::io::Result<Self> {
        Ok(Inbox {
            mail: Mutex::default(),
            filled: AtomicBool::new(false),
            sleeping: AtomicBool::new(false),
            waker: poll::waker()?,
        })
    }

    /// Puts packets in, as far as there is room.
    pub fn send(&self, packets: Vec<Packet>) {
        self.put(|mail| {
            if mail.packets.is_empty() {
                mail.bytes = 0;
            }
            for packet in packets {
                let bytes = packet.bytes.len() + PACKET;
                if mail.bytes + bytes <= MOST_BYTES {
                    mail.bytes += bytes;
                    mail.packets.push(packet);
                }
            }
        });
    }

    /// Changes the mail, and sees to it that it is looked at.
    pub fn put(&self, change: impl FnOnce(&mut Mail)) {
        change(&mut self.mail.lock());
        self.filled.store(true, Ordering::SeqCst);
        if self.sleeping.swap(false, Ordering::SeqCst) {
            poll::wake(&self.waker);
        }
    }

    /// Takes all there is. `emptied` gives its room for what comes next.
    pub fn take(&self, mut emptied: Vec<Packet>) -> Mail {
        emptied.clear();
        let next = Mail { packets: emptied, ..Mail::default() };
        // Before it is taken: what comes in between is announced again.
        self.filled.store(false, Ordering::SeqCst);
        std::mem::replace(&mut self.mail.lock(), next)
    }

    /// Whether there is nothing to take.
    pub fn is_empty(&self) -> bool {
        !self.filled.load(Ordering::SeqCst)
    }

    /// Announces that the network's thread is going to wait. False if it must not, as there is mail.
    pub fn may_sleep(&self) -> bool {
        self.sleeping.store(true, Ordering::SeqCst);
        self.is_empty()
    }

    /// It has waited.
    pub fn awake(&self) {
        self.sleeping.store(false, Ordering::SeqCst);
    }
}
