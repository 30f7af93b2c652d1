//! RAM of an interpreter: what setups have in it, and the paging structures that map it.

use super::Interpreter;
use crate::{Region, Rights, Setup, Unsuitable};
use emu_core::arch::{Cr0, Efer};

/// Size of RAM.
pub const RAM: u64 = 4 << 20;
/// Where paging structures are; not mapped.
pub(crate) const TABLES: u64 = 0x30_0000;

/// Pages that are present, as a setup asks for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Map {
    long: bool,
    pages: Vec<(u64, Rights)>,
}

impl Interpreter {
    /// Writes `bytes` at a linear address, which is the physical one; what is not RAM is left out. Code that
    /// is overwritten must be forgotten by [`forget`](Self::forget).
    pub fn write(&mut self, address: u64, bytes: &[u8]) {
        self.map = None;
        self.note_use(address, bytes.len());
        self.put(address, bytes);
    }

    pub(super) fn put(&mut self, address: u64, bytes: &[u8]) {
        // An access beyond RAM is to a page that is not mapped: there is nothing to write.
        let _beyond = self.cpu.memory.ram().write(address, bytes);
    }

    /// `len` bytes at a linear address; nothing beyond RAM.
    pub fn read(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        match self.cpu.memory.ram().read(address, &mut bytes) {
            Ok(()) => bytes,
            Err(_) => Vec::new(),
        }
    }

    /// Paging structures for 4 MiB in which no page is present: two page tables in long mode, one otherwise.
    pub(crate) fn clear_map(&mut self, long: bool) {
        self.put(TABLES, &[0; 0x5000]);
        if long {
            for (at, to) in [(0, 0x1000), (0x1000, 0x2000), (0x2000, 0x3000), (0x2008, 0x4000)] {
                self.put(TABLES + at, &((TABLES + to) | 7).to_le_bytes());
            }
        } else {
            self.put(TABLES, &((TABLES + 0x1000) as u32 | 7).to_le_bytes());
        }
    }

    /// Makes the page of `address` present; what is beyond RAM stays absent.
    pub(crate) fn map(&mut self, long: bool, address: u64, rights: Rights) {
        if address >= RAM {
            return;
        }
        let (table, size) = if long { (TABLES + 0x3000, 8) } else { (TABLES + 0x1000, 4) };
        let mut entry = address & !0xFFF | 1 | u64::from(rights.write) << 1 | u64::from(rights.user) << 2;
        if long && !rights.execute {
            entry |= 1 << 63;
        }
        self.put(table + (address >> 12) * size, &entry.to_le_bytes()[..size as usize]);
    }

    /// Puts a region of `setup` into memory and maps it.
    pub(crate) fn place(&mut self, setup: &Setup, region: &Region) -> Result<(), Unsuitable> {
        let end = region.address.checked_add(region.bytes.len() as u64).filter(|end| *end <= TABLES);
        let end = end.ok_or_else(|| out_of_reach(region))?;
        self.write(region.address, &region.bytes);
        if setup.state.control.cr0.contains(Cr0::PG) {
            let long = setup.state.control.efer.contains(Efer::LMA);
            for page in (region.address & !0xFFF..end).step_by(0x1000) {
                self.map(long, page, region.rights);
            }
        }
        Ok(())
    }

    /// Remembers that the pages of `len` bytes at `address` hold something.
    pub(super) fn note_use(&mut self, address: u64, len: usize) {
        let end = address.saturating_add(len as u64).min(RAM);
        for page in (address & !0xFFF..end).step_by(0x1000) {
            if !self.used.contains(&page) {
                self.used.push(page);
            }
        }
    }

    /// Makes RAM zero, but for paging structures that are in use.
    pub(super) fn clear(&mut self) {
        if self.cpu.mmu.generation() != self.generation {
            // Something was forgotten on the way: any page may have been reached.
            self.put(0, &vec![0; RAM as usize]);
            (0..RAM).step_by(0x1000).for_each(|page| self.forget_code(page));
            self.map = None;
        }
        let mut pages = std::mem::take(&mut self.used);
        pages.extend(self.cpu.mmu.reached());
        for page in pages.drain(..) {
            if page >= TABLES {
                self.map = None;
            }
            self.put(page, &[0; 0x1000]);
            self.forget_code(page);
        }
        self.used = pages;
    }

    /// Forgets what was decoded from a page.
    pub(super) fn forget_code(&mut self, page: u64) {
        let granules = self.cpu.memory.code().written(0, page, 0x1000);
        if granules != 0 {
            self.cpu.invalidate_code(page, granules);
        }
    }

    /// Makes the pages present that the setup's regions touch, if paging is on.
    pub(super) fn map_regions(&mut self, setup: &Setup) {
        if !setup.state.control.cr0.contains(Cr0::PG) {
            return;
        }
        let long = setup.state.control.efer.contains(Efer::LMA);
        let pages_of = |region: &Region| {
            let rights = region.rights;
            let end = region.address + region.bytes.len() as u64;
            (region.address & !0xFFF..end).step_by(0x1000).map(move |page| (page, rights))
        };
        let pages = setup.memory.iter().flat_map(pages_of);
        let same = |map: &Map| map.long == long && pages.clone().eq(map.pages.iter().copied());
        if self.map.as_ref().is_some_and(same) {
            return;
        }
        let map = Map { long, pages: pages.collect() };
        self.clear_map(long);
        for (page, rights) in &map.pages {
            self.map(long, *page, *rights);
        }
        self.map = Some(map);
    }
}

pub(super) fn out_of_reach(region: &Region) -> Unsuitable {
    Unsuitable(format!("memory at {:#x}: there is none beyond {TABLES:#x}", region.address))
}

/// A page as `setup` begins with it.
pub(super) fn page_before(setup: &Setup, page: u64) -> Vec<u8> {
    let mut bytes = vec![0; 0x1000];
    for region in &setup.memory {
        let end = region.address + region.bytes.len() as u64;
        let (from, to) = (region.address.max(page), end.min(page + 0x1000));
        if from < to {
            let place = (from - page) as usize..(to - page) as usize;
            let source = (from - region.address) as usize..(to - region.address) as usize;
            bytes[place].copy_from_slice(&region.bytes[source]);
        }
    }
    bytes
}
