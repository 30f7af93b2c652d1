//! Register blocks that the guest moves: PCI configuration memory (PCIEXBAR), ACPI power management (PMBASE), and
//! what base address registers map.
//!
//! The bridge that is told to move a block is locked by the very access that tells it, perhaps from within that
//! block. So it notes the wish here, and the vCPU carries it out when its access is over. Of base address registers
//! the PCI bus keeps account itself.

use emu_core::bus::{Bus, MmioIo, PortIo};
use emu_devices::{acpi::PM_LEN, pci::PciBus};
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
    /// The functions, whose windows move.
    pub pci: Arc<PciBus>,
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

    /// Carries out what is wished for. Called with no device locked; costs three loads if there is nothing.
    #[inline]
    pub fn apply(&self, bus: &Bus, blocks: &Movable) {
        if self.pending.load(Ordering::Relaxed) {
            self.apply_pending(bus, blocks);
        }
        blocks.pci.map_windows(bus);
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

#[cfg(test)]
mod tests {
    use super::*;
    use emu_core::{
        bus::IrqLine,
        clock::{TimerQueue, VmClock},
    };
    use emu_devices::{
        acpi::{PM_BASE, PM_TMR_BLK, Pm, PmWires, TimerWidth},
        pci::{ECAM_BASE, Ecam, HOST_BRIDGE, HostBridge, WindowTargets},
    };

    fn blocks() -> (Bus, Movable) {
        let pci = Arc::new(PciBus::new());
        let bridge = HostBridge::new(Box::new(|_| {}));
        pci.add(HOST_BRIDGE, Arc::new(Mutex::new(bridge)), WindowTargets::default()).unwrap();
        // One second after power-on the timer reads as neither zero nor floating lines.
        let clock = VmClock::counted(1_000_000_000);
        let wires = PmWires { sci: IrqLine::unconnected(), power_off: Box::new(|| {}) };
        let pm = Pm::new(clock.clone(), TimerQueue::new(clock).timer(), TimerWidth::Bits24, wires);
        (
            Bus::new(),
            Movable { ecam: Arc::new(Mutex::new(Ecam::new(pci.clone()))), pm: Arc::new(Mutex::new(pm)), pci },
        )
    }

    #[test]
    fn a_block_leaves_its_old_place_and_answers_at_the_new_one() {
        let (bus, blocks) = blocks();
        let wishes = Relocations::default();
        wishes.move_pm(Some(PM_BASE));
        wishes.move_ecam(Some((ECAM_BASE, 256 << 20)));
        wishes.apply(&bus, &blocks);
        let timer = bus.port_read(PM_TMR_BLK, 4);
        assert_eq!((timer, bus.mmio_read(ECAM_BASE, 2)), (3_579_545, 0x8086));

        wishes.move_pm(Some(0x700));
        wishes.move_ecam(Some((0xD000_0000, 64 << 20)));
        assert_eq!(bus.port_read(PM_TMR_BLK, 4), timer, "not before the access is over");
        wishes.apply(&bus, &blocks);

        assert_eq!((bus.port_read(PM_TMR_BLK, 4), bus.port_read(0x708, 4)), (u32::MAX, timer));
        assert_eq!((bus.mmio_read(ECAM_BASE, 2), bus.mmio_read(0xD000_0000, 2)), (0xFFFF, 0x8086));
        wishes.move_pm(None);
        wishes.apply(&bus, &blocks);
        assert_eq!(bus.port_read(0x708, 4), u32::MAX);
    }
}
