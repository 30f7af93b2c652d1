//! Which RAM holds decoded code, at a granularity of 128 bytes, and how vCPUs tell each other about it.
//!
//! The invariant: while a granule is marked, no vCPU's TLB lets a store into its page pass unseen. A store to a
//! page with marks takes the slow path, which asks here whether it touches code.
//!
//! Each vCPU caches decoded blocks for itself. When one decodes from a page for the first time it tells the
//! others to give up direct write access to it ([`MemoryEvent::CodePage`]). A vCPU that finds it had such
//! access may have written in between, so it answers with an invalidation of the page. A store that touches
//! code invalidates on every vCPU ([`MemoryEvent::CodeWritten`]) before the store is done. Each vCPU looks at its
//! mailbox at every branch, or in translated code at every jump back and on leaving it, and before it executes an
//! instruction that serialises: code published after it was written is seen by whoever does what SDM vol. 3, 9.1.3 asks.

use crate::engine::{VcpuSignal, request};
use parking_lot::{Mutex, RwLock};
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

/// Bytes per mark.
pub const GRANULE: u64 = 128;

/// What one vCPU tells another about memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryEvent {
    /// The page at this address now holds code: give up direct write access.
    CodePage(u64),
    /// Code in these granules (bit mask) of the page at this address may have changed.
    CodeWritten(u64, u32),
    /// Forget all translations (A20, memory map).
    FlushTlb,
}

struct Mailbox {
    signal: Arc<VcpuSignal>,
    events: Mutex<Vec<MemoryEvent>>,
}

/// See the module.
pub struct CodeMap {
    /// By guest-physical page number: bit n marks granule n.
    pages: Box<[AtomicU32]>,
    mailboxes: RwLock<Vec<Arc<Mailbox>>>,
}

impl CodeMap {
    /// A map of the pages below guest-physical address `end`, nothing marked.
    pub fn new(end: u64) -> Self {
        let zeroed = vec![0u32; (end >> 12) as usize].into_boxed_slice();
        let raw = Box::into_raw(zeroed) as *mut [AtomicU32];
        // SAFETY: AtomicU32 has the size, alignment and valid bit patterns of u32; the box is owned. (Going
        // through a zeroed u32 allocation leaves the pages of a large map untouched.)
        let pages = unsafe { Box::from_raw(raw) };
        CodeMap { pages, mailboxes: RwLock::default() }
    }

    /// Gives the vCPU behind `signal` a mailbox. vCPUs attach in the order of their numbers.
    pub fn attach(&self, signal: Arc<VcpuSignal>) {
        self.mailboxes.write().push(Arc::new(Mailbox { signal, events: Mutex::default() }));
    }

    /// Whether the page at `address` holds code.
    #[inline]
    pub fn has_code(&self, address: u64) -> bool {
        self.pages.get((address >> 12) as usize).is_some_and(|page| page.load(Ordering::Acquire) != 0)
    }

    /// Granules of the page that `len` bytes at `address` lie in (cut off at the page's end).
    pub fn granules(address: u64, len: u64) -> u32 {
        let first = (address & 0xFFF) / GRANULE;
        let last = ((address & 0xFFF) + len.max(1) - 1).min(0xFFF) / GRANULE;
        (u32::MAX >> (31 - (last - first))) << first
    }

    /// Marks the granules of code at `address` before it is read for decoding. Returns whether the page held
    /// no code before: then the caller must give up its own direct write access to it.
    pub fn mark(&self, vcpu: usize, address: u64, len: u64) -> bool {
        let Some(page) = self.pages.get((address >> 12) as usize) else { return false };
        let bits = Self::granules(address, len);
        if page.load(Ordering::Acquire) & bits == bits {
            return false;
        }
        let fresh = page.fetch_or(bits, Ordering::SeqCst) == 0;
        if fresh {
            self.tell_others(vcpu, MemoryEvent::CodePage(address & !0xFFF));
        }
        fresh
    }

    /// A store of `len` bytes at `address`, which does not cross a page, is about to be done by `vcpu`. If it
    /// touches code, the marks are taken away, the other vCPUs are told, and the granules are returned: the
    /// caller invalidates its own blocks.
    pub fn written(&self, vcpu: usize, address: u64, len: u64) -> u32 {
        let Some(page) = self.pages.get((address >> 12) as usize) else { return 0 };
        let bits = Self::granules(address, len);
        if page.load(Ordering::Acquire) & bits == 0 {
            return 0;
        }
        let hit = page.fetch_and(!bits, Ordering::SeqCst) & bits;
        if hit != 0 {
            self.tell_others(vcpu, MemoryEvent::CodeWritten(address & !0xFFF, hit));
        }
        hit
    }

    /// Takes the events for `vcpu`, oldest first.
    pub fn take_events(&self, vcpu: usize) -> Vec<MemoryEvent> {
        let mailbox = self.mailboxes.read()[vcpu].clone();
        mailbox.signal.clear(request::MEMORY);

        std::mem::take(&mut *mailbox.events.lock())
    }

    /// Sends `event` to all vCPUs but `vcpu`.
    pub fn tell_others(&self, vcpu: usize, event: MemoryEvent) {
        for (number, mailbox) in self.mailboxes.read().iter().enumerate() {
            if number != vcpu {
                mailbox.events.lock().push(event);
                mailbox.signal.raise(request::MEMORY);
            }
        }
    }

    /// Sends `event` to all vCPUs.
    pub fn tell_all(&self, event: MemoryEvent) {
        self.tell_others(usize::MAX, event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_beside_code_in_the_same_page_touches_nothing() {
        let map = CodeMap::new(1 << 20);
        assert!(map.mark(0, 0x1000, 10), "first code in the page");
        assert!(!map.mark(0, 0x1800, 10), "the page held code already");
        assert_eq!(map.written(0, 0x1080, 8), 0);
        assert_eq!(map.written(0, 0x107C, 8), 1);
        assert_eq!(map.written(0, 0x107C, 8), 0, "the mark is gone until code is decoded again");
    }

    #[test]
    fn granules_cover_exactly_the_bytes() {
        assert_eq!(CodeMap::granules(0x2000, 4096), u32::MAX);
        assert_eq!(CodeMap::granules(0x207F, 2), 0b11);
        assert_eq!(CodeMap::granules(0x2FFF, 1), 1 << 31);
        assert_eq!(CodeMap::granules(0x2FFF, 8), 1 << 31);
    }

    #[test]
    fn other_vcpus_are_told_and_woken() {
        let map = CodeMap::new(1 << 20);
        let signals = [Arc::<VcpuSignal>::default(), Arc::<VcpuSignal>::default()];
        signals.iter().for_each(|signal| map.attach(signal.clone()));
        map.mark(0, 0x3000, 4);
        map.written(0, 0x3000, 4);
        assert_eq!(signals[1].requests(), request::MEMORY);
        assert_eq!(map.take_events(1), [MemoryEvent::CodePage(0x3000), MemoryEvent::CodeWritten(0x3000, 1)]);
        assert!(map.take_events(0).is_empty());
    }
}
