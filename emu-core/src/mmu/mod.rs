//! Translation of linear addresses: page walks, the software TLB, permissions, accessed and dirty bits.
//! SDM vol. 3, ch. 4.
//!
//! The TLB holds one table per kind of access right (see [`Table`]), so that a hit needs one comparison and no
//! look at the privilege level. A TLB may always forget; this one remembers the last few PCIDs (see `spaces`).

mod access;
mod beside;
mod context;
mod fetch;
mod forget;
mod links;
mod operand;
mod physical;
mod spaces;
mod tlb;
mod walk;
mod wrap;

pub use access::Privilege;
use beside::Beside;
pub use beside::{Forgotten, UserPage};
use context::Context;
pub use context::Paging;
use fetch::{FetchEntry, FetchTlb};
pub use links::Links;
use spaces::Spaces;
pub use tlb::{FOLD as TLB_FOLD, TLB_ENTRIES, TlbEntry};
pub use walk::{Access, Translation, linear_to_physical};

use crate::{
    arch::{Exception, PageFaultCode},
    memory::{PageRights, PhysicalMemory},
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
    /// What somebody else keeps of this vCPU's translations.
    beside: Beside,
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
            beside: Beside::default(),
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

    /// Guest-physical pages of RAM that data accesses have reached since everything was forgotten, if
    /// [`generation`](Self::generation) is still the same: for whoever must undo what was stored. A page may
    /// come more than once.
    pub fn reached(&self) -> impl Iterator<Item = u64> + '_ {
        self.tables.iter().flat_map(Tlb::pages).chain(self.spaces.pages())
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
mod tests;
