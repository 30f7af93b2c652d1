//! ICMP echo (RFC 792, RFC 4443): the gateway answers itself; what goes further goes by the host's datagram sockets for
//! ICMP, where the host allows them (on Linux by `net.ipv4.ping_group_range`).

use super::frame::{Datagram, ICMP, ICMPV6, Route};
use super::plan;
use super::poll::Source;
use super::wire::{Unreachable, Wire, unreachable};
use rustix::{buffer::spare_capacity, net::RecvFlags};
use slab::Slab;
use socket2::{Domain, Protocol, Socket, Type};
use std::net::{IpAddr, SocketAddr};

const REPLY_V4: u8 = 0;
const REQUEST_V4: u8 = 8;
const REQUEST_V6: u8 = 128;
const REPLY_V6: u8 = 129;
const HEADER: usize = 8;
/// Programs of the guest's that ping at once.
const MOST_FLOWS: usize = 64;
/// Nanoseconds after which a program is thought to ping no more.
const TIMEOUT: u64 = 60_000_000_000;
/// Replies taken in a turn.
const TURN: usize = 64;

/// One program of the guest's that pings one address.
struct Flow {
    route: Route,
    identifier: [u8; 2],
    socket: Socket,
    last: u64,
    generation: u32,
}

#[derive(Default)]
pub(super) struct Echo {
    flows: Slab<Flow>,
    generation: u32,
    refused_told: bool,
}

impl Echo {
    /// Takes an ICMP message from the guest, in `frame`.
    pub fn take(&mut self, wire: &mut Wire, frame: &[u8], datagram: &Datagram) {
        let message = &frame[datagram.payload.clone()];
        let v4 = datagram.source.is_ipv4();
        let (request, reply) = if v4 { (REQUEST_V4, REPLY_V4) } else { (REQUEST_V6, REPLY_V6) };
        if message.len() < HEADER || message[0] != request || message[1] != 0 {
            return;
        }
        if plan::is_gateway(datagram.destination) || plan::is_dns(datagram.destination) {
            return send(wire, &datagram.reply(), reply, [message[4], message[5]], message);
        }
        let Some(target) = plan::outside(datagram.destination) else { return };
        if wire.restrict {
            return wire.send_unreachable(&datagram.reply(), Unreachable::Prohibited, frame);
        }
        let Some(slot) = self.flow(wire, datagram.reply(), [message[4], message[5]]) else { return };
        self.flows[slot].last = wire.now;
        let target = SocketAddr::new(target, 0);
        if let Err(error) = self.flows[slot].socket.send_to(message, &target.into())
            && let Some(reason) = unreachable(&error)
        {
            wire.send_unreachable(&datagram.reply(), reason, frame);
        }
    }

    fn flow(&mut self, wire: &Wire, route: Route, identifier: [u8; 2]) -> Option<usize> {
        let same = |flow: &Flow| {
            flow.identifier == identifier
                && (flow.route.guest, flow.route.remote) == (route.guest, route.remote)
        };
        if let Some((slot, _)) = self.flows.iter().find(|(_, flow)| same(flow)) {
            return Some(slot);
        }
        let socket = open(route.guest).inspect_err(|error| {
            if !std::mem::replace(&mut self.refused_told, true) {
                log::warn!(
                    "network: the guest's pings get no answer from outside, as the host allows none: {error}"
                );
            }
        });
        let socket = socket.ok()?;
        if self.flows.len() >= MOST_FLOWS {
            let oldest = self.flows.iter().min_by_key(|(_, flow)| flow.last).map(|(slot, _)| slot)?;
            self.flows.remove(oldest);
        }
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let slot = self.flows.vacant_key();
        wire.poll.add(&socket, Source::Echo(slot, generation)).ok()?;
        Some(self.flows.insert(Flow { route, identifier, socket, last: wire.now, generation }))
    }

    /// A reply has come.
    pub fn ready(&mut self, wire: &mut Wire, slot: usize, generation: u32) {
        let Some(flow) = self.flows.get_mut(slot).filter(|flow| flow.generation == generation) else {
            return;
        };
        let reply = if flow.route.guest.is_ipv4() { REPLY_V4 } else { REPLY_V6 };
        let mut message = Vec::with_capacity(65536);
        for _ in 0..TURN {
            message.clear();
            match rustix::net::recv(&flow.socket, spare_capacity(&mut message), RecvFlags::empty()) {
                Ok(_) if message.len() >= HEADER && message[0] == reply => {
                    flow.last = wire.now;
                    // The host has put an identifier of its own in place of the guest's.
                    send(wire, &flow.route, reply, flow.identifier, &message);
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }

    /// Forgets who pings no more.
    pub fn sweep(&mut self, now: u64) {
        self.flows.retain(|_, flow| now.saturating_sub(flow.last) < TIMEOUT);
    }
}

fn open(family: IpAddr) -> std::io::Result<Socket> {
    let (domain, protocol) = match family {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, Type::DGRAM, Some(protocol))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Sends the guest an echo reply with what `message` has after its identifier.
fn send(wire: &mut Wire, route: &Route, reply: u8, identifier: [u8; 2], message: &[u8]) {
    let mut frame = vec![0; route.headers()];
    frame.extend_from_slice(&[reply, 0, 0, 0, identifier[0], identifier[1]]);
    frame.extend_from_slice(&message[6..]);
    wire.send_icmp(route, if reply == REPLY_V4 { ICMP } else { ICMPV6 }, frame);
}
