//! For tests: the driver's side of a device, through bus and memory as a guest's.

use super::{VirtioDevice, VirtioPci, common::status, layout};
use crate::{
    pci::{FunctionAddress, PciBus, PciWires, WindowTargets},
    probe::Probe,
};
use emu_core::{
    bus::{Bus, MsiSink},
    memory::{Dma, GuestMemory, PhysicalMemory},
};
use parking_lot::Mutex;
use std::{collections::VecDeque, sync::Arc};

/// Where the windows are.
pub const WINDOW: u64 = 0xD000_0000;
pub const MSIX: u64 = 0xD100_0000;
pub const FUNCTION: FunctionAddress = FunctionAddress::new(0, 3, 0);
/// Descriptors of each queue, and where its areas are.
pub const SIZE: u16 = 16;
const AREA: u64 = 0x1_0000;
const AVAILABLE: u64 = 0x1000;
const USED: u64 = 0x2000;
/// Where buffers are.
pub const BUFFERS: u64 = 0x10_0000;

pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const INDIRECT: u16 = 4;

/// The messages that were sent: their data.
#[derive(Default)]
pub struct Messages(Mutex<VecDeque<u32>>);

impl MsiSink for Messages {
    fn send_msi(&self, _: u64, data: u32) {
        self.0.lock().push_back(data);
    }
}

impl Messages {
    pub fn take(&self) -> Vec<u32> {
        self.0.lock().drain(..).collect()
    }
}

/// A machine with one device, and its driver.
pub struct Driver<D: VirtioDevice> {
    pub bus: Bus,
    pub pci: PciBus,
    pub dma: Dma,
    pub function: Arc<Mutex<VirtioPci<D>>>,
    pub messages: Arc<Messages>,
    pub wire: Arc<Probe>,
    /// How many chains each queue was offered.
    pub available: Vec<u16>,
    seen: Vec<u16>,
}

pub struct Outside {
    pub dma: Dma,
    pub messages: Arc<Messages>,
    pub wire: Arc<Probe>,
}

impl Outside {
    pub fn new() -> Self {
        let memory = Arc::new(PhysicalMemory::new(GuestMemory::new(4 << 20).unwrap()));
        Outside { dma: Dma::new(memory), messages: Arc::default(), wire: Probe::new() }
    }

    pub fn wires(&self) -> PciWires {
        PciWires { intx: self.wire.line(0), msi: self.messages.clone(), dma: self.dma.clone() }
    }
}

impl<D: VirtioDevice> Driver<D> {
    /// Finds the device, with windows and bus mastering on.
    pub fn new(device: D) -> Self {
        let outside = Outside::new();
        Self::of(VirtioPci::new(device, outside.wires()), outside)
    }

    pub fn of(function: VirtioPci<D>, outside: Outside) -> Self {
        let (function, pci, bus) = (function.share(), PciBus::new(), Bus::new());
        pci.add(FUNCTION, function.clone(), WindowTargets::memory(function.clone())).unwrap();
        for (offset, value) in [(0x14, MSIX as u32), (0x20, WINDOW as u32), (0x24, 0), (0x04, 0b111)] {
            pci.config_write(FUNCTION, offset, 4, value);
        }
        pci.map_windows(&bus);
        let Outside { dma, messages, wire } = outside;
        Driver { bus, pci, dma, function, messages, wire, available: vec![0; 8], seen: vec![0; 8] }
    }

    pub fn read(&self, register: (u64, u8)) -> u64 {
        self.bus.mmio_read(WINDOW + register.0, register.1)
    }

    pub fn write(&self, register: (u64, u8), value: u64) {
        self.bus.mmio_write(WINDOW + register.0, register.1, value);
    }

    pub fn status(&self) -> u8 {
        self.read(super::common::reg::DEVICE_STATUS) as u8
    }

    pub fn set_status(&self, bits: u8) {
        self.write(super::common::reg::DEVICE_STATUS, (self.status() | bits).into());
    }

    pub fn offered(&self) -> u64 {
        use super::common::reg::{DEVICE_FEATURE, DEVICE_FEATURE_SELECT};
        (0..2).fold(0, |features, half| {
            self.write(DEVICE_FEATURE_SELECT, half);
            features | self.read(DEVICE_FEATURE) << (32 * half)
        })
    }

    /// Sections 3.1.1, 1 to 6. Whether the device agrees.
    pub fn negotiate(&self, features: u64) -> bool {
        use super::common::reg::{DRIVER_FEATURE, DRIVER_FEATURE_SELECT};
        self.set_status(status::ACKNOWLEDGE);
        self.set_status(status::DRIVER);
        for half in 0..2 {
            self.write(DRIVER_FEATURE_SELECT, half);
            self.write(DRIVER_FEATURE, features >> (32 * half) & 0xFFFF_FFFF);
        }
        self.set_status(status::FEATURES_OK);
        self.status() & status::FEATURES_OK != 0
    }

