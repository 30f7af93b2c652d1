//! A virtual machine: its memory.

use super::{Error, Kvm, UserCpu, Vcpu, error::cannot};
use emu_core::memory::GuestMemory;
use kvm_bindings::{CpuId, kvm_userspace_memory_region};
use kvm_ioctls::VmFd;

/// Three pages that Intel's hardware needs in guest-physical space to run real mode: where no PC has RAM.
const TSS_ADDRESS: usize = 0xFFFB_D000;
const IDENTITY_MAP_ADDRESS: u64 = 0xFFFB_C000;

/// A machine with memory and no device.
pub struct Vm {
    fd: VmFd,
    cpuid: CpuId,
    memory: GuestMemory,
}

impl Vm {
    /// A machine whose RAM is `memory`.
    ///
    /// # Errors
    /// What KVM refuses.
    pub fn new(kvm: &Kvm, memory: &GuestMemory) -> Result<Self, Error> {
        let fd = kvm.fd.create_vm().map_err(cannot("make a machine"))?;
        fd.set_identity_map_address(IDENTITY_MAP_ADDRESS).map_err(cannot("place its identity map"))?;
        fd.set_tss_address(TSS_ADDRESS).map_err(cannot("place its task state"))?;
        for (slot, (start, len)) in memory.ranges().enumerate() {
            let host = memory.host_ptr(start).expect("a range of RAM begins with RAM");
            let region = kvm_userspace_memory_region {
                slot: slot as u32,
                flags: 0,
                guest_phys_addr: start,
                memory_size: len,
                userspace_addr: host as u64,
            };
            // SAFETY: the range is one mapping of `len` bytes, which lives as long as any clone of `memory`;
            // `Vm` keeps one, and every `Vcpu` keeps another. Others may access guest RAM at any time anyway.
            unsafe { fd.set_user_memory_region(region) }.map_err(cannot("take guest memory"))?;
        }
        Ok(Vm { fd, cpuid: kvm.cpuid.clone(), memory: memory.clone() })
    }

    /// Number of the slots that its RAM takes: from there on they are free.
    pub fn slots(&self) -> u32 {
        self.memory.ranges().count() as u32
    }

    /// Adds memory besides its RAM: guest-physical address, host address, length in bytes.
    ///
    /// # Errors
    /// What KVM refuses.
    ///
    /// # Safety
    /// It is a mapping of that length, and stays as long as a processor of this machine may run.
    pub unsafe fn add_slot(&self, slot: u32, place: (u64, *mut u8, usize)) -> Result<(), Error> {
        let (guest_phys_addr, host, len) = place;
        let region = kvm_userspace_memory_region {
            slot,
            flags: 0,
            guest_phys_addr,
            memory_size: len as u64,
            userspace_addr: host as u64,
        };
        // SAFETY: the caller's promise.
        unsafe { self.fd.set_user_memory_region(region) }.map_err(cannot("take more memory"))
    }

    /// Takes such memory away, and with it whatever KVM knew of it.
    ///
    /// # Errors
    /// What KVM refuses.
    pub fn remove_slot(&self, slot: u32) -> Result<(), Error> {
        let region = kvm_userspace_memory_region { slot, ..Default::default() };
        // SAFETY: a region without length is none.
        unsafe { self.fd.set_user_memory_region(region) }.map_err(cannot("let go of memory"))
    }

    /// Its processor number `id`, for user code only.
    ///
    /// # Errors
    /// What KVM refuses.
    pub fn user_vcpu(&self, id: u32) -> Result<UserCpu, Error> {
        let fd = self.fd.create_vcpu(id.into()).map_err(cannot("make a processor"))?;
        fd.set_cpuid2(&self.cpuid).map_err(cannot("set CPUID"))?;
        UserCpu::new(fd, self.memory.clone())
    }

    /// Its processor number `id`, with all features that this KVM offers.
    ///
    /// # Errors
    /// What KVM refuses.
    pub fn vcpu(&self, id: u32) -> Result<Vcpu, Error> {
        let fd = self.fd.create_vcpu(id.into()).map_err(cannot("make a processor"))?;
        fd.set_cpuid2(&self.cpuid).map_err(cannot("set CPUID"))?;
        Vcpu::new(fd, id, self.memory.clone())
    }

    /// Its RAM.
    pub fn memory(&self) -> &GuestMemory {
        &self.memory
    }
}
