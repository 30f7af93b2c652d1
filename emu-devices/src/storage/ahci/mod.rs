//! The AHCI controller of an ICH9: six serial ATA ports, 8086:2922. AHCI 1.3.1; ICH9 datasheet, chapter 14.
//!
//! Command list override, 64-bit addresses and queued commands are there. Left out: port multipliers, staggered
//! spin-up, link power management, command completion coalescing (CAP.CCCS), enclosure management, hot plug, the
//! legacy register file in I/O space, DMA setup FISes in memory (PxIS.DSS).
//!
//! A reset ends commands at once, but not what the backend is doing for them: PxCMD.CR, GHC.HR and BSY stay until
//! memory is left alone.

mod command_list;
mod engine;
mod fis;
mod port;
#[cfg(test)]
mod tests;

pub use port::PortState;

use super::ata::Drive;
use crate::pci::{
    Bar, BarKind, ConfigSpace, Endpoint, EndpointState, Identity, PciFunction, PciWires, command, touches,
};
use emu_core::{
    backend::BlockError,
    bus::{Device, IoError, IoResult, MmioIo, Snapshot},
};
use engine::Context;
use parking_lot::Mutex;
use port::{Port, SLOTS};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Weak};

/// Ports.
pub const PORTS: usize = 6;
/// The base address register of the registers.
pub const ABAR: u8 = 5;
/// Their length.
pub const ABAR_LEN: u64 = 0x800;

/// Offsets of the registers of all ports, and of the first port's.
mod reg {
    pub(super) const CAP: u64 = 0x00;
    pub(super) const GHC: u64 = 0x04;
    pub(super) const IS: u64 = 0x08;
    pub(super) const PI: u64 = 0x0C;
    pub(super) const VS: u64 = 0x10;
    /// To 2Bh: coalescing, enclosure management, further capabilities, hand-off. Nothing of these is there.
    pub(super) const CCC_CTL: u64 = 0x14;
    pub(super) const BOHC: u64 = 0x28;
    pub(super) const PORTS: u64 = 0x100;
    pub(super) const PORT_LEN: u64 = 0x80;
}

/// CAP: 64-bit addresses, queued commands, command list override, 6 Gb/s, AHCI alone, PIO blocks of any number.
const CAP: u32 =
    1 << 31 | 1 << 30 | 1 << 24 | 3 << 20 | 1 << 18 | 1 << 15 | (SLOTS as u32 - 1) << 8 | (PORTS as u32 - 1);
const PORTS_IMPLEMENTED: u32 = (1 << PORTS) - 1;
const VERSION: u32 = 0x0001_0300;

/// GHC.
mod ghc {
    pub(super) const HR: u32 = 1 << 0;
    pub(super) const IE: u32 = 1 << 1;
    pub(super) const AE: u32 = 1 << 31;
}

/// Configuration space: which ports are enabled.
const PCS: usize = 0x92;

/// The controller.
pub struct Ahci {
    endpoint: Endpoint,
    ports: Vec<Port>,
    /// GHC.IE.
    interrupt_enable: bool,
    is: u32,
    /// An HBA reset waits for the backends.
    resetting: bool,
    me: Weak<Mutex<Ahci>>,
}

/// The controller, as saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AhciState {
    endpoint: EndpointState,
    ports: Vec<PortState>,
    interrupt_enable: bool,
    is: u32,
}

impl Ahci {
    /// A controller at power-on. `drives` are at ports 0, 1 and so on; beyond the last there is none.
    pub fn new(wires: PciWires, drives: Vec<Option<Drive>>) -> Self {
        let identity = Identity {
            vendor: 0x8086,
            device: 0x2922,
            subsystem: (0, 0),
            revision: 2,
            class: 0x01_0601,
            multifunction: true,
        };
        let mut endpoint = Endpoint::conventional(&identity, wires);
        endpoint.add_bar(ABAR, Bar { kind: BarKind::Memory32, size: ABAR_LEN });
        endpoint.add_msi(0);
        endpoint.add_power_management();
        endpoint.config_mut().define(PCS, 2, 0, PORTS_IMPLEMENTED);
        let drives = drives.into_iter().chain(std::iter::repeat_with(|| None));
        let ports = drives.take(PORTS).map(Port::new).collect();
        Ahci { endpoint, ports, interrupt_enable: false, is: 0, resetting: false, me: Weak::new() }
    }

    /// Puts the controller behind its lock, which completions take. What was running when it was saved goes on.
    pub fn share(self) -> Arc<Mutex<Self>> {
        let ahci = Arc::new_cyclic(|me| Mutex::new(Ahci { me: me.clone(), ..self }));
        ahci.lock().run_all();
        ahci
    }

    /// The drive at a port.
    pub fn drive_mut(&mut self, port: usize) -> Option<&mut Drive> {
        self.ports.get_mut(port)?.drive.as_mut()
    }

    fn context(&self, port: usize) -> Context {
        Context { dma: self.endpoint.dma().cloned(), me: self.me.clone(), port }
    }

    fn run_all(&mut self) {
        for port in 0..self.ports.len() {
            let context = self.context(port);
            self.ports[port].run(&context);
        }
        self.update();
    }

    /// The backend has answered.
    fn answered(&mut self, port: usize, slot: u8, number: u64, result: Result<(), BlockError>) {
        let context = self.context(port);
        self.ports[port].answered(slot, number, result, &context);
        if self.resetting && self.ports.iter().all(|port| port.outstanding == 0) {
            self.resetting = false;
        }
        self.update();
    }

