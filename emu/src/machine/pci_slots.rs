//! The slots of the PCI bus: which device number the next card gets, and the wires that lead to it.
//!
//! Cards that may be anywhere are put into the slots from the first on, in the order in which they are added: the same
//! command line gives the same machine. Functions of the chipset have fixed places.

use super::chipset::ChipsetError;
use emu_core::{
    bus::{IrqLine, MsiSink},
    memory::Dma,
};
use emu_devices::pci::{self, FunctionAddress, PciInterrupts, PciWires};
use std::sync::Arc;

/// Device numbers of cards. Device 0 is the host bridge, device 31 the chipset's other functions.
const SLOTS: std::ops::Range<u8> = 1..31;
/// The slot of the PCI test device, which test kernels expect there.
pub const TEST_DEVICE: u8 = 3;

/// The slots that are free.
pub struct PciSlots {
    next: u8,
    interrupts: Arc<PciInterrupts>,
    msi: Arc<dyn MsiSink>,
    dma: Dma,
}

impl PciSlots {
    /// All slots, of a bus whose interrupts go to `interrupts`, whose messages go to `msi`, and whose memory is `dma`.
    pub fn new(interrupts: Arc<PciInterrupts>, msi: Arc<dyn MsiSink>, dma: Dma) -> Self {
        PciSlots { next: SLOTS.start, interrupts, msi, dma }
    }

    /// The next free slot, and its wires.
    pub fn take(&mut self) -> Result<(FunctionAddress, PciWires), ChipsetError> {
        if self.next == TEST_DEVICE {
            self.next += 1;
        }
        if !SLOTS.contains(&self.next) {
            return Err(ChipsetError::NoSlot);
        }
        let device = self.next;
        self.next += 1;
        Ok((FunctionAddress::new(0, device, 0), self.wires(device)))
    }

    /// The wires of device number `device`.
    fn wires(&self, device: u8) -> PciWires {
        let intx = IrqLine::new(self.interrupts.clone(), pci::input(device, 0));
        PciWires { intx, msi: self.msi.clone(), dma: self.dma.clone() }
    }
}
