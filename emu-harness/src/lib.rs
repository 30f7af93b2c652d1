//! The instruction-level test harness: one instruction, a block or a program from an exact state, on any engine,
//! and where engines differ.
//!
//! A [`Setup`] is what there is before: state and memory. An [`Executor`] is something that executes: the
//! interpreter ([`interpreter`]), the host's processor (`native`), its KVM (`kvm`). It makes an [`Outcome`] of a setup; two
//! outcomes of one setup can be compared. Setups are written by hand, read from a corpus ([`corpus`]), or made
//! from the opcode table ([`encodings`]); what came of them is told by [`report`]. A [`sandbox`] is the API for
//! those who embed a CPU in tests of their own.

pub mod assignment;
pub mod blocks;
pub mod corpus;
pub mod coverage;
pub mod encodings;
mod executor;
pub mod free_running;
pub mod fuzz;
pub mod generate;
pub mod interpreter;
pub mod jit;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod kvm;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod native;
pub mod report;
pub mod sandbox;
mod setup;
pub mod single_step;
pub mod sweep;
pub mod undefined;

pub use executor::{Executor, Unsuitable};
pub use setup::{Outcome, Region, Rights, Setup};
