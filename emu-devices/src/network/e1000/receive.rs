//! Receiving: filters, and packets into descriptors. 8254x manual, section 3.2.

use super::{
    super::{MacAddress, ethernet, ethernet::Destination, ethernet::Transport},
    DESCRIPTOR, E1000,
    registers::{RAH_AV, RXCSUM_IPOFL, RXCSUM_TUOFL, Registers, cause, ctrl, rctl, reg},
};
use emu_core::{backend::Packet, memory::Dma};

/// Status bits of a descriptor.
mod status {
    pub(super) const DD: u8 = 1 << 0;
    pub(super) const EOP: u8 = 1 << 1;
    pub(super) const IXSM: u8 = 1 << 2;
    pub(super) const VP: u8 = 1 << 3;
    pub(super) const TCPCS: u8 = 1 << 5;
    pub(super) const IPCS: u8 = 1 << 6;
    pub(super) const PIF: u8 = 1 << 7;
}
/// The frame check sequence, which no cable here carries.
const FCS: usize = 4;
/// The longest frame with LPE.
const JUMBO: usize = 16384;
/// Receive addresses.
const ADDRESSES: u32 = 16;

/// How a packet passed the filters.
struct Passed {
    /// By the multicast table, and not exactly.
    inexact: bool,
}

/// The filters, or `None` for a packet that is not for this card.
fn filter(registers: &Registers, bytes: &[u8]) -> Option<Passed> {
    let control = registers[reg::RCTL];
    let exact = Some(Passed { inexact: false });
    if control & rctl::VFE != 0
        && let Some(tag) = ethernet::vlan_tag(bytes, registers[reg::VET] as u16)
    {
        let (word, bit) = (u32::from(tag >> 5 & 0x7F), tag & 0x1F);
        if registers[reg::VFTA + 4 * word] >> bit & 1 == 0 {
            return None;
        }
    }
    match ethernet::destination(bytes)? {
        Destination::Broadcast => (control & rctl::BAM != 0).then_some(Passed { inexact: false }),
        Destination::Multicast(_) if control & rctl::MPE != 0 => exact,
        Destination::Unicast(_) if control & rctl::UPE != 0 => exact,
        Destination::Multicast(address) | Destination::Unicast(address)
            if has_address(registers, address) =>
        {
            exact
        }
        Destination::Multicast(address) => in_table(registers, address).then_some(Passed { inexact: true }),
        Destination::Unicast(_) => None,
    }
}

fn has_address(registers: &Registers, [a, b, c, d, e, f]: MacAddress) -> bool {
    let (low, high) = (u32::from_le_bytes([a, b, c, d]), u32::from(u16::from_le_bytes([e, f])) | RAH_AV);
    (0..ADDRESSES).any(|number| {
        let place = reg::RAL0 + 8 * number;
        registers[place] == low && registers[place + 4] & (RAH_AV | 0xFFFF) == high
    })
}

/// The multicast table: twelve bits of the address name a bit of it.
fn in_table(registers: &Registers, address: MacAddress) -> bool {
    let shift = [4, 3, 2, 0][(registers[reg::RCTL] >> rctl::MO_SHIFT & 3) as usize];
    let number = u32::from(u16::from_le_bytes([address[4], address[5]]) >> shift & 0xFFF);
    registers[reg::MTA + 4 * (number >> 5)] >> (number & 31) & 1 != 0
}

/// The counter of frames of `len` bytes, check sequence included, from the first: 64, to 127, 255, 511, 1023, above.
pub(super) fn size_class(len: usize) -> u32 {
    [64, 127, 255, 511, 1023].iter().take_while(|most| len > **most).count() as u32
}

/// The ring of free descriptors.
struct Ring {
    base: u64,
    count: u32,
    head: u32,
    tail: u32,
    /// Bytes of each buffer.
    buffer: usize,
}

impl Ring {
    fn of(registers: &Registers) -> Self {
        let control = registers[reg::RCTL];
        let size = control >> rctl::BSIZE_SHIFT & 3;
        let buffer = match (control & rctl::BSEX != 0, size) {
            (true, 1..) => 32768 >> size,
            _ => 2048 >> size,
        };
        Ring {
            base: registers.wide(reg::RDBAL),
            count: registers[reg::RDLEN] / DESCRIPTOR as u32,
            head: registers[reg::RDH],
            tail: registers[reg::RDT],
            buffer,
        }
    }

    /// Free descriptors.
    fn free(&self) -> u32 {
        let inside = self.head < self.count && self.tail < self.count;
        if inside { (self.tail + self.count - self.head) % self.count } else { 0 }
    }

    fn place(&self) -> u64 {
        self.base.wrapping_add(u64::from(self.head) * DESCRIPTOR as u64)
    }

    fn advance(&mut self) {
        self.head = (self.head + 1) % self.count;
    }
}

