//! The contract between a vCPU and the machine around it, the same for every engine.
//!
//! The engine owns its loop and calls *out* through [`CpuIo`]; other threads reach *in* only through the
//! vCPU's [`VcpuSignal`].

mod no_devices;

use crate::clock::Polling;
pub use no_devices::{FewDevices, NoDevices};
use parking_lot::{Condvar, Mutex};
use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, AtomicU32, Ordering},
    },
    time::Duration,
};

/// What a running vCPU asks of its machine. Called on the vCPU's thread, never with a lock held.
pub trait CpuIo: Send + Sync {
    /// IN of `size` (1, 2, 4) bytes.
    fn port_read(&self, vcpu: usize, port: u16, size: u8) -> u32;
    /// OUT of `size` (1, 2, 4) bytes.
    fn port_write(&self, vcpu: usize, port: u16, size: u8, value: u32);
    /// Load from a guest-physical address that is not RAM; `size` is 1, 2, 4 or 8, the access aligned or not
    /// but never across a page. The local APIC's page arrives here too.
    fn mmio_read(&self, vcpu: usize, address: u64, size: u8) -> u64;
    /// Store to a guest-physical address that is not RAM.
    fn mmio_write(&self, vcpu: usize, address: u64, size: u8, value: u64);
    /// INTA: takes the vector of the highest-priority pending external interrupt, if there still is one.
    fn acknowledge_interrupt(&self, vcpu: usize) -> Option<u8>;
    /// CR8, which is the local APIC's task priority, bits 7:4.
    fn task_priority(&self, vcpu: usize) -> u8;
    /// MOV to CR8.
    fn set_task_priority(&self, vcpu: usize, priority: u8);
    /// RDMSR of an MSR that belongs to the local APIC (IA32_APIC_BASE, IA32_TSC_DEADLINE, 0x800..0x8FF).
    /// `None`: #GP(0).
    fn apic_msr_read(&self, vcpu: usize, msr: u32) -> Option<u64>;
    /// WRMSR of such an MSR. `None`: #GP(0).
    fn apic_msr_write(&self, vcpu: usize, msr: u32, value: u64) -> Option<()>;
    /// The time-stamp counter before IA32_TSC_ADJUST: the same on all vCPUs.
    fn time_stamp_counter(&self) -> u64;
    /// FERR#: an unmasked x87 exception is pending with CR0.NE = 0 (true), or no longer is (false).
    /// Returns the level of IGNNE#, with which the system lets x87 instructions run in spite of it.
    fn set_ferr(&self, vcpu: usize, asserted: bool) -> bool;
    /// The processor enters its shutdown state (triple fault). The machine decides: reset or stop.
    fn shutdown(&self, vcpu: usize);
}

/// Bits of [`VcpuSignal`]: what other threads ask of a vCPU.
pub mod request {
    /// An external interrupt is pending at the local APIC or the PIC (level: cleared when it is not).
    pub const INTERRUPT: u32 = 1 << 0;
    /// NMI (edge).
    pub const NMI: u32 = 1 << 1;
    /// SMI (edge).
    pub const SMI: u32 = 1 << 2;
    /// INIT (edge).
    pub const INIT: u32 = 1 << 3;
    /// Start-up IPI (edge); the vector is in [`super::VcpuSignal::startup_vector`].
    pub const STARTUP: u32 = 1 << 4;
    /// Leave the run loop: pause, reset, power-off.
    pub const STOP: u32 = 1 << 5;
    /// Code or mappings changed: look into the mailbox of the memory map.
    pub const MEMORY: u32 = 1 << 6;
    /// Translated code is ready.
    pub const TRANSLATED: u32 = 1 << 7;
}

/// What has a vCPU look at its requests while hardware executes it, which does not poll.
pub trait Kick: Send + Sync + fmt::Debug {
    /// A request has been raised. Called from any thread, with locks of devices held: does not block.
    fn kick(&self);
}

