//! The header that says what is still to be done to a packet: `struct virtio_net_hdr` (virtio 1.2, 5.1.6), little-endian,
//! as the host's taps have it, and as our sockets carry it.

use emu_core::backend::{ChecksumOffload, Packet, Segmentation, SegmentationKind};

/// Bytes, without the count of buffers.
pub(crate) const LEN: usize = 10;
const NEEDS_CHECKSUM: u8 = 1;
const DATA_VALID: u8 = 2;
const GSO_TCP4: u8 = 1;
const GSO_TCP6: u8 = 4;
const GSO_UDP: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// The header of `packet`.
pub(crate) fn encode(packet: &Packet) -> [u8; LEN] {
    let mut header = [0; LEN];
    if let Some(checksum) = packet.checksum {
        header[0] = NEEDS_CHECKSUM;
        header[6..8].copy_from_slice(&checksum.start.to_le_bytes());
        header[8..10].copy_from_slice(&checksum.offset.to_le_bytes());
    } else if packet.trusted {
        header[0] = DATA_VALID;
    }
    if let Some(segmentation) = packet.segmentation {
        let kind = match segmentation.kind {
            SegmentationKind::Tcp4 => GSO_TCP4,
            SegmentationKind::Tcp6 => GSO_TCP6,
            SegmentationKind::Udp => GSO_UDP,
        };
        header[1] = kind | if segmentation.ecn { GSO_ECN } else { 0 };
        header[2..4].copy_from_slice(&segmentation.headers.to_le_bytes());
        header[4..6].copy_from_slice(&segmentation.size.to_le_bytes());
    }
    header
}

/// The packet of `header` and `bytes`; none if the header wants something that there is not.
pub(crate) fn decode(header: &[u8; LEN], bytes: Vec<u8>) -> Option<Packet> {
    let u16_at = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    let needs_checksum = header[0] & NEEDS_CHECKSUM != 0;
    let checksum = needs_checksum.then(|| ChecksumOffload { start: u16_at(6), offset: u16_at(8) });
    let kind = match header[1] & !GSO_ECN {
        0 => None,
        GSO_TCP4 => Some(SegmentationKind::Tcp4),
        GSO_TCP6 => Some(SegmentationKind::Tcp6),
        GSO_UDP => Some(SegmentationKind::Udp),
        _ => return None,
    };
    let segmentation = kind.map(|kind| Segmentation {
        kind,
        size: u16_at(4),
        headers: u16_at(2),
        ecn: header[1] & GSO_ECN != 0,
    });
    Some(Packet { bytes, checksum, segmentation, trusted: needs_checksum || header[0] & DATA_VALID != 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_read_is_what_was_written(header: [u8; LEN]) {
            if let Some(packet) = decode(&header, vec![1, 2, 3]) {
                prop_assert_eq!(decode(&encode(&packet), vec![1, 2, 3]), Some(packet));
            }
        }
    }
}
