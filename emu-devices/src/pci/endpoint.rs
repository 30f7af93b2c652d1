//! What controllers that interrupt and access memory have in common: configuration space, INTx, MSI and MSI-X, bus
//! mastering, and the capabilities that operating systems look for.
//!
//! PCI 3.0, chapter 6; PCI Express base specification, 7.5.3; PCI power management 1.2, 3.2. A controller has an
//! [`Endpoint`] and lends it out as its configuration space:
//!
//! - A controller with *one interrupt that has a level* (AHCI, IDE, most network cards) calls
//!   [`set_interrupt`](Endpoint::set_interrupt) whenever status or mask change. It is a wire or a message, as the guest
//!   has chosen.
//! - A controller with *vectors* (NVMe, virtio) calls [`send`](Endpoint::send) while
//!   [`uses_messages`](Endpoint::uses_messages) says so, and else drives the one wire by `set_interrupt`.
//! - It reads and writes memory through [`dma`](Endpoint::dma), which there is while the guest lets it be bus master.
//! - If it has MSI-X, it offers accesses in its memory windows to [`mmio_read`](Endpoint::mmio_read) and
//!   [`mmio_write`](Endpoint::mmio_write) first.
//!
//! Not modelled: D3hot (the power state reads back, and nothing stops), function-level reset, error reporting.

use super::{
    Bar, ConfigSpace, ConfigState, Identity, MsixLayout, msi::Msi, msix::MsixState, msix::MsixTable,
};
use emu_core::{
    bus::{IoResult, IrqLine, MsiSink},
    memory::Dma,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Capability IDs.
const POWER_MANAGEMENT: u8 = 0x01;
const EXPRESS: u8 = 0x10;
const INTA: u8 = 1;

/// What a controller is connected to.
#[derive(Clone)]
pub struct PciWires {
    /// Its INTA#.
    pub intx: IrqLine,
    /// Where its messages go.
    pub msi: Arc<dyn MsiSink>,
    /// Its way to memory.
    pub dma: Dma,
}

/// See the module.
pub struct Endpoint {
    wires: PciWires,
    config: ConfigSpace,
    msi: Option<Msi>,
    msix: Option<MsixTable>,
    /// The controller asks for its interrupt.
    asked: bool,
    /// The level of the wire.
    asserted: bool,
}

/// An endpoint, as saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointState {
    config: ConfigState,
    msix: Option<MsixState>,
    asked: bool,
}

impl Endpoint {
    /// A conventional PCI function with INTA#.
    pub fn conventional(identity: &Identity, wires: PciWires) -> Self {
        Self::new(ConfigSpace::conventional(identity), wires)
    }

    /// A PCI Express function of the root complex itself (which needs no link), with INTA#.
    pub fn express(identity: &Identity, wires: PciWires) -> Self {
        let mut endpoint = Self::new(ConfigSpace::express(identity), wires);
        // Version 2, root complex integrated endpoint; role-based error reporting and extended tags; by default
        // relaxed ordering, no snoop, and reads of 512 bytes.
        let (mut body, mut writable) = ([0; 0x3A], [0; 0x3A]);
        body[..2].copy_from_slice(&0x0092_u16.to_le_bytes());
        body[2..6].copy_from_slice(&0x8020_u32.to_le_bytes());
        body[6..8].copy_from_slice(&0x2810_u16.to_le_bytes());
        writable[6..8].copy_from_slice(&0x79FF_u16.to_le_bytes());
        endpoint.config.add_capability(EXPRESS, &body, &writable);
        endpoint
    }

    fn new(mut config: ConfigSpace, wires: PciWires) -> Self {
        config.set_interrupt_pin(INTA);
        Endpoint { wires, config, msi: None, msix: None, asked: false, asserted: false }
    }

    // Declarations.

    /// Adds base address register `index`.
    pub fn add_bar(&mut self, index: u8, bar: Bar) {
        self.config.add_bar(index.into(), bar);
    }

    /// Adds the power management capability: D0 and D3hot, nothing lost between them.
    pub fn add_power_management(&mut self) {
        self.config.add_capability(POWER_MANAGEMENT, &[0x03, 0, 0x08, 0, 0, 0], &[0, 0, 0x03, 0, 0, 0]);
    }

    /// Adds 2 to the power of `log2` MSI vectors.
    pub fn add_msi(&mut self, log2: u8) {
        self.msi = Some(Msi::add(&mut self.config, log2));
    }

