//! The devices of a PC: chipset, and what hangs on its buses.
//!
//! Every device is a register model with everything injected: an `IrqLine` (a wire: the device never knows its
//! number), the machine's clock and a timer on it, a backend. No threads, no host I/O, no host time in here.
//!
//! A device that needs a timer is given one by its maker, who also decides what expiry does: put the device
//! behind its lock, then let `timer.on_expiry` call the device's `timer_expired`. Extra calls are harmless.

#![forbid(unsafe_code)]

pub mod acpi;
pub mod apic;
pub mod debug_exit;
pub mod debugcon;
pub mod ferr;
pub mod fw_cfg;
pub mod hpet;
pub mod i8042;
pub mod i8254;
pub mod i8259;
pub mod mc146818;
pub mod pci;
pub mod port92;
pub mod pvpanic;
pub mod serial;
pub mod test_device;
pub mod virtio;

#[cfg(test)]
mod probe;
