//! ACPI tables (ACPI 6.5): RSDP, RSDT, XSDT, FADT, FACS, MADT, HPET, MCFG and a DSDT.
//!
//! The tables lie in one block at the top of RAM below 4 GiB. Its first page holds only the FACS, which a
//! guest must leave alone; the rest is free for the guest once it has read it. The RSDP is in the BIOS
//! segment, where guests that are not told its address search for it.
//!
//! Left out: SRAT and SLIT (there is one node), processor power states, PCI hotplug.

mod dsdt;
mod fadt;
mod madt;
mod platform;
mod table;

use crate::layout::MachineLayout;
use acpi_tables::{Aml, facs::FACS};
use std::ops::Range;
use table::Table;
pub(crate) use table::checksum;

/// Size of a page, the granularity of memory kinds.
const PAGE: u64 = 4096;
/// Alignment of each table; the FACS asks for 64.
const ALIGN: usize = 64;

/// The tables for one place in memory.
#[derive(Debug, Clone)]
pub struct AcpiTables {
    base: u64,
    bytes: Vec<u8>,
    rsdp: [u8; 36],
}

impl AcpiTables {
    /// Bytes that the tables of `layout` take: a whole number of pages.
    pub fn size(layout: &MachineLayout) -> u64 {
        // Addresses have a fixed width in all tables, so the size is the same everywhere.
        Self::build(layout, 0).bytes.len() as u64
    }

    /// Builds the tables of `layout` to lie at `base`, a page boundary below 4 GiB.
    pub fn build(layout: &MachineLayout, base: u64) -> Self {
        let mut block = Block { base, bytes: Vec::new() };
        let mut facs = Vec::new();
        FACS::new().to_aml_bytes(&mut facs);
        let facs = block.place(&facs);
        block.bytes.resize(PAGE as usize, 0);

        let dsdt = block.place(&dsdt::dsdt(layout));
        let mut tables = vec![block.place(&fadt::fadt(layout, facs, dsdt)), block.place(&madt::madt(layout))];
        if let Some(hpet) = &layout.hpet {
            tables.push(block.place(&platform::hpet(hpet)));
        }
        tables.push(block.place(&platform::mcfg(&layout.pci)));

        let mut rsdt = Table::new(*b"RSDT", 1);
        let mut xsdt = Table::new(*b"XSDT", 1);
        for address in tables {
            rsdt.put(&address.to_le_bytes());
            xsdt.put(&u64::from(address).to_le_bytes());
        }
        let rsdt = block.place(&rsdt.finish());
        let xsdt = block.place(&xsdt.finish());

        let end = (block.bytes.len() as u64).next_multiple_of(PAGE);
        block.bytes.resize(end as usize, 0);
        AcpiTables { base, bytes: block.bytes, rsdp: table::rsdp(rsdt, xsdt) }
    }

    /// The block to be written at [`base`](Self::base).
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Address of the block.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// The root pointer, to be written at a multiple of 16 in the BIOS segment.
    pub fn rsdp(&self) -> &[u8] {
        &self.rsdp
    }

    /// Pages of kind ACPI NVS.
    pub fn nvs(&self) -> Range<u64> {
        self.base..self.base + PAGE
    }

    /// Pages of kind ACPI reclaimable.
    pub fn reclaimable(&self) -> Range<u64> {
        self.base + PAGE..self.base + self.bytes.len() as u64
    }
}

/// Tables being laid one after the other.
struct Block {
    base: u64,
    bytes: Vec<u8>,
}

impl Block {
    /// Appends a table and returns its physical address.
    fn place(&mut self, table: &[u8]) -> u32 {
        let offset = self.bytes.len().next_multiple_of(ALIGN);
        self.bytes.resize(offset, 0);
        self.bytes.extend_from_slice(table);
        self.base as u32 + offset as u32
    }
}

#[cfg(test)]
mod tests;
