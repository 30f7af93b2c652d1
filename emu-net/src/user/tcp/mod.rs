//! TCP: connections of the guest are joined to sockets of the host, and those of forwarded ports to the guest.
//!
//! Why this is not smoltcp's or a kernel-like TCP is told in ADR 0015.

mod connection;
mod input;
mod output;
mod segment;

use super::frame::{Datagram, Route, TCP};
use super::outlet::Owner;
use super::plan;
use super::poll::{Ready, Source};
use super::wire::Wire;
use connection::{Connection, Fate, Held, NEVER, State};
use emu_core::backend::Packet;
use rustc_hash::FxHashMap;
use rustix::process::{Resource, getrlimit};
use segment::{ACK, HEADER, RST, SYN, Segment, SynOptions};
use slab::Slab;
use socket2::{Domain, Socket, Type};
use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    io,
    net::{IpAddr, SocketAddr},
};

/// The most connections, if the host lets us have so many files.
const MOST_CONNECTIONS: usize = 4096;
/// Connections taken from a listener in a turn.
const MOST_ACCEPTED: usize = 64;
/// Nanoseconds until a listener is asked again that could not be served.
const ACCEPT_AGAIN: u64 = 250_000_000;

type Key = (SocketAddr, SocketAddr);

struct Listener {
    socket: Socket,
    guest_port: u16,
    waiting: bool,
}

pub(super) struct Tcp {
    connections: Slab<Connection>,
    by_key: FxHashMap<Key, usize>,
    dirty: Vec<usize>,
    timers: BinaryHeap<Reverse<(u64, usize, u32)>>,
    generation: u32,
    held: Held,
    limit: usize,
    full_told: bool,
    listeners: Vec<Listener>,
    accept_at: u64,
}

impl Tcp {
    /// With forwards: sockets that listen, and the guest's ports.
    pub fn new(listeners: Vec<(Socket, u16)>, wire: &Wire) -> io::Result<Self> {
        let listener = |(socket, guest_port)| Listener { socket, guest_port, waiting: true };
        let listeners: Vec<_> = listeners.into_iter().map(listener).collect();
        for (number, listener) in listeners.iter().enumerate() {
            wire.poll.add(&listener.socket, Source::Listener(number))?;
        }
        // Half of what this process may open is left to the rest of the machine.
        let files = getrlimit(Resource::Nofile).current.map_or(MOST_CONNECTIONS, |files| files as usize / 2);
        Ok(Tcp {
            connections: Slab::new(),
            by_key: FxHashMap::default(),
            dirty: Vec::new(),
            timers: BinaryHeap::new(),
            generation: 0,
            held: Held::default(),
            limit: files.min(MOST_CONNECTIONS),
            full_told: false,
            listeners,
            accept_at: NEVER,
        })
    }

    /// Takes a segment from the guest.
    pub fn take(&mut self, wire: &mut Wire, packet: Packet, datagram: &Datagram) {
        let Some(segment) = Segment::parse(&packet.bytes[datagram.payload.clone()]) else { return };
        let guest = SocketAddr::new(datagram.source, segment.source_port);
        let remote = SocketAddr::new(datagram.destination, segment.destination_port);
        let at = datagram.payload.start + segment.header;
        let mut slot = self.by_key.get(&(guest, remote)).copied();
        if let Some(index) = slot
            && segment.has(SYN)
            && self.connections[index].state == State::TimeWait
        {
            self.remove(index);
            slot = None;
        }
        if let Some(index) = slot {
            let mut bytes = packet.bytes;
            bytes.truncate(datagram.payload.end);
            let fate = self.connections[index].take(wire, &mut self.held, &segment, (bytes, at));
            self.settle(index, fate);
        } else if segment.has(RST) {
            // For a connection that is gone.
        } else if segment.has(SYN) && !segment.has(ACK) {
            let options = SynOptions::parse(&packet.bytes[datagram.payload.start + HEADER..at]);
            self.begin(wire, packet.bytes, datagram, &segment, options);
        } else {
            refuse(wire, &datagram.reply(), &segment);
        }
    }

    /// The guest asks for a connection.
    fn begin(
        &mut self,
        wire: &mut Wire,
        frame: Vec<u8>,
        datagram: &Datagram,
        segment: &Segment,
        options: SynOptions,
    ) {
        let guest = SocketAddr::new(datagram.source, segment.source_port);
        let remote = SocketAddr::new(datagram.destination, segment.destination_port);
        let Some(target) = target(remote).filter(|_| !wire.restrict) else {
            return refuse(wire, &datagram.reply(), segment);
        };
        if self.is_full() {
            return refuse(wire, &datagram.reply(), segment);
        }
        let mut connection = Connection::new(guest, remote, State::Connecting, self.first_sequence(wire.now));
        connection.mac = datagram.mac;
        connection.request = frame;
        connection.begin(segment, options, wire.now);
        match connect(target) {
            Ok(socket) => {
                connection.socket = Some(socket);
                self.add(wire, connection);
            }
            Err(error) => connection.refuse(wire, &self.held, &error),
        }
    }

