//! A virtio device on a bus, and its driver.

use super::{Function, Subject};
use crate::fuzz::devices::{FUNCTION, Input, RAM, wires};
use emu_core::{
    bus::{Bus, Device},
    memory::{Dma, GuestMemory, PhysicalMemory},
};
use emu_devices::{
    pci::{PciBus, WindowTargets},
    virtio::VirtioPci,
};
use std::sync::Arc;

/// Where the windows of registers 1 (MSI-X) and 4 (everything else) are.
const MSIX: u64 = 0xD100_0000;
const WINDOW: u64 = 0xD000_0000;
/// Registers: virtio 1.2, 4.1.4.3. Where notifications and the configuration are.
const STATUS: u64 = 0x14;
const CONFIG: u64 = 0x2000;
const NOTIFY: u64 = 0x3000;
/// The status of a device that works, and of one that does not any more.
pub(super) const RUNNING: u64 = 0b1111;
pub(super) const NEEDS_RESET: u64 = 1 << 6;

/// What the driver uses of its queues, and how long they are.
const MOST_QUEUES: u16 = 12;
const SIZE: u16 = 8;
/// A queue's areas: descriptors, available and used ring; then a table of descriptors for each head.
const QUEUES: u64 = 0x1000;
const QUEUE: u64 = 0x1000;
const AVAILABLE: u64 = 0x100;
const USED: u64 = 0x200;
const TABLES: u64 = 0x400;
const TABLE: u64 = 0x80;
/// A buffer for each head of each queue.
const DATA: u64 = 0x1_0000;
const BUFFER: u64 = 0x1000;
/// Flags of descriptors.
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;
/// Ways in which a ring is made wrong.
pub(super) const WRONG: u8 = 6;
/// The head that greetings leave alone.
const LAST: u16 = SIZE - 1;

/// Which chains of a queue the device has.
#[derive(Debug, Clone, Copy, Default)]
struct Queue {
    available: u16,
    used: u16,
    busy: [bool; SIZE as usize],
}

pub(super) struct Guest<'a, S: Subject> {
    pub(super) dma: Dma,
    pub(super) function: Function<S::Device>,
    subject: &'a S,
    bus: Bus,
    pci: PciBus,
    queues: Vec<Queue>,
}

impl<'a, S: Subject> Guest<'a, S> {
    pub(super) fn new(subject: &'a S) -> Self {
        let memory = GuestMemory::new(RAM).expect("a MiB of memory");
        let dma = Dma::new(Arc::new(PhysicalMemory::new(memory)));
        let function = VirtioPci::new(subject.device(&dma), wires(&dma)).share();
        let pci = PciBus::new();
        let added = pci.add(FUNCTION, function.clone(), WindowTargets::memory(function.clone()));
        assert!(added.is_ok(), "the bus is empty");
        let guest = Guest { dma, function, subject, bus: Bus::new(), pci, queues: Vec::new() };
        guest.open_windows();
        guest
    }

    pub(super) fn open_windows(&self) {
        for (offset, value) in [(0x14, MSIX as u32), (0x20, WINDOW as u32), (0x24, 0), (0x04, 0b110)] {
            self.pci.config_write(FUNCTION, offset, 4, value);
        }
        self.pci.map_windows(&self.bus);
    }

    /// All that is in memory, with zeroes for what is not.
    pub(super) fn memory(&self) -> Vec<u8> {
        let mut bytes = vec![0; RAM as usize];
        for (page, address) in bytes.chunks_mut(0x1000).zip((0..RAM).step_by(0x1000)) {
            // There is a hole below one MiB.
            let _hole = self.dma.read(address, page);
        }
        bytes
    }

    fn write(&self, offset: u64, size: u8, value: u64) {
        self.bus.mmio_write(WINDOW + offset, size, value);
    }

    pub(super) fn status(&self) -> u64 {
        self.bus.mmio_read(WINDOW + STATUS, 1)
    }

    pub(super) fn set_status(&self, status: u64) {
        self.write(STATUS, 1, status);
    }

    fn store(&self, address: u64, bytes: &[u8]) {
        // What is not RAM stays as it is.
        let _refused = self.dma.write(address % (2 * RAM), bytes);
    }

    fn load(&self, address: u64) -> u16 {
        self.dma.load_u16(address).unwrap_or(0)
    }

    fn area(queue: u16) -> u64 {
        QUEUES + QUEUE * u64::from(queue)
    }

