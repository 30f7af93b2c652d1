//! Code that has been written, and the host's instruction fetch. An x86 sees to that itself. An Arm has to be told: the
//! bytes leave the data cache, what the instruction cache has of them is dropped, and every thread begins to fetch anew
//! (Arm Architecture Reference Manual, B2.4.4).

/// This process will write code while others of its threads execute some.
pub fn register() {
    #[cfg(target_arch = "aarch64")]
    aarch64::register();
}

/// `len` bytes of code have been written at `writable`, and will be executed at `executable`.
pub fn publish(writable: *const u8, executable: *const u8, len: usize) {
    #[cfg(target_arch = "aarch64")]
    aarch64::publish(writable, executable, len);
    #[cfg(not(target_arch = "aarch64"))]
    let _ = (writable, executable, len);
}

#[cfg(target_arch = "aarch64")]
mod aarch64 {
    use rustix::thread::{MembarrierCommand, membarrier};
    use std::arch::asm;

    pub fn register() {
        // Kernels from 4.16 on have it; before, threads begin anew when they come back from the kernel.
        let _ = membarrier(MembarrierCommand::RegisterPrivateExpeditedSyncCore);
    }

    pub fn publish(writable: *const u8, executable: *const u8, len: usize) {
        let sizes: u64;
        // SAFETY: user mode may read the sizes of cache lines.
        unsafe { asm!("mrs {}, ctr_el0", out(reg) sizes, options(nomem, nostack)) };
        // In words of four bytes, as powers of two.
        let (data, instruction) = (4 << (sizes >> 16 & 15), 4 << (sizes & 15));
        for line in lines(writable, len, data) {
            // SAFETY: it changes no memory.
            unsafe { asm!("dc cvau, {}", in(reg) line, options(nostack)) };
        }
        // SAFETY: a barrier.
        unsafe { asm!("dsb ish", options(nostack)) };
        for line in lines(executable, len, instruction) {
            // SAFETY: it changes no memory.
            unsafe { asm!("ic ivau, {}", in(reg) line, options(nostack)) };
        }
        // SAFETY: barriers.
        unsafe { asm!("dsb ish", "isb", options(nostack)) };
        // See `register`.
        let _ = membarrier(MembarrierCommand::PrivateExpeditedSyncCore);
    }

    fn lines(start: *const u8, len: usize, size: usize) -> impl Iterator<Item = usize> {
        let start = start as usize;
        (start & !(size - 1)..start + len).step_by(size)
    }
}
