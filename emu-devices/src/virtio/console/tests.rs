//! The console, as a driver sees it, with streams that write down what they hear.

use super::{Console, PortKind, event, feature};
use crate::virtio::{
    VirtioPci,
    common::{reg, status},
    driver::{BUFFERS, Driver, Outside, WINDOW, WRITE},
    layout,
};
use emu_core::{
    backend::{StreamBackend, StreamReceiver},
    bus::Snapshot,
};
use parking_lot::Mutex;
use proptest::prelude::*;
use std::sync::Arc;

const CONFIG: u64 = WINDOW + layout::DEVICE.start;
const CONTROL_IN: u16 = 2;
const CONTROL_OUT: u16 = 3;

/// The host's end of a port.
#[derive(Default)]
struct Stream {
    receiver: Mutex<Option<Arc<dyn StreamReceiver>>>,
    heard: Mutex<Vec<u8>>,
    /// Bytes that it has room for.
    room: Mutex<usize>,
    resumed: Mutex<usize>,
}

impl Stream {
    fn with_room(room: usize) -> Arc<Self> {
        Arc::new(Stream { room: Mutex::new(room), ..Stream::default() })
    }

    fn guest(&self) -> Arc<dyn StreamReceiver> {
        self.receiver.lock().clone().unwrap()
    }

    fn heard(&self) -> Vec<u8> {
        std::mem::take(&mut *self.heard.lock())
    }
}

impl StreamBackend for Stream {
    fn connect(&self, receiver: Arc<dyn StreamReceiver>) {
        *self.receiver.lock() = Some(receiver);
    }
    fn send(&self, bytes: &[u8]) -> usize {
        let mut room = self.room.lock();
        let taken = bytes.len().min(*room);
        *room -= taken;
        self.heard.lock().extend_from_slice(&bytes[..taken]);
        taken
    }
    fn resume(&self) {
        *self.resumed.lock() += 1;
    }
}

fn console(streams: &[Arc<Stream>]) -> Console {
    let kind = |n| if n == 0 { PortKind::Console } else { PortKind::Named(format!("org.example.{n}")) };
    let ports = streams.iter().enumerate();
    Console::new(ports.map(|(n, stream)| (kind(n), stream.clone() as Arc<dyn StreamBackend>)).collect())
}

/// A console alone.
fn plain(room: usize) -> (Driver<Console>, Arc<Stream>) {
    let stream = Stream::with_room(room);
    let mut driver = Driver::new(console(std::slice::from_ref(&stream)));
    driver.start(2, 0);
    (driver, stream)
}

/// A console and a named port, introduced to the driver.
fn two() -> (Driver<Console>, [Arc<Stream>; 2]) {
    let streams = [Stream::with_room(1000), Stream::with_room(1000)];
    let mut driver = Driver::new(console(&streams));
    driver.start(6, 0);
    (driver, streams)
}

impl Driver<Console> {
    /// Sends bytes by `queue`, from descriptor `head`.
    fn send(&mut self, queue: u16, head: u16, bytes: &[u8]) {
        let at = BUFFERS + 0x1000 * u64::from(head);
        self.dma.write(at, bytes).unwrap();
        self.chain(queue, head, &[(at, bytes.len() as u32, 0)]);
        self.offer(queue, head);
        self.notify(queue);
    }

    /// Gives `queue` a buffer of `len`, by descriptor `head`.
    fn give(&mut self, queue: u16, head: u16, len: u32) {
        let at = BUFFERS + 0x8_0000 + 0x1000 * u64::from(head);
        self.chain(queue, head, &[(at, len, WRITE)]);
        self.offer(queue, head);
        self.notify(queue);
    }

    /// What the device has written to the next buffer.
    fn got(&mut self, queue: u16) -> Option<Vec<u8>> {
        let (head, len) = self.used(queue)?;
        Some(self.memory(BUFFERS + 0x8_0000 + 0x1000 * u64::from(head), len as usize))
    }

    fn tell(&mut self, id: u32, event: u16, value: u16) {
        let mut message = id.to_le_bytes().to_vec();
        message.extend_from_slice(&event.to_le_bytes());
        message.extend_from_slice(&value.to_le_bytes());
        self.send(CONTROL_OUT, 0, &message);
        assert_eq!(self.used(CONTROL_OUT), Some((0, 0)));
    }

