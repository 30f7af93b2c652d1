//! Ethernet frames with IP packets: taken apart, and made (IEEE 802.3, RFC 791, RFC 8200).

use super::plan::ROUTER_MAC;
use emu_core::backend::{ChecksumOffload, Packet, checksum};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::Range,
};

pub(super) const ETHERNET: usize = 14;
pub(super) const TYPE_IPV4: u16 = 0x0800;
pub(super) const TYPE_ARP: u16 = 0x0806;
pub(super) const TYPE_IPV6: u16 = 0x86dd;
pub(super) const ICMP: u8 = 1;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const ICMPV6: u8 = 58;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;
/// Extension headers that are looked through before the packet is thought to be an attempt to keep us busy.
const MOST_EXTENSIONS: usize = 8;

pub(super) type Mac = [u8; 6];

/// Where a fragment belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fragment {
    pub id: u32,
    pub offset: usize,
    pub more: bool,
}

/// An IP packet in a frame: where its parts are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Datagram {
    /// The sender's address on the cable.
    pub mac: Mac,
    pub source: IpAddr,
    pub destination: IpAddr,
    /// What the payload is.
    pub protocol: u8,
    /// The payload, in the frame.
    pub payload: Range<usize>,
    pub fragment: Option<Fragment>,
}

/// The destination, source and type of a frame.
pub(super) fn ethernet(frame: &[u8]) -> Option<(Mac, Mac, u16)> {
    let header = frame.get(..ETHERNET)?;
    Some((
        header[..6].try_into().ok()?,
        header[6..12].try_into().ok()?,
        u16::from_be_bytes([header[12], header[13]]),
    ))
}

impl Datagram {
    /// Takes the IPv4 packet in `packet` apart.
    pub fn ipv4(packet: &Packet, mac: Mac) -> Option<Self> {
        let ip = &packet.bytes[ETHERNET..];
        let header = usize::from(*ip.first()? & 15) * 4;
        if ip[0] >> 4 != 4 || header < 20 || header > ip.len() {
            return None;
        }
        if !packet.trusted && checksum::sum(&ip[..header]) != 0xffff {
            return None;
        }
        let len = match usize::from(u16::from_be_bytes([ip[2], ip[3]])) {
            // Some cards leave the length to the hardware that cuts the packet.
            0 if packet.segmentation.is_some() => ip.len(),
            len => len,
        };
        if len < header || len > ip.len() {
            return None;
        }
        let fragment = u16::from_be_bytes([ip[6], ip[7]]);
        let fragment = (fragment & 0x3fff != 0).then(|| Fragment {
            id: u32::from(u16::from_be_bytes([ip[4], ip[5]])),
            offset: usize::from(fragment & 0x1fff) * 8,
            more: fragment & 0x2000 != 0,
        });
        Some(Datagram {
            mac,
            source: IpAddr::V4(address4(&ip[12..16])?),
            destination: IpAddr::V4(address4(&ip[16..20])?),
            protocol: ip[9],
            payload: ETHERNET + header..ETHERNET + len,
            fragment,
        })
    }

    /// Takes the IPv6 packet in `packet` apart.
    pub fn ipv6(packet: &Packet, mac: Mac) -> Option<Self> {
        let ip = &packet.bytes[ETHERNET..];
        if ip.len() < 40 || ip[0] >> 4 != 6 {
            return None;
        }
        let len = match usize::from(u16::from_be_bytes([ip[4], ip[5]])) {
            0 if packet.segmentation.is_some() => ip.len() - 40,
            len => len,
        };
        let ip = ip.get(..40 + len)?;
        let mut datagram = Datagram {
            mac,
            source: IpAddr::V6(address6(&ip[8..24])?),
            destination: IpAddr::V6(address6(&ip[24..40])?),
            protocol: ip[6],
            payload: ETHERNET + 40..ETHERNET + ip.len(),
            fragment: None,
        };
        for _ in 0..MOST_EXTENSIONS {
            let rest = &ip[datagram.payload.start - ETHERNET..];
            let len = match datagram.protocol {
                HOP_BY_HOP | ROUTING | DESTINATION => (usize::from(*rest.get(1)?) + 1) * 8,
                FRAGMENT if datagram.fragment.is_none() => 8,
                _ => return Some(datagram),
            };
            let header = rest.get(..len)?;
            if datagram.protocol == FRAGMENT {
                let offset = u16::from_be_bytes([header[2], header[3]]);
                let id = u32::from_be_bytes(header[4..8].try_into().ok()?);
                datagram.fragment =
                    Some(Fragment { id, offset: usize::from(offset & !7), more: offset & 1 != 0 });
            }
            datagram.protocol = header[0];
            datagram.payload.start += len;
            // What follows in a later fragment is no header.
            if datagram.fragment.is_some_and(|fragment| fragment.offset > 0) {
                return Some(datagram);
            }
        }
        None
    }

