//! Sending: from one of four buffers, or by descriptors.

use super::{
    super::{
        ethernet::{self, Transport},
        offload,
    },
    DESCRIPTOR, MOST_DESCRIPTORS, Rtl8139,
    registers::{cpcr, cr, isr, reg, tsd},
};
use emu_core::{
    backend::{MAX_PACKET, Packet},
    memory::Dma,
};
use serde::{Deserialize, Serialize};

/// Bits of a descriptor's first word.
mod command {
    pub(super) const OWN: u32 = 1 << 31;
    pub(super) const EOR: u32 = 1 << 30;
    pub(super) const FS: u32 = 1 << 29;
    pub(super) const LS: u32 = 1 << 28;
    /// Large send, with the segments' size in 11 bits from 16 on.
    pub(super) const LGSEN: u32 = 1 << 27;
    pub(super) const MSS_SHIFT: u32 = 16;
    pub(super) const MSS: u32 = 0x7FF;
    pub(super) const IPCS: u32 = 1 << 18;
    pub(super) const UDPCS: u32 = 1 << 17;
    pub(super) const TCPCS: u32 = 1 << 16;
    pub(super) const SIZE: u32 = 0xFFFF;
    /// What a sent descriptor says of errors.
    pub(super) const ERRORS: u32 = 0x00FF_0000;
}
/// The second word: add the tag, whose bytes are in network order.
const TAGC: u32 = 1 << 17;

/// What descriptors have put together of a packet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Assembly {
    bytes: Vec<u8>,
    /// It got longer than any packet, or is in no memory.
    broken: bool,
}

impl Assembly {
    /// Whether a saved one makes sense.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.bytes.len() > MAX_PACKET {
            Err(format!("a packet of {} bytes", self.bytes.len()))
        } else {
            Ok(())
        }
    }

    fn add(&mut self, dma: &Dma, address: u64, len: usize) {
        let begin = self.bytes.len();
        if self.broken || begin + len > MAX_PACKET {
            self.broken = true;
            return;
        }
        self.bytes.resize(begin + len, 0);
        self.broken = dma.read(address, &mut self.bytes[begin..]).is_err();
    }

    fn finish(&mut self) -> Option<Vec<u8>> {
        let Assembly { bytes, broken } = std::mem::take(self);
        (!broken && bytes.len() >= ethernet::HEADER).then_some(bytes)
    }
}

/// What the last descriptor of a packet asks for. `None` if the packet is not of the kind that it says.
fn offload(bytes: Vec<u8>, first: u32, second: u32) -> Option<Packet> {
    let mut packet = Packet { bytes, ..Packet::default() };
    if first & command::LGSEN != 0 {
        let size = first >> command::MSS_SHIFT & command::MSS;
        offload::tcp_segmentation(&mut packet, size as u16)?;
    } else if let Some(layout) = Transport::of(&packet.bytes) {
        if first & command::IPCS != 0 && !layout.v6 {
            layout.set_header_checksum(&mut packet.bytes);
        }
        if first & if layout.tcp { command::TCPCS } else { command::UDPCS } != 0 {
            offload::transport_checksum(&mut packet, &layout);
        }
    }
    if second & TAGC != 0 {
        offload::insert_tag(&mut packet, ethernet::VLAN, (second as u16).swap_bytes());
    }
    Some(packet)
}

impl Rtl8139 {
    /// Sends buffer `number`, if the driver has handed it over.
    pub(super) fn transmit_buffer(&mut self, number: u8) {
        let place = reg::TSD + 4 * number;
        let status = self.registers.dword(place);
        let Some(dma) = self.dma().filter(|_| status & tsd::OWN == 0 && self.commands(cr::TE)) else {
            return;
        };
        let mut assembly = Assembly::default();
        let address = self.registers.dword(reg::TSAD + 4 * number);
        assembly.add(&dma, address.into(), (status & tsd::SIZE) as usize);
        let end = match assembly.finish() {
            Some(bytes) => {
                self.send(Packet { bytes, ..Packet::default() });
                tsd::TOK
            }
            None => {
                self.tally.sent_errors += 1;
                tsd::TABT
            }
        };
        self.cable.flush();
        self.registers.set(place, 4, status | tsd::OWN | end);
        self.interrupt(isr::TOK);
    }

    fn send(&mut self, packet: Packet) {
        self.tally.sent += 1;
        if self.cable.is_up() {
            self.cable.send(packet);
        }
    }

    /// Sends what is on the descriptor rings.
    pub(super) fn transmit_rings(&mut self) {
        let Some(dma) = self.dma().filter(|_| self.commands(cr::TE) && self.plus(cpcr::TX)) else { return };
        self.rings.normal = self.transmit_ring(&dma, reg::TNPDS, self.rings.normal);
        self.rings.high = self.transmit_ring(&dma, reg::THPDS, self.rings.high);
        self.cable.flush();
    }

    /// Sends from the ring whose address is in register `base`, from descriptor `next` on. Returns the next.
    fn transmit_ring(&mut self, dma: &Dma, base: u8, mut next: u32) -> u32 {
        let base = self.registers.wide(base) & !0xFF;
        if base == 0 {
            return next;
        }
        let mut sent = false;
        // A ring is never longer, so whatever is found behind that has been seen.
        for _ in 0..MOST_DESCRIPTORS {
            let place = base + u64::from(next) * DESCRIPTOR as u64;
            let mut words = [0; DESCRIPTOR];
            if dma.read(place, &mut words).is_err() {
                break;
            }
            let word =
                |at: usize| u32::from_le_bytes([words[at], words[at + 1], words[at + 2], words[at + 3]]);
            let (first, second) = (word(0), word(4));
            if first & command::OWN == 0 {
                break;
            }
            let address = u64::from(word(12)) << 32 | u64::from(word(8));
            self.take(dma, first, second, address);
            let done = first & !(command::OWN | command::ERRORS);
            // The ring was readable, so it is writable.
            let _ = dma.write(place, &done.to_le_bytes());
            sent = true;
            let last = first & command::EOR != 0 || next + 1 == MOST_DESCRIPTORS;
            next = if last { 0 } else { next + 1 };
        }
        if sent {
            self.interrupt(isr::TOK | isr::TDU);
        }
        next
    }

    /// Takes one descriptor.
    fn take(&mut self, dma: &Dma, first: u32, second: u32, address: u64) {
        let assembly = &mut self.rings.transmission;
        if first & command::FS != 0 {
            *assembly = Assembly::default();
        }
        assembly.add(dma, address, (first & command::SIZE) as usize);
        if first & command::LS == 0 {
            return;
        }
        let packet = assembly.finish().and_then(|bytes| offload(bytes, first, second));
        match packet {
            Some(packet) => self.send(packet),
            None => self.tally.sent_errors += 1,
        }
    }
}
