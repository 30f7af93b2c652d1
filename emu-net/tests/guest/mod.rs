//! A guest for tests: a card on a cable, and smoltcp's stack behind it.

#![allow(dead_code, reason = "each test file uses its part")]

use emu_core::{
    backend::{
        Acceptance, ChecksumOffload, NetworkBackend, NetworkReceiver, Packet, Segmentation, SegmentationKind,
    },
    clock::VmClock,
};
use parking_lot::{Condvar, Mutex};
use smoltcp::{
    iface::{Config, Interface, SocketHandle, SocketSet},
    phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken},
    socket::{tcp, udp},
    time::Instant,
    wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr, IpEndpoint, Ipv4Address, Ipv6Address},
};
use std::{collections::VecDeque, net::SocketAddr, sync::Arc, time::Duration};

/// What the test's card is like.
#[derive(Debug, Clone, Copy)]
pub struct Card {
    /// Bytes of IP packets.
    pub mtu: usize,
    /// What it takes and gives unfinished.
    pub offload: bool,
    /// Packets that it has room for.
    pub room: usize,
    /// Drops one packet in so many, of those that come to it.
    pub drop_every: Option<usize>,
}

impl Card {
    pub const PLAIN: Card = Card { mtu: 1500, offload: false, room: 256, drop_every: None };
    /// Gets long packets, sends short ones without checksums.
    pub const OFFLOAD: Card = Card { mtu: 1500, offload: true, room: 64, drop_every: None };
    /// Sends packets of 64 KiB to be cut, too.
    pub const LONG: Card = Card { mtu: 65000, offload: true, room: 64, drop_every: None };
}

/// The card's side of the cable.
pub struct Port {
    card: Card,
    state: Mutex<PortState>,
    arrived: Condvar,
}

#[derive(Default)]
struct PortState {
    packets: VecDeque<Packet>,
    refused: bool,
    seen: usize,
}

impl Port {
    pub fn new(card: Card) -> Arc<Self> {
        Arc::new(Port { card, state: Mutex::default(), arrived: Condvar::new() })
    }

    /// The next packet, and whether the other side waits for room.
    pub fn take(&self) -> Option<(Packet, bool)> {
        let mut state = self.state.lock();
        let packet = state.packets.pop_front()?;
        let resume = state.refused && state.packets.len() < self.card.room / 2;
        if resume {
            state.refused = false;
        }
        Some((packet, resume))
    }

    /// Waits until there is a packet.
    pub fn wait(&self, time: Duration) {
        let mut state = self.state.lock();
        if state.packets.is_empty() {
            self.arrived.wait_for(&mut state, time);
        }
    }

    /// The next packet, within a second.
    pub fn expect(&self) -> Option<Packet> {
        self.wait(Duration::from_secs(1));
        self.take().map(|(packet, _)| packet)
    }
}

impl NetworkReceiver for Port {
    fn accepts(&self) -> Acceptance {
        let offload = self.card.offload;
        Acceptance { checksum: offload, tcp4: offload, tcp6: offload }
    }

    fn receive(&self, packets: &[Packet]) -> usize {
        let mut state = self.state.lock();
        let taken = packets.len().min(self.card.room - state.packets.len());
        for packet in &packets[..taken] {
            assert!(self.card.offload || (packet.checksum.is_none() && packet.segmentation.is_none()));
            assert!(self.card.offload || packet.bytes.len() <= 1514, "longer than the cable allows");
            state.seen += 1;
            if self.card.drop_every.is_none_or(|every| !state.seen.is_multiple_of(every)) {
                state.packets.push_back(packet.clone());
            }
        }
        state.refused |= taken < packets.len();
        drop(state);
        self.arrived.notify_one();
        taken
    }
}

/// The cable as smoltcp sees it.
struct Cable {
    port: Arc<Port>,
    backend: Arc<dyn NetworkBackend>,
    outgoing: Vec<Packet>,
}

