//! How fast the user network is by itself: a card in this process on one side, a server on the host's loopback
//! interface on the other. Prints Gbit/s both ways and the round trip.
//!
//! The guest's stack is a few lines that know one connection and no losses, so that what is measured is the network.

use emu_core::{
    backend::{
        Acceptance, ChecksumOffload, NetworkBackend, NetworkReceiver, Packet, Segmentation, SegmentationKind,
    },
    clock::VmClock,
};
use emu_net::user::{UserNetwork, UserOptions};
use parking_lot::{Condvar, Mutex};
use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::Arc,
    thread,
};

const HEADERS: usize = 54;
const BULK: usize = 4 << 30;
const PLAIN_BULK: usize = 1 << 30;
const ROUND_TRIPS: usize = 20_000;
const SCALE: u8 = 7;

#[derive(Default)]
struct Card {
    offload: bool,
    packets: Mutex<Vec<Packet>>,
    arrived: Condvar,
}

impl NetworkReceiver for Card {
    fn accepts(&self) -> Acceptance {
        Acceptance { checksum: self.offload, tcp4: self.offload, tcp6: self.offload }
    }

    fn receive(&self, packets: &[Packet]) -> usize {
        let mut queue = self.packets.lock();
        // The copy stands for that to the guest's memory.
        queue.extend(packets.iter().cloned());
        self.arrived.notify_one();
        packets.len()
    }
}

impl Card {
    fn take(&self) -> Vec<Packet> {
        let mut queue = self.packets.lock();
        while queue.is_empty() {
            self.arrived.wait(&mut queue);
        }
        std::mem::take(&mut *queue)
    }
}

struct Guest {
    card: Arc<Card>,
    network: UserNetwork,
    port: u16,
    next: u32,
    expected: u32,
    acknowledged: u32,
    window: u32,
}

impl Guest {
    fn connect(offload: bool, port: u16) -> Self {
        let card = Arc::new(Card { offload, ..Card::default() });
        let network = UserNetwork::start(&UserOptions::default()).unwrap();
        network.connect(card.clone());
        let mut guest =
            Guest { card, network, port, next: 1000, expected: 0, acknowledged: 1000, window: 65535 };
        let syn = guest.frame(2, &[2, 4, 5, 0xb4, 1, 3, 3, SCALE], &[]);
        guest.network.send(vec![syn]);
        guest.next += 1;
        let answer = guest.card.take();
        guest.expected = u32::from_be_bytes(answer[0].bytes[38..42].try_into().unwrap()).wrapping_add(1);
        guest.acknowledge();
        guest
    }

    fn frame(&self, flags: u8, options: &[u8], payload: &[u8]) -> Packet {
        let len = HEADERS + options.len() + payload.len();
        let mut bytes = Vec::with_capacity(len);
        bytes.extend_from_slice(&[0x52, 0x55, 10, 0, 2, 2, 0x52, 0x54, 0, 1, 2, 3, 8, 0]);
        let ip = ((len - 14) as u16).to_be_bytes();
        bytes.extend_from_slice(&[
            0x45, 0, ip[0], ip[1], 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 2, 15, 10, 0, 2, 2,
        ]);
        bytes.extend_from_slice(&50000u16.to_be_bytes());
        bytes.extend_from_slice(&self.port.to_be_bytes());
        bytes.extend_from_slice(&self.next.to_be_bytes());
        bytes.extend_from_slice(&self.expected.to_be_bytes());
        bytes.extend_from_slice(&[(5 + options.len() as u8 / 4) << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
        bytes.extend_from_slice(options);
        bytes.extend_from_slice(payload);
        let segmentation = (payload.len() > 1460).then_some(Segmentation {
            kind: SegmentationKind::Tcp4,
            size: 1460,
            headers: HEADERS as u16,
            ecn: false,
        });
        let checksum = Some(ChecksumOffload { start: 34, offset: 16 });
        Packet { bytes, checksum, segmentation, trusted: true }
    }

    fn acknowledge(&self) {
        self.network.send(vec![self.frame(16, &[], &[])]);
    }

    /// Looks at what has come, and says how much of it was data.
    fn receive(&mut self) -> usize {
        let mut data = 0;
        for packet in self.card.take() {
            let bytes = &packet.bytes;
            if bytes[12..14] != [8, 0] || bytes[23] != 6 {
                continue;
            }
            assert_eq!(bytes[47] & 4, 0, "reset");
            let len = bytes.len() - HEADERS;
            self.expected = self.expected.wrapping_add(len as u32);
            self.acknowledged = u32::from_be_bytes(bytes[42..46].try_into().unwrap());
            self.window = u32::from(u16::from_be_bytes([bytes[48], bytes[49]])) << 6;
            data += len;
        }
        data
    }

    fn send(&mut self, len: usize, size: usize, batch: usize) {
        let payload = vec![0x55; size];
        let mut left = len;
        while left > 0 {
            let mut packets = Vec::new();
            while packets.len() < batch && left > 0 {
                let step = left.min(size);
                if self.next.wrapping_sub(self.acknowledged) as usize + step > self.window as usize {
                    break;
                }
                packets.push(self.frame(24, &[], &payload[..step]));
                self.next = self.next.wrapping_add(step as u32);
                left -= step;
            }
            if packets.is_empty() {
                self.receive();
            } else {
                self.network.send(packets);
            }
        }
    }
}

fn gigabits(bytes: usize, nanos: u64) -> f64 {
    bytes as f64 * 8.0 / nanos as f64
}

fn download(offload: bool, total: usize) -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let block = vec![0x33; 1 << 18];
        (0..total / block.len()).for_each(|_| stream.write_all(&block).unwrap());
    });
    let clock = VmClock::real(0);
    let mut guest = Guest::connect(offload, port);
    let begin = clock.now();
    let mut received = 0;
    while received < total {
        received += guest.receive();
        guest.acknowledge();
    }
    let time = clock.now() - begin;
    server.join().unwrap();
    gigabits(total, time)
}

fn upload(offload: bool, total: usize) -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut block = vec![0; 1 << 18];
        let mut left = total;
        while left > 0 {
            left -= stream.read(&mut block).unwrap();
        }
    });
    let clock = VmClock::real(0);
    let mut guest = Guest::connect(offload, port);
    let begin = clock.now();
    if offload {
        guest.send(total, 64000, 4);
    } else {
        guest.send(total, 1460, 64);
    }
    server.join().unwrap();
    gigabits(total, clock.now() - begin)
}

fn round_trip() -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        stream.set_nodelay(true).unwrap();
        let mut word = [0; 64];
        while stream.read_exact(&mut word).is_ok() {
            stream.write_all(&word).unwrap();
        }
    });
    let clock = VmClock::real(0);
    let mut guest = Guest::connect(true, port);
    let begin = clock.now();
    for _ in 0..ROUND_TRIPS {
        guest.send(64, 64, 1);
        while guest.receive() == 0 {}
    }
    let time = clock.now() - begin;
    drop(guest);
    server.join().unwrap();
    time as f64 / ROUND_TRIPS as f64 / 1000.0
}

fn main() {
    println!("to the guest, long packets:    {:6.1} Gbit/s", download(true, BULK));
    println!("from the guest, long packets:  {:6.1} Gbit/s", upload(true, BULK));
    println!("to the guest, no offload:      {:6.1} Gbit/s", download(false, PLAIN_BULK));
    println!("from the guest, short packets: {:6.1} Gbit/s", upload(false, PLAIN_BULK));
    println!("round trip of 64 bytes:        {:6.1} us", round_trip());
}
