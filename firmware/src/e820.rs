//! The memory map that a PC's firmware reports (ACPI 6.5, chapter 15; INT 15h, AX=E820h), in which every boot
//! protocol has its own table.
//!
//! Conventional memory ends at 639 KiB, where the extended BIOS data area begins. The VGA window and the
//! option ROM area are in no range, as on hardware. ACPI tables and fixed MMIO are named.

use crate::layout::MachineLayout;
use emu_core::memory::GuestMemory;
use std::ops::Range;

/// End of conventional memory and start of the extended BIOS data area.
pub const EBDA_START: u64 = 0x9_FC00;
/// The VGA window.
const VGA_START: u64 = 0xA_0000;
/// The BIOS segment: RSDP, SMBIOS, MP table.
pub const BIOS_START: u64 = 0xF_0000;
/// End of the BIOS segment and start of extended memory.
pub const HIGH_MEMORY: u64 = 0x10_0000;

/// What a range is, with the number that E820, PVH and multiboot use for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum RangeKind {
    /// RAM that the guest may use.
    Ram = 1,
    /// Not to be used.
    Reserved = 2,
    /// ACPI tables; RAM once the guest has read them.
    AcpiReclaim = 3,
    /// To be kept across sleep states.
    AcpiNvs = 4,
}

/// One range of the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryRange {
    /// First address.
    pub start: u64,
    /// One past the last address.
    pub end: u64,
    /// What it is.
    pub kind: RangeKind,
}

/// The memory map: ascending, without overlap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryMap {
    ranges: Vec<MemoryRange>,
}

impl MemoryMap {
    /// The map of `memory` in a machine like `layout`, before any table is placed.
    pub fn new(memory: &GuestMemory, layout: &MachineLayout) -> Self {
        let ram =
            memory.ranges().map(|(start, len)| MemoryRange { start, end: start + len, kind: RangeKind::Ram });
        let mut map = MemoryMap { ranges: ram.collect() };
        map.carve(&(VGA_START..BIOS_START));
        map.mark(&(EBDA_START..VGA_START), RangeKind::Reserved);
        map.mark(&(BIOS_START..HIGH_MEMORY), RangeKind::Reserved);
        map.mark(&layout.pci.ecam, RangeKind::Reserved);
        let fixed = [layout.io_apic.address, layout.local_apic];
        for address in fixed.into_iter().chain(layout.hpet.map(|hpet| hpet.address)) {
            map.mark(&(u64::from(address)..u64::from(address) + 0x1000), RangeKind::Reserved);
        }
        map
    }

    /// Makes `range` a range of `kind`, whatever was there.
    pub fn mark(&mut self, range: &Range<u64>, kind: RangeKind) {
        if range.is_empty() {
            return;
        }
        self.carve(range);
        let at = self.ranges.partition_point(|other| other.start < range.start);
        self.ranges.insert(at, MemoryRange { start: range.start, end: range.end, kind });
    }

    /// Takes `range` out of the map.
    fn carve(&mut self, range: &Range<u64>) {
        let old = std::mem::take(&mut self.ranges);
        for other in old {
            let below = MemoryRange { end: other.end.min(range.start), ..other };
            let above = MemoryRange { start: other.start.max(range.end), ..other };
            self.ranges.extend([below, above].into_iter().filter(|piece| piece.start < piece.end));
        }
    }

    /// The ranges, ascending.
    pub fn ranges(&self) -> &[MemoryRange] {
        &self.ranges
    }

    /// Ranges of RAM that the guest may use, ascending.
    pub fn ram(&self) -> impl DoubleEndedIterator<Item = Range<u64>> {
        self.ranges.iter().filter(|range| range.kind == RangeKind::Ram).map(|range| range.start..range.end)
    }

    /// End of the usable RAM that begins at 1 MiB; 1 MiB if there is none.
    pub fn low_ram_end(&self) -> u64 {
        self.ram().find(|range| range.start == HIGH_MEMORY).map_or(HIGH_MEMORY, |range| range.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::fixture;
    use RangeKind::*;

    fn rows(map: &MemoryMap) -> Vec<(u64, u64, RangeKind)> {
        map.ranges().iter().map(|range| (range.start, range.end, range.kind)).collect()
    }

    #[test]
    fn map_of_six_gib_has_the_ranges_of_a_pc() {
        let memory = GuestMemory::new(6 << 30).unwrap();
        let map = MemoryMap::new(&memory, &fixture::machine(1));
        assert_eq!(
            rows(&map),
            [
                (0, 0x9_FC00, Ram),
                (0x9_FC00, 0xA_0000, Reserved),
                (0xF_0000, 0x10_0000, Reserved),
                (0x10_0000, 0xC000_0000, Ram),
                (0xE000_0000, 0xF000_0000, Reserved),
                (0xFEC0_0000, 0xFEC0_1000, Reserved),
                (0xFED0_0000, 0xFED0_1000, Reserved),
                (0xFEE0_0000, 0xFEE0_1000, Reserved),
                (0x1_0000_0000, 0x1_C000_0000, Ram),
            ]
        );
        assert_eq!(map.low_ram_end(), 0xC000_0000);
    }

    #[test]
    fn marking_splits_ram() {
        let memory = GuestMemory::new(16 << 20).unwrap();
        let mut map = MemoryMap::new(&memory, &fixture::machine(1));
        map.mark(&(0xF0_0000..0xF1_0000), AcpiReclaim);
        let high: Vec<_> =
            rows(&map).into_iter().filter(|row| row.0 >= HIGH_MEMORY && row.0 < 1 << 24).collect();
        assert_eq!(
            high,
            [(0x10_0000, 0xF0_0000, Ram), (0xF0_0000, 0xF1_0000, AcpiReclaim), (0xF1_0000, 0x100_0000, Ram)]
        );
        assert_eq!(map.low_ram_end(), 0xF0_0000);
    }

    #[test]
    fn one_mib_has_no_extended_memory() {
        let memory = GuestMemory::new(1 << 20).unwrap();
        let map = MemoryMap::new(&memory, &fixture::machine(1));
        assert_eq!(map.low_ram_end(), HIGH_MEMORY);
    }
}