impl Cable {
    fn flush(&mut self) {
        if !self.outgoing.is_empty() {
            self.backend.send(std::mem::take(&mut self.outgoing));
        }
    }
}

struct Received(Packet);
struct Sending<'a>(&'a mut Cable);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0.bytes)
    }
}

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut bytes = vec![0; len];
        let result = f(&mut bytes);
        let mut packet = Packet { bytes, ..Packet::default() };
        if self.0.port.card.offload {
            offer_offload(&mut packet);
        }
        self.0.outgoing.push(packet);
        result
    }
}

/// Leaves undone what a driver with offloads would.
fn offer_offload(packet: &mut Packet) {
    let v4 = packet.bytes[12..14] == [8, 0];
    let v6 = packet.bytes[12..14] == [0x86, 0xdd];
    let (protocol, start) = if v4 { (packet.bytes[23], 34) } else { (packet.bytes[20], 54) };
    if (v4 || v6) && protocol == 6 {
        let addresses = if v4 { 26..34 } else { 22..54 };
        let words =
            packet.bytes[addresses].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
        let mut sum = words.sum::<u32>() + 6 + (packet.bytes.len() - usize::from(start)) as u32;
        sum = (sum >> 16) + (sum & 0xffff);
        sum = (sum >> 16) + (sum & 0xffff);
        let at = usize::from(start) + 16;
        packet.bytes[at..at + 2].copy_from_slice(&(sum as u16).to_be_bytes());
        packet.checksum = Some(ChecksumOffload { start, offset: 16 });
        if packet.bytes.len() > 1514 {
            let kind = if v4 { SegmentationKind::Tcp4 } else { SegmentationKind::Tcp6 };
            packet.segmentation = Some(Segmentation { kind, size: 1440, headers: start + 20, ecn: false });
        }
    }
}

impl Device for Cable {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sending<'_>)> {
        let (packet, resume) = self.port.take()?;
        if resume {
            self.backend.resume();
        }
        Some((Received(packet), Sending(self)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sending<'_>> {
        Some(Sending(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.port.card.mtu + 14;
        if self.port.card.offload {
            capabilities.checksum.tcp = Checksum::None;
            capabilities.checksum.udp = Checksum::Tx;
            capabilities.checksum.icmpv6 = Checksum::Tx;
        }
        capabilities
    }
}

/// A machine with a card.
pub struct Guest {
    interface: Interface,
    pub sockets: SocketSet<'static>,
    cable: Cable,
    clock: VmClock,
    next_port: u16,
}

pub const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

impl Guest {
    /// A machine with the guest's addresses.
    pub fn new(backend: Arc<dyn NetworkBackend>, card: Card) -> Self {
        Self::with_addresses(backend, card, Ipv4Address::new(10, 0, 2, 15), MAC)
    }

    pub fn with_addresses(
        backend: Arc<dyn NetworkBackend>,
        card: Card,
        address: Ipv4Address,
        mac: [u8; 6],
    ) -> Self {
        let port = Port::new(card);
        backend.connect(port.clone());
        let mut cable = Cable { port, backend, outgoing: Vec::new() };
        let config = Config::new(HardwareAddress::Ethernet(EthernetAddress(mac)));
        let mut interface = Interface::new(config, &mut cable, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(IpAddress::Ipv4(address), 24)).unwrap();
            let last = u16::from(address.octets()[3]);
            let address = Ipv6Address::new(0xfec0, 0, 0, 0, 0, 0, 0, last);
            addresses.push(IpCidr::new(IpAddress::Ipv6(address), 64)).unwrap();
        });
        interface.routes_mut().add_default_ipv4_route(emu_net::user::GATEWAY).unwrap();
        interface.routes_mut().add_default_ipv6_route(emu_net::user::GATEWAY6).unwrap();
        Guest { interface, sockets: SocketSet::new(vec![]), cable, clock: VmClock::real(0), next_port: 40000 }
    }

    pub fn now(&self) -> u64 {
        self.clock.now()
    }

    /// Lets the machine run once.
    pub fn poll(&mut self) {
        let now = Instant::from_micros((self.clock.now() / 1000) as i64);
        self.interface.poll(now, &mut self.cable, &mut self.sockets);
        self.cable.flush();
    }

    /// Lets the machine run until `done` says something, for at most 60 s.
    pub fn run<T>(
        &mut self,
        mut done: impl FnMut(&mut Interface, &mut SocketSet<'static>) -> Option<T>,
    ) -> T {
        let limit = self.clock.now() + 60_000_000_000;
        loop {
            self.poll();
            if let Some(value) = done(&mut self.interface, &mut self.sockets) {
                self.poll();
                return value;
            }
            self.poll();
            assert!(self.clock.now() < limit, "nothing happens any more");
            self.cable.port.wait(Duration::from_micros(500));
        }
    }

    /// Lets the machine run for a while.
    pub fn run_for(&mut self, millis: u64) {
        let end = self.clock.now() + millis * 1_000_000;
        while self.clock.now() < end {
            self.poll();
            self.cable.port.wait(Duration::from_millis(1));
        }
    }

    /// A TCP socket with buffers of `size`.
    pub fn tcp(&mut self, size: usize) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; size]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        self.sockets.add(socket)
    }

