//! The run loop of a vCPU: blocks, exceptions, interrupts, HLT.

use super::handlers;
use crate::{
    arch::{Exception, Flags},
    cpu::{Cpu, TraceView, slot},
    engine::request,
    microcode::{debug, interrupt},
    state::Activity,
};
use std::sync::atomic::Ordering;

/// Instructions between looks around, when nothing asks for one: bounds the depth of a handler chain that was
/// not compiled to jumps.
pub(super) const SLICE: i64 = 50_000;

/// Why the run loop returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// [`request::STOP`] was raised.
    Requested,
    /// What comes next is 64-bit user code, in an address space whose code was interrupted before or was
    /// [asked for](crate::cpu::UserCode::due). Only with somebody [beside](crate::cpu::UserCode).
    UserCode,
}

/// How some execution came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Behind an instruction; nothing of the next one has been done.
    Between,
    /// Perhaps with an exception, which has been delivered.
    Delivered,
    /// Before an observed instruction.
    Paused,
}

impl Cpu {
    /// Executes until asked to stop. HLT sleeps inside.
    pub fn run(&mut self) -> Stop {
        self.enter_mxcsr();
        let stop = self.run_until_asked();
        self.sync_mxcsr();
        stop
    }

    fn run_until_asked(&mut self) -> Stop {
        loop {
            if self.signal.attention().load(Ordering::Acquire) != 0 {
                if let Some(stop) = self.serve_requests() {
                    return stop;
                }
                if self.is_user_code_due() {
                    return Stop::UserCode;
                }
            }
            if self.events.activity != Activity::Active {
                self.sleep();
                continue;
            }
            self.run_some(SLICE);
        }
    }

    /// Serves requests, then executes one run of chained blocks: it ends with the first block that brings it to
    /// `instructions`, with an exception (which is delivered), or with a request. For those who want to act
    /// between blocks; an inactive CPU does nothing.
    pub fn run_slice(&mut self, instructions: u32) -> Option<Stop> {
        if self.signal.attention().load(Ordering::Acquire) != 0
            && let Some(stop) = self.serve_requests()
        {
            return Some(stop);
        }
        if self.events.activity == Activity::Active {
            self.enter_mxcsr();
            self.run_some(instructions.into());
            self.sync_mxcsr();
        }
        None
    }

    /// Executes one instruction (or delivers one event), for tests and stepping.
    pub fn step(&mut self) {
        if self.events.activity == Activity::Active {
            self.enter_mxcsr();
            self.run_one();
            self.sync_mxcsr();
        }
    }

    /// Executes one instruction and returns what it raises instead of delivering it: for comparing engines with
    /// each other. Looks neither at interrupts nor at debug registers, and an inactive CPU executes as well.
    /// ([`Exception::Restart`] is a repeated instruction that stopped on its way.)
    pub fn execute_one(&mut self) -> Result<(), Exception> {
        self.enter_mxcsr();
        let result = self.look_up_in(self.mode.stepping()).and_then(|found| match self.enter(&found, 0) {
            handlers::RAISED => self.raised.take().map_or(Ok(()), Err),
            _ => Ok(()),
        });
        self.sync_mxcsr();
        result
    }

    /// Blocks until the budget is used up or something happens.
    pub(super) fn run_some(&mut self, budget: i64) -> Ended {
        if self.mode.is_stepping() || self.events.shadow || self.needs_single_steps() {
            return self.run_one();
        }
        // RF holds for one instruction. Without breakpoints it has nothing to hold back, and whatever that
        // instruction raises sets it again.
        self.eflags.remove(Flags::RF);
        let code = match self.look_up_resumed() {
            Ok(found) => self.enter(&found, budget),
            Err(exception) => {
                self.deliver(exception);
                return Ended::Delivered;
            }
        };
        if code == handlers::RAISED {
            self.deliver_raised();
            return Ended::Delivered;
        }
        if self.events.pending_debug != 0 {
            debug::debug_trap_after(self, false);
            return Ended::Delivered;
        }
        if code == handlers::PAUSED { Ended::Paused } else { Ended::Between }
    }

