//! Where a linear address of a guest leads, to look at it: SDM vol. 3, chapter 5.
//!
//! Unlike a processor's walk this one needs no rights and leaves no trace.

use emu_core::{
    arch::{Cr0, Cr4, Efer},
    memory::PhysicalMemory,
    state::CpuState,
};

const PRESENT: u64 = 1 << 0;
/// In all but the last level: this is the page.
const LARGE: u64 = 1 << 7;
/// The address in an entry of 64 bits.
const ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;

/// The physical address of `linear` on the processor in `state`; `None` if nothing is mapped there.
pub fn linear_to_physical(state: &CpuState, memory: &PhysicalMemory, linear: u64) -> Option<u64> {
    let control = &state.control;
    if !control.cr0.contains(Cr0::PG) {
        return Some(memory.gate(linear & 0xFFFF_FFFF));
    }
    let physical = if control.efer.contains(Efer::LMA) {
        let levels = if control.cr4.contains(Cr4::LA57) { 5 } else { 4 };
        walk_wide(memory, control.cr3 & ADDRESS, levels, linear)?
    } else if control.cr4.contains(Cr4::PAE) {
        let linear = linear & 0xFFFF_FFFF;
        let entry = control.pdpte[(linear >> 30) as usize];
        if entry & PRESENT == 0 {
            return None;
        }
        walk_wide(memory, entry & ADDRESS, 2, linear)?
    } else {
        walk_narrow(memory, control.cr3, control.cr4.contains(Cr4::PSE), linear & 0xFFFF_FFFF)?
    };
    Some(memory.gate(physical))
}

/// Tables of 512 entries; the last of `levels` is of 4 KiB pages.
fn walk_wide(memory: &PhysicalMemory, root: u64, levels: u32, linear: u64) -> Option<u64> {
    let mut table = root;
    for level in (0..levels).rev() {
        let shift = 12 + 9 * level;
        let entry = memory.read_u64(table + 8 * ((linear >> shift) & 0x1FF));
        if entry & PRESENT == 0 {
            return None;
        }
        if level == 0 || (entry & LARGE != 0 && level < 3) {
            let within = (1 << shift) - 1;
            return Some((entry & ADDRESS & !within) | (linear & within));
        }
        table = entry & ADDRESS;
    }
    None
}

/// Tables of 1024 entries.
fn walk_narrow(memory: &PhysicalMemory, cr3: u64, large_pages: bool, linear: u64) -> Option<u64> {
    let entry = u64::from(memory.read_u32((cr3 & 0xFFFF_F000) + 4 * (linear >> 22)));
    if entry & PRESENT == 0 {
        return None;
    }
    if large_pages && entry & LARGE != 0 {
        let high = ((entry >> 13) & 0xFF) << 32;
        return Some(high | (entry & 0xFFC0_0000) | (linear & 0x3F_FFFF));
    }
    let entry = u64::from(memory.read_u32((entry & 0xFFFF_F000) + 4 * ((linear >> 12) & 0x3FF)));
    (entry & PRESENT != 0).then_some((entry & 0xFFFF_F000) | (linear & 0xFFF))
}

#[cfg(test)]
mod tests {
    use super::*;
    use emu_core::memory::GuestMemory;

    fn memory(entries: &[(u64, u64)]) -> PhysicalMemory {
        let memory = PhysicalMemory::new(GuestMemory::new(1 << 20).unwrap());
        memory.set_a20(true);
        for (address, entry) in entries {
            memory.ram().write(*address, &entry.to_le_bytes()).unwrap();
        }
        memory
    }

    fn state(cr3: u64) -> CpuState {
        let mut state = CpuState::reset(0);
        state.control.cr0.insert(Cr0::PE | Cr0::PG);
        state.control.cr3 = cr3;
        state
    }

    #[test]
    fn four_levels_lead_to_small_and_large_pages() {
        let memory = memory(&[
            (0x1000 + 8 * 511, 0x2003),
            (0x2000 + 8 * 510, 0x3003),
            (0x3000, 0x4003),
            (0x3008, 0x20_0083),
            (0x4018, 0x8003),
        ]);
        let mut state = state(0x1000);
        state.control.cr4.insert(Cr4::PAE);
        state.control.efer.insert(Efer::LMA);
        let find = |linear| linear_to_physical(&state, &memory, linear);
        assert_eq!(find(0xFFFF_FFFF_8000_3123), Some(0x8123));
        assert_eq!(find(0xFFFF_FFFF_8021_2345), Some(0x21_2345));
        assert_eq!(find(0xFFFF_FFFF_8000_4000), None);
        assert_eq!(find(0), None);
    }

    #[test]
    fn two_levels_lead_to_pages_and_without_paging_addresses_are_physical() {
        let memory = memory(&[(0x1000 + 4 * 0x300, 0x2003), (0x2004, 0x5003)]);
        let mut state = state(0x1000);
        assert_eq!(linear_to_physical(&state, &memory, 0xC000_1234), Some(0x5234));
        assert_eq!(linear_to_physical(&state, &memory, 0x1234), None);
        state.control.cr0.remove(Cr0::PG);
        assert_eq!(linear_to_physical(&state, &memory, 0x1234), Some(0x1234));
    }
}
