//! [`NoDevices`] and [`FewDevices`]: the machine around a CPU that needs none or little, in tests and benchmarks.

use super::{CpuIo, VcpuSignal, request};
use std::sync::Arc;

/// A machine of which little matters: whoever implements this says what, and is a [`CpuIo`] by that. All else is as
/// without devices: ports and addresses read as ones, and writes go nowhere. There is no local APIC, no interrupt ever
/// comes, the time-stamp counter stands at 0, and nothing happens in the shutdown state.
///
/// A trait of its own, as a real machine has to say everything.
pub trait FewDevices: Send + Sync {
    /// See [`CpuIo::port_read`].
    fn port_read(&self, _port: u16, size: u8) -> u32 {
        u32::MAX >> (32 - 8 * u32::from(size))
    }
    /// See [`CpuIo::port_write`].
    fn port_write(&self, _port: u16, _size: u8, _value: u32) {}
    /// See [`CpuIo::mmio_read`].
    fn mmio_read(&self, _address: u64, size: u8) -> u64 {
        u64::MAX >> (64 - 8 * u32::from(size))
    }
    /// See [`CpuIo::mmio_write`].
    fn mmio_write(&self, _address: u64, _size: u8, _value: u64) {}
    /// See [`CpuIo::acknowledge_interrupt`].
    fn acknowledge_interrupt(&self) -> Option<u8> {
        None
    }
    /// See [`CpuIo::task_priority`].
    fn task_priority(&self) -> u8 {
        0
    }
    /// See [`CpuIo::set_task_priority`].
    fn set_task_priority(&self, _priority: u8) {}
    /// See [`CpuIo::apic_msr_read`].
    fn apic_msr_read(&self, _vcpu: usize, _msr: u32) -> Option<u64> {
        None
    }
    /// See [`CpuIo::apic_msr_write`].
    fn apic_msr_write(&self, _msr: u32, _value: u64) -> Option<()> {
        None
    }
    /// See [`CpuIo::time_stamp_counter`].
    fn time_stamp_counter(&self) -> u64 {
        0
    }
    /// See [`CpuIo::set_ferr`].
    fn set_ferr(&self, _asserted: bool) -> bool {
        false
    }
    /// See [`CpuIo::shutdown`].
    fn shutdown(&self) {}
}

impl<T: FewDevices> CpuIo for T {
    fn port_read(&self, _: usize, port: u16, size: u8) -> u32 {
        FewDevices::port_read(self, port, size)
    }
    fn port_write(&self, _: usize, port: u16, size: u8, value: u32) {
        FewDevices::port_write(self, port, size, value);
    }
    fn mmio_read(&self, _: usize, address: u64, size: u8) -> u64 {
        FewDevices::mmio_read(self, address, size)
    }
    fn mmio_write(&self, _: usize, address: u64, size: u8, value: u64) {
        FewDevices::mmio_write(self, address, size, value);
    }
    fn acknowledge_interrupt(&self, _: usize) -> Option<u8> {
        FewDevices::acknowledge_interrupt(self)
    }
    fn task_priority(&self, _: usize) -> u8 {
        FewDevices::task_priority(self)
    }
    fn set_task_priority(&self, _: usize, priority: u8) {
        FewDevices::set_task_priority(self, priority);
    }
    fn apic_msr_read(&self, vcpu: usize, msr: u32) -> Option<u64> {
        FewDevices::apic_msr_read(self, vcpu, msr)
    }
    fn apic_msr_write(&self, _: usize, msr: u32, value: u64) -> Option<()> {
        FewDevices::apic_msr_write(self, msr, value)
    }
    fn time_stamp_counter(&self) -> u64 {
        FewDevices::time_stamp_counter(self)
    }
    fn set_ferr(&self, _: usize, asserted: bool) -> bool {
        FewDevices::set_ferr(self, asserted)
    }
    fn shutdown(&self, _: usize) {
        FewDevices::shutdown(self);
    }
}

/// A machine without devices, but for one port that may end the run: see [`FewDevices`].
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

impl FewDevices for NoDevices {
    fn port_write(&self, port: u16, _: u8, _: u32) {
        if let Some((_, signal)) = self.0.as_ref().filter(|(stop, _)| *stop == port) {
            signal.raise(request::STOP);
        }
    }
    fn shutdown(&self) {
        if let Some((_, signal)) = &self.0 {
            signal.raise(request::STOP);
        }
    }
}
