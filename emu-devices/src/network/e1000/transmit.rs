//! Sending: descriptors, and the offloads that they ask for. 8254x manual, sections 3.3 to 3.5.

use super::{
    super::{ethernet, offload},
    DESCRIPTOR, E1000,
    registers::{Registers, cause, ctrl, reg, tctl},
};
use emu_core::{
    backend::{ChecksumOffload, MAX_PACKET, Packet, checksum},
    memory::Dma,
};
use serde::{Deserialize, Serialize};

/// Command bits of descriptors, in the upper half's byte 3 (legacy: the same place).
mod command {
    pub(super) const EOP: u8 = 1 << 0;
    /// Legacy descriptors: insert a checksum. Contexts: IPv4. Data descriptors: this is segmentation.
    pub(super) const IC: u8 = 1 << 2;
    pub(super) const TSE: u8 = 1 << 2;
    pub(super) const RS: u8 = 1 << 3;
    pub(super) const DEXT: u8 = 1 << 5;
    pub(super) const VLE: u8 = 1 << 6;
    /// Contexts: TCP.
    pub(super) const TCP: u8 = 1 << 0;
}
/// Packet options of data descriptors.
const POPTS_IXSM: u8 = 1 << 0;
const POPTS_TXSM: u8 = 1 << 1;
const DTYP_DATA: u8 = 1;
const DONE: u8 = 1 << 0;
/// The byte of a descriptor with its status, whose upper half is reserved.
const STATUS: usize = 12;

/// A descriptor's sixteen bytes.
type Descriptor = [u8; DESCRIPTOR];

/// The bytes that a checksum is made of, and where it goes: first byte, place, last byte (0: the packet's).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Sum {
    start: u8,
    offset: u8,
    end: u16,
}

/// What a context descriptor sets up for those behind it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Context {
    ip: Sum,
    transport: Sum,
    command: u8,
    headers: u8,
    segment: u16,
}

impl Context {
    fn of(descriptor: &Descriptor) -> Self {
        let word = |at: usize| u16::from_le_bytes([descriptor[at], descriptor[at + 1]]);
        Context {
            ip: Sum { start: descriptor[0], offset: descriptor[1], end: word(2) },
            transport: Sum { start: descriptor[4], offset: descriptor[5], end: word(6) },
            command: descriptor[11],
            headers: descriptor[13],
            segment: word(14),
        }
    }
}

/// The packet that descriptors are putting together, and the context.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Transmitter {
    context: Context,
    bytes: Vec<u8>,
    /// It got longer than any packet: the rest is not looked at.
    oversized: bool,
    /// From its first data descriptor.
    options: u8,
    segment: bool,
}

impl Transmitter {
    /// Whether a saved one makes sense.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.bytes.len() > MAX_PACKET {
            Err(format!("a packet of {} bytes", self.bytes.len()))
        } else {
            Ok(())
        }
    }

    /// Appends a descriptor's data.
    fn add(&mut self, dma: &Dma, descriptor: &Descriptor, len: usize) {
        let begin = self.bytes.len();
        if self.oversized || begin + len > MAX_PACKET {
            self.oversized = true;
            return;
        }
        let address = u64::from_le_bytes(*descriptor.first_chunk().unwrap_or(&[0; 8]));
        self.bytes.resize(begin + len, 0);
        if dma.read(address, &mut self.bytes[begin..]).is_err() {
            // A bus error: what a card sends then is nobody's.
            self.oversized = true;
        }
    }

    /// Takes one descriptor. Returns the packet that it ends.
    fn take(&mut self, dma: &Dma, descriptor: &Descriptor, registers: &Registers) -> Option<Packet> {
        let bits = descriptor[11];
        let extended = bits & command::DEXT != 0;
        if extended && descriptor[10] >> 4 != DTYP_DATA {
            self.context = Context::of(descriptor);
            return None;
        }
        let mut len = usize::from(u16::from_le_bytes([descriptor[8], descriptor[9]]));
        if extended {
            len |= usize::from(descriptor[10] & 0xF) << 16;
            if self.bytes.is_empty() {
                self.options = descriptor[13];
                self.segment = bits & command::TSE != 0;
            }
        }
        self.add(dma, descriptor, len);
        if bits & command::EOP == 0 {
            return None;
        }
        let (bytes, oversized) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.oversized));
        let (options, segment) = (std::mem::take(&mut self.options), std::mem::take(&mut self.segment));
        if oversized || bytes.len() < ethernet::HEADER {
            return None;
        }
        let mut packet = Packet { bytes, ..Packet::default() };
        match extended {
            true => self.offload(&mut packet, options, segment)?,
            false if bits & command::IC != 0 => {
                sum_later(&mut packet, Sum { start: descriptor[13], offset: descriptor[10], end: 0 });
            }
            false => {}
        }
        if bits & command::VLE != 0 && registers[reg::CTRL] & ctrl::VME != 0 {
            let control = u16::from_le_bytes([descriptor[14], descriptor[15]]);
            offload::insert_tag(&mut packet, registers[reg::VET] as u16, control);
        }
        Some(packet)
    }

    /// What data descriptors ask for. `None` if the context does not fit the packet.
    fn offload(&self, packet: &mut Packet, options: u8, segment: bool) -> Option<()> {
        if segment {
            return self.segmentation(packet);
        }
        if options & POPTS_IXSM != 0 {
            sum_now(&mut packet.bytes, self.context.ip);
        }
        if options & POPTS_TXSM != 0 {
            sum_later(packet, self.context.transport);
        }
        Some(())
    }

    fn segmentation(&self, packet: &mut Packet) -> Option<()> {
        let Context { headers, segment, command, .. } = self.context;
        let cut = command & command::TCP != 0;
        let whole = offload::tcp_segmentation(packet, segment).filter(|_| cut)?;
        (whole == usize::from(headers)).then_some(())
    }
}

