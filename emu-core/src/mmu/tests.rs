//! What is kept of translations, and for how long.

use super::*;
use crate::{
    arch::{Cr0, Cr4, Efer, Flags},
    memory::GuestMemory,
    state::CpuState,
};

/// Global pages of 4 KiB that map the first 2 MiB to themselves.
fn mapped() -> Mmu {
    let ram = GuestMemory::new(4 << 20).unwrap();
    for (table, next) in [(0x1000u64, 0x2003u64), (0x2000, 0x3003), (0x3000, 0x4003)] {
        ram.write(table, &next.to_le_bytes()).unwrap();
    }
    for n in 0..512u64 {
        ram.write(0x4000 + 8 * n, &(n << 12 | 0x103).to_le_bytes()).unwrap();
    }
    let mut mmu = Mmu::new(Arc::new(PhysicalMemory::new(ram)), 40);
    let mut control = CpuState::reset(0).control;
    control.cr0 |= Cr0::PE | Cr0::PG;
    control.cr4 |= Cr4::PAE | Cr4::PGE;
    control.efer |= Efer::LME | Efer::LMA;
    control.cr3 = 0x1000;
    mmu.set_context(&control, Flags::FIXED, false);
    mmu
}

#[test]
fn links_to_a_page_end_with_it_even_if_its_translation_was_remembered_when_they_were_made() {
    let mut mmu = mapped();
    for page in [0x5000, 0x6000] {
        assert_eq!(mmu.translate_fetch(page), Ok(page));
    }
    mmu.flush_page(0x5000);
    // Without a walk.
    assert_eq!(mmu.translate_fetch(0x6000), Ok(0x6000));
    let stamp = mmu.link_stamp(0x6000);

    mmu.flush_non_global();
    mmu.flush_page(0x9000);
    let kept = mmu.is_current(stamp);
    mmu.flush_page(0x6000);

    assert_eq!((kept, mmu.is_current(stamp)), (true, false));
}

/// As [`mapped`], but the page at 7000H is not global; and other tables at 10000H that map it to 9000H.
fn two_spaces() -> Mmu {
    let mmu = mapped();
    let tables = [(0x1_0000u64, 0x1_1003u64), (0x1_1000, 0x1_2003), (0x1_2000, 0x1_3003)];
    let pages = [(0x1_3038, 0x9003), (0x1_3030, 0x6103), (0x4038, 0x7003)];
    for (at, entry) in tables.into_iter().chain(pages) {
        mmu.memory.ram().write(at, &u64::to_le_bytes(entry)).unwrap();
    }
    mmu
}

fn both(mmu: &mut Mmu) -> [u64; 2] {
    [mmu.translate_fetch(0x7000).unwrap(), mmu.translate(0x7000, Access::Write, false).unwrap()]
}

#[test]
fn who_comes_back_to_a_pcid_finds_what_was_known() {
    let mut mmu = two_spaces();
    assert_eq!(both(&mut mmu), [0x7000; 2]);
    let stamp = mmu.link_stamp(0x7000);
    mmu.set_cr3_and_pcid(0x1_0001, true);
    assert_eq!((both(&mut mmu), mmu.is_current(stamp)), ([0x9000; 2], false));
    assert!(mmu.protect_from_writes(0x7000), "what is parked, too");

    mmu.memory.ram().write(0x4038, &0xA003u64.to_le_bytes()).unwrap();
    mmu.set_cr3_and_pcid(0x1000, true);
    assert_eq!((both(&mut mmu), mmu.is_current(stamp)), ([0x7000; 2], true));
    mmu.set_cr3_and_pcid(0x1_0001, true);
    mmu.flush_pcid(0);
    mmu.set_cr3_and_pcid(0x1000, true);
    assert_eq!((both(&mut mmu), mmu.is_current(stamp)), ([0xA000; 2], false));
}

#[test]
fn without_leave_to_keep_it_a_pcid_begins_anew() {
    let mut mmu = two_spaces();
    assert_eq!(both(&mut mmu), [0x7000; 2]);
    mmu.set_cr3_and_pcid(0x1_0001, false);
    mmu.memory.ram().write(0x4038, &0xA003u64.to_le_bytes()).unwrap();
    mmu.set_cr3_and_pcid(0x1000, false);
    assert_eq!(both(&mut mmu), [0xA000; 2]);
}

#[test]
fn links_of_a_parked_space_end_when_fetches_are_forgotten() {
    let mut mmu = two_spaces();
    assert_eq!(both(&mut mmu), [0x7000; 2]);
    let stamp = mmu.link_stamp(0x7000);
    mmu.set_cr3_and_pcid(0x1_0001, true);
    assert_eq!(mmu.translate_fetch(0x6000), Ok(0x6000));
    mmu.flush_page(0x6000);
    mmu.set_cr3_and_pcid(0x1000, true);
    assert_eq!((both(&mut mmu), mmu.is_current(stamp)), ([0x7000; 2], false));
    // They are made again, and end with the page.
    let stamp = mmu.link_stamp(0x7000);
    mmu.flush_page(0x7000);
    assert!(!mmu.is_current(stamp));
}

fn tables(entries: &[(u64, u64)]) -> PhysicalMemory {
    let memory = PhysicalMemory::new(GuestMemory::new(1 << 20).unwrap());
    memory.set_a20(true);
    for (address, entry) in entries {
        memory.ram().write(*address, &entry.to_le_bytes()).unwrap();
    }
    memory
}

fn paged(cr3: u64) -> CpuState {
    let mut state = CpuState::reset(0);
    state.control.cr0.insert(Cr0::PE | Cr0::PG);
    state.control.cr3 = cr3;
    state
}

#[test]
fn who_looks_from_outside_finds_small_and_large_pages_of_four_levels() {
    let memory = tables(&[
        (0x1000 + 8 * 511, 0x2003),
        (0x2000 + 8 * 510, 0x3003),
        (0x3000, 0x4003),
        (0x3008, 0x20_0083),
        (0x4018, 0x8003),
    ]);
    let mut state = paged(0x1000);
    state.control.cr4.insert(Cr4::PAE);
    state.control.efer.insert(Efer::LMA);
    let find = |linear| linear_to_physical(&state.control, 40, &memory, linear);
    assert_eq!(find(0xFFFF_FFFF_8000_3123), Some(0x8123));
    assert_eq!(find(0xFFFF_FFFF_8021_2345), Some(0x21_2345));
    assert_eq!(find(0xFFFF_FFFF_8000_4000), None);
    assert_eq!(find(0), None);
    assert_eq!(memory.read_u64(0x4018), 0x8003, "no accessed bit is set");
}

#[test]
fn who_looks_from_outside_finds_pages_of_two_levels_and_without_paging_the_address_itself() {
    let memory = tables(&[(0x1000 + 4 * 0x300, 0x2003), (0x2004, 0x5003)]);
    let mut state = paged(0x1000);
    assert_eq!(linear_to_physical(&state.control, 40, &memory, 0xC000_1234), Some(0x5234));
    assert_eq!(linear_to_physical(&state.control, 40, &memory, 0x1234), None);
    state.control.cr0.remove(Cr0::PG);
    assert_eq!(linear_to_physical(&state.control, 40, &memory, 0x1234), Some(0x1234));
}
