//! The differentiated system description table: the namespace of the machine (ACPI 6.5, chapters 5.3 to 7).

mod cpus;
mod isa;
mod pci;
mod pvpanic;

use super::table::Table;
use crate::layout::MachineLayout;
use acpi_tables::{
    Aml, AmlSink,
    aml::{Name, Package, Path},
};

/// Builds the DSDT.
pub(super) fn dsdt(layout: &MachineLayout) -> Vec<u8> {
    let mut aml = Vec::new();
    interrupt_model(&mut aml);
    pci::host_bridge(layout, &mut aml);
    isa::devices(layout, &mut aml);
    pci::motherboard(layout, &mut aml);
    cpus::processors(layout, &mut aml);
    if let Some(port) = layout.pvpanic {
        pvpanic::device(port, &mut aml);
    }
    soft_off(layout, &mut aml);
    // Revision 2: integers have 64 bits.
    let mut table = Table::new(*b"DSDT", 2);
    table.put(&aml);
    table.finish()
}

/// `\_PIC`, by which the guest says whether it uses the I/O APIC, and `\PICF`, where that is remembered.
fn interrupt_model(aml: &mut Vec<u8>) {
    use acpi_tables::aml::{Arg, Method, Store, ZERO};
    Name::new(Path::new("PICF"), &ZERO).to_aml_bytes(aml);
    let flag = Path::new("PICF");
    Method::new(Path::new("_PIC"), 1, false, vec![&Store::new(&flag, &Arg(0))]).to_aml_bytes(aml);
}

/// `\_S5`: how the guest powers off.
fn soft_off(layout: &MachineLayout, aml: &mut Vec<u8>) {
    let typ = layout.acpi.s5_slp_typ;
    let package = Package::new(vec![&typ, &typ, &0_u8, &0_u8]);
    Name::new(Path::new("_S5_"), &package).to_aml_bytes(aml);
}

/// `IRQNoFlags` (6.4.2.1): an ISA interrupt, edge-triggered, active high.
pub(super) struct IsaIrq(pub(super) u8);

impl Aml for IsaIrq {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.byte(0x22);
        sink.word(1_u16.checked_shl(self.0.into()).unwrap_or(0));
    }
}
