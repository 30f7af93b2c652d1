//! What every format of images can do. Several threads ask at the same time.

use crate::{
    buffers::{Source, Target},
    file::Wait,
};
use std::io;

/// What is known of a stretch of a disk without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Bytes.
    pub len: u64,
    /// What is there.
    pub kind: ExtentKind,
    /// Which image of the chain has it: 0 is the one that was opened, 1 its backing file.
    pub depth: u32,
}

/// See [`Extent`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtentKind {
    /// Data at this offset of the image's file.
    Data(u64),
    /// Data that has to be unpacked.
    Compressed,
    /// Zeroes: the image says so.
    Zero,
    /// No image of the chain says anything: zeroes.
    Unallocated,
}

impl ExtentKind {
    /// Whether reading gives zeroes for sure.
    pub fn reads_as_zero(self) -> bool {
        matches!(self, ExtentKind::Zero | ExtentKind::Unallocated)
    }
}

/// A disk's content. Who asks has made sure that a request lies within the disk.
pub(crate) trait Image: Send + Sync {
    /// The disk's length: a multiple of 512.
    fn len(&self) -> u64;

    /// Fills `target`.
    fn read(&self, offset: u64, target: &Target<'_>, wait: Wait) -> io::Result<()>;

    /// What is at `offset`, for at most `len` bytes.
    fn extent(&self, offset: u64, len: u64) -> io::Result<Extent>;

    /// Writes `source`.
    fn write(&self, offset: u64, source: &Source<'_>) -> io::Result<()>;

    /// Makes zeroes.
    fn write_zeroes(&self, offset: u64, len: u64, unmap: bool) -> io::Result<()>;

    /// Forgets the content, where that gives something back.
    fn discard(&self, offset: u64, len: u64) -> io::Result<()>;

    /// What was written is in the file, and outlives a loss of power.
    fn flush(&self) -> io::Result<()>;

    /// Whether a read with [`Wait::No`] waits for nothing at all, neither for its metadata nor for who else uses the
    /// image.
    fn answers_at_once(&self) -> bool {
        false
    }

    /// Whether data passes the host's cache.
    fn direct(&self) -> bool {
        false
    }
}
