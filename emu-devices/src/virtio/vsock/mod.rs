//! Socket device: virtio 1.2, 5.10. Stream connections between programs in the guest and programs on the host.
//!
//! The host's side is a [`ConnectionBackend`]. Data to the guest stays there until the guest has room for it by its
//! credit and its buffers. Data of the guest's is the backend's at once: the credit that the guest is given bounds it.
//! What the guest says is taken from it only while there is room for what that may have to be answered.
//!
//! A restored device has no connections: the driver is told by an event (5.10.6.7).
//!
//! Left out: SEQPACKET, connections between guests.

mod connection;
mod packet;
#[cfg(test)]
mod tests;

use super::{Chain, Link, Queues, VirtioDevice, VirtioIdentity, read_bytes};
use connection::{Connection, Phase};
use emu_core::backend::{ConnectionBackend, ConnectionKey, ConnectionReceiver, Shutdown};
use packet::{HEADER, HOST_CID, Header, STREAM, op};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, VecDeque},
    ops::RangeInclusive,
    sync::Arc,
};

/// Addresses that a guest may have.
pub const GUEST_CIDS: RangeInclusive<u32> = 3..=u32::MAX - 1;
/// The most connections.
pub const MAX_CONNECTIONS: usize = 512;

/// Feature bit.
const STREAM_FEATURE: u64 = 1 << 0;
/// Queues.
const TO_GUEST: u16 = 0;
const TO_DEVICE: u16 = 1;
const EVENT: u16 = 2;
const QUEUE_SIZES: [u16; 3] = [128, 128, 16];
/// An event: connections are lost, and the guest's address may be another.
const TRANSPORT_RESET: u32 = 0;
/// Packets without data that wait for the driver's buffers, from which on nothing is taken from it.
const MOST_WAITING: usize = 256;
/// The most data in a packet to the guest.
const MOST_DATA: usize = 64 * 1024;

/// A virtio socket device.
pub struct Vsock {
    cid: u32,
    backend: Arc<dyn ConnectionBackend>,
    running: bool,
    connections: BTreeMap<ConnectionKey, Connection>,
    /// Packets without data for the guest, in order.
    waiting: VecDeque<Reply>,
    /// The driver is to be told that connections are lost.
    lost: bool,
}

/// The device's registers, as saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VsockState {
    running: bool,
}

/// A packet without data, before its credit is known.
struct Reply {
    key: ConnectionKey,
    kind: u16,
    op: u16,
    flags: u32,
}

/// The device, as the host's side sees it.
struct Receiver(Link<Vsock>);

impl Vsock {
    /// A device for the guest with address `cid`, one of [`GUEST_CIDS`].
    pub fn new(cid: u32, backend: Arc<dyn ConnectionBackend>) -> Self {
        assert!(GUEST_CIDS.contains(&cid), "a guest's address is not {cid}");
        Vsock {
            cid,
            backend,
            running: false,
            connections: BTreeMap::new(),
            waiting: VecDeque::new(),
            lost: false,
        }
    }

    fn header(&self, key: ConnectionKey, (kind, op, flags): (u16, u16, u32)) -> Header {
        Header {
            src_cid: HOST_CID,
            dst_cid: self.cid.into(),
            src_port: key.host,
            dst_port: key.guest,
            kind,
            op,
            flags,
            ..Header::default()
        }
    }

    fn reply(&mut self, key: ConnectionKey, op: u16, flags: u32) {
        self.waiting.push_back(Reply { key, kind: STREAM, op, flags });
    }

    /// Sends packets without data, as far as the driver has buffers.
    fn send_waiting(&mut self, queues: &mut Queues) {
        while !self.waiting.is_empty() {
            let Some(chain) = queues.pop(TO_GUEST) else { return };
            let Some(Reply { key, kind, op, flags }) = self.waiting.pop_front() else { return };
            let mut header = self.header(key, (kind, op, flags));
            if let Some(connection) = self.connections.get_mut(&key) {
                connection.tell(&mut header);
                connection.update_waits &= op != op::CREDIT_UPDATE;
            }
            put(chain, &header, &[], queues);
        }
    }

    /// Ends a connection for the guest by `RST`, if `say_so`, and tells the host's side.
    fn end(&mut self, key: ConnectionKey, say_so: bool) {
        if say_so {
            self.reply(key, op::RST, 0);
        }
        if let Some(connection) = self.connections.get_mut(&key) {
            connection.phase = Phase::Closing;
            self.backend.close(key);
        }
    }

    fn take_packets(&mut self, queues: &mut Queues) {
        while self.waiting.len() < MOST_WAITING {
            let Some(chain) = queues.pop(TO_DEVICE) else { return };
            let Some(header) = Header::read(&chain.readable) else {
                return queues.fail("a packet that is cut off");
            };
            self.take_packet(&header, &chain);
            queues.complete(chain, 0);
            self.send_waiting(queues);
        }
    }

