//! The guest's cable as the protocols see it: who is on it, and how to send to them.

use super::fragments;
use super::frame::{ETHERNET, ICMP, ICMPV6, Mac, Route, TCP, UDP};
use super::inbox::Inbox;
use super::outlet::Outlet;
use super::plan::{self, MTU};
use super::poll::Poll;
use emu_core::backend::Packet;
use rustc_hash::FxHashMap;
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// Addresses that are remembered: a guest with a bridge of its own has some.
const MOST_NEIGHBOURS: usize = 256;
/// Bytes of a packet that an error about it repeats (RFC 792 wants 8 after the header, RFC 4443 as much as there is).
const QUOTE: usize = 128;

/// Why something cannot be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreachable {
    Network,
    Host,
    Port,
    Prohibited,
}

pub(super) struct Wire {
    pub outlet: Outlet,
    pub poll: Poll,
    pub inbox: Arc<Inbox>,
    /// Nanoseconds, as of this turn of the loop.
    pub now: u64,
    /// The guest reaches nothing on its own.
    pub restrict: bool,
    neighbours: FxHashMap<IpAddr, Mac>,
    /// An address was seen for the first time.
    pub learned: bool,
    fragment_id: u32,
}

impl Wire {
    pub fn new(poll: Poll, inbox: Arc<Inbox>, restrict: bool) -> Self {
        Wire {
            outlet: Outlet::default(),
            poll,
            inbox,
            now: 0,
            restrict,
            neighbours: FxHashMap::default(),
            learned: false,
            fragment_id: 0,
        }
    }

    /// Remembers where `address` is.
    pub fn learn(&mut self, address: IpAddr, mac: Mac) {
        if !plan::is_guest(address) || mac[0] & 1 != 0 || self.neighbours.get(&address) == Some(&mac) {
            return;
        }
        if self.neighbours.len() >= MOST_NEIGHBOURS {
            self.neighbours.clear();
        }
        self.neighbours.insert(address, mac);
        self.learned = true;
    }

    /// Where `address` is.
    pub fn mac_of(&self, address: IpAddr) -> Option<Mac> {
        self.neighbours.get(&address).copied()
    }

    /// Sends a frame of which all but the headers up to IP is there.
    pub fn send(&mut self, route: &Route, protocol: u8, mut frame: Vec<u8>) {
        route.write_headers(&mut frame, protocol);
        let offset = match protocol {
            TCP => Some(16),
            UDP => Some(6),
            ICMPV6 => Some(2),
            _ => None,
        };
        let checksum = offset.map(|offset| route.offer_checksum(&mut frame, protocol, offset));
        let mut packet = Packet { bytes: frame, checksum, segmentation: None, trusted: true };
        if packet.bytes.len() <= ETHERNET + MTU {
            self.outlet.send(packet);
            return;
        }
        packet.fill_checksum();
        self.fragment_id = self.fragment_id.wrapping_add(1);
        for fragment in fragments::split(&packet.bytes, route, protocol, self.fragment_id) {
            self.outlet.send(fragment);
        }
    }

    /// Sends a datagram to the guest's `port`.
    pub fn send_udp(&mut self, route: &Route, port: u16, from: u16, payload: &[u8]) {
        let headers = route.headers();
        let mut frame = vec![0; headers + 8];
        frame.extend_from_slice(payload);
        frame[headers..headers + 2].copy_from_slice(&from.to_be_bytes());
        frame[headers + 2..headers + 4].copy_from_slice(&port.to_be_bytes());
        frame[headers + 4..headers + 6].copy_from_slice(&((payload.len() + 8) as u16).to_be_bytes());
        self.send(route, UDP, frame);
    }

    /// Sends the datagram that came from `from`, outside, to `guest`.
    pub fn deliver_udp(&mut self, guest: SocketAddr, mac: Mac, from: SocketAddr, payload: &[u8]) {
        let route = Route { mac, guest: guest.ip(), remote: from.ip() };
        self.send_udp(&route, guest.port(), from.port(), payload);
    }

    /// Tells the guest that the packet in `frame` went nowhere.
    pub fn send_unreachable(&mut self, route: &Route, reason: Unreachable, frame: &[u8]) {
        let quote = &frame[ETHERNET..frame.len().min(ETHERNET + QUOTE)];
        // A packet put together from fragments has lost its header.
        if !matches!(quote.first().map(|byte| byte >> 4), Some(4 | 6)) {
            return;
        }
        let v4 = route.guest.is_ipv4();
        let (kind, code, protocol) = match (reason, v4) {
            (Unreachable::Network, true) => (3, 0, ICMP),
            (Unreachable::Host, true) => (3, 1, ICMP),
            (Unreachable::Port, true) => (3, 3, ICMP),
            (Unreachable::Prohibited, true) => (3, 13, ICMP),
            (Unreachable::Network, false) => (1, 0, ICMPV6),
            (Unreachable::Host, false) => (1, 3, ICMPV6),
            (Unreachable::Port, false) => (1, 4, ICMPV6),
            (Unreachable::Prohibited, false) => (1, 1, ICMPV6),
        };
        let headers = route.headers();
        let mut bytes = vec![0; headers + 8];
        (bytes[headers], bytes[headers + 1]) = (kind, code);
        bytes.extend_from_slice(quote);
        self.send_icmp(route, protocol, bytes);
    }

    /// Sends an ICMP message.
    pub fn send_icmp(&mut self, route: &Route, protocol: u8, mut frame: Vec<u8>) {
        let at = route.headers() + 2;
        if protocol == ICMP {
            frame[at..at + 2].fill(0);
            let sum = !emu_core::backend::checksum::sum(&frame[route.headers()..]);
            frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        self.send(route, protocol, frame);
    }
}

/// What a host's refusal to send is to the guest.
pub(super) fn unreachable(error: &std::io::Error) -> Option<Unreachable> {
    use std::io::ErrorKind::{
        AddrNotAvailable, HostUnreachable, NetworkDown, NetworkUnreachable, PermissionDenied, TimedOut,
    };
    match error.kind() {
        NetworkUnreachable | NetworkDown | AddrNotAvailable => Some(Unreachable::Network),
        HostUnreachable | TimedOut => Some(Unreachable::Host),
        PermissionDenied => Some(Unreachable::Prohibited),
        _ => None,
    }
}
