//! What devices ask of the host: the seam between a controller's registers and an image, a socket, a tap.
//!
//! A device knows these traits, and so do the crates that do the host's work; neither knows the other. Nothing here
//! waits: a device asks under its lock, on a vCPU's thread, and hears later, on a thread of the backend's, when it is
//! done; or at once, of a disk, where the host has what is asked for at hand. Backends call back with no lock of theirs
//! held, since the device takes its own then.

mod block;
pub mod checksum;
mod connections;
mod entropy;
mod message;
mod network;
mod stream;

pub use block::{BlockBackend, BlockError, BlockGeometry, BlockRequest, Completion, Data, Operation};
pub use connections::{ConnectionBackend, ConnectionKey, ConnectionReceiver, Shutdown};
pub use entropy::{EntropyBackend, EntropyError};
pub use message::{MessageBackend, Reply};
pub use network::{
    Acceptance, ChecksumOffload, MAX_PACKET, NetworkBackend, NetworkReceiver, Packet, Segmentation,
    SegmentationKind,
};
pub use stream::{StreamBackend, StreamReceiver};
