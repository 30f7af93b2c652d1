//! What guests without sense have in common: the input, a device's wires, and a disk.

use emu_core::{
    backend::{BlockBackend, BlockError, BlockGeometry, BlockRequest, Data, Operation},
    bus::{IrqLine, MsiSink},
    memory::Dma,
};
use emu_devices::pci::{FunctionAddress, PciWires};
use parking_lot::Mutex;
use std::sync::Arc;

pub(super) const RAM: u64 = 1 << 20;
pub(super) const FUNCTION: FunctionAddress = FunctionAddress::new(0, 1, 0);
struct Nowhere;

impl MsiSink for Nowhere {
    fn send_msi(&self, _address: u64, _data: u32) {}
}

/// The next bytes of the input; zeroes behind its end.
#[derive(Clone, Copy)]
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    /// Up to `len` bytes.
    pub(super) fn bytes(&mut self, len: usize) -> &'a [u8] {
        self.0.split_off(..self.0.len().min(len)).unwrap_or_default()
    }

    /// One of `choices`.
    pub(super) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.next(1) as usize % choices.len()]
    }

    /// A number of `len` bytes.
    pub(super) fn next(&mut self, len: usize) -> u64 {
        self.bytes(len).iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }
}

pub(super) fn wires(dma: &Dma) -> PciWires {
    PciWires { intx: IrqLine::unconnected(), msi: Arc::new(Nowhere), dma: dma.clone() }
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

    /// Does everything that it was asked for, or fails; `choice` says that and in which order. Panics where that is not
    /// on the disk: the device is to look.
    pub(super) fn work(&self, choice: u64) {
        let mut waiting = std::mem::take(&mut *self.waiting.lock());
        let first = (choice as usize & 0x1F).checked_rem(waiting.len()).unwrap_or(0);
        waiting.rotate_left(first);
        let result = if choice >> 5 == 0b11 { Err(BlockError::Host) } else { Ok(()) };
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
            done(result, data);
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
