//! A machine around a CPU in which there is nothing.

use emu_core::engine::CpuIo;

/// A machine without devices: all ports and addresses read as ones.
pub(crate) struct Bare;

impl CpuIo for Bare {
    fn port_read(&self, _: usize, _: u16, size: u8) -> u32 {
        u32::MAX >> (32 - 8 * u32::from(size))
    }
    fn port_write(&self, _: usize, _: u16, _: u8, _: u32) {}
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
    fn shutdown(&self, _: usize) {}
}