    fn take_packet(&mut self, header: &Header, chain: &Chain) {
        let key = header.key();
        if header.src_cid != u64::from(self.cid) || header.dst_cid != HOST_CID {
            return log::debug!("virtio-vsock: from {} to {}", header.src_cid, header.dst_cid);
        }
        if header.kind != STREAM {
            if header.op != op::RST {
                self.waiting.push_back(Reply { key, kind: header.kind, op: op::RST, flags: 0 });
            }
            return;
        }
        match self.connections.get_mut(&key).map(|connection| connection.phase) {
            None => self.take_first(header),
            // It may have been sent before the guest knew.
            Some(Phase::Closing) if header.op != op::REQUEST => {}
            Some(Phase::Closing) => self.reply(key, op::RST, 0),
            Some(phase) => self.take_next(header, phase, chain),
        }
    }

    /// A packet of no connection.
    fn take_first(&mut self, header: &Header) {
        let key = header.key();
        match header.op {
            op::REQUEST if self.connections.len() < MAX_CONNECTIONS => {
                let mut connection = Connection::new(Phase::FromGuest);
                connection.hear(header);
                self.connections.insert(key, connection);
                self.backend.open(key);
            }
            op::RST => {}
            _ => self.reply(key, op::RST, 0),
        }
    }

    /// A packet of a connection that is not over.
    fn take_next(&mut self, header: &Header, phase: Phase, chain: &Chain) {
        let key = header.key();
        let Some(connection) = self.connections.get_mut(&key) else { return };
        connection.hear(header);
        match (header.op, phase) {
            (op::RESPONSE, Phase::FromHost) => {
                connection.phase = Phase::Open;
                self.backend.opened(key);
            }
            (op::RST, _) => return self.end(key, false),
            (op::RW, Phase::Open) => {
                let allowed = !connection.guest_shut.send && !connection.host_shut.receive;
                if !allowed || !connection.take(header.len) {
                    return self.end(key, true);
                }
                if header.len != 0 {
                    let mut bytes = vec![0; header.len as usize];
                    chain.readable.copy_to(HEADER, &mut bytes);
                    self.backend.send(key, bytes);
                }
            }
            (op::SHUTDOWN, Phase::Open | Phase::FromGuest) => {
                let all = connection.guest_shut.and(header.shutdown());
                if std::mem::replace(&mut connection.guest_shut, all) != all {
                    self.backend.shut_down(key, all);
                }
            }
            (op::CREDIT_UPDATE, _) => {}
            (op::CREDIT_REQUEST, _) => self.tell_credit(key),
            _ => return self.end(key, true),
        }
        self.go_on(key);
    }

    /// Does what a packet of the guest's has made possible.
    fn go_on(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        if connection.phase == Phase::Open && connection.is_finished() {
            return self.end(key, true);
        }
        let wanted = connection.credit() > 0 || connection.guest_shut.receive;
        if wanted && std::mem::take(&mut connection.stalled) {
            self.backend.resume(key);
        }
    }

    fn tell_credit(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.connections.get_mut(&key)
            && !std::mem::replace(&mut connection.update_waits, true)
        {
            self.reply(key, op::CREDIT_UPDATE, 0);
        }
    }

    /// The driver has new buffers.
    fn resume(&mut self, queues: &mut Queues) {
        self.send_waiting(queues);
        self.take_packets(queues);
        for (key, connection) in &mut self.connections {
            let live = connection.phase != Phase::Closing && connection.credit() > 0;
            if live && std::mem::take(&mut connection.stalled) {
                self.backend.resume(*key);
            }
        }
    }

    fn tell_loss(&mut self, queues: &mut Queues) {
        if self.lost
            && let Some(chain) = queues.pop(EVENT)
        {
            self.lost = false;
            if chain.writable.len() < 4 {
                return queues.fail("no room for an event");
            }
            chain.writable.copy_from(0, &TRANSPORT_RESET.to_le_bytes());
            queues.complete(chain, 4);
        }
    }

    // What the host's side says.

    /// The connection, unless it is over.
    fn live(&mut self, key: ConnectionKey) -> Option<&mut Connection> {
        self.connections.get_mut(&key).filter(|connection| connection.phase != Phase::Closing)
    }

    fn open_from_host(&mut self, key: ConnectionKey) -> bool {
        let room = self.connections.len() < MAX_CONNECTIONS && self.waiting.len() < MOST_WAITING;
        let free = room && !self.connections.contains_key(&key);
        if self.running && free {
            self.connections.insert(key, Connection::new(Phase::FromHost));
            self.reply(key, op::REQUEST, 0);
        }
        self.running && free
    }

    fn opened_by_host(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.live(key)
            && connection.phase == Phase::FromGuest
        {
            connection.phase = Phase::Open;
            self.reply(key, op::RESPONSE, 0);
            self.go_on(key);
        }
    }

