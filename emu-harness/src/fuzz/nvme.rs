//! An NVMe controller under a guest without sense: bytes as accesses to its registers, configuration space and memory,
//! and as commands in queues that a driver has made.

use super::devices::{Disk, FUNCTION, Input, RAM, wires};
use emu_core::{
    bus::{Bus, Device, Snapshot},
    memory::{Dma, GuestMemory, PhysicalMemory},
};
use emu_devices::{
    pci::{PciBus, WindowTargets},
    storage::nvme::{Nvme, NvmeArgs, NvmeOptions},
};
use parking_lot::Mutex;
use std::sync::Arc;

const WINDOW: u64 = 0xD000_0000;
/// Submission and completion queue of the admin queues; those of I/O queue 1 follow.
const QUEUES: u64 = 0x1000;
/// Entries less one.
const LAST: u64 = 7;
/// Where data is.
const DATA: u64 = 0x8000;
/// Bytes of the disk.
const LEN: usize = 0x2_0000;

struct Guest {
    bus: Bus,
    pci: PciBus,
    dma: Dma,
    function: Arc<Mutex<Nvme>>,
    /// Tails of the admin and the I/O submission queue.
    tails: [u64; 2],
}

fn args(dma: &Dma, disk: &Arc<Disk>) -> NvmeArgs {
    let options = NvmeOptions { serial: "fuzz".to_owned(), queues: 2 };
    NvmeArgs { wires: wires(dma), backend: disk.clone(), options }
}

impl Guest {
    fn new(disk: &Arc<Disk>) -> Self {
        let memory = GuestMemory::new(RAM).expect("a MiB of memory");
        let dma = Dma::new(Arc::new(PhysicalMemory::new(memory)));
        let function = Nvme::new(args(&dma, disk)).connect();
        let pci = PciBus::new();
        let added = pci.add(FUNCTION, function.clone(), WindowTargets::memory(function.clone()));
        assert!(added.is_ok(), "the bus is empty");
        let guest = Guest { bus: Bus::new(), pci, dma, function, tails: [0; 2] };
        guest.open_window();
        guest
    }

    fn open_window(&self) {
        for (offset, value) in [(0x10, WINDOW as u32), (0x14, 0), (0x04, 0b110)] {
            self.pci.config_write(FUNCTION, offset, 4, value);
        }
        self.pci.map_windows(&self.bus);
    }

    fn write(&self, offset: u64, size: u8, value: u64) {
        self.bus.mmio_write(WINDOW + offset, size, value);
    }

    fn store(&self, address: u64, bytes: &[u8]) {
        // What is not RAM stays as it is.
        let _refused = self.dma.write(address % (2 * RAM), bytes);
    }

    /// What a driver does: NVM Express 1.4, 7.6.1.
    fn start(&mut self) {
        self.write(0x14, 4, 0);
        self.write(0x24, 4, LAST << 16 | LAST);
        self.write(0x28, 8, QUEUES);
        self.write(0x30, 8, QUEUES + 0x1000);
        self.write(0x14, 4, 1 | 6 << 16 | 4 << 20);
        self.tails = [0; 2];
        for (opcode, place, attributes) in [(5, QUEUES + 0x3000, 3), (1, QUEUES + 0x2000, 1 << 16 | 1)] {
            let mut words = [0; 16];
            (words[0], words[6], words[10], words[11]) =
                (opcode, place as u32, (LAST << 16 | 1) as u32, attributes);
            self.submit(0, &words);
        }
    }

    fn submit(&mut self, queue: usize, words: &[u32; 16]) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let tail = &mut self.tails[queue];
        let at = QUEUES + 0x2000 * queue as u64 + 64 * *tail;
        *tail = (*tail + 1) % (LAST + 1);
        let (doorbell, tail) = (0x1000 + 8 * queue as u64, *tail);
        self.store(at, &bytes);
        self.write(doorbell, 4, tail);
    }

    /// A command that is nearly one.
    fn command(&mut self, input: &mut Input<'_>) {
        let mut words = [0; 16];
        let queue = input.next(1) as usize & 1;
        words[0] = ((input.next(1) % 14) | input.next(2) << 16) as u32;
        words[1] = input.next(1) as u32 & 1;
        words[6] = (DATA + input.next(2)) as u32;
        words[8] = (DATA + input.next(2)) as u32;
        words[10] = input.next(2) as u32;
        words[11] = if queue == 0 { input.next(4) as u32 } else { input.next(1) as u32 & 4 };
        words[12] = input.next(1) as u32;
        if input.next(1) < 16 {
            words[input.next(1) as usize & 15] = input.next(4) as u32;
        }
        self.submit(queue, &words);
    }

    /// One thing that a guest may do.
    fn step(&mut self, input: &mut Input<'_>) {
        let size = 1 << (input.next(1) & 3);
        match input.next(1) % 16 {
            0 => self.write(input.next(1) % 0x40, size, input.next(8)),
            1 => _ = self.bus.mmio_read(WINDOW + input.next(2) % 0x4000, size),
            2 => self.write(input.next(2) % 0x4000, size, input.next(8)),
            3 => self.pci.config_write(FUNCTION, input.next(1) as u16, size.min(4), input.next(4) as u32),
            4 => _ = self.pci.config_read(FUNCTION, input.next(1) as u16, size.min(4)),
            5 | 6 => self.store(input.next(4), &input.next(8).to_le_bytes()),
            // Entries of a list of pages.
            7 => self.store(DATA + input.next(2), &(DATA + 0x1000 * input.next(1)).to_le_bytes()),
            8 | 9 => self.write(0x1000 + 4 * (input.next(1) % 6), 4, input.next(1) % (LAST + 2)),
            10 => self.start(),
            11 => {
                self.function.lock().reset();
                self.pci.windows_may_have_moved();
                self.open_window();
            }
            _ => self.command(input),
        }
        self.pci.map_windows(&self.bus);
    }
}

/// The NVMe controller. What it is in the end can be saved, and what was saved restored.
pub fn nvme(data: &[u8]) {
    let disk = Arc::new(Disk::new(LEN));
    let mut guest = Guest::new(&disk);
    let mut input = Input(data);
    guest.start();
    for _ in 0..256 {
        if input.0.is_empty() {
            break;
        }
        guest.step(&mut input);
        let choice = input.next(1);
        if choice & 1 != 0 {
            disk.work(choice >> 1);
        }
    }
    let state = guest.function.lock().save();
    let other = Arc::new(Disk::new(LEN));
    let restored = Nvme::restore(args(&guest.dma, &other), state).expect("what a controller saved");
    let restored = restored.connect();
    for _ in 0..512 {
        other.work(0);
        disk.work(0);
    }
    restored.lock().reset();
}
