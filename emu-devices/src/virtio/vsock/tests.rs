//! The socket device, as a driver sees it, with a host's side that writes down what it hears.

use super::{
    Vsock,
    connection::BUF_ALLOC,
    packet::{HEADER, Header, STREAM, op},
};
use crate::virtio::{
    VirtioPci,
    common::{reg, status},
    driver::{BUFFERS, Driver, Outside, SIZE, WINDOW, WRITE},
    layout,
};
use emu_core::{
    backend::{ConnectionBackend, ConnectionKey, ConnectionReceiver, Shutdown},
    bus::Snapshot,
};
use parking_lot::Mutex;
use proptest::prelude::*;
use std::sync::Arc;

const CID: u32 = 42;
/// The guest's port and the host's.
const KEY: ConnectionKey = ConnectionKey { guest: 1024, host: 80 };
const ROOM: u32 = 1000;

#[derive(Debug, Clone, PartialEq)]
enum Heard {
    Open(ConnectionKey),
    Opened(ConnectionKey),
    Bytes(Vec<u8>),
    Resume,
    ShutDown(Shutdown),
    Close(ConnectionKey),
}

#[derive(Default)]
struct Host {
    receiver: Mutex<Option<Arc<dyn ConnectionReceiver>>>,
    heard: Mutex<Vec<Heard>>,
}

impl Host {
    fn device(&self) -> Arc<dyn ConnectionReceiver> {
        self.receiver.lock().clone().unwrap()
    }

    fn heard(&self) -> Vec<Heard> {
        std::mem::take(&mut *self.heard.lock())
    }

    fn hear(&self, heard: Heard) {
        self.heard.lock().push(heard);
    }
}

impl ConnectionBackend for Host {
    fn connect(&self, receiver: Arc<dyn ConnectionReceiver>) {
        *self.receiver.lock() = Some(receiver);
    }
    fn open(&self, key: ConnectionKey) {
        self.hear(Heard::Open(key));
    }
    fn opened(&self, key: ConnectionKey) {
        self.hear(Heard::Opened(key));
    }
    fn send(&self, _: ConnectionKey, bytes: Vec<u8>) {
        self.hear(Heard::Bytes(bytes));
    }
    fn resume(&self, _: ConnectionKey) {
        self.hear(Heard::Resume);
    }
    fn shut_down(&self, _: ConnectionKey, what: Shutdown) {
        self.hear(Heard::ShutDown(what));
    }
    fn close(&self, key: ConnectionKey) {
        self.hear(Heard::Close(key));
    }
}

fn started() -> (Driver<Vsock>, Arc<Host>) {
    let host = Arc::<Host>::default();
    let mut driver = Driver::new(Vsock::new(CID, host.clone()));
    driver.start(3, 0);
    (driver, host)
}

/// With a connection that the guest has asked for and the host has taken.
fn connected() -> (Driver<Vsock>, Arc<Host>) {
    let (mut driver, host) = started();
    driver.say(op::REQUEST, &[]);
    host.device().opened(KEY);
    assert_eq!(driver.hears().op, op::RESPONSE);
    host.heard();
    (driver, host)
}

/// A packet of the guest's on [`KEY`].
fn packet(op: u16) -> Header {
    Header {
        src_cid: CID.into(),
        dst_cid: 2,
        src_port: KEY.guest,
        dst_port: KEY.host,
        len: 0,
        kind: STREAM,
        op,
        flags: 0,
        buf_alloc: ROOM,
        fwd_cnt: 0,
    }
}

impl Driver<Vsock> {
    fn send(&mut self, header: Header, data: &[u8]) {
        let header = Header { len: data.len() as u32, ..header };
        self.dma.write(BUFFERS, &header.bytes()).unwrap();
        self.dma.write(BUFFERS + HEADER as u64, data).unwrap();
        // The header may be cut anywhere.
        let cut = 20;
        let rest = (HEADER + data.len()) as u32 - cut;
        self.chain(1, 0, &[(BUFFERS, cut, 0), (BUFFERS + u64::from(cut), rest, 0)]);
        self.offer(1, 0);
        self.notify(1);
    }

