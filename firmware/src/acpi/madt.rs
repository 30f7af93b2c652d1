//! The multiple APIC description table (ACPI 6.5, 5.2.12): processors, the I/O APIC, and how ISA interrupts
//! reach it.

use super::table::Table;
use crate::layout::MachineLayout;

/// MADT flag: there are also two 8259s.
const PCAT_COMPAT: u32 = 1;
/// Processor flag: usable.
const ENABLED: u32 = 1;
/// Interrupt flags (table 5-26): active high, level-triggered.
const HIGH_LEVEL: u16 = 0b11 << 2 | 0b01;
/// As the bus has it: for ISA, active high and edge-triggered.
const CONFORMS: u16 = 0;
/// All processors, in 8 and in 32 bits.
const ALL_PROCESSORS: u8 = 0xFF;
const ALL_PROCESSORS_X2APIC: u32 = 0xFFFF_FFFF;
/// The local interrupt input that NMI is wired to.
const NMI_LINT: u8 = 1;

/// Builds the MADT.
pub(super) fn madt(layout: &MachineLayout) -> Vec<u8> {
    let mut table = Table::new(*b"APIC", 4);
    table.put(&layout.local_apic.to_le_bytes()).put(&PCAT_COMPAT.to_le_bytes());
    let mut x2apic = false;
    for (uid, &id) in layout.cpu_apic_ids.iter().enumerate() {
        match (u8::try_from(uid), u8::try_from(id)) {
            // Processor local APIC; identifier 255 is the broadcast.
            (Ok(uid), Ok(id)) if id != 0xFF => {
                table.put(&[0, 8, uid, id]).put(&ENABLED.to_le_bytes());
            }
            // Processor local x2APIC.
            _ => {
                x2apic = true;
                table.put(&[9, 16, 0, 0]).put(&id.to_le_bytes()).put(&ENABLED.to_le_bytes());
                table.put(&(uid as u32).to_le_bytes());
            }
        }
    }
    table.put(&[1, 12, layout.io_apic.id, 0]).put(&layout.io_apic.address.to_le_bytes()).put(&[0; 4]);
    source_override(&mut table, 0, 2, CONFORMS);
    source_override(&mut table, layout.acpi.sci_irq, layout.acpi.sci_irq.into(), HIGH_LEVEL);
    // Local APIC NMI.
    table.put(&[4, 6, ALL_PROCESSORS]).put(&CONFORMS.to_le_bytes()).put(&[NMI_LINT]);
    if x2apic {
        table.put(&[0x0A, 12]).put(&CONFORMS.to_le_bytes());
        table.put(&ALL_PROCESSORS_X2APIC.to_le_bytes()).put(&[NMI_LINT, 0, 0, 0]);
    }
    table.finish()
}

/// Interrupt source override: ISA `irq` arrives as global system interrupt `gsi`.
fn source_override(table: &mut Table, irq: u8, gsi: u32, flags: u16) {
    table.put(&[2, 10, 0, irq]).put(&gsi.to_le_bytes()).put(&flags.to_le_bytes());
}
