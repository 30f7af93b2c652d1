//! The host's processor as an oracle: executes user-mode code natively, and tells what it did.
//!
//! Cases run in a child process (`child`), which may be killed by what it executes, and is started again: a
//! case that kills it is reported as such, the others are not affected. Harness and child share memory
//! (`shared`) in which there is room for a batch of cases. In the child, a signal handler (`signal`) is the
//! way into a case and out of it: registers are set and taken in the signal frame (`frame`), the trap flag, or a breakpoint where that is as good (`landing`),
//! steps, exceptions come as signals with vector, error code and CR2. 16-bit and 32-bit code runs in segments of
//! a local descriptor table (`descriptors`), memory is mapped where the case has it, with its rights
//! (`memory`); what a case does not have is not present.
//!
//! Of a state it executes and shows: general-purpose registers, RIP, flags, x87 (but for the pointers to the last
//! instruction and operand), MXCSR, YMM, segment registers, and the bases of FS and GS in 64-bit mode. AVX-512
//! state is initial before; a case that changes it is refused.
//!
//! What it cannot show ([`Unsuitable`] says why, see `convert`): other modes and privilege levels, system calls,
//! loads of SS where no breakpoint can stand, memory above 4 GiB or below what the host lets a process have.
//! Selectors of global descriptors are replaced: code that reads them is for setups whose selectors a user process
//! has ([`adopt_selectors`]), or that have local ones.
//! Instructions whose result is the host's own (CPUID, RDTSC, SGDT and SIDT, which its kernel may emulate) are
//! executed, and differ.

mod child;
mod convert;
mod descriptors;
mod frame;
mod kernel;
mod landing;
mod memory;
mod opcode;
mod shared;
mod signal;

use crate::{Executor, Outcome, Setup, Unsuitable, corpus::Mode};
use child::{Child, Death};
use convert::Filled;
use emu_core::state::CpuState;
use frame::Layout;
use shared::Mapping;
use std::io;

/// Why the host's processor is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// RDFSBASE is not allowed: the kernel is older than 5.9, or the processor has none.
    #[error("the host does not let processes set the bases of FS and GS")]
    NoFsGsBase,
    /// No memory, or no process.
    #[error("no child process for native execution")]
    Process(#[source] io::Error),
    /// The child could not give up what code under test must not have: no seccomp, for example.
    #[error("the host's kernel does not isolate a child process as native execution needs it")]
    Isolation,
}

/// The host's processor in user mode.
pub struct Native {
    mapping: Mapping,
    child: Option<Child>,
    layout: Layout,
}

// SAFETY: the shared memory is this value's alone, and used through `&mut self`.
unsafe impl Send for Native {}

impl Native {
    /// Starts the child process.
    ///
    /// # Errors
    /// If this host does not let its processor be used so.
    pub fn start() -> std::result::Result<Self, StartError> {
        const HWCAP2_FSGSBASE: u64 = 1 << 1;
        // SAFETY: reads what the kernel told the process.
        if unsafe { libc::getauxval(libc::AT_HWCAP2) } & HWCAP2_FSGSBASE == 0 {
            return Err(StartError::NoFsGsBase);
        }
        let mapping = Mapping::new().map_err(StartError::Process)?;
        let mut child = Child::start(&mapping).map_err(StartError::Process)?;
        // An empty batch: the child tells that it is there.
        child.run().map_err(|_| StartError::Isolation)?;
        Ok(Native { mapping, child: Some(child), layout: Layout::of_host() })
    }

    /// Executes all of `setups`: as [`execute`](Executor::execute) of each, but faster.
    pub fn execute_batch<'a>(
        &mut self,
        setups: impl IntoIterator<Item = &'a Setup>,
    ) -> Vec<std::result::Result<Outcome, Unsuitable>> {
        let setups: Vec<&Setup> = setups.into_iter().collect();
        let mut outcomes = Vec::with_capacity(setups.len());
        while outcomes.len() < setups.len() {
            self.execute_some(&setups[outcomes.len()..], &mut outcomes);
        }
        outcomes
    }

    /// Executes the first of `setups`, as many as fit into a batch.
    fn execute_some(
        &mut self,
        setups: &[&Setup],
        outcomes: &mut Vec<std::result::Result<Outcome, Unsuitable>>,
    ) {
        // SAFETY: the child waits.
        let batch = unsafe { &mut *self.mapping.batch() };
        let mut filled = Filled::default();
        // Of each setup, its number in the batch, or why it is not there.
        let mut places = Vec::new();
        for setup in setups {
            let number = filled.cases;
            let added =
                convert::check(setup, self.layout).and_then(|()| convert::add(setup, batch, &mut filled));
            match added {
                Ok(true) => places.push(Ok(number)),
                Ok(false) => break,
                Err(reason) => places.push(Err(reason)),
            }
        }
        (batch.count, batch.current) = (filled.cases as u32, 0);
        let death = if filled.cases == 0 { None } else { self.run() };
        // SAFETY: the child waits, or is no more.
        let batch = unsafe { &*self.mapping.batch() };
        let reached = if death.is_some() { batch.current as usize } else { filled.cases };
        for (place, setup) in places.into_iter().zip(setups) {
            match (place, death) {
                (Err(reason), _) => outcomes.push(Err(reason)),
                (Ok(number), _) if number < reached => {
                    outcomes.push(convert::outcome(setup, batch, number));
                }
                // The case that killed the child; those after it run in the next batch.
                (_, death) => return outcomes.push(Err(death_of(death))),
            }
        }
    }

    /// Has a child run the batch; tells how it died, if it did.
    fn run(&mut self) -> Option<Death> {
        if self.child.is_none() {
            self.child = Child::start(&self.mapping).ok();
        }
        let result = self.child.as_mut().map_or(Err(Death::Exit), Child::run);
        let death = result.err();
        if death.is_some() {
            self.child = None;
        }
        death
    }
}

impl Executor for Native {
    fn name(&self) -> &'static str {
        "native"
    }

    fn may_lack_instructions(&self) -> bool {
        true
    }

    fn execute(&mut self, setup: &Setup) -> std::result::Result<Outcome, Unsuitable> {
        self.execute_batch([setup]).pop().expect("one outcome for one setup")
    }
}

fn death_of(death: Option<Death>) -> Unsuitable {
    Unsuitable(match death {
        Some(Death::Signal(signal)) => format!("it killed the child process by signal {signal}"),
        Some(Death::Endless) => "it did not end within 10 seconds".to_owned(),
        Some(Death::Exit) | None => "the child process ended".to_owned(),
    })
}

/// Gives a state selectors that a user process of the host has, so that instructions that read them do the same
/// everywhere: those of Linux in 64-bit mode with null data segments, local ones otherwise. Hidden parts of
/// segments stay.
pub fn adopt_selectors(state: &mut CpuState, mode: Mode) {
    let selectors: [u16; 6] = match mode {
        Mode::Long64 => [0, 0x33, 0x2B, 0, 0, 0],
        _ => [0x17, 0x0F, 0x17, 0x17, 0x17, 0x17],
    };
    for (segment, selector) in state.segments.data.iter_mut().zip(selectors) {
        segment.selector = selector;
    }
}

#[cfg(test)]
mod tests;
