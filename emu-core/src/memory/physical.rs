//! Guest-physical memory as CPUs see it: RAM, the A20 gate, and the record of code.

use super::{CodeMap, GuestMemory, MemoryEvent, PageRights, PhysicalRights};
use parking_lot::{ArcMutexGuard, Mutex, RawMutex};
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

/// LOCK#, held until dropped.
pub type BusLock = ArcMutexGuard<RawMutex, ()>;

/// Guest-physical memory of one machine, shared by its vCPUs.
pub struct PhysicalMemory {
    ram: GuestMemory,
    code: CodeMap,
    /// ANDed to every physical address a CPU emits.
    a20_mask: AtomicU64,
    /// Held during locked accesses that the host cannot do in one.
    bus_lock: Arc<Mutex<()>>,
    /// Absent in a machine: everything is allowed.
    rights: OnceLock<PhysicalRights>,
}

impl PhysicalMemory {
    /// Memory with the A20 gate open.
    pub fn new(ram: GuestMemory) -> Self {
        let end = ram.ranges().map(|(start, len)| start + len).max().unwrap_or(0);
        PhysicalMemory {
            ram,
            code: CodeMap::new(end),
            a20_mask: AtomicU64::new(u64::MAX),
            bus_lock: Arc::default(),
            rights: OnceLock::new(),
        }
    }

    /// LOCK# for accesses that cross a page or reach a device: atomic against each other, not against those
    /// the host does in one.
    pub fn bus_lock(&self) -> BusLock {
        self.bus_lock.lock_arc()
    }

    /// The RAM.
    pub fn ram(&self) -> &GuestMemory {
        &self.ram
    }

    /// The record of code.
    pub fn code(&self) -> &CodeMap {
        &self.code
    }

    /// Permissions by page. From the first call on everything is denied that has not been allowed; it is made
    /// before CPUs run.
    pub fn restrict(&self) -> &PhysicalRights {
        self.rights.get_or_init(PhysicalRights::default)
    }

    /// What CPUs may do with the page at `address`.
    #[inline]
    pub fn rights(&self, address: u64) -> PageRights {
        self.rights.get().map_or(PageRights::all(), |rights| rights.at(address))
    }

    /// Opens or closes the A20 gate.
    pub fn set_a20(&self, enabled: bool) {
        let mask = if enabled { u64::MAX } else { !(1 << 20) };
        if self.a20_mask.swap(mask, Ordering::SeqCst) != mask {
            self.code.tell_all(MemoryEvent::FlushTlb);
        }
    }

    /// Whether the A20 gate is open.
    pub fn a20(&self) -> bool {
        self.a20_mask.load(Ordering::Relaxed) == u64::MAX
    }

    /// `address` as it leaves the A20 gate.
    #[inline]
    pub fn gate(&self, address: u64) -> u64 {
        address & self.a20_mask.load(Ordering::Relaxed)
    }

    /// Aligned 64-bit read of a paging structure; what is not RAM reads as ones.
    #[inline]
    pub fn read_u64(&self, address: u64) -> u64 {
        self.ram.host_ptr(address & !7).map_or(u64::MAX, |host| {
            // SAFETY: the pointer is aligned and valid for its page, which RAM keeps mapped.
            unsafe { AtomicU64::from_ptr(host.cast()) }.load(Ordering::Acquire)
        })
    }

    /// Aligned 32-bit read of a paging structure.
    #[inline]
    pub fn read_u32(&self, address: u64) -> u32 {
        self.ram.host_ptr(address & !3).map_or(u32::MAX, |host| {
            // SAFETY: as above.
            unsafe { AtomicU32::from_ptr(host.cast()) }.load(Ordering::Acquire)
        })
    }

    /// Replaces `old` by `new` in an aligned 64-bit paging-structure entry. False if it held something else.
    pub fn exchange_u64(&self, address: u64, old: u64, new: u64) -> bool {
        self.ram.host_ptr(address & !7).is_none_or(|host| {
            // SAFETY: as above.
            let entry = unsafe { AtomicU64::from_ptr(host.cast()) };
            entry.compare_exchange(old, new, Ordering::SeqCst, Ordering::Relaxed).is_ok()
        })
    }

    /// The same for a 32-bit entry.
    pub fn exchange_u32(&self, address: u64, old: u32, new: u32) -> bool {
        self.ram.host_ptr(address & !3).is_none_or(|host| {
            // SAFETY: as above.
            let entry = unsafe { AtomicU32::from_ptr(host.cast()) };
            entry.compare_exchange(old, new, Ordering::SeqCst, Ordering::Relaxed).is_ok()
        })
    }
}
