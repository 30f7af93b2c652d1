//! What a chain asks of the disk: virtio 1.2, 5.2.6.

use super::{Block, Chain, MOST_SECTORS, MOST_SEGMENTS};
use emu_core::backend::{BlockError, Data, Operation};

/// The unit of addresses.
pub(super) const SECTOR: u64 = 512;
/// Bytes of the header: type, reserved, sector.
const HEADER: usize = 16;
/// Bytes of a segment: sector, number of sectors, flags.
const SEGMENT: usize = 16;
/// Flag of a segment: the space may be given back.
const UNMAP: u32 = 1;

/// Types of requests.
mod kind {
    pub(super) const IN: u32 = 0;
    pub(super) const OUT: u32 = 1;
    pub(super) const FLUSH: u32 = 4;
    pub(super) const GET_ID: u32 = 8;
    pub(super) const DISCARD: u32 = 11;
    pub(super) const WRITE_ZEROES: u32 = 13;
}

/// The status byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Ok = 0,
    IoError = 1,
    Unsupported = 2,
}

impl From<Result<(), BlockError>> for Status {
    fn from(result: Result<(), BlockError>) -> Self {
        match result {
            Ok(()) => Status::Ok,
            Err(BlockError::Unsupported) => Status::Unsupported,
            Err(BlockError::Host | BlockError::Range | BlockError::ReadOnly) => Status::IoError,
        }
    }
}

/// A request.
pub(super) enum Request {
    /// It is over.
    Done(Status),
    /// The serial number.
    Serial,
    /// Something for the disk.
    One(Operation),
    /// Several things for the disk.
    Several(Vec<Operation>),
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn double(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at + 4)) << 32 | u64::from(word(bytes, at))
}

impl Request {
    /// What `chain` asks of `block`; an error if it has no place for header and status.
    pub(super) fn parse(chain: &Chain, block: &Block) -> Result<Request, &'static str> {
        if chain.readable.len() < HEADER {
            return Err("a block request without a header");
        }
        if chain.writable.is_empty() {
            return Err("a block request without a place for its status");
        }
        let mut header = [0; HEADER];
        chain.readable.copy_to(0, &mut header);
        let (kind, sector) = (word(&header, 0), double(&header, 8));
        Ok(match kind {
            kind::IN => Self::read(chain, block, sector),
            kind::OUT => Self::write(chain, block, sector),
            kind::FLUSH if block.geometry.volatile_cache => Request::One(Operation::Flush),
            kind::FLUSH => Request::Done(Status::Ok),
            kind::GET_ID => Request::Serial,
            kind::DISCARD if block.geometry.discard => Self::segments(chain, block, discard),
            kind::WRITE_ZEROES => Self::segments(chain, block, write_zeroes),
            _ => Request::Done(Status::Unsupported),
        })
    }

    fn read(chain: &Chain, block: &Block, sector: u64) -> Request {
        let len = chain.writable.len() - 1;
        match block.place(sector, len as u64) {
            Some(_) if len == 0 => Request::Done(Status::Ok),
            Some(offset) => {
                Request::One(Operation::Read { offset, data: Data::Guest(chain.writable.slice(0..len)) })
            }
            None => Request::Done(Status::IoError),
        }
    }

    fn write(chain: &Chain, block: &Block, sector: u64) -> Request {
        let len = chain.readable.len() - HEADER;
        match block.place(sector, len as u64) {
            _ if block.geometry.read_only => Request::Done(Status::IoError),
            Some(_) if len == 0 => Request::Done(Status::Ok),
            Some(offset) => Request::One(Operation::Write {
                offset,
                data: Data::Guest(chain.readable.slice(HEADER..chain.readable.len())),
                through: block.writes_through(),
            }),
            None => Request::Done(Status::IoError),
        }
    }

    /// A request whose data are segments, each of which `operation` makes something of.
    fn segments(
        chain: &Chain,
        block: &Block,
        operation: fn(offset: u64, len: u64, flags: u32) -> Option<Operation>,
    ) -> Request {
        let len = chain.readable.len() - HEADER;
        if block.geometry.read_only || len > MOST_SEGMENTS as usize * SEGMENT || !len.is_multiple_of(SEGMENT)
        {
            return Request::Done(Status::IoError);
        }
        let mut bytes = vec![0; len];
        chain.readable.copy_to(HEADER, &mut bytes);
        let mut operations = Vec::with_capacity(len / SEGMENT);
        for segment in bytes.chunks_exact(SEGMENT) {
            let (sector, sectors, flags) = (double(segment, 0), word(segment, 8), word(segment, 12));
            let len = u64::from(sectors) * SECTOR;
            let Some(offset) = block.place(sector, len).filter(|_| sectors <= MOST_SECTORS) else {
                return Request::Done(Status::IoError);
            };
            match operation(offset, len, flags) {
                Some(operation) if sectors != 0 => operations.push(operation),
                Some(_) => {}
                None => return Request::Done(Status::Unsupported),
            }
        }
        match operations.len() {
            0 => Request::Done(Status::Ok),
            1 => Request::One(operations.remove(0)),
            _ => Request::Several(operations),
        }
    }
}

/// No flag has a meaning here: 5.2.6.2.
fn discard(offset: u64, len: u64, flags: u32) -> Option<Operation> {
    (flags == 0).then_some(Operation::Discard { offset, len })
}

fn write_zeroes(offset: u64, len: u64, flags: u32) -> Option<Operation> {
    (flags & !UNMAP == 0).then_some(Operation::WriteZeroes { offset, len, unmap: flags & UNMAP != 0 })
}

impl Block {
    /// Where `len` bytes from `sector` on are, if they are whole blocks of the disk.
    fn place(&self, sector: u64, len: u64) -> Option<u64> {
        let offset = sector.checked_mul(SECTOR)?;
        let whole = (offset | len).is_multiple_of(self.geometry.logical_block.into());
        (whole && offset.checked_add(len)? <= self.geometry.len).then_some(offset)
    }
}