    /// Sends a packet that the device takes.
    fn say(&mut self, op: u16, data: &[u8]) {
        self.send(packet(op), data);
        assert_eq!(self.used(1), Some((0, 0)));
    }

    fn give(&mut self, head: u16, len: u32) {
        self.chain(0, head, &[(BUFFERS + 0x10_0000 + 0x1_0000 * u64::from(head), len, WRITE)]);
        self.offer(0, head);
        self.notify(0);
    }

    fn packet(&mut self) -> Option<(Header, Vec<u8>)> {
        let (head, len) = self.used(0)?;
        let bytes = self.memory(BUFFERS + 0x10_0000 + 0x1_0000 * u64::from(head), len as usize);
        let header = Header::parse(bytes.first_chunk().unwrap());
        assert_eq!(header.len as usize, bytes.len() - HEADER);
        assert_eq!((header.src_cid, header.dst_cid), (2, CID.into()));
        Some((header, bytes[HEADER..].to_vec()))
    }

    /// The next packet, which has no data.
    #[track_caller]
    fn hears(&mut self) -> Header {
        self.give(0, 4096);
        let (header, data) = self.packet().expect("a packet");
        assert!(data.is_empty());
        header
    }
}

#[test]
fn the_driver_reads_its_address() {
    let (driver, _) = started();
    let address = WINDOW + layout::DEVICE.start;
    assert_eq!((driver.bus.mmio_read(address, 8), driver.bus.mmio_read(address, 4)), (42, 42));
}

#[test]
fn a_guest_connects_and_talks() {
    let (mut driver, host) = started();
    driver.say(op::REQUEST, &[]);
    assert_eq!(host.heard(), [Heard::Open(KEY)]);
    host.device().opened(KEY);
    let response = driver.hears();
    assert_eq!((response.op, response.src_port, response.dst_port), (op::RESPONSE, 80, 1024));
    assert_eq!((response.buf_alloc, response.fwd_cnt, response.kind), (BUF_ALLOC, 0, STREAM));
    driver.say(op::RW, b"GET /");
    assert_eq!(host.heard(), [Heard::Bytes(b"GET /".to_vec())]);
    driver.give(0, 4096);
    assert_eq!(host.device().receive(KEY, b"200"), 3);
    let (header, data) = driver.packet().unwrap();
    assert_eq!((header.op, data), (op::RW, b"200".to_vec()));
}

#[test]
fn a_host_connects_and_the_guest_may_refuse() {
    let (mut driver, host) = started();
    let key = ConnectionKey { guest: KEY.guest, host: KEY.host };
    assert!(host.device().open(key));
    assert!(!host.device().open(key), "it is there already");
    assert_eq!(driver.hears().op, op::REQUEST);
    driver.say(op::RESPONSE, &[]);
    assert_eq!(host.heard(), [Heard::Opened(key)]);
    driver.say(op::RST, &[]);
    assert_eq!(host.heard(), [Heard::Close(key)]);
    host.device().close(key);
    assert!(host.device().open(key));
    driver.hears();
    driver.say(op::RST, &[]);
    assert_eq!(host.heard(), [Heard::Close(key)]);
}

#[test]
fn a_port_where_nobody_listens_is_reset() {
    let (mut driver, host) = started();
    driver.say(op::REQUEST, &[]);
    host.device().close(KEY);
    assert_eq!(driver.hears().op, op::RST);
    assert_eq!(host.heard(), [Heard::Open(KEY), Heard::Close(KEY)]);
    driver.say(op::REQUEST, &[]);
    assert_eq!(host.heard(), [Heard::Open(KEY)], "the key is free again");
}

