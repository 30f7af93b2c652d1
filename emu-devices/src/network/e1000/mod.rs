//! Intel 82540EM, 8086:100E: the network card that drivers call e1000. "PCI/PCI-X Family of Gigabit Ethernet
//! Controllers Software Developer's Manual" (8254x), revision 4.0.
//!
//! Legacy, context and data descriptors with checksum and segmentation offload, receive filters, VLAN tags, statistics.
//! The registers are in BAR 0, and behind a pair of ports in BAR 1.
//!
//! Not modelled: interrupt delays and throttling (an interrupt is at once), writing the EEPROM and the flash, flow
//! control, wake-up, management, the TBI interface, the packet checksum of receive descriptors (drivers use the
//! status bits), bad packets (RCTL.SBP: there are none), UDP segmentation.

mod eeprom;
mod phy;
mod receive;
mod registers;
#[cfg(test)]
mod tests;
mod transmit;

use super::{Cable, CardWires, NetworkCard};
use crate::pci::{Bar, BarKind, ConfigSpace, Endpoint, EndpointState, Identity, PciFunction};
use eeprom::Eeprom;
use emu_core::{
    backend::{Acceptance, Packet},
    bus::{Device, IoError, IoResult, MmioIo, PortIo, Snapshot},
};
use phy::{Phy, mdic};
use registers::{RAH_AV, Registers, cause, ctrl, reg, status};
use serde::{Deserialize, Serialize};
use transmit::Transmitter;

const VENDOR: u16 = 0x8086;
const DEVICE: u16 = 0x100E;
/// As QEMU's, by which some systems choose settings.
const SUBSYSTEM: (u16, u16) = (0x1AF4, 0x1100);
/// Network controller, Ethernet.
const CLASS: u32 = 0x02_0000;
/// Base address registers, and the lengths of their windows.
const MEMORY_BAR: u8 = 0;
const PORT_BAR: u8 = 1;
const MEMORY_LEN: u64 = 128 << 10;
const PORTS: u64 = 64;
/// Ports: the offset of a register, and the register.
const IOADDR: u16 = 0;
const IODATA: u16 = 4;
/// Bytes of a descriptor of either kind.
const DESCRIPTOR: usize = 16;

/// The card.
pub struct E1000 {
    endpoint: Endpoint,
    cable: Cable,
    registers: Registers,
    /// Causes that are pending, and those that interrupt.
    icr: u32,
    ims: u32,
    ioaddr: u32,
    eeprom: Eeprom,
    phy: Phy,
    transmitter: Transmitter,
}

/// Saved registers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct E1000State {
    endpoint: EndpointState,
    registers: Registers,
    icr: u32,
    ims: u32,
    ioaddr: u32,
    eeprom: Eeprom,
    phy: Phy,
    transmitter: Transmitter,
}

impl E1000 {
    /// A card as after power-on.
    pub fn new(wires: CardWires) -> Self {
        let CardWires { pci, backend, mac } = wires;
        let identity = Identity {
            vendor: VENDOR,
            device: DEVICE,
            subsystem: SUBSYSTEM,
            revision: 3,
            class: CLASS,
            multifunction: false,
        };
        let mut endpoint = Endpoint::conventional(&identity, pci);
        endpoint.add_bar(MEMORY_BAR, Bar { kind: BarKind::Memory32, size: MEMORY_LEN });
        endpoint.add_bar(PORT_BAR, Bar { kind: BarKind::Io, size: PORTS });
        let mut card = E1000 {
            endpoint,
            cable: Cable::new(backend),
            registers: Registers::new(),
            icr: 0,
            ims: 0,
            ioaddr: 0,
            eeprom: Eeprom::new(mac),
            phy: Phy::new(),
            transmitter: Transmitter::default(),
        };
        card.load_address();
        card
    }

    /// The first receive address is the EEPROM's.
    fn load_address(&mut self) {
        let [a, b, c, d, e, f] = self.eeprom.mac();
        self.registers[reg::RAL0] = u32::from_le_bytes([a, b, c, d]);
        self.registers[reg::RAH0] = u32::from_le_bytes([e, f, 0, 0]) | RAH_AV;
    }

    /// What CTRL.RST does: everything but configuration space.
    fn reset_registers(&mut self) {
        self.registers = Registers::new();
        (self.icr, self.ims, self.ioaddr) = (0, 0, 0);
        self.eeprom.reset();
        self.phy = Phy::new();
        self.transmitter = Transmitter::default();
        self.load_address();
        self.drive();
    }

    /// Notes interrupt causes.
    fn cause(&mut self, causes: u32) {
        self.icr |= causes & cause::ALL;
        self.drive();
    }

    fn drive(&mut self) {
        self.endpoint.set_interrupt(self.icr & self.ims != 0);
    }

    fn link(&self) -> bool {
        self.registers[reg::CTRL] & ctrl::SLU != 0 && self.cable.is_up()
    }

    fn read(&mut self, offset: u32) -> IoResult<u32> {
        Ok(match offset {
            reg::STATUS => {
                let link = if self.link() { status::LU } else { 0 };
                status::FD | status::SPEED_1000 | status::ASDV_1000 | link
            }
            reg::CTRL_DUP => self.registers[reg::CTRL],
            reg::EECD => self.eeprom.read_pins(),
            reg::EERD => self.eeprom.read_word(),
            reg::MDIC => self.phy.mdic(),
            reg::ICR => {
                let causes = std::mem::take(&mut self.icr);
                self.drive();
                causes
            }
            reg::ICS => self.icr,
            reg::IMS => self.ims,
            reg::STATISTICS..=reg::LAST_STATISTIC => std::mem::take(&mut self.registers[offset]),
            _ if Registers::is_readable(offset) => self.registers[offset],
            _ => return Err(IoError::UnknownRegister),
        })
    }

