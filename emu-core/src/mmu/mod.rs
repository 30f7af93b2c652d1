//! Translation of linear addresses: page walks, the software TLB, permissions, accessed and dirty bits.
//! SDM vol. 3, ch. 4.
//!
//! The TLB holds one table per kind of access right (see [`Table`]), so that a hit needs one comparison and no
//! look at the privilege level. A TLB may always forget; this one remembers the last few PCIDs (see `spaces`).

mod access;
mod fetch;
mod links;
mod spaces;
mod tlb;
mod walk;
mod wrap;

pub use access::Privilege;
use fetch::{FetchEntry, FetchTlb};
pub use links::Links;
use spaces::{PCID, Spaces};
pub use tlb::{FOLD as TLB_FOLD, TLB_ENTRIES, TlbEntry};
pub use walk::{Access, Translation};

use crate::{
    arch::{Cr0, Cr4, Efer, Exception, Flags, PageFaultCode},
    memory::{PageRights, PhysicalMemory},
    state::Control,
};
use std::sync::Arc;
use tlb::Tlb;

/// Which accesses a TLB table serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Table {
    /// Supervisor accesses while SMAP keeps them from user pages.
    Guarded = 0,
    /// Supervisor accesses to any page.
    Supervisor = 1,
    /// User accesses.
    User = 2,
}

/// How linear addresses are translated now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Paging {
    /// Not at all.
    #[default]
    None,
    /// 32-bit paging.
    Legacy,
    /// PAE paging.
    Pae,
    /// 4-level paging.
    Level4,
    /// 5-level paging.
    Level5,
}

/// Control-register bits that matter to a walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Context {
    paging: Paging,
    cr3: u64,
    pdpte: [u64; 4],
    write_protect: bool,
    no_execute: bool,
    smep: bool,
    smap: bool,
    page_size_extension: bool,
    global: bool,
    protection_keys: bool,
    pkru: u32,
    /// Highest physical address bits that are reserved in entries.
    reserved: u64,
    user: bool,
    /// EFLAGS.AC.
    access_override: bool,
    /// DR7 and the addresses of enabled data breakpoints.
    watching: bool,
}

/// An access that the permissions of guest-physical memory do not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denied {
    /// Linear address.
    pub linear: u64,
    /// Guest-physical address.
    pub physical: u64,
    /// What was wanted.
    pub access: Access,
}

/// The memory-management unit of one vCPU.
#[repr(C)]
pub struct Mmu {
    /// First entry of the table for ordinary data accesses now.
    current: *mut TlbEntry,
    /// Changes whenever a translation may have become invalid.
    generation: u32,
    /// How long links between blocks of different pages are good.
    links: Links,
    tables: [Tlb; 3],
    fetch: FetchTlb,
    /// Address spaces that are not the current one.
    spaces: Spaces,
    context: Context,
    /// Linear ranges of enabled data breakpoints: (first, last, bit of DR6, on reads too).
    pub(crate) watch: Vec<(u64, u64, u64, bool)>,
    /// Linear ranges, first to last, whose accesses an embedder wants to see: their pages are never accessed
    /// directly. Who changes it flushes.
    pub(crate) observed: Vec<(u64, u64)>,
    /// The access that was last denied. The instruction has ended with [`Exception::Restart`].
    pub(crate) denied: Option<Denied>,
    memory: Arc<PhysicalMemory>,
    physical_bits: u32,
}

// SAFETY: `current` points into `tables`, which the Mmu owns and never reallocates.
unsafe impl Send for Mmu {}

impl Mmu {
    /// Offset of the pointer to the first entry of the table for ordinary data accesses: for translated code.
    pub const CURRENT: usize = std::mem::offset_of!(Mmu, current);

    /// Offset of the stamps of links: for translated code.
    pub const LINKS: usize = std::mem::offset_of!(Mmu, links);

    /// An MMU with paging off, for a CPU with `physical_bits` physical address bits.
    pub fn new(memory: Arc<PhysicalMemory>, physical_bits: u32) -> Self {
        let mut tables = [Tlb::new(), Tlb::new(), Tlb::new()];
        let current = tables[Table::Supervisor as usize].first();
        Mmu {
            current,
            generation: 1,
            links: Links::new(),
            tables,
            fetch: FetchTlb::new(),
            spaces: Spaces::default(),
            context: Context::default(),
            watch: Vec::new(),
            observed: Vec::new(),
            denied: None,
            memory,
            physical_bits,
        }
    }

