//! Ethernet, IPv4, IPv6 and TCP headers, as far as cards look at them. IEEE 802.3, 802.1Q; RFC 791, 8200, 9293.

use super::MacAddress;
use emu_core::backend::checksum;

/// Destination, source, type.
pub const HEADER: usize = 14;
/// Bytes of a VLAN tag.
pub const TAG: usize = 4;
/// Type of a VLAN tag.
pub const VLAN: u16 = 0x8100;
/// The shortest frame without its check sequence.
pub const SHORTEST: usize = 60;
/// The longest without a VLAN tag and its check sequence.
pub const LONGEST: usize = 1514;

const TYPE: usize = 12;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86DD;
const TCP: u8 = 6;
const UDP: u8 = 17;
const IPV6_HEADER: usize = 40;

/// Whom a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// All.
    Broadcast,
    /// A group.
    Multicast(MacAddress),
    /// One.
    Unicast(MacAddress),
}

/// Whom `frame` is for; `None` if it has no whole header.
pub fn destination(frame: &[u8]) -> Option<Destination> {
    let address = *frame.get(..HEADER)?.first_chunk::<6>()?;
    Some(match address {
        [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF] => Destination::Broadcast,
        [first, ..] if first & 1 != 0 => Destination::Multicast(address),
        _ => Destination::Unicast(address),
    })
}

/// The big-endian word at `at`.
pub fn get_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Stores the big-endian word at `at`; false if that is outside.
pub fn put_u16(bytes: &mut [u8], at: usize, value: u16) -> bool {
    let place = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut());
    place.map(|place| *place = value.to_be_bytes()).is_some()
}

/// The control information of `frame`'s VLAN tag, if it has one of type `tag`.
pub fn vlan_tag(frame: &[u8], tag: u16) -> Option<u16> {
    (get_u16(frame, TYPE)? == tag).then(|| get_u16(frame, TYPE + 2))?
}

/// Takes the VLAN tag out of `frame`, which has one.
pub fn strip_tag(frame: &mut Vec<u8>) {
    frame.drain(TYPE..TYPE + TAG);
}

/// Puts a VLAN tag into `frame`, which has whole addresses.
pub fn insert_tag(frame: &mut Vec<u8>, tag: u16, control: u16) {
    let ([a, b], [c, d]) = (tag.to_be_bytes(), control.to_be_bytes());
    frame.splice(TYPE..TYPE, [a, b, c, d]);
}

/// Where the headers of an IP packet with TCP or UDP are, from the frame's first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transport {
    /// It is IPv6.
    pub v6: bool,
    /// It is TCP, else UDP.
    pub tcp: bool,
    /// Where the IP header is.
    pub network: usize,
    /// Where the TCP or UDP header is.
    pub start: usize,
}

impl Transport {
    /// Of a frame that is neither a fragment nor has extension headers.
    pub fn of(frame: &[u8]) -> Option<Self> {
        let network = if get_u16(frame, TYPE)? == VLAN { HEADER + TAG } else { HEADER };
        let (v6, protocol, start) = match get_u16(frame, network - 2)? {
            IPV4 if get_u16(frame, network + 6)? & 0x3FFF == 0 => {
                (false, *frame.get(network + 9)?, network + usize::from(frame[network] & 15) * 4)
            }
            IPV6 => (true, *frame.get(network + 6)?, network + IPV6_HEADER),
            _ => return None,
        };
        let least = network + if v6 { IPV6_HEADER } else { 20 };
        let header = if protocol == TCP { 20 } else { 8 };
        let whole = start >= least && frame.len() >= start + header && matches!(protocol, TCP | UDP);
        whole.then_some(Transport { v6, tcp: protocol == TCP, network, start })
    }

    /// Where the checksum is, from [`start`](Self::start).
    pub fn checksum_offset(&self) -> usize {
        if self.tcp { 16 } else { 6 }
    }

    /// Bytes of all headers of TCP; `None` if they are not all there.
    pub fn tcp_headers(&self, frame: &[u8]) -> Option<usize> {
        let len = usize::from(*frame.get(self.start + 12)? >> 4) * 4;
        (self.tcp && len >= 20 && self.start + len <= frame.len()).then_some(self.start + len)
    }

    /// Writes the lengths that a driver leaves to a card that cuts: of the IP packet, with the checksum of its header.
    /// A packet longer than the field can say is one that nobody takes as it is.
    pub fn set_lengths(&self, frame: &mut [u8]) {
        let network = self.network;
        if self.v6 {
            let len = frame.len() - network - IPV6_HEADER;
            put_u16(frame, network + 4, len.min(0xFFFF) as u16);
            return;
        }
        let len = frame.len() - network;
        put_u16(frame, network + 2, len.min(0xFFFF) as u16);
        self.set_header_checksum(frame);
    }

    /// Writes the checksum of IPv4's header.
    pub fn set_header_checksum(&self, frame: &mut [u8]) {
        put_u16(frame, self.network + 10, 0);
        let value = !checksum::sum(&frame[self.network..self.start]);
        put_u16(frame, self.network + 10, value);
    }

    /// Writes the sum of the pseudo-header to where the checksum belongs.
    pub fn set_pseudo_header(&self, frame: &mut [u8]) {
        let (from, to) = if self.v6 { (8, 40) } else { (12, 20) };
        let addresses = checksum::sum(&frame[self.network + from..self.network + to]);
        let len = frame.len() - self.start;
        let protocol = u16::from(if self.tcp { TCP } else { UDP });
        let rest = checksum::add(protocol, checksum::add((len >> 16) as u16, len as u16));
        put_u16(frame, self.start + self.checksum_offset(), checksum::add(addresses, rest));
    }
}