    /// The next control message: port, event, value, and what follows.
    fn told(&mut self) -> Option<(u32, u16, u16, Vec<u8>)> {
        self.give(CONTROL_IN, 0, 64);
        let message = self.got(CONTROL_IN);
        let Some(message) = message else {
            // The buffer stays with the device.
            return None;
        };
        let (head, more) = message.split_at(8);
        let word = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        Some((word(0).into(), word(4), word(6), more.to_vec()))
    }
}

#[test]
fn a_console_alone_needs_no_ports() {
    let (mut driver, stream) = plain(1000);
    assert_eq!(driver.offered() & feature::MULTIPORT, 0);
    assert_eq!(driver.read(reg::NUM_QUEUES), 2);
    driver.send(1, 0, b"login: ");
    assert_eq!((stream.heard(), driver.used(1)), (b"login: ".to_vec(), Some((0, 0))));
    driver.give(0, 0, 4);
    assert_eq!(stream.guest().receive(b"root\n"), 4);
    assert_eq!(driver.got(0).unwrap(), b"root");
    assert_eq!(*stream.resumed.lock(), 0);
    driver.give(0, 0, 4);
    assert_eq!(*stream.resumed.lock(), 1, "there is room again");
    assert_eq!(stream.guest().receive(b"\n"), 1);
    assert_eq!(driver.got(0).unwrap(), b"\n");
}

#[test]
fn bytes_wait_in_the_guest_until_the_host_has_room() {
    let (mut driver, stream) = plain(3);
    driver.send(1, 0, b"abcdef");
    driver.send(1, 1, b"ghi");
    assert_eq!((stream.heard(), driver.used(1)), (b"abc".to_vec(), None));
    *stream.room.lock() = 4;
    stream.guest().writable();
    assert_eq!((stream.heard(), driver.used(1), driver.used(1)), (b"defg".to_vec(), Some((0, 0)), None));
    *stream.room.lock() = 100;
    stream.guest().writable();
    assert_eq!((stream.heard(), driver.used(1)), (b"hi".to_vec(), Some((1, 0))));
}

#[test]
fn the_size_of_the_terminal_is_in_the_configuration() {
    let (driver, stream) = plain(0);
    let generation = driver.read(reg::CONFIG_GENERATION);
    stream.guest().resized(132, 43);
    assert_eq!((driver.bus.mmio_read(CONFIG, 2), driver.bus.mmio_read(CONFIG + 2, 2)), (132, 43));
    assert_ne!(driver.read(reg::CONFIG_GENERATION), generation);
    stream.guest().resized(132, 43);
    assert_eq!(driver.read(reg::CONFIG_GENERATION), generation + 1, "nothing has changed");
}

#[test]
fn an_emergency_byte_needs_no_driver() {
    let stream = Stream::with_room(1);
    let driver = Driver::new(console(std::slice::from_ref(&stream)));
    driver.bus.mmio_write(CONFIG + 8, 4, b'!'.into());
    assert_eq!(stream.heard(), b"!");
    driver.bus.mmio_write(CONFIG + 4, 4, b'?'.into());
    driver.bus.mmio_write(CONFIG + 8, 4, b'?'.into());
    assert_eq!(stream.heard(), b"", "no room");
}

#[test]
fn ports_are_introduced_by_number_kind_name_and_whether_somebody_listens() {
    let (mut driver, streams) = two();
    assert_eq!(driver.bus.mmio_read(CONFIG + 4, 4), 2);
    driver.tell(0, event::DEVICE_READY, 1);
    assert_eq!(driver.told(), Some((0, event::PORT_ADD, 1, vec![])));
    assert_eq!(driver.told(), Some((1, event::PORT_ADD, 1, vec![])));
    driver.tell(0, event::PORT_READY, 1);
    assert_eq!(driver.told(), Some((0, event::CONSOLE_PORT, 1, vec![])));
    assert_eq!(driver.told(), Some((0, event::RESIZE, 0, vec![80, 0, 25, 0])));
    assert_eq!(driver.told(), Some((0, event::PORT_OPEN, 1, vec![])));
    driver.tell(1, event::PORT_READY, 1);
    assert_eq!(driver.told(), Some((1, event::PORT_NAME, 1, b"org.example.1".to_vec())));
    streams[1].guest().connected(true);
    assert_eq!(driver.told(), Some((1, event::PORT_OPEN, 1, vec![])));
    // What comes and goes unseen is told once.
    streams[1].guest().connected(false);
    streams[1].guest().connected(true);
    streams[1].guest().connected(false);
    assert_eq!(driver.told(), Some((1, event::PORT_OPEN, 0, vec![])));
    driver.tell(7, event::PORT_READY, 1);
    driver.tell(1, 99, 1);
    assert_eq!(driver.told(), None);
    assert_eq!(driver.status() & status::NEEDS_RESET, 0);
}

