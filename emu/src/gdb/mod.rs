//! The debugger's way in, `--gdb`: gdb's remote serial protocol ("Debugging with GDB", appendix E), by the crate gdbstub.
//!
//! [`server`] has a thread that waits for a debugger and speaks with it, one [`session`] at a time. [`target`] is what
//! gdbstub asks for: registers ([`registers`], told to gdb by [`description`]), [`memory`], going on and stopping, by a
//! [`DebugPort`](crate::machine::debug::DebugPort). It acts on a machine that stands, by tasks on the machine's thread.
//! [`monitor`] are emu's own commands. Threads are vCPUs: thread n is vCPU n - 1.
//!
//! gdb knows linear addresses and nothing of segments, so `$pc` is linear as well, in every mode: see
//! [`mode::code_base`]. [docs/debugging.md](../../../docs/debugging.md) is for users.
//!
//! Left out: non-stop mode, reverse execution, and what there is for processes (files, arguments, signals).

mod description;
mod memory;
mod mode;
mod monitor;
mod registers;
mod server;
mod session;
mod socket;
mod target;

pub use server::GdbServer;
pub use socket::GdbSocket;
