//! Drives with ATA commands on the board: the AHCI controller and the IDE controller, each there if it has a drive.
//!
//! Both are functions of the south bridge, as in a PC: the chipset's device, behind the LPC bridge.

use super::{
    chipset::{Chipset, ChipsetError},
    isa::{IsaInterrupts, Source},
    pci_slots::PciSlots,
};
use crate::console::DiskKind;
use emu_core::backend::BlockBackend;
use emu_devices::{
    pci::{FunctionAddress, LPC_BRIDGE, WindowTargets},
    storage::{
        ahci::{Ahci, PORTS},
        ata::{Cable, Drive, DriveIdentity},
        ide::{CHANNELS, Ide, IdeWires, LEGACY_IRQS, LEGACY_PORTS},
    },
};
use std::sync::Arc;

/// Drives of an IDE channel.
const PER_CHANNEL: usize = 2;
const IDE: FunctionAddress = FunctionAddress::new(0, LPC_BRIDGE.device(), 1);
const AHCI: FunctionAddress = FunctionAddress::new(0, LPC_BRIDGE.device(), 2);

/// The drives of both controllers, in the order of their ports.
#[derive(Default)]
pub struct AtaDrives {
    serial: Vec<Drive>,
    parallel: Vec<Drive>,
}

fn drive(disk: Arc<dyn BlockBackend>, kind: DiskKind, serial: String, cable: Cable) -> Drive {
    let of_model = |model: &str| DriveIdentity { serial, firmware: "1.0".into(), model: model.into() };
    match kind {
        DiskKind::Disk => Drive::disk(disk, of_model("EMU HARDDISK"), cable),
        DiskKind::Cdrom => Drive::cdrom(Some(disk), of_model("EMU DVD-ROM"), cable),
    }
}

impl AtaDrives {
    /// At the next port of the AHCI controller.
    pub fn add_serial(
        &mut self,
        disk: Arc<dyn BlockBackend>,
        kind: DiskKind,
        serial: String,
    ) -> Result<(), ChipsetError> {
        if self.serial.len() == PORTS {
            return Err(ChipsetError::NoPort { bus: "ahci", room: PORTS });
        }
        self.serial.push(drive(disk, kind, serial, Cable::Serial));
        Ok(())
    }

    /// The next of the IDE controller: both of the first channel, and then both of the second.
    pub fn add_parallel(
        &mut self,
        disk: Arc<dyn BlockBackend>,
        kind: DiskKind,
        serial: String,
    ) -> Result<(), ChipsetError> {
        if self.parallel.len() == CHANNELS * PER_CHANNEL {
            return Err(ChipsetError::NoPort { bus: "ide", room: CHANNELS * PER_CHANNEL });
        }
        self.parallel.push(drive(disk, kind, serial, Cable::Parallel));
        Ok(())
    }

    /// Puts the controllers on the board.
    pub fn connect(
        self,
        chipset: &mut Chipset,
        slots: &PciSlots,
        isa: &Arc<IsaInterrupts>,
    ) -> Result<(), ChipsetError> {
        let AtaDrives { serial, parallel } = self;
        if !serial.is_empty() {
            let drives = serial.into_iter().map(Some).collect();
            let ahci = Ahci::new(slots.wires(AHCI.device()), drives).share();
            chipset.add_function(AHCI, &ahci, WindowTargets::memory(ahci.clone()))?;
        }
        if !parallel.is_empty() {
            let mut parallel = parallel.into_iter();
            let drives = std::array::from_fn(|_| std::array::from_fn(|_| parallel.next()));
            let irqs = LEGACY_IRQS.map(|irq| isa.wire(irq, Source::Device));
            let wires = IdeWires { pci: slots.wires(IDE.device()), irqs };
            let ide = Ide::new(wires, drives).share();
            for (region, port, len) in LEGACY_PORTS {
                chipset.bus.add_ports(ide.clone(), region, port, len)?;
            }
            chipset.add_function(IDE, &ide, WindowTargets::ports(ide.clone()))?;
        }
        Ok(())
    }
}
