//! Register blocks that the guest moves: PCI configuration memory (PCIEXBAR), ACPI power management (PMBASE), and
//! what base address registers map.
//!
//! The bridge that is told to move a block is locked by the very access that tells it, perhaps from within that
//! block. So it notes the wish here, and the vCPU carries it out when its access is over.

use emu_core::bus::{Bus, MmioIo, PortIo, RegionConflict};
use emu_devices::{acpi::PM_LEN, pci::BarWindow};
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
    /// The windows of base address registers, in the order of [`Movable::bars`].
    bars: Vec<(Option<BarWindow>, Option<BarWindow>)>,
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
    /// What base address registers map.
    pub bars: Vec<BarBlock>,
}

/// What one base address register maps: a region of a device.
pub enum BarBlock {
    /// Memory.
    Memory(Arc<Mutex<dyn MmioIo>>, u8),
    /// Ports.
    Ports(Arc<Mutex<dyn PortIo>>, u8),
}

impl BarBlock {
    fn add(&self, bus: &Bus, window: &BarWindow) -> Result<(), RegionConflict> {
        match self {
            BarBlock::Memory(device, region) => {
                bus.add_mmio(device.clone(), *region, window.base, window.size)
            }
            // Port addresses have 16 bits, whatever more a guest writes.
            BarBlock::Ports(device, region) => {
                bus.add_ports(device.clone(), *region, window.base as u16, window.size as u16)
            }
        }
    }

    fn remove(&self, bus: &Bus, window: &BarWindow) {
        match self {
            BarBlock::Memory(..) => bus.remove_mmio(window.base),
            BarBlock::Ports(..) => bus.remove_ports(window.base as u16),
        }
    }
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

    /// The block `index` of [`Movable::bars`] shall be at this window, or nowhere.
    pub fn move_bar(&self, index: usize, to: Option<BarWindow>) {
        let mut places = self.places.lock();
        if places.bars.len() <= index {
            places.bars.resize(index + 1, (None, None));
        }
        places.bars[index].1 = to;
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
        move_bars(bus, &blocks.bars, &mut places.bars);
    }
}

/// Takes all windows that change off the bus before any goes to its new place, which may be another's old one.
fn move_bars(bus: &Bus, blocks: &[BarBlock], places: &mut [(Option<BarWindow>, Option<BarWindow>)]) {
    for (block, (now, _)) in blocks.iter().zip(&mut *places).filter(|(_, (now, wanted))| now != wanted) {
        if let Some(window) = now.take() {
            block.remove(bus, &window);
        }
    }
    for (block, (now, wanted)) in blocks.iter().zip(places).filter(|(_, (now, wanted))| now != wanted) {
        if let Some(window) = wanted {
            match block.add(bus, window) {
                Ok(()) => *now = Some(*window),
                // A guest finds out the size of a window by moving it to the top of the address space.
                Err(error) => log::debug!("a PCI window cannot move: {error}"),
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
        pci::{ECAM_BASE, Ecam, HOST_BRIDGE, HostBridge, PciBus},
    };

    fn blocks() -> (Bus, Movable) {
        let pci = Arc::new(PciBus::new());
        pci.add(HOST_BRIDGE, Arc::new(Mutex::new(HostBridge::new(Box::new(|_| {}))))).unwrap();
        // One second after power-on the timer reads as neither zero nor floating lines.
        let clock = VmClock::counted(1_000_000_000);
        let wires = PmWires { sci: IrqLine::unconnected(), power_off: Box::new(|| {}) };
        let pm = Pm::new(clock.clone(), TimerQueue::new(clock).timer(), TimerWidth::Bits24, wires);
        (
            Bus::new(),
            Movable {
                ecam: Arc::new(Mutex::new(Ecam::new(pci))),
                pm: Arc::new(Mutex::new(pm)),
                bars: Vec::new(),
            },
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
