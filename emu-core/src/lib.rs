//! The software CPU of emu, and what every engine shares: architectural state, guest memory, the bus that
//! devices hang on, the clock, and the contract between a vCPU and the machine around it.
//!
//! Nothing here knows a device or (beyond mapping memory) the host. See ARCHITECTURE.md for the story.

pub mod arch;
pub mod backend;
pub mod bus;
pub mod clock;
pub mod cpu;
pub mod cpu_model;
pub mod decode;
pub mod engine;
pub mod interp;
pub mod lane;
pub mod memory;
pub mod microcode;
pub mod mmu;
pub mod region;
pub mod semantics;
pub mod state;
