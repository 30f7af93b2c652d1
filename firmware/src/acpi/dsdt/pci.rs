//! `\_SB.PCI0`: the host bridge with its windows (`_CRS`) and interrupt wiring (`_PRT`), and the device that
//! reserves what the motherboard decodes itself.

use crate::layout::{MachineLayout, PciLayout};
use acpi_tables::{
    Aml,
    aml::{
        AddressSpace, AddressSpaceCacheable, Device, EISAName, Else, IO, If, Memory32Fixed, Method, Name,
        PackageBuilder, Path, ResourceTemplate, Return, Scope, ZERO,
    },
};

/// Devices on bus 0 and pins of each.
const DEVICES: u8 = 32;
const PINS: u8 = 4;
/// The VGA window, which the host bridge forwards.
const VGA: (u32, u32) = (0xA_0000, 0xB_FFFF);

/// Appends the host bridge.
pub(super) fn host_bridge(layout: &MachineLayout, aml: &mut Vec<u8>) {
    let pci = &layout.pci;
    let hid = Name::new(Path::new("_HID"), &EISAName::new("PNP0A08"));
    let cid = Name::new(Path::new("_CID"), &EISAName::new("PNP0A03"));
    let uid = Name::new(Path::new("_UID"), &ZERO);
    let bus = Name::new(Path::new("_BBN"), &ZERO);
    let crs = windows(pci);
    let direct = Name::new(Path::new("PRTA"), &routing(|device, pin| pci.gsi(device, pin)));
    let legacy = Name::new(
        Path::new("PRTP"),
        &routing(|device, pin| pci.isa_irqs[usize::from(PciLayout::line(device, pin))].into()),
    );
    let (apic_mode, direct_path, legacy_path) = (Path::new("PICF"), Path::new("PRTA"), Path::new("PRTP"));
    let (return_direct, return_legacy) = (Return::new(&direct_path), Return::new(&legacy_path));
    let with_apic = If::new(&apic_mode, vec![&return_direct]);
    let without = Else::new(vec![&return_legacy]);
    let prt = Method::new(Path::new("_PRT"), 0, false, vec![&with_apic, &without]);
    let bridge = Device::new(Path::new("PCI0"), vec![&hid, &cid, &uid, &bus, &crs, &direct, &legacy, &prt]);
    Scope::new(Path::new("_SB_"), vec![&bridge]).to_aml_bytes(aml);
}

/// `_CRS`: buses, I/O ports and memory that the bridge forwards.
fn windows(pci: &PciLayout) -> Name {
    let last_bus = pci.buses().saturating_sub(1);
    let buses = AddressSpace::<u16>::new_bus_number(0, last_bus);
    let configuration = IO::new(0xCF8, 0xCF8, 1, 8);
    let low_io = AddressSpace::<u16>::new_io(0, 0x0CF7, None);
    let high_io = AddressSpace::<u16>::new_io(0x0D00, 0xFFFF, None);
    let memory = |start, end| {
        AddressSpace::<u32>::new_memory(AddressSpaceCacheable::NotCacheable, true, start, end, None)
    };
    let vga = memory(VGA.0, VGA.1);
    let mmio32 = memory(pci.mmio32.start as u32, pci.mmio32.end.saturating_sub(1) as u32);
    let mut children: Vec<&dyn Aml> = vec![&buses, &configuration, &low_io, &high_io, &vga, &mmio32];
    let mmio64 = pci.mmio64.as_ref().map(|range| {
        let cacheable = AddressSpaceCacheable::Cacheable;
        AddressSpace::<u64>::new_memory(cacheable, true, range.start, range.end.saturating_sub(1), None)
    });
    if let Some(window) = &mmio64 {
        children.push(window);
    }
    Name::new(Path::new("_CRS"), &ResourceTemplate::new(children))
}

/// A `_PRT` package (6.2.13): the global system interrupt of each pin of each device on bus 0.
fn routing(gsi: impl Fn(u8, u8) -> u32) -> PackageBuilder {
    let mut table = PackageBuilder::new();
    for device in 0..DEVICES {
        for pin in 0..PINS {
            let mut entry = PackageBuilder::new();
            // Any function of the device.
            entry.add_element(&(u32::from(device) << 16 | 0xFFFF));
            entry.add_element(&pin);
            entry.add_element(&ZERO);
            entry.add_element(&gsi(device, pin));
            table.add_element(&entry);
        }
    }
    table
}

/// Appends `PNP0C02`: ports and memory that no other device claims. Guests use memory-mapped configuration
/// space only if it is reserved here or in the memory map.
pub(super) fn motherboard(layout: &MachineLayout, aml: &mut Vec<u8>) {
    let acpi = &layout.acpi;
    let hid = Name::new(Path::new("_HID"), &EISAName::new("PNP0C02"));
    let uid = Name::new(Path::new("_UID"), &ZERO);
    let fixed_hardware = IO::new(acpi.pm_base, acpi.pm_base, 1, 12);
    let smi = IO::new(acpi.smi_cmd, acpi.smi_cmd, 1, 1);
    let io_apic = Memory32Fixed::new(true, layout.io_apic.address, 0x1000);
    let local_apic = Memory32Fixed::new(true, layout.local_apic, 0x1000);
    let ecam = layout.pci.ecam.clone();
    let configuration =
        Memory32Fixed::new(true, ecam.start as u32, ecam.end.saturating_sub(ecam.start) as u32);
    let gpe0 = IO::new(acpi.gpe0_base, acpi.gpe0_base, 1, acpi.gpe0_len);
    let mut resources: Vec<&dyn Aml> = vec![&fixed_hardware, &smi, &io_apic, &local_apic, &configuration];
    if acpi.gpe0_len != 0 {
        resources.push(&gpe0);
    }
    let crs = Name::new(Path::new("_CRS"), &ResourceTemplate::new(resources));
    let device = Device::new(Path::new("MBRD"), vec![&hid, &uid, &crs]);
    Scope::new(Path::new("_SB_"), vec![&device]).to_aml_bytes(aml);
}
