//! What whole-guest tests are made of: a runner that starts the emulator and talks to a guest ([`session`],
//! [`emulator`]), small guests of our own ([`images`]); and the text corpus of instruction cases
//! ([`corpus`]) with what executes instructions one at a time: the interpreter ([`interpreter`]) and, as an
//! oracle, the host's processor (`host`).
//!
//! A session's methods panic, with everything the guest said, when the guest does not do what the test waits for:
//! they are assertions.

pub mod corpus;
pub mod emulator;
pub mod encodings;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod host;
pub mod images;
pub mod interpreter;
pub mod session;
