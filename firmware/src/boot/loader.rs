//! What every boot protocol has at hand while it lays a guest out in RAM.

use super::{GuestImage, error::BootError, placement::Placement};
use crate::{e820::MemoryMap, layout::MachineLayout};
use emu_core::memory::GuestMemory;
use std::ops::Range;

/// Modules begin at page boundaries.
pub(super) const PAGE: u64 = 4096;
/// Bytes cleared at a time.
const CHUNK: u64 = 64 << 10;

/// A guest being loaded.
#[derive(Debug)]
pub(super) struct Loader<'a> {
    pub(super) memory: &'a GuestMemory,
    pub(super) layout: &'a MachineLayout,
    pub(super) map: &'a MemoryMap,
    pub(super) image: &'a GuestImage<'a>,
    /// Address of the ACPI root pointer.
    pub(super) rsdp: u64,
    pub(super) placement: Placement,
}

impl Loader<'_> {
    /// Claims `range` for the kernel, writes `data` to its start and clears the rest.
    pub(super) fn segment(&mut self, range: &Range<u64>, data: &[u8]) -> Result<(), BootError> {
        self.placement.claim(range)?;
        self.memory.write(range.start, data)?;
        self.clear(range.start + data.len() as u64..range.end)
    }

    /// Writes `data` where there is room for what a boot protocol passes, and returns its address.
    pub(super) fn boot_data(
        &mut self,
        what: &'static str,
        data: &[u8],
        align: u64,
    ) -> Result<u64, BootError> {
        let address = self.placement.boot_data(what, data.len() as u64, align)?;
        self.memory.write(address, data)?;
        Ok(address)
    }

    /// Writes `text` with a zero byte after it, and returns its address.
    pub(super) fn string(&mut self, what: &'static str, text: &str) -> Result<u64, BootError> {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        self.boot_data(what, &bytes, 16)
    }

    /// Writes the modules to whole pages at or above `from`, and returns their addresses.
    pub(super) fn modules(&mut self, from: u64) -> Result<Vec<u64>, BootError> {
        let modules = self.image.modules;
        modules
            .iter()
            .map(|module| {
                let address =
                    self.placement.lowest("module", module.bytes.len().max(1) as u64, PAGE, from)?;
                self.memory.write(address, module.bytes)?;
                Ok(address)
            })
            .collect()
    }

    /// Clears `range`. RAM that was never touched reads as zero and stays untouched: a large BSS costs nothing.
    fn clear(&self, range: Range<u64>) -> Result<(), BootError> {
        let mut start = range.start;
        let mut chunk = Vec::new();
        while start < range.end {
            chunk.resize(CHUNK.min(range.end - start) as usize, 0);
            self.memory.read(start, &mut chunk)?;
            if chunk.iter().any(|byte| *byte != 0) {
                chunk.fill(0);
                self.memory.write(start, &chunk)?;
            }
            start += chunk.len() as u64;
        }
        Ok(())
    }
}
