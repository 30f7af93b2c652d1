//! Disks on the board: their controllers, and what is under way between controllers and images.
//!
//! A reset of the machine forgets what its controllers have asked for, but an image would still write its answers to
//! memory, where the next kernel is by then. So the machine waits for its disks before it resets anything.

use super::{
    ata::AtaDrives,
    chipset::{Chipset, ChipsetError, ChipsetParts},
    isa::IsaInterrupts,
    pci_slots::PciSlots,
};
use crate::{config::DiskBus, console::DiskPort};
use emu_core::backend::{BlockBackend, BlockGeometry, BlockRequest, Operation};
use emu_devices::{
    pci::WindowTargets,
    storage::nvme::{self, Nvme, NvmeArgs, NvmeOptions},
    virtio::{Block, BlockConfig, VirtioPci},
};
use parking_lot::{Condvar, Mutex};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// The most queues of a virtio disk: one for each vCPU up to here.
const MOST_QUEUES: u32 = 16;
/// How often somebody who waits for disks looks whether to go on waiting.
const LOOK: Duration = Duration::from_millis(100);

/// What is under way at all disks.
#[derive(Default)]
pub struct Storage {
    requests: AtomicUsize,
    lock: Mutex<()>,
    idle: Condvar,
}

impl Storage {
    /// Waits until nothing is under way, or until `give_up` says so. Returns whether nothing is.
    pub fn wait_until_idle(&self, give_up: impl Fn() -> bool) -> bool {
        let mut lock = self.lock.lock();
        while self.requests.load(Ordering::Acquire) != 0 && !give_up() {
            self.idle.wait_for(&mut lock, LOOK);
        }
        self.requests.load(Ordering::Acquire) == 0
    }

    fn done(&self) {
        if self.requests.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Whoever waits has looked before it began to, with the lock held.
            drop(self.lock.lock());
            self.idle.notify_all();
        }
    }
}

/// A disk whose requests are counted.
struct Counted {
    disk: Arc<dyn BlockBackend>,
    storage: Arc<Storage>,
}

impl Counted {
    fn count(&self, request: BlockRequest) -> BlockRequest {
        let BlockRequest { operation, done } = request;
        let storage = self.storage.clone();
        storage.requests.fetch_add(1, Ordering::AcqRel);
        let counted = move |result, data| {
            done(result, data);
            storage.done();
        };
        BlockRequest { operation, done: Box::new(counted) }
    }
}

impl BlockBackend for Counted {
    fn geometry(&self) -> BlockGeometry {
        self.disk.geometry()
    }

    fn try_at_once(&self, operation: &mut Operation) -> bool {
        self.disk.try_at_once(operation)
    }

    fn submit(&self, request: BlockRequest) {
        self.disk.submit(self.count(request));
    }

    fn submit_all(&self, requests: Vec<BlockRequest>) {
        self.disk.submit_all(requests.into_iter().map(|request| self.count(request)).collect());
    }
}

/// Puts disks and their controllers on the board: one for each virtio disk, and one for all of AHCI and of IDE.
pub fn add(
    chipset: &mut Chipset,
    parts: &ChipsetParts<'_>,
    slots: &mut PciSlots,
    isa: &Arc<IsaInterrupts>,
    disks: Vec<DiskPort>,
) -> Result<(), ChipsetError> {
    let mut drives = AtaDrives::default();
    for DiskPort { disk, bus, kind, serial } in disks {
        let disk: Arc<dyn BlockBackend> = Arc::new(Counted { disk, storage: chipset.storage.clone() });
        match bus {
            DiskBus::Virtio => {
                let queues = parts.config.cpus.min(MOST_QUEUES) as u16;
                let (address, wires) = slots.take()?;
                let device = Block::new(BlockConfig { disk, serial, queues });
                let function = VirtioPci::new(device, wires).share();
                chipset.add_function(address, &function, WindowTargets::memory(function.clone()))?;
            }
            DiskBus::Nvme => {
                // Drivers make queues for each processor, some for reads and some for writes.
                let queues = (2 * parts.config.cpus).min(nvme::MOST_QUEUES.into()) as u16;
                let (address, wires) = slots.take()?;
                let options = NvmeOptions { serial, queues };
                let function = Nvme::new(NvmeArgs { wires, backend: disk, options }).connect();
                chipset.add_function(address, &function, WindowTargets::memory(function.clone()))?;
            }
            DiskBus::Ahci => drives.add_serial(disk, kind, serial)?,
            DiskBus::Ide => drives.add_parallel(disk, kind, serial)?,
        }
    }
    drives.connect(chipset, slots, isa)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk that keeps what it is asked for.
    #[derive(Default)]
    struct Slow(Mutex<Vec<BlockRequest>>);

    impl BlockBackend for Slow {
        fn geometry(&self) -> BlockGeometry {
            BlockGeometry {
                len: 0,
                logical_block: 512,
                physical_block: 512,
                read_only: true,
                discard: false,
                write_zeroes: false,
                volatile_cache: false,
            }
        }

        fn submit(&self, request: BlockRequest) {
            self.0.lock().push(request);
        }
    }

    #[test]
    fn waiting_ends_with_the_last_request_or_when_it_is_given_up() {
        let (slow, storage) = (Arc::<Slow>::default(), Arc::<Storage>::default());
        let disk = Counted { disk: slow.clone(), storage: storage.clone() };
        let flush = || BlockRequest { operation: Operation::Flush, done: Box::new(|_, _| {}) };
        disk.submit(flush());
        disk.submit_all(vec![flush(), flush()]);
        assert!(!storage.wait_until_idle(|| true));
        let worker = std::thread::spawn(move || {
            slow.0.lock().drain(..).for_each(|request| (request.done)(Ok(()), None));
        });
        assert!(storage.wait_until_idle(|| false));
        assert_eq!(storage.requests.load(Ordering::Acquire), 0);
        worker.join().unwrap();
    }
}