    pub(super) fn enter(&mut self, found: &super::build::Found, budget: i64) -> u32 {
        self.regs[usize::from(slot::RIP_BASE)] = found.rip_base;
        self.hot.bury();
        self.leave_block = false;
        self.budget = budget;
        let code = handlers::enter(self, found.entry);
        self.executed += (budget - self.budget).unsigned_abs();
        code
    }

    /// A trace wants to see every instruction. (For TF, RF and breakpoints the mode says so.)
    fn needs_single_steps(&self) -> bool {
        self.trace.as_ref().is_some_and(|trace| trace.wants_execution())
    }

    /// One instruction, with everything that can happen before and after it. SDM vol. 3, 6.9.
    pub(super) fn run_one(&mut self) -> Ended {
        if self.pauses_here() {
            return Ended::Paused;
        }
        self.run_this_one();
        Ended::Delivered
    }

    fn run_this_one(&mut self) {
        let (shadow, single_step) = (self.events.shadow, self.eflags.contains(Flags::TF));
        if let Some(exception) = debug::instruction_breakpoint(self) {
            return self.deliver(exception);
        }
        let found = match self.look_up_in(self.mode.stepping()) {
            Ok(found) => found,
            Err(exception) => return self.deliver(exception),
        };
        self.trace_execution();
        let code = self.enter(&found, 0);
        if shadow {
            self.events.shadow = false;
            self.events.shadow_from_mov_ss = false;
            // Whatever the shadow held back is due now.
            self.signal.poll_again_if_waiting();
        }
        if code == handlers::RAISED {
            self.deliver_raised();
        } else if single_step || self.events.pending_debug != 0 {
            debug::debug_trap_after(self, single_step);
        }
    }

    fn trace_execution(&mut self) {
        if !self.trace.as_ref().is_some_and(|trace| trace.wants_execution()) {
            return;
        }
        let Some(mut trace) = self.trace.take() else { return };
        let mut bytes = [0; 15];
        let linear = if self.mode.is_64bit() {
            self.rip
        } else {
            self.segments.data[1].base.wrapping_add(self.rip) & 0xFFFF_FFFF
        };
        let len = (0x1000 - (linear & 0xFFF) as usize).min(15);
        if let Ok(physical) = self.mmu.translate_fetch(linear)
            && self.memory.ram().is_ram(physical)
        {
            for (at, byte) in bytes[..len].iter_mut().enumerate() {
                *byte = self.read_physical(physical + at as u64, 1) as u8;
            }
        }
        trace.executing(TraceView {
            vcpu: self.id,
            cs: self.segments.data[1].selector,
            rip: self.rip,
            rflags: self.rflags(),
            gpr: &self.regs[..16],
            bytes: &bytes[..len],
            bitness: self.mode.bitness(),
        });
        self.trace = Some(trace);
    }

    fn deliver_raised(&mut self) {
        if let Some(exception) = self.raised.take() {
            self.deliver(exception);
        }
    }

    fn deliver(&mut self, exception: Exception) {
        self.forget_accesses(exception);
        if exception == Exception::Restart {
            debug::instruction_restarted(self);
        } else {
            interrupt::deliver_exception(self, exception);
        }
    }

    /// Sleeps until something happens that may end the current inactivity, or is asked for by the machine.
    pub fn sleep(&mut self) {
        // A CPU that sleeps must let go of translated code too.
        let mut wake = request::STOP | request::MEMORY | request::INIT | request::TRANSLATED;
        match self.events.activity {
            Activity::Active => return,
            Activity::Halted => {
                wake |= request::SMI;
                if !self.events.nmi_blocked {
                    wake |= request::NMI;
                }
                if self.eflags.contains(Flags::IF) {
                    wake |= request::INTERRUPT;
                }
            }
            Activity::Shutdown => wake |= request::NMI | request::SMI,
            Activity::WaitForStartup => wake |= request::STARTUP,
        }
        self.signal.wait(wake, None);
        self.signal.poll_again();
    }
}
