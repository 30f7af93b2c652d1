//! What is mapped where: pages, their permissions, and the page tables that the sandbox keeps for them.

use super::Error;
use bitflags::bitflags;
use emu_core::{
    cpu::Cpu,
    memory::{PageRights, PhysicalMemory},
};
use std::{collections::BTreeMap, ops::Range, sync::Arc};

pub(super) const PAGE: u64 = 0x1000;
/// Physical pages below this address are not used for pages of the sandbox's own paging.
const FIRST_FRAME: u64 = 0x10_0000;
/// Physical addresses of devices under the sandbox's own paging.
const DEVICES: u64 = 1 << 38;

bitflags! {
    /// What a page allows.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Prot: u8 {
        /// Loads. With paging, what can be written or executed can be read.
        const READ = 1 << 0;
        /// Stores.
        const WRITE = 1 << 1;
        /// Instruction fetches.
        const EXEC = 1 << 2;
        /// Only at privilege levels 0 to 2. (Means nothing without paging.)
        const SUPERVISOR = 1 << 3;

        /// Constants.
        const R = Self::READ.bits();
        /// Data.
        const RW = Self::READ.bits() | Self::WRITE.bits();
        /// Code.
        const RX = Self::READ.bits() | Self::EXEC.bits();
        /// Everything.
        const RWX = Self::READ.bits() | Self::WRITE.bits() | Self::EXEC.bits();
    }
}

