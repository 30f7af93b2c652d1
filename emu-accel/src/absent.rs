//! The engine's interface on hosts that have no KVM for x86 guests: it is always refused.

use emu_core::{cpu::Cpu, cpu_model::CpuModel, interp::Stop, memory::GuestMemory};
use std::{convert::Infallible, fmt};

/// How much of a guest KVM executes: there is no way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {}

impl fmt::Display for Mode {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

/// Why KVM does not execute a guest.
#[derive(Debug, thiserror::Error)]
#[error("only an x86-64 Linux host has KVM for x86 guests")]
pub struct Refusal;

/// KVM for one machine.
pub enum Accelerator {}

/// What a machine's KVM has done, by name.
pub type Counts = Vec<(&'static str, u64)>;

impl Accelerator {
    /// There is none.
    ///
    /// # Errors
    /// Always.
    pub fn find(_: &GuestMemory, _: &CpuModel) -> Result<Self, Refusal> {
        Err(Refusal)
    }

    /// How much of the guest it executes.
    pub fn mode(&self) -> Mode {
        match *self {}
    }

    /// Its vCPU.
    ///
    /// # Errors
    /// None.
    pub fn vcpu(&self, _: usize) -> Result<Vcpu, Infallible> {
        match *self {}
    }

    /// What it has done so far.
    pub fn counts(&self) -> Counts {
        match *self {}
    }
}

/// A vCPU's way into KVM.
#[derive(Debug)]
pub enum Vcpu {}

impl Vcpu {
    /// Runs a vCPU.
    pub fn run(&mut self, _: &mut Cpu) -> Stop {
        match *self {}
    }
}
