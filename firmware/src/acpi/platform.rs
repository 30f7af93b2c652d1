//! Tables of the platform's own devices: HPET (IA-PC HPET specification, 3.2.4) and MCFG (PCI firmware
//! specification 3.2, 4.1.2).

use super::table::Table;
use crate::layout::{HpetLayout, PciLayout};

/// The HPET description table.
pub(super) fn hpet(hpet: &HpetLayout) -> Vec<u8> {
    let mut table = Table::new(*b"HPET", 1);
    table.put(&hpet.block_id.to_le_bytes());
    // Generic address: system memory, 64 bits.
    table.put(&[0, 64, 0, 0]).put(&u64::from(hpet.address).to_le_bytes());
    // Sequence number; minimum tick; page protection: none promised.
    table.put(&[0]).put(&hpet.minimum_tick.to_le_bytes()).put(&[0]);
    table.finish()
}

/// The description of memory-mapped PCI configuration space: segment 0, buses from 0.
pub(super) fn mcfg(pci: &PciLayout) -> Vec<u8> {
    let last_bus = pci.buses().saturating_sub(1) as u8;
    let mut table = Table::new(*b"MCFG", 1);
    table.put(&[0; 8]).put(&pci.ecam.start.to_le_bytes()).put(&[0, 0, 0, last_bus]).put(&[0; 4]);
    table.finish()
}