/// Makes a checksum. One outside of the packet is not made.
fn sum_now(bytes: &mut [u8], sum: Sum) {
    let end = match usize::from(sum.end) {
        0 => bytes.len(),
        last => bytes.len().min(last + 1),
    };
    if let Some(part) = bytes.get(usize::from(sum.start)..end) {
        let value = !checksum::sum(part);
        ethernet::put_u16(bytes, sum.offset.into(), value);
    }
}

/// Leaves a checksum to the other end if that can be told of it, else makes it.
fn sum_later(packet: &mut Packet, sum: Sum) {
    let len = packet.bytes.len();
    let to_end = sum.end == 0 || usize::from(sum.end) + 1 >= len;
    match sum.offset.checked_sub(sum.start) {
        Some(offset) if to_end && usize::from(sum.offset) + 2 <= len => {
            packet.checksum = Some(ChecksumOffload { start: sum.start.into(), offset: offset.into() });
        }
        _ => sum_now(&mut packet.bytes, sum),
    }
}

impl E1000 {
    /// Sends what the guest has put on the ring.
    pub(super) fn transmit(&mut self) {
        let Some(dma) = self.endpoint.dma().cloned() else { return };
        let count = self.registers[reg::TDLEN] / DESCRIPTOR as u32;
        if self.registers[reg::TCTL] & tctl::EN == 0 || self.registers[reg::TDH] == self.registers[reg::TDT] {
            return;
        }
        let mut causes = cause::TXQE;
        // No more than the whole ring, should the tail be outside of it.
        for _ in 0..count {
            let head = self.registers[reg::TDH];
            if head == self.registers[reg::TDT] {
                break;
            }
            causes |= self.transmit_one(&dma, head);
            self.registers[reg::TDH] = if head + 1 >= count { 0 } else { head + 1 };
        }
        self.cable.flush();
        self.cause(causes);
    }

    /// Takes the descriptor number `head`. Returns interrupt causes.
    fn transmit_one(&mut self, dma: &Dma, head: u32) -> u32 {
        let place = self.registers.wide(reg::TDBAL).wrapping_add(u64::from(head) * DESCRIPTOR as u64);
        let mut descriptor = [0; DESCRIPTOR];
        if dma.read(place, &mut descriptor).is_err() {
            return 0;
        }
        if let Some(packet) = self.transmitter.take(dma, &descriptor, &self.registers) {
            self.count_sent(&packet);
            self.send(packet);
        }
        if descriptor[11] & command::RS == 0 {
            return 0;
        }
        // The ring was readable, so it is writable.
        let _ = dma.write(place + STATUS as u64, &[descriptor[STATUS] & 0xF0 | DONE]);
        cause::TXDW
    }

    fn send(&mut self, mut packet: Packet) {
        if !self.phy.is_loopback() {
            if self.link() {
                self.cable.send(packet);
            }
        } else if packet.segmentation.is_none() && packet.fill_checksum() {
            self.receive_packets(&[packet]);
        }
    }

    fn count_sent(&mut self, packet: &Packet) {
        let len = packet.bytes.len().max(ethernet::SHORTEST) + 4;
        let frames = packet.segmentation.map_or(1, |segmentation| {
            let payload = packet.bytes.len() - usize::from(segmentation.headers);
            payload.div_ceil(segmentation.size.into()) as u32
        });
        let statistics = &mut self.registers;
        statistics.count(reg::GPTC, frames);
        statistics.count(reg::TPT, frames);
        statistics.count_wide(reg::GOTCL, len);
        statistics.count_wide(reg::TOTL, len);
        if packet.segmentation.is_some() {
            statistics.count(reg::TSCTC, 1);
        } else {
            statistics.count(reg::PTC64 + 4 * super::receive::size_class(len), 1);
        }
        match ethernet::destination(&packet.bytes) {
            Some(ethernet::Destination::Broadcast) => statistics.count(reg::BPTC, 1),
            Some(ethernet::Destination::Multicast(_)) => statistics.count(reg::MPTC, 1),
            _ => {}
        }
    }
}
