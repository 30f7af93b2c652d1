//! Where things go in guest RAM: ranges are claimed, and what is left is searched.

use super::error::BootError;
use crate::e820::{EBDA_START, HIGH_MEMORY, MemoryMap};
use emu_core::memory::RAM_BELOW_4G_MAX;
use std::ops::Range;

/// Nothing is placed over the interrupt vectors and the BIOS data area.
const FIRST_FREE: u64 = 0x1000;
/// Boot protocols pass 32-bit addresses.
const FOUR_GIB: u64 = 1 << 32;

/// RAM below 4 GiB with what is taken.
#[derive(Debug)]
pub(super) struct Placement {
    /// Free ranges, ascending.
    free: Vec<Range<u64>>,
    ram_bytes: u64,
}

impl Placement {
    /// All RAM of `map` below 4 GiB is free.
    pub(super) fn new(map: &MemoryMap, ram_bytes: u64) -> Self {
        let free = map
            .ram()
            .filter(|range| range.start < FOUR_GIB)
            .map(|range| range.start..range.end.min(FOUR_GIB))
            .collect();
        Placement { free, ram_bytes }
    }

    /// RAM in MiB, for messages.
    pub(super) fn ram_mib(&self) -> u64 {
        self.ram_bytes >> 20
    }

    /// Takes `range` for the kernel, which must be free.
    pub(super) fn claim(&mut self, range: &Range<u64>) -> Result<(), BootError> {
        if range.is_empty() {
            return Ok(());
        }
        if !self.free.iter().any(|free| free.start <= range.start && range.end <= free.end) {
            return Err(self.refuse(range));
        }
        self.take(range);
        Ok(())
    }

    /// Why the kernel cannot have `range`: RAM is too small, or something else is there.
    fn refuse(&self, range: &Range<u64>) -> BootError {
        let (start, end, ram_mib) = (range.start, range.end, self.ram_mib());
        // The tables at the end of RAM take less than 1 MiB.
        let need_mib = (end >> 20) + 2;
        let fits_a_larger_ram = start >= HIGH_MEMORY && end <= RAM_BELOW_4G_MAX && need_mib > ram_mib;
        if fits_a_larger_ram {
            BootError::TooLargeForRam { end, ram_mib, need_mib }
        } else {
            BootError::NotFree { start, end }
        }
    }

    /// Takes `size` bytes as high as possible below `limit`.
    pub(super) fn highest(
        &mut self,
        what: &'static str,
        size: u64,
        align: u64,
        limit: u64,
    ) -> Result<u64, BootError> {
        let found = self.free.iter().rev().find_map(|free| {
            let start = free.end.min(limit).checked_sub(size)? / align * align;
            (start >= free.start.max(FIRST_FREE)).then_some(start)
        });
        self.settle(what, size, found)
    }

    /// Takes `size` bytes as low as possible from `from` on.
    pub(super) fn lowest(
        &mut self,
        what: &'static str,
        size: u64,
        align: u64,
        from: u64,
    ) -> Result<u64, BootError> {
        let found = self.free.iter().find_map(|free| {
            let start = free.start.max(from).max(FIRST_FREE).checked_next_multiple_of(align)?;
            (start.checked_add(size)? <= free.end).then_some(start)
        });
        self.settle(what, size, found)
    }

    /// Takes `size` bytes for what the boot protocol passes: at the end of conventional memory, where loaders
    /// put it and kernels are seldom linked, or anywhere else.
    pub(super) fn boot_data(&mut self, what: &'static str, size: u64, align: u64) -> Result<u64, BootError> {
        self.highest(what, size, align, EBDA_START).or_else(|_| self.highest(what, size, align, FOUR_GIB))
    }

    fn settle(&mut self, what: &'static str, size: u64, found: Option<u64>) -> Result<u64, BootError> {
        let need_mib = size.div_ceil(1 << 20);
        let start = found.ok_or(BootError::NoRoom { what, need_mib, ram_mib: self.ram_mib() })?;
        self.take(&(start..start + size));
        Ok(start)
    }

    fn take(&mut self, range: &Range<u64>) {
        let old = std::mem::take(&mut self.free);
        for free in old {
            let below = free.start..free.end.min(range.start);
            let above = free.start.max(range.end)..free.end;
            self.free.extend([below, above].into_iter().filter(|piece| !piece.is_empty()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::fixture;
    use emu_core::memory::GuestMemory;

    fn sixteen_mib() -> Placement {
        let memory = GuestMemory::new(16 << 20).unwrap();
        Placement::new(&MemoryMap::new(&memory, &fixture::machine(1)), memory.size())
    }

    #[test]
    fn what_is_taken_is_not_given_twice() {
        let mut placement = sixteen_mib();
        placement.claim(&(0xF0_0000..0x100_0000)).unwrap();
        assert_eq!(placement.highest("initrd", 0x1234, 0x1000, u64::MAX).unwrap(), 0xEF_E000);
        assert_eq!(placement.highest("initrd", 0x1000, 0x1000, u64::MAX).unwrap(), 0xEF_D000);
        assert_eq!(placement.lowest("module", 1, 0x1000, 0x20_0001).unwrap(), 0x20_1000);
        assert_eq!(placement.lowest("module", 1, 0x1000, 0x20_0001).unwrap(), 0x20_2000);
        assert!(placement.claim(&(0x20_2000..0x20_3000)).is_err());
    }

    #[test]
    fn a_limit_is_kept() {
        let mut placement = sixteen_mib();
        assert_eq!(placement.highest("initrd", 0x1000, 0x1000, 0x80_0000).unwrap(), 0x7F_F000);
    }

    #[test]
    fn vectors_and_the_extended_data_area_are_never_given() {
        let mut placement = sixteen_mib();
        let data = placement.boot_data("stack", 0x1000, 16).unwrap();
        assert_eq!(data, EBDA_START - 0x1000);
        assert_eq!(placement.lowest("module", 16, 16, 0).unwrap(), FIRST_FREE);
    }

    #[test]
    fn no_room_says_how_much_was_needed() {
        let error = sixteen_mib().highest("initrd", 40 << 20, 0x1000, u64::MAX).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the initrd needs 40 MiB, and 16 MiB of RAM has no such room beside the kernel: use a larger --memory"
        );
    }
}
