//! The header before each packet: virtio 1.2, 5.1.6.

use crate::network::Transport;
use emu_core::backend::{ChecksumOffload, Packet, Segmentation, SegmentationKind};

/// Its bytes, with the number of buffers, as every modern device has it.
pub(super) const LEN: usize = 12;
/// Where that number is.
const NUM_BUFFERS: usize = 10;

/// Flags.
const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;
/// Kinds of segmentation.
const GSO_NONE: u8 = 0;
const GSO_TCP4: u8 = 1;
const GSO_TCP6: u8 = 4;
const GSO_ECN: u8 = 0x80;

fn word(header: &[u8; LEN], at: usize) -> u16 {
    u16::from_le_bytes([header[at], header[at + 1]])
}

/// The packet that a driver has put behind `header`; `None` if the header contradicts itself or the bytes.
pub(super) fn packet(header: &[u8; LEN], bytes: Vec<u8>) -> Option<Packet> {
    let mut packet = Packet { bytes, ..Packet::default() };
    let len = packet.bytes.len();
    if header[0] & NEEDS_CSUM != 0 {
        let (start, offset) = (word(header, 6), word(header, 8));
        if usize::from(start) + usize::from(offset) + 2 > len {
            return None;
        }
        packet.checksum = Some(ChecksumOffload { start, offset });
    }
    let kind = match header[1] & !GSO_ECN {
        GSO_NONE => return Some(packet),
        GSO_TCP4 => SegmentationKind::Tcp4,
        GSO_TCP6 => SegmentationKind::Tcp6,
        _ => return None,
    };
    let size = word(header, 4);
    // Where the headers end is what they say; the driver's length of them is a hint.
    let layout = Transport::of(&packet.bytes).filter(|_| size != 0 && packet.checksum.is_some())?;
    let headers = layout.tcp_headers(&packet.bytes)?;
    if layout.v6 != (kind == SegmentationKind::Tcp6) {
        return None;
    }
    if len - headers > usize::from(size) {
        let ecn = header[1] & GSO_ECN != 0;
        packet.segmentation = Some(Segmentation { kind, size, headers: headers as u16, ecn });
    }
    Some(packet)
}

/// The header of a packet for the driver, in one buffer. `offload`: the driver takes packets with checksums to be made,
/// and believes what the device says of others.
pub(super) fn of_packet(packet: &Packet, offload: bool) -> [u8; LEN] {
    let mut header = [0; LEN];
    let mut put = |at: usize, value: u16| header[at..at + 2].copy_from_slice(&value.to_le_bytes());
    put(NUM_BUFFERS, 1);
    if let Some(Segmentation { size, headers, .. }) = packet.segmentation {
        put(2, headers);
        put(4, size);
    }
    if let Some(ChecksumOffload { start, offset }) = packet.checksum {
        put(6, start);
        put(8, offset);
        header[0] = NEEDS_CSUM;
    } else if packet.trusted && offload {
        header[0] = DATA_VALID;
    }
    header[1] = match packet.segmentation.map(|segmentation| (segmentation.kind, segmentation.ecn)) {
        Some((SegmentationKind::Tcp4, ecn)) => GSO_TCP4 | if ecn { GSO_ECN } else { 0 },
        Some((SegmentationKind::Tcp6, ecn)) => GSO_TCP6 | if ecn { GSO_ECN } else { 0 },
        Some((SegmentationKind::Udp, _)) | None => GSO_NONE,
    };
    header
}

/// Says that the packet is in so many buffers.
pub(super) fn set_buffers(header: &mut [u8; LEN], buffers: u16) {
    header[NUM_BUFFERS..].copy_from_slice(&buffers.to_le_bytes());
}
