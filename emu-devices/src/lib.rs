//! The devices of the machine: register models with everything they touch injected.
#![forbid(unsafe_code)]

pub mod acpi;
pub mod apic;
pub mod hpet;
pub mod pci;
