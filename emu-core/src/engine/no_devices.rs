//! [`NoDevices`]: the machine around a CPU that needs none, in tests and benchmarks.

use super::{CpuIo, VcpuSignal, request};
use std::sync::Arc;

/// A machine without devices: all ports and addresses read as ones, and writes go nowhere. There is no local APIC, no
/// interrupt ever comes, and the time-stamp counter stands at 0. One port may end the run.
#[derive(Debug, Default)]
pub struct NoDevices(Option<(u16, Arc<VcpuSignal>)>);

impl NoDevices {
    /// Without any port.
    pub const fn new() -> Self {
        NoDevices(None)
    }

    /// A write to `port`, and the shutdown state, raise [`request::STOP`] at the CPU of `signal`.
    pub const fn stopping_at(port: u16, signal: Arc<VcpuSignal>) -> Self {
        NoDevices(Some((port, signal)))
    }
}

impl CpuIo for NoDevices {
    fn port_read(&self, _: usize, _: u16, size: u8) -> u32 {
        u32::MAX >> (32 - 8 * u32::from(size))
    }
    fn port_write(&self, _: usize, port: u16, _: u8, _: u32) {
        if let Some((_, signal)) = self.0.as_ref().filter(|(stop, _)| *stop == port) {
            signal.raise(request::STOP);
        }
    }
    fn mmio_read(&self, _: usize, _: u64, size: u8) -> u64 {
        u64::MAX >> (64 - 8 * u32::from(size))
    }
    fn mmio_write(&self, _: usize, _: u64, _: u8, _: u64) {}
    fn acknowledge_interrupt(&self, _: usize) -> Option<u8> {
        None
    }
    fn task_priority(&self, _: usize) -> u8 {
        0
    }
    fn set_task_priority(&self, _: usize, _: u8) {}
    fn apic_msr_read(&self, _: usize, _: u32) -> Option<u64> {
        None
    }
    fn apic_msr_write(&self, _: usize, _: u32, _: u64) -> Option<()> {
        None
    }
    fn time_stamp_counter(&self) -> u64 {
        0
    }
    fn set_ferr(&self, _: usize, _: bool) -> bool {
        false
    }
    fn shutdown(&self, _: usize) {
        if let Some((_, signal)) = &self.0 {
            signal.raise(request::STOP);
        }
    }
}
