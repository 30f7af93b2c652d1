//! UDP: each port of the guest's has a socket of the host's while it is in use, which sends to anyone and hears from
//! anyone, so that a server may answer from another port. Datagrams to forwarded ports are led to the guest, and the
//! guest's answers back.

use super::frame::Datagram;
use super::plan;
use super::poll::Source;
use super::wire::{Unreachable, Wire, unreachable};
use emu_core::backend::{Packet, SegmentationKind};
use rustc_hash::FxHashMap;
use rustix::{buffer::spare_capacity, net::RecvFlags};
use slab::Slab;
use socket2::{Domain, Socket, Type};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

pub(super) const HEADER: usize = 8;
/// Ports of the guest's that are in use.
const MOST_FLOWS: usize = 512;
/// Peers of forwarded ports.
const MOST_PEERS: usize = 1024;
/// Nanoseconds without a datagram after which a port is no more in use.
const TIMEOUT: u64 = 120_000_000_000;
/// Datagrams taken from a socket in a turn.
const TURN: usize = 64;
const LONGEST: usize = 65536;

/// A port of the guest's.
struct Flow {
    guest: SocketAddr,
    mac: [u8; 6],
    socket: Socket,
    last: u64,
    generation: u32,
}

struct Forward {
    socket: Socket,
    guest_port: u16,
}

/// Somebody who sent to a forwarded port.
struct Peer {
    forward: usize,
    address: SocketAddr,
    last: u64,
}

pub(super) struct Udp {
    flows: Slab<Flow>,
    by_guest: FxHashMap<SocketAddr, usize>,
    generation: u32,
    forwards: Vec<Forward>,
    /// By the guest's address and the peer's as the guest sees it.
    peers: FxHashMap<(SocketAddr, SocketAddr), Peer>,
    buffer: Vec<u8>,
}

/// A datagram's ports and its payload.
pub(super) struct Parts<'a> {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub payload: &'a [u8],
}

impl<'a> Parts<'a> {
    /// Takes the datagram in `frame` apart. `long` is one that is to be cut, which says nothing of its length.
    pub fn parse(frame: &'a [u8], datagram: &Datagram, long: bool) -> Option<Self> {
        let bytes = &frame[datagram.payload.clone()];
        let header = bytes.get(..HEADER)?;
        let u16_at = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let len = if long { bytes.len() } else { usize::from(u16_at(4)) };
        let payload = bytes.get(HEADER..len)?;
        Some(Parts {
            source: SocketAddr::new(datagram.source, u16_at(0)),
            destination: SocketAddr::new(datagram.destination, u16_at(2)),
            payload,
        })
    }
}

impl Udp {
    /// With forwards: bound sockets, and the guest's ports.
    pub fn new(forwards: Vec<(Socket, u16)>, wire: &Wire) -> io::Result<Self> {
        let forwards: Vec<_> =
            forwards.into_iter().map(|(socket, guest_port)| Forward { socket, guest_port }).collect();
        for (number, forward) in forwards.iter().enumerate() {
            wire.poll.add(&forward.socket, Source::UdpForward(number))?;
        }
        Ok(Udp {
            flows: Slab::new(),
            by_guest: FxHashMap::default(),
            generation: 0,
            forwards,
            peers: FxHashMap::default(),
            buffer: Vec::with_capacity(LONGEST),
        })
    }

    /// Takes a datagram from the guest, in `packet`.
    pub fn take(&mut self, wire: &mut Wire, packet: &Packet, datagram: &Datagram, parts: &Parts) {
        if let Some(peer) = self.peers.get_mut(&(parts.source, parts.destination)) {
            peer.last = wire.now;
            // What the peer does not take is lost, as datagrams are.
            let _ = self.forwards[peer.forward].socket.send_to(parts.payload, &peer.address.into());
            return;
        }
        if plan::is_dns(parts.destination.ip()) && !wire.restrict {
            return wire.send_unreachable(&datagram.reply(), Unreachable::Port, &packet.bytes);
        }
        let Some(target) = plan::outside(parts.destination.ip()).filter(|_| parts.destination.port() != 0)
        else {
            return;
        };
        if wire.restrict {
            return wire.send_unreachable(&datagram.reply(), Unreachable::Prohibited, &packet.bytes);
        }
        let target = SocketAddr::new(target, parts.destination.port()).into();
        let size = match packet.segmentation {
            Some(segmentation) if segmentation.kind == SegmentationKind::Udp => {
                usize::from(segmentation.size).max(8)
            }
            _ => LONGEST,
        };
        let result = self.flow(wire, parts.source, datagram.mac).and_then(|slot| {
            let socket = &self.flows[slot].socket;
            // An empty datagram is one, too.
            if parts.payload.is_empty() {
                return socket.send_to(&[], &target).map(drop);
            }
            parts.payload.chunks(size).try_for_each(|piece| socket.send_to(piece, &target).map(drop))
        });
        if let Err(error) = result {
            log::debug!("datagram of {} to {}: {error}", parts.source, parts.destination);
            if let Some(reason) = unreachable(&error) {
                wire.send_unreachable(&datagram.reply(), reason, &packet.bytes);
            }
        }
    }

