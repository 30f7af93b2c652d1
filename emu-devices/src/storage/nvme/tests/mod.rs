//! What a host's driver sees of the controller, with a disk that is done when the test says so.

mod admin;
mod disk;
mod io;
mod lifecycle;
mod prp;
mod senseless;

use super::*;
use crate::{
    pci::{command as pci_command, reg as pci_reg},
    probe::Probe,
};
use disk::Disk;
use emu_core::{
    bus::MsiSink,
    memory::{Dma, GuestMemory, PhysicalMemory},
};

/// Guest-physical addresses.
const ASQ: u64 = 0x1_0000;
const ACQ: u64 = 0x1_1000;
const IO_QUEUES: u64 = 0x2_0000;
const DATA: u64 = 0x10_0000;
const RAM: u64 = 4 << 20;
/// Entries of the admin queues.
const ADMIN_SIZE: u32 = 8;
/// CC: enabled, with entries of 64 and 16 bytes.
const ENABLED: u32 = 1 | 6 << 16 | 4 << 20;
const QUEUES: u16 = 4;
/// Offset of MSI-X message control: the capability is behind that of PCI Express.
const MSIX: u16 = 0x7C;

/// The messages that were sent, by their data.
#[derive(Default)]
struct Messages(Mutex<Vec<u32>>);

impl MsiSink for Messages {
    fn send_msi(&self, _: u64, data: u32) {
        self.0.lock().push(data);
    }
}

/// One pair of queues, as the driver keeps it.
#[derive(Debug, Clone, Copy)]
struct Pair {
    number: u16,
    submission: u64,
    completion: u64,
    size: u32,
    tail: u32,
    head: u32,
    phase: bool,
}

impl Pair {
    fn new(number: u16, size: u32) -> Self {
        let submission = if number == 0 { ASQ } else { IO_QUEUES + u64::from(number) * 0x2000 };
        let completion = if number == 0 { ACQ } else { submission + 0x1000 };
        Pair { number, submission, completion, size, tail: 0, head: 0, phase: true }
    }

    fn doorbell(&self, head: bool) -> u64 {
        0x1000 + 8 * u64::from(self.number) + if head { 4 } else { 0 }
    }
}

/// A completion, as the host finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    result: u32,
    id: u16,
    /// Type and code.
    status: u16,
}

struct Bench {
    nvme: Arc<Mutex<Nvme>>,
    dma: Dma,
    disk: Arc<Disk>,
    messages: Arc<Messages>,
    wire: Arc<Probe>,
    pairs: Vec<Pair>,
    next_id: u16,
}

/// A command with these dwords set.
fn command(opcode: u8, dwords: &[(usize, u32)]) -> [u32; 16] {
    let mut words = [0; 16];
    words[0] = opcode.into();
    for (at, value) in dwords {
        words[*at] |= value;
    }
    words
}

/// A command of an I/O queue: blocks of the namespace, and data at [`DATA`].
fn blocks(opcode: u8, first: u32, count: u32) -> [u32; 16] {
    command(opcode, &[(1, 1), (6, DATA as u32), (10, first), (12, count - 1)])
}

impl Bench {
    /// After power-on.
    fn new() -> Self {
        Self::with_disk(Disk::new(64 << 10))
    }

    fn with_disk(disk: Disk) -> Self {
        let memory = Arc::new(PhysicalMemory::new(GuestMemory::new(RAM).unwrap()));
        let (disk, dma) = (Arc::new(disk), Dma::new(memory));
        let (messages, wire) = (Arc::<Messages>::default(), Probe::new());
        let mut bench = Bench {
            nvme: Nvme::new(Self::args(&dma, &disk, &messages, &wire)).connect(),
            dma,
            disk,
            messages,
            wire,
            pairs: Vec::new(),
            next_id: 100,
        };
        bench.configure(pci_reg::COMMAND as u16, 2, pci_command::MEMORY | pci_command::BUS_MASTER);
        bench
    }

    fn args(dma: &Dma, disk: &Arc<Disk>, messages: &Arc<Messages>, wire: &Arc<Probe>) -> NvmeArgs {
        NvmeArgs {
            wires: PciWires { intx: wire.line(0), msi: messages.clone(), dma: dma.clone() },
            backend: disk.clone(),
            options: NvmeOptions { serial: "S1".to_owned(), queues: QUEUES },
        }
    }

    /// Ready for admin commands.
    fn enabled() -> Self {
        let mut bench = Self::new();
        bench.enable();
        bench
    }

    /// With one pair of I/O queues of 8 entries, and MSI-X.
    fn running() -> Self {
        let mut bench = Self::enabled();
        bench.use_messages();
        bench.make_queues(1, 8);
        bench.messages.0.lock().clear();
        bench
    }

    fn enable(&mut self) {
        self.write(0x24, (ADMIN_SIZE - 1) << 16 | (ADMIN_SIZE - 1));
        self.write(0x28, ASQ as u32);
        self.write(0x30, ACQ as u32);
        self.dma.write(ACQ, &[0; 0x1000]).unwrap();
        self.write(0x14, ENABLED);
        self.pairs = vec![Pair::new(0, ADMIN_SIZE)];
    }

