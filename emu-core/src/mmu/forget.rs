//! Forgetting translations: writes of CR3, INVLPG and INVPCID, code in a page. SDM vol. 3, 4.10.4.

use super::{Forgotten, Mmu, spaces::PCID, tlb::Tlb};

impl Mmu {
    /// CR3 has been written: forget all but global translations.
    pub fn set_cr3(&mut self, cr3: u64, pdpte: [u64; 4]) {
        self.context.cr3 = cr3;
        self.context.pdpte = pdpte;
        self.beside.note(Forgotten::Everything);
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
        if !keep {
            self.beside.note(Forgotten::Space(cr3 & PCID));
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
        self.beside.note(Forgotten::Space(pcid));
        self.spaces.forget(pcid);
    }

    /// Forgets everything.
    pub fn flush_all(&mut self) {
        self.new_generation();
        self.beside.note(Forgotten::Everything);
        self.tables.iter_mut().for_each(Tlb::flush_all);
        self.fetch.flush_all();
        self.spaces.clear();
        self.links.forget_fetches();
    }

    /// Forgets everything but global pages, of all PCIDs.
    pub fn flush_all_non_global(&mut self) {
        self.beside.note(Forgotten::Everything);
        self.spaces.clear();
        self.flush_non_global();
    }

    /// Forgets everything but global pages, of the current PCID.
    pub fn flush_non_global(&mut self) {
        self.next_generation();
        self.beside.note(Forgotten::Space(self.pcid()));
        self.links.drop_local();
        self.tables.iter_mut().for_each(Tlb::flush_non_global);
        self.fetch.take_local(|_| ());
    }

    /// INVLPG: forgets the page at `linear`.
    pub fn flush_page(&mut self, linear: u64) {
        self.next_generation();
        self.beside.note(Forgotten::Page { pcid: self.pcid(), linear });
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
        let mut any = self.beside.protect(page);
        for table in &mut self.tables {
            any |= table.protect(page);
        }
        self.spaces.protect(page) | any
    }

    /// What is in the guest-physical page `page` is about to change, and code was made of it.
    pub fn code_changes(&mut self, page: u64) {
        self.beside.note(Forgotten::Code(page));
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
}
