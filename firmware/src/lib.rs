//! x.
#![forbid(unsafe_code)]
pub mod acpi;
mod bios_area;
pub mod e820;
pub mod layout;
mod mp_table;
mod smbios;
