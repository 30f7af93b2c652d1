//! The MP configuration table (Intel MultiProcessor Specification 1.4, chapter 4), for guests without ACPI.
//!
//! Processors with identifiers above 254 have no entry here: they exist only for guests with ACPI.

use crate::{acpi::checksum, layout::MachineLayout};

/// Entry types and their bus numbers.
const PROCESSOR: u8 = 0;
const BUS: u8 = 1;
const IO_APIC: u8 = 2;
const IO_INTERRUPT: u8 = 3;
const LOCAL_INTERRUPT: u8 = 4;
const PCI_BUS: u8 = 0;
const ISA_BUS: u8 = 1;
/// Interrupt types.
const INT: u8 = 0;
const NMI: u8 = 1;
const EXT_INT: u8 = 3;
/// Polarity and trigger: as the bus has it; active high and level.
const CONFORMS: u16 = 0;
const HIGH_LEVEL: u16 = 0b11 << 2 | 0b01;
/// Processor flags: enabled, bootstrap processor.
const ENABLED: u8 = 1;
const BOOTSTRAP: u8 = 2;
/// Version of an integrated local APIC and of the I/O APIC.
const LOCAL_APIC_VERSION: u8 = 0x14;
const IO_APIC_VERSION: u8 = 0x11;
/// Family 6, and the features FPU and APIC.
const CPU_SIGNATURE: u32 = 0x600;
const CPU_FEATURES: u32 = 1 | 1 << 9;
/// Every local APIC.
const ALL_LOCAL_APICS: u8 = 0xFF;

/// The configuration table of a machine.
pub(crate) fn configuration_table(layout: &MachineLayout) -> Vec<u8> {
    let mut entries = Entries { bytes: Vec::new(), count: 0 };
    for (index, id) in layout.cpu_apic_ids.iter().enumerate() {
        if let Ok(id @ 0..=254) = u8::try_from(*id) {
            entries.processor(id, index == 0);
        }
    }
    entries.put(&[BUS, PCI_BUS], b"PCI   ");
    entries.put(&[BUS, ISA_BUS], b"ISA   ");
    entries.put(&[IO_APIC, layout.io_apic.id, IO_APIC_VERSION, 1], &layout.io_apic.address.to_le_bytes());
    for irq in (0..16).filter(|&irq| irq != 2) {
        let flags = if irq == layout.acpi.sci_irq { HIGH_LEVEL } else { CONFORMS };
        let input = if irq == 0 { 2 } else { irq };
        entries.io_interrupt(flags, (ISA_BUS, irq), (layout.io_apic.id, input));
    }
    for device in 0..32 {
        for pin in 0..4 {
            let input = layout.pci.gsi(device, pin) as u8;
            entries.io_interrupt(CONFORMS, (PCI_BUS, device << 2 | pin), (layout.io_apic.id, input));
        }
    }
    entries.put(&[LOCAL_INTERRUPT, EXT_INT, 0, 0], &[ISA_BUS, 0, ALL_LOCAL_APICS, 0]);
    entries.put(&[LOCAL_INTERRUPT, NMI, 0, 0], &[ISA_BUS, 0, ALL_LOCAL_APICS, 1]);
    with_header(layout, &entries)
}

fn with_header(layout: &MachineLayout, entries: &Entries) -> Vec<u8> {
    let mut table = Vec::with_capacity(44 + entries.bytes.len());
    table.extend_from_slice(b"PCMP");
    table.extend_from_slice(&(44 + entries.bytes.len() as u16).to_le_bytes());
    // Specification 1.4; checksum, filled in below.
    table.extend_from_slice(&[4, 0]);
    table.extend_from_slice(b"EMU     PC          ");
    // No OEM table: address and size.
    table.extend_from_slice(&[0; 6]);
    table.extend_from_slice(&entries.count.to_le_bytes());
    table.extend_from_slice(&layout.local_apic.to_le_bytes());
    // No extended table.
    table.extend_from_slice(&[0; 4]);
    table.extend_from_slice(&entries.bytes);
    table[7] = checksum(&table);
    table
}

