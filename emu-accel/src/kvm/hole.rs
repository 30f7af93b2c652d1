//! What this host's KVM does otherwise than a processor. Found out by trying, once, before anything is believed.
//!
//! A KVM on hardware has none of these. One that runs kernel code by emulating it has many, and some of them do
//! not show: the guest just gets a wrong result. Only those have to be looked for; what KVM does not emulate at
//! all it tells ([`Stop::NotEmulated`]).

use super::{Error, Kvm, Stop, Vcpu, Vm};
use emu_core::{
    arch::{Cr0, Cr4, Efer, Seg, Segment, msr},
    engine::CpuIo,
    memory::{GuestMemory, MemoryError},
    state::{CpuState, TableRegister},
};
use std::fmt;

/// Something that this KVM cannot do, or does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hole {
    /// 32-bit and PAE paging: CR0.PG is dropped without a word.
    LegacyPaging,
    /// LZCNT and TZCNT in kernel code execute as BSR and BSF.
    CountZeros,
    /// MOVBE in kernel code raises #UD.
    Movbe,
    /// XCR0 cannot be read or set.
    Xcr0,
    /// MOV to CR0 and CR4, and to debug registers, takes 32 bits in 64-bit mode.
    ControlHalves,
    /// IRET in IA-32e mode goes to segments that are no code, and is not single-stepped.
    InterruptReturn,
    /// SWAPGS is not single-stepped: the next instruction executes with it.
    SwapGs,
    /// WRMSR takes memory types that there are not, and reserved bits.
    MsrChecks,
}

impl Hole {
    /// Every hole that is looked for.
    pub const ALL: [Hole; 8] = [
        Hole::LegacyPaging,
        Hole::CountZeros,
        Hole::Movbe,
        Hole::Xcr0,
        Hole::ControlHalves,
        Hole::InterruptReturn,
        Hole::SwapGs,
        Hole::MsrChecks,
    ];

    /// The holes of `kvm`. `io` gets what its processors access meanwhile, which should be nothing.
    ///
    /// # Errors
    /// What KVM refuses. A hole is no error.
    pub fn probe(kvm: &Kvm, io: &dyn CpuIo) -> Result<Vec<Hole>, Error> {
        let memory = GuestMemory::new(PROBE_MEMORY).map_err(|error| memory_error(&error))?;
        let vm = Vm::new(kvm, &memory)?;
        let mut bench = Bench { vcpu: vm.vcpu(0)?, memory, io };
        let mut holes = Vec::new();
        for hole in Hole::ALL {
            if hole.is_in(&mut bench)? {
                holes.push(hole);
            }
        }
        Ok(holes)
    }

    fn is_in(self, bench: &mut Bench<'_>) -> Result<bool, Error> {
        Ok(match self {
            Hole::LegacyPaging => !bench.keeps_legacy_paging()?,
            // tzcnt ax,cx of zero: 16. BSF would leave AX.
            Hole::CountZeros => {
                let code = [0xF3, 0x0F, 0xBC, 0xC1];
                bench.try_out(&code, &Bench::real())? != Stop::Stepped
                    || bench.state_after()?.general.gpr[0] & 0xFFFF != 16
            }
            // movbe ax,[2000h]
            Hole::Movbe => {
                let code = [0x0F, 0x38, 0xF0, 0x06, 0x00, 0x20];
                bench.try_out(&code, &Bench::real())? != Stop::Stepped
            }
            Hole::Xcr0 => !bench.vcpu.has_xcr0(),
            // mov cr4,rax with bit 32 set: #GP.
            Hole::ControlHalves => {
                let mut state = bench.long()?;
                state.general.gpr[0] = state.control.cr4.bits() | 1 << 32;
                bench.try_out(&[0x0F, 0x22, 0xE0], &state)? != Stop::Shutdown
            }
            // iretq to the data segment: #GP.
            Hole::InterruptReturn => {
                let state = bench.long()?;
                bench.put(STACK, &[CODE, DATA.into(), 2, STACK, DATA.into()])?;
                bench.try_out(&[0x48, 0xCF], &state)? != Stop::Shutdown
            }
            // swapgs; nop
            Hole::SwapGs => {
                let state = bench.long()?;
                bench.try_out(&[0x0F, 0x01, 0xF8, 0x90, 0x90], &state)? != Stop::Stepped
                    || bench.state_after()?.general.rip != CODE + 3
            }
            // wrmsr of memory type 2 to the PAT: #GP.
            Hole::MsrChecks => {
                let mut state = Bench::real();
                (state.general.gpr[0], state.general.gpr[1]) = (2, msr::IA32_PAT.into());
                bench.try_out(&[0x0F, 0x30], &state)? != Stop::Shutdown
            }
        })
    }
}

