//! RAM slots of a PC and plain access to them by guest-physical address.

use std::sync::Arc;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

/// RAM below this address stays below it; the rest continues at 4 GiB, above the PCI and APIC hole.
pub const RAM_BELOW_4G_MAX: u64 = 0xC000_0000;
const FOUR_GIB: u64 = 1 << 32;
/// The VGA window: never RAM on a PC.
const VGA_WINDOW: std::ops::Range<u64> = 0xA_0000..0xC_0000;
/// Base page size.
const PAGE: u64 = 4096;

/// What can go wrong with guest memory.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The host refused the mapping.
    #[error("the host cannot reserve {0} bytes of guest memory")]
    Reserve(u64),
    /// The size cannot be a PC's.
    #[error("memory size must be a multiple of 4 KiB and at least 1 MiB, not {0} bytes")]
    Size(u64),
    /// An access outside RAM.
    #[error("guest address {address:#x}, {len} bytes, is not in RAM")]
    NotRam {
        /// First byte.
        address: u64,
        /// Length in bytes.
        len: usize,
    },
}

/// One stretch of RAM and where it is on the host.
#[derive(Debug, Clone, Copy)]
struct Slot {
    start: u64,
    end: u64,
    host: *mut u8,
}

/// The RAM of one machine. Clones share it.
#[derive(Debug, Clone)]
pub struct GuestMemory {
    map: GuestMemoryMmap,
    slots: Arc<[Slot]>,
    size: u64,
}

// SAFETY: the pointers in `slots` point into `map`, which every clone keeps alive; what is done through them
// is an access to guest RAM, which is shared between threads by nature.
unsafe impl Send for GuestMemory {}
// SAFETY: as above.
unsafe impl Sync for GuestMemory {}

impl GuestMemory {
    /// Reserves `size` bytes of zeroed RAM, laid out as on a PC.
    pub fn new(size: u64) -> Result<Self, MemoryError> {
        if !size.is_multiple_of(PAGE) || size < 1 << 20 {
            return Err(MemoryError::Size(size));
        }
        let low = size.min(RAM_BELOW_4G_MAX);
        let mut ranges = vec![(GuestAddress(0), low as usize)];
        if size > low {
            ranges.push((GuestAddress(FOUR_GIB), (size - low) as usize));
        }
        let map = GuestMemoryMmap::from_ranges(&ranges).map_err(|_| MemoryError::Reserve(size))?;
        let slots = map
            .iter()
            .map(|region| {
                let start = region.start_addr().0;
                let host = map.get_host_address(region.start_addr()).expect("a region's start is in it");
                Slot { start, end: start + region.len(), host }
            })
            .collect();
        let memory = GuestMemory { map, slots, size };
        memory.ask_for_large_pages();
        Ok(memory)
    }

    /// Lets the host back RAM by its large pages: fewer page faults, and fewer misses in its TLB.
    fn ask_for_large_pages(&self) {
        #[cfg(target_os = "linux")]
        for slot in self.slots.iter() {
            let len = (slot.end - slot.start) as usize;
            // SAFETY: the slot is one mapping of that length, which nothing refers to yet.
            let advised =
                unsafe { rustix::mm::madvise(slot.host.cast(), len, rustix::mm::Advice::LinuxHugepage) };
            if let Err(error) = advised {
                log::debug!("no large pages for guest memory: {error}");
            }
        }
    }

    /// Total RAM in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// RAM as (start, length) ranges of guest-physical addresses, ascending, the VGA window included.
    pub fn ranges(&self) -> impl Iterator<Item = (u64, u64)> {
        self.slots.iter().map(|slot| (slot.start, slot.end - slot.start))
    }

    /// Whether the page at `address` is RAM to a CPU.
    pub fn is_ram(&self, address: u64) -> bool {
        !VGA_WINDOW.contains(&address)
            && self.slots.iter().any(|slot| (slot.start..slot.end).contains(&address))
    }

    /// Host address of the byte of RAM at guest-physical `address`; the rest of its page follows it. `None` if
    /// a CPU finds no RAM there. The pointer is valid as long as any clone of this memory lives.
    #[inline]
    pub fn host_ptr(&self, address: u64) -> Option<*mut u8> {
        if VGA_WINDOW.contains(&address) {
            return None;
        }
        let slot = self.slots.iter().find(|slot| (slot.start..slot.end).contains(&address))?;
        // SAFETY: `address` lies in the slot, whose mapping has `end - start` bytes from `host`.
        Some(unsafe { slot.host.add((address - slot.start) as usize) })
    }

    /// Host address of `len` bytes of RAM at guest-physical `address`. `None` if any of them is not RAM, or they are
    /// not in one stretch. As [`host_ptr`](Self::host_ptr) otherwise.
    pub fn host_range(&self, address: u64, len: usize) -> Option<*mut u8> {
        let end = address.checked_add(len as u64)?;
        if address < VGA_WINDOW.end && end > VGA_WINDOW.start {
            return None;
        }
        let slot = self.slots.iter().find(|slot| slot.start <= address && end <= slot.end)?;
        // SAFETY: `address` lies in the slot or at its end, whose mapping has `end - start` bytes from `host`.
        Some(unsafe { slot.host.add((address - slot.start) as usize) })
    }

