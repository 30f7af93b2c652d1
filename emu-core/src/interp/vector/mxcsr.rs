//! The guest's MXCSR while it runs: the control bits are in `simd.mxcsr`, flags that were set since the last
//! [`Cpu::sync_mxcsr`] are in the host's MXCSR.
//!
//! Host code that computes in floating point on the vCPU's thread would add its flags to the guest's; the
//! machine has none on that path.

use crate::{
    cpu::Cpu,
    lane::fp::mxcsr::{self, DEFAULT},
};

impl Cpu {
    /// Gives the host's MXCSR to the guest: default control bits, no flags. When a thread begins to run this
    /// CPU.
    pub fn enter_mxcsr(&mut self) {
        mxcsr::set_host(DEFAULT);
    }

    /// Moves the flags from the host's MXCSR to the guest's: before `simd.mxcsr` is read, and when the thread
    /// stops running this CPU.
    pub fn sync_mxcsr(&mut self) {
        self.simd.mxcsr |= mxcsr::take_flags();
    }

    /// Replaces the guest's MXCSR, flags included.
    pub fn load_mxcsr(&mut self, value: u32) {
        mxcsr::take_flags();
        self.simd.mxcsr = value;
    }
}
