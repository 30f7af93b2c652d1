//! Networks: what a network interface card asks of the other end of its cable.

use super::checksum;

/// The longest packet: an IPv6 packet of 64 KiB with its header, and the Ethernet header with a VLAN tag.
pub const MAX_PACKET: usize = 65535 + 40 + 18;

/// A checksum that is still to be made. The field holds the sum of the pseudo-header; what is to be added begins at
/// `start`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChecksumOffload {
    /// Where the summed bytes begin, from the packet's first byte.
    pub start: u16,
    /// Where the checksum goes, from `start`.
    pub offset: u16,
}

/// What a packet is to be cut into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentationKind {
    /// TCP in IPv4.
    Tcp4,
    /// TCP in IPv6.
    Tcp6,
    /// UDP datagrams.
    Udp,
}

/// A packet that is to be cut before it goes on a real cable, and need not be on one that is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segmentation {
    /// How.
    pub kind: SegmentationKind,
    /// Bytes of payload in each segment.
    pub size: u16,
    /// Bytes of all headers, which each segment repeats.
    pub headers: u16,
    /// The congestion-window-reduced flag is the first segment's alone.
    pub ecn: bool,
}

/// An Ethernet frame without its check sequence, and what is still to be done to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Packet {
    /// From the destination address on; at most [`MAX_PACKET`].
    pub bytes: Vec<u8>,
    /// A checksum is still to be made.
    pub checksum: Option<ChecksumOffload>,
    /// It is longer than what goes on the cable.
    pub segmentation: Option<Segmentation>,
    /// Its checksums have been checked, or need no check as it has never been on a cable.
    pub trusted: bool,
}

impl Packet {
    /// Makes the checksum that it lacks. False if the place for it is outside of the packet.
    pub fn fill_checksum(&mut self) -> bool {
        let Some(ChecksumOffload { start, offset }) = self.checksum.take() else { return true };
        let start = usize::from(start);
        let field = start + usize::from(offset);
        if field + 2 > self.bytes.len() {
            return false;
        }
        let value = checksum::of_sum(checksum::sum(&self.bytes[start..]));
        self.bytes[field..field + 2].copy_from_slice(&value.to_be_bytes());
        self.trusted = true;
        true
    }
}

/// The other end of the cable.
pub trait NetworkBackend: Send + Sync {
    /// Connects the card that packets are for. Once, before anything is sent.
    fn connect(&self, receiver: std::sync::Arc<dyn NetworkReceiver>);
    /// Takes packets from the card, in order. Returns at once; what there is no room for is lost, as on a cable.
    fn send(&self, packets: Vec<Packet>);
    /// The card, which had refused a packet, has room again.
    fn resume(&self);
    /// Whether the cable is plugged in.
    fn link_up(&self) -> bool {
        true
    }
}

/// A card, as the other end sees it. Called on a thread of the backend's.
pub trait NetworkReceiver: Send + Sync {
    /// What the card takes of packets that are not ready for a cable, now: the guest's driver decides.
    fn accepts(&self) -> Acceptance;
    /// Offers packets, in order. Returns how many were taken (or dropped, as the card's filters say); the others are
    /// offered again after [`NetworkBackend::resume`].
    fn receive(&self, packets: &[Packet]) -> usize;
}

/// See [`NetworkReceiver::accepts`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Acceptance {
    /// Packets whose checksum is still to be made.
    pub checksum: bool,
    /// TCP in IPv4 that is to be cut.
    pub tcp4: bool,
    /// TCP in IPv6 that is to be cut.
    pub tcp6: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_outside_of_its_packet_is_refused() {
        for (start, offset, good) in [(2, 0, true), (2, 1, false), (4, 0, false), (u16::MAX, u16::MAX, false)]
        {
            let checksum = Some(ChecksumOffload { start, offset });
            let mut packet = Packet { bytes: vec![1; 4], checksum, ..Packet::default() };
            assert_eq!(packet.fill_checksum(), good, "{start} + {offset}");
        }
    }
}