    /// Gives `len` bytes of RAM at `address` back to the host: they read as zeroes, and take no memory of the host's until
    /// they are written again. The mapping stays, and with it every pointer into it; a CPU that writes at the same time
    /// writes before or after. What is only a part of a page of the host's is zeroed and not given back.
    ///
    /// The host may split a large page for it. vCPUs are not told about code: see [`Dma::discard`](super::Dma::discard).
    pub(super) fn discard(&self, address: u64, len: usize) -> Result<(), MemoryError> {
        let host = self.host_range(address, len).ok_or(MemoryError::NotRam { address, len })?;
        let page = host_page();
        let head = host.align_offset(page).min(len);
        let whole = (len - head) / page * page;
        // SAFETY: the range has been checked to be RAM, which stays mapped as long as `self` lives. All three parts are in
        // it.
        unsafe {
            host.write_bytes(0, head);
            give_back(host.add(head), whole);
            host.add(head + whole).write_bytes(0, len - head - whole);
        }
        Ok(())
    }

    /// Copies RAM at `address` into `buffer`.
    pub fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), MemoryError> {
        let len = buffer.len();
        self.map.read_slice(buffer, GuestAddress(address)).map_err(|_| MemoryError::NotRam { address, len })
    }

    /// Copies `data` into RAM at `address`. Code that vCPUs have decoded from there is not invalidated: for
    /// loading images before the start.
    pub fn write(&self, address: u64, data: &[u8]) -> Result<(), MemoryError> {
        let len = data.len();
        self.map.write_slice(data, GuestAddress(address)).map_err(|_| MemoryError::NotRam { address, len })
    }
}

/// Bytes of a page of the host's, the smallest that it can take back.
fn host_page() -> usize {
    #[cfg(target_os = "linux")]
    return rustix::param::page_size();
    #[cfg(not(target_os = "linux"))]
    return PAGE as usize;
}

/// Gives pages of RAM back to the host, or at least zeroes them. RAM is private to the process and has no file behind it:
/// what is given back reads as zeroes.
///
/// # Safety
/// Whole pages of the host's, of guest RAM.
unsafe fn give_back(host: *mut u8, len: usize) {
    #[cfg(target_os = "linux")]
    if len != 0 {
        // SAFETY: the caller's promise; nothing but the guest relies on what is in its RAM.
        let advised = unsafe { rustix::mm::madvise(host.cast(), len, rustix::mm::Advice::LinuxDontNeed) };
        match advised {
            Ok(()) => return,
            Err(error) => log::debug!("guest memory cannot be given back: {error}"),
        }
    }
    // SAFETY: the caller's promise.
    unsafe { host.write_bytes(0, len) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ram_continues_above_4_gib_and_nothing_is_touched_by_reserving() {
        let memory = GuestMemory::new(6 << 30).unwrap();
        let ranges: Vec<_> = memory.ranges().collect();
        assert_eq!(ranges, [(0, RAM_BELOW_4G_MAX), (FOUR_GIB, (6 << 30) - RAM_BELOW_4G_MAX)]);
        memory.write(FOUR_GIB + 5, b"emu").unwrap();
        let mut back = [0; 3];
        memory.read(FOUR_GIB + 5, &mut back).unwrap();
        assert_eq!(&back, b"emu");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn discarded_ram_reads_as_zeroes_and_is_the_hosts_again() {
        let memory = GuestMemory::new(64 << 20).unwrap();
        let all = vec![0xA5; 32 << 20];
        memory.write(16 << 20, &all).unwrap();
        let before = resident(&memory);
        memory.discard((16 << 20) + 100, (32 << 20) - 200).unwrap();
        assert!(before >= 32 << 20, "{before}");
        assert!(resident(&memory) <= before - (31 << 20), "{before}, now {}", resident(&memory));

        let mut back = all;
        memory.read(16 << 20, &mut back).unwrap();
        let (head, rest) = back.split_at(100);
        let (middle, tail) = rest.split_at(rest.len() - 100);
        assert!(head.iter().chain(tail).all(|&byte| byte == 0xA5), "what is beside it stays");
        assert!(middle.iter().all(|&byte| byte == 0));
        memory.write(32 << 20, b"again").unwrap();
        assert!(memory.discard(0x9_F000, 0x2000).is_err(), "it reaches into the VGA window");
        assert!(memory.discard((64 << 20) - 4096, 8192).is_err());
    }

    /// Bytes of guest memory that the host has pages for.
    #[cfg(target_os = "linux")]
    fn resident(memory: &GuestMemory) -> usize {
        let slot = memory.slots[0];
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let (begin, end) = (slot.host as usize, slot.host as usize + (slot.end - slot.start) as usize);
        let mut within = false;
        let mut total = 0;
        for line in maps.lines() {
            let range = line.split(' ').next().unwrap().split_once('-');
            let range = range.and_then(|(a, b)| {
                Some((usize::from_str_radix(a, 16).ok()?, usize::from_str_radix(b, 16).ok()?))
            });
            if let Some((a, b)) = range {
                within = a < end && b > begin;
            } else if within && let Some(kib) = line.strip_prefix("Rss:") {
                total += kib.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10;
            }
        }
        total
    }

    #[test]
    fn holes_are_not_ram() {
        let memory = GuestMemory::new(64 << 20).unwrap();
        assert!(memory.host_ptr(0xB_8000).is_none());
        assert!(memory.host_ptr(64 << 20).is_none());
        assert!(memory.host_ptr(0xFEE0_0000).is_none());
        assert!(memory.write((64 << 20) - 1, &[1, 2]).is_err());
    }
}
