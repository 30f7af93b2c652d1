//! PCI: configuration space and the two ways to it, interrupt routing, and the chipset's own functions.
//!
//! PCI Local Bus specification 3.0; Q35 (MCH) and ICH9 datasheets. One bus; the host bridge is at 0:00.0 and the
//! LPC bridge at 0:1f.0, as in a Q35 board. A device implements [`PciFunction`] around a [`ConfigSpace`], gives
//! it its BARs and capabilities, and is added to the [`PciBus`] with who answers in its windows; its INTx wires end in
//! [`PciInterrupts`]. A device that interrupts and accesses memory has an [`Endpoint`], which is all of that.
//!
//! Not modelled: bridges to further buses, the root complex register block (RCBA reads as disabled), PAM and
//! SMRAM effects (their registers keep what is written), expansion ROMs.
//!
//! Locks: a configuration access locks the access device (ports or ECAM) and then the one function it is for. A
//! function may drive wires and send messages then, and must not start a configuration access. An access to a window
//! locks the function alone. So does a completion, on a thread of the backend's, which holds nothing else then: a
//! function's lock comes before those of interrupt controllers, and after none. Windows move with no function locked:
//! moving waits until all accesses to the bus are over, and they wait for functions.

mod bar;
mod config;
mod ecam;
mod endpoint;
#[cfg(test)]
mod endpoint_tests;
mod function;
mod host_bridge;
mod interrupts;
mod lpc;
mod msi;
mod msix;
mod ports;
mod root;
#[cfg(test)]
mod tests;

pub use bar::{Bar, BarKind, BarWindow};
pub use config::{ConfigSpace, ConfigState, Identity, command, reg};
pub use ecam::Ecam;
pub use endpoint::{Endpoint, EndpointState, PciWires};
pub use function::{FunctionAddress, PciFunction, touches};
pub use host_bridge::{EcamMoved, HostBridge};
pub use interrupts::{InterruptState, PIRQS, PciInterrupts, PirqWires, input, pirq, pirq_gsi};
pub use lpc::{LpcBridge, LpcState, LpcWires, PmMoved};
pub use msix::{MsixLayout, MsixState};
pub use ports::{ConfigPorts, ConfigPortsState};
pub use root::{FunctionTaken, PciBus, WindowTargets};

/// First port of configuration mechanism 1: the address.
pub const CONFIG_ADDRESS: u16 = 0xCF8;
/// First port of its data.
pub const CONFIG_DATA: u16 = 0xCFC;
/// Length of each of the two.
pub const CONFIG_PORTS_LEN: u16 = 4;

/// Where the memory-mapped configuration space is: ACPI MCFG.
pub const ECAM_BASE: u64 = 0xE000_0000;
/// Its length: 256 buses.
pub const ECAM_LEN: u64 = 256 << 20;

/// Guest-physical addresses for 32-bit memory BARs: first one.
pub const MEMORY_WINDOW_BASE: u64 = 0xC000_0000;
/// Length of the window for 32-bit memory BARs.
pub const MEMORY_WINDOW_LEN: u64 = ECAM_BASE - MEMORY_WINDOW_BASE;
/// Ports for I/O BARs: first one.
pub const IO_WINDOW_BASE: u16 = 0x1000;
/// Length of the window for I/O BARs.
pub const IO_WINDOW_LEN: u16 = 0xF000;

/// Where the host bridge is.
pub const HOST_BRIDGE: FunctionAddress = FunctionAddress::new(0, 0, 0);
/// Where the LPC bridge is.
pub const LPC_BRIDGE: FunctionAddress = FunctionAddress::new(0, 0x1F, 0);
