//! NVM commands: requests to the backend. NVM Express 1.4, chapter 6.

use super::{
    Nvme,
    command::{ALL_NAMESPACES, Command, nvm},
    identify::LARGEST_TRANSFER,
    outstanding::Task,
    prp,
    service::Answer,
    status::Status,
};
use emu_core::{
    backend::{BlockError, BlockGeometry, Data, Operation},
    memory::{Dma, DmaBuffer},
};

/// The one namespace.
pub(super) const NAMESPACE: u32 = 1;
/// Commands that may be carried out while the host waits for its write of a doorbell.
const MOST_AT_ONCE: usize = 4;
/// Dword 12: force unit access; and of WRITE ZEROES, deallocate.
const FUA: u32 = 1 << 30;
const DEALLOCATE: u32 = 1 << 25;
/// Dword 11 of DATASET MANAGEMENT: deallocate.
const ATTRIBUTE_DEALLOCATE: u32 = 1 << 2;
/// Bytes of a range of DATASET MANAGEMENT.
const RANGE: usize = 16;

/// Bytes on the disk.
#[derive(Debug, Clone, Copy)]
struct Extent {
    offset: u64,
    len: u64,
}

impl Nvme {
    /// A command of I/O queue `queue`.
    pub(super) fn transfer(&mut self, queue: u16, command: &Command, dma: &Dma) -> Answer {
        if command.opcode() == nvm::COMPARE && self.outstanding.compares_full() {
            return Answer::NoRoom;
        }
        match self.request(command, dma) {
            Ok(Some((task, mut operation))) => {
                if matches!(task, Task::Plain)
                    && self.at_once < MOST_AT_ONCE
                    && self.backend.try_at_once(&mut operation)
                {
                    self.at_once += 1;
                    self.count(command);
                    return Answer::Now(Ok(0));
                }
                self.start(queue, command, task, operation);
                Answer::Later
            }
            Ok(None) => Answer::Now(Ok(0)),
            Err(status) => Answer::Now(Err(status)),
        }
    }

    /// The request that `command` begins with, if it needs any.
    fn request(&self, command: &Command, dma: &Dma) -> Result<Option<(Task, Operation)>, Status> {
        let opcode = command.opcode();
        let for_all = opcode == nvm::FLUSH && command.namespace() == ALL_NAMESPACES;
        if command.namespace() != NAMESPACE && !for_all {
            return Err(Status::INVALID_NAMESPACE);
        }
        let geometry = &self.backend.geometry();
        Ok(Some(match opcode {
            nvm::FLUSH => (Task::Plain, Operation::Flush),
            nvm::READ => {
                let (Extent { offset, .. }, buffer) = self.data(geometry, command, dma)?;
                (Task::Plain, Operation::Read { offset, data: Data::Guest(buffer) })
            }
            nvm::WRITE => {
                check_writable(geometry)?;
                let (Extent { offset, .. }, buffer) = self.data(geometry, command, dma)?;
                let through = self.is_through(command);
                (Task::Plain, Operation::Write { offset, data: Data::Guest(buffer), through })
            }
            nvm::COMPARE => {
                let (Extent { offset, len }, buffer) = self.data(geometry, command, dma)?;
                let data = Data::Device(vec![0; len as usize].into_boxed_slice());
                (Task::Compare(buffer), Operation::Read { offset, data })
            }
            nvm::WRITE_ZEROES if geometry.write_zeroes => {
                check_writable(geometry)?;
                let Extent { offset, len } = extent(geometry, command.first_block(), command.blocks())?;
                let task = if self.is_through(command) { Task::Zeroes } else { Task::Plain };
                let unmap = command.dword(12) & DEALLOCATE != 0;
                (task, Operation::WriteZeroes { offset, len, unmap })
            }
            nvm::DATASET_MANAGEMENT if geometry.discard => {
                let mut ranges = self.ranges(geometry, command, dma)?;
                let Some((offset, len)) = ranges.pop() else { return Ok(None) };
                (Task::Deallocate(ranges), Operation::Discard { offset, len })
            }
            _ => return Err(Status::INVALID_OPCODE),
        }))
    }

    /// Whether a write is to outlive a loss of power before it ends.
    fn is_through(&self, command: &Command) -> bool {
        command.dword(12) & FUA != 0 || self.features.writes_through()
    }

    /// Where the data of a command with blocks is on the disk and in memory.
    fn data(
        &self,
        geometry: &BlockGeometry,
        command: &Command,
        dma: &Dma,
    ) -> Result<(Extent, DmaBuffer), Status> {
        let extent = extent(geometry, command.first_block(), command.blocks())?;
        if extent.len > LARGEST_TRANSFER {
            return Err(Status::INVALID_FIELD);
        }
        let buffer = prp::buffer(dma, self.registers.page(), command, extent.len as usize)?;
        Ok((extent, buffer))
    }

