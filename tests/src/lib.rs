//! What whole-guest tests are made of: a runner that starts the emulator and talks to a guest ([`session`],
//! [`emulator`]), and small guests of our own ([`images`]).
//!
//! A session's methods panic, with everything the guest said, when the guest does not do what the test waits for:
//! they are assertions.

pub mod emulator;
pub mod images;
pub mod session;
