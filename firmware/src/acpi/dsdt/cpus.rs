//! Processor devices (ACPI 6.5, 8.4): `_UID` is the number by which the MADT names the processor.

use crate::layout::MachineLayout;
use acpi_tables::{
    Aml,
    aml::{Device, Name, Path, Scope},
};

/// Appends one `ACPI0007` for each CPU.
pub(super) fn processors(layout: &MachineLayout, aml: &mut Vec<u8>) {
    for uid in 0..layout.cpu_apic_ids.len() as u32 {
        let hid = Name::new(Path::new("_HID"), &"ACPI0007");
        let number = Name::new(Path::new("_UID"), &uid);
        // Names have four characters: C000 to CFFF.
        let name = format!("C{:03X}", uid & 0xFFF);
        let device = Device::new(Path::new(&name), vec![&hid, &number]);
        Scope::new(Path::new("_SB_"), vec![&device]).to_aml_bytes(aml);
    }
}