    /// Follows what ports ask for.
    fn update(&mut self) {
        for (number, port) in self.ports.iter().enumerate() {
            if port.interrupts() {
                self.is |= 1 << number;
            }
        }
        self.endpoint.set_interrupt(self.interrupt_enable && self.is != 0);
    }

    fn reset_ports(&mut self) {
        self.ports.iter_mut().for_each(Port::reset);
        (self.interrupt_enable, self.is) = (false, 0);
        self.resetting = self.ports.iter().any(|port| port.outstanding != 0);
    }

    fn read(&self, offset: u64) -> IoResult<u32> {
        if let Some((port, offset)) = port_register(offset) {
            return self.ports[port].read(offset);
        }
        Ok(match offset {
            reg::CAP => CAP,
            reg::GHC => {
                let on = |condition, bit| if condition { bit } else { 0 };
                ghc::AE | on(self.interrupt_enable, ghc::IE) | on(self.resetting, ghc::HR)
            }
            reg::IS => self.is,
            reg::PI => PORTS_IMPLEMENTED,
            reg::VS => VERSION,
            reg::CCC_CTL..=reg::BOHC => 0,
            _ => return Err(IoError::UnknownRegister),
        })
    }

    /// Writes the bits of `mask`.
    fn write(&mut self, offset: u64, value: u32, mask: u32) -> IoResult {
        if let Some((port, offset)) = port_register(offset) {
            let context = self.context(port);
            return self.ports[port].write(offset, value, mask, &context);
        }
        match offset {
            reg::GHC if value & mask & ghc::HR != 0 => self.reset_ports(),
            reg::GHC if mask & ghc::IE != 0 => self.interrupt_enable = value & ghc::IE != 0,
            reg::GHC => {}
            reg::IS => {
                self.is &= !(value & mask);
                // Who has messages for interrupts needs another one for what is still there: AHCI 1.3.1, 10.6.2.
                self.endpoint.set_interrupt(false);
            }
            reg::CCC_CTL..=reg::BOHC => {}
            reg::CAP | reg::PI | reg::VS => return Err(IoError::Direction),
            _ => return Err(IoError::UnknownRegister),
        }
        Ok(())
    }
}

/// The port that the register at `offset` is of, and the offset in its registers.
fn port_register(offset: u64) -> Option<(usize, u64)> {
    let from_first = offset.checked_sub(reg::PORTS)?;
    let (port, offset) = (from_first / reg::PORT_LEN, from_first % reg::PORT_LEN);
    (port < PORTS as u64).then_some((port as usize, offset))
}

impl Device for Ahci {
    fn name(&self) -> &'static str {
        "ahci"
    }

    fn reset(&mut self) {
        self.endpoint.reset();
        self.reset_ports();
    }
}

impl PciFunction for Ahci {
    fn config(&self) -> &ConfigSpace {
        self.endpoint.config()
    }

    fn config_mut(&mut self) -> &mut ConfigSpace {
        self.endpoint.config_mut()
    }

    fn config_written(&mut self, offset: u16, size: u8) {
        self.endpoint.config_written();
        if touches(offset, size, crate::pci::reg::COMMAND, 2)
            && self.endpoint.config().get(crate::pci::reg::COMMAND, 2) & command::BUS_MASTER != 0
        {
            self.run_all();
        }
    }
}

impl MmioIo for Ahci {
    fn mmio_read(&mut self, _region: u8, offset: u64, size: u8) -> IoResult<u64> {
        if size > 4 {
            return Err(IoError::Size);
        }
        let shift = 8 * (offset & 3);
        if (offset & 3) + u64::from(size) > 4 {
            return Err(IoError::Alignment);
        }
        self.read(offset & !3).map(|value| u64::from(value) >> shift)
    }

    fn mmio_write(&mut self, _region: u8, offset: u64, size: u8, value: u64) -> IoResult {
        if size > 4 {
            return Err(IoError::Size);
        }
        if (offset & 3) + u64::from(size) > 4 {
            return Err(IoError::Alignment);
        }
        let (shift, mask) = (8 * (offset & 3), (1_u64 << (8 * size)) - 1);
        let written = self.write(offset & !3, ((value & mask) << shift) as u32, (mask << shift) as u32);
        self.update();
        written
    }
}

impl Snapshot for Ahci {
    type State = AhciState;
    type Args = (PciWires, Vec<Option<Drive>>);

    fn save(&self) -> AhciState {
        let Ahci { endpoint, ports, interrupt_enable, is, resetting: _, me: _ } = self;
        AhciState {
            endpoint: endpoint.save(),
            ports: ports.iter().map(Port::save).collect(),
            interrupt_enable: *interrupt_enable,
            is: *is,
        }
    }

    /// [`share`](Ahci::share) is to follow.
    fn restore((wires, drives): Self::Args, state: AhciState) -> Result<Self, String> {
        let AhciState { endpoint: saved, ports: saved_ports, interrupt_enable, is } = state;
        let Ahci { endpoint, ports, resetting, me, .. } = Ahci::new(wires, drives);
        if saved_ports.len() != ports.len() {
            return Err(format!("{} ports", saved_ports.len()));
        }
        let ports = ports.into_iter().zip(saved_ports).map(|(port, saved)| port.with_state(saved));
        let ports = ports.collect::<Result<_, _>>()?;
        let endpoint = endpoint.with_state(saved)?;
        Ok(Ahci { endpoint, ports, interrupt_enable, is, resetting, me })
    }
}
