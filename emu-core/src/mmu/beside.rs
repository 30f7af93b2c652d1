//! Translations that an engine beside this CPU keeps for the same vCPU: hardware that executes its user code.
//!
//! They are a TLB of the vCPU's like the tables here, and forget when those do. But that engine looks only before it
//! executes, so what it has to forget is written down meanwhile ([`Forgotten`]). With nobody [beside](Mmu::keep_beside)
//! nothing is.
//!
//! What may be kept is what an access of user code could have left in a TLB: [`Mmu::user_page`].

use super::{Context, Mmu, Paging, spaces::PCID};
use std::collections::HashSet;

/// As many notes as are kept one by one: more come to everything.
const NOTES: usize = 256;

/// What is not to be used any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgotten {
    /// Every translation.
    Everything,
    /// Those of every address space with this PCID (CR3, bits 11:0).
    Space(u64),
    /// Those of the page at this linear address, in address spaces with this PCID.
    Page {
        /// CR3, bits 11:0.
        pcid: u64,
        /// Any address in it.
        linear: u64,
    },
    /// Permission to write to the guest-physical page at this address.
    Writes(u64),
    /// Permission to execute what is in the guest-physical page at this address: it is about to change.
    Code(u64),
}

/// A page as user code may use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserPage {
    /// Guest-physical address of its first byte, behind the A20 gate.
    pub physical: u64,
    /// log2 of its size.
    pub shift: u32,
    /// It may be written, and its dirty bit is set.
    pub writable: bool,
    /// It may be executed.
    pub executable: bool,
}

/// See the module.
#[derive(Default)]
pub(super) struct Beside {
    /// Somebody is.
    kept: bool,
    notes: Vec<Forgotten>,
    /// Guest-physical pages that it may write to.
    writable: HashSet<u64>,
}

impl Beside {
    #[inline]
    pub(super) fn note(&mut self, forgotten: Forgotten) {
        if self.kept {
            self.write_down(forgotten);
        }
    }

    #[cold]
    fn write_down(&mut self, forgotten: Forgotten) {
        if self.notes.first() == Some(&Forgotten::Everything) || self.notes.last() == Some(&forgotten) {
            return;
        }
        if forgotten == Forgotten::Everything || self.notes.len() == NOTES {
            self.notes.clear();
            self.notes.push(Forgotten::Everything);
        } else {
            self.notes.push(forgotten);
        }
    }

    /// Permission to write to `page` is to be given up. Returns whether there was any.
    pub(super) fn protect(&mut self, page: u64) -> bool {
        let was_writable = self.writable.remove(&page);
        if was_writable {
            self.note(Forgotten::Writes(page));
        }
        was_writable
    }
}

impl Mmu {
    /// From now on it is written down what has to be forgotten, if `kept`.
    pub fn keep_beside(&mut self, kept: bool) {
        self.beside = Beside { kept, ..Beside::default() };
    }

    /// Takes what has been written down, oldest first. What it says of writes and code holds for what is
    /// [allowed](Self::allow_writes_beside) before.
    pub fn take_forgotten(&mut self) -> Vec<Forgotten> {
        let notes = std::mem::take(&mut self.beside.notes);
        if notes.first() == Some(&Forgotten::Everything) {
            self.beside.writable.clear();
        }
        notes
    }

    /// The guest-physical page `page` may be written to beside from now on, until a note says otherwise.
    pub fn allow_writes_beside(&mut self, page: u64) {
        self.beside.writable.insert(page);
    }

    /// The page at `linear` as user code may read it, in the current address space with 4-level paging. `None`: an access
    /// would fault, set an accessed bit, or needs a protection key.
    pub fn user_page(&self, linear: u64) -> Option<UserPage> {
        let Context { paging: Paging::Level4, protection_keys, pkru, .. } = self.context else { return None };
        let mut page = self.settled_user_page(linear)?;
        if protection_keys && pkru != 0 && !self.ignores_keys(linear) {
            return None;
        }
        page.physical = self.memory.gate(page.physical);
        Some(page)
    }

    /// PCID of the current address space; 0 where there are none.
    pub(super) fn pcid(&self) -> u64 {
        self.context.cr3 & PCID
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beside() -> Beside {
        Beside { kept: true, ..Beside::default() }
    }

    #[test]
    fn many_notes_come_to_everything_and_nothing_is_noted_for_nobody() {
        let mut notes = beside();
        for page in 0..=NOTES as u64 {
            notes.note(Forgotten::Code(page << 12));
        }
        notes.note(Forgotten::Space(3));
        assert_eq!(notes.notes, [Forgotten::Everything]);
        let mut nobody = Beside::default();
        nobody.note(Forgotten::Everything);
        assert!(nobody.notes.is_empty());
    }

    #[test]
    fn writes_are_given_up_once() {
        let mut notes = beside();
        notes.writable.insert(0x5000);
        assert!(notes.protect(0x5000) && !notes.protect(0x5000) && !notes.protect(0x6000));
        assert_eq!(notes.notes, [Forgotten::Writes(0x5000)]);
    }
}
