//! For tests: a disk in memory, whose requests are answered when the test says so, or reads at once.

use emu_core::{
    backend::{BlockBackend, BlockError, BlockGeometry, BlockRequest, Data, Operation},
    bus::{IrqLine, MsiSink},
    memory::{Dma, GuestMemory, PhysicalMemory},
};
use parking_lot::Mutex;
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

/// A disk in memory.
pub struct TestBackend {
    geometry: Mutex<BlockGeometry>,
    pub bytes: Mutex<Vec<u8>>,
    waiting: Mutex<Vec<BlockRequest>>,
    at_hand: AtomicBool,
}

impl TestBackend {
    /// A disk of `sectors` sectors of 512 bytes, whose bytes tell where they are.
    pub fn new(sectors: usize) -> Arc<Self> {
        Self::with(sectors, |_| {})
    }

    pub fn with(sectors: usize, change: impl FnOnce(&mut BlockGeometry)) -> Arc<Self> {
        let mut geometry = BlockGeometry {
            len: sectors as u64 * 512,
            logical_block: 512,
            physical_block: 4096,
            read_only: false,
            discard: true,
            write_zeroes: true,
            volatile_cache: true,
        };
        change(&mut geometry);
        let bytes = (0..sectors * 512).map(|at| pattern(at as u64)).collect();
        let (geometry, bytes) = (Mutex::new(geometry), Mutex::new(bytes));
        Arc::new(TestBackend { geometry, bytes, waiting: Mutex::default(), at_hand: AtomicBool::new(false) })
    }

    /// From now on reads are done at once.
    pub fn have_at_hand(&self) {
        self.at_hand.store(true, Ordering::Relaxed);
    }

    /// Requests that wait for an answer.
    pub fn waiting(&self) -> usize {
        self.waiting.lock().len()
    }

    /// What waits, as text.
    pub fn asked(&self) -> Vec<String> {
        let text = |request: &BlockRequest| match &request.operation {
            Operation::Read { offset, data } => format!("read {offset} {}", data.len()),
            Operation::Write { offset, data, through } => {
                format!("write {offset} {}{}", data.len(), if *through { " through" } else { "" })
            }
            Operation::Flush => "flush".to_owned(),
            Operation::Discard { offset, len } => format!("discard {offset} {len}"),
            Operation::WriteZeroes { offset, len, .. } => format!("zero {offset} {len}"),
        };
        self.waiting.lock().iter().map(text).collect()
    }

    /// Answers the request at `index` of those that wait.
    pub fn answer(&self, index: usize, result: Result<(), BlockError>) {
        let BlockRequest { operation, done } = self.waiting.lock().remove(index);
        let data = self.carry_out(operation, result.is_ok());
        done(result, data);
    }

    fn read(&self, offset: u64, data: &mut Data) {
        let bytes = self.bytes.lock();
        let from = &bytes[offset as usize..offset as usize + data.len()];
        match data {
            Data::Guest(buffer) => buffer.copy_from(0, from),
            Data::Device(buffer) => buffer.copy_from_slice(from),
        }
    }

    /// Answers all, and those that come of it.
    pub fn answer_all(&self) {
        while self.waiting() != 0 {
            self.answer(0, Ok(()));
        }
    }

    fn carry_out(&self, operation: Operation, well: bool) -> Option<Data> {
        match operation {
            Operation::Read { offset, mut data } => {
                if well {
                    self.read(offset, &mut data);
                }
                Some(data)
            }
            Operation::Write { offset, data, .. } => {
                let mut bytes = self.bytes.lock();
                let to = &mut bytes[offset as usize..offset as usize + data.len()];
                match &data {
                    _ if !well => {}
                    Data::Guest(buffer) => buffer.copy_to(0, to),
                    Data::Device(buffer) => to.copy_from_slice(buffer),
                }
                Some(data)
            }
            Operation::Discard { offset, len } | Operation::WriteZeroes { offset, len, .. } => {
                self.bytes.lock()[offset as usize..(offset + len) as usize].fill(0);
                None
            }
            Operation::Flush => None,
        }
    }
}

/// The byte of a new disk at `offset`.
pub fn pattern(offset: u64) -> u8 {
    (offset / 512 * 7 + offset % 512) as u8
}

impl BlockBackend for TestBackend {
    fn geometry(&self) -> BlockGeometry {
        self.geometry.lock().clone()
    }

    fn try_at_once(&self, operation: &mut Operation) -> bool {
        match operation {
            Operation::Read { offset, data } if self.at_hand.load(Ordering::Relaxed) => {
                self.read(*offset, data);
                true
            }
            _ => false,
        }
    }

    fn submit(&self, request: BlockRequest) {
        self.waiting.lock().push(request);
    }
}

/// Messages, counted.
#[derive(Default)]
pub struct Messages(AtomicU32);

impl Messages {
    pub fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl MsiSink for Messages {
    fn send_msi(&self, _address: u64, _data: u32) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// RAM of `len` bytes, and a PCI function's wires to it.
pub fn wires(len: u64, intx: IrqLine) -> (crate::pci::PciWires, Dma, Arc<Messages>) {
    let dma = Dma::new(Arc::new(PhysicalMemory::new(GuestMemory::new(len).unwrap())));
    let messages = Arc::<Messages>::default();
    (crate::pci::PciWires { intx, msi: messages.clone(), dma: dma.clone() }, dma, messages)
}
