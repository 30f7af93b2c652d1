//! What this host's KVM is good for: found out by small programs, once.

use super::{Error, Hole, Kvm, Stop, Vcpu, Vm};
use emu_core::{
    arch::{Cr0, Cr4, Efer, Seg, Segment, attr},
    engine::CpuIo,
    memory::{GuestMemory, MemoryError},
    state::{CpuState, TableRegister},
};
use std::fmt;

/// What a KVM can do for a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Execute all of it.
    Full,
    /// Execute all of it but single instructions, of which it tells.
    Rescue,
    /// Execute its 64-bit user code. Of what its kernel does some would go wrong without a word.
    User,
    /// Nothing.
    Nothing,
}

impl Service {
    /// Of a KVM with `holes`, which executes user code or does not.
    fn of(holes: &[Hole], runs_user_code: bool) -> Self {
        match holes {
            [] => Service::Full,
            holes if holes.iter().all(|hole| hole.is_told()) => Service::Rescue,
            _ if runs_user_code => Service::User,
            _ => Service::Nothing,
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Service::Full => "all code",
            Service::Rescue => "all code but single instructions",
            Service::User => "64-bit user code",
            Service::Nothing => "no code",
        })
    }
}

/// What was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What it cannot do, or does wrong.
    pub holes: Vec<Hole>,
    /// What that leaves.
    pub service: Service,
}

impl Probe {
    /// Tries `kvm` out. `io` gets what its processors access meanwhile, which should be nothing.
    ///
    /// # Errors
    /// What KVM refuses. A hole is no error.
    pub fn of(kvm: &Kvm, io: &dyn CpuIo) -> Result<Self, Error> {
        let mut bench = Bench::new(kvm, io)?;
        let mut holes = Vec::new();
        for hole in Hole::ALL {
            if hole.is_in(&mut bench)? {
                holes.push(hole);
            }
        }
        let service = Service::of(&holes, bench.runs_user_code()?);
        Ok(Probe { holes, service })
    }
}

const PROBE_MEMORY: u64 = 1 << 20;
pub(super) const CODE: u64 = 0x1000;
const GDT: u64 = 0x2000;
pub(super) const STACK: u64 = 0x3000;
const TABLES: u64 = 0x4000;
/// What AX holds before.
const BEFORE: u64 = 0x5A5A;
/// The GDT: null, 64-bit code, data; and the selector of the last.
const DESCRIPTORS: [u64; 3] = [0, 0x00AF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF];
pub(super) const DATA: u16 = 0x10;

/// The privilege level in a selector.
const USER: u16 = 3;
/// An address that is never mapped.
const NOWHERE: u64 = 0xFFFF_FFFF_FFF0_0000;

/// The host has no megabyte: put as the request that needs it.
fn memory_error(error: &MemoryError) -> Error {
    Error::Request { what: "be tried out", source: std::io::Error::other(error.to_string()) }
}

/// A processor with a little memory.
pub(super) struct Bench<'a> {
    pub vcpu: Vcpu,
    memory: GuestMemory,
    io: &'a dyn CpuIo,
}

impl<'a> Bench<'a> {
    fn new(kvm: &Kvm, io: &'a dyn CpuIo) -> Result<Self, Error> {
        let memory = GuestMemory::new(PROBE_MEMORY).map_err(|error| memory_error(&error))?;
        let vcpu = Vm::new(kvm, &memory)?.vcpu(0)?;
        Ok(Bench { vcpu, memory, io })
    }

    /// Real mode. An exception ends in shutdown.
    pub fn real() -> CpuState {
        let mut state = CpuState::reset(0);
        state.general.gpr = [0; 16];
        (state.general.gpr[0], state.general.rip) = (BEFORE, CODE);
        state.segments.data = [Segment::real(0); 6];
        state.segments.idtr = TableRegister { base: 0, limit: 0 };
        state.control.cr0 = Cr0::ET | Cr0::NE;
        state
    }

