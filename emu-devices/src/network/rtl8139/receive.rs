//! Receiving: filters, and packets into the ring of bytes or into descriptors' buffers.

use super::{
    super::{
        MacAddress,
        ethernet::{self, Destination, Transport},
    },
    DESCRIPTOR, MOST_DESCRIPTORS, Rtl8139,
    registers::{cpcr, cr, isr, rcr, reg},
};
use emu_core::{backend::Packet, memory::Dma};

/// Bits of the header before a packet in the ring.
mod header {
    pub(super) const ROK: u16 = 1 << 0;
    pub(super) const BAR: u16 = 1 << 13;
    pub(super) const PAM: u16 = 1 << 14;
    pub(super) const MAR: u16 = 1 << 15;
}
const HEADER: usize = 4;
/// The frame check sequence, which no cable here carries, but whose place drivers expect.
const FCS: usize = 4;
/// How far CAPR is behind where the driver reads.
const CAPR_BIAS: usize = 16;

/// Bits of a receive descriptor's first word.
mod status {
    pub(super) const OWN: u32 = 1 << 31;
    pub(super) const EOR: u32 = 1 << 30;
    pub(super) const FS: u32 = 1 << 29;
    pub(super) const LS: u32 = 1 << 28;
    pub(super) const MAR: u32 = 1 << 26;
    pub(super) const PAM: u32 = 1 << 25;
    pub(super) const BAR: u32 = 1 << 24;
    /// The protocol: TCP, UDP, IP alone.
    pub(super) const TCP: u32 = 1 << 16;
    pub(super) const UDP: u32 = 2 << 16;
    pub(super) const SIZE: u32 = 0x1FFF;
}
/// The second word: a tag was there.
const TAVA: u32 = 1 << 16;

/// The bit of the multicast table that `address` has: the upper six bits of its CRC, as in the frame check sequence.
fn hash(address: MacAddress) -> u32 {
    const POLYNOMIAL: u32 = 0x04C1_1DB7;
    let mut crc = u32::MAX;
    for byte in address {
        for bit in 0..8 {
            let feedback = (crc >> 31) ^ u32::from(byte >> bit & 1);
            crc = crc << 1 ^ if feedback != 0 { POLYNOMIAL } else { 0 };
        }
    }
    crc >> 26
}

/// What the ring of bytes has room for.
struct ByteRing {
    base: u64,
    len: usize,
    /// Where the next packet goes.
    write: usize,
    /// Bytes that are free.
    free: usize,
}

impl Rtl8139 {
    fn byte_ring(&self) -> ByteRing {
        let len = 8192 << (self.registers.dword(reg::RCR) >> rcr::RBLEN_SHIFT & 3);
        let write = usize::from(self.registers.word(reg::CBR)) % len;
        let read = (usize::from(self.registers.word(reg::CAPR)) + CAPR_BIAS) % len;
        let free = if read == write { len } else { (read + len - write) % len };
        ByteRing { base: self.registers.dword(reg::RBSTART).into(), len, write, free }
    }

    /// What the command register says of the ring of bytes.
    pub(super) fn receive_ring_is_empty(&self) -> bool {
        let ring = self.byte_ring();
        ring.free == ring.len
    }

    /// Takes packets. Returns how many.
    pub(super) fn receive_packets(&mut self, packets: &[Packet]) -> usize {
        let Some(dma) = self.dma().filter(|_| self.commands(cr::RE) && self.cable.is_up()) else {
            return packets.len();
        };
        let received = self.tally.received;
        let taken = packets.iter().take_while(|packet| self.receive_one(&dma, packet)).count();
        let mut causes = if self.tally.received == received { 0 } else { isr::ROK };
        if taken < packets.len() {
            self.cable.refuse();
            // A driver that has filled the ring again says so to nobody: this makes it look at the chip.
            causes |= if self.plus(cpcr::RX) { isr::RDU } else { 0 };
        }
        if causes != 0 {
            self.interrupt(causes);
        }
        taken
    }

    /// Whom a packet is for, if the filters let it in.
    fn filter(&self, bytes: &[u8]) -> Option<Destination> {
        let control = self.registers.dword(reg::RCR);
        let on = |bit| control & bit != 0;
        let destination = ethernet::destination(bytes)?;
        let wanted = match destination {
            Destination::Broadcast => on(rcr::AB),
            Destination::Multicast(address) => {
                let bit = hash(address);
                on(rcr::AM) && self.registers.byte(reg::MAR + (bit >> 3) as u8) >> (bit & 7) & 1 != 0
            }
            Destination::Unicast(address) => {
                on(rcr::APM)
                    && (0..6).all(|at| self.registers.byte(reg::IDR + at) == address[usize::from(at)])
            }
        };
        (wanted || on(rcr::AAP)).then_some(destination)
    }

