//! Entry points for fuzzing: a guest that does what the input says.

use crate::user::{Forward, GATEWAY, Protocol, UserNetwork, UserOptions};
use emu_core::backend::{
    Acceptance, ChecksumOffload, NetworkBackend, NetworkReceiver, Packet, Segmentation, SegmentationKind,
};
use parking_lot::{Condvar, Mutex};
use std::{
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{Arc, OnceLock},
    time::Duration,
};

const GUEST_MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];
const ROUTER_MAC: [u8; 6] = [0x52, 0x55, 0x0a, 0x00, 0x02, 0x02];
/// What is done with one input.
const MOST_STEPS: usize = 64;

#[derive(Default)]
struct State {
    /// The TCP segment that came last: ports, sequence number, what it acknowledges, sequence length.
    segment: Option<([u8; 4], u32, u32, u32)>,
    synced: bool,
    refusing: bool,
    offload: bool,
}

/// A card that remembers what a guest needs to go on with a connection.
#[derive(Default)]
struct Card {
    state: Mutex<State>,
    changed: Condvar,
}

impl NetworkReceiver for Card {
    fn accepts(&self) -> Acceptance {
        let offload = self.state.lock().offload;
        Acceptance { checksum: offload, tcp4: offload, tcp6: offload }
    }

    fn receive(&self, packets: &[Packet]) -> usize {
        let mut state = self.state.lock();
        if state.refusing {
            return 0;
        }
        for packet in packets {
            let bytes = &packet.bytes;
            if bytes[12..14] == [8, 6] {
                state.synced = true;
            } else if bytes[12..14] == [8, 0] && bytes[23] == 6 {
                let word =
                    |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
                let header = usize::from(bytes[46] >> 4) * 4;
                let len = bytes.len() - 34 - header + usize::from(bytes[47] & 3 != 0);
                state.segment =
                    Some(([bytes[36], bytes[37], bytes[34], bytes[35]], word(38), word(42), len as u32));
            }
        }
        self.changed.notify_all();
        packets.len()
    }
}

struct Bench {
    network: UserNetwork,
    card: Arc<Card>,
    tcp: SocketAddr,
    udp: SocketAddr,
}

fn bench() -> &'static Bench {
    static BENCH: OnceLock<Bench> = OnceLock::new();
    BENCH.get_or_init(|| {
        let tcp = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
        let udp = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
        let forward = |protocol, host| Forward { protocol, host, guest_port: 22 };
        let forwards = vec![forward(Protocol::Tcp, tcp), forward(Protocol::Udp, udp)];
        // Restricted: nothing that the input says leaves this machine.
        let network = UserNetwork::start(&UserOptions { restrict: true, forwards }).expect("a network");
        let card = Arc::new(Card::default());
        network.connect(card.clone());
        Bench { network, card, tcp, udp }
    })
}

/// Takes what an input says, byte by byte.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or(0)
    }

    fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }
}

/// Lets a guest send and a host connect as `data` says, and sees to it that the network still answers.
pub fn packets(data: &[u8]) {
    let bench = bench();
    let mut input = Input(data);
    let mut streams = Vec::new();
    for _ in 0..MOST_STEPS {
        if input.0.is_empty() {
            break;
        }
        match input.byte() % 8 {
            0 => {
                if let Ok(mut stream) = TcpStream::connect_timeout(&bench.tcp, Duration::from_millis(50)) {
                    let _ = stream.set_nonblocking(true);
                    let _ = stream.write(input.bytes(16));
                    streams.push(stream);
                }
                bench.sync();
            }
            1 => {
                if let Ok(socket) = UdpSocket::bind("127.0.0.1:0") {
                    let _ = socket.send_to(input.bytes(16), bench.udp);
                }
            }
            2 => bench.card.state.lock().refusing = input.byte() & 1 != 0,
            3 => bench.card.state.lock().offload = input.byte() & 1 != 0,
            4 => bench.sync(),
            5 | 6 => bench.send_segment(&mut input),
            _ => bench.send_raw(&mut input),
        }
    }
    bench.sync();
}