    /// What a driver does: virtio 1.2, 3.1.1. All features but `without`.
    pub(super) fn start(&mut self, without: u64) {
        [0, 0b11].into_iter().for_each(|status| self.set_status(status));
        for half in 0..2 {
            self.write(0x00, 4, half);
            self.write(0x08, 4, half);
            let offered = self.bus.mmio_read(WINDOW + 0x04, 4);
            self.write(0x0C, 4, offered & !(without >> (32 * half)));
        }
        self.set_status(0b1011);
        let count = (self.bus.mmio_read(WINDOW + 0x12, 2) as u16).min(MOST_QUEUES);
        self.queues = vec![Queue::default(); count.into()];
        for queue in 0..count {
            let area = Self::area(queue);
            self.store(area, &[0; QUEUE as usize]);
            self.write(0x16, 2, queue.into());
            self.write(0x18, 2, SIZE.into());
            for (register, address) in [(0x20, area), (0x28, area + AVAILABLE), (0x30, area + USED)] {
                self.write(register, 8, address);
            }
            self.write(0x1C, 2, 1);
        }
        self.set_status(RUNNING);
    }

    pub(super) fn greet(&mut self) {
        for (queue, message) in self.subject.greeting() {
            self.offer(queue, &message, 0x1000, 0);
            // What is said next needs the answer.
            self.subject.settle();
        }
    }

    /// Begins again, wherever the windows are.
    fn restart(&mut self, without: u64) {
        self.open_windows();
        self.start(without);
        self.greet();
    }

    /// A head that the device does not have.
    fn free_head(&mut self, queue: u16) -> Option<u16> {
        let used = Self::area(queue) + USED;
        let end = self.load(used + 2);
        let state = self.queues.get(usize::from(queue))?;
        // No more than there are: the guest may have written there too.
        let news = end.wrapping_sub(state.used).min(SIZE);
        let from = state.used;
        let heads: Vec<u16> = (0..news)
            .map(|n| self.load(used + 4 + 8 * u64::from(from.wrapping_add(n) % SIZE)) % SIZE)
            .collect();
        let state = &mut self.queues[usize::from(queue)];
        state.used = end;
        heads.into_iter().for_each(|head| state.busy[usize::from(head)] = false);
        (0..LAST).find(|head| !state.busy[usize::from(*head)])
    }

    /// Makes a chain of `message` and of `room` available. `shape` says how it is cut, and whether it is in the queue's own
    /// table.
    fn offer(&mut self, queue: u16, message: &[u8], room: usize, shape: u8) {
        let Some(head) = self.free_head(queue) else { return self.notify(queue) };
        let data = DATA + BUFFER * u64::from(queue * SIZE + head);
        self.store(data, message);
        let read = pieces(data, message.len(), 1 + usize::from(shape >> 1 & 3));
        let write = pieces(data + message.len() as u64, room, 1 + usize::from(shape >> 3 & 3));
        let buffers = read.map(|buffer| (buffer, 0)).chain(write.map(|buffer| (buffer, WRITE)));
        let buffers: Vec<_> = buffers.filter(|((_, len), _)| *len != 0).collect();
        let direct = shape & 1 != 0;
        let table = Self::area(queue) + if direct { 0 } else { TABLES + TABLE * u64::from(head) };
        let first = if direct { head } else { 0 };
        for (index, ((address, len), flags)) in (0u16..).zip(&buffers) {
            let more = usize::from(index) + 1 < buffers.len();
            let flags = flags | if more { NEXT } else { 0 };
            let place = |index| (first + index) % SIZE;
            self.describe(table, place(index), (*address, *len as u32, flags, place(index + 1)));
        }
        if !direct {
            let len = 16 * buffers.len() as u32;
            self.describe(Self::area(queue), head, (table, len, INDIRECT, 0));
        }
        self.publish(queue, head);
    }

    fn describe(&self, table: u64, index: u16, (address, len, flags, next): (u64, u32, u16, u16)) {
        let mut bytes = address.to_le_bytes().to_vec();
        bytes.extend(len.to_le_bytes());
        bytes.extend([flags, next].into_iter().flat_map(u16::to_le_bytes));
        self.store(table + 16 * u64::from(index), &bytes);
    }

