//! Realtek RTL8139C+, 10EC:8139: the network card of drivers called 8139too and 8139cp. RTL8139C(L)+ data sheet 1.6;
//! RTL8139 programming guide.
//!
//! Four transmit buffers and a receive ring of bytes, as all chips of the family have them; descriptor rings with
//! checksum and segmentation offload and VLAN tags, as the C+ has (the driver chooses by CPCR). The registers are behind
//! BAR 0 (ports) and BAR 1 (memory).
//!
//! Not modelled: the timer, loopback, early receiving and sending, wake-up, the high-priority ring's precedence (what it
//! has is sent after the other's), locks of configuration registers, writing the EEPROM, power states.

mod receive;
mod registers;
mod tally;
#[cfg(test)]
mod tests;
mod transmit;

use super::{
    Cable, CardWires, MacAddress, NetworkCard,
    microwire::{Microwire, Pins, WORDS},
};
use crate::pci::{Bar, BarKind, ConfigSpace, Endpoint, EndpointState, Identity, PciFunction};
use emu_core::{
    backend::{Acceptance, Packet},
    bus::{Device, IoError, IoResult, MmioIo, PortIo, Snapshot},
    memory::Dma,
};
use registers::{REGISTERS, Registers, cpcr, cr, isr, reg, tsd};
use serde::{Deserialize, Serialize};
use tally::Tally;

const VENDOR: u16 = 0x10EC;
const DEVICE: u16 = 0x8139;
/// As QEMU's.
const SUBSYSTEM: (u16, u16) = (0x1AF4, 0x1100);
/// Network controller, Ethernet.
const CLASS: u32 = 0x02_0000;
/// From this revision on it is a C+.
const REVISION: u8 = 0x20;
const PORT_BAR: u8 = 0;
const MEMORY_BAR: u8 = 1;
const WINDOW: u64 = 256;
/// Descriptors of a ring at most, and their bytes.
const MOST_DESCRIPTORS: u32 = 64;
const DESCRIPTOR: usize = 16;

/// Bits of the 93C46 command register: chip select, clock, input, output; and mode 1, which loads everything anew.
mod cr9346 {
    pub(super) const EECS: u8 = 1 << 3;
    pub(super) const EESK: u8 = 1 << 2;
    pub(super) const EEDI: u8 = 1 << 1;
    pub(super) const EEDO: u8 = 1 << 0;
    pub(super) const MODE: u8 = 0xC0;
    pub(super) const AUTOLOAD: u8 = 0x40;
}
/// Media status: the link failed.
const MSR_LINKB: u8 = 1 << 2;
/// Basic mode: restart negotiation, reset; status: link, negotiated.
const BMCR_RESTART: u16 = 1 << 9;
const BMCR_RESET: u16 = 1 << 15;
const BMSR_LIVE: u16 = 1 << 2 | 1 << 5;
/// The software interrupt's bit in TPPoll.
const TPPOLL_INTERRUPT: u8 = 1 << 0;
const TPPOLL_QUEUES: u8 = 0xC0;
/// Dump the tally counters.
const DTCCR_COMMAND: u32 = 1 << 3;

/// Where the chip is on its descriptor rings, and what it has of a packet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Rings {
    /// The next descriptor of the normal and the high-priority transmit ring, and of the receive ring.
    normal: u32,
    high: u32,
    receive: u32,
    transmission: transmit::Assembly,
}

/// The card.
pub struct Rtl8139 {
    endpoint: Endpoint,
    cable: Cable,
    registers: Registers,
    eeprom: Microwire,
    rings: Rings,
    tally: Tally,
}

/// Saved registers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rtl8139State {
    endpoint: EndpointState,
    registers: Registers,
    eeprom: Microwire,
    rings: Rings,
    tally: Tally,
}

/// What the EEPROM of a card with `mac` holds: identifier, IDs, latencies, and the address.
fn eeprom(mac: MacAddress) -> Microwire {
    let mut words = [0; WORDS];
    words[..7].copy_from_slice(&[0x8129, VENDOR, DEVICE, SUBSYSTEM.0, SUBSYSTEM.1, 0x4020, 0xE1D2]);
    for (word, pair) in words[7..].iter_mut().zip(mac.chunks(2)) {
        *word = u16::from_le_bytes([pair[0], pair[1]]);
    }
    Microwire::new(words)
}

impl Rtl8139 {
    /// A card as after power-on.
    pub fn new(wires: CardWires) -> Self {
        let CardWires { pci, backend, mac } = wires;
        let identity = Identity {
            vendor: VENDOR,
            device: DEVICE,
            subsystem: SUBSYSTEM,
            revision: REVISION,
            class: CLASS,
            multifunction: false,
        };
        let mut endpoint = Endpoint::conventional(&identity, pci);
        endpoint.add_bar(PORT_BAR, Bar { kind: BarKind::Io, size: WINDOW });
        endpoint.add_bar(MEMORY_BAR, Bar { kind: BarKind::Memory32, size: WINDOW });
        let mut card = Rtl8139 {
            endpoint,
            cable: Cable::new(backend),
            registers: Registers::new(),
            eeprom: eeprom(mac),
            rings: Rings::default(),
            tally: Tally::default(),
        };
        card.load_address();
        card
    }

