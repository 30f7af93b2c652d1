//! 64-bit user code that somebody beside this CPU may execute: hardware that can do that and no more.
//!
//! Handing over costs as much as thousands of instructions, so it is worth it only for code that computes for long. Such
//! code is what interrupts find: when one interrupts user code, the return to user code that follows is
//! [reported](crate::interp::Stop::UserCode) to whoever runs the CPU.

use super::Cpu;
use crate::{
    arch::{Flags, Seg},
    memory::GRANULE,
    microcode::debug,
    state::{Activity, CpuState},
};

/// See the module.
#[derive(Debug, Clone, Copy, Default)]
pub struct UserCode {
    /// Somebody is there for it.
    pub wanted: bool,
    /// The next user code is to be reported.
    pub due: bool,
}

impl Cpu {
    /// An interrupt is about to be delivered.
    pub(crate) fn user_code_interrupted(&mut self) {
        if self.user_code.wanted && self.cpl == 3 && self.mode.is_64bit() {
            self.user_code.due = true;
        }
    }

    /// Mode or level have changed: has the run loop look around if user code is due.
    #[inline]
    pub(crate) fn look_for_user_code(&self) {
        if self.user_code.due && self.cpl == 3 {
            self.signal.poll_again();
        }
    }

    /// Whether user code is due and comes next, with nothing that is about to happen to it. It is not due any more then.
    pub(crate) fn is_user_code_due(&mut self) -> bool {
        let due = self.user_code.due && self.is_at_user_code();
        if due {
            self.user_code.due = false;
        }
        due
    }

    /// Whether 64-bit user code comes next that no trap, breakpoint or trace has an eye on.
    pub fn is_at_user_code(&self) -> bool {
        self.cpl == 3
            && self.mode.is_64bit()
            && !self.mode.is_stepping()
            && !self.mode.checks_alignment()
            && self.events.activity == Activity::Active
            && !self.events.shadow
            && self.events.pending_debug == 0
            && self.control.dr7 & 0xFF == 0
            && !self.eflags.contains(Flags::AC)
            && self.trace.is_none()
            && self.observe.code.is_empty()
            && self.mmu.observed.is_empty()
    }

    /// Takes over what user code can change of `state`: general registers, RIP, RFLAGS, the bases of FS and GS, x87 and
    /// vector registers. Translations and everything decoded stay.
    pub fn load_user_state(&mut self, state: &CpuState) {
        self.regs[..16].copy_from_slice(&state.general.gpr);
        self.rip = state.general.rip;
        (self.x87, self.simd) = (state.x87, state.simd);
        self.load_mxcsr(state.simd.mxcsr);
        for seg in [Seg::Ds, Seg::Es, Seg::Fs, Seg::Gs] {
            self.segments.data[seg as usize].selector = state.segments.data[seg as usize].selector;
        }
        for seg in [Seg::Fs, Seg::Gs] {
            let base = state.segments.data[seg as usize].base;
            self.segments.data[seg as usize].base = base;
            self.regs[usize::from(super::slot::SEGMENT_BASE) + seg as usize] = base;
        }
        self.set_rflags(state.general.rflags);
    }

    /// The last instruction was executed beside, and TF was set: its trap comes now.
    pub fn single_stepped(&mut self) {
        self.events.no_single_step = false;
        debug::debug_trap_after(self, true);
    }

    /// Code of the guest-physical page at `page` is going to be executed beside: it is recorded, and whoever writes to it
    /// [says so](crate::mmu::Forgotten::Code).
    pub fn claim_code(&mut self, page: u64) {
        const { assert!(4096 % GRANULE == 0) };
        self.claim(page, 4096);
    }
}
