//! DHCP (RFC 2131, 2132, 3442): each card that asks has an address for good.

use super::frame::{Datagram, Mac, Route};
use super::plan::{BROADCAST, DNS, GATEWAY, GUEST, MTU, NETMASK};
use super::wire::Wire;
use smoltcp::wire::{DhcpMessageType, DhcpOption, DhcpPacket, DhcpRepr};
use std::net::{IpAddr, Ipv4Addr};

pub(super) const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
/// Seconds: longer than guests run without asking again, shorter than for ever, which not all clients understand.
const LEASE: u32 = 86400;
/// Addresses that are given, from the guest's on.
const LEASES: usize = 200;
const INTERFACE_MTU: u8 = 26;
const BROADCAST_ADDRESS: u8 = 28;
const CLASSLESS_ROUTES: u8 = 121;

/// Who has which address: the first has the guest's, and so on.
#[derive(Default)]
pub(super) struct Dhcp {
    leases: Vec<Mac>,
}

impl Dhcp {
    /// Takes a message to the server.
    pub fn take(&mut self, wire: &mut Wire, message: &[u8], datagram: &Datagram) {
        let Ok(packet) = DhcpPacket::new_checked(message) else { return };
        let Ok(request) = DhcpRepr::parse(&packet) else { return };
        let Some(address) = self.lease(request.client_hardware_address.0) else { return };
        let wanted =
            request.requested_ip.or((!request.client_ip.is_unspecified()).then_some(request.client_ip));
        let other_server = request.server_identifier.is_some_and(|server| server != GATEWAY);
        let (kind, address) = match request.message_type {
            DhcpMessageType::Discover => (DhcpMessageType::Offer, address),
            DhcpMessageType::Request if other_server => return,
            DhcpMessageType::Request if wanted.is_none_or(|wanted| wanted == address) => {
                (DhcpMessageType::Ack, address)
            }
            DhcpMessageType::Request => (DhcpMessageType::Nak, Ipv4Addr::UNSPECIFIED),
            DhcpMessageType::Inform => (DhcpMessageType::Ack, Ipv4Addr::UNSPECIFIED),
            _ => return,
        };
        answer(wire, &request, kind, address, datagram.mac);
    }

    fn lease(&mut self, mac: Mac) -> Option<Ipv4Addr> {
        let known = self.leases.iter().position(|known| *known == mac);
        let index = known.or_else(|| {
            let free = self.leases.len() < LEASES;
            free.then(|| {
                self.leases.push(mac);
                self.leases.len() - 1
            })
        })?;
        Some(Ipv4Addr::from(u32::from(GUEST) + index as u32))
    }
}

fn answer(wire: &mut Wire, request: &DhcpRepr, kind: DhcpMessageType, address: Ipv4Addr, mac: Mac) {
    let refused = kind == DhcpMessageType::Nak;
    let leased = !address.is_unspecified();
    let connected = !refused && !wire.restrict;
    let mtu = (MTU as u16).to_be_bytes();
    let asked = |option: u8| request.parameter_request_list.is_some_and(|list| list.contains(&option));
    // Who asks for classless routes does not look at the router (RFC 3442).
    let default_route = [&[0][..], &GATEWAY.octets()].concat();
    let mut options = Vec::new();
    if !refused {
        options.push((BROADCAST_ADDRESS, BROADCAST.octets().to_vec()));
        options.push((INTERFACE_MTU, mtu.to_vec()));
    }
    if connected && asked(CLASSLESS_ROUTES) {
        options.push((CLASSLESS_ROUTES, default_route));
    }
    let options: Vec<_> = options.iter().map(|(kind, data)| DhcpOption { kind: *kind, data }).collect();
    let reply = DhcpRepr {
        message_type: kind,
        transaction_id: request.transaction_id,
        secs: 0,
        client_hardware_address: request.client_hardware_address,
        client_ip: if refused { Ipv4Addr::UNSPECIFIED } else { request.client_ip },
        your_ip: address,
        server_ip: Ipv4Addr::UNSPECIFIED,
        router: connected.then_some(GATEWAY),
        subnet_mask: (!refused).then_some(NETMASK),
        relay_agent_ip: Ipv4Addr::UNSPECIFIED,
        broadcast: request.broadcast,
        requested_ip: None,
        client_identifier: None,
        server_identifier: Some(GATEWAY),
        parameter_request_list: None,
        dns_servers: connected.then(|| [DNS].into_iter().collect()),
        max_size: None,
        lease_duration: leased.then_some(LEASE),
        renew_duration: None,
        rebind_duration: None,
        additional_options: &options,
    };
    let mut message = vec![0; reply.buffer_len().max(300)];
    if reply.emit(&mut DhcpPacket::new_unchecked(&mut message)).is_err() {
        return;
    }
    // To the address that it has, to that it will have, or to all.
    let to = match (request.client_ip, request.broadcast || refused) {
        (_, true) => Ipv4Addr::BROADCAST,
        (client, false) if !client.is_unspecified() => client,
        _ => address,
    };
    let mac = if to.is_broadcast() { [0xff; 6] } else { mac };
    let route = Route { mac, guest: IpAddr::V4(to), remote: IpAddr::V4(GATEWAY) };
    wire.send_udp(&route, CLIENT_PORT, SERVER_PORT, &message);
}
