//! Where machine code lives: anonymous memory, mapped twice. One mapping can be written and not executed, the other
//! executed and not written.

mod fetch;
mod mappings;

use mappings::Mappings;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    io, ptr,
    sync::Arc,
};

/// Pieces begin at multiples of this: a cache line.
const ALIGNMENT: usize = 64;

/// The memory for machine code; pieces of it are freed as they are dropped.
pub struct CodeMemory {
    mappings: Mappings,
    free: Mutex<Free>,
}

/// Free pieces.
#[derive(Default)]
struct Free {
    /// Length by offset.
    lengths: BTreeMap<usize, usize>,
    /// The same by length: once code has been released here and there, there are thousands of them.
    by_length: BTreeSet<(usize, usize)>,
    /// The sum of the lengths.
    total: usize,
}

impl Free {
    fn insert(&mut self, offset: usize, len: usize) {
        self.lengths.insert(offset, len);
        self.by_length.insert((len, offset));
        self.total += len;
    }

    fn remove(&mut self, offset: usize, len: usize) {
        self.lengths.remove(&offset);
        self.by_length.remove(&(len, offset));
        self.total -= len;
    }

    /// Offset of a piece of `len` bytes, from the smallest in which there is room.
    fn take(&mut self, len: usize) -> Option<usize> {
        let &(room, offset) = self.by_length.range((len, 0)..).next()?;
        self.remove(offset, room);
        if room > len {
            self.insert(offset + len, room - len);
        }
        Some(offset)
    }

    fn give_back(&mut self, mut offset: usize, mut len: usize) {
        if let Some((&before, &room)) = self.lengths.range(..offset).next_back()
            && before + room == offset
        {
            self.remove(before, room);
            (offset, len) = (before, room + len);
        }
        if let Some(&room) = self.lengths.get(&(offset + len)) {
            self.remove(offset + len, room);
            len += room;
        }
        self.insert(offset, len);
    }
}

// SAFETY: the mappings belong to this; a piece is written only while it is allocated, by who allocates it.
unsafe impl Send for CodeMemory {}
// SAFETY: as above.
unsafe impl Sync for CodeMemory {}

/// Machine code in its place.
pub struct Code {
    memory: Arc<CodeMemory>,
    offset: usize,
    len: usize,
}

impl CodeMemory {
    /// Memory for `size` bytes of code, rounded up to whole pages. The host provides what is used.
    pub fn new(size: usize) -> io::Result<Arc<Self>> {
        let size = size.max(1).next_multiple_of(4096);
        let mappings = Mappings::new(size)?;
        fetch::register();
        let mut free = Free::default();
        free.insert(0, size);
        Ok(Arc::new(CodeMemory { mappings, free: Mutex::new(free) }))
    }

    /// Places `code`. `None`: there is no room.
    pub fn place(self: &Arc<Self>, code: &[u8]) -> Option<Code> {
        let len = code.len().max(1).next_multiple_of(ALIGNMENT);
        let offset = self.free.lock().take(len)?;
        // SAFETY: the piece is within the mapping and belongs to nobody else now.
        let writable = unsafe { self.mappings.writable.add(offset) };
        // SAFETY: as above.
        unsafe { ptr::copy_nonoverlapping(code.as_ptr(), writable, code.len()) };
        fetch::publish(writable, self.mappings.executable.wrapping_add(offset), code.len());
        Some(Code { memory: self.clone(), offset, len })
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.mappings.size - self.free.lock().total
    }

    /// Bytes in use at most.
    pub fn size(&self) -> usize {
        self.mappings.size
    }
}

impl Code {
    /// The address to execute at.
    pub fn address(&self) -> *const u8 {
        // SAFETY: within the mapping.
        unsafe { self.memory.mappings.executable.add(self.offset) }
    }

    /// The code.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: within the mapping; nobody writes what is allocated and placed.
        unsafe { std::slice::from_raw_parts(self.address(), self.len) }
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        self.memory.free.lock().give_back(self.offset, self.len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_used_again_and_grow_together() {
        let memory = CodeMemory::new(4096).unwrap();
        let pieces: Vec<Code> = (0..4).map(|_| memory.place(&[0xC3; 1024]).unwrap()).collect();
        assert!(memory.place(&[0xC3]).is_none(), "it is full");
        let [first, second, third, fourth] = <[Code; 4]>::try_from(pieces).ok().unwrap();
        drop(second);
        drop(third);
        let large = memory.place(&[0xC3; 2048]).unwrap();
        assert_eq!(memory.used(), 4096);
        drop((first, fourth, large));
        let free = memory.free.lock();
        assert_eq!((free.total, free.lengths.len(), free.by_length.len()), (4096, 1, 1));
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn what_is_placed_can_be_executed() {
        let memory = CodeMemory::new(4096).unwrap();
        let code = memory.place(&[0xB8, 42, 0, 0, 0, 0xC3]).unwrap();
        // SAFETY: `mov eax, 42; ret`.
        let function: extern "C" fn() -> u32 = unsafe { std::mem::transmute(code.address()) };
        assert_eq!(function(), 42);
    }
}