    pub fn area(queue: u16) -> u64 {
        AREA * (u64::from(queue) + 1)
    }

    pub fn set_up_queue(&mut self, queue: u16) {
        use super::common::reg::*;
        self.write(QUEUE_SELECT, queue.into());
        self.write(QUEUE_SIZE, SIZE.into());
        self.write(QUEUE_VECTOR, u64::from(queue) + 1);
        self.write(QUEUE_DESC, Self::area(queue));
        self.write(QUEUE_DRIVER, Self::area(queue) + AVAILABLE);
        self.write(QUEUE_DEVICE, Self::area(queue) + USED);
        self.dma.write(Self::area(queue), &[0; 0x3000]).unwrap();
        self.write(QUEUE_ENABLE, 1);
        (self.available[usize::from(queue)], self.seen[usize::from(queue)]) = (0, 0);
    }

    /// All of 3.1.1 with `queues` queues and everything that the device offers but `without`.
    pub fn start(&mut self, queues: u16, without: u64) {
        assert!(self.negotiate(self.offered() & !without));
        (0..queues).for_each(|queue| self.set_up_queue(queue));
        self.set_status(status::DRIVER_OK);
    }

    /// Gives vector `n` the data `n`, and switches MSI-X on.
    pub fn use_msix(&self) {
        for vector in 0..4 {
            for (word, value) in [0xFEE0_0000, 0, vector, 0].into_iter().enumerate() {
                self.bus.mmio_write(MSIX + 16 * vector + 4 * word as u64, 4, value);
            }
        }
        let at = (0x40..0xFF).step_by(4).find(|at| self.pci.config_read(FUNCTION, *at, 1) == 0x11).unwrap();
        self.pci.config_write(FUNCTION, at + 2, 2, 0x8000);
    }

    pub fn descriptor(&self, table: u64, index: u16, (address, len, flags, next): (u64, u32, u16, u16)) {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&address.to_le_bytes());
        bytes[8..12].copy_from_slice(&len.to_le_bytes());
        bytes[12..14].copy_from_slice(&flags.to_le_bytes());
        bytes[14..].copy_from_slice(&next.to_le_bytes());
        self.dma.write(table + 16 * u64::from(index), &bytes).unwrap();
    }

    /// Writes a chain of (address, length, flags) into descriptors from `head` on.
    pub fn chain(&self, queue: u16, head: u16, buffers: &[(u64, u32, u16)]) {
        for (index, &(address, len, flags)) in buffers.iter().enumerate() {
            let (at, last) = (head + index as u16, index + 1 == buffers.len());
            let flags = if last { flags } else { flags | NEXT };
            self.descriptor(Self::area(queue), at, (address, len, flags, at + 1));
        }
    }

    /// Makes the chain at `head` available, without a notification.
    pub fn offer(&mut self, queue: u16, head: u16) {
        let index = &mut self.available[usize::from(queue)];
        let ring = Self::area(queue) + AVAILABLE;
        self.dma.store_u16(ring + 4 + 2 * u64::from(*index % SIZE), head).unwrap();
        *index = index.wrapping_add(1);
        self.dma.store_u16(ring + 2, *index).unwrap();
    }

    pub fn notify(&self, queue: u16) {
        self.bus.mmio_write(WINDOW + layout::NOTIFY.start + 4 * u64::from(queue), 2, queue.into());
    }

    /// The next used element: chain and bytes written.
    pub fn used(&mut self, queue: u16) -> Option<(u32, u32)> {
        let ring = Self::area(queue) + USED;
        let seen = &mut self.seen[usize::from(queue)];
        if self.dma.load_u16(ring + 2).unwrap() == *seen {
            return None;
        }
        let mut bytes = [0; 8];
        self.dma.read(ring + 4 + 8 * u64::from(*seen % SIZE), &mut bytes).unwrap();
        *seen = seen.wrapping_add(1);
        let [a, b, c, d, e, f, g, h] = bytes;
        Some((u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])))
    }

    /// Up to which used element the driver wants no interrupt.
    pub fn set_used_event(&self, queue: u16, event: u16) {
        self.dma.store_u16(Self::area(queue) + AVAILABLE + 4 + 2 * u64::from(SIZE), event).unwrap();
    }

    pub fn available_event(&self, queue: u16) -> u16 {
        self.dma.load_u16(Self::area(queue) + USED + 4 + 8 * u64::from(SIZE)).unwrap()
    }

    pub fn set_interrupt_flag(&self, queue: u16, flags: u16) {
        self.dma.store_u16(Self::area(queue) + AVAILABLE, flags).unwrap();
    }

    pub fn memory(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.dma.read(address, &mut bytes).unwrap();
        bytes
    }
}