    /// Takes or drops a packet; false if there is no room for it.
    fn receive_one(&mut self, dma: &Dma, packet: &Packet) -> bool {
        // What this card did not agree to take was sent before it said so.
        let finished = packet.checksum.is_none() && packet.segmentation.is_none();
        let Some(destination) = self.filter(&packet.bytes).filter(|_| finished) else { return true };
        if packet.bytes.len() > ethernet::LONGEST + ethernet::TAG {
            return true;
        }
        let stored = match self.plus(cpcr::RX) {
            true => self.store_in_descriptor(dma, packet, destination),
            false => self.store_in_ring(dma, &packet.bytes, destination),
        };
        if stored {
            self.tally.received += 1;
            match destination {
                Destination::Broadcast => self.tally.received_broadcasts += 1,
                Destination::Multicast(_) => {
                    self.tally.received_multicasts = self.tally.received_multicasts.wrapping_add(1);
                }
                Destination::Unicast(_) => self.tally.received_physical += 1,
            }
        }
        stored
    }

    fn store_in_ring(&mut self, dma: &Dma, bytes: &[u8], destination: Destination) -> bool {
        let ring = self.byte_ring();
        let len = bytes.len().max(ethernet::SHORTEST) + FCS;
        let used = (HEADER + len).next_multiple_of(4);
        // Completely full looks as completely empty.
        if used >= ring.free {
            return false;
        }
        let kind = match destination {
            Destination::Broadcast => header::BAR,
            Destination::Multicast(_) => header::MAR,
            Destination::Unicast(_) => header::PAM,
        };
        let mut stored = Vec::with_capacity(used);
        stored.extend_from_slice(&(header::ROK | kind).to_le_bytes());
        stored.extend_from_slice(&(len as u16).to_le_bytes());
        stored.extend_from_slice(bytes);
        stored.resize(HEADER + len, 0);
        // With WRAP the driver has room behind the ring for the end of a packet.
        let whole = self.registers.dword(reg::RCR) & rcr::WRAP != 0;
        let first = if whole { stored.len() } else { stored.len().min(ring.len - ring.write) };
        // A ring that is no memory swallows packets, as on a bus where nobody answers.
        let _ = dma.write(ring.base + ring.write as u64, &stored[..first]);
        let _ = dma.write(ring.base, &stored[first..]);
        self.registers.set(reg::CBR, 2, ((ring.write + used) % ring.len) as u32);
        true
    }

    fn store_in_descriptor(&mut self, dma: &Dma, packet: &Packet, destination: Destination) -> bool {
        let base = self.registers.wide(reg::RDSAR);
        let place = base.wrapping_add(u64::from(self.rings.receive) * DESCRIPTOR as u64);
        let mut words = [0; DESCRIPTOR];
        if dma.read(place, &mut words).is_err() {
            return true;
        }
        let word = |at: usize| u32::from_le_bytes([words[at], words[at + 1], words[at + 2], words[at + 3]]);
        let (first, address) = (word(0), u64::from(word(12)) << 32 | u64::from(word(8)));
        if first & status::OWN == 0 {
            return false;
        }
        let mut frame = packet.bytes.clone();
        let tag = ethernet::vlan_tag(&frame, ethernet::VLAN).filter(|_| self.plus(cpcr::RX_VLAN));
        if tag.is_some() {
            ethernet::strip_tag(&mut frame);
        }
        frame.resize(frame.len().max(ethernet::SHORTEST) + FCS, 0);
        if frame.len() > (first & status::SIZE) as usize {
            self.tally.missed = self.tally.missed.wrapping_add(1);
            return true;
        }
        // As above: no memory, no packet.
        let _ = dma.write(address, &frame);
        let second = tag.map_or(0, |tag| TAVA | u32::from(tag.swap_bytes()));
        let _ = dma.write(place + 4, &second.to_le_bytes());
        let end = self.descriptor_status(packet, destination) | first & status::EOR | frame.len() as u32;
        // A driver looks at the ownership while the card writes: the half that has it comes last.
        let _ = dma.store_u16(place, end as u16);
        let _ = dma.store_u16(place + 2, (end >> 16) as u16);
        let last = first & status::EOR != 0 || self.rings.receive + 1 == MOST_DESCRIPTORS;
        self.rings.receive = if last { 0 } else { self.rings.receive + 1 };
        true
    }

    fn descriptor_status(&self, packet: &Packet, destination: Destination) -> u32 {
        let kind = match destination {
            Destination::Broadcast => status::BAR,
            Destination::Multicast(_) => status::MAR,
            Destination::Unicast(_) => status::PAM,
        };
        // A packet whose checksums nobody vouches for is left for the driver to check.
        let known = packet.trusted && self.plus(cpcr::RX_CHECKSUM);
        let protocol = match Transport::of(&packet.bytes).filter(|layout| known && !layout.v6) {
            Some(Transport { tcp: true, .. }) => status::TCP,
            Some(_) => status::UDP,
            None => 0,
        };
        status::FS | status::LS | kind | protocol
    }
}