    fn flow(&mut self, wire: &Wire, guest: SocketAddr, mac: [u8; 6]) -> io::Result<usize> {
        if let Some(slot) = self.by_guest.get(&guest) {
            let flow = &mut self.flows[*slot];
            (flow.last, flow.mac) = (wire.now, mac);
            return Ok(*slot);
        }
        if self.flows.len() >= MOST_FLOWS
            && let Some(oldest) = self.flows.iter().min_by_key(|(_, flow)| flow.last).map(|(slot, _)| slot)
        {
            self.by_guest.remove(&self.flows.remove(oldest).guest);
        }
        let any = match guest.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let socket = Socket::new(Domain::for_address(guest), Type::DGRAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SocketAddr::new(any, 0).into())?;
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        wire.poll.add(&socket, Source::Udp(self.flows.vacant_key(), generation))?;
        let slot = self.flows.insert(Flow { guest, mac, socket, last: wire.now, generation });
        self.by_guest.insert(guest, slot);
        Ok(slot)
    }

    /// Answers have come. True if there may be more.
    pub fn ready(&mut self, wire: &mut Wire, slot: usize, generation: u32) -> bool {
        let Some(flow) = self.flows.get_mut(slot).filter(|flow| flow.generation == generation) else {
            return false;
        };
        for _ in 0..TURN {
            self.buffer.clear();
            match rustix::net::recvfrom(&flow.socket, spare_capacity(&mut self.buffer), RecvFlags::empty()) {
                Ok((_, _, Some(from))) => {
                    let Ok(from) = SocketAddr::try_from(from) else { continue };
                    flow.last = wire.now;
                    let from = SocketAddr::new(plan::inside(from.ip(), flow.guest.ip()), from.port());
                    wire.deliver_udp(flow.guest, flow.mac, from, &self.buffer);
                }
                Ok(_) | Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNREFUSED) => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// Somebody has sent to a forwarded port. True if there may be more.
    pub fn forward_ready(&mut self, wire: &mut Wire, number: usize) -> bool {
        for _ in 0..TURN {
            self.buffer.clear();
            let socket = &self.forwards[number].socket;
            match rustix::net::recvfrom(socket, spare_capacity(&mut self.buffer), RecvFlags::empty()) {
                Ok((_, _, Some(from))) => {
                    let Ok(from) = SocketAddr::try_from(from) else { continue };
                    self.deliver_forwarded(wire, number, from);
                }
                Ok(_) | Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNREFUSED) => {}
                Err(_) => return false,
            }
        }
        true
    }

    fn deliver_forwarded(&mut self, wire: &mut Wire, number: usize, from: SocketAddr) {
        let guest = SocketAddr::new(IpAddr::V4(plan::GUEST), self.forwards[number].guest_port);
        let Some(mac) = wire.mac_of(guest.ip()) else {
            // Lost, but the next one finds its way.
            return super::link::solicit(wire, guest.ip());
        };
        let seen = plan::inside(from.ip(), guest.ip());
        let candidates = (0..64).map(|step| SocketAddr::new(seen, from.port().wrapping_add(step).max(1)));
        let fits = |seen: &SocketAddr| {
            self.peers.get(&(guest, *seen)).is_none_or(|peer| (peer.forward, peer.address) == (number, from))
        };
        let Some(seen) = candidates.into_iter().find(fits) else { return };
        if self.peers.len() >= MOST_PEERS && !self.peers.contains_key(&(guest, seen)) {
            let oldest = self.peers.iter().min_by_key(|(_, peer)| peer.last).map(|(key, _)| *key);
            oldest.map(|key| self.peers.remove(&key));
        }
        self.peers.insert((guest, seen), Peer { forward: number, address: from, last: wire.now });
        wire.deliver_udp(guest, mac, seen, &self.buffer);
    }

    /// Forgets what is no more in use.
    pub fn sweep(&mut self, now: u64) {
        let used = |last: u64| now.saturating_sub(last) < TIMEOUT;
        self.flows.retain(|_, flow| used(flow.last));
        self.by_guest.retain(|_, slot| self.flows.contains(*slot));
        self.peers.retain(|_, peer| used(peer.last));
    }
}