#[test]
fn a_named_port_takes_nothing_before_a_program_has_it_open() {
    let (mut driver, streams) = two();
    driver.give(4, 0, 100);
    assert_eq!(streams[1].guest().receive(b"early"), 0);
    let before = *streams[1].resumed.lock();
    driver.tell(1, event::PORT_OPEN, 1);
    assert_eq!(*streams[1].resumed.lock(), before + 1);
    assert_eq!(streams[1].guest().receive(b"early"), 5);
    assert_eq!(driver.got(4).unwrap(), b"early");
    driver.send(5, 0, b"echo");
    assert_eq!((streams[1].heard(), streams[0].heard()), (b"echo".to_vec(), vec![]));
    driver.tell(1, event::PORT_OPEN, 0);
    driver.give(4, 0, 100);
    assert_eq!(streams[1].guest().receive(b"late"), 0);
}

#[test]
fn a_driver_without_ports_has_the_console() {
    let streams = [Stream::with_room(10), Stream::with_room(10)];
    let mut driver = Driver::new(console(&streams));
    driver.start(6, feature::MULTIPORT);
    driver.send(1, 0, b"hi");
    driver.send(5, 1, b"no");
    assert_eq!((streams[0].heard(), streams[1].heard()), (b"hi".to_vec(), vec![]));
    driver.give(4, 2, 10);
    assert_eq!(streams[1].guest().receive(b"no"), 0);
}

#[test]
fn a_control_message_that_is_cut_off_needs_a_reset() {
    let (mut driver, _) = two();
    driver.send(CONTROL_OUT, 0, &[0; 7]);
    assert_ne!(driver.status() & status::NEEDS_RESET, 0);
    driver.write(reg::DEVICE_STATUS, 0);
    driver.start(6, 0);
    driver.tell(0, event::DEVICE_READY, 1);
    driver.give(CONTROL_IN, 0, 7);
    assert_ne!(driver.status() & status::NEEDS_RESET, 0);
}

#[test]
fn a_driver_that_asks_and_does_not_listen_is_held_up() {
    let (mut driver, _) = two();
    let message = [0, 0, 0, 0, 0, 0, 1, 0];
    driver.dma.write(BUFFERS, &message).unwrap();
    driver.chain(CONTROL_OUT, 0, &[(BUFFERS, 8, 0)]);
    let mut taken = 0;
    for _ in 0..1000 {
        driver.offer(CONTROL_OUT, 0);
        driver.notify(CONTROL_OUT);
        if driver.used(CONTROL_OUT).is_none() {
            break;
        }
        taken += 1;
    }
    assert_eq!(taken, super::control::MOST_WAITING / 2);
}

#[test]
fn a_restored_console_loses_and_doubles_no_byte() {
    let (mut driver, stream) = plain(3);
    driver.send(1, 0, b"abcdef");
    assert_eq!(stream.heard(), b"abc");
    let state = driver.function.lock().save();
    let dma = driver.dma.clone();
    let again = Stream::with_room(100);
    let outside = Outside { dma, ..Outside::new() };
    let device = console(std::slice::from_ref(&again));
    let restored = VirtioPci::restore((device, outside.wires()), state).unwrap();
    let _restored = restored.share();
    assert_eq!(again.heard(), b"def");
}

proptest! {
    #[test]
    fn whatever_a_driver_says_the_device_answers_or_needs_a_reset(
        messages in prop::collection::vec((0u16..6, prop::collection::vec(0u8..8, 0..12), any::<bool>()), 0..60),
    ) {
        let (mut driver, streams) = two();
        for (number, (queue, bytes, writable)) in messages.into_iter().enumerate() {
            let head = number as u16 % 16;
            if writable {
                driver.give(queue, head, bytes.len() as u32);
            } else {
                driver.send(queue, head, &bytes);
            }
            streams[number % 2].guest().receive(b"x");
            streams[1].guest().connected(number % 3 == 0);
        }
        driver.write(reg::DEVICE_STATUS, 0);
        prop_assert_eq!(driver.status(), 0);
        driver.start(6, 0);
        driver.tell(0, event::DEVICE_READY, 1);
        prop_assert_eq!(driver.told(), Some((0, event::PORT_ADD, 1, vec![])));
    }
}