    fn receive(&mut self, key: ConnectionKey, bytes: &[u8], queues: &mut Queues) -> usize {
        // A packet without data that waits may be what makes this one make sense.
        self.send_waiting(queues);
        let can_send = self.waiting.is_empty();
        let base = self.header(key, (STREAM, op::RW, 0));
        // Nobody wants them.
        let Some(connection) = self.live(key).filter(|connection| !connection.guest_shut.receive) else {
            return bytes.len();
        };
        let mut taken = 0;
        while can_send && connection.phase == Phase::Open && taken < bytes.len() {
            let most = (bytes.len() - taken).min(connection.credit()).min(MOST_DATA);
            let Some(chain) = (most > 0).then(|| queues.pop(TO_GUEST)).flatten() else { break };
            let most = most.min(chain.writable.len().saturating_sub(HEADER));
            let mut header = Header { len: most as u32, ..base };
            connection.tell(&mut header);
            connection.sent(most);
            put(chain, &header, &bytes[taken..taken + most], queues);
            taken += most;
        }
        connection.stalled |= taken < bytes.len();
        taken
    }

    fn delivered(&mut self, key: ConnectionKey, bytes: usize) {
        let Some(connection) = self.live(key) else { return };
        if connection.delivered(bytes) {
            self.tell_credit(key);
        }
        self.go_on(key);
    }

    fn shut_down_by_host(&mut self, key: ConnectionKey, what: Shutdown) {
        let Some(connection) = self.live(key) else { return };
        let all = connection.host_shut.and(what);
        if std::mem::replace(&mut connection.host_shut, all) != all {
            self.reply(key, op::SHUTDOWN, packet::shutdown_flags(all));
        }
    }

    fn closed_by_host(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connections.get(&key) else { return };
        if connection.phase != Phase::Closing {
            self.end(key, true);
        }
        self.connections.remove(&key);
    }
}

/// Gives the driver a packet.
fn put(chain: Chain, header: &Header, data: &[u8], queues: &mut Queues) {
    let len = HEADER + data.len();
    // Room for a header alone is no room where there is data.
    if chain.writable.len() < len || (header.op == op::RW && data.is_empty()) {
        return queues.fail("no room for a packet");
    }
    chain.writable.copy_from(0, &header.bytes());
    chain.writable.copy_from(HEADER, data);
    queues.complete(chain, len as u32);
}

impl VirtioDevice for Vsock {
    type State = VsockState;

    fn identity(&self) -> VirtioIdentity {
        // Communication controller, other.
        VirtioIdentity { name: "virtio-vsock", id: 19, class: 0x07_8000 }
    }

    fn queue_sizes(&self) -> Vec<u16> {
        QUEUE_SIZES.to_vec()
    }

    fn features(&self) -> u64 {
        STREAM_FEATURE
    }

    fn read_config(&self, offset: usize, bytes: &mut [u8]) {
        read_bytes(&u64::from(self.cid).to_le_bytes(), offset, bytes);
    }

    fn attach(&mut self, link: Link<Self>) {
        self.backend.connect(Arc::new(Receiver(link)));
    }

    fn start(&mut self, _features: u64) {
        self.running = true;
    }

    fn notified(&mut self, queue: u16, queues: &mut Queues) {
        match queue {
            TO_GUEST => self.resume(queues),
            TO_DEVICE => self.take_packets(queues),
            _ => self.tell_loss(queues),
        }
    }

    /// The host's side ends what there was. Until it has, a key could be mistaken for another's.
    fn reset(&mut self) {
        (self.running, self.lost) = (false, false);
        self.waiting.clear();
        for (key, connection) in &mut self.connections {
            if std::mem::replace(&mut connection.phase, Phase::Closing) != Phase::Closing {
                self.backend.close(*key);
            }
        }
    }

    fn is_busy(&self) -> bool {
        !self.connections.is_empty()
    }

    fn save(&self) -> Self::State {
        let Vsock { cid: _, backend: _, running, connections: _, waiting: _, lost: _ } = self;
        VsockState { running: *running }
    }

    fn with_state(self, state: Self::State) -> Result<Self, String> {
        let VsockState { running } = state;
        Ok(Vsock { running, lost: running, ..self })
    }
}

impl Receiver {
    fn with<T: Default>(&self, work: impl FnOnce(&mut Vsock, &mut Queues) -> T) -> T {
        let mut result = T::default();
        self.0.with(|vsock, queues| {
            result = work(vsock, queues);
            vsock.send_waiting(queues);
        });
        result
    }
}

impl ConnectionReceiver for Receiver {
    fn open(&self, key: ConnectionKey) -> bool {
        self.with(|vsock, _| vsock.open_from_host(key))
    }

    fn opened(&self, key: ConnectionKey) {
        self.with(|vsock, _| vsock.opened_by_host(key));
    }

    fn receive(&self, key: ConnectionKey, bytes: &[u8]) -> usize {
        self.with(|vsock, queues| vsock.receive(key, bytes, queues))
    }

    fn delivered(&self, key: ConnectionKey, bytes: usize) {
        self.with(|vsock, _| vsock.delivered(key, bytes));
    }

    fn shut_down(&self, key: ConnectionKey, what: Shutdown) {
        self.with(|vsock, _| vsock.shut_down_by_host(key, what));
    }

    fn close(&self, key: ConnectionKey) {
        self.with(|vsock, _| vsock.closed_by_host(key));
    }
}
