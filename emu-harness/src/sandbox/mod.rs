//! A CPU to embed: in any mode, at any privilege, with memory, devices and hooks, and nothing else around it.
//!
//! ```
//! use emu_harness::sandbox::{Exit, Mode, Prot, Sandbox, Until};
//!
//! // lea eax, [rdi + rsi*2] ; ret
//! let code = [0x8D, 0x04, 0x77, 0xC3];
//!
//! let mut sandbox = Sandbox::builder(Mode::Long64).privilege(3).build()?;
//! sandbox.map(0x40_0000, 0x1000, Prot::RX)?;
//! sandbox.map(0x7FFF_0000, 0x1_0000, Prot::RW)?;
//! sandbox.write_memory(0x40_0000, &code)?;
//!
//! sandbox.set_reg("rsp", 0x7FFF_F000u64)?;
//! sandbox.set_reg("rdi", 10u64)?;
//! sandbox.set_reg("rsi", 16u64)?;
//! sandbox.push(0x1234)?;
//! assert_eq!(sandbox.run_from(0x40_0000, Until::address(0x1234)), Exit::Reached);
//! assert_eq!(sandbox.reg("eax")?, 42);
//! # Ok::<(), emu_harness::sandbox::Error>(())
//! ```
//!
//! A [`Sandbox`] is made by a [`Builder`]. Memory is mapped page by page, under page tables that the sandbox
//! keeps, under the guest's own, or under none ([`Paging`]). [`Sandbox::run`] executes until its [`Until`], and
//! says by an [`Exit`] what happened. Hooks see instructions ([`Sandbox::on_code`]), accesses
//! ([`on_memory`](Sandbox::on_memory)), interrupts and exceptions ([`on_event`](Sandbox::on_event)), missing
//! memory ([`on_unmapped`](Sandbox::on_unmapped)); devices answer on ports and in memory
//! ([`on_port`](Sandbox::on_port), [`on_mmio`](Sandbox::on_mmio)). What a hook does not ask for costs nothing.
//!
//! `docs/embedding.md` is the guide. Left out: more than one processor, system-management mode from outside.

mod access;
mod builder;
mod context;
mod error;
mod exit;
mod hooks;
mod io;
mod register;
mod run;
mod space;
mod tables;

/// The guide's examples are tests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/embedding.md")]
struct Guide;

pub use crate::corpus::Mode;
pub use builder::{Builder, Paging};
pub use context::Context;
pub use emu_core::{microcode::interrupt::EventKind, mmu::Access};
pub use error::Error;
pub use exit::{Delivery, Event, Exit, Resolution, Unmapped, Until, Verdict};
pub use hooks::{HookId, MemoryAccess, Watch};
pub use io::{Line, MmioAccess, PortAccess};
pub use register::{Part, Register, Value};
pub use space::Prot;
pub use tables::{TSS_SELECTOR, code_selector, data_selector};

use emu_core::{cpu::Cpu, microcode::interrupt::Held};
use hooks::Hooks;
use io::Devices;
use space::{PAGE, Space};
use std::{ops::Range, sync::Arc};

/// A CPU and what is around it; see the [module](self). Hooks may borrow what outlives it (`'h`).
pub struct Sandbox<'h> {
    mode: Mode,
    cpu: Box<Cpu>,
    space: Space,
    devices: Arc<Devices>,
    hooks: Hooks<'h>,
    delivery: Delivery,
    /// Addresses at which runs have ended.
    ends: Vec<u64>,
    /// The instruction at this linear address has been shown to hooks, and not been executed yet.
    seen: Option<u64>,
    /// What was being delivered, and would be lost.
    undelivered: Option<Held>,
    stopping: bool,
    tables: Option<tables::Installed>,
}

impl<'h> Sandbox<'h> {
    /// A CPU in `mode` at its inmost privilege level, everything else as a [`Builder`] has it.
    pub fn new(mode: Mode) -> Result<Self, Error> {
        Self::builder(mode).build()
    }

    /// Says how a sandbox is to be made.
    pub fn builder(mode: Mode) -> Builder {
        Builder::new(mode)
    }

    /// Maps `size` bytes of zeroed memory at `address`: both are multiples of 0x1000. The address is linear
    /// with the sandbox's own paging, else physical. Nothing may be mapped there.
    pub fn map(&mut self, address: u64, size: u64, prot: Prot) -> Result<(), Error> {
        let range = self.pages(address, size)?;
        let mapped = self.space.map(range, prot);
        self.cpu.mmu.flush_all();
        mapped
    }

    /// Takes memory away, devices included; what was in it is lost.
    pub fn unmap(&mut self, address: u64, size: u64) -> Result<(), Error> {
        let range = self.pages(address, size)?;
        let unmapped = self.space.unmap(&mut self.cpu, range);
        self.cpu.mmu.flush_all();
        unmapped
    }

    /// Changes what memory allows. [`Prot::empty`] makes it a guard: an access is a page fault.
    pub fn protect(&mut self, address: u64, size: u64, prot: Prot) -> Result<(), Error> {
        let range = self.pages(address, size)?;
        let protected = self.space.protect(range, prot);
        self.cpu.mmu.flush_all();
        protected
    }

    /// Lines into the CPU, for devices and other threads.
    pub fn line(&self) -> Line {
        self.devices.line()
    }

    /// The mode that the sandbox was made in. (The guest may be in another by now.)
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Instructions that have been completed since the sandbox was made.
    pub fn executed(&self) -> u64 {
        self.cpu.executed
    }

    /// Linear address of the next instruction: RIP, and the base of CS outside 64-bit mode.
    pub fn next_instruction(&self) -> u64 {
        self.cpu.code_address()
    }

    /// Decides who gets exceptions that no hook takes.
    pub fn set_delivery(&mut self, delivery: Delivery) {
        self.delivery = delivery;
    }

    /// The CPU itself, for what has no method here. What it says of mode, paging and memory must stay true;
    /// between runs only.
    pub fn cpu(&mut self) -> &mut Cpu {
        &mut self.cpu
    }

    /// Whole pages within the mode's addresses.
    fn pages(&self, address: u64, size: u64) -> Result<Range<u64>, Error> {
        if !address.is_multiple_of(PAGE) || !size.is_multiple_of(PAGE) || size == 0 {
            return Err(Error::NotPages { address, size });
        }
        let bits = if self.mode == Mode::Long64 { 48 } else { 32 };
        // In 64-bit mode the upper half of the addresses is the other half.
        let canonical = |address: u64| bits == 48 && (address as i64) << 16 >> 16 == address as i64;
        let last = address.checked_add(size - 1);
        if !last.is_some_and(|last| {
            last < 1 << (bits - u32::from(bits == 48)) || canonical(address) && canonical(last)
        }) {
            return Err(Error::Beyond { address, size, bits });
        }
        // The last page of all ends at no address; it is left out of ranges.
        address.checked_add(size).map(|end| address..end).ok_or(Error::Beyond { address, size, bits })
    }
}
