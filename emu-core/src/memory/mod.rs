//! Guest-physical memory: RAM, and which addresses are not RAM.
//!
//! RAM is one host mapping per slot, reserved lazily by the host: a guest of 8 GiB costs what it touches.
//! What is neither RAM nor ROM goes to the bus. Which parts of RAM hold code that some vCPU has decoded is
//! tracked in [`CodeMap`], so that writes to code invalidate what they touch and nothing else.

mod code_map;
mod dma;
mod guest;
pub(crate) mod host;
mod physical;
mod rights;

pub use code_map::{CodeMap, GRANULE, MemoryEvent};
pub use dma::{Dma, DmaBuffer};
pub use guest::{GuestMemory, MemoryError, RAM_BELOW_4G_MAX};
pub use physical::PhysicalMemory;
pub use rights::{PageRights, PhysicalRights};