#[test]
fn the_host_sends_no_more_than_the_guest_has_room_for() {
    let (mut driver, host) = connected();
    (0..4).for_each(|head| driver.give(head, HEADER as u32 + 600));
    assert_eq!(host.device().receive(KEY, &[7; 5000]), ROOM as usize);
    let packets: Vec<usize> = (0..2).map(|_| driver.packet().unwrap().1.len()).collect();
    assert_eq!((packets, driver.packet()), (vec![600, 400], None));
    assert_eq!(host.device().receive(KEY, &[7; 5]), 0);
    host.heard();

    driver.send(Header { fwd_cnt: 300, ..packet(op::CREDIT_UPDATE) }, &[]);
    driver.used(1);
    assert_eq!(host.heard(), [Heard::Resume]);
    assert_eq!(host.device().receive(KEY, &[7; 5000]), 300);
    // A guest that has less room than it has been sent gets nothing.
    driver.send(Header { buf_alloc: 10, fwd_cnt: 300, ..packet(op::CREDIT_UPDATE) }, &[]);
    assert_eq!(host.device().receive(KEY, &[7; 5]), 0);
}

#[test]
fn a_host_that_found_no_buffer_is_told_of_the_next() {
    let (mut driver, host) = connected();
    assert_eq!(host.device().receive(KEY, b"abc"), 0);
    driver.give(0, 100);
    assert_eq!(host.heard(), [Heard::Resume]);
    assert_eq!(host.device().receive(KEY, b"abc"), 3);
}

#[test]
fn the_guest_hears_of_its_credit_and_may_not_exceed_it() {
    let (mut driver, host) = connected();
    let data = vec![1; 0x8000];
    for _ in 0..BUF_ALLOC / 0x8000 {
        driver.say(op::RW, &data);
    }
    host.device().delivered(KEY, 0x8000);
    driver.say(op::CREDIT_REQUEST, &[]);
    driver.say(op::CREDIT_REQUEST, &[]);
    let update = driver.hears();
    assert_eq!((update.op, update.buf_alloc, update.fwd_cnt), (op::CREDIT_UPDATE, BUF_ALLOC, 0x8000));
    host.device().delivered(KEY, 0x1_0000);
    let update = driver.hears();
    assert_eq!((update.op, update.fwd_cnt), (op::CREDIT_UPDATE, 0x1_8000), "without having asked");
    host.heard();

    (0..3).for_each(|_| driver.say(op::RW, &data));
    assert_eq!(host.heard().len(), 3);
    driver.say(op::RW, &[1]);
    assert_eq!(host.heard(), [Heard::Close(KEY)]);
    assert_eq!(driver.packet().map(|(header, _)| header.op), None);
    assert_eq!(driver.hears().op, op::RST);
}

#[test]
fn a_half_closed_connection_carries_the_other_half() {
    let (mut driver, host) = connected();
    driver.send(Header { flags: 2, ..packet(op::SHUTDOWN) }, &[]);
    driver.used(1);
    assert_eq!(host.heard(), [Heard::ShutDown(Shutdown { receive: false, send: true })]);
    driver.give(0, 4096);
    assert_eq!(host.device().receive(KEY, b"rest"), 4);
    assert_eq!(driver.packet().unwrap().1, b"rest");
    host.device().shut_down(KEY, Shutdown { receive: false, send: true });
    let shut = driver.hears();
    assert_eq!((shut.op, shut.flags), (op::SHUTDOWN, 2));
    driver.send(Header { flags: 3, ..packet(op::SHUTDOWN) }, &[]);
    assert_eq!(host.heard(), [Heard::ShutDown(Shutdown::BOTH), Heard::Close(KEY)]);
    assert_eq!(driver.hears().op, op::RST);
}

#[test]
fn a_guest_that_closes_is_answered_when_all_is_delivered() {
    let (mut driver, host) = connected();
    driver.say(op::RW, b"last words");
    driver.send(Header { flags: 3, ..packet(op::SHUTDOWN) }, &[]);
    driver.used(1);
    driver.give(0, 4096);
    assert_eq!(driver.packet(), None);
    host.device().delivered(KEY, 10);
    assert_eq!(driver.packet().unwrap().0.op, op::RST);
    assert_eq!(host.heard().last(), Some(&Heard::Close(KEY)));
}