    /// Begins to connect.
    pub fn connect(&mut self, to: SocketAddr, size: usize) -> SocketHandle {
        let handle = self.tcp(size);
        self.next_port += 1;
        let socket = self.sockets.get_mut::<tcp::Socket>(handle);
        socket.connect(self.interface.context(), IpEndpoint::from(to), self.next_port).unwrap();
        handle
    }

    /// A UDP socket at `port`.
    pub fn udp(&mut self, port: u16) -> SocketHandle {
        let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 64], vec![0; 65536]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        socket.bind(port).unwrap();
        self.sockets.add(socket)
    }

    /// Asks and waits for the answer.
    pub fn ask(&mut self, handle: SocketHandle, to: SocketAddr, message: &[u8]) -> (Vec<u8>, IpEndpoint) {
        self.sockets.get_mut::<udp::Socket>(handle).send_slice(message, IpEndpoint::from(to)).unwrap();
        self.run(|_, sockets| {
            let socket = sockets.get_mut::<udp::Socket>(handle);
            socket.recv().ok().map(|(bytes, meta)| (bytes.to_vec(), meta.endpoint))
        })
    }

    /// Sends `total` bytes of [`pattern`] and ends.
    pub fn upload(&mut self, handle: SocketHandle, total: usize) {
        let mut sent = 0;
        self.run(|_, sockets| {
            let socket = sockets.get_mut::<tcp::Socket>(handle);
            while sent < total && socket.can_send() {
                sent += socket.send(|buffer| fill(buffer, sent, total)).unwrap();
            }
            (sent == total).then(|| socket.close())
        });
    }

    /// Receives until the other side ends, and says how much came; it must be [`pattern`].
    pub fn download(&mut self, handle: SocketHandle) -> usize {
        let mut received = 0;
        self.run(|_, sockets| {
            let socket = sockets.get_mut::<tcp::Socket>(handle);
            while socket.can_recv() {
                received += socket.recv(|buffer| check(buffer, received)).unwrap();
            }
            (!socket.may_recv() && socket.state() != tcp::State::SynSent).then_some(())
        });
        received
    }
}

/// The byte at `at` of test data.
pub fn pattern(at: usize) -> u8 {
    (at ^ at >> 8 ^ at >> 16).wrapping_mul(31) as u8
}

fn fill(buffer: &mut [u8], from: usize, total: usize) -> (usize, usize) {
    let len = buffer.len().min(total - from);
    buffer[..len].iter_mut().enumerate().for_each(|(index, byte)| *byte = pattern(from + index));
    (len, len)
}

fn check(buffer: &mut [u8], from: usize) -> (usize, usize) {
    assert!(
        buffer.iter().enumerate().all(|(index, byte)| *byte == pattern(from + index)),
        "not what was sent"
    );
    (buffer.len(), buffer.len())
}