    fn load_address(&mut self) {
        for at in 0..6 {
            let byte = self.eeprom.word(7 + u16::from(at) / 2).to_le_bytes()[usize::from(at) % 2];
            self.registers.set(reg::IDR + at, 1, byte.into());
        }
    }

    fn reset_registers(&mut self) {
        self.registers = Registers::new();
        self.eeprom.drive(Pins::default());
        (self.rings, self.tally) = (Rings::default(), Tally::default());
        self.load_address();
        self.drive();
    }

    fn dma(&self) -> Option<Dma> {
        self.endpoint.dma().cloned()
    }

    /// Whether all of `bits` are set in the command register.
    fn commands(&self, bits: u8) -> bool {
        self.registers.byte(reg::CR) & bits == bits
    }

    /// Whether the C+ mode that these bits of CPCR name is on.
    fn plus(&self, bits: u16) -> bool {
        self.registers.word(reg::CPCR) & bits == bits
    }

    /// Notes interrupts.
    fn interrupt(&mut self, causes: u16) {
        let pending = self.registers.word(reg::ISR) | causes;
        self.registers.set(reg::ISR, 2, pending.into());
        self.drive();
    }

    fn drive(&mut self) {
        let pending = self.registers.word(reg::ISR) & self.registers.word(reg::IMR);
        self.endpoint.set_interrupt(pending != 0);
    }

    /// One byte, as it is now.
    fn read_byte(&self, offset: u8) -> u8 {
        let stored = self.registers.byte(offset);
        match offset {
            reg::CR if self.receive_ring_is_empty() => stored | cr::BUFE,
            reg::CR9346 if self.eeprom.output() => stored | cr9346::EEDO,
            reg::MSR if !self.cable.is_up() => stored | MSR_LINKB,
            reg::BMSR if self.cable.is_up() => stored | BMSR_LIVE as u8,
            reg::TSAD_STATUS => self.transmit_summary() as u8,
            0x61 => (self.transmit_summary() >> 8) as u8,
            _ => stored,
        }
    }

    /// The states of all four transmit buffers: OWN, TABT, TUN, TOK, four bits each.
    fn transmit_summary(&self) -> u16 {
        let of_buffer = |number: u8| {
            let status = self.registers.dword(reg::TSD + 4 * number);
            let bits = [tsd::OWN, tsd::TABT, tsd::TUN, tsd::TOK].map(|bit| u16::from(status & bit != 0));
            (bits[0] | bits[1] << 4 | bits[2] << 8 | bits[3] << 12) << number
        };
        (0..4).map(of_buffer).fold(0, |all, bits| all | bits)
    }

    fn read(&self, offset: u64, size: u8) -> IoResult<u32> {
        let offset = checked(offset, size)?;
        Ok((0..size).rev().fold(0, |value, at| value << 8 | u32::from(self.read_byte(offset + at))))
    }

    /// A write touches the registers whose bytes it covers, each as a whole.
    fn write(&mut self, offset: u64, size: u8, value: u32) -> IoResult {
        let begin = u64::from(checked(offset, size)?);
        for row in REGISTERS {
            let (first, last) = (u64::from(row.offset), u64::from(row.offset + row.size));
            if first >= begin + u64::from(size) || last <= begin {
                continue;
            }
            let ones = u64::MAX >> (64 - 8 * u32::from(size));
            let shift = 8 * (begin as i64 - first as i64);
            let moved = |bits: u64| if shift < 0 { bits >> -shift } else { bits << shift } as u32;
            self.write_register(row.offset, row.size, row.writable, (moved(value.into()), moved(ones)));
        }
        Ok(())
    }

    /// Writes those bits of a register that (value, mask) has.
    fn write_register(&mut self, offset: u8, size: u8, writable: u32, (value, mask): (u32, u32)) {
        let mask = mask & writable;
        let before = self.registers.get(offset, size);
        match offset {
            reg::ISR => {
                self.registers.set(reg::ISR, 2, before & !value);
                self.drive();
                self.cable.has_room();
                return;
            }
            reg::CR if value as u8 & cr::RST != 0 => return self.reset_registers(),
            reg::TPPOLL => return self.poll(value as u8),
            _ => {}
        }
        self.registers.set(offset, size, before & !mask | value & mask);
        match offset {
            reg::CR9346 => self.write_eeprom(value as u8),
            reg::BMCR => {
                if value as u16 & BMCR_RESET != 0 {
                    self.registers.set(reg::BMCR, 2, 0x3100);
                }
                // Negotiation is over at once.
                let now = self.registers.word(reg::BMCR) & !BMCR_RESTART;
                self.registers.set(reg::BMCR, 2, now.into());
            }
            reg::IMR => {
                self.drive();
                self.cable.has_room();
            }
            reg::CR => {
                if !self.commands(cr::TE) {
                    (self.rings.normal, self.rings.high) = (0, 0);
                    self.rings.transmission = transmit::Assembly::default();
                }
                if !self.commands(cr::RE) {
                    self.rings.receive = 0;
                }
                self.cable.has_room();
            }
            reg::TNPDS => self.rings.normal = 0,
            reg::THPDS => self.rings.high = 0,
            reg::RDSAR => self.rings.receive = 0,
            reg::RBSTART => self.registers.set(reg::CBR, 2, 0),
            reg::CAPR | reg::RCR | reg::CPCR => self.cable.has_room(),
            reg::TSD..=reg::LAST_TSD => self.write_status(offset, value),
            _ => {}
        }
    }

