//! The processor's state at a kernel's entry: flat segments with their GDT, a stack, and for 64-bit entries
//! page tables that map the first 4 GiB to themselves.

use super::{error::BootError, placement::Placement, state::*};
use emu_core::memory::GuestMemory;

/// Selectors that the Linux boot protocol prescribes, and that suit the others.
const CODE_SELECTOR: u16 = 0x10;
const DATA_SELECTOR: u16 = 0x18;
const TSS_SELECTOR: u16 = 0x20;
/// Null, unused, code, data, and the task state segment in two entries.
const GDT_ENTRIES: usize = 6;
/// Offset of the task state segment in the page of the GDT, and its last byte.
const TSS_OFFSET: u64 = 0x100;
const TSS_LIMIT: u32 = 0x67;

const PAGE: u64 = 4096;
/// Page table entry bits: present, writable, large page.
const PRESENT_WRITABLE: u64 = 0b11;
const LARGE: u64 = 1 << 7;
/// PML4, PDPT and four page directories.
const PAGE_TABLES: u64 = 6;
const ENTRIES: u64 = 512;

/// RFLAGS bit 1, always set.
const RFLAGS_FIXED: u64 = 1 << 1;

/// What a boot protocol decides about the entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) mode: BootMode,
    pub(super) rip: u64,
    pub(super) rax: u64,
    pub(super) rbx: u64,
    pub(super) rsi: u64,
}

impl Entry {
    /// Writes GDT, stack and page tables to `memory` and completes the state.
    pub(super) fn prepare(
        self,
        memory: &GuestMemory,
        placement: &mut Placement,
    ) -> Result<BootState, BootError> {
        let stack = placement.boot_data("boot stack", PAGE, PAGE)?;
        let gdt = placement.boot_data("descriptor table", PAGE, PAGE)?;
        let (code, cr0, cr3, cr4, efer) = match self.mode {
            BootMode::Protected32 => (CODE32, CR0_PE | CR0_ET, 0, 0, 0),
            BootMode::Long64 => {
                let root = identity_map(memory, placement)?;
                (CODE64, CR0_PE | CR0_ET | CR0_PG, root, CR4_PAE, EFER_LME | EFER_LMA)
            }
        };
        let cs = Segment::flat(CODE_SELECTOR, code);
        let data = Segment::flat(DATA_SELECTOR, DATA);
        let tr =
            Segment { selector: TSS_SELECTOR, base: gdt + TSS_OFFSET, limit: TSS_LIMIT, attributes: TSS };
        let table = [0, 0, descriptor(&cs), descriptor(&data), descriptor(&tr), tr.base >> 32];
        let mut page = [0; PAGE as usize];
        for (index, entry) in table.into_iter().enumerate() {
            page[8 * index..][..8].copy_from_slice(&entry.to_le_bytes());
        }
        memory.write(gdt, &page)?;
        memory.write(stack, &[0; PAGE as usize])?;
        Ok(BootState {
            mode: self.mode,
            rip: self.rip,
            rsp: stack + PAGE,
            rax: self.rax,
            rbx: self.rbx,
            rsi: self.rsi,
            rflags: RFLAGS_FIXED,
            cr0,
            cr3,
            cr4,
            efer,
            cs,
            data,
            tr,
            gdt: DescriptorTable { base: gdt, limit: (8 * GDT_ENTRIES - 1) as u16 },
            idt: DescriptorTable { base: 0, limit: 0 },
        })
    }
}

/// The 8-byte descriptor of a segment (SDM vol. 3, 3.4.5).
fn descriptor(segment: &Segment) -> u64 {
    let limit =
        u64::from(if segment.attributes & 1 << 15 != 0 { segment.limit >> 12 } else { segment.limit });
    let base = segment.base & 0xFFFF_FFFF;
    limit & 0xFFFF
        | (base & 0xFF_FFFF) << 16
        | u64::from(segment.attributes) << 40
        | (limit >> 16 & 0xF) << 48
        | (base >> 24) << 56
}

