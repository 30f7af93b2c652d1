//! Descriptor chains: virtio 1.2, 2.7.5 to 2.7.8.

use super::ring::RingError;
use emu_core::memory::{Dma, DmaBuffer};

/// Bytes of a descriptor.
pub(super) const DESCRIPTOR: u64 = 16;
/// Flags.
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;
/// The most buffers of a chain, also where a table of descriptors could hold more.
const MOST_BUFFERS: usize = 1024;

/// A row of buffers that the driver has made available.
#[derive(Debug)]
pub struct Chain {
    /// The queue it came from.
    pub(super) queue: u16,
    /// Its first descriptor, by which the driver knows it.
    pub(super) head: u16,
    /// The life of the device, between resets, that it is of.
    pub(super) life: u64,
    /// What the device reads.
    pub readable: DmaBuffer,
    /// What the device writes.
    pub writable: DmaBuffer,
}

/// The buffers of a chain: addresses and lengths.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    pub(super) readable: Vec<(u64, usize)>,
    pub(super) writable: Vec<(u64, usize)>,
    bytes: u64,
}

/// Where descriptors are.
#[derive(Clone, Copy)]
struct Table {
    address: u64,
    entries: u32,
}

struct Descriptor {
    address: u64,
    len: u32,
    flags: u16,
    next: u16,
}

impl Table {
    fn descriptor(&self, dma: &Dma, index: u16) -> Result<Descriptor, RingError> {
        if u32::from(index) >= self.entries {
            return Err(RingError::Index(index));
        }
        let at = self.address.checked_add(u64::from(index) * DESCRIPTOR);
        let mut bytes = [0; DESCRIPTOR as usize];
        dma.read(at.ok_or(RingError::Index(index))?, &mut bytes)?;
        let [a0, a1, a2, a3, a4, a5, a6, a7, l0, l1, l2, l3, f0, f1, n0, n1] = bytes;
        Ok(Descriptor {
            address: u64::from_le_bytes([a0, a1, a2, a3, a4, a5, a6, a7]),
            len: u32::from_le_bytes([l0, l1, l2, l3]),
            flags: u16::from_le_bytes([f0, f1]),
            next: u16::from_le_bytes([n0, n1]),
        })
    }
}

impl Descriptor {
    /// The table that it leads to.
    fn table(&self) -> Result<Table, RingError> {
        let entries = self.len / DESCRIPTOR as u32;
        if !u64::from(self.len).is_multiple_of(DESCRIPTOR) || entries == 0 || self.flags & NEXT != 0 {
            return Err(RingError::Indirect);
        }
        Ok(Table { address: self.address, entries })
    }
}

impl Buffers {
    /// Collects the chain that begins at `head` of the queue's table. `indirect`: the driver may use other tables.
    pub(super) fn collect(
        &mut self,
        dma: &Dma,
        (address, size): (u64, u16),
        head: u16,
        indirect: bool,
    ) -> Result<(), RingError> {
        self.readable.clear();
        self.writable.clear();
        self.bytes = 0;
        let mut table = Table { address, entries: size.into() };
        let mut descriptor = table.descriptor(dma, head)?;
        let mut in_queue = true;
        let mut steps = 0;
        loop {
            if descriptor.flags & INDIRECT != 0 {
                if !indirect || !in_queue {
                    return Err(RingError::Indirect);
                }
                table = descriptor.table()?;
                descriptor = table.descriptor(dma, 0)?;
                (in_queue, steps) = (false, 0);
                continue;
            }
            self.add(&descriptor)?;
            if descriptor.flags & NEXT == 0 {
                return Ok(());
            }
            steps += 1;
            if steps == table.entries {
                return Err(RingError::Loop);
            }
            descriptor = table.descriptor(dma, descriptor.next)?;
        }
    }

    fn add(&mut self, descriptor: &Descriptor) -> Result<(), RingError> {
        let buffer = (descriptor.address, descriptor.len as usize);
        self.bytes += u64::from(descriptor.len);
        if self.readable.len() + self.writable.len() == MOST_BUFFERS || self.bytes > u64::from(u32::MAX) {
            return Err(RingError::Long);
        }
        if descriptor.flags & WRITE != 0 {
            self.writable.push(buffer);
        } else if self.writable.is_empty() {
            self.readable.push(buffer);
        } else {
            return Err(RingError::Order);
        }
        Ok(())
    }
}
