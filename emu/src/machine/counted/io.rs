//! What a vCPU in counted time reaches of its machine: the same as in any, and each access takes time.
//!
//! Between two looks at the clock by the runner time would stand still otherwise, and a guest that polls a device would
//! find it the same for a whole slice. What an access takes is the same on every engine, as is which accesses there are.

use crate::machine::cpu_io::MachineIo;
use emu_core::{clock::VmClock, engine::CpuIo};

/// What an access to a port takes, in nanoseconds: a cycle of the ISA bus.
const PORT: u64 = 1000;
/// What an access to memory of a device takes.
const MMIO: u64 = 100;
/// What it takes to read the time-stamp counter.
const TIME_STAMP: u64 = 20;

/// See the module.
pub struct CountedIo {
    /// The machine.
    pub machine: MachineIo,
    /// Its clock, which is counted.
    pub clock: VmClock,
}

impl CpuIo for CountedIo {
    fn port_read(&self, vcpu: usize, port: u16, size: u8) -> u32 {
        self.clock.advance(PORT);
        self.machine.port_read(vcpu, port, size)
    }

    fn port_write(&self, vcpu: usize, port: u16, size: u8, value: u32) {
        self.clock.advance(PORT);
        self.machine.port_write(vcpu, port, size, value);
    }

    fn mmio_read(&self, vcpu: usize, address: u64, size: u8) -> u64 {
        self.clock.advance(MMIO);
        self.machine.mmio_read(vcpu, address, size)
    }

    fn mmio_write(&self, vcpu: usize, address: u64, size: u8, value: u64) {
        self.clock.advance(MMIO);
        self.machine.mmio_write(vcpu, address, size, value);
    }

    fn acknowledge_interrupt(&self, vcpu: usize) -> Option<u8> {
        self.machine.acknowledge_interrupt(vcpu)
    }

    fn task_priority(&self, vcpu: usize) -> u8 {
        self.machine.task_priority(vcpu)
    }

    fn set_task_priority(&self, vcpu: usize, priority: u8) {
        self.machine.set_task_priority(vcpu, priority);
    }

    fn apic_msr_read(&self, vcpu: usize, msr: u32) -> Option<u64> {
        self.machine.apic_msr_read(vcpu, msr)
    }

    fn apic_msr_write(&self, vcpu: usize, msr: u32, value: u64) -> Option<()> {
        self.machine.apic_msr_write(vcpu, msr, value)
    }

    fn time_stamp_counter(&self) -> u64 {
        self.clock.advance(TIME_STAMP);
        self.machine.time_stamp_counter()
    }

    fn set_ferr(&self, vcpu: usize, asserted: bool) -> bool {
        self.machine.set_ferr(vcpu, asserted)
    }

    fn shutdown(&self, vcpu: usize) {
        self.machine.shutdown(vcpu);
    }
}