impl fmt::Display for Hole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Hole::LegacyPaging => "this KVM has no 32-bit and PAE paging",
            Hole::CountZeros => "this KVM executes lzcnt and tzcnt of kernel code as bsr and bsf",
            Hole::Movbe => "this KVM has no movbe in kernel code",
            Hole::Xcr0 => "this KVM has no XCR0",
            Hole::ControlHalves => "this KVM moves 32 bits to control and debug registers in 64-bit mode",
            Hole::SwapGs => "this KVM executes swapgs together with the next instruction",
            Hole::MsrChecks => "this KVM takes values of MSRs that a processor refuses",
            Hole::InterruptReturn => {
                "this KVM returns from interrupts in IA-32e mode without a processor's checks"
            }
        })
    }
}

const PROBE_MEMORY: u64 = 1 << 20;
const CODE: u64 = 0x1000;
const GDT: u64 = 0x2000;
const STACK: u64 = 0x3000;
const TABLES: u64 = 0x4000;
/// What AX holds before.
const BEFORE: u64 = 0x5A5A;
/// The GDT: null, 64-bit code, data; and the selector of the last.
const DESCRIPTORS: [u64; 3] = [0, 0x00AF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF];
const DATA: u16 = 0x10;

/// The host has no megabyte: put as the request that needs it.
fn memory_error(error: &MemoryError) -> Error {
    Error::Request { what: "be tried out", source: std::io::Error::other(error.to_string()) }
}

/// A processor with a little memory.
struct Bench<'a> {
    vcpu: Vcpu,
    memory: GuestMemory,
    io: &'a dyn CpuIo,
}

impl Bench<'_> {
    /// Real mode. An exception ends in shutdown.
    fn real() -> CpuState {
        let mut state = CpuState::reset(0);
        state.general.gpr = [0; 16];
        (state.general.gpr[0], state.general.rip) = (BEFORE, CODE);
        state.segments.data = [Segment::real(0); 6];
        state.segments.idtr = TableRegister { base: 0, limit: 0 };
        state.control.cr0 = Cr0::ET | Cr0::NE;
        state
    }

    /// 64-bit mode with all memory mapped to itself. An exception ends in shutdown.
    fn long(&self) -> Result<CpuState, Error> {
        const PRESENT_WRITABLE: u64 = 3;
        const LARGE: u64 = 1 << 7;
        self.put(TABLES, &[(TABLES + 0x1000) | PRESENT_WRITABLE])?;
        self.put(TABLES + 0x1000, &[(TABLES + 0x2000) | PRESENT_WRITABLE])?;
        self.put(TABLES + 0x2000, &[LARGE | PRESENT_WRITABLE])?;
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

    /// Writes words.
    fn put(&self, address: u64, words: &[u64]) -> Result<(), Error> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.memory.write(address, &bytes).map_err(|error| memory_error(&error))
    }

    /// Executes `code` from `state`.
    fn try_out(&mut self, code: &[u8], state: &CpuState) -> Result<Stop, Error> {
        self.memory.write(CODE, code).map_err(|error| memory_error(&error))?;
        self.vcpu.set_state(state)?;
        self.vcpu.step(self.io)
    }

    /// Whether paging without PAE, once set, is still on.
    fn keeps_legacy_paging(&mut self) -> Result<bool, Error> {
        let mut state = Self::real();
        state.control.cr0 |= Cr0::PE | Cr0::PG;
        if self.vcpu.set_state(&state).is_err() {
            return Ok(false);
        }
        Ok(self.state_after()?.control.cr0.contains(Cr0::PG))
    }

    fn state_after(&self) -> Result<CpuState, Error> {
        let mut state = CpuState::reset(0);
        self.vcpu.update(&mut state)?;
        Ok(state)
    }
}
