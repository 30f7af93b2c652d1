//! Guest memory as bus masters see it: what a device reads and writes on its own.
//!
//! A device's write tells the vCPUs about code that it replaced, as a store of theirs does, but afterwards: a guest
//! looks for what a device has written when the device says that it is there. The A20 gate is between the processors
//! and the rest of the machine, so addresses here do not pass it. What is not RAM is an error: no device of ours is the
//! target of another's access.

use super::{MemoryError, PhysicalMemory};
use std::{
    fmt,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
};

const PAGE: u64 = 4096;

/// A bus master's way to memory. Clones are the same.
#[derive(Clone)]
pub struct Dma(Arc<PhysicalMemory>);

impl Dma {
    /// A way to `memory`.
    pub fn new(memory: Arc<PhysicalMemory>) -> Self {
        Dma(memory)
    }

    /// Copies memory at `address` into `bytes`.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), MemoryError> {
        let host = self.host(address, bytes.len())?;
        // SAFETY: RAM that long; host memory of ours is not guest memory.
        unsafe { std::ptr::copy_nonoverlapping(host, bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    /// Copies `bytes` to memory at `address`.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), MemoryError> {
        let host = self.host(address, bytes.len())?;
        // SAFETY: as above.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), host, bytes.len()) };
        self.written(address, bytes.len() as u64);
        Ok(())
    }

    /// RAM at `address`, `len` bytes long.
    fn host(&self, address: u64, len: usize) -> Result<*mut u8, MemoryError> {
        self.0.ram().host_range(address, len).ok_or(MemoryError::NotRam { address, len })
    }

    /// The little-endian 16-bit word at even `address`, in one access; nothing is read before it that comes after it.
    pub fn load_u16(&self, address: u64) -> Result<u16, MemoryError> {
        Ok(u16::from_le(self.word(address)?.load(Ordering::Acquire)))
    }

    /// Stores a little-endian 16-bit word at even `address`, in one access and after everything that was written before.
    pub fn store_u16(&self, address: u64, value: u16) -> Result<(), MemoryError> {
        self.word(address)?.store(value.to_le(), Ordering::Release);
        self.written(address, 2);
        Ok(())
    }

    fn word(&self, address: u64) -> Result<&AtomicU16, MemoryError> {
        let aligned = address.is_multiple_of(2).then_some(address);
        let host = self.host(aligned.ok_or(MemoryError::NotRam { address, len: 2 })?, 2)?;
        // SAFETY: aligned, in RAM, which lives as long as `self`; vCPUs access it as atomics or as other languages do.
        Ok(unsafe { AtomicU16::from_ptr(host.cast()) })
    }

    /// The memory at these (address, length) places, one behind the other.
    pub fn buffer(&self, places: impl IntoIterator<Item = (u64, usize)>) -> Result<DmaBuffer, MemoryError> {
        let pieces = places
            .into_iter()
            .filter(|(_, len)| *len != 0)
            .map(|(address, len)| Ok(Piece { address, host: self.host(address, len)?, len }));
        let pieces: Vec<Piece> = pieces.collect::<Result<_, _>>()?;
        let len = pieces.iter().map(|piece| piece.len).sum();
        Ok(DmaBuffer { dma: self.clone(), pieces, len })
    }

    /// Tells vCPUs of a write.
    fn written(&self, address: u64, len: u64) {
        let (mut at, end) = (address, address + len);
        while at < end {
            let next = (at / PAGE + 1) * PAGE;
            if self.0.code().has_code(at) {
                self.0.code().written(usize::MAX, at, next.min(end) - at);
            }
            at = next;
        }
    }
}

impl fmt::Debug for Dma {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dma")
    }
}

#[derive(Debug, Clone, Copy)]
struct Piece {
    address: u64,
    host: *mut u8,
    len: usize,
}

/// Stretches of guest memory that a device and its backend fill or empty: a scatter-gather list whose places have been
/// checked. Offsets count through all of them.
#[derive(Debug, Clone)]
pub struct DmaBuffer {
    dma: Dma,
    pieces: Vec<Piece>,
    len: usize,
}

// SAFETY: the pointers point into RAM, which `dma` keeps mapped; what is done through them is an access to guest RAM,
// which is shared between threads by nature.
unsafe impl Send for DmaBuffer {}
// SAFETY: as above.
unsafe impl Sync for DmaBuffer {}

impl DmaBuffer {
    /// Bytes of all stretches together.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A part of it. Panics if it ends beyond the buffer.
    pub fn slice(&self, range: Range<usize>) -> DmaBuffer {
        let pieces: Vec<Piece> = self.parts(range.start, range.len()).collect();
        DmaBuffer { dma: self.dma.clone(), len: range.len(), pieces }
    }

    /// The stretches within `len` bytes from `offset` on.
    fn parts(&self, offset: usize, len: usize) -> impl Iterator<Item = Piece> {
        assert!(
            offset.checked_add(len).is_some_and(|end| end <= self.len),
            "{offset} + {len} of {}",
            self.len
        );
        let (mut skip, mut left) = (offset, len);
        self.pieces.iter().filter_map(move |piece| {
            let begin = skip.min(piece.len);
            skip -= begin;
            let len = (piece.len - begin).min(left);
            left -= len;
            // SAFETY: `begin` is at most the length of the piece.
            let host = unsafe { piece.host.add(begin) };
            (len != 0).then_some(Piece { address: piece.address + begin as u64, host, len })
        })
    }