    fn is_full(&mut self) -> bool {
        let full = self.connections.len() >= self.limit;
        if full && !self.full_told {
            self.full_told = true;
            log::warn!("network: the guest has {} TCP connections, more are refused", self.limit);
        }
        full
    }

    fn first_sequence(&self, now: u64) -> u32 {
        // Later connections of the same ports begin beyond where earlier ones ended (RFC 9293, 3.4.1).
        ((now / 64) as u32).wrapping_add(self.generation << 16)
    }

    fn add(&mut self, wire: &Wire, mut connection: Connection) {
        self.generation = self.generation.wrapping_add(1);
        connection.generation = self.generation;
        let entry = self.connections.vacant_entry();
        connection.slot = entry.key();
        let slot = connection.slot;
        let socket = connection.socket.as_ref();
        let registered = socket.map(|socket| wire.poll.add(socket, Source::Tcp(slot, self.generation)));
        if let Some(Err(error)) = registered {
            log::warn!("network: a connection is lost: {error}");
            return;
        }
        self.by_key.insert((connection.guest, connection.remote), slot);
        entry.insert(connection);
        self.touch(slot);
    }

    fn remove(&mut self, slot: usize) {
        let connection = self.connections.remove(slot);
        self.by_key.remove(&(connection.guest, connection.remote));
        self.held.received = self.held.received.saturating_sub(connection.received_len);
        let sent: u32 =
            connection.sent.iter().map(|sent| sent.len - u32::from(sent.flags & segment::FIN != 0)).sum();
        self.held.sent = self.held.sent.saturating_sub(sent as usize);
        if self.connections.len() < self.limit / 2 {
            self.full_told = false;
        }
    }

    fn settle(&mut self, slot: usize, fate: Fate) {
        match fate {
            Fate::Lives => self.touch(slot),
            Fate::Dies => self.remove(slot),
        }
    }

    /// Has the connection looked at in this turn.
    fn touch(&mut self, slot: usize) {
        let connection = &mut self.connections[slot];
        if !connection.dirty {
            connection.dirty = true;
            self.dirty.push(slot);
        }
    }

    /// A socket has become ready.
    pub fn ready(&mut self, slot: usize, generation: u32, ready: Ready) {
        let Some(connection) = self.connections.get_mut(slot).filter(|c| c.generation == generation) else {
            return;
        };
        connection.readable |= ready.readable || ready.ended;
        connection.writable |= ready.writable;
        connection.ended |= ready.ended;
        self.touch(slot);
    }

