//! MSRs that are part of a [`CpuState`](emu_core::state::CpuState), by number.
//!
//! Left out are those that a KVM need not take as they come: time, microcode, machine check, speculation control.

use super::{Error, error::cannot};
use emu_core::{arch::msr, state::Msrs};
use kvm_bindings::{Msrs as List, kvm_msr_entry};
use kvm_ioctls::VcpuFd;

/// Each MSR and where its value is kept.
fn places(msrs: &mut Msrs) -> [(u32, &mut u64); 9] {
    [
        (msr::IA32_SYSENTER_CS, &mut msrs.sysenter_cs),
        (msr::IA32_SYSENTER_ESP, &mut msrs.sysenter_esp),
        (msr::IA32_SYSENTER_EIP, &mut msrs.sysenter_eip),
        (msr::IA32_STAR, &mut msrs.star),
        (msr::IA32_LSTAR, &mut msrs.lstar),
        (msr::IA32_CSTAR, &mut msrs.cstar),
        (msr::IA32_FMASK, &mut msrs.fmask),
        (msr::IA32_KERNEL_GS_BASE, &mut msrs.kernel_gs_base),
        (msr::IA32_PAT, &mut msrs.pat),
    ]
}

fn list(msrs: &mut Msrs) -> List {
    let entries =
        places(msrs).map(|(index, value)| kvm_msr_entry { index, data: *value, ..Default::default() });
    List::from_entries(&entries).expect("a handful is less than KVM's limit")
}

/// Error for the first entry that was not dealt with.
fn all(list: &List, done: usize) -> Result<(), Error> {
    list.as_slice().get(done).map_or(Ok(()), |entry| Err(Error::Msr(entry.index)))
}

/// Gives `msrs` to the processor.
pub(super) fn set(fd: &VcpuFd, msrs: &Msrs) -> Result<(), Error> {
    let list = list(&mut msrs.clone());
    all(&list, fd.set_msrs(&list).map_err(cannot("set MSRs"))?)
}

/// Writes the processor's MSRs to `msrs`; those that are not asked for stay.
pub(super) fn get(fd: &VcpuFd, msrs: &mut Msrs) -> Result<(), Error> {
    let mut list = list(msrs);
    let told = fd.get_msrs(&mut list).map_err(cannot("tell MSRs"))?;
    all(&list, told)?;
    for ((_, place), entry) in places(msrs).into_iter().zip(list.as_slice()) {
        *place = entry.data;
    }
    Ok(())
}

/// The value of MSR `index`.
pub(super) fn read(fd: &VcpuFd, index: u32) -> Result<u64, Error> {
    let mut list = one(index, 0);
    let told = fd.get_msrs(&mut list).map_err(cannot("tell an MSR"))?;
    all(&list, told)?;
    Ok(list.as_slice()[0].data)
}

/// Sets MSR `index` to `value`; what KVM makes of that is its own affair.
pub(super) fn write(fd: &VcpuFd, index: u32, value: u64) -> Result<(), Error> {
    let list = one(index, value);
    all(&list, fd.set_msrs(&list).map_err(cannot("set an MSR"))?)
}

fn one(index: u32, data: u64) -> List {
    List::from_entries(&[kvm_msr_entry { index, data, ..Default::default() }])
        .expect("one is less than KVM's limit")
}
