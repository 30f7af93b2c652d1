//! Block storage: what a disk controller asks of an image.

use crate::memory::DmaBuffer;

/// Why a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// The host could not read or write.
    #[error("the host failed")]
    Host,
    /// It lies beyond the end, or is not a multiple of the block's size.
    #[error("outside the disk")]
    Range,
    /// The image may only be read.
    #[error("read-only")]
    ReadOnly,
    /// The image knows no such operation.
    #[error("not supported")]
    Unsupported,
}

/// What a disk is like. Lengths are bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockGeometry {
    /// Its length: a multiple of `logical_block`.
    pub len: u64,
    /// The unit that requests come in: a power of two, at least 512.
    pub logical_block: u32,
    /// What the host writes in one: a power of two, at least `logical_block`.
    pub physical_block: u32,
    /// Writes are refused.
    pub read_only: bool,
    /// Discarding gives something back.
    pub discard: bool,
    /// Writing zeroes is cheaper than writing.
    pub write_zeroes: bool,
    /// What was written may be lost with the host's power until it is flushed.
    pub volatile_cache: bool,
}

/// Where data comes from or goes to.
#[derive(Debug)]
pub enum Data {
    /// The guest's memory.
    Guest(DmaBuffer),
    /// The device's own buffer, as of a controller that is read by ports.
    Device(Box<[u8]>),
}

impl Data {
    /// Bytes.
    pub fn len(&self) -> usize {
        match self {
            Data::Guest(buffer) => buffer.len(),
            Data::Device(bytes) => bytes.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What to do. Offsets and lengths are bytes and multiples of the logical block.
#[derive(Debug)]
pub enum Operation {
    /// Fill `data` from `offset` on.
    Read {
        /// Where on the disk.
        offset: u64,
        /// What to fill.
        data: Data,
    },
    /// Write `data` at `offset`.
    Write {
        /// Where on the disk.
        offset: u64,
        /// What to write.
        data: Data,
        /// It is to outlive a loss of power before this request is done.
        through: bool,
    },
    /// All writes that were done before this was asked for are to outlive a loss of power.
    Flush,
    /// The content is not needed any more; reads may give anything that was there, or zeroes.
    Discard {
        /// Where on the disk.
        offset: u64,
        /// How much.
        len: u64,
    },
    /// Reads give zeroes from now on.
    WriteZeroes {
        /// Where on the disk.
        offset: u64,
        /// How much.
        len: u64,
        /// The space may be given back to the host.
        unmap: bool,
    },
}

/// Told how a request ended, with the data of a read or a write. Called once, on a thread of the backend's.
pub type Completion = Box<dyn FnOnce(Result<(), BlockError>, Option<Data>) + Send>;

/// One request.
pub struct BlockRequest {
    /// What to do.
    pub operation: Operation,
    /// Who is told.
    pub done: Completion,
}

/// A disk. Requests are independent of each other, and may be done in any order and at once: who needs an order waits
/// for a completion before asking for more.
pub trait BlockBackend: Send + Sync {
    /// What the disk is like now; its length can change.
    fn geometry(&self) -> BlockGeometry;
    /// Carries out an operation on the caller's thread, a vCPU's, if that is short and waits for nothing: as a read of
    /// what the host has in its cache. Returns whether it has been done, and well. Otherwise it is to be submitted; a
    /// read may have filled a part of its place.
    fn try_at_once(&self, _operation: &mut Operation) -> bool {
        false
    }
    /// Takes a request. Returns at once; completions come later, never from within.
    fn submit(&self, request: BlockRequest);
    /// Takes requests that were found together.
    fn submit_all(&self, requests: Vec<BlockRequest>) {
        requests.into_iter().for_each(|request| self.submit(request));
    }
}
