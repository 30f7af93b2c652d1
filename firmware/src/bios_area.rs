//! What a BIOS leaves in low memory for a guest that looks: interrupt vectors, the BIOS data area, and the
//! anchors of ACPI, SMBIOS and the MP table in the BIOS segment.
//!
//! There are no BIOS services behind it. Each interrupt vector points to an IRET, and the reset vector resets
//! the machine through the ACPI reset register.

use crate::{
    acpi::AcpiTables,
    e820::{BIOS_START, EBDA_START},
    layout::MachineLayout,
    mp_table,
    smbios::Smbios,
};
use emu_core::memory::{GuestMemory, MemoryError};

/// Offsets in the BIOS segment. What guests search for is at multiples of 16.
const RSDP: u64 = BIOS_START;
const MP_FLOATING_POINTER: u64 = BIOS_START + 0x40;
const SMBIOS_ENTRY_64: u64 = BIOS_START + 0x60;
const SMBIOS_ENTRY_32: u64 = BIOS_START + 0x80;
const SMBIOS_TABLE: u64 = BIOS_START + 0x100;
const MP_TABLE: u64 = BIOS_START + 0x1000;
/// The IRET that the IBM PC BIOS has for unused interrupts.
const DUMMY_IRET: u64 = BIOS_START + 0xFF53;
/// Where the processor starts, and guests jump to reboot.
const RESET_VECTOR: u64 = BIOS_START + 0xFFF0;

/// The BIOS data area, from 0x400.
const BIOS_DATA: u64 = 0x400;
/// Offsets in it: COM ports, segment of the extended area, equipment, conventional memory in KiB.
const COM_PORTS: usize = 0x00;
const EBDA_SEGMENT: usize = 0x0E;
const EQUIPMENT: usize = 0x10;
const MEMORY_KIB: usize = 0x13;

/// Writes it all. The RSDP's address is returned.
pub(crate) fn write(
    memory: &GuestMemory,
    layout: &MachineLayout,
    acpi: &AcpiTables,
) -> Result<u64, MemoryError> {
    let vector = [0x53, 0xFF, 0x00, 0xF0];
    memory.write(0, &vector.repeat(256))?;
    memory.write(BIOS_DATA, &bios_data(layout))?;
    // The first byte of the extended area is its size in KiB.
    memory.write(EBDA_START, &[1])?;

    memory.write(BIOS_START, &[0; 0x1_0000])?;
    memory.write(RSDP, acpi.rsdp())?;
    let ram: Vec<_> = memory.ranges().collect();
    let smbios = Smbios::new(layout.cpu_apic_ids.len(), &ram);
    memory.write(SMBIOS_TABLE, smbios.bytes())?;
    memory.write(SMBIOS_ENTRY_64, &smbios.entry_point_64(SMBIOS_TABLE as u32))?;
    memory.write(SMBIOS_ENTRY_32, &smbios.entry_point_32(SMBIOS_TABLE as u32))?;
    memory.write(MP_TABLE, &mp_table::configuration_table(layout))?;
    memory.write(MP_FLOATING_POINTER, &mp_table::floating_pointer(MP_TABLE as u32))?;
    memory.write(DUMMY_IRET, &[0xCF])?;
    memory.write(RESET_VECTOR, &reset_code(layout))?;
    Ok(RSDP)
}

fn bios_data(layout: &MachineLayout) -> [u8; 0x100] {
    let mut area = [0; 0x100];
    let ports = layout.serial_ports.iter().take(4);
    let count = ports.len() as u16;
    for (index, serial) in ports.enumerate() {
        area[COM_PORTS + 2 * index..][..2].copy_from_slice(&serial.port.to_le_bytes());
    }
    area[EBDA_SEGMENT..][..2].copy_from_slice(&((EBDA_START >> 4) as u16).to_le_bytes());
    // An FPU, a pointing device, 80x25 colour text, the number of serial ports.
    let equipment = 1 << 1 | u16::from(layout.i8042) << 2 | 0b10 << 4 | count << 9;
    area[EQUIPMENT..][..2].copy_from_slice(&equipment.to_le_bytes());
    area[MEMORY_KIB..][..2].copy_from_slice(&((EBDA_START >> 10) as u16).to_le_bytes());
    area
}

/// `mov al, value; mov dx, port; out dx, al; hlt; jmp` back to the HLT.
fn reset_code(layout: &MachineLayout) -> [u8; 10] {
    let [low, high] = layout.acpi.reset_port.to_le_bytes();
    [0xB0, layout.acpi.reset_value, 0xBA, low, high, 0xEE, 0xF4, 0xEB, 0xFD, 0x90]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::fixture;

    #[test]
    fn anchors_are_where_guests_search() {
        let memory = GuestMemory::new(8 << 20).unwrap();
        let layout = fixture::machine(255);
        let acpi = AcpiTables::build(&layout, 0x70_0000);
        write(&memory, &layout, &acpi).unwrap();
        let mut segment = vec![0; 0x1_0000];
        memory.read(BIOS_START, &mut segment).unwrap();
        for anchor in [&b"RSD PTR "[..], b"_MP_", b"_SM3_", b"_SM_"] {
            assert!(segment.chunks(16).any(|paragraph| paragraph.starts_with(anchor)));
        }
        assert_eq!(&segment[0x1000..0x1004], b"PCMP");
        assert_eq!(segment[0xFF53], 0xCF);
    }

    #[test]
    fn bios_data_area_says_639_kib_and_two_serial_ports() {
        let area = bios_data(&fixture::machine(1));
        assert_eq!(&area[..6], [0xF8, 0x03, 0xF8, 0x02, 0, 0]);
        assert_eq!(&area[EBDA_SEGMENT..][..2], [0xC0, 0x9F]);
        assert_eq!(&area[MEMORY_KIB..][..2], 639_u16.to_le_bytes());
    }
}