impl E1000 {
    /// Takes packets. Returns how many.
    pub(super) fn receive_packets(&mut self, packets: &[Packet]) -> usize {
        let Some(dma) = self.endpoint.dma().cloned() else { return packets.len() };
        if self.registers[reg::RCTL] & rctl::EN == 0 || !(self.link() || self.phy.is_loopback()) {
            return packets.len();
        }
        let before = Ring::of(&self.registers).free();
        let taken = packets.iter().take_while(|packet| self.receive_one(&dma, packet)).count();
        if taken < packets.len() {
            self.cable.refuse();
        }
        self.cause_receive(before);
        taken
    }

    /// The interrupts that follow packets for which some of `before` free descriptors were used.
    fn cause_receive(&mut self, before: u32) {
        let ring = Ring::of(&self.registers);
        if ring.free() == before {
            return;
        }
        let mut causes = cause::RXT0;
        let threshold = ring.count >> ((self.registers[reg::RCTL] >> rctl::RDMTS_SHIFT & 3) + 1);
        if ring.free() <= threshold && before > threshold {
            causes |= cause::RXDMT0;
        }
        self.cause(causes);
    }

    /// Takes or drops a packet; false if there is no room for it.
    fn receive_one(&mut self, dma: &Dma, packet: &Packet) -> bool {
        // What this card did not agree to take was sent before it said so.
        let finished = packet.checksum.is_none() && packet.segmentation.is_none();
        let tag = ethernet::vlan_tag(&packet.bytes, self.registers[reg::VET] as u16);
        let longest = match self.registers[reg::RCTL] & rctl::LPE != 0 {
            true => JUMBO - FCS,
            false => ethernet::LONGEST + if tag.is_some() { ethernet::TAG } else { 0 },
        };
        let Some(passed) = filter(&self.registers, &packet.bytes) else { return true };
        if !finished || packet.bytes.len() > longest {
            return true;
        }
        let mut frame = packet.bytes.clone();
        frame.resize(frame.len().max(ethernet::SHORTEST), 0);
        let mut bits = self.checksum_status(packet) | if passed.inexact { status::PIF } else { 0 };
        let mut special = 0;
        if let Some(control) = tag.filter(|_| self.registers[reg::CTRL] & ctrl::VME != 0) {
            ethernet::strip_tag(&mut frame);
            (bits, special) = (bits | status::VP, control);
        }
        if self.registers[reg::RCTL] & rctl::SECRC == 0 {
            frame.resize(frame.len() + FCS, 0);
        }
        let stored = self.store(dma, &frame, bits, special);
        if stored {
            self.count_received(&packet.bytes);
        }
        stored
    }

    /// Puts a frame into as many buffers as it needs; false if there are not so many.
    fn store(&mut self, dma: &Dma, frame: &[u8], bits: u8, special: u16) -> bool {
        let mut ring = Ring::of(&self.registers);
        let pieces = frame.len().div_ceil(ring.buffer);
        if (ring.free() as usize) < pieces {
            return false;
        }
        for (number, piece) in frame.chunks(ring.buffer).enumerate() {
            let mut descriptor = [0; DESCRIPTOR];
            if dma.read(ring.place(), &mut descriptor).is_err() {
                return true;
            }
            let address = u64::from_le_bytes(*descriptor.first_chunk().unwrap_or(&[0; 8]));
            // A buffer that is no memory swallows its part, as on a bus where nobody answers.
            let _ = dma.write(address, piece);
            let end = if number + 1 == pieces { status::EOP | bits } else { 0 };
            descriptor[8..10].copy_from_slice(&(piece.len() as u16).to_le_bytes());
            descriptor[10..12].fill(0);
            (descriptor[12], descriptor[13]) = (0, 0);
            descriptor[14..].copy_from_slice(&special.to_le_bytes());
            let _ = dma.write(ring.place(), &descriptor);
            // A driver looks at the status while the card writes: that comes last.
            let _ = dma.store_u16(ring.place() + 12, u16::from(status::DD | end));
            ring.advance();
            self.registers[reg::RDH] = ring.head;
        }
        true
    }

    /// What the descriptor says of checksums.
    fn checksum_status(&self, packet: &Packet) -> u8 {
        let enabled = self.registers[reg::RXCSUM];
        if !packet.trusted || enabled & (RXCSUM_IPOFL | RXCSUM_TUOFL) == 0 {
            return status::IXSM;
        }
        let Some(layout) = Transport::of(&packet.bytes) else { return status::IXSM };
        let ip = if enabled & RXCSUM_IPOFL != 0 && !layout.v6 { status::IPCS } else { 0 };
        ip | if enabled & RXCSUM_TUOFL != 0 { status::TCPCS } else { 0 }
    }

    fn count_received(&mut self, bytes: &[u8]) {
        let len = bytes.len().max(ethernet::SHORTEST) + FCS;
        let statistics = &mut self.registers;
        statistics.count(reg::GPRC, 1);
        statistics.count(reg::TPR, 1);
        statistics.count(reg::PRC64 + 4 * size_class(len), 1);
        statistics.count_wide(reg::GORCL, len);
        statistics.count_wide(reg::TORL, len);
        match ethernet::destination(bytes) {
            Some(Destination::Broadcast) => statistics.count(reg::BPRC, 1),
            Some(Destination::Multicast(_)) => statistics.count(reg::MPRC, 1),
            _ => {}
        }
    }
}