#[test]
fn packets_of_nothing_are_reset_and_those_of_others_passed_over() {
    let (mut driver, host) = started();
    driver.say(op::RW, b"what");
    assert_eq!(driver.hears().op, op::RST);
    driver.say(op::RST, &[]);
    driver.send(Header { kind: 2, ..packet(op::REQUEST) }, &[]);
    let reset = driver.hears();
    assert_eq!((reset.op, reset.kind), (op::RST, 2));
    driver.send(Header { src_cid: 43, ..packet(op::REQUEST) }, &[]);
    driver.send(Header { dst_cid: 1, ..packet(op::REQUEST) }, &[]);
    driver.send(Header { src_cid: u64::from(CID) | 1 << 32, ..packet(op::REQUEST) }, &[]);
    driver.give(0, 4096);
    assert_eq!((driver.packet(), host.heard()), (None, vec![]));
}

#[test]
fn a_guest_that_does_not_listen_is_not_listened_to() {
    let (mut driver, _) = started();
    for _ in 0..super::MOST_WAITING {
        driver.say(op::RW, &[]);
    }
    driver.send(packet(op::RW), &[]);
    assert_eq!(driver.used(1), None);
    assert_eq!(driver.hears().op, op::RST);
    assert_eq!(driver.used(1), Some((0, 0)));
}

#[test]
fn there_is_a_limit_to_connections() {
    let (mut driver, host) = started();
    for port in 0..super::MAX_CONNECTIONS as u32 {
        driver.send(Header { src_port: port, ..packet(op::REQUEST) }, &[]);
        driver.used(1);
    }
    assert_eq!(host.heard().len(), super::MAX_CONNECTIONS);
    driver.say(op::REQUEST, &[]);
    assert_eq!((driver.hears().op, host.heard()), (op::RST, vec![]));
    assert!(!host.device().open(KEY));
}

#[test]
fn a_packet_that_is_cut_off_needs_a_reset() {
    for len in [HEADER as u32 - 1, HEADER as u32 + 4] {
        let (mut driver, host) = connected();
        driver.dma.write(BUFFERS, &Header { len: 5, ..packet(op::RW) }.bytes()).unwrap();
        driver.chain(1, 0, &[(BUFFERS, len, 0)]);
        driver.offer(1, 0);
        driver.notify(1);
        assert_ne!(driver.status() & status::NEEDS_RESET, 0);
        assert_eq!(host.heard(), []);
    }
    let (mut driver, host) = connected();
    driver.give(0, HEADER as u32);
    host.device().receive(KEY, b"x");
    assert_ne!(driver.status() & status::NEEDS_RESET, 0, "no room for a byte");
}

#[test]
fn a_reset_is_over_when_the_host_has_let_go() {
    let (mut driver, host) = connected();
    driver.write(reg::DEVICE_STATUS, 0);
    assert_eq!(host.heard(), [Heard::Close(KEY)]);
    assert_ne!(driver.status(), 0);
    assert!(!host.device().open(ConnectionKey { guest: 1, host: 1 }), "nobody is there");
    assert_eq!(host.device().receive(KEY, b"stale"), 5, "lost");
    host.device().close(KEY);
    assert_eq!(driver.status(), 0);
    driver.start(3, 0);
    driver.say(op::REQUEST, &[]);
    assert_eq!(host.heard(), [Heard::Open(KEY)]);
}

#[test]
fn a_restored_device_says_that_connections_are_lost() {
    let (driver, _) = connected();
    let state = driver.function.lock().save();
    let outside = Outside { dma: driver.dma.clone(), ..Outside::new() };
    let host = Arc::<Host>::default();
    let device = Vsock::new(CID, host.clone());
    let mut driver = Driver::of(VirtioPci::restore((device, outside.wires()), state).unwrap(), outside);
    let at = BUFFERS + 0x20;
    driver.chain(2, 0, &[(at, 8, WRITE)]);
    driver.offer(2, 0);
    driver.notify(2);
    assert_eq!(driver.used(2), Some((0, 4)));
    assert_eq!(driver.memory(at, 4), [0; 4]);
    driver.chain(2, 1, &[(at, 8, WRITE)]);
    driver.offer(2, 1);
    driver.notify(2);
    assert_eq!(driver.used(2), None, "told once");
    assert!(host.device().open(KEY), "and new ones can be made");
}

