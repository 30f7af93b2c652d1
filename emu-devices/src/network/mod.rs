//! Network interface cards, and what they share: the cable, the seam's other side, headers and checksums.
//!
//! A card hands packets to its cable as the guest's driver gave them: a checksum that is still to be made or a TCP
//! packet that is still to be cut is the other end's to finish, if it needs that at all. In the other direction a card
//! says what it takes unfinished. Packets wait at the other end while the guest has no buffers for them, so a card keeps
//! none: it refuses, and calls for more when the guest has made room.
//!
//! Locks: a card is locked while it sends, and by the other end's thread while it receives.

mod cable;
pub mod e1000;
mod ethernet;
mod microwire;
mod offload;
#[cfg(test)]
pub(crate) mod recorder;
pub mod rtl8139;

pub use cable::{Cable, CardWires, NetworkCard, connect};
pub(crate) use ethernet::{Destination, Transport, VLAN, destination, vlan_tag};

/// An Ethernet address.
pub type MacAddress = [u8; 6];