    /// Copies from the buffer, beginning at `offset`, to all of `bytes`. Panics if the buffer ends before.
    pub fn copy_to(&self, offset: usize, bytes: &mut [u8]) {
        let mut rest = bytes;
        for piece in self.parts(offset, rest.len()) {
            let (now, later) = rest.split_at_mut(piece.len);
            // SAFETY: both are valid for that many bytes; host memory of ours is not guest memory.
            unsafe { std::ptr::copy_nonoverlapping(piece.host, now.as_mut_ptr(), now.len()) };
            rest = later;
        }
    }

    /// Copies all of `bytes` into the buffer, beginning at `offset`. Panics if the buffer ends before.
    pub fn copy_from(&self, offset: usize, bytes: &[u8]) {
        let mut rest = bytes;
        for piece in self.parts(offset, rest.len()) {
            let (now, later) = rest.split_at(piece.len);
            // SAFETY: as above.
            unsafe { std::ptr::copy_nonoverlapping(now.as_ptr(), piece.host, now.len()) };
            self.dma.written(piece.address, piece.len as u64);
            rest = later;
        }
    }

    /// Fills `len` bytes from `offset` on with `byte`. Panics if the buffer ends before.
    pub fn fill(&self, offset: usize, len: usize, byte: u8) {
        for piece in self.parts(offset, len) {
            // SAFETY: the piece is valid for that many bytes.
            unsafe { piece.host.write_bytes(byte, piece.len) };
            self.dma.written(piece.address, piece.len as u64);
        }
    }

    /// The stretches as host memory: address and length. They stay valid as long as this buffer lives. Whoever fills
    /// them calls [`filled`](Self::filled) before the guest is told.
    pub fn host_pieces(&self) -> impl Iterator<Item = (*mut u8, usize)> {
        self.pieces.iter().map(|piece| (piece.host, piece.len))
    }

    /// `range` has been filled by other means than the functions here, as by the host's kernel.
    pub fn filled(&self, range: Range<usize>) {
        for piece in self.parts(range.start, range.len()) {
            self.dma.written(piece.address, piece.len as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::{VcpuSignal, request},
        memory::{GuestMemory, MemoryEvent},
    };

    fn memory() -> (Arc<PhysicalMemory>, Dma) {
        let memory = Arc::new(PhysicalMemory::new(GuestMemory::new(4 << 20).unwrap()));
        (memory.clone(), Dma::new(memory))
    }

    #[test]
    fn offsets_count_through_the_places() {
        let (memory, dma) = memory();
        let buffer = dma.buffer([(0x1000, 3), (0x5000, 0), (0x20_0000, 5)]).unwrap();
        buffer.copy_from(1, b"abcdef");
        let mut bytes = [0; 5];
        memory.ram().read(0x20_0000, &mut bytes).unwrap();
        assert_eq!((buffer.len(), &bytes), (8, b"cdef\0"));

        let mut middle = [0; 3];
        buffer.slice(1..7).copy_to(1, &mut middle);
        assert_eq!(&middle, b"bcd");
        buffer.fill(2, 2, b'-');
        let mut all = [0; 8];
        buffer.copy_to(0, &mut all);
        assert_eq!(&all, b"\0a--def\0");
    }

    #[test]
    fn what_is_not_ram_is_no_buffer() {
        let (_, dma) = memory();
        for (address, len) in [(0xA_0000, 1), (0x9_FFFF, 2), (0x3F_FFFF, 2), (0xFEE0_0000, 4), (u64::MAX, 2)]
        {
            assert!(dma.buffer([(0x1000, 1), (address, len)]).is_err(), "{address:#x}");
            assert!(dma.write(address, &vec![0; len]).is_err(), "{address:#x}");
        }
        assert!(dma.load_u16(0x1001).is_err(), "not aligned");
    }

    #[test]
    fn processors_hear_of_code_that_a_device_replaced() {
        let (memory, dma) = memory();
        let signal = Arc::<VcpuSignal>::default();
        memory.code().attach(signal.clone());
        memory.code().mark(0, 0x1FF0, 16);
        memory.code().mark(0, 0x2000, 16);
        dma.write(0x1F00, &[0x90; 0x80]).unwrap();
        assert_eq!(signal.requests(), 0, "beside the code");
        dma.write(0x1FFF, &[0x90; 2]).unwrap();
        assert_eq!(signal.requests(), request::MEMORY);
        let expected = [MemoryEvent::CodeWritten(0x1000, 1 << 31), MemoryEvent::CodeWritten(0x2000, 1)];
        assert_eq!(memory.code().take_events(0), expected);
    }

    #[test]
    fn words_are_little_endian() {
        let (memory, dma) = memory();
        dma.store_u16(0x1002, 0x1234).unwrap();
        let mut bytes = [0; 2];
        memory.ram().read(0x1002, &mut bytes).unwrap();
        assert_eq!((bytes, dma.load_u16(0x1002).unwrap()), ([0x34, 0x12], 0x1234));
    }
}
