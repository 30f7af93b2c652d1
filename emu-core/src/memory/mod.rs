//! Guest-physical memory: RAM, and which addresses are not RAM.
//!
//! RAM is one host mapping per slot, reserved lazily by the host: a guest of 8 GiB costs what it touches.
//! What is neither RAM nor ROM goes to the bus.

mod guest;

pub use guest::{GuestMemory, MemoryError, RAM_BELOW_4G_MAX};
