//! `\_SB.PCI0.ISA`: the devices at fixed ports, which a guest cannot find by itself.

use super::IsaIrq;
use crate::layout::MachineLayout;
use acpi_tables::{
    Aml,
    aml::{Device, EISAName, IO, Memory32Fixed, Name, Path, ResourceTemplate, Scope},
};

/// A device with fixed ports: name, plug and play identifier, (port, length) pairs, IRQ.
struct FixedDevice {
    name: &'static str,
    hid: &'static str,
    uid: u8,
    ports: Vec<(u16, u8)>,
    irq: Option<u8>,
}

impl FixedDevice {
    fn new(name: &'static str, hid: &'static str, ports: &[(u16, u8)], irq: Option<u8>) -> Self {
        FixedDevice { name, hid, uid: 0, ports: ports.to_vec(), irq }
    }

    fn append(&self, aml: &mut Vec<u8>) {
        let hid = Name::new(Path::new("_HID"), &EISAName::new(self.hid));
        let uid = Name::new(Path::new("_UID"), &self.uid);
        let ports: Vec<_> = self.ports.iter().map(|&(port, length)| IO::new(port, port, 1, length)).collect();
        let irq = self.irq.map(IsaIrq);
        let mut resources: Vec<&dyn Aml> = ports.iter().map(|port| port as &dyn Aml).collect();
        if let Some(irq) = &irq {
            resources.push(irq);
        }
        let crs = Name::new(Path::new("_CRS"), &ResourceTemplate::new(resources));
        Device::new(Path::new(self.name), vec![&hid, &uid, &crs]).to_aml_bytes(aml);
    }
}

/// Appends the ISA bus and all that is on it.
pub(super) fn devices(layout: &MachineLayout, aml: &mut Vec<u8>) {
    let identity = match layout.pci.isa_bridge {
        Some((device, function)) => {
            Name::new(Path::new("_ADR"), &(u32::from(device) << 16 | u32::from(function)))
        }
        None => Name::new(Path::new("_HID"), &EISAName::new("PNP0A00")),
    };
    let mut children = Vec::new();
    for device in fixed_devices(layout) {
        device.append(&mut children);
    }
    if let Some(hpet) = &layout.hpet {
        let hid = Name::new(Path::new("_HID"), &EISAName::new("PNP0103"));
        let uid = Name::new(Path::new("_UID"), &0_u8);
        let registers = Memory32Fixed::new(true, hpet.address, 0x400);
        let crs = Name::new(Path::new("_CRS"), &ResourceTemplate::new(vec![&registers]));
        Device::new(Path::new("HPET"), vec![&hid, &uid, &crs]).to_aml_bytes(&mut children);
    }
    let children = Bytes(children);
    let bus = Device::new(Path::new("ISA_"), vec![&identity, &children]);
    Scope::new(Path::new("\\_SB_.PCI0"), vec![&bus]).to_aml_bytes(aml);
}

fn fixed_devices(layout: &MachineLayout) -> Vec<FixedDevice> {
    let mut devices = vec![
        FixedDevice::new("PIC_", "PNP0000", &[(0x20, 2), (0xA0, 2), (0x4D0, 2)], Some(2)),
        FixedDevice::new("PIT_", "PNP0100", &[(0x40, 4)], Some(0)),
        FixedDevice::new("SPKR", "PNP0800", &[(0x61, 1)], None),
        FixedDevice::new("RTC_", "PNP0B00", &[(0x70, 2)], Some(8)),
        FixedDevice::new("FPU_", "PNP0C04", &[(0xF0, 1)], Some(13)),
    ];
    if layout.i8042 {
        devices.push(FixedDevice::new("KBD_", "PNP0303", &[(0x60, 1), (0x64, 1)], Some(1)));
        devices.push(FixedDevice::new("MOU_", "PNP0F13", &[], Some(12)));
    }
    let names = ["COM1", "COM2", "COM3", "COM4"];
    for (index, (name, serial)) in names.into_iter().zip(&layout.serial_ports).enumerate() {
        let com = FixedDevice::new(name, "PNP0501", &[(serial.port, 8)], Some(serial.irq));
        devices.push(FixedDevice { uid: index as u8 + 1, ..com });
    }
    devices
}

/// AML that is already encoded.
struct Bytes(Vec<u8>);

impl Aml for Bytes {
    fn to_aml_bytes(&self, sink: &mut dyn acpi_tables::AmlSink) {
        sink.vec(&self.0);
    }
}
