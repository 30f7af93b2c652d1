//! KVM: virtual machines whose memory is a [`GuestMemory`](emu_core::memory::GuestMemory) and whose processors
//! take and give [`CpuState`](emu_core::state::CpuState). Linux, Documentation/virt/kvm/api.rst.
//!
//! [`Kvm`] is the host's facility, [`Vm`] a machine's memory, [`Vcpu`] a processor. What a host's KVM does
//! differently from a processor is a [`Hole`]: it is looked for, never assumed, since some KVMs emulate most of
//! what a kernel executes.
//!
//! Not here yet: an engine on top of it, interrupt controllers, dirty logging.

mod error;
mod fpu;
mod hole;
mod kick;
mod msrs;
mod probe;
mod registers;
mod user_cpu;
mod vcpu;
mod vm;

pub use error::{Error, Unavailable};
pub use hole::Hole;
pub use probe::{Probe, Service};
pub use user_cpu::{UserCpu, UserExit};
pub use vcpu::{Stop, Vcpu};
pub use vm::Vm;

use kvm_bindings::{CpuId, KVM_API_VERSION, KVM_MAX_CPUID_ENTRIES};
use kvm_ioctls::Cap;

/// What the crate cannot do without, with names for those who lack it.
const REQUIRED: [(Cap, &str); 5] = [
    (Cap::UserMemory, "memory slots"),
    (Cap::ExtCpuid, "CPUID"),
    (Cap::SetGuestDebug, "single-step"),
    (Cap::Xsave, "XSAVE state"),
    (Cap::ImmediateExit, "leaving at once"),
];

/// The host's KVM.
pub struct Kvm {
    fd: kvm_ioctls::Kvm,
    cpuid: CpuId,
}

impl Kvm {
    /// Opens `/dev/kvm`.
    ///
    /// # Errors
    /// Why this host has none for us.
    pub fn open() -> Result<Self, Unavailable> {
        let fd = kvm_ioctls::Kvm::new().map_err(|error| Unavailable::of_open(&error))?;
        let version = fd.get_api_version();
        if version != KVM_API_VERSION as i32 {
            return Err(Unavailable::Version(version));
        }
        if let Some((_, what)) = REQUIRED.iter().find(|(cap, _)| !fd.check_extension(*cap)) {
            return Err(Unavailable::Capability(what));
        }
        let cpuid = fd.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).map_err(|error| Unavailable::Refused {
            what: "the list of CPUID leaves",
            error: std::io::Error::from(error),
        })?;
        Ok(Kvm { fd, cpuid })
    }
}
