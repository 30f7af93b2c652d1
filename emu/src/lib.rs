//! emu, the product: configuration, command line, the host's side of the console, the embedded guest, and
//! obtaining real ones; and the machine that runs them.
//!
//! The binary is a thin shell over [`cli::main`]. `xtask` uses [`guests`].

pub mod cli;
pub mod config;
pub mod console;
pub mod control;
mod differential;
pub mod embedded;
pub mod exit;
mod gdb;
pub mod guests;
pub mod logger;
mod machine;
mod sockets;