    /// What DATASET MANAGEMENT deallocates: bytes (offset, length), the first range at the end.
    fn ranges(
        &self,
        geometry: &BlockGeometry,
        command: &Command,
        dma: &Dma,
    ) -> Result<Vec<(u64, u64)>, Status> {
        if command.dword(11) & ATTRIBUTE_DEALLOCATE == 0 {
            // Hints of how blocks will be used.
            return Ok(Vec::new());
        }
        check_writable(geometry)?;
        let count = (command.dword(10) as usize & 0xFF) + 1;
        let mut bytes = [0; 256 * RANGE];
        let bytes = &mut bytes[..count * RANGE];
        prp::buffer(dma, self.registers.page(), command, bytes.len())?.copy_to(0, bytes);
        let mut ranges = Vec::with_capacity(count);
        // Of each range, the first four bytes are hints.
        for range in bytes.as_chunks::<RANGE>().0.iter().rev() {
            let [_, _, _, _, b0, b1, b2, b3, first @ ..] = *range;
            let blocks = u32::from_le_bytes([b0, b1, b2, b3]);
            let Extent { offset, len } = extent(geometry, u64::from_le_bytes(first), blocks.into())?;
            if len != 0 {
                ranges.push((offset, len));
            }
        }
        Ok(ranges)
    }

    /// The backend has done a request of `command`: what the command ended with, if there is nothing more to do.
    pub(super) fn next_step(
        &mut self,
        queue: u16,
        command: &Command,
        task: Task,
        result: Result<Option<Data>, BlockError>,
    ) -> Option<Result<u32, Status>> {
        let data = match (result, &task) {
            (Ok(data), _) => data,
            // To deallocate is a hint, which a disk need not take.
            (Err(BlockError::Unsupported), Task::Deallocate(_)) => None,
            (Err(error), _) => return Some(Err(status(command, error))),
        };
        match task {
            Task::Plain | Task::Shutdown => {
                self.count(command);
                Some(Ok(0))
            }
            Task::Compare(expected) => {
                self.count(command);
                let equal = data.is_some_and(|data| equals(&data, &expected));
                Some(if equal { Ok(0) } else { Err(Status::COMPARE_FAILURE) })
            }
            Task::Zeroes => {
                self.start(queue, command, Task::Plain, Operation::Flush);
                None
            }
            Task::Deallocate(mut ranges) => {
                let Some((offset, len)) = ranges.pop() else { return Some(Ok(0)) };
                self.start(queue, command, Task::Deallocate(ranges), Operation::Discard { offset, len });
                None
            }
        }
    }

    fn count(&mut self, command: &Command) {
        let bytes = command.blocks() * self.block;
        match command.opcode() {
            nvm::READ | nvm::COMPARE => self.log.read(bytes),
            nvm::WRITE => self.log.written(bytes),
            _ => {}
        }
    }
}

fn check_writable(geometry: &BlockGeometry) -> Result<(), Status> {
    if geometry.read_only { Err(Status::WRITE_PROTECTED) } else { Ok(()) }
}

/// Logical blocks as bytes, if the disk has them.
fn extent(geometry: &BlockGeometry, first: u64, blocks: u64) -> Result<Extent, Status> {
    let block = u64::from(geometry.logical_block);
    let end = first.checked_add(blocks).filter(|end| *end <= geometry.len / block);
    end.ok_or(Status::LBA_RANGE)?;
    Ok(Extent { offset: first * block, len: blocks * block })
}

/// What a failure of the backend is to the host.
fn status(command: &Command, error: BlockError) -> Status {
    match (error, command.opcode()) {
        (BlockError::Range, _) => Status::LBA_RANGE,
        (BlockError::ReadOnly, _) => Status::WRITE_PROTECTED,
        (BlockError::Unsupported, _) => Status::INVALID_OPCODE,
        (BlockError::Host, nvm::READ | nvm::COMPARE) => Status::UNRECOVERED_READ,
        (BlockError::Host, nvm::WRITE | nvm::WRITE_ZEROES) => Status::WRITE_FAULT,
        (BlockError::Host, _) => Status::INTERNAL,
    }
}

/// Whether what was read is what the guest has in memory.
fn equals(data: &Data, expected: &DmaBuffer) -> bool {
    let Data::Device(read) = data else { return false };
    let mut chunk = [0; 4096];
    let mut chunks = read.chunks(chunk.len()).enumerate();
    read.len() == expected.len()
        && chunks.all(|(index, read)| {
            let chunk = &mut chunk[..read.len()];
            expected.copy_to(index * 4096, chunk);
            chunk == read
        })
}
