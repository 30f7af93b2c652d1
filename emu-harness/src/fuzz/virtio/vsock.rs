//! The socket device: packets of any kind, and a host's side that keeps to its part of the contract and looks whether the
//! device keeps to the other.

use super::{Function, Subject};
use crate::fuzz::devices::Input;
use emu_core::{
    backend::{ConnectionBackend, ConnectionKey, ConnectionReceiver, Shutdown},
    memory::Dma,
};
use emu_devices::virtio::{MAX_CONNECTIONS, Vsock};
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc};

const CID: u32 = 3;
const HOST: u64 = 2;
const TO_DEVICE: u16 = 1;
/// Ports of each side: few, so that packets meet connections.
const PORTS: u32 = 2;
/// Bytes that the host's side is promised to have to keep at most for one connection.
const MOST_KEPT: usize = 256 * 1024;

/// A connection, as the host's side knows it.
#[derive(Default)]
struct Known {
    kept: usize,
    /// The device has said `close`.
    closed: bool,
}

#[derive(Default)]
struct Peer {
    receiver: Mutex<Option<Arc<dyn ConnectionReceiver>>>,
    known: Mutex<BTreeMap<ConnectionKey, Known>>,
}

impl Peer {
    fn with_live<T>(&self, key: ConnectionKey, what: &str, work: impl FnOnce(&mut Known) -> T) -> T {
        let mut known = self.known.lock();
        let known = known.get_mut(&key).filter(|known| !known.closed);
        work(known.unwrap_or_else(|| panic!("{what} of {key:?}, of which there is none")))
    }
}

impl ConnectionBackend for Peer {
    fn connect(&self, receiver: Arc<dyn ConnectionReceiver>) {
        *self.receiver.lock() = Some(receiver);
    }

    fn open(&self, key: ConnectionKey) {
        let mut known = self.known.lock();
        assert!(known.insert(key, Known::default()).is_none(), "{key:?} is opened twice");
        assert!(known.len() <= MAX_CONNECTIONS);
    }

    fn opened(&self, key: ConnectionKey) {
        self.with_live(key, "opening", |_| ());
    }

    fn send(&self, key: ConnectionKey, bytes: Vec<u8>) {
        self.with_live(key, "data", |known| {
            known.kept += bytes.len();
            assert!(known.kept <= MOST_KEPT, "{} bytes to keep", known.kept);
        });
    }

    fn resume(&self, key: ConnectionKey) {
        self.with_live(key, "room", |_| ());
    }

    fn shut_down(&self, key: ConnectionKey, _: Shutdown) {
        self.with_live(key, "the end", |_| ());
    }

    fn close(&self, key: ConnectionKey) {
        self.with_live(key, "closing", |known| known.closed = true);
    }
}

pub(super) struct Host(Arc<Peer>);

impl Host {
    fn close(&self, receiver: &dyn ConnectionReceiver, key: ConnectionKey) {
        receiver.close(key);
        let known = self.0.known.lock().remove(&key);
        assert!(known.is_some_and(|known| known.closed), "{key:?} is closed by one side alone");
    }

    fn open(&self, receiver: &dyn ConnectionReceiver, input: &mut Input<'_>) {
        let key = ConnectionKey { guest: input.next(1) as u32 % PORTS, host: input.next(1) as u32 % PORTS };
        let mut known = self.0.known.lock();
        if known.contains_key(&key) {
            return;
        }
        known.insert(key, Known::default());
        drop(known);
        if !receiver.open(key) {
            self.0.known.lock().remove(&key);
        }
    }
}

impl Subject for Host {
    type Device = Vsock;
    const TAKEN: u16 = TO_DEVICE;

    fn new(_: &mut Input<'_>) -> Self {
        Host(Arc::default())
    }

    fn device(&self, _: &Dma) -> Vsock {
        Vsock::new(CID, self.0.clone())
    }

    fn greeting(&self) -> Vec<(u16, Vec<u8>)> {
        let request = packet((0, 0), (0, 1, 1, 0), (0x1_0000, 0));
        // Room for what the host has to say.
        let room = (0..4).map(|_| (0, Vec::new()));
        room.chain([(TO_DEVICE, request)]).collect()
    }

    /// A packet; of the other queues no device reads.
    fn message(&self, queue: u16, input: &mut Input<'_>) -> Vec<u8> {
        if queue != TO_DEVICE {
            return Vec::new();
        }
        let ports = (input.next(1) as u32 % PORTS, input.next(1) as u32 % PORTS);
        let (op, data) = (input.next(1) as u16 % 9, input.next(1) as usize * 8);
        let (flags, buf_alloc, fwd_cnt) =
            (input.next(1) as u32 % 4, input.next(2) as u32, input.next(1) as u32);
        let mut bytes = packet(ports, (data as u32, 1, op, flags), (buf_alloc * 16, fwd_cnt));
        bytes.resize(bytes.len() + data, 0x33);
        // One of the header's bytes is another, sometimes.
        let (at, value) = (input.next(1) as usize, input.next(1) as u8);
        if let Some(byte) = bytes.get_mut(at.wrapping_sub(0xC0)) {
            *byte = value;
        }
        bytes
    }

    fn act(&self, _: &Function<Vsock>, input: &mut Input<'_>) {
        let Some(receiver) = self.0.receiver.lock().clone() else { return };
        let (what, which) = (input.next(1) % 8, input.next(1) as usize);
        let keys: Vec<_> = self.0.known.lock().keys().copied().collect();
        let Some(&key) = (what != 0).then(|| keys.get(which % keys.len().max(1))).flatten() else {
            return self.open(&*receiver, input);
        };
        match what {
            1 | 2 => receiver.opened(key),
            3 => {
                let bytes = vec![0x44; input.next(2) as usize];
                assert!(receiver.receive(key, &bytes) <= bytes.len());
            }
            4 | 5 => {
                let mut known = self.0.known.lock();
                let Some(kept) = known.get_mut(&key).map(|known| std::mem::take(&mut known.kept)) else {
                    return;
                };
                drop(known);
                receiver.delivered(key, kept);
            }
            6 => {
                let what = input.next(1);
                receiver.shut_down(key, Shutdown { receive: what & 1 != 0, send: what & 2 != 0 });
            }
            _ => self.close(&*receiver, key),
        }
    }

    /// What the device has closed is closed.
    fn settle(&self) {
        let Some(receiver) = self.0.receiver.lock().clone() else { return };
        let known = self.0.known.lock();
        let closed: Vec<_> = known.iter().filter(|(_, known)| known.closed).map(|(key, _)| *key).collect();
        drop(known);
        closed.into_iter().for_each(|key| self.close(&*receiver, key));
    }
}

/// A packet's header: virtio 1.2, 5.10.6. Ports of the guest and the host; length, type, operation, flags; credit.
fn packet(
    (guest, host): (u32, u32),
    (len, kind, op, flags): (u32, u16, u16, u32),
    (buf_alloc, fwd_cnt): (u32, u32),
) -> Vec<u8> {
    let mut bytes = [u64::from(CID).to_le_bytes(), HOST.to_le_bytes()].concat();
    bytes.extend([guest, host, len].into_iter().flat_map(u32::to_le_bytes));
    bytes.extend([kind, op].into_iter().flat_map(u16::to_le_bytes));
    bytes.extend([flags, buf_alloc, fwd_cnt].into_iter().flat_map(u32::to_le_bytes));
    bytes
}
