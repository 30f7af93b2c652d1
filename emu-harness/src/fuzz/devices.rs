//! Devices under a guest without sense: bytes as accesses to a device's registers, configuration space and memory.

use emu_core::{
    backend::{BlockBackend, BlockError, BlockGeometry, BlockRequest, Data, Operation},
    bus::{Bus, Device, IrqLine, MsiSink, Snapshot},
    memory::{Dma, GuestMemory, PhysicalMemory},
};
use emu_devices::{
    pci::{FunctionAddress, PciBus, PciWires, WindowTargets},
    virtio::{Block, BlockConfig, VirtioDevice, VirtioPci},
};
use parking_lot::Mutex;
use std::sync::Arc;

pub(super) const RAM: u64 = 1 << 20;
pub(super) const FUNCTION: FunctionAddress = FunctionAddress::new(0, 1, 0);
/// Where the windows of registers 1 (MSI-X) and 4 (everything else) are.
const MSIX: u64 = 0xD100_0000;
const WINDOW: u64 = 0xD000_0000;
/// Where notifications are in the window.
const NOTIFY: u64 = 0x3000;
/// A queue's areas: descriptors, available and used ring.
const AREAS: [u64; 3] = [0x1000, 0x2000, 0x3000];
/// Where requests and their data are.
const REQUEST: u64 = 0x4000;
const QUEUE_SIZE: u64 = 8;

struct Nowhere;

impl MsiSink for Nowhere {
    fn send_msi(&self, _address: u64, _data: u32) {}
}

/// The next bytes of the input; zeroes behind its end.
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl Input<'_> {
    pub(super) fn next(&mut self, len: u32) -> u64 {
        let taken = self.0.split_off(..self.0.len().min(len as usize)).unwrap_or_default();
        taken.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }
}

/// A virtio device with its driver.
struct Guest<D: VirtioDevice> {
    bus: Bus,
    pci: PciBus,
    dma: Dma,
    function: Arc<Mutex<VirtioPci<D>>>,
    available: u16,
}

impl<D: VirtioDevice> Guest<D> {
    fn new(device: D) -> Self {
        let memory = GuestMemory::new(RAM).expect("a MiB of memory");
        let dma = Dma::new(Arc::new(PhysicalMemory::new(memory)));
        let function = VirtioPci::new(device, wires(&dma)).share();
        let pci = PciBus::new();
        let added = pci.add(FUNCTION, function.clone(), WindowTargets::memory(function.clone()));
        assert!(added.is_ok(), "the bus is empty");
        let guest = Guest { bus: Bus::new(), pci, dma, function, available: 0 };
        guest.open_windows();
        guest
    }

    fn open_windows(&self) {
        for (offset, value) in [(0x14, MSIX as u32), (0x20, WINDOW as u32), (0x24, 0), (0x04, 0b110)] {
            self.pci.config_write(FUNCTION, offset, 4, value);
        }
        self.pci.map_windows(&self.bus);
    }

    fn common(&self, offset: u64, size: u8, value: u64) {
        self.bus.mmio_write(WINDOW + offset, size, value);
    }

    /// What a driver does: virtio 1.2, 3.1.1. All features but `without`.
    fn start(&mut self, without: u64) {
        self.common(0x14, 1, 0);
        self.common(0x14, 1, 0b11);
        for half in 0..2 {
            self.common(0x00, 4, half);
            self.common(0x08, 4, half);
            let offered = self.bus.mmio_read(WINDOW + 0x04, 4);
            self.common(0x0C, 4, offered & !(without >> (32 * half)));
        }
        self.common(0x14, 1, 0b1011);
        self.common(0x16, 2, 0);
        self.common(0x18, 2, QUEUE_SIZE);
        for (offset, area) in [0x20, 0x28, 0x30].into_iter().zip(AREAS) {
            self.common(offset, 8, area);
        }
        self.store(AREAS[0], &[0; 0x3000]);
        self.available = 0;
        self.common(0x1C, 2, 1);
        self.common(0x14, 1, 0b1111);
    }

    fn store(&self, address: u64, bytes: &[u8]) {
        // What is not RAM stays as it is.
        let _refused = self.dma.write(address % (2 * RAM), bytes);
    }

    /// Makes a chain of two or three buffers available whose first one begins with `header`.
    fn request(&mut self, input: &mut Input<'_>) {
        let (head, header, sector) = (input.next(1) % QUEUE_SIZE, input.next(1), input.next(2));
        self.store(REQUEST, &[header.to_le_bytes(), sector.to_le_bytes()].concat());
        let data = (REQUEST + 0x100, input.next(2), if input.next(1) & 1 != 0 { 2 } else { 0 });
        let buffers = [(REQUEST, 16, 0), data, (REQUEST + 0x20, 1, 2)];
        for (index, (address, len, flags)) in (head..).zip(buffers) {
            let flags: u64 = if address == REQUEST + 0x20 { flags } else { flags | 1 };
            let next = (index + 1) % QUEUE_SIZE;
            let rest = len & 0xFFFF_FFFF | flags << 32 | next << 48;
            let at = AREAS[0] + 16 * (index % QUEUE_SIZE);
            self.store(at, &[address.to_le_bytes(), rest.to_le_bytes()].concat());
        }
        let slot = AREAS[1] + 4 + 2 * (u64::from(self.available) % QUEUE_SIZE);
        self.store(slot, &(head as u16).to_le_bytes());
        self.available = self.available.wrapping_add(1);
        self.store(AREAS[1] + 2, &self.available.to_le_bytes());
        self.common(NOTIFY, 2, 0);
    }

