//! The machine's bus: how a vCPU's port and MMIO accesses find their device.
//!
//! A device is a register model behind narrow traits ([`PortIo`], [`MmioIo`]). The bus routes, splits what no
//! device can take whole, and decides what an access that nobody answers reads as: all ones, as on real
//! hardware whose data lines float high. Interrupts leave devices through an [`IrqLine`].

mod device;
mod irq;
mod route;

pub use device::{Device, IoError, IoResult, MmioIo, PortIo, Snapshot};
pub use irq::{IrqLine, IrqSink, MsiSink};
pub use route::{Bus, RegionConflict};