    /// 64-bit mode with all memory mapped to itself. An exception ends in shutdown.
    pub fn long(&self) -> Result<CpuState, Error> {
        const PRESENT_WRITABLE_USER: u64 = 7;
        const LARGE: u64 = 1 << 7;
        self.put(TABLES, &[(TABLES + 0x1000) | PRESENT_WRITABLE_USER])?;
        self.put(TABLES + 0x1000, &[(TABLES + 0x2000) | PRESENT_WRITABLE_USER])?;
        self.put(TABLES + 0x2000, &[LARGE | PRESENT_WRITABLE_USER])?;
        self.put(GDT, &DESCRIPTORS)?;
        let mut state = Self::real();
        state.general.gpr[4] = STACK;
        let segment = |selector, attr| Segment { selector, attr, limit: u32::MAX, base: 0, unusable: false };
        state.segments.data = [segment(DATA, 0xC093); 6];
        state.segments.data[Seg::Cs as usize] = segment(8, 0xA09B);
        state.segments.gdtr = TableRegister { base: GDT, limit: size_of_val(&DESCRIPTORS) as u16 - 1 };
        state.control.cr0 |= Cr0::PE | Cr0::PG;
        state.control.cr3 = TABLES;
        state.control.cr4 = Cr4::PAE;
        state.control.efer = Efer::LME | Efer::LMA;
        Ok(state)
    }

    /// As [`long`](Self::long), in user mode, with system calls.
    pub fn user(&self) -> Result<CpuState, Error> {
        let mut state = self.long()?;
        for segment in &mut state.segments.data {
            segment.selector |= USER;
            segment.attr |= attr::DPL;
        }
        state.control.efer |= Efer::SCE;
        // The kernel's selectors from 8 on; those of user mode do not matter, as nothing returns.
        state.msrs.star = 8 << 32;
        Ok(state)
    }

    /// Writes words.
    pub fn put(&self, address: u64, words: &[u64]) -> Result<(), Error> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.memory.write(address, &bytes).map_err(|error| memory_error(&error))
    }

    /// Executes `code` from `state`.
    pub fn try_out(&mut self, code: &[u8], state: &CpuState) -> Result<Stop, Error> {
        self.memory.write(CODE, code).map_err(|error| memory_error(&error))?;
        self.vcpu.set_state(state)?;
        self.vcpu.step(self.io)
    }

    /// Executes `code` from `state` for as long as nothing of the machine's is needed.
    pub fn go(&mut self, code: &[u8], state: &CpuState) -> Result<Stop, Error> {
        self.memory.write(CODE, code).map_err(|error| memory_error(&error))?;
        self.vcpu.set_state(state)?;
        self.vcpu.run(self.io)
    }

    /// Whether user code executes, and is left by a system call to where nothing is: what an engine needs that has KVM
    /// execute nothing else.
    fn runs_user_code(&mut self) -> Result<bool, Error> {
        let mut state = self.user()?;
        state.msrs.lstar = NOWHERE;
        // lea eax,[rax+1]; syscall
        if self.go(&[0x8D, 0x40, 0x01, 0x0F, 0x05], &state)? != Stop::Shutdown {
            return Ok(false);
        }
        let general = self.state_after()?.general;
        Ok((general.rip, general.gpr[1], general.gpr[0]) == (NOWHERE, CODE + 5, BEFORE + 1))
    }

    /// Whether paging without PAE, once set, is still on.
    pub fn keeps_legacy_paging(&mut self) -> Result<bool, Error> {
        let mut state = Self::real();
        state.control.cr0 |= Cr0::PE | Cr0::PG;
        if self.vcpu.set_state(&state).is_err() {
            return Ok(false);
        }
        Ok(self.state_after()?.control.cr0.contains(Cr0::PG))
    }

    pub fn state_after(&self) -> Result<CpuState, Error> {
        let mut state = CpuState::reset(0);
        self.vcpu.update(&mut state)?;
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use emu_core::engine::NoDevices;
    use rstest::rstest;

    #[rstest]
    #[case(&[], true, Service::Full)]
    #[case(&[Hole::Breakpoint], true, Service::Rescue)]
    #[case(&[Hole::Breakpoint, Hole::SystemCall], true, Service::User)]
    #[case(&[Hole::SystemCall], false, Service::Nothing)]
    fn what_goes_wrong_silently_leaves_user_code_alone(
        #[case] holes: &[Hole],
        #[case] user: bool,
        #[case] service: Service,
    ) {
        assert_eq!(Service::of(holes, user), service);
    }

    /// Whatever KVM this host has, trying it out ends, tells the same twice, and names each hole in its own words.
    #[test]
    fn a_probe_is_repeatable() {
        let kvm = match Kvm::open() {
            Ok(kvm) => kvm,
            Err(reason) => return println!("skipped: {reason}"),
        };
        let io = NoDevices::new();
        let probe = Probe::of(&kvm, &io).unwrap();
        assert_eq!(Probe::of(&kvm, &io).unwrap(), probe);
        let mut names: Vec<String> = Hole::ALL.iter().map(Hole::to_string).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), Hole::ALL.len());
    }
}
