//! What a guest tells of its memory: virtio 1.2, 5.5.6.3 and 5.5.6.4. Pairs of a 16-bit tag and a 64-bit value, packed.

use serde::{Deserialize, Serialize};

/// Bytes of a pair.
const PAIR: usize = 10;
/// The most bytes that are looked at.
pub(super) const MOST: usize = 64 * PAIR;

/// The last value of each tag that the guest has reported; sizes are bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// Swapped in.
    pub swap_in: Option<u64>,
    /// Swapped out.
    pub swap_out: Option<u64>,
    /// Page faults that needed a disk.
    pub major_faults: Option<u64>,
    /// Page faults that needed none.
    pub minor_faults: Option<u64>,
    /// Memory that is used for nothing.
    pub free: Option<u64>,
    /// All memory.
    pub total: Option<u64>,
    /// Memory that programs could get without swapping.
    pub available: Option<u64>,
    /// Caches of files.
    pub disk_caches: Option<u64>,
    /// Huge pages that were given to programs.
    pub huge_allocations: Option<u64>,
    /// Huge pages that could not be given.
    pub huge_failures: Option<u64>,
}

impl Statistics {
    /// Reads a report. Tags that nobody knows are left out, and so is a pair that is cut off.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let mut statistics = Statistics::default();
        let (pairs, _) = bytes.as_chunks::<PAIR>();
        for &[t0, t1, ref value @ ..] in pairs {
            if let Some(place) = statistics.place(u16::from_le_bytes([t0, t1])) {
                *place = Some(u64::from_le_bytes(*value));
            }
        }
        statistics
    }

    fn place(&mut self, tag: u16) -> Option<&mut Option<u64>> {
        Some(match tag {
            0 => &mut self.swap_in,
            1 => &mut self.swap_out,
            2 => &mut self.major_faults,
            3 => &mut self.minor_faults,
            4 => &mut self.free,
            5 => &mut self.total,
            6 => &mut self.available,
            7 => &mut self.disk_caches,
            8 => &mut self.huge_allocations,
            9 => &mut self.huge_failures,
            _ => return None,
        })
    }
}
