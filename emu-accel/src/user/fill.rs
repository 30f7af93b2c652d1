//! Filling the tables that KVM walks from the guest's own.
//!
//! Only what an access of user code could have left in a TLB is taken over: the guest's accessed bits are set already,
//! and what is not dirty cannot be written. So the guest's entries are never changed here; a first access is the software
//! CPU's.
//!
//! A page in which code was decoded, or that can be executed here, cannot be written here: such a store is the software
//! CPU's, which tells everybody.

use super::{
    UserVcpu, ram,
    scan::{self, Finding},
    tables::{END, Full, LARGE, Mapping, SMALL},
};
use crate::kvm::Error;
use emu_core::{
    cpu::Cpu,
    mmu::{Access, UserPage},
};

/// Pages that are filled around one that faulted: those in the same aligned group of so many.
const AROUND_DATA: u64 = 64;
const AROUND_CODE: u64 = 16;
const PAGE: u64 = 4096;
/// Times that a page with CPUID is refused before it is executed after all.
const TRIES: u32 = 4;
/// Pages with CPUID that are remembered.
const KNOWN: usize = 1024;

impl UserVcpu {
    /// User code at `rip` has faulted, perhaps at `address`. Returns whether something was added to the tables, so that it
    /// may go on.
    ///
    /// # Errors
    /// What KVM refuses.
    pub(super) fn fill(&mut self, cpu: &mut Cpu, rip: u64, address: u64) -> Result<bool, Error> {
        match self.fill_in(cpu, rip, address) {
            Ok(added) => {
                if let Ok(root) = self.tables.root(cpu.control.cr3) {
                    self.hardware.change_root(root);
                }
                Ok(added)
            }
            // Beginning anew is for the next stretch.
            Err(Full) => {
                self.tables.forget_all();
                self.start_over()?;
                Ok(false)
            }
        }
    }

    fn fill_in(&mut self, cpu: &mut Cpu, rip: u64, address: u64) -> Result<bool, Full> {
        let code = self.fill_around(cpu, rip, Access::Fetch)?;
        let data = address != rip && self.fill_around(cpu, address, Access::Read)?;
        Ok(code || data)
    }

    /// Fills the page at `linear`, and if that could be done its neighbours.
    fn fill_around(&mut self, cpu: &mut Cpu, linear: u64, access: Access) -> Result<bool, Full> {
        if !self.fill_page(cpu, linear, access)? {
            return Ok(false);
        }
        let group = if access == Access::Fetch { AROUND_CODE } else { AROUND_DATA } * PAGE;
        for page in (linear & !(group - 1)..).step_by(PAGE as usize).take((group / PAGE) as usize) {
            self.fill_page(cpu, page, access)?;
        }
        Ok(true)
    }

    /// Fills one page. Returns whether more is allowed than before.
    fn fill_page(&mut self, cpu: &mut Cpu, linear: u64, access: Access) -> Result<bool, Full> {
        if linear >= END {
            return Ok(false);
        }
        let cr3 = cpu.control.cr3;
        let old = self.tables.at(cr3, linear);
        if old.is_some_and(|old| if access == Access::Fetch { old.executable } else { old.writable }) {
            return Ok(false);
        }
        let Some(page) = cpu.mmu.user_page(linear) else { return Ok(false) };
        let executable =
            access == Access::Fetch && page.executable && self.may_be_executed(cpu, at(&page, linear));
        if access == Access::Fetch && !executable {
            return Ok(false);
        }
        // What becomes code could perhaps be written until now.
        let notes = cpu.mmu.take_forgotten();
        self.forget(&notes)?;
        let old = self.tables.at(cr3, linear);
        let Some(new) = mapping(cpu, linear, &page, executable, old.as_ref()) else { return Ok(false) };
        if old == Some(new) {
            return Ok(false);
        }
        self.tables.map(cr3, linear, &new)?;
        Ok(self.tables.at(cr3, linear) != old)
    }

    /// Whether the code of the page at `physical` may be executed by the host's processor. Whoever writes to it from now on
    /// [says so](emu_core::mmu::Forgotten::Code).
    fn may_be_executed(&mut self, cpu: &mut Cpu, physical: u64) -> bool {
        let mut bytes = [0; PAGE as usize];
        cpu.claim_code(physical);
        if ram(&cpu.memory).read(physical, &mut bytes).is_err() {
            return false;
        }
        match scan::page(&bytes) {
            Finding::Harmless => true,
            Finding::Refused => false,
            Finding::Cpuid => self.is_persistent(cpu.control.cr3, physical),
        }
    }

    /// Whether code of a page with CPUID has been tried so often that it is taken for a loop which happens to be beside
    /// that. Programs ask for CPUID when they begin.
    fn is_persistent(&mut self, cr3: u64, physical: u64) -> bool {
        if self.with_cpuid.len() > KNOWN {
            self.with_cpuid.clear();
        }
        let tries = self.with_cpuid.entry((cr3, physical)).or_default();
        *tries += 1;
        *tries > TRIES
    }
}

/// Guest-physical address of the small page at `linear`, which is in `page`.
fn at(page: &UserPage, linear: u64) -> u64 {
    (page.physical + (linear & ((1 << page.shift) - 1))) & !(PAGE - 1)
}

/// How the page at `linear` may be mapped, to be executed if that is `wanted`. `old` is how it is.
fn mapping(
    cpu: &mut Cpu,
    linear: u64,
    page: &UserPage,
    wanted: bool,
    old: Option<&Mapping>,
) -> Option<Mapping> {
    let is_free = old.is_none_or(|old| old.shift == LARGE);
    if is_free
        && !page.executable
        && page.shift >= LARGE
        && let Some(large) = large(cpu, linear, page)
    {
        return Some(large);
    }
    let physical = at(page, linear);
    if !cpu.memory.ram().is_ram(physical) || old.is_some_and(|old| old.shift != SMALL) {
        return None;
    }
    let executable = wanted || old.is_some_and(|old| old.executable);
    let writable = page.writable && !executable && may_be_written(cpu, physical);
    Some(Mapping { physical, shift: SMALL, writable, executable })
}

/// A page of 2 MiB of data, if all of it can be mapped alike.
fn large(cpu: &mut Cpu, linear: u64, page: &UserPage) -> Option<Mapping> {
    let size = 1 << LARGE;
    let physical = (page.physical + (linear & ((1 << page.shift) - 1))) & !(size - 1);
    let mut pages = (physical..physical + size).step_by(PAGE as usize);
    let is_uniform = pages.clone().all(|page| cpu.memory.ram().is_ram(page))
        && (!page.writable || pages.all(|page| may_be_written(cpu, page)));
    is_uniform.then_some(Mapping { physical, shift: LARGE, writable: page.writable, executable: false })
}

/// Whether the page at `physical` has no code that has to be told of stores. If so, it can be written from now on until
/// it is [taken back](emu_core::mmu::Forgotten::Writes).
fn may_be_written(cpu: &mut Cpu, physical: u64) -> bool {
    // First allowed and then looked: whoever decodes code there meanwhile finds that it was allowed.
    cpu.mmu.allow_writes_beside(physical);
    !cpu.memory.code().has_code(physical)
}
