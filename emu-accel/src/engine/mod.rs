//! An engine that executes a machine's vCPUs on the host's processor, as far as this host's KVM can be trusted with them.
//!
//! [`Accelerator::find`] tries the KVM out and chooses. Where that cannot be, [`Refusal`] is the reason.

use crate::{
    host::Host,
    kvm::{Error, Kvm, Probe, Service, Unavailable},
    user::{UserCounts, UserMachine, UserVcpu},
};
use emu_core::{
    cpu::Cpu,
    cpu_model::{CpuModel, Feature},
    engine::NoDevices,
    interp::Stop,
    memory::GuestMemory,
};
use std::{fmt, sync::atomic::Ordering};

/// How much of a guest KVM executes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Its 64-bit user code, and the software CPU the rest.
    User,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::User => "user",
        })
    }
}

/// Why KVM does not execute a guest.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// This process has none.
    #[error("{reason}{}", .remedy.as_ref().map(|remedy| format!("; {remedy}")).unwrap_or_default())]
    Unavailable {
        /// Why.
        reason: Unavailable,
        /// What the user can do about it.
        remedy: Option<String>,
    },
    /// It failed while it was tried out or set up.
    #[error(transparent)]
    Failed(#[from] Error),
    /// It does nothing rightly, or nothing that can be made use of yet.
    #[error("this host's KVM executes {0} rightly, which is not used yet")]
    Useless(Service),
    /// The host's processor does something else than the model, and would not tell.
    #[error("the host's processor has {0}, and this CPU model has not: user code would execute it")]
    Model(&'static str),
}

/// KVM for one machine.
pub struct Accelerator {
    machine: UserMachine,
}

/// What a machine's KVM has done, by name.
pub type Counts = Vec<(&'static str, u64)>;

impl Accelerator {
    /// For a machine with `memory` whose CPUs are `model`'s.
    ///
    /// # Errors
    /// Why this host has none for it.
    pub fn find(memory: &GuestMemory, model: &CpuModel) -> Result<Self, Refusal> {
        let unavailable = |reason| {
            let remedy = Host::look().remedy(&reason);
            Refusal::Unavailable { reason, remedy }
        };
        let kvm = Kvm::open().map_err(unavailable)?;
        match Probe::of(&kvm, &NoDevices::new())?.service {
            Service::User => Self::for_user_code(&kvm, memory, model),
            service => Err(Refusal::Useless(service)),
        }
    }

    fn for_user_code(kvm: &Kvm, memory: &GuestMemory, model: &CpuModel) -> Result<Self, Refusal> {
        // Where they are not, these are executed as BSF and BSR.
        for (feature, name) in [(Feature::Bmi1, "TZCNT"), (Feature::Lzcnt, "LZCNT")] {
            if !model.has(feature) {
                return Err(Refusal::Model(name));
            }
        }
        Ok(Accelerator { machine: UserMachine::new(kvm, memory)? })
    }

    /// How much of the guest it executes.
    pub fn mode(&self) -> Mode {
        Mode::User
    }

    /// Its vCPU `number`.
    ///
    /// # Errors
    /// What KVM refuses.
    pub fn vcpu(&self, number: usize) -> Result<Vcpu, Error> {
        Ok(Vcpu(self.machine.vcpu(number)?))
    }

    /// What it has done so far.
    pub fn counts(&self) -> Counts {
        let UserCounts { stretches, nanos, system_calls, kicks, software, fills } = &*self.machine.counts();
        [
            ("stretches", stretches),
            ("nanoseconds", nanos),
            ("system-calls", system_calls),
            ("kicks", kicks),
            ("software-instructions", software),
            ("table-fills", fills),
        ]
        .map(|(name, count)| (name, count.load(Ordering::Relaxed)))
        .into()
    }
}

/// A vCPU's way into KVM.
pub struct Vcpu(UserVcpu);

impl Vcpu {
    /// Runs `cpu`, whose state it is before and after, until it is asked to stop.
    pub fn run(&mut self, cpu: &mut Cpu) -> Stop {
        self.0.run(cpu)
    }
}

impl fmt::Debug for Vcpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Vcpu").finish_non_exhaustive()
    }
}
