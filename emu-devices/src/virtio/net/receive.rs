//! Receiving: virtio 1.2, 5.1.6.3 and 5.1.6.4.

use super::{
    super::{Chain, Queues},
    Net, feature, header,
};
use emu_core::backend::{Acceptance, Packet, SegmentationKind};
use std::borrow::Cow;

/// What becomes of a packet.
#[derive(PartialEq, Eq)]
enum Outcome {
    /// It is the driver's, or was not for it.
    Taken,
    /// There is no room for it now.
    Refused,
}

impl Net {
    pub(super) fn acceptance(&self) -> Acceptance {
        let on = |bits| self.offloads & bits != 0;
        Acceptance {
            checksum: on(feature::GUEST_CSUM),
            tcp4: on(feature::GUEST_TSO4),
            tcp6: on(feature::GUEST_TSO6),
        }
    }

    /// Takes packets. Returns how many.
    pub(super) fn receive(&mut self, packets: &[Packet], queues: &mut Queues) -> usize {
        let mut taken = 0;
        for packet in packets {
            if self.receive_one(packet, queues) == Outcome::Refused {
                self.cable.refuse();
                break;
            }
            taken += 1;
        }
        taken
    }

    fn receive_one(&mut self, packet: &Packet, queues: &mut Queues) -> Outcome {
        let pair = self.steering.receiver(&packet.bytes, self.pairs);
        if !queues.is_ready(2 * pair) || !self.filter.passes(&packet.bytes) {
            return Outcome::Taken;
        }
        let Some(packet) = self.acceptable(packet) else { return Outcome::Taken };
        self.store(&packet, pair, queues)
    }

    /// `packet` as the driver takes it: what was sent before the driver changed its mind may have to be finished.
    fn acceptable<'a>(&self, packet: &'a Packet) -> Option<Cow<'a, Packet>> {
        let accepted = self.acceptance();
        let takes = match packet.segmentation.map(|segmentation| segmentation.kind) {
            None => true,
            Some(SegmentationKind::Tcp4) => accepted.tcp4 && packet.checksum.is_some(),
            Some(SegmentationKind::Tcp6) => accepted.tcp6 && packet.checksum.is_some(),
            Some(SegmentationKind::Udp) => false,
        };
        if !takes || packet.checksum.is_none() || accepted.checksum {
            return takes.then_some(Cow::Borrowed(packet));
        }
        let mut packet = packet.clone();
        packet.fill_checksum().then_some(Cow::Owned(packet))
    }

    /// Puts `packet` into buffers of the receive queue of `pair`.
    fn store(&mut self, packet: &Packet, pair: u16, queues: &mut Queues) -> Outcome {
        let mut head = header::of_packet(packet, self.offloads & feature::GUEST_CSUM != 0);
        let len = head.len() + packet.bytes.len();
        let merge = self.features & feature::MRG_RXBUF != 0;
        let spare = &mut self.spare[usize::from(pair)];
        let (mut count, mut room) = (0, 0);
        while room < len && (merge || count == 0) {
            if count == spare.len() {
                if count == usize::from(queues.size(2 * pair)) {
                    // All buffers that there can be are too few.
                    return Outcome::Taken;
                }
                match queues.pop(2 * pair) {
                    Some(chain) if is_sound(&chain) => spare.push_back(chain),
                    Some(_) => {
                        queues.fail("a receive buffer that cannot be written");
                        return Outcome::Taken;
                    }
                    None => return Outcome::Refused,
                }
            }
            room += spare[count].writable.len();
            count += 1;
        }
        if room < len {
            return Outcome::Taken;
        }
        header::set_buffers(&mut head, count as u16);
        let chains = spare.drain(..count).collect();
        fill(chains, &head, &packet.bytes, queues);
        Outcome::Taken
    }
}

/// Whether a chain has room for a header, and nothing for the device to read.
fn is_sound(chain: &Chain) -> bool {
    chain.readable.is_empty() && chain.writable.len() >= header::LEN
}

/// Fills `chains`, which are long enough, with header and bytes, and gives them back: together, as the driver looks for
/// all buffers of a packet when it sees the first.
fn fill(chains: Vec<Chain>, head: &[u8; header::LEN], bytes: &[u8], queues: &mut Queues) {
    let mut rest = bytes;
    let mut done = Vec::with_capacity(chains.len());
    for (number, chain) in chains.into_iter().enumerate() {
        let begin = if number == 0 { header::LEN } else { 0 };
        let (now, later) = rest.split_at(rest.len().min(chain.writable.len() - begin));
        if number == 0 {
            chain.writable.copy_from(0, head);
        }
        chain.writable.copy_from(begin, now);
        rest = later;
        let written = begin + now.len();
        done.push((chain, written as u32));
    }
    queues.complete_all(done);
}