    fn write(&mut self, offset: u32, value: u32) -> IoResult {
        match offset {
            reg::CTRL | reg::CTRL_DUP => self.write_control(value),
            reg::EECD => self.eeprom.write_pins(value),
            reg::EERD => self.eeprom.address_word(value),
            reg::MDIC => self.write_mdic(value),
            reg::ICR => {
                self.icr &= !value;
                self.drive();
            }
            reg::ICS => self.cause(value),
            reg::IMS => {
                self.ims |= value & cause::ALL;
                self.drive();
            }
            reg::IMC => {
                self.ims &= !value;
                self.drive();
            }
            // They clear on read, and are not written.
            reg::STATUS | reg::STATISTICS..=reg::LAST_STATISTIC => {}
            _ => self.write_plain(offset, value)?,
        }
        Ok(())
    }

    fn write_plain(&mut self, offset: u32, value: u32) -> IoResult {
        let mask = Registers::writable(offset).ok_or(IoError::UnknownRegister)?;
        self.registers[offset] = value & mask;
        match offset {
            reg::TCTL | reg::TDT => self.transmit(),
            reg::RCTL | reg::RDT => self.cable.has_room(),
            _ => {}
        }
        Ok(())
    }

    fn write_control(&mut self, value: u32) {
        if value & ctrl::RST != 0 {
            self.reset_registers();
            return;
        }
        let mut causes = 0;
        if value & ctrl::PHY_RST != 0 {
            self.phy = Phy::new();
            causes = cause::LSC;
        }
        let before = self.link();
        self.registers[reg::CTRL] = value & !ctrl::PHY_RST;
        if self.link() != before {
            causes = cause::LSC;
        }
        self.cause(causes);
    }

    fn write_mdic(&mut self, value: u32) {
        let mut causes = if value & mdic::INTERRUPT != 0 { cause::MDAC } else { 0 };
        if self.phy.command(value, self.cable.is_up()) {
            causes |= cause::LSC;
        }
        self.cause(causes);
    }
}

impl Device for E1000 {
    fn name(&self) -> &'static str {
        "e1000"
    }

    fn reset(&mut self) {
        self.endpoint.reset();
        self.reset_registers();
    }
}

impl PciFunction for E1000 {
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

impl MmioIo for E1000 {
    fn mmio_read(&mut self, _region: u8, offset: u64, size: u8) -> IoResult<u64> {
        check_access(offset, size)?;
        self.read(offset as u32).map(u64::from)
    }

    fn mmio_write(&mut self, _region: u8, offset: u64, size: u8, value: u64) -> IoResult {
        check_access(offset, size)?;
        self.write(offset as u32, value as u32)
    }
}

impl PortIo for E1000 {
    fn port_read(&mut self, _region: u8, offset: u16, size: u8) -> IoResult<u32> {
        check_access(offset.into(), size)?;
        match offset {
            IOADDR => Ok(self.ioaddr),
            IODATA => self.read(self.ioaddr),
            _ => Err(IoError::UnknownRegister),
        }
    }

    fn port_write(&mut self, _region: u8, offset: u16, size: u8, value: u32) -> IoResult {
        check_access(offset.into(), size)?;
        match offset {
            IOADDR => self.ioaddr = value & !3,
            IODATA => self.write(self.ioaddr, value)?,
            _ => return Err(IoError::UnknownRegister),
        }
        Ok(())
    }
}

/// Registers are whole words.
fn check_access(offset: u64, size: u8) -> IoResult {
    match (size, offset.is_multiple_of(4)) {
        (4, true) => Ok(()),
        (4, false) => Err(IoError::Alignment),
        _ => Err(IoError::Size),
    }
}

impl NetworkCard for E1000 {
    fn accepts(&self) -> Acceptance {
        Acceptance::default()
    }

    fn receive(&mut self, packets: &[Packet]) -> usize {
        self.receive_packets(packets)
    }
}

impl Snapshot for E1000 {
    type State = E1000State;
    type Args = CardWires;

    fn save(&self) -> E1000State {
        let E1000 { endpoint, cable: _, registers, icr, ims, ioaddr, eeprom, phy, transmitter } = self;
        E1000State {
            endpoint: endpoint.save(),
            registers: registers.clone(),
            icr: *icr,
            ims: *ims,
            ioaddr: *ioaddr,
            eeprom: eeprom.clone(),
            phy: phy.clone(),
            transmitter: transmitter.clone(),
        }
    }

    fn restore(wires: CardWires, state: E1000State) -> Result<Self, String> {
        let E1000State { endpoint: saved, registers, icr, ims, ioaddr, eeprom, phy, transmitter } = state;
        if !registers.is_whole() || !eeprom.is_whole() {
            return Err("registers of another card".to_owned());
        }
        transmitter.check()?;
        let E1000 { endpoint, cable, .. } = E1000::new(wires);
        let endpoint = endpoint.with_state(saved)?;
        Ok(E1000 { endpoint, cable, registers, icr, ims, ioaddr, eeprom, phy, transmitter })
    }
}