    /// Number of the current set of translations.
    #[inline(always)]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Whether the code at `linear`, which has just been fetched from, is in a global page.
    pub fn is_global_code(&self, linear: u64) -> bool {
        let entry = self.fetch.at(linear);
        entry.global && (entry.page ^ linear) & !0xFFF == 0
    }

    /// The stamp of what leads to code in global pages, or in others.
    pub fn stamp(&self, global: bool) -> u32 {
        self.links.stamp(global)
    }

    /// The stamp of what leads to the code at `linear`, which has just been fetched from.
    pub fn link_stamp(&self, linear: u64) -> u32 {
        self.links.stamp(self.is_global_code(linear))
    }

    /// Whether what has that stamp still leads to where it did.
    #[inline(always)]
    pub fn is_current(&self, stamp: u32) -> bool {
        self.links.is_current(stamp)
    }

    /// Entry of the current table for `linear`.
    #[inline(always)]
    pub fn entry(&self, linear: u64) -> &TlbEntry {
        // SAFETY: `current` points to TLB_ENTRIES entries and the index is below that.
        unsafe { &*self.current.add(tlb::index(linear)) }
    }

    /// Whether `size` bytes at `linear` may be accessed directly by the current table.
    pub fn is_direct(&self, linear: u64, size: u64, write: bool) -> bool {
        let entry = self.entry(linear);
        let tag = if write { entry.write } else { entry.read };
        linear.wrapping_sub(tag) <= 4096 - size
    }

    /// Host address of the `size` bytes at `linear`, if they may be accessed directly at that privilege.
    #[inline]
    pub fn direct(&self, linear: u64, size: u64, write: bool, user: bool) -> Option<*mut u8> {
        let entry = self.tables[self.data_table(user) as usize].entry(linear);
        let tag = if write { entry.write } else { entry.read };
        let direct = linear.wrapping_sub(tag) <= 4096 - size;
        direct.then(|| linear.wrapping_add(entry.addend) as *mut u8)
    }

    /// Brings the context up to date with the control registers, AC, CPL. Flushes what a change of the paging
    /// mode or of a permission bit makes wrong.
    pub fn set_context(&mut self, control: &Control, eflags: Flags, user: bool) {
        let Control { cr0, cr4, efer, .. } = *control;
        let paging = match (cr0.contains(Cr0::PG), cr4.contains(Cr4::PAE), efer.contains(Efer::LMA)) {
            (false, ..) => Paging::None,
            (true, false, _) => Paging::Legacy,
            (true, true, false) => Paging::Pae,
            (true, true, true) if cr4.contains(Cr4::LA57) => Paging::Level5,
            _ => Paging::Level4,
        };
        let protection_keys = cr4.contains(Cr4::PKE) && efer.contains(Efer::LMA);
        let new = Context {
            paging,
            cr3: control.cr3,
            pdpte: control.pdpte,
            write_protect: cr0.contains(Cr0::WP),
            no_execute: efer.contains(Efer::NXE),
            smep: cr4.contains(Cr4::SMEP),
            smap: cr4.contains(Cr4::SMAP),
            page_size_extension: cr4.contains(Cr4::PSE) || paging != Paging::Legacy,
            global: cr4.contains(Cr4::PGE),
            protection_keys,
            pkru: if protection_keys { control.pkru } else { 0 },
            reserved: (!0 << self.physical_bits) & ((1 << 52) - 1),
            user,
            access_override: eflags.contains(Flags::AC),
            watching: control.dr7 & 0xFF != 0,
        };
        let comparable =
            Context { user: self.context.user, access_override: self.context.access_override, ..new };
        let translations_change = comparable != self.context;
        self.context = new;
        self.current = self.tables[self.data_table(user) as usize].first();
        if translations_change {
            self.flush_all();
        }
    }