impl Bench {
    /// Waits until all that was sent has been looked at.
    fn sync(&self) {
        let mut state = self.card.state.lock();
        let refusing = std::mem::replace(&mut state.refusing, false);
        state.synced = false;
        drop(state);
        self.network.resume();
        let mut request = [&[0xff; 6][..], &GUEST_MAC, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &GUEST_MAC].concat();
        request.extend_from_slice(&[10, 0, 2, 15, 0, 0, 0, 0, 0, 0]);
        request.extend_from_slice(&GATEWAY.octets());
        self.network.send(vec![Packet { bytes: request, trusted: true, ..Packet::default() }]);
        let mut state = self.card.state.lock();
        while !state.synced {
            let late = self.card.changed.wait_for(&mut state, Duration::from_secs(10)).timed_out();
            assert!(!late || state.synced, "the network answers no more");
        }
        state.refusing = refusing;
    }

    /// A segment that goes on with the last connection, more or less.
    fn send_segment(&self, input: &mut Input) {
        let Some((ports, sequence, acknowledgment, len)) = self.card.state.lock().segment else { return };
        let flags = input.byte();
        let near = |base: u32, delta: u8| base.wrapping_add_signed(i32::from(delta as i8));
        let next = near(acknowledgment, input.byte());
        let acknowledgment = near(sequence.wrapping_add(len), input.byte());
        let mut segment = ports.to_vec();
        segment.extend_from_slice(&next.to_be_bytes());
        segment.extend_from_slice(&acknowledgment.to_be_bytes());
        let options = usize::from(input.byte() % 4) * 4;
        segment.extend_from_slice(&[(5 + options as u8 / 4) << 4, flags]);
        segment.extend_from_slice(&input.word().to_be_bytes());
        segment.extend_from_slice(&[0; 4]);
        segment.extend_from_slice(input.bytes(options));
        segment.resize(20 + options, 0);
        let payload = usize::from(input.byte()) * usize::from(input.byte() % 8);
        segment.resize(segment.len() + payload, 0x55);
        self.send_ipv4(6, &segment, input);
    }

    fn send_ipv4(&self, protocol: u8, payload: &[u8], input: &mut Input) {
        let mut bytes = [&ROUTER_MAC[..], &GUEST_MAC, &[8, 0, 0x45, 0]].concat();
        bytes.extend_from_slice(&((20 + payload.len()) as u16).to_be_bytes());
        bytes.extend_from_slice(&[0, 1, 0, 0, 64, protocol, 0, 0]);
        bytes.extend_from_slice(&Ipv4Addr::new(10, 0, 2, 15).octets());
        bytes.extend_from_slice(&GATEWAY.octets());
        bytes.extend_from_slice(payload);
        self.send(bytes, input);
    }

    fn send_raw(&self, input: &mut Input) {
        let protocol = input.byte();
        let len = usize::from(input.word() % 2048);
        let payload = input.bytes(len);
        match protocol % 4 {
            0 => self.send([&ROUTER_MAC[..], &GUEST_MAC, payload].concat(), input),
            1 => self.send([&ROUTER_MAC[..], &GUEST_MAC, &[0x86, 0xdd, 0x60], payload].concat(), input),
            2 => self.send([&ROUTER_MAC[..], &GUEST_MAC, &[8, 0, 0x45], payload].concat(), input),
            _ => self.send_ipv4([1, 6, 17, 17][usize::from(protocol >> 6)], payload, input),
        }
    }

    fn send(&self, bytes: Vec<u8>, input: &mut Input) {
        let how = input.byte();
        let checksum = (how & 1 != 0).then(|| ChecksumOffload { start: input.word(), offset: input.word() });
        let kind = match how >> 1 & 3 {
            0 => None,
            1 => Some(SegmentationKind::Tcp4),
            2 => Some(SegmentationKind::Tcp6),
            _ => Some(SegmentationKind::Udp),
        };
        let segmentation = kind.map(|kind| Segmentation {
            kind,
            size: input.word(),
            headers: input.word(),
            ecn: how & 8 != 0,
        });
        self.network.send(vec![Packet { bytes, checksum, segmentation, trusted: how & 16 == 0 }]);
    }
}
