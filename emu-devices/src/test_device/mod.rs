//! The test devices of QEMU, which test kernels such as those of kvm-unit-tests look for: pc-testdev at fixed
//! ports and memory ([`pc`]), pci-testdev behind two BARs ([`pci`]).
//!
//! They are no hardware. What defines them is QEMU's hw/misc/pc-testdev.c, and docs/specs/pci-testdev.

pub mod pc;
pub mod pci;
