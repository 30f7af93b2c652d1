//! Who is who on the cable: ARP (RFC 826), neighbour discovery and router advertisement (RFC 4861, 8106).

use super::frame::{Datagram, ETHERNET, ICMPV6, Mac, Route, TYPE_ARP};
use super::plan::{self, ALL_NODES, DNS6, MTU, PREFIX6, ROUTER_MAC, ROUTER6};
use super::wire::Wire;
use emu_core::backend::Packet;
use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, EthernetAddress};
use std::net::{IpAddr, Ipv6Addr};

const BROADCAST_MAC: Mac = [0xff; 6];
const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// Seconds for which the router may be used, and its name server.
const ROUTER_LIFETIME: u16 = 1800;
/// Seconds for which addresses of the prefix are good.
const PREFIX_LIFETIME: u32 = 86400;

/// Takes an ARP packet.
pub(super) fn take_arp(wire: &mut Wire, frame: &[u8]) {
    let Ok(packet) = ArpPacket::new_checked(&frame[ETHERNET..]) else { return };
    let Ok(ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr,
        source_protocol_addr,
        target_protocol_addr,
        ..
    }) = ArpRepr::parse(&packet)
    else {
        return;
    };
    wire.learn(IpAddr::V4(source_protocol_addr), source_hardware_addr.0);
    let asked = IpAddr::V4(target_protocol_addr);
    if operation == ArpOperation::Request && (plan::is_gateway(asked) || plan::is_dns(asked)) {
        let reply = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Reply,
            source_hardware_addr: EthernetAddress(ROUTER_MAC),
            source_protocol_addr: target_protocol_addr,
            target_hardware_addr: source_hardware_addr,
            target_protocol_addr: source_protocol_addr,
        };
        send_arp(wire, source_hardware_addr.0, &reply);
    }
}

fn send_arp(wire: &mut Wire, to: Mac, repr: &ArpRepr) {
    let mut bytes = vec![0; ETHERNET + repr.buffer_len()];
    bytes[..6].copy_from_slice(&to);
    bytes[6..12].copy_from_slice(&ROUTER_MAC);
    bytes[12..14].copy_from_slice(&TYPE_ARP.to_be_bytes());
    repr.emit(&mut ArpPacket::new_unchecked(&mut bytes[ETHERNET..]));
    wire.outlet.send(Packet { bytes, trusted: true, ..Packet::default() });
}

/// Asks who has `address`.
pub(super) fn solicit(wire: &mut Wire, address: IpAddr) {
    let IpAddr::V4(target) = address else { return };
    let request = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: EthernetAddress(ROUTER_MAC),
        source_protocol_addr: plan::GATEWAY,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: target,
    };
    send_arp(wire, BROADCAST_MAC, &request);
}

/// Takes a message of neighbour discovery. False if it is none.
pub(super) fn take_discovery(wire: &mut Wire, message: &[u8], datagram: &Datagram) -> bool {
    let IpAddr::V6(source) = datagram.source else { return false };
    match message.first() {
        Some(&ROUTER_SOLICITATION) => {
            let to = if source.is_unspecified() { ALL_NODES } else { source };
            advertise_router(wire, datagram.mac, to);
        }
        Some(&NEIGHBOUR_SOLICITATION) => take_solicitation(wire, message, datagram.mac, source),
        Some(&NEIGHBOUR_ADVERTISEMENT) => {
            if let Some(target) = target(message) {
                wire.learn(IpAddr::V6(target), datagram.mac);
            }
        }
        _ => return false,
    }
    true
}

fn target(message: &[u8]) -> Option<Ipv6Addr> {
    Some(Ipv6Addr::from(<[u8; 16]>::try_from(message.get(8..24)?).ok()?))
}

fn take_solicitation(wire: &mut Wire, message: &[u8], mac: Mac, source: Ipv6Addr) {
    let Some(target) = target(message) else { return };
    let asked = IpAddr::V6(target);
    if !plan::is_gateway(asked) && !plan::is_dns(asked) {
        return;
    }
    // Somebody who has no address yet, as it asks whether it may have ours, is told with all others.
    let solicited = !source.is_unspecified();
    let guest = if solicited { source } else { ALL_NODES };
    let route = Route { mac, guest: IpAddr::V6(guest), remote: asked };
    let mut frame = vec![0; route.headers()];
    // A router, asked, to be believed.
    let flags = 0x80 | u8::from(solicited) << 6 | 0x20;
    frame.extend_from_slice(&[NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0]);
    frame.extend_from_slice(&target.octets());
    frame.extend_from_slice(&[2, 1]);
    frame.extend_from_slice(&ROUTER_MAC);
    wire.send(&route, ICMPV6, frame);
}

/// Tells the guest of the prefix, the router and the name server.
pub(super) fn advertise_router(wire: &mut Wire, mac: Mac, to: Ipv6Addr) {
    let mac = if to == ALL_NODES { [0x33, 0x33, 0, 0, 0, 1] } else { mac };
    let route = Route { mac, guest: IpAddr::V6(to), remote: IpAddr::V6(ROUTER6) };
    let mut frame = vec![0; route.headers()];
    // A cable that leads nowhere has a prefix and no router.
    let lifetime = if wire.restrict { 0 } else { ROUTER_LIFETIME };
    frame.extend_from_slice(&[ROUTER_ADVERTISEMENT, 0, 0, 0, 64, 0]);
    frame.extend_from_slice(&lifetime.to_be_bytes());
    frame.extend_from_slice(&[0; 8]);
    // Our address on the cable.
    frame.extend_from_slice(&[1, 1]);
    frame.extend_from_slice(&ROUTER_MAC);
    // MTU.
    frame.extend_from_slice(&[5, 1, 0, 0]);
    frame.extend_from_slice(&(MTU as u32).to_be_bytes());
    // The prefix: on this cable, and for addresses that the guest makes itself.
    frame.extend_from_slice(&[3, 4, 64, 0xc0]);
    frame.extend_from_slice(&PREFIX_LIFETIME.to_be_bytes());
    frame.extend_from_slice(&PREFIX_LIFETIME.to_be_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(&PREFIX6.octets());
    if !wire.restrict {
        frame.extend_from_slice(&[25, 3, 0, 0]);
        frame.extend_from_slice(&u32::from(ROUTER_LIFETIME).to_be_bytes());
        frame.extend_from_slice(&DNS6.octets());
    }
    wire.send(&route, ICMPV6, frame);
}
