//! The control socket, `--control PATH`: QMP's shape (QEMU's "QMP protocol specification"), one JSON object per line.
//!
//! [`server`] has a thread for all clients; [`protocol`] reads and writes lines; [`commands`] are what can be asked for,
//! one entry each. A command either is answered at once, or has the machine's thread do a task on a machine that stands,
//! and its [`Reply`] comes back to the client's thread from there. What a client can make emu keep is bounded: the
//! length of a line, one command at a time, the output that it does not read, and how often it may stop the machine.
//!
//! Left out: out-of-band execution, and QMP's introspection.

pub mod commands;
pub mod protocol;
mod server;

pub use server::{ControlServer, ControlSocket, Reply};
