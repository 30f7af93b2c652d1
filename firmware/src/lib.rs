//! The firmware of the machine, as far as a kernel that is started directly sees it: tables that describe the
//! machine (ACPI, SMBIOS, MP, memory map) and the boot protocols that kernels are started by.
//!
//! Nothing here runs: [`prepare`] writes RAM and says in which state the first processor starts. There are no
//! BIOS services.

#![forbid(unsafe_code)]

pub mod acpi;
mod bios_area;
pub mod boot;
pub mod e820;
pub mod layout;
mod mp_table;
mod smbios;

pub use boot::{BootError, BootState, GuestImage, Module};
pub use layout::MachineLayout;

use acpi::AcpiTables;
use e820::{HIGH_MEMORY, MemoryMap, RangeKind};
use emu_core::memory::GuestMemory;

/// Where the ACPI tables of a machine with `memory` lie: at the top of RAM below 4 GiB.
fn place_acpi(
    map: &MemoryMap,
    memory: &GuestMemory,
    layout: &MachineLayout,
) -> Result<AcpiTables, BootError> {
    let size = AcpiTables::size(layout);
    let base = map.low_ram_end().checked_sub(size).filter(|base| *base >= HIGH_MEMORY);
    let base = base.ok_or(BootError::TooLittleMemory { ram_mib: memory.size() >> 20 })?;
    Ok(AcpiTables::build(layout, base))
}

/// Checks `image`, writes it and all tables of the machine `layout` into `memory`, and says how the first
/// processor starts. May be called again to restart the guest.
pub fn prepare(
    memory: &GuestMemory,
    image: &GuestImage,
    layout: &MachineLayout,
) -> Result<BootState, BootError> {
    let kernel = boot::Kernel::parse(image.kernel)?;
    let (map, rsdp) = write_tables(memory, layout)?;
    boot::load(&kernel, image, memory, layout, (&map, rsdp))
}

/// Writes the tables of the machine `layout` into `memory`, for a guest that is started by other means. The map of
/// what is left and the address of the RSDP are returned.
pub fn write_tables(memory: &GuestMemory, layout: &MachineLayout) -> Result<(MemoryMap, u64), BootError> {
    let mut map = MemoryMap::new(memory, layout);
    let acpi = place_acpi(&map, memory, layout)?;
    map.mark(&acpi.nvs(), RangeKind::AcpiNvs);
    map.mark(&acpi.reclaimable(), RangeKind::AcpiReclaim);
    let rsdp = bios_area::write(memory, layout, &acpi)?;
    memory.write(acpi.base(), acpi.bytes())?;
    Ok((map, rsdp))
}