    /// The way back.
    pub fn reply(&self) -> Route {
        Route { mac: self.mac, guest: self.source, remote: self.destination }
    }
}

fn address4(bytes: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(bytes).ok().map(Ipv4Addr::from)
}

fn address6(bytes: &[u8]) -> Option<Ipv6Addr> {
    <[u8; 16]>::try_from(bytes).ok().map(Ipv6Addr::from)
}

/// Whether the checksum of a TCP, UDP or ICMPv6 payload is right.
pub(super) fn checksum_holds(payload: &[u8], datagram: &Datagram) -> bool {
    let pseudo = pseudo_header(datagram.source, datagram.destination, datagram.protocol, payload.len());
    checksum::add(pseudo, checksum::sum(payload)) == 0xffff
}

/// Who sends to whom: from outside to the guest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route {
    /// The guest's card.
    pub mac: Mac,
    pub guest: IpAddr,
    /// Who the guest sees as the sender.
    pub remote: IpAddr,
}

impl Route {
    /// Bytes before an IP packet's payload.
    pub fn headers(&self) -> usize {
        ETHERNET + if self.guest.is_ipv4() { 20 } else { 40 }
    }

    /// Writes the headers before the payload of `frame`, which has room for them.
    pub fn write_headers(&self, frame: &mut [u8], protocol: u8) {
        let len = frame.len() - ETHERNET;
        frame[..6].copy_from_slice(&self.mac);
        frame[6..12].copy_from_slice(&ROUTER_MAC);
        match (self.remote, self.guest) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                frame[12..14].copy_from_slice(&TYPE_IPV4.to_be_bytes());
                let ip = &mut frame[ETHERNET..ETHERNET + 20];
                ip.copy_from_slice(&[
                    0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                ]);
                ip[2..4].copy_from_slice(&(len as u16).to_be_bytes());
                ip[12..16].copy_from_slice(&source.octets());
                ip[16..20].copy_from_slice(&destination.octets());
                let sum = !checksum::sum(ip);
                ip[10..12].copy_from_slice(&sum.to_be_bytes());
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                frame[12..14].copy_from_slice(&TYPE_IPV6.to_be_bytes());
                let ip = &mut frame[ETHERNET..ETHERNET + 40];
                // Neighbour discovery believes only what no router has passed on.
                ip[..8].copy_from_slice(&[0x60, 0, 0, 0, 0, 0, protocol, 255]);
                ip[4..6].copy_from_slice(&((len - 40) as u16).to_be_bytes());
                ip[8..24].copy_from_slice(&source.octets());
                ip[24..40].copy_from_slice(&destination.octets());
            }
            _ => debug_assert!(false, "a route has addresses of one family"),
        }
    }

    /// Writes the pseudo-header's sum where the checksum of `frame`'s payload goes, and says what is left to do.
    pub fn offer_checksum(&self, frame: &mut [u8], protocol: u8, offset: u16) -> ChecksumOffload {
        let start = self.headers();
        let pseudo = pseudo_header(self.remote, self.guest, protocol, frame.len() - start);
        let at = start + usize::from(offset);
        frame[at..at + 2].copy_from_slice(&pseudo.to_be_bytes());
        ChecksumOffload { start: start as u16, offset }
    }
}

/// The sum of the pseudo-header that TCP, UDP and ICMPv6 put before their own bytes, of which there are `len`.
fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, len: usize) -> u16 {
    let addresses = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            checksum::add(checksum::sum(&source.octets()), checksum::sum(&destination.octets()))
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            checksum::add(checksum::sum(&source.octets()), checksum::sum(&destination.octets()))
        }
        _ => 0,
    };
    let len = checksum::add((len >> 16) as u16, len as u16);
    checksum::add(addresses, checksum::add(u16::from(protocol), len))
}
