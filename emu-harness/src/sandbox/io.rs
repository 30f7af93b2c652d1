//! The world around the CPU: ports, devices in memory, interrupt lines.

use emu_core::{
    arch::msr,
    engine::{CpuIo, VcpuSignal, request},
};
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
};

/// IA32_APIC_BASE: enabled, bootstrap processor, at its usual place (where nothing is).
const APIC_BASE: u64 = 0xFEE0_0900;

/// IN or OUT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortAccess {
    /// IN: the callback's result is what is read.
    In {
        /// Port.
        port: u16,
        /// 1, 2 or 4 bytes.
        size: u8,
    },
    /// OUT.
    Out {
        /// Port.
        port: u16,
        /// 1, 2 or 4 bytes.
        size: u8,
        /// What is written.
        value: u32,
    },
}

/// A load or store of a device in memory. Loads wider than 8 bytes come in pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MmioAccess {
    /// A load: the callback's result is what is read.
    Read {
        /// Offset from the start of the device.
        offset: u64,
        /// 1, 2, 4 or 8 bytes.
        size: u8,
    },
    /// A store.
    Write {
        /// Offset from the start of the device.
        offset: u64,
        /// 1, 2, 4 or 8 bytes.
        size: u8,
        /// What is written.
        value: u64,
    },
}

type PortCallback = Box<dyn FnMut(PortAccess) -> u32 + Send>;
type MmioCallback = Box<dyn FnMut(MmioAccess) -> u64 + Send>;

/// Lines into the CPU, for callbacks of devices and for other threads. Clones are the same lines.
#[derive(Clone)]
pub struct Line(Arc<Devices>);

impl Line {
    /// Requests the external interrupt `vector`. It is delivered when the guest allows it (RFLAGS.IF), after
    /// those requested before.
    pub fn interrupt(&self, vector: u8) {
        self.0.pending.lock().push_back(vector);
        self.0.signal.raise(request::INTERRUPT);
    }

    /// Requests a non-maskable interrupt.
    pub fn nmi(&self) {
        self.0.signal.raise(request::NMI);
    }

    /// Ends the run, or if there is none, the next one at its start.
    pub fn stop(&self) {
        self.0.signal.raise(request::STOP);
    }
}

/// What answers the CPU.
pub(super) struct Devices {
    pub(super) signal: Arc<VcpuSignal>,
    pub(super) pending: Mutex<VecDeque<u8>>,
    /// How often the time-stamp counter was read; see [`Self::time_stamp_counter`].
    pub(super) clock: AtomicU64,
    task_priority: AtomicU8,
    ports: Mutex<Vec<(u64, RangeInclusive<u16>, PortCallback)>>,
    memory: Mutex<Vec<(u64, RangeInclusive<u64>, MmioCallback)>>,
}

impl Devices {
    pub(super) fn new(signal: Arc<VcpuSignal>) -> Self {
        Devices {
            signal,
            pending: Mutex::default(),
            clock: AtomicU64::new(0),
            task_priority: AtomicU8::new(0),
            ports: Mutex::default(),
            memory: Mutex::default(),
        }
    }

    pub(super) fn line(self: &Arc<Self>) -> Line {
        Line(self.clone())
    }

    pub(super) fn add_ports(&self, id: u64, ports: RangeInclusive<u16>, callback: PortCallback) {
        self.ports.lock().insert(0, (id, ports, callback));
    }

    pub(super) fn add_memory(&self, id: u64, physical: RangeInclusive<u64>, callback: MmioCallback) {
        self.memory.lock().push((id, physical, callback));
    }

    /// Removes the callback `id`; returns whether it was here.
    pub(super) fn remove(&self, id: u64) -> bool {
        let (mut ports, mut memory) = (self.ports.lock(), self.memory.lock());
        let before = ports.len() + memory.len();
        ports.retain(|(number, ..)| *number != id);
        memory.retain(|(number, ..)| *number != id);
        before != ports.len() + memory.len()
    }

    /// Interrupts are pending as they were saved; requests that came since are lost.
    pub(super) fn restore(&self, pending: &VecDeque<u8>, clock: u64) {
        self.pending.lock().clone_from(pending);
        self.clock.store(clock, Ordering::Relaxed);
        self.signal.clear(request::INTERRUPT | request::NMI | request::STOP);
        if !pending.is_empty() {
            self.signal.raise(request::INTERRUPT);
        }
    }

    fn port(&self, port: u16, access: PortAccess) -> Option<u32> {
        let mut ports = self.ports.lock();
        let (_, _, callback) = ports.iter_mut().find(|(_, range, _)| range.contains(&port))?;
        Some(callback(access))
    }

    fn device(&self, address: u64, access: impl FnOnce(u64) -> MmioAccess) -> Option<u64> {
        let mut memory = self.memory.lock();
        let (_, range, callback) = memory.iter_mut().find(|(_, range, _)| range.contains(&address))?;
        Some(callback(access(address - range.start())))
    }
}

impl CpuIo for Devices {
    fn port_read(&self, _: usize, port: u16, size: u8) -> u32 {
        self.port(port, PortAccess::In { port, size }).unwrap_or(u32::MAX)
    }
    fn port_write(&self, _: usize, port: u16, size: u8, value: u32) {
        self.port(port, PortAccess::Out { port, size, value });
    }
    fn mmio_read(&self, _: usize, address: u64, size: u8) -> u64 {
        self.device(address, |offset| MmioAccess::Read { offset, size }).unwrap_or(u64::MAX)
    }
    fn mmio_write(&self, _: usize, address: u64, size: u8, value: u64) {
        self.device(address, |offset| MmioAccess::Write { offset, size, value });
    }
    fn acknowledge_interrupt(&self, _: usize) -> Option<u8> {
        let mut pending = self.pending.lock();
        let vector = pending.pop_front();
        if pending.is_empty() {
            self.signal.clear(request::INTERRUPT);
        }
        vector
    }
    fn task_priority(&self, _: usize) -> u8 {
        self.task_priority.load(Ordering::Relaxed)
    }
    fn set_task_priority(&self, _: usize, priority: u8) {
        self.task_priority.store(priority, Ordering::Relaxed);
    }
    fn apic_msr_read(&self, _: usize, number: u32) -> Option<u64> {
        (number == msr::IA32_APIC_BASE).then_some(APIC_BASE)
    }
    fn apic_msr_write(&self, _: usize, _: u32, _: u64) -> Option<()> {
        None
    }
    /// No host time comes into a sandbox: the counter advances by 1000 with each look at it.
    fn time_stamp_counter(&self) -> u64 {
        1000 * self.clock.fetch_add(1, Ordering::Relaxed)
    }
    // No line leads back to IGNNE#.
    fn set_ferr(&self, _: usize, _: bool) -> bool {
        false
    }
    // The CPU's activity says it.
    fn shutdown(&self, _: usize) {}
}