/// The floating pointer structure (4.1), which guests search for.
pub(crate) fn floating_pointer(table: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(b"_MP_");
    bytes[4..8].copy_from_slice(&table.to_le_bytes());
    bytes[8] = 1;
    bytes[9] = 4;
    bytes[10] = checksum(&bytes);
    bytes
}

/// The entries of the base table.
struct Entries {
    bytes: Vec<u8>,
    count: u16,
}

impl Entries {
    fn put(&mut self, start: &[u8], rest: &[u8]) {
        self.bytes.extend_from_slice(start);
        self.bytes.extend_from_slice(rest);
        self.count += 1;
    }

    fn processor(&mut self, id: u8, bootstrap: bool) {
        let flags = if bootstrap { ENABLED | BOOTSTRAP } else { ENABLED };
        let mut rest = [0; 16];
        rest[..4].copy_from_slice(&CPU_SIGNATURE.to_le_bytes());
        rest[4..8].copy_from_slice(&CPU_FEATURES.to_le_bytes());
        self.put(&[PROCESSOR, id, LOCAL_APIC_VERSION, flags], &rest);
    }

    /// `source` is a bus and its interrupt, `target` an I/O APIC and its input.
    fn io_interrupt(&mut self, flags: u16, source: (u8, u8), target: (u8, u8)) {
        let [low, high] = flags.to_le_bytes();
        self.put(&[IO_INTERRUPT, INT, low, high], &[source.0, source.1, target.0, target.1]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::fixture;

    /// Splits the entries by the lengths of the specification: 20 bytes for a processor, 8 for all others.
    fn entries(table: &[u8]) -> Vec<&[u8]> {
        let mut rest = &table[44..];
        let mut found = Vec::new();
        while !rest.is_empty() {
            let (this, next) = rest.split_at(if rest[0] == PROCESSOR { 20 } else { 8 });
            found.push(this);
            rest = next;
        }
        found
    }

    #[test]
    fn table_sums_to_zero_and_counts_its_entries() {
        let table = configuration_table(&fixture::machine(4));
        assert_eq!(table.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)), 0);
        assert_eq!(usize::from(u16::from_le_bytes([table[4], table[5]])), table.len());
        let entries = entries(&table);
        assert_eq!(usize::from(u16::from_le_bytes([table[34], table[35]])), entries.len());
        assert_eq!(entries.iter().filter(|entry| entry[0] == PROCESSOR).count(), 4);
        assert_eq!((entries[0][3], entries[1][3]), (3, 1), "only the first is the bootstrap processor");
    }

    #[test]
    fn timer_is_at_input_2_and_the_sci_is_level_triggered() {
        let table = configuration_table(&fixture::machine(1));
        let isa: Vec<_> = entries(&table)
            .into_iter()
            .filter(|entry| entry[0] == IO_INTERRUPT && entry[4] == ISA_BUS)
            .collect();
        assert_eq!(isa.len(), 15);
        assert_eq!(isa[0], [3, 0, 0, 0, 1, 0, 0, 2]);
        let sci = isa.iter().find(|entry| entry[5] == 9).unwrap();
        assert_eq!(**sci, [3, 0, 0x0D, 0, 1, 9, 0, 9]);
    }

    #[test]
    fn broadcast_identifier_is_no_processor() {
        let table = configuration_table(&fixture::machine(300));
        assert_eq!(entries(&table).iter().filter(|entry| entry[0] == PROCESSOR).count(), 255);
    }

    #[test]
    fn floating_pointer_sums_to_zero() {
        let pointer = floating_pointer(0xF_1000);
        assert_eq!(pointer.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)), 0);
        assert_eq!(&pointer[4..8], [0, 0x10, 0x0F, 0]);
    }
}
