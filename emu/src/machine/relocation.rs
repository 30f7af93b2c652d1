//! Register blocks that the guest moves: PCI configuration memory (PCIEXBAR) and ACPI power management (PMBASE).
//!
//! The bridge that is told to move a block is locked by the very access that tells it, perhaps from within that
//! block. So it notes the wish here, and the vCPU carries it out when its access is over.

use emu_core::bus::{Bus, MmioIo, PortIo};
use emu_devices::acpi::PM_LEN;
use parking_lot::Mutex;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Base and length of a window, if it is enabled.
type Window = Option<(u64, u64)>;

/// Where the blocks are and where they are to be.
#[derive(Default)]
struct Places {
    /// Base and length of the configuration window: on the bus now, and wanted.
    ecam: (Window, Window),
    /// First port of the power management block.
    pm: (Option<u16>, Option<u16>),
}

/// The wishes of one machine.
#[derive(Default)]
pub struct Relocations {
    pending: AtomicBool,
    places: Mutex<Places>,
}

/// The blocks that can move.
pub struct Movable {
    /// The configuration window.
    pub ecam: Arc<Mutex<dyn MmioIo>>,
    /// The power management block.
    pub pm: Arc<Mutex<dyn PortIo>>,
}

/// Region number of the power management block in its device.
const PM_REGION: u8 = 0;

impl Relocations {
    /// The configuration window shall be at this base and of this length, or nowhere.
    pub fn move_ecam(&self, to: Option<(u64, u64)>) {
        self.places.lock().ecam.1 = to;
        self.pending.store(true, Ordering::Release);
    }

    /// The power management block shall start at this port, or be off.
    pub fn move_pm(&self, to: Option<u16>) {
        self.places.lock().pm.1 = to;
        self.pending.store(true, Ordering::Release);
    }

    /// Carries out what is wished for. Called with no device locked; costs one load if there is nothing.
    #[inline]
    pub fn apply(&self, bus: &Bus, blocks: &Movable) {
        if self.pending.load(Ordering::Relaxed) {
            self.apply_pending(bus, blocks);
        }
    }

    #[cold]
    fn apply_pending(&self, bus: &Bus, blocks: &Movable) {
        let mut places = self.places.lock();
        self.pending.store(false, Ordering::Release);
        let (now, wanted) = &mut places.ecam;
        if now != wanted {
            if let Some((base, _)) = now.take() {
                bus.remove_mmio(base);
            }
            if let Some((base, len)) = *wanted {
                match bus.add_mmio(blocks.ecam.clone(), 0, base, len) {
                    Ok(()) => *now = *wanted,
                    Err(error) => log::warn!("PCI configuration space cannot move: {error}"),
                }
            }
        }
        let (now, wanted) = &mut places.pm;
        if now != wanted {
            if let Some(port) = now.take() {
                bus.remove_ports(port);
            }
            if let Some(port) = *wanted {
                match bus.add_ports(blocks.pm.clone(), PM_REGION, port, PM_LEN) {
                    Ok(()) => *now = *wanted,
                    Err(error) => log::warn!("ACPI power management cannot move: {error}"),
                }
            }
        }
    }
}
