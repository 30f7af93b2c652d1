//! The host's side of networks: what is at the other end of the cable of a guest's card.
//!
//! Each is a [`NetworkBackend`](emu_core::backend::NetworkBackend): user-mode NAT is [`user`]. What users write is in
//! [`NetworkSpec`], [`user::Forward`] and [`MacAddress`]. Where a card does not take packets that are to be finished,
//! [`offload`] finishes them.

mod checksum;
#[doc(hidden)]
pub mod fuzz;
mod mac;
pub mod offload;
mod spec;
pub mod user;

pub use mac::{MacAddress, MacError};
pub use spec::{NetworkSpec, SpecError};
