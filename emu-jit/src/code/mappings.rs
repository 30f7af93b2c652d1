//! The two mappings of the memory for code.

use rustix::{
    fs::{MemfdFlags, ftruncate, memfd_create},
    io::Errno,
    mm::{MapFlags, MprotectFlags, MremapFlags, ProtFlags, mmap, mmap_anonymous, mprotect, mremap, munmap},
};
use std::{ffi::c_void, io, ptr};

/// Memory that is mapped twice.
pub struct Mappings {
    /// To be written.
    pub writable: *mut u8,
    /// To be executed.
    pub executable: *const u8,
    /// Bytes.
    pub size: usize,
}

const WRITABLE: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);

impl Mappings {
    /// New memory of `size` bytes, whole pages.
    pub fn new(size: usize) -> io::Result<Self> {
        let [writable, executable] = anonymous(size).or_else(|_| of_a_file(size))?;
        Ok(Mappings { writable: writable.cast(), executable: executable.cast_const().cast(), size })
    }
}

/// Not a file of our own making: perf looks up names of code only where a mapping is anonymous.
fn anonymous(size: usize) -> Result<[*mut c_void; 2], Errno> {
    // SAFETY: a new mapping, at an address of the kernel's choice.
    let writable =
        unsafe { mmap_anonymous(ptr::null_mut(), size, WRITABLE, MapFlags::SHARED | MapFlags::NORESERVE)? };
    // SAFETY: of a shared mapping, and from a length of 0: a second mapping of the same memory.
    let executable = unsafe { mremap(writable, 0, size, MremapFlags::MAYMOVE) };
    let executable = executable.and_then(|executable| {
        // SAFETY: just mapped, for code alone.
        unsafe { mprotect(executable, size, MprotectFlags::READ | MprotectFlags::EXEC) }?;
        Ok(executable)
    });
    both(writable, executable, size)
}

/// For hosts whose `mremap` makes no second mapping: some that only look like Linux.
fn of_a_file(size: usize) -> Result<[*mut c_void; 2], Errno> {
    let file = memfd_create("code", MemfdFlags::CLOEXEC)?;
    ftruncate(&file, size as u64)?;
    let map = |protection| {
        // SAFETY: a new mapping, at an address of the kernel's choice.
        unsafe { mmap(ptr::null_mut(), size, protection, MapFlags::SHARED, &file, 0) }
    };
    both(map(WRITABLE)?, map(ProtFlags::READ | ProtFlags::EXEC), size)
}

/// Both mappings, or neither.
fn both(
    writable: *mut c_void,
    executable: Result<*mut c_void, Errno>,
    size: usize,
) -> Result<[*mut c_void; 2], Errno> {
    let executable = executable.inspect_err(|_| {
        // SAFETY: just mapped. If it stays mapped, nothing but memory is lost.
        let _ = unsafe { munmap(writable, size) };
    })?;
    Ok([writable, executable])
}

impl Drop for Mappings {
    fn drop(&mut self) {
        for mapping in [self.writable, self.executable.cast_mut()] {
            // SAFETY: mapped in `new`; no code is left, as each piece holds this. Nothing can be done about an error.
            let _ = unsafe { munmap(mapping.cast(), self.size) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_serves_where_anonymous_memory_cannot_be_mapped_twice() {
        let [writable, executable] = of_a_file(4096).unwrap();
        let memory = Mappings { writable: writable.cast(), executable: executable.cast(), size: 4096 };
        // SAFETY: both are mapped.
        unsafe {
            memory.writable.write(42);
            assert_eq!(memory.executable.read(), 42);
        }
    }
}
