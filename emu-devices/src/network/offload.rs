//! What a driver asks a card to do to a packet, put so that the other end of the cable can do it.

use super::ethernet::{self, Transport};
use emu_core::backend::{ChecksumOffload, Packet, Segmentation, SegmentationKind};

/// Leaves the checksum of TCP or UDP to the other end, with the sum of the pseudo-header made here.
pub fn transport_checksum(packet: &mut Packet, layout: &Transport) {
    layout.set_pseudo_header(&mut packet.bytes);
    let (start, offset) = (layout.start as u16, layout.checksum_offset() as u16);
    packet.checksum = Some(ChecksumOffload { start, offset });
}

/// Makes `packet` one that is to be cut into segments of `size` bytes of payload: the driver has left lengths and
/// checksums out, as they differ from segment to segment. Returns the bytes of its headers; `None` if it cannot be cut.
pub fn tcp_segmentation(packet: &mut Packet, size: u16) -> Option<usize> {
    let layout = Transport::of(&packet.bytes)?;
    let headers = layout.tcp_headers(&packet.bytes).filter(|_| size != 0)?;
    layout.set_lengths(&mut packet.bytes);
    transport_checksum(packet, &layout);
    let kind = if layout.v6 { SegmentationKind::Tcp6 } else { SegmentationKind::Tcp4 };
    if packet.bytes.len() - headers > usize::from(size) {
        packet.segmentation = Some(Segmentation { kind, size, headers: headers as u16, ecn: false });
    }
    Some(headers)
}

/// Puts a VLAN tag into `packet`, and moves what is said of its bytes.
pub fn insert_tag(packet: &mut Packet, kind: u16, control: u16) {
    ethernet::insert_tag(&mut packet.bytes, kind, control);
    if let Some(checksum) = &mut packet.checksum {
        checksum.start += ethernet::TAG as u16;
    }
    if let Some(segmentation) = &mut packet.segmentation {
        segmentation.headers += ethernet::TAG as u16;
    }
}
