//! The pvpanic device (QEMU, docs/specs/pvpanic): a port where the guest reports that it crashed.

use acpi_tables::{
    Aml,
    aml::{
        Arg, Device, Field, FieldAccessType, FieldEntry, FieldLockRule, FieldUpdateRule, IO, Method, Name,
        ONE, OpRegion, OpRegionSpace, Path, ResourceTemplate, Return, Scope, Store,
    },
};

/// `_STA`: present, enabled, shown, working.
const WORKING: u8 = 0x0F;

/// Appends the device at `port`.
pub(super) fn device(port: u16, aml: &mut Vec<u8>) {
    let hid = Name::new(Path::new("_HID"), &"QEMU0001");
    let status = Name::new(Path::new("_STA"), &WORKING);
    let io = IO::new(port, port, 1, 1);
    let crs = Name::new(Path::new("_CRS"), &ResourceTemplate::new(vec![&io]));
    let region = OpRegion::new(Path::new("PEOR"), OpRegionSpace::SystemIO, &port, &ONE);
    let field = Field::new(
        Path::new("PEOR"),
        FieldAccessType::Byte,
        FieldLockRule::NoLock,
        FieldUpdateRule::Preserve,
        vec![FieldEntry::Named(*b"PEPT", 8)],
    );
    let events = Path::new("PEPT");
    let get = Return::new(&events);
    let read = Method::new(Path::new("RDPT"), 0, false, vec![&get]);
    let set = Store::new(&events, &Arg(0));
    let write = Method::new(Path::new("WRPT"), 1, false, vec![&set]);
    let device = Device::new(Path::new("PEVT"), vec![&hid, &status, &crs, &region, &field, &read, &write]);
    Scope::new(Path::new("\\_SB_.PCI0.ISA_"), vec![&device]).to_aml_bytes(aml);
}