/// The wires into one vCPU. Any thread may raise a request; the vCPU sees it at the next instruction boundary
/// that polls ([`attention`](Self::attention)), or wakes from HLT.
#[derive(Debug, Default)]
pub struct VcpuSignal {
    /// Not zero, but `i64::MAX`: look at `requests`. So it is one comparison whether a budget that is not negative is
    /// less than that. Apart from `requests` so that a request that cannot be served yet (an
    /// interrupt with IF clear) costs nothing until it can.
    attention: AtomicI64,
    requests: AtomicU32,
    startup_vector: AtomicU32,
    lock: Mutex<()>,
    wake: Condvar,
    polling: Polling,
    kick: OnceLock<Arc<dyn Kick>>,
}

impl VcpuSignal {
    /// Raises `bits` of [`request`] and wakes the vCPU.
    pub fn raise(&self, bits: u32) {
        self.requests.fetch_or(bits, Ordering::SeqCst);
        self.attention.store(i64::MAX, Ordering::SeqCst);
        if let Some(kick) = self.kick.get() {
            kick.kick();
        }
        // Taking the lock orders this against a vCPU between its check and its sleep.
        drop(self.lock.lock());
        self.wake.notify_one();
    }

    /// From now on `kick` is kicked at each request. The first one stays.
    pub fn set_kick(&self, kick: Arc<dyn Kick>) {
        // There is one engine of hardware for a vCPU as long as it lives.
        let _ = self.kick.set(kick);
    }

    /// Raises a start-up IPI with `vector`.
    pub fn raise_startup(&self, vector: u8) {
        self.startup_vector.store(vector.into(), Ordering::SeqCst);
        self.raise(request::STARTUP);
    }

    /// Vector of the last start-up IPI: execution begins at `vector << 12`.
    pub fn startup_vector(&self) -> u8 {
        self.startup_vector.load(Ordering::SeqCst) as u8
    }

    /// Lowers `bits`.
    pub fn clear(&self, bits: u32) {
        self.requests.fetch_and(!bits, Ordering::SeqCst);
    }

    /// Takes `bits`: returns those that were raised, and lowers them.
    pub fn take(&self, bits: u32) -> u32 {
        self.requests.fetch_and(!bits, Ordering::SeqCst) & bits
    }

    /// The requests now raised.
    pub fn requests(&self) -> u32 {
        self.requests.load(Ordering::SeqCst)
    }

    /// The word that the run loop polls: one plain load.
    #[inline(always)]
    pub fn attention(&self) -> &AtomicI64 {
        &self.attention
    }

    /// The vCPU has seen the attention word and looks at the requests now.
    pub fn acknowledge_attention(&self) {
        self.attention.store(0, Ordering::SeqCst);
    }

    /// Something that a standing request waited for has changed (IF was set, NMIs were unblocked): poll again.
    pub fn poll_again(&self) {
        self.attention.store(i64::MAX, Ordering::SeqCst);
    }

    /// As [`poll_again`](Self::poll_again), if anything is requested at all.
    #[inline]
    pub fn poll_again_if_waiting(&self) {
        if self.requests.load(Ordering::Relaxed) != 0 {
            self.poll_again();
        }
    }

    /// Waits until one of `bits` is raised, or `timeout` passes. Returns at once if one is raised already. Only the
    /// vCPU's own thread waits.
    pub fn wait(&self, bits: u32, timeout: Option<Duration>) {
        let raised = || self.requests.load(Ordering::Relaxed) & bits != 0;
        if let Some(sleep) = self.polling.poll(raised) {
            self.sleep(bits, timeout);
            sleep.over();
        }
    }

    fn sleep(&self, bits: u32, timeout: Option<Duration>) {
        let mut guard = self.lock.lock();
        while self.requests() & bits == 0 {
            match timeout {
                None => self.wake.wait(&mut guard),
                Some(timeout) => {
                    self.wake.wait_for(&mut guard, timeout);
                    return;
                }
            }
        }
    }
}
