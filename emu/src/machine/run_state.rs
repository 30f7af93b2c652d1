//! Whether a machine runs, and why not: states as QMP's `RunState` names them.

use bitflags::bitflags;

bitflags! {
    /// What keeps a machine from running. Each is independent of the others; it runs when none is left.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Holds: u8 {
        /// The user wants it so.
        const USER = 1 << 0;
        /// A disk of the guest's has no room on the host.
        const SPACE = 1 << 1;
        /// A debugger looks at it.
        const DEBUGGER = 1 << 2;
    }
}

/// What a machine does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// It runs.
    Running,
    /// The user has stopped it.
    Paused,
    /// It stands until the host has room for its disks, whatever the user wants.
    IoError,
    /// A debugger has stopped it.
    Debug,
    /// It has ended.
    Shutdown,
}

impl RunState {
    /// As QMP writes it.
    pub fn name(self) -> &'static str {
        match self {
            RunState::Running => "running",
            RunState::Paused => "paused",
            RunState::IoError => "io-error",
            RunState::Debug => "debug",
            RunState::Shutdown => "shutdown",
        }
    }
}

impl From<Holds> for RunState {
    fn from(holds: Holds) -> RunState {
        if holds.contains(Holds::SPACE) {
            RunState::IoError
        } else if holds.contains(Holds::USER) {
            RunState::Paused
        } else if holds.contains(Holds::DEBUGGER) {
            RunState::Debug
        } else {
            RunState::Running
        }
    }
}