    /// One thing that a guest may do.
    fn step(&mut self, input: &mut Input<'_>) {
        let size = 1 << (input.next(1) & 3);
        match input.next(1) % 12 {
            0 => self.common(input.next(1) % 0x40, size, input.next(8)),
            1 => _ = self.bus.mmio_read(WINDOW + input.next(2) % 0x4000, size),
            2 => self.common(input.next(2) % 0x4000, size, input.next(8)),
            3 => self.bus.mmio_write(MSIX + input.next(2) % 0x1000, size, input.next(8)),
            4 => _ = self.bus.mmio_read(MSIX + input.next(2) % 0x1000, size),
            5 => {
                let size = size.min(4);
                self.pci.config_write(FUNCTION, input.next(1) as u16, size, input.next(4) as u32);
            }
            6 => _ = self.pci.config_read(FUNCTION, input.next(1) as u16, size.min(4)),
            7 => self.store(input.next(4), &input.next(8).to_le_bytes()),
            8 => self.common(NOTIFY + 4 * (input.next(1) % 4), 2, 0),
            9 => self.start(input.next(8)),
            10 => self.request(input),
            _ => {
                self.function.lock().reset();
                self.pci.windows_may_have_moved();
                self.open_windows();
            }
        }
        self.pci.map_windows(&self.bus);
    }
}

pub(super) fn wires(dma: &Dma) -> PciWires {
    PciWires { intx: IrqLine::unconnected(), msi: Arc::new(Nowhere), dma: dma.clone() }
}

/// Lets `data` be accesses to a device; `host` is what its backend does between them. What the device is in the end can
/// be saved, and what was saved restored by `again`.
fn virtio<D: VirtioDevice>(make: impl Fn() -> D, data: &[u8], host: impl Fn())
where
    D::State: PartialEq,
{
    let mut guest = Guest::new(make());
    let mut input = Input(data);
    guest.start(0);
    for _ in 0..256 {
        if input.0.is_empty() {
            break;
        }
        guest.step(&mut input);
        if input.next(1) & 1 != 0 {
            host();
        }
    }
    let state = guest.function.lock().save();
    if let Ok(restored) = VirtioPci::restore((make(), wires(&guest.dma)), state) {
        drop(restored.share());
    }
    host();
}

/// A disk in memory, which waits until it is told to work.
pub(super) struct Disk {
    bytes: Mutex<Vec<u8>>,
    waiting: Mutex<Vec<BlockRequest>>,
}

impl Disk {
    /// A disk of zeroes.
    pub(super) fn new(len: usize) -> Self {
        Disk { bytes: Mutex::new(vec![0; len]), waiting: Mutex::default() }
    }

    /// Does everything that it was asked for. Panics where that is not on the disk: the device is to look.
    pub(super) fn work(&self) {
        let waiting = std::mem::take(&mut *self.waiting.lock());
        for BlockRequest { operation, done } in waiting {
            let mut bytes = self.bytes.lock();
            let data = match operation {
                Operation::Read { offset, data: Data::Guest(buffer) } => {
                    buffer.copy_from(0, &bytes[offset as usize..][..buffer.len()]);
                    Some(Data::Guest(buffer))
                }
                Operation::Write { offset, data: Data::Guest(buffer), .. } => {
                    buffer.copy_to(0, &mut bytes[offset as usize..][..buffer.len()]);
                    Some(Data::Guest(buffer))
                }
                Operation::Read { offset, data: Data::Device(mut buffer) } => {
                    buffer.copy_from_slice(&bytes[offset as usize..][..buffer.len()]);
                    Some(Data::Device(buffer))
                }
                Operation::Write { offset, data: Data::Device(buffer), .. } => {
                    bytes[offset as usize..][..buffer.len()].copy_from_slice(&buffer);
                    Some(Data::Device(buffer))
                }
                Operation::Discard { offset, len } | Operation::WriteZeroes { offset, len, .. } => {
                    bytes[offset as usize..][..len as usize].fill(0);
                    None
                }
                _ => None,
            };
            drop(bytes);
            done(if data.is_none() { Err(BlockError::Host) } else { Ok(()) }, data);
        }
    }
}

impl BlockBackend for Disk {
    fn geometry(&self) -> BlockGeometry {
        BlockGeometry {
            len: self.bytes.lock().len() as u64,
            logical_block: 512,
            physical_block: 512,
            read_only: false,
            discard: true,
            write_zeroes: true,
            volatile_cache: true,
        }
    }

    /// Every other sector is at hand.
    fn try_at_once(&self, operation: &mut Operation) -> bool {
        let Operation::Read { offset, data } = operation else { return false };
        let bytes = self.bytes.lock();
        let at_hand = *offset & 0x200 == 0;
        let from = usize::try_from(*offset).ok().and_then(|from| bytes.get(from..)?.get(..data.len()));
        let Some(from) = from.filter(|_| at_hand) else { return false };
        match data {
            Data::Guest(buffer) => buffer.copy_from(0, from),
            Data::Device(bytes) => bytes.copy_from_slice(from),
        }
        true
    }

    fn submit(&self, request: BlockRequest) {
        self.waiting.lock().push(request);
    }
}

/// The virtio block device.
pub fn virtio_block(data: &[u8]) {
    let disk = Arc::new(Disk::new(0x2_0000));
    let make = || Block::new(BlockConfig { disk: disk.clone(), serial: "fuzz".to_owned(), queues: 2 });
    virtio(make, data, || disk.work());
}