    /// As [`set_context`](Self::set_context) where no control register has changed.
    pub fn set_privilege(&mut self, eflags: Flags, user: bool) {
        self.context.user = user;
        self.context.access_override = eflags.contains(Flags::AC);
        self.current = self.tables[self.data_table(user) as usize].first();
    }

    /// CR3 has been written: forget all but global translations.
    pub fn set_cr3(&mut self, cr3: u64, pdpte: [u64; 4]) {
        self.context.cr3 = cr3;
        self.context.pdpte = pdpte;
        self.flush_non_global();
    }

    /// CR3 has been written while PCIDs are in use. The translations of the new one are good if `keep`.
    pub fn set_cr3_and_pcid(&mut self, cr3: u64, keep: bool) {
        let old = std::mem::replace(&mut self.context.cr3, cr3);
        if (old ^ cr3) & PCID == 0 {
            if old != cr3 || !keep {
                self.flush_non_global();
            }
            return;
        }
        self.next_generation();
        let mut left = self.spaces.fresh();
        left.cr3 = old;
        left.fill(&mut self.tables);
        self.fetch.take_local(|entry| left.fetches.push(entry));
        left.stamp = Some(self.links.stamp(false));
        let entered = self.spaces.take(cr3, keep);
        self.spaces.park(left);
        self.links.drop_local();
        if let Some(entered) = entered {
            entered.restore(&mut self.tables);
            if let Some(stamp) = entered.stamp {
                self.links.restore_local(stamp);
            }
            for &fetch in &entered.fetches {
                self.fetch.fill(fetch);
                self.links.note(fetch.page, 12);
            }
            self.spaces.put_by(entered);
        }
    }

    /// The translations of `pcid`, which is not the current one, are good no more.
    pub fn flush_pcid(&mut self, pcid: u64) {
        self.spaces.forget(pcid);
    }

