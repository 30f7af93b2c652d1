//! Where machine code lives: one anonymous file, mapped twice. One mapping can be written and not executed, the other
//! executed and not written.

use parking_lot::Mutex;
use rustix::{
    fs::{MemfdFlags, ftruncate, memfd_create},
    mm::{MapFlags, ProtFlags, mmap, munmap},
};
use std::{collections::BTreeMap, io, ops::Range, ptr, sync::Arc};

/// Pieces begin at multiples of this: a cache line.
const ALIGNMENT: usize = 64;

/// The memory for machine code; pieces of it are freed as they are dropped.
pub struct CodeMemory {
    writable: *mut u8,
    executable: *const u8,
    size: usize,
    /// Free pieces: offset, length.
    free: Mutex<BTreeMap<usize, usize>>,
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
        let file = memfd_create("emu-jit", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, size as u64)?;
        let map = |protection| {
            // SAFETY: a new mapping, at an address of the kernel's choice.
            unsafe { mmap(ptr::null_mut(), size, protection, MapFlags::SHARED, &file, 0) }
        };
        let writable = map(ProtFlags::READ | ProtFlags::WRITE)?;
        let executable = map(ProtFlags::READ | ProtFlags::EXEC).inspect_err(|_| {
            // SAFETY: just mapped. If it stays mapped, nothing but memory is lost.
            let _ = unsafe { munmap(writable, size) };
        })?;
        Ok(Arc::new(CodeMemory {
            writable: writable.cast(),
            executable: executable.cast_const().cast(),
            size,
            free: Mutex::new(BTreeMap::from([(0, size)])),
        }))
    }

    /// Places `code`. `None`: there is no room.
    pub fn place(self: &Arc<Self>, code: &[u8]) -> Option<Code> {
        let len = code.len().max(1).next_multiple_of(ALIGNMENT);
        let mut free = self.free.lock();
        let (&offset, &room) = free.iter().find(|(_, room)| **room >= len)?;
        free.remove(&offset);
        if room > len {
            free.insert(offset + len, room - len);
        }
        drop(free);
        // SAFETY: the piece is within the mapping and belongs to nobody else now.
        unsafe { ptr::copy_nonoverlapping(code.as_ptr(), self.writable.add(offset), code.len()) };
        Some(Code { memory: self.clone(), offset, len })
    }

    fn give_back(&self, mut offset: usize, mut len: usize) {
        let mut free = self.free.lock();
        if let Some((&before, &room)) = free.range(..offset).next_back()
            && before + room == offset
        {
            free.remove(&before);
            (offset, len) = (before, room + len);
        }
        if let Some(room) = free.remove(&(offset + len)) {
            len += room;
        }
        free.insert(offset, len);
    }

    /// Where code is, to be executed.
    pub fn addresses(&self) -> Range<usize> {
        let start = self.executable as usize;
        start..start + self.size
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.size - self.free.lock().values().sum::<usize>()
    }
}

impl Drop for CodeMemory {
    fn drop(&mut self) {
        for mapping in [self.writable, self.executable.cast_mut()] {
            // SAFETY: mapped in `new`; no code is left, as each piece holds this. Nothing can be done about an error.
            let _ = unsafe { munmap(mapping.cast(), self.size) };
        }
    }
}

impl Code {
    /// The address to execute at.
    pub fn address(&self) -> *const u8 {
        // SAFETY: within the mapping.
        unsafe { self.memory.executable.add(self.offset) }
    }

    /// The code.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: within the mapping; nobody writes what is allocated and placed.
        unsafe { std::slice::from_raw_parts(self.address(), self.len) }
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        self.memory.give_back(self.offset, self.len);
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
        assert_eq!((memory.used(), memory.free.lock().len()), (0, 1));
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