/// Who translates linear addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Translation {
    /// Nobody, or the guest: permissions are those of physical memory.
    Physical,
    /// The sandbox, by tables of so many levels from this root: 3 (PAE) or 4.
    Own { root: u64, levels: u32 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Page {
    /// Physical page.
    pub(super) frame: u64,
    prot: Prot,
    device: bool,
}

/// A physical page and what it holds.
pub(super) type Frame = (u64, Box<[u8; PAGE as usize]>);

/// See the module.
#[derive(Clone)]
pub(super) struct Space {
    memory: Arc<PhysicalMemory>,
    pub(super) translation: Translation,
    /// By linear page; by physical page if the translation is not ours.
    pub(super) pages: BTreeMap<u64, Page>,
    free: Vec<u64>,
    /// First frame that was never used.
    next: u64,
    /// End of RAM below 3 GiB.
    end: u64,
    next_device: u64,
}

impl Space {
    /// An empty space; `levels` of page tables, or 0 for physical memory alone.
    pub(super) fn new(memory: Arc<PhysicalMemory>, levels: u32) -> Result<Self, Error> {
        let end = memory.ram().ranges().next().map_or(0, |(start, len)| start + len);
        let mut space = Space {
            memory,
            translation: Translation::Physical,
            pages: BTreeMap::new(),
            free: Vec::new(),
            next: FIRST_FRAME,
            end,
            next_device: DEVICES,
        };
        if levels == 0 {
            space.memory.restrict();
            return Ok(space);
        }
        let root = space.frame()?;
        if levels == 3 {
            // The four entries are registers: they are made once and for all.
            for n in 0..4 {
                let directory = space.frame()?;
                space.put(root + 8 * n, directory | 1);
            }
        }
        space.translation = Translation::Own { root, levels };
        Ok(space)
    }

    /// PAE's page-directory-pointer registers.
    pub(super) fn pdpte(&self) -> [u64; 4] {
        match self.translation {
            Translation::Own { root, levels: 3 } => std::array::from_fn(|n| self.get(root + 8 * n as u64)),
            _ => [0; 4],
        }
    }

    /// The page that `address` lies in.
    pub(super) fn page(&self, address: u64) -> Option<&Page> {
        self.pages.get(&(address & !(PAGE - 1)))
    }

    /// Whether `address` is mapped so that it allows anything.
    pub(super) fn is_mapped(&self, address: u64) -> bool {
        self.page(address).is_some()
    }

    /// Physical address of `address` under this space, if there is RAM.
    pub(super) fn physical(&self, address: u64) -> Option<u64> {
        self.page(address).filter(|page| !page.device).map(|page| page.frame | address & (PAGE - 1))
    }

    /// Maps zeroed memory.
    pub(super) fn map(&mut self, range: Range<u64>, prot: Prot) -> Result<(), Error> {
        self.check_free(&range)?;
        let Translation::Own { .. } = self.translation else {
            if let Some(page) = steps(&range).find(|page| !self.memory.ram().is_ram(*page)) {
                return Err(Error::NotRam(page));
            }
            for page in steps(&range) {
                self.pages.insert(page, Page { frame: page, prot, device: false });
            }
            self.memory.restrict().set(range, rights(prot));
            return Ok(());
        };
        let pages = (range.end - range.start) / PAGE;
        // Tables take a page for each 2 MiB, and a few for the levels above.
        let available = (self.end - self.next) / PAGE + self.free.len() as u64;
        if pages + pages / 512 + 8 > available {
            return Err(Error::Exhausted(range.end - range.start));
        }
        for page in steps(&range) {
            let frame = self.frame()?;
            self.insert(page, Page { frame, prot, device: false })?;
        }
        Ok(())
    }

    /// Maps addresses that are not RAM; returns the physical range.
    pub(super) fn map_device(&mut self, range: Range<u64>) -> Result<Range<u64>, Error> {
        self.check_free(&range)?;
        let start = match self.translation {
            Translation::Own { .. } => self.next_device,
            Translation::Physical => range.start,
        };
        if let Some(page) = steps(&range)
            .find(|page| matches!(self.translation, Translation::Physical) && self.memory.ram().is_ram(*page))
        {
            return Err(Error::IsRam(page));
        }
        for page in steps(&range) {
            let frame = start + (page - range.start);
            self.insert(page, Page { frame, prot: Prot::RW, device: true })?;
        }
        let size = range.end - range.start;
        if matches!(self.translation, Translation::Physical) {
            self.memory.restrict().set(range, PageRights::READ | PageRights::WRITE);
        } else {
            self.next_device += size;
        }
        Ok(start..start + size)
    }

    /// Changes the permissions of what is mapped.
    pub(super) fn protect(&mut self, range: Range<u64>, prot: Prot) -> Result<(), Error> {
        self.check_mapped(&range)?;
        for address in steps(&range) {
            if let Some(page) = self.pages.get(&address).copied() {
                self.insert(address, Page { prot, ..page })?;
            }
        }
        if matches!(self.translation, Translation::Physical) {
            self.memory.restrict().set(range, rights(prot));
        }
        Ok(())
    }

    /// Takes pages away; what was in them is lost.
    pub(super) fn unmap(&mut self, cpu: &mut Cpu, range: Range<u64>) -> Result<(), Error> {
        self.check_mapped(&range)?;
        for address in steps(&range) {
            let Some(page) = self.pages.remove(&address) else { continue };
            if !page.device {
                write_physical(cpu, page.frame, &[0; PAGE as usize])?;
            }
            if let Translation::Own { .. } = self.translation {
                let entry = self.entry(address)?;
                self.put(entry, 0);
                if !page.device {
                    self.free.push(page.frame);
                }
            }
        }
        if matches!(self.translation, Translation::Physical) {
            self.memory.restrict().set(range, PageRights::empty());
        }
        Ok(())
    }

    /// Contents of all frames in use, page tables included.
    pub(super) fn snapshot(&self) -> Result<Vec<Frame>, Error> {
        let frames: Vec<u64> = match self.translation {
            Translation::Own { .. } => (FIRST_FRAME..self.next).step_by(PAGE as usize).collect(),
            Translation::Physical => {
                self.pages.values().filter(|page| !page.device).map(|page| page.frame).collect()
            }
        };
        let copy = |frame| {
            let mut bytes = Box::new([0; PAGE as usize]);
            self.memory.ram().read(frame, &mut bytes[..])?;
            Ok((frame, bytes))
        };
        frames.into_iter().map(copy).collect()
    }

    /// Becomes `saved` again, whose frames held `frames`. Pages that have not changed are left alone, so that
    /// code decoded from them is kept.
    pub(super) fn restore(&mut self, cpu: &mut Cpu, saved: &Space, frames: &[Frame]) -> Result<(), Error> {
        if saved.translation != self.translation || saved.end != self.end {
            return Err(Error::Foreign);
        }
        let blank = [0; PAGE as usize];
        let mut now = [0; PAGE as usize];
        let later: Vec<u64> = match self.translation {
            Translation::Own { .. } => (saved.next..self.next).step_by(PAGE as usize).collect(),
            Translation::Physical => {
                let gone = |at: &&u64| !saved.pages.contains_key(at);
                self.pages
                    .iter()
                    .filter(|(_, page)| !page.device)
                    .map(|(at, _)| at)
                    .filter(gone)
                    .copied()
                    .collect()
            }
        };
        let wanted = frames.iter().map(|(frame, bytes)| (*frame, &bytes[..]));
        for (frame, bytes) in wanted.chain(later.into_iter().map(|frame| (frame, &blank[..]))) {
            self.memory.ram().read(frame, &mut now)?;
            if now != bytes {
                write_physical(cpu, frame, bytes)?;
            }
        }
        if matches!(self.translation, Translation::Physical) && self.pages != saved.pages {
            let rights_of = self.memory.restrict();
            for address in self.pages.keys() {
                rights_of.set(*address..*address + PAGE, PageRights::empty());
            }
            for (address, page) in &saved.pages {
                rights_of.set(*address..*address + PAGE, rights(page.prot));
            }
        }
        *self = saved.clone();
        Ok(())
    }

    fn check_free(&self, range: &Range<u64>) -> Result<(), Error> {
        self.pages.range(range.clone()).next().map_or(Ok(()), |(page, _)| Err(Error::Mapped(*page)))
    }

    fn check_mapped(&self, range: &Range<u64>) -> Result<(), Error> {
        steps(range)
            .find(|page| !self.pages.contains_key(page))
            .map_or(Ok(()), |page| Err(Error::NotMapped(page)))
    }

    fn insert(&mut self, address: u64, page: Page) -> Result<(), Error> {
        if let Translation::Own { .. } = self.translation {
            let entry = self.entry(address)?;
            self.put(entry, page.entry());
        }
        self.pages.insert(address, page);
        Ok(())
    }

    /// Physical address of the page-table entry for `address`, the tables above it made if need be.
    fn entry(&mut self, address: u64) -> Result<u64, Error> {
        let Translation::Own { root, levels } = self.translation else { return Ok(0) };
        let mut table = root;
        for level in (1..levels).rev() {
            let at = table + 8 * (address >> (12 + 9 * level) & 0x1FF);
            let mut next = self.get(at);
            if next == 0 {
                // Present, writable, for users: the last level decides.
                next = self.frame()? | 7;
                self.put(at, next);
            }
            table = next & !(PAGE - 1);
        }
        Ok(table + 8 * (address >> 12 & 0x1FF))
    }

    fn frame(&mut self) -> Result<u64, Error> {
        if let Some(frame) = self.free.pop() {
            return Ok(frame);
        }
        if self.next >= self.end {
            return Err(Error::Exhausted(PAGE));
        }
        self.next += PAGE;
        Ok(self.next - PAGE)
    }

    fn get(&self, at: u64) -> u64 {
        self.memory.read_u64(at)
    }

    /// Replaces a page-table entry. The caller flushes TLBs.
    fn put(&self, at: u64, value: u64) {
        // The walker may set bits at the same time: no CPU is running now, so the first attempt succeeds.
        while !self.memory.exchange_u64(at, self.get(at), value) {}
    }
}

impl Page {
    fn entry(&self) -> u64 {
        const PRESENT: u64 = 1;
        const WRITABLE: u64 = 2;
        const USER: u64 = 4;
        const NO_EXECUTE: u64 = 1 << 63;
        if !self.prot.intersects(Prot::RWX) {
            return self.frame;
        }
        let mut entry = self.frame | PRESENT;
        for (condition, bit) in [
            (self.prot.contains(Prot::WRITE), WRITABLE),
            (!self.prot.contains(Prot::SUPERVISOR), USER),
            (!self.prot.contains(Prot::EXEC), NO_EXECUTE),
        ] {
            entry |= if condition { bit } else { 0 };
        }
        entry
    }
}

fn rights(prot: Prot) -> PageRights {
    PageRights::from_bits_truncate((prot & Prot::RWX).bits())
}

fn steps(range: &Range<u64>) -> impl Iterator<Item = u64> + use<> {
    range.clone().step_by(PAGE as usize)
}

/// Writes RAM, and forgets what was decoded from there.
pub(super) fn write_physical(cpu: &mut Cpu, physical: u64, bytes: &[u8]) -> Result<(), Error> {
    cpu.before_write(physical, bytes.len() as u64);
    cpu.memory.ram().write(physical, bytes)?;
    Ok(())
}