    /// Guest-physical pages of RAM that data accesses have reached since everything was forgotten, if
    /// [`generation`](Self::generation) is still the same: for whoever must undo what was stored. A page may
    /// come more than once.
    pub fn reached(&self) -> impl Iterator<Item = u64> + '_ {
        self.tables.iter().flat_map(Tlb::pages).chain(self.spaces.pages())
    }

    /// The table for data accesses at a privilege.
    #[inline]
    fn data_table(&self, user: bool) -> Table {
        if user {
            Table::User
        } else if self.context.smap && self.context.paging != Paging::None && !self.context.access_override {
            Table::Guarded
        } else {
            Table::Supervisor
        }
    }

    /// Forgets everything.
    pub fn flush_all(&mut self) {
        self.new_generation();
        self.tables.iter_mut().for_each(Tlb::flush_all);
        self.fetch.flush_all();
        self.spaces.clear();
        self.links.forget_fetches();
    }

    /// Forgets everything but global pages, of all PCIDs.
    pub fn flush_all_non_global(&mut self) {
        self.spaces.clear();
        self.flush_non_global();
    }

    /// Forgets everything but global pages, of the current PCID.
    pub fn flush_non_global(&mut self) {
        self.next_generation();
        self.links.drop_local();
        self.tables.iter_mut().for_each(Tlb::flush_non_global);
        self.fetch.take_local(|_| ());
    }

    /// INVLPG: forgets the page at `linear`.
    pub fn flush_page(&mut self, linear: u64) {
        self.next_generation();
        self.tables.iter_mut().for_each(|table| table.flush_page(linear));
        self.fetch.flush_page(linear);
        if self.links.was_fetched(linear) {
            self.links.drop_all();
            self.links.forget_fetches();
            self.spaces.drop_links();
            // New links are made to pages whose translation is remembered without another walk.
            self.fetch.iter().for_each(|entry| self.links.note(entry.page, 12));
        }
    }

    /// Gives up direct write access to the guest-physical page `page`. Returns whether there was any.
    pub fn protect_from_writes(&mut self, page: u64) -> bool {
        let mut any = false;
        for table in &mut self.tables {
            any |= table.protect(page);
        }
        self.spaces.protect(page) | any
    }

    /// Makes all links between pages, and whatever is known by instruction pointer, invalid.
    pub fn new_generation(&mut self) {
        self.next_generation();
        self.links.drop_all();
        self.spaces.drop_links();
    }

    fn next_generation(&mut self) {
        self.generation = self.generation.wrapping_add(1).max(1);
    }

    /// Guest-physical address of the code at `linear`.
    #[inline]
    pub fn translate_fetch(&mut self, linear: u64) -> Result<u64, Exception> {
        let entry = self.fetch.at(linear);
        let user = self.context.user;
        if entry.page == (linear & !0xFFF) | u64::from(user) {
            return Ok(entry.physical | linear & 0xFFF);
        }
        let translation = self.walk(linear, Access::Fetch, user)?;
        let physical = self.memory.gate(translation.physical);
        self.admit(linear, physical, Access::Fetch)?;
        let page = (linear & !0xFFF) | u64::from(user);
        self.fetch.fill(FetchEntry {
            page,
            physical: physical & !0xFFF,
            global: translation.global,
            large: translation.page_shift > 12,
        });
        self.links.note(linear, translation.page_shift);
        Ok(physical)
    }

    /// Translates for a data access, filling the TLB. Returns the guest-physical address.
    pub fn translate(&mut self, linear: u64, access: Access, user: bool) -> Result<u64, Exception> {
        let table = self.data_table(user) as usize;
        let write = access == Access::Write;
        if let Some(physical) = self.tables[table].lookup(linear, write) {
            if write && !self.memory.code().has_code(physical) {
                self.tables[table].allow_direct_writes(linear);
            }
            return Ok(physical | linear & 0xFFF);
        }
        let translation = self.walk(linear, access, user)?;
        let physical = self.memory.gate(translation.physical);
        let rights = self.admit(linear, physical, access)?;
        if let Some(host) = self.memory.ram().host_ptr(physical & !0xFFF) {
            let watched = self.watches_page(linear);
            let readable = !watched && rights.contains(PageRights::READ);
            let writable = translation.writable_now && !watched && rights.contains(PageRights::WRITE);
            let entry = tlb::Fill {
                linear,
                physical,
                host,
                readable,
                writable,
                // What may be written directly is also read so, by who reads and writes.
                direct_write: readable && writable && !self.memory.code().has_code(physical),
                global: translation.global,
                page_shift: translation.page_shift,
            };
            self.tables[table].fill(&entry);
        }
        Ok(physical)
    }

    /// Whether anything in the page of `linear` is watched, by breakpoints or by an embedder.
    pub(crate) fn watches_page(&self, linear: u64) -> bool {
        let page = linear >> 12;
        let reaches = |first: u64, last: u64| first >> 12 <= page && page <= last >> 12;
        self.watch.iter().any(|&(first, last, ..)| reaches(first, last))
            || self.observed.iter().any(|&(first, last)| reaches(first, last))
    }

    /// What is allowed at `physical`, if `access` is. If not, the instruction is to be begun again when
    /// somebody has looked at [`Self::denied`].
    fn admit(&mut self, linear: u64, physical: u64, access: Access) -> Result<PageRights, Exception> {
        let rights = self.memory.rights(physical);
        let wanted = match access {
            Access::Read => PageRights::READ,
            Access::Write => PageRights::WRITE,
            Access::Fetch => PageRights::FETCH,
        };
        if rights.contains(wanted) {
            return Ok(rights);
        }
        self.denied = Some(Denied { linear, physical, access });
        Err(Exception::Restart)
    }

    /// Whether a translation of `linear` would need a walk.
    pub fn would_walk(&self, linear: u64, access: Access, user: bool) -> bool {
        let table = &self.tables[self.data_table(user) as usize];
        table.lookup(linear, access == Access::Write).is_none()
    }

    fn page_fault(&self, linear: u64, access: Access, user: bool, code: PageFaultCode) -> Exception {
        let mut code = code;
        code.set(PageFaultCode::WRITE, access == Access::Write);
        code.set(PageFaultCode::USER, user);
        code.set(
            PageFaultCode::FETCH,
            access == Access::Fetch
                && (self.context.no_execute && self.context.paging != Paging::Legacy || self.context.smep),
        );
        Exception::Page(code, linear)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{memory::GuestMemory, state::CpuState};

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
}
