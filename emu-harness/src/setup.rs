//! What there is before instructions execute, and what they make of it.

use crate::corpus::{Exception, Mode};
use emu_core::{arch::Seg, state::CpuState};

/// What a region of memory may be used for. Paging's view: without `write` a page is read-only, without
/// `execute` it has NX (where the mode's paging knows it), and what no region covers is not present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// Stores are allowed.
    pub write: bool,
    /// Instruction fetches are allowed.
    pub execute: bool,
    /// Code at privilege level 3 may reach it.
    pub user: bool,
}

impl Rights {
    /// Everything, for everybody.
    pub const ALL: Rights = Rights { write: true, execute: true, user: true };
}

/// A piece of memory. Pages that it touches are present; bytes of them that no region gives are zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// Linear address of the first byte; the physical one is the same.
    pub address: u64,
    /// Its bytes before.
    pub bytes: Vec<u8>,
    /// Rights of the pages it touches.
    pub rights: Rights,
}

/// An exact state to execute from.
#[derive(Debug, Clone, PartialEq)]
pub struct Setup {
    /// Mode that `state` is in: says how code decodes without looking at descriptors.
    pub mode: Mode,
    /// Registers. `interpreter::Interpreter::state_in` makes one at rest for a mode and a privilege level.
    pub state: CpuState,
    /// Memory, code included. Regions do not overlap.
    pub memory: Vec<Region>,
    /// Execution ends after so many instructions (a repeated string instruction is one), at least 1.
    pub instructions: u32,
    /// It also ends before the instruction at this RIP, if that is reached by any other.
    pub stop: Option<u64>,
}

impl Setup {
    /// Linear address of the instruction that RIP leads to.
    pub fn start(&self) -> u64 {
        match self.mode {
            Mode::Long64 => self.state.general.rip,
            _ => self.state.segments.data[Seg::Cs as usize].base.wrapping_add(self.state.general.rip),
        }
    }

    /// The bytes there, to the end of their region; none if no region has them.
    pub fn code(&self) -> &[u8] {
        let start = self.start();
        let found = self.memory.iter().find_map(|region| {
            let at = start.checked_sub(region.address)?;
            region.bytes.get(at as usize..).filter(|code| !code.is_empty())
        });
        found.unwrap_or_default()
    }
}

/// What came of a setup.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Registers after it. An exception leaves them as its instruction found them, but for CR2.
    pub state: CpuState,
    /// The exception that ended it: it is not delivered.
    pub exception: Option<Exception>,
    /// The bytes of each region of the setup, in its order.
    pub memory: Vec<Vec<u8>>,
    /// Instructions completed.
    pub instructions: u32,
}
