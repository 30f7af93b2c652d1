//! The host's side of networks: what is at the other end of the cable of a guest's card.
//!
//! Each is a [`NetworkBackend`](emu_core::backend::NetworkBackend): user-mode NAT ([`user`]), a tap of the host's
//! ([`TapNetwork`]), another machine ([`SocketNetwork`]); [`Capture`] stands before any of them and writes down what
//! passes. What users write is in [`NetworkSpec`], [`user::Forward`] and [`MacAddress`]. Where a card does not take
//! packets that are to be finished, [`offload`] finishes them.

mod capture;
#[doc(hidden)]
pub mod fuzz;
mod mac;
pub mod offload;
mod pipe;
mod socket;
mod spec;
mod tap;
pub mod user;
mod vnet_header;

pub use capture::{Capture, CaptureError};
pub use mac::{MacAddress, MacError};
pub use socket::{SocketError, SocketNetwork};
pub use spec::{NetworkSpec, SpecError};
pub use tap::{TapError, TapNetwork};