/// Maps the first 4 GiB to themselves with 2 MiB pages, and returns the address of the PML4.
fn identity_map(memory: &GuestMemory, placement: &mut Placement) -> Result<u64, BootError> {
    let root = placement.boot_data("page tables", PAGE_TABLES * PAGE, PAGE)?;
    let (pdpt, directories) = (root + PAGE, root + 2 * PAGE);
    let mut tables = vec![0_u64; (PAGE_TABLES * ENTRIES) as usize];
    tables[0] = pdpt | PRESENT_WRITABLE;
    for gib in 0..4 {
        tables[(ENTRIES + gib) as usize] = (directories + gib * PAGE) | PRESENT_WRITABLE;
    }
    for page in 0..4 * ENTRIES {
        tables[(2 * ENTRIES + page) as usize] = page << 21 | PRESENT_WRITABLE | LARGE;
    }
    let bytes: Vec<u8> = tables.iter().flat_map(|entry| entry.to_le_bytes()).collect();
    memory.write(root, &bytes)?;
    Ok(root)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{e820::MemoryMap, layout::fixture};

    fn prepare(mode: BootMode) -> (GuestMemory, BootState) {
        let memory = GuestMemory::new(8 << 20).unwrap();
        let map = MemoryMap::new(&memory, &fixture::machine(1));
        let mut placement = Placement::new(&map, memory.size());
        let entry = Entry { mode, rip: 0x10_0200, rax: 1, rbx: 2, rsi: 3 };
        let state = entry.prepare(&memory, &mut placement).unwrap();
        (memory, state)
    }

    fn read_u64(memory: &GuestMemory, address: u64) -> u64 {
        let mut bytes = [0; 8];
        memory.read(address, &mut bytes).unwrap();
        u64::from_le_bytes(bytes)
    }

    /// Walks the page tables as the processor does.
    fn translate(memory: &GuestMemory, cr3: u64, address: u64) -> u64 {
        let mut table = cr3;
        for shift in [39, 30, 21] {
            let entry = read_u64(memory, table + 8 * (address >> shift & 0x1FF));
            assert_eq!(entry & PRESENT_WRITABLE, PRESENT_WRITABLE);
            if entry & LARGE != 0 {
                return (entry & !0x1F_FFFF) | address & 0x1F_FFFF;
            }
            table = entry & !0xFFF;
        }
        panic!("no large page");
    }

    #[test]
    fn long_mode_maps_the_first_4_gib_to_themselves() {
        let (memory, state) = prepare(BootMode::Long64);
        for address in [0, 0x10_0200, 0x7FFF_FFFF, 0xFEE0_0020, 0xFFFF_FFFF] {
            assert_eq!(translate(&memory, state.cr3, address), address);
        }
        assert_eq!(state.cr0 & (CR0_PE | CR0_PG), CR0_PE | CR0_PG);
        assert_eq!(state.cr4, CR4_PAE);
        assert_eq!(state.efer, EFER_LME | EFER_LMA);
    }

    #[test]
    fn descriptor_table_agrees_with_the_segment_registers() {
        let (memory, state) = prepare(BootMode::Protected32);
        assert_eq!(read_u64(&memory, state.gdt.base + u64::from(state.cs.selector)), 0x00CF_9B00_0000_FFFF);
        assert_eq!(read_u64(&memory, state.gdt.base + u64::from(state.data.selector)), 0x00CF_9300_0000_FFFF);
        let tss = read_u64(&memory, state.gdt.base + u64::from(state.tr.selector));
        assert_eq!(tss >> 40 & 0xFF, 0x8B);
        assert_eq!(tss & 0xFFFF, 0x67);
        assert_eq!((tss >> 16 & 0xFF_FFFF) | (tss >> 56) << 24, state.tr.base);
        assert_eq!(state.cr0 & CR0_PG, 0);
    }

    #[test]
    fn stack_page_is_below_the_stack_pointer() {
        let (_, state) = prepare(BootMode::Protected32);
        assert_eq!(state.rsp % PAGE, 0);
        assert_ne!(state.rsp - PAGE, state.gdt.base);
    }
}
