//! Folders of the host that guests share: a 9P2000.L server that cannot be led out of its folder.
//!
//! [`Share`] is the server. Its layers, from the guest to the host:
//!
//! - `server`: threads, tags, flushing, sessions.
//! - `codec`, `message`: bytes to requests. The protocol is that of Linux's v9fs client: the 9P2000.L document of the diod
//!   project, and intro(5) of Plan 9 for what it keeps of 9P2000.
//! - `session`: fids, and what each request does with them.
//! - `tree`: the folder. Only here are names looked up and files opened; what keeps a guest inside is told at its top.
//! - `attributes`: owners, modes and special files, which the host keeps for the guest without giving them force.
//!
//! What the guest's kernel does and this server does not: permissions are checked by the guest, who sees all files that
//! emu's own user may use. Locks hold between the processes of one guest, not against the host's processes.
#![forbid(unsafe_code)]

mod attributes;
mod codec;
mod message;
mod server;
mod session;
mod tree;

pub use server::Share;
pub use tree::ShareError;

/// The longest message, either way, whatever a guest asks for.
pub const MAX_MESSAGE: usize = 1 << 20;
