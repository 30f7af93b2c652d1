//! What this host's KVM does otherwise than a processor. Found out by trying, once, before anything is believed.
//!
//! A KVM on hardware has none of these. One that runs kernel code by emulating it has many, and some of them do
//! not show: the guest just gets a wrong result. Only those have to be looked for; what KVM does not emulate at
//! all it tells ([`Stop::NotEmulated`]).

use super::{
    Error, Stop,
    probe::{Bench, CODE, DATA, STACK},
};
use emu_core::arch::msr;
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
    /// INT3 in kernel code is not executed.
    Breakpoint,
    /// SYSCALL goes to its entry and stays in user mode.
    SystemCall,
    /// The time-stamp counter is the host's and cannot be set.
    TimeStamp,
}

impl Hole {
    /// Every hole that is looked for.
    pub const ALL: [Hole; 11] = [
        Hole::LegacyPaging,
        Hole::CountZeros,
        Hole::Movbe,
        Hole::Xcr0,
        Hole::ControlHalves,
        Hole::InterruptReturn,
        Hole::SwapGs,
        Hole::MsrChecks,
        Hole::Breakpoint,
        Hole::SystemCall,
        Hole::TimeStamp,
    ];

    /// Whether KVM itself says so when it comes to it, so that another engine can execute the instruction: nothing wrong
    /// happens meanwhile.
    pub fn is_told(self) -> bool {
        self == Hole::Breakpoint
    }

    /// Whether the KVM of `bench` has it.
    pub(super) fn is_in(self, bench: &mut Bench<'_>) -> Result<bool, Error> {
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
            // There is no IDT, so it cannot be delivered.
            Hole::Breakpoint => {
                let state = bench.long()?;
                bench.try_out(&[0xCC], &state)? != Stop::Shutdown
            }
            // syscall to a HLT, which is the kernel's alone.
            Hole::SystemCall => {
                let mut state = bench.user()?;
                state.msrs.lstar = CODE + 2;
                bench.go(&[0x0F, 0x05, 0xF4], &state)? != Stop::Halted
            }
            Hole::TimeStamp => !bench.vcpu.sets_time_stamp()?,
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
            Hole::Breakpoint => "this KVM does not execute int3 in kernel code",
            Hole::SystemCall => "this KVM stays in user mode after syscall",
            Hole::TimeStamp => "this KVM does not let the time-stamp counter be set",
            Hole::InterruptReturn => {
                "this KVM returns from interrupts in IA-32e mode without a processor's checks"
            }
        })
    }
}