    fn publish(&mut self, queue: u16, head: u16) {
        let state = &mut self.queues[usize::from(queue)];
        if let Some(busy) = state.busy.get_mut(usize::from(head)) {
            *busy = true;
        }
        let slot = u64::from(state.available % SIZE);
        state.available = state.available.wrapping_add(1);
        let index = state.available;
        let ring = Self::area(queue) + AVAILABLE;
        self.store(ring + 4 + 2 * slot, &head.to_le_bytes());
        self.store(ring + 2, &index.to_le_bytes());
        self.notify(queue);
    }

    fn notify(&self, queue: u16) {
        self.write(NOTIFY + 4 * u64::from(queue), 2, queue.into());
    }

    /// Makes the ring of a device that works wrong in one of [`WRONG`] ways.
    pub(super) fn make_wrong(&mut self, queue: u16, kind: u8) {
        let area = Self::area(queue);
        let buffer = (DATA, 16, 0, 0);
        match kind {
            0 => return self.skip(queue),
            1 => return self.publish(queue, SIZE),
            // It leads to itself.
            2 => self.describe(area, LAST, (DATA, 16, NEXT, LAST)),
            3 => self.describe(area, LAST, (RAM - 8, 16, 0, 0)),
            4 => {
                self.describe(area, LAST, (DATA, 16, WRITE | NEXT, LAST - 1));
                self.describe(area, LAST - 1, buffer);
            }
            // A table within a table.
            _ => {
                self.describe(area, LAST, (area + TABLES, 16, INDIRECT, 0));
                self.describe(area + TABLES, 0, (area + TABLES, 16, INDIRECT, 0));
            }
        }
        self.publish(queue, LAST);
    }

    /// More available than there are descriptors.
    fn skip(&mut self, queue: u16) {
        let index = self.queues[usize::from(queue)].available.wrapping_add(SIZE + 1);
        self.store(Self::area(queue) + AVAILABLE + 2, &index.to_le_bytes());
        self.notify(queue);
    }

    fn chain(&mut self, input: &mut Input<'_>) {
        if self.queues.is_empty() || self.status() & NEEDS_RESET != 0 {
            // What a driver does that sees it.
            self.restart(0);
        }
        if self.queues.is_empty() {
            return;
        }
        let queue = input.next(1) as u16 % self.queues.len() as u16;
        let (shape, room) = (input.next(1) as u8, input.next(1) as usize);
        let message = self.subject.message(queue, input);
        // Some are long.
        let room = if room < 0xE0 { room } else { (room - 0xDF) * 0x800 };
        self.offer(queue, &message, room, shape);
    }

    /// One thing that a guest may do.
    pub(super) fn step(&mut self, input: &mut Input<'_>) {
        let size = 1 << (input.next(1) & 3);
        // Chains more often than all else together.
        match input.next(1) % 32 {
            0 => self.write(input.next(1) % 0x40, size, input.next(8)),
            1 => _ = self.bus.mmio_read(WINDOW + input.next(2) % 0x4000, size),
            2 => self.write(input.next(2) % 0x4000, size, input.next(8)),
            3 => self.bus.mmio_write(MSIX + input.next(2) % 0x1000, size, input.next(8)),
            4 => _ = self.bus.mmio_read(MSIX + input.next(2) % 0x1000, size),
            5 => {
                let size = size.min(4);
                self.pci.config_write(FUNCTION, input.next(1) as u16, size, input.next(4) as u32);
            }
            6 => _ = self.pci.config_read(FUNCTION, input.next(1) as u16, size.min(4)),
            7 => self.store(input.next(4), &input.next(8).to_le_bytes()),
            // In a ring or a table.
            8 => {
                let (queue, at) = (input.next(1) as u16 % MOST_QUEUES, input.next(2) % QUEUE);
                self.store(Self::area(queue) + at, &input.next(2).to_le_bytes()[..2]);
            }
            9 => self.notify(input.next(1) as u16 % MOST_QUEUES),
            10 => self.restart(input.next(8)),
            11 => self.write(CONFIG + input.next(1), size, input.next(8)),
            12 if input.next(1) & 3 == 0 => {
                self.function.lock().reset();
                self.pci.windows_may_have_moved();
                self.open_windows();
            }
            _ => self.chain(input),
        }
        self.pci.map_windows(&self.bus);
    }
}

/// `len` bytes from `address` on, in so many pieces.
fn pieces(address: u64, len: usize, count: usize) -> impl Iterator<Item = (u64, usize)> {
    let cut = move |n: usize| len * n / count;
    (0..count).map(move |n| (address + cut(n) as u64, cut(n + 1) - cut(n)))
}