    fn use_messages(&mut self) {
        self.configure(MSIX + 2, 2, 1 << 15);
        for vector in 0..=u32::from(QUEUES) {
            for (word, value) in [0xFEE0_0000, 0, vector, 0].into_iter().enumerate() {
                let at = u64::from(MSIX_TABLE) + 16 * u64::from(vector) + 4 * word as u64;
                self.nvme.lock().mmio_write(BAR, at, 4, value.into()).unwrap();
            }
        }
    }

    fn make_queues(&mut self, number: u16, size: u32) {
        let pair = Pair::new(number, size);
        self.dma.write(pair.submission, &[0; 0x2000]).unwrap();
        let id = u32::from(number);
        let vector = if self.nvme.lock().messages { id } else { 0 };
        let dword10 = (size - 1) << 16 | id;
        let create = command(5, &[(6, pair.completion as u32), (10, dword10), (11, vector << 16 | 3)]);
        assert_eq!(self.admin(create).status, 0);
        let create = command(1, &[(6, pair.submission as u32), (10, dword10), (11, id << 16 | 1)]);
        assert_eq!(self.admin(create).status, 0);
        self.pairs.resize(self.pairs.len().max(usize::from(number) + 1), Pair::new(0, 2));
        self.pairs[usize::from(number)] = pair;
    }

    fn configure(&mut self, offset: u16, size: u8, value: u32) {
        let mut nvme = self.nvme.lock();
        nvme.config_mut().write(offset, size, value);
        nvme.config_written(offset, size);
    }

    fn write(&self, offset: u64, value: u32) {
        self.nvme.lock().mmio_write(BAR, offset, 4, value.into()).unwrap();
    }

    fn read(&self, offset: u64) -> u32 {
        self.nvme.lock().mmio_read(BAR, offset, 4).unwrap() as u32
    }

    /// CSTS.
    fn status(&self) -> u32 {
        self.read(0x1C)
    }

    /// Writes commands to a queue and rings once; returns their identifiers.
    fn submit(&mut self, queue: usize, commands: &[[u32; 16]]) -> Vec<u16> {
        let ids = self.enqueue(queue, commands);
        let pair = self.pairs[queue];
        self.write(pair.doorbell(false), pair.tail);
        ids
    }

    fn enqueue(&mut self, queue: usize, commands: &[[u32; 16]]) -> Vec<u16> {
        let mut ids = Vec::new();
        for words in commands {
            let pair = &mut self.pairs[queue];
            let mut words = *words;
            words[0] |= u32::from(self.next_id) << 16;
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            self.dma.write(pair.submission + 64 * u64::from(pair.tail), &bytes).unwrap();
            pair.tail = (pair.tail + 1) % pair.size;
            ids.push(self.next_id);
            self.next_id += 1;
        }
        ids
    }

    /// Entries that the host has not looked at, without telling the controller that it has.
    fn look(&mut self, queue: usize) -> Vec<Entry> {
        let mut entries = Vec::new();
        loop {
            let pair = &mut self.pairs[queue];
            let mut bytes = [0; 16];
            self.dma.read(pair.completion + 16 * u64::from(pair.head), &mut bytes).unwrap();
            let word =
                |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            if (word(12) >> 16 & 1 != 0) != pair.phase {
                return entries;
            }
            assert_eq!(word(8) >> 16, u32::from(pair.number), "the submission queue");
            let status = (word(12) >> 17) as u16 & 0x7FF;
            entries.push(Entry { result: word(0), id: word(12) as u16, status });
            pair.head += 1;
            if pair.head == pair.size {
                (pair.head, pair.phase) = (0, !pair.phase);
            }
        }
    }

    /// Takes entries and tells the controller.
    fn reap(&mut self, queue: usize) -> Vec<Entry> {
        let entries = self.look(queue);
        if !entries.is_empty() {
            let pair = self.pairs[queue];
            self.write(pair.doorbell(true), pair.head);
        }
        entries
    }

    /// Does an admin command that ends at once.
    fn admin(&mut self, words: [u32; 16]) -> Entry {
        let ids = self.submit(0, &[words]);
        let entries = self.reap(0);
        assert_eq!(entries.iter().map(|entry| entry.id).collect::<Vec<_>>(), ids);
        entries[0]
    }

    /// Does an I/O command that the disk does at once; returns its status.
    fn io(&mut self, words: [u32; 16]) -> u16 {
        let ids = self.submit(1, &[words]);
        self.disk.finish_all();
        let entries = self.reap(1);
        assert_eq!(entries.iter().map(|entry| entry.id).collect::<Vec<_>>(), ids);
        entries[0].status
    }

    fn bytes(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.dma.read(at, &mut bytes).unwrap();
        bytes
    }

    fn sent(&self) -> Vec<u32> {
        std::mem::take(&mut self.messages.0.lock())
    }
}
