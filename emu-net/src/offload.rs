//! What a card's offloads leave undone, done in software: checksums, and cutting long packets.
//!
//! A packet between a card and its backend may lack its checksum and be longer than the cable allows
//! (`emu_core::backend::Packet`). Where the receiving side does not take it so, it is finished here. What the packet
//! says of itself comes from a guest or a peer; it is believed only as far as the bytes bear it out.

use emu_core::backend::{Acceptance, ChecksumOffload, Packet, Segmentation, SegmentationKind, checksum};

const ETHERNET: usize = 14;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;
const TCP: u8 = 6;
const UDP: u8 = 17;
const TCP_FIN: u8 = 0x01;
const TCP_PSH: u8 = 0x08;
const TCP_CWR: u8 = 0x80;

/// Whether a card that accepts `acceptance` takes `packet` as it is.
pub fn accepted(packet: &Packet, acceptance: Acceptance) -> bool {
    let cut = match packet.segmentation.map(|segmentation| segmentation.kind) {
        None => true,
        Some(SegmentationKind::Tcp4) => acceptance.tcp4,
        Some(SegmentationKind::Tcp6) => acceptance.tcp6,
        Some(SegmentationKind::Udp) => false,
    };
    cut && (packet.checksum.is_none() || acceptance.checksum)
}

/// Appends to `out` what a card that accepts `acceptance` gets for `packet`: itself, or itself finished, or its pieces,
/// or nothing where it contradicts itself.
pub fn finish(packet: &Packet, acceptance: Acceptance, out: &mut Vec<Packet>) {
    if accepted(packet, acceptance) {
        out.push(packet.clone());
        return;
    }
    let first = out.len();
    match packet.segmentation {
        Some(segmentation) => cut(packet, segmentation, out),
        None => out.push(packet.clone()),
    }
    if !acceptance.checksum {
        out[first..].iter_mut().for_each(|packet| {
            packet.fill_checksum();
        });
    }
}

/// Where the headers of a packet that can be cut are.
struct Layout {
    network: usize,
    transport: usize,
    payload: usize,
    protocol: u8,
}

impl Layout {
    fn of(bytes: &[u8], kind: SegmentationKind) -> Option<Self> {
        let mut network = ETHERNET;
        if get_u16(bytes, 12)? == VLAN {
            network += 4;
        }
        let (protocol, transport) = match get_u16(bytes, network - 2)? {
            IPV4 => {
                let header = usize::from(bytes.get(network)? & 15) * 4;
                (header >= 20).then_some((*bytes.get(network + 9)?, network + header))?
            }
            // Extension headers stand before neither TCP nor UDP in what a guest wants cut.
            IPV6 => (*bytes.get(network + 6)?, network + 40),
            _ => return None,
        };
        let header = match (protocol, kind) {
            (TCP, SegmentationKind::Tcp4 | SegmentationKind::Tcp6) => {
                usize::from(bytes.get(transport + 12)? >> 4) * 4
            }
            (UDP, SegmentationKind::Udp) => 8,
            _ => return None,
        };
        let payload = transport + header;
        let least = if protocol == TCP { 20 } else { 8 };
        (header >= least && payload <= bytes.len()).then_some(Layout {
            network,
            transport,
            payload,
            protocol,
        })
    }
}

/// Cuts `packet` into pieces whose checksums are still to be made.
fn cut(packet: &Packet, segmentation: Segmentation, out: &mut Vec<Packet>) {
    let size = usize::from(segmentation.size);
    let Some(layout) = Layout::of(&packet.bytes, segmentation.kind).filter(|_| size > 0) else { return };
    let (headers, payload) = packet.bytes.split_at(layout.payload);
    let count = payload.len().div_ceil(size).max(1);
    // More pieces than a packet of 64 KiB can make of any sensible size: a guest that wants a flood of headers.
    if count > 1 && size < 8 {
        return;
    }
    for (index, piece) in payload.chunks(size).enumerate() {
        let mut bytes = Vec::with_capacity(headers.len() + piece.len());
        bytes.extend_from_slice(headers);
        bytes.extend_from_slice(piece);
        adapt_headers(&mut bytes, &layout, index, index * size, index + 1 == count);
        let offset = if layout.protocol == TCP { 16 } else { 6 };
        let checksum = Some(ChecksumOffload { start: layout.transport as u16, offset });
        out.push(Packet { bytes, checksum, segmentation: None, trusted: packet.trusted });
    }
}

/// Makes the headers of the whole those of the piece number `index`, which begins `sent` bytes after the first.
fn adapt_headers(bytes: &mut [u8], layout: &Layout, index: usize, sent: usize, last: bool) {
    let (network, transport) = (layout.network, layout.transport);
    let len = bytes.len();
    let pseudo = if bytes[network] >> 4 == 4 {
        put_u16(bytes, network + 2, (len - network) as u16);
        let id = u16::from_be_bytes([bytes[network + 4], bytes[network + 5]]);
        put_u16(bytes, network + 4, id.wrapping_add(index as u16));
        put_u16(bytes, network + 10, 0);
        let header = !checksum::sum(&bytes[network..transport]);
        put_u16(bytes, network + 10, header);
        checksum::sum(&bytes[network + 12..network + 20])
    } else {
        put_u16(bytes, network + 4, (len - transport) as u16);
        checksum::sum(&bytes[network + 8..network + 40])
    };
    let pseudo = checksum::add(checksum::add(pseudo, u16::from(layout.protocol)), (len - transport) as u16);
    if layout.protocol == UDP {
        put_u16(bytes, transport + 4, (len - transport) as u16);
        put_u16(bytes, transport + 6, pseudo);
        return;
    }
    let field: [u8; 4] = bytes[transport + 4..transport + 8].try_into().unwrap_or_default();
    let sequence = u32::from_be_bytes(field).wrapping_add(sent as u32);
    bytes[transport + 4..transport + 8].copy_from_slice(&sequence.to_be_bytes());
    if !last {
        bytes[transport + 13] &= !(TCP_FIN | TCP_PSH);
    }
    if index > 0 {
        bytes[transport + 13] &= !TCP_CWR;
    }
    put_u16(bytes, transport + 16, pseudo);
}

fn get_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

fn put_u16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}