    /// A transmit buffer is handed over; in C+ mode the first of these registers is another.
    fn write_status(&mut self, offset: u8, value: u32) {
        if !self.plus(cpcr::TX) {
            self.transmit_buffer((offset - reg::TSD) / 4);
        } else if offset == reg::DTCCR && value & DTCCR_COMMAND != 0 {
            let place = self.registers.wide(reg::DTCCR) & !0x3F;
            if let Some(dma) = self.dma() {
                // What is not memory stays as it is.
                let _ = dma.write(place, &self.tally.bytes());
            }
            self.registers.set(reg::DTCCR, 4, value & !DTCCR_COMMAND);
        }
    }

    fn write_eeprom(&mut self, value: u8) {
        let level = |pin| value & pin != 0;
        let (select, clock, input) = (cr9346::EECS, cr9346::EESK, cr9346::EEDI);
        self.eeprom.drive(Pins { select: level(select), clock: level(clock), input: level(input) });
        if value & cr9346::MODE == cr9346::AUTOLOAD {
            self.load_address();
            self.registers.set(reg::CR9346, 1, 0);
        }
    }

    fn poll(&mut self, value: u8) {
        if value & TPPOLL_INTERRUPT != 0 {
            self.interrupt(isr::SW_INT);
        }
        if value & TPPOLL_QUEUES != 0 {
            self.transmit_rings();
        }
    }
}

/// The offset of an access, which lies in the window and is aligned.
fn checked(offset: u64, size: u8) -> IoResult<u8> {
    if !matches!(size, 1 | 2 | 4) {
        return Err(IoError::Size);
    }
    if !offset.is_multiple_of(size.into()) {
        return Err(IoError::Alignment);
    }
    u8::try_from(offset).map_err(|_| IoError::UnknownRegister)
}

impl Device for Rtl8139 {
    fn name(&self) -> &'static str {
        "rtl8139"
    }

    fn reset(&mut self) {
        self.endpoint.reset();
        self.reset_registers();
    }
}

impl PciFunction for Rtl8139 {
    fn config(&self) -> &ConfigSpace {
        self.endpoint.config()
    }

    fn config_mut(&mut self) -> &mut ConfigSpace {
        self.endpoint.config_mut()
    }

    fn config_written(&mut self, _offset: u16, _size: u8) {
        self.endpoint.config_written();
        // It may be bus master now.
        self.cable.has_room();
    }
}

impl MmioIo for Rtl8139 {
    fn mmio_read(&mut self, _region: u8, offset: u64, size: u8) -> IoResult<u64> {
        self.read(offset, size).map(u64::from)
    }

    fn mmio_write(&mut self, _region: u8, offset: u64, size: u8, value: u64) -> IoResult {
        self.write(offset, size, value as u32)
    }
}

impl PortIo for Rtl8139 {
    fn port_read(&mut self, _region: u8, offset: u16, size: u8) -> IoResult<u32> {
        self.read(offset.into(), size)
    }

    fn port_write(&mut self, _region: u8, offset: u16, size: u8, value: u32) -> IoResult {
        self.write(offset.into(), size, value)
    }
}

impl NetworkCard for Rtl8139 {
    fn accepts(&self) -> Acceptance {
        Acceptance::default()
    }

    fn receive(&mut self, packets: &[Packet]) -> usize {
        self.receive_packets(packets)
    }
}

impl Snapshot for Rtl8139 {
    type State = Rtl8139State;
    type Args = CardWires;

    fn save(&self) -> Rtl8139State {
        let Rtl8139 { endpoint, cable: _, registers, eeprom, rings, tally } = self;
        Rtl8139State {
            endpoint: endpoint.save(),
            registers: registers.clone(),
            eeprom: eeprom.clone(),
            rings: rings.clone(),
            tally: *tally,
        }
    }

    fn restore(wires: CardWires, state: Rtl8139State) -> Result<Self, String> {
        let Rtl8139State { endpoint: saved, registers, eeprom, rings, tally } = state;
        if !registers.is_whole() || !eeprom.is_whole() {
            return Err("registers of another card".to_owned());
        }
        let Rings { normal, high, receive, transmission } = &rings;
        transmission.check()?;
        if [normal, high, receive].into_iter().any(|place| *place >= MOST_DESCRIPTORS) {
            return Err(format!("descriptors {normal}, {high}, {receive}"));
        }
        let Rtl8139 { endpoint, cable, .. } = Rtl8139::new(wires);
        Ok(Rtl8139 { endpoint: endpoint.with_state(saved)?, cable, registers, eeprom, rings, tally })
    }
}
