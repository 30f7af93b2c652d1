//! Virtio: paravirtual devices, by the modern PCI transport. Virtual I/O Device specification 1.2.
//!
//! [`VirtioPci`] is the transport (4.1): feature negotiation, queues, interrupts, reset. What the device does is a
//! [`VirtioDevice`]. [`Queues`] are the split rings (2.7) between the two and the driver.
//!
//! # Writing a device
//! - [`notified`](VirtioDevice::notified) is called, on the vCPU's thread, when the driver has made buffers available:
//!   [`Queues::pop`] them, do what can be done at once, and hand the rest to a backend.
//! - A [`Chain`] is a request: what the driver has written in [`readable`](Chain::readable), what it wants written in
//!   [`writable`](Chain::writable), both checked to be RAM. It goes back by [`Queues::complete`], at once or later, in
//!   any order.
//! - Later means on a thread of the backend's: [`Link::with`] locks the device and lends it out with its queues. The
//!   device gets its link by [`attach`](VirtioDevice::attach).
//! - Interrupts are the transport's: after each call it sends those that the driver wants.
//! - A driver that does what makes no sense of a ring (loops, descriptors that are no RAM) or of a request
//!   ([`Queues::fail`]) finds DEVICE_NEEDS_RESET in the status; `pop` has nothing more for the device then.
//! - [`Queues::config_changed`] tells the driver that the device's configuration is another.
//! - Whatever was popped before a reset is void after it: completing it does nothing. Until the backend has let go of
//!   its memory ([`is_busy`](VirtioDevice::is_busy)) the driver does not see the reset's end.
//! - Saved state: what has been popped and not completed is popped again by the restored device.
//!
//! Left out: packed rings, queue reset, legacy and transitional devices, notification data, shared memory regions.

mod balloon;
mod block;
mod chain;
mod common;
mod console;
#[cfg(test)]
mod driver;
mod entropy;
#[cfg(test)]
mod entropy_tests;
mod layout;
mod net;
mod pci;
mod plan9;
#[cfg(test)]
mod plan9_tests;
mod queues;
mod ring;
#[cfg(test)]
mod tests;
mod vsock;

pub use balloon::{BALLOON_PAGE, Balloon, BalloonState, Returned, Statistics};
pub use block::{Block, BlockConfig, BlockState};
pub use chain::Chain;
pub use console::{Console, ConsoleState, MAX_PORTS, PortKind};
pub use entropy::Entropy;
pub use net::{Net, NetConfig, NetState};
pub use pci::{Link, VirtioPci, VirtioPciState};
pub use plan9::{MAX_TAG, Plan9};
pub use queues::Queues;
pub use vsock::{GUEST_CIDS, MAX_CONNECTIONS, Vsock, VsockState};

use serde::{Serialize, de::DeserializeOwned};

/// Feature bits of the transport and the rings: sec. 6.
pub mod feature {
    /// Descriptors that lead to tables of descriptors.
    pub const INDIRECT_DESC: u64 = 1 << 28;
    /// Both sides say up to where they need no notification.
    pub const EVENT_IDX: u64 = 1 << 29;
    /// By version 1 of the specification.
    pub const VERSION_1: u64 = 1 << 32;
    /// What every device here offers.
    pub(super) const ALWAYS: u64 = INDIRECT_DESC | EVENT_IDX | VERSION_1;
}

/// Who a device says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VirtioIdentity {
    /// Short name for logs.
    pub name: &'static str,
    /// Device type: sec. 5.
    pub id: u16,
    /// PCI base class, subclass, interface.
    pub class: u32,
}

/// What a device is beyond its transport. See the module.
pub trait VirtioDevice: Send + Sized + 'static {
    /// Registers, as saved.
    type State: Serialize + DeserializeOwned;

    /// Who it is.
    fn identity(&self) -> VirtioIdentity;
    /// The most descriptors of each queue: powers of two, up to 32768.
    fn queue_sizes(&self) -> Vec<u16>;
    /// Feature bits of its type that it offers.
    fn features(&self) -> u64;
    /// Whether it can work with what the driver has accepted of those.
    fn accepts(&self, _features: u64) -> bool {
        true
    }
    /// Its configuration from `offset` on; what is beyond its end stays zero.
    fn read_config(&self, offset: usize, bytes: &mut [u8]);
    /// The driver writes its configuration.
    fn write_config(&mut self, _offset: usize, _bytes: &[u8]) {}
    /// Here is its link, before anything else happens.
    fn attach(&mut self, link: Link<Self>);
    /// The driver is ready, with these features. Notifications of all queues follow.
    fn start(&mut self, _features: u64) {}
    /// Buffers may have been made available in `queue`.
    fn notified(&mut self, queue: u16, queues: &mut Queues);
    /// Back to power-on. Chains are void.
    fn reset(&mut self);
    /// Whether a backend still has memory of chains.
    fn is_busy(&self) -> bool {
        false
    }
    /// Its registers.
    fn save(&self) -> Self::State;
    /// Takes saved registers.
    fn with_state(self, state: Self::State) -> Result<Self, String>;
}

/// For [`VirtioDevice::read_config`] of a device whose configuration is `config`.
pub fn read_bytes(config: &[u8], offset: usize, bytes: &mut [u8]) {
    for (byte, &value) in bytes.iter_mut().zip(config.iter().skip(offset)) {
        *byte = value;
    }
}