/// What a fuzzed guest or host does.
#[derive(Debug, Clone)]
enum Step {
    Packet { op: u16, port: u32, kind: u16, flags: u32, buf_alloc: u32, fwd_cnt: u32, len: usize },
    Buffer(u32),
    HostOpen(u32),
    HostOpened(u32),
    HostData(u32, usize),
    HostDelivered(u32, usize),
    HostShut(u32, bool, bool),
    HostClose(u32),
    Reset,
}

fn step() -> impl Strategy<Value = Step> {
    let port = 0u32..3;
    let credit = prop_oneof![Just(0), Just(500), any::<u32>()];
    let packet = (
        0u16..9,
        0u32..3,
        prop_oneof![9 => Just(1u16), 1 => Just(2)],
        0u32..4,
        credit,
        0u32..600,
        0usize..400,
    );
    prop_oneof![
        8 => packet.prop_map(|(op, port, kind, flags, buf_alloc, fwd_cnt, len)| Step::Packet {
            op, port, kind, flags, buf_alloc, fwd_cnt, len
        }),
        4 => (44u32..600).prop_map(Step::Buffer),
        1 => port.clone().prop_map(Step::HostOpen),
        3 => port.clone().prop_map(Step::HostOpened),
        2 => (port.clone(), 1usize..900).prop_map(|(port, len)| Step::HostData(port, len)),
        2 => (port.clone(), 0usize..900).prop_map(|(port, len)| Step::HostDelivered(port, len)),
        1 => (port.clone(), any::<bool>(), any::<bool>()).prop_map(|(port, a, b)| Step::HostShut(port, a, b)),
        1 => port.prop_map(Step::HostClose),
        1 => Just(Step::Reset),
    ]
}

proptest! {
    #[test]
    fn whatever_both_sides_do_the_device_keeps_account(steps in prop::collection::vec(step(), 0..120)) {
        let (mut driver, host) = started();
        let mut heads = (0..SIZE).cycle();
        let mut buffers = 0;
        for step in steps {
            let key = |port| ConnectionKey { guest: port, host: 80 };
            match step {
                Step::Packet { op, port, kind, flags, buf_alloc, fwd_cnt, len } => {
                    let header = Header { src_port: port, kind, flags, buf_alloc, fwd_cnt, ..packet(op) };
                    driver.send(header, &vec![9; len]);
                }
                Step::Buffer(len) if buffers < SIZE => {
                    driver.give(heads.next().unwrap(), len);
                    buffers += 1;
                }
                Step::Buffer(_) => {}
                Step::HostOpen(port) => drop(host.device().open(key(port))),
                Step::HostOpened(port) => host.device().opened(key(port)),
                Step::HostData(port, len) => drop(host.device().receive(key(port), &vec![3; len])),
                Step::HostDelivered(port, len) => host.device().delivered(key(port), len),
                Step::HostShut(port, send, receive) => {
                    host.device().shut_down(key(port), Shutdown { receive, send });
                }
                Step::HostClose(port) => host.device().close(key(port)),
                Step::Reset => {
                    driver.write(reg::DEVICE_STATUS, 0);
                    (0..3).for_each(|port| host.device().close(key(port)));
                    prop_assert_eq!(driver.status(), 0);
                    driver.start(3, 0);
                    buffers = 0;
                }
            }
            while driver.used(0).is_some() {
                buffers -= 1;
            }
        }
        driver.write(reg::DEVICE_STATUS, 0);
        (0..3).for_each(|port| host.device().close(ConnectionKey { guest: port, host: 80 }));
        prop_assert_eq!(driver.status(), 0);
    }
}