    /// A listener has connections.
    pub fn accept(&mut self, wire: &mut Wire, number: usize) {
        self.listeners[number].waiting = true;
        for _ in 0..MOST_ACCEPTED {
            if self.is_full() {
                break;
            }
            let listener = &mut self.listeners[number];
            match listener.socket.accept() {
                Ok((socket, peer)) => {
                    let guest_port = listener.guest_port;
                    if let Some(peer) = peer.as_socket() {
                        self.forward(wire, socket, peer, guest_port);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    listener.waiting = false;
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    log::debug!("network: a forwarded port cannot accept: {error}");
                    break;
                }
            }
        }
        self.accept_at = self.accept_at.min(wire.now + ACCEPT_AGAIN);
    }

    /// Somebody connected to a forwarded port.
    fn forward(&mut self, wire: &mut Wire, socket: Socket, peer: SocketAddr, guest_port: u16) {
        let guest = SocketAddr::new(IpAddr::V4(plan::GUEST), guest_port);
        let address = plan::inside(peer.ip(), guest.ip());
        // A peer's port may be taken by another peer's whom the guest sees at the same address.
        let mut ports = (0..).map(|step: u16| peer.port().wrapping_add(step)).filter(|port| *port != 0);
        let free = ports.find(|port| !self.by_key.contains_key(&(guest, SocketAddr::new(address, *port))));
        let Some(port) = free else { return };
        if prepare(&socket).is_err() {
            return;
        }
        let remote = SocketAddr::new(address, port);
        let mut connection = Connection::new(guest, remote, State::SynSent, self.first_sequence(wire.now));
        connection.socket = Some(socket);
        connection.ask_guest(wire, &self.held);
        self.add(wire, connection);
    }

    /// The guest has shown itself: forwarded connections that wait for it ask again.
    pub fn guest_appeared(&mut self, wire: &mut Wire) {
        let waiting =
            |(slot, connection): (usize, &Connection)| (connection.state == State::SynSent).then_some(slot);
        let slots: Vec<_> = self.connections.iter().filter_map(waiting).collect();
        for slot in slots {
            self.connections[slot].ask_guest(wire, &self.held);
            self.touch(slot);
        }
    }

    /// Takes back the bytes of a segment that has been handed to the card.
    pub fn restore(&mut self, owner: Owner, bytes: Vec<u8>) {
        if let Some(connection) =
            self.connections.get_mut(owner.slot).filter(|c| c.generation == owner.generation)
        {
            connection.restore(owner.sequence, bytes);
        }
    }

    /// The card has room again: all connections may have something for it.
    pub fn card_has_room(&mut self) {
        let slots: Vec<_> = self.connections.iter().map(|(slot, _)| slot).collect();
        slots.into_iter().for_each(|slot| self.touch(slot));
    }

    /// Moves data of the connections that have some. True if there is more to do at once.
    pub fn pump(&mut self, wire: &mut Wire) -> bool {
        let dirty = std::mem::take(&mut self.dirty);
        for slot in dirty {
            let Some(connection) = self.connections.get_mut(slot).filter(|connection| connection.dirty)
            else {
                continue;
            };
            connection.dirty = false;
            let (fate, more) = connection.pump(wire, &mut self.held);
            let deadline = connection.deadline();
            if deadline < connection.queued_at {
                connection.queued_at = deadline;
                self.timers.push(Reverse((deadline, slot, connection.generation)));
            }
            match fate {
                Fate::Dies => self.remove(slot),
                Fate::Lives if more => self.touch(slot),
                Fate::Lives => {}
            }
        }
        !self.dirty.is_empty()
    }

    /// Does what is due.
    pub fn expire(&mut self, wire: &mut Wire) {
        while let Some(Reverse((at, slot, generation))) = self.timers.peek().copied()
            && at <= wire.now
        {
            self.timers.pop();
            let current = |connection: &&mut Connection| connection.generation == generation;
            let Some(connection) = self.connections.get_mut(slot).filter(current) else { continue };
            connection.queued_at = NEVER;
            let due = connection.deadline() <= wire.now;
            let fate = if due { connection.expire(wire, &self.held) } else { Fate::Lives };
            if fate == Fate::Dies && connection.state != State::TimeWait {
                connection.reset_host();
            }
            // The deadline may have moved: looking at it queues it anew.
            self.settle(slot, fate);
        }
        if self.accept_at <= wire.now {
            self.accept_at = NEVER;
            (0..self.listeners.len()).for_each(|number| {
                if self.listeners[number].waiting {
                    self.accept(wire, number);
                }
            });
        }
    }

    /// When something is due.
    pub fn deadline(&self) -> u64 {
        self.timers.peek().map_or(NEVER, |Reverse((at, ..))| *at).min(self.accept_at)
    }
}

/// Where a connection of the guest's leads.
fn target(remote: SocketAddr) -> Option<SocketAddr> {
    if plan::is_dns(remote.ip()) {
        // What is too long for a datagram: the host's name server answers itself.
        return (remote.port() == 53).then(super::dns::name_servers)?.first().copied();
    }
    (remote.port() != 0)
        .then(|| plan::outside(remote.ip()))?
        .map(|address| SocketAddr::new(address, remote.port()))
}

fn connect(target: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, None)?;
    prepare(&socket)?;
    match socket.connect(&target.into()) {
        Ok(()) => Ok(socket),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
            Ok(socket)
        }
        Err(error) => Err(error),
    }
}

fn prepare(socket: &Socket) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    // The guest decides what goes in which segment.
    socket.set_tcp_nodelay(true)
}

/// Answers a segment of no connection (RFC 9293, 3.10.7.1).
fn refuse(wire: &mut Wire, route: &Route, segment: &Segment) {
    let headers = route.headers();
    let mut frame = vec![0; headers + HEADER];
    let (sequence, acknowledgment, flags) = match segment.has(ACK) {
        true => (segment.acknowledgment, 0, RST),
        false => (0, segment.end(), RST | ACK),
    };
    let tcp = &mut frame[headers..];
    tcp[..2].copy_from_slice(&segment.destination_port.to_be_bytes());
    tcp[2..4].copy_from_slice(&segment.source_port.to_be_bytes());
    tcp[4..8].copy_from_slice(&sequence.to_be_bytes());
    tcp[8..12].copy_from_slice(&acknowledgment.to_be_bytes());
    (tcp[12], tcp[13]) = ((HEADER as u8 / 4) << 4, flags);
    wire.send(route, TCP, frame);
}