    /// Adds MSI-X.
    pub fn add_msix(&mut self, layout: MsixLayout) {
        self.msix = Some(MsixTable::add(&mut self.config, layout));
    }

    // The controller's side.

    /// Its configuration space.
    pub fn config(&self) -> &ConfigSpace {
        &self.config
    }

    /// Its configuration space, to be written.
    pub fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }

    /// Memory, while the guest lets the function access it.
    pub fn dma(&self) -> Option<&Dma> {
        self.config.is_bus_master().then_some(&self.wires.dma)
    }

    /// MSI-X vectors that there are.
    pub fn msix_vectors(&self) -> u16 {
        self.msix.as_ref().map_or(0, MsixTable::len)
    }

    /// Whether MSI-X is what the guest has chosen.
    pub fn uses_msix(&self) -> bool {
        self.msix.as_ref().is_some_and(|msix| msix.is_enabled(&self.config))
    }

    /// Whether interrupts are messages.
    pub fn uses_messages(&self) -> bool {
        self.uses_msix() || self.msi.as_ref().is_some_and(|msi| msi.is_enabled(&self.config))
    }

    /// Sends the message of vector `number`, if interrupts are messages.
    pub fn send(&mut self, number: u16) {
        let sink = &*self.wires.msi;
        match (&mut self.msix, &self.msi) {
            (Some(msix), _) if msix.is_enabled(&self.config) => msix.send(&self.config, number, sink),
            (_, Some(msi)) if msi.is_enabled(&self.config) => msi.send(&mut self.config, number, sink),
            _ => {}
        }
    }

    /// The controller asks for its interrupt, or not any more: the level of INTA#, or at the begin message 0.
    pub fn set_interrupt(&mut self, asked: bool) {
        if self.asked == asked {
            return;
        }
        self.asked = asked;
        self.config.show_interrupt(asked);
        if asked {
            self.send(0);
        }
        self.drive();
    }

    /// Drives the wire as everything is now.
    fn drive(&mut self) {
        let level = self.asked && !self.config.is_intx_disabled() && !self.uses_messages();
        if self.asserted != level {
            self.asserted = level;
            self.wires.intx.set(level);
        }
    }

    /// RESET#.
    pub fn reset(&mut self) {
        self.config.reset();
        if let Some(msix) = &mut self.msix {
            msix.reset();
        }
        self.asked = false;
        self.drive();
    }

    // The guest's side.

    /// Configuration space has been written: interrupts may take another way now.
    pub fn config_written(&mut self) {
        self.drive();
        self.release();
    }

    fn release(&mut self) {
        let sink = &*self.wires.msi;
        if let Some(msix) = &mut self.msix {
            msix.release(&self.config, sink);
        }
        if let Some(msi) = &self.msi {
            msi.release(&mut self.config, sink);
        }
    }

    /// A read in the window of register `bar`; `None` if nothing of MSI-X is there.
    pub fn mmio_read(&self, bar: u8, offset: u64, size: u8) -> Option<IoResult<u64>> {
        self.msix.as_ref()?.read(bar, offset, size)
    }

    /// A write in the window of register `bar`; `None` if nothing of MSI-X is there.
    pub fn mmio_write(&mut self, bar: u8, offset: u64, size: u8, value: u64) -> Option<IoResult> {
        let answer = self.msix.as_mut()?.write(bar, offset, size, value as u32)?;
        self.release();
        Some(answer)
    }

    /// The registers, as saved.
    pub fn save(&self) -> EndpointState {
        let Endpoint { wires: _, config, msi: _, msix, asked, asserted: _ } = self;
        EndpointState { config: config.save(), msix: msix.as_ref().map(MsixTable::save), asked: *asked }
    }

    /// Takes saved registers, after the same declarations as when they were saved.
    pub fn with_state(self, state: EndpointState) -> Result<Self, String> {
        let EndpointState { config: saved, msix: vectors, asked } = state;
        let Endpoint { wires, config, msi, msix, asked: _, asserted } = self;
        let msix = match (msix, vectors) {
            (Some(table), Some(vectors)) => Some(table.with_state(vectors)?),
            (None, None) => None,
            _ => return Err("MSI-X of another device".to_owned()),
        };
        let mut endpoint = Endpoint { wires, config: config.with_state(saved)?, msi, msix, asked, asserted };
        endpoint.drive();
        Ok(endpoint)
    }
}
