//! Routing of port and MMIO accesses, and what floats when nobody answers.

use super::{IoError, IoResult, MmioIo, PortIo};
use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashSet;
use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

/// Two devices claim the same addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{space} range {start:#x}+{len:#x} is already taken by {owner}")]
pub struct RegionConflict {
    space: &'static str,
    start: u64,
    len: u64,
    owner: &'static str,
}

struct Region<D: ?Sized> {
    start: u64,
    len: u64,
    /// Number of this region within its device.
    number: u8,
    name: &'static str,
    device: Arc<Mutex<D>>,
}

impl<D: ?Sized> Region<D> {
    fn contains(&self, address: u64) -> bool {
        address.wrapping_sub(self.start) < self.len
    }
}

/// Accesses that nobody took are logged for so many places.
const COMPLAINTS: u32 = 1024;

/// Ports and MMIO ranges of one machine. Shared by all vCPUs; each device has its own lock. The bus holds a reader
/// lock on its table during an access: nobody who waits for it to be free holds a device.
pub struct Bus {
    ports: RwLock<Vec<Region<dyn PortIo>>>,
    mmio: RwLock<Vec<Region<dyn MmioIo>>>,
    /// A bit for every port that nobody answered at, once that has been logged.
    silent_ports: Box<[AtomicU64; 1024]>,
    silent_pages: Mutex<FxHashSet<u64>>,
    complaints: AtomicU32,
}

impl Default for Bus {
    fn default() -> Self {
        Bus {
            ports: RwLock::default(),
            mmio: RwLock::default(),
            silent_ports: Box::new([const { AtomicU64::new(0) }; 1024]),
            silent_pages: Mutex::default(),
            complaints: AtomicU32::new(0),
        }
    }
}

impl Bus {
    /// An empty bus: everything floats.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives `device` the ports `start .. start + len` as its region `number`.
    pub fn add_ports(
        &self,
        device: Arc<Mutex<dyn PortIo>>,
        number: u8,
        start: u16,
        len: u16,
    ) -> Result<(), RegionConflict> {
        let name = device.lock().name();
        insert(
            &mut self.ports.write(),
            "port",
            Region { start: start.into(), len: len.into(), number, name, device },
        )
    }

    /// Gives `device` the guest-physical range `start .. start + len` as its region `number`.
    pub fn add_mmio(
        &self,
        device: Arc<Mutex<dyn MmioIo>>,
        number: u8,
        start: u64,
        len: u64,
    ) -> Result<(), RegionConflict> {
        let name = device.lock().name();
        insert(&mut self.mmio.write(), "memory", Region { start, len, number, name, device })
    }

    /// Takes away the port region that starts at `start`.
    pub fn remove_ports(&self, start: u16) {
        self.ports.write().retain(|r| r.start != u64::from(start));
    }

    /// Takes away the MMIO region that starts at `start`.
    pub fn remove_mmio(&self, start: u64) {
        self.mmio.write().retain(|r| r.start != start);
    }

    /// Does `access` at the device of `port`, with the number of its region and the offset in it.
    #[inline]
    fn at_port<T>(
        &self,
        port: u16,
        access: impl FnOnce(&mut dyn PortIo, u8, u16) -> IoResult<T>,
    ) -> Option<IoResult<T>> {
        // One that waits to write must not stop a device that reaches for another.
        let table = self.ports.read_recursive();
        let region = find(&table, port.into())?;
        Some(access(&mut *region.device.lock(), region.number, port - region.start as u16))
    }

    /// As [`at_port`](Self::at_port), in memory.
    #[inline]
    fn at_address<T>(
        &self,
        address: u64,
        access: impl FnOnce(&mut dyn MmioIo, u8, u64) -> IoResult<T>,
    ) -> Option<IoResult<T>> {
        let table = self.mmio.read_recursive();
        let region = find(&table, address)?;
        Some(access(&mut *region.device.lock(), region.number, address - region.start))
    }

    /// IN: reads `size` (1, 2, 4) bytes at `port`. What nobody answers reads as ones.
    pub fn port_read(&self, port: u16, size: u8) -> u32 {
        let result = self.at_port(port, |device, region, offset| device.port_read(region, offset, size));
        let Some(result) = result else {
            self.complain_of_port(port, "read", None);
            return floating(size) as u32;
        };
        match result {
            Ok(value) => value & floating(size) as u32,
            Err(IoError::Size) if size > 1 => {
                let half = size / 2;
                let low = self.port_read(port, half);
                low | self.port_read(port.wrapping_add(half.into()), half) << (8 * half)
            }
            Err(error) => {
                self.complain_of_port(port, "read", Some(error));
                floating(size) as u32
            }
        }
    }

    /// OUT: writes the low `size` (1, 2, 4) bytes of `value` at `port`.
    pub fn port_write(&self, port: u16, size: u8, value: u32) {
        let low = value & floating(size) as u32;
        let result =
            self.at_port(port, |device, region, offset| device.port_write(region, offset, size, low));
        let Some(result) = result else { return self.complain_of_port(port, "write", None) };
        match result {
            Ok(()) => {}
            Err(IoError::Size) if size > 1 => {
                let half = size / 2;
                self.port_write(port, half, value);
                self.port_write(port.wrapping_add(half.into()), half, value >> (8 * half));
            }
            Err(error) => self.complain_of_port(port, "write", Some(error)),
        }
    }

    /// Reads `size` (1, 2, 4, 8) bytes of device memory at `address`.
    pub fn mmio_read(&self, address: u64, size: u8) -> u64 {
        let result =
            self.at_address(address, |device, region, offset| device.mmio_read(region, offset, size));
        let Some(result) = result else {
            self.complain_of_memory(address, "read", None);
            return floating(size);
        };
        match result {
            Ok(value) => value & floating(size),
            Err(IoError::Size) if size > 1 => {
                let half = size / 2;
                let low = self.mmio_read(address, half);
                low | self.mmio_read(address.wrapping_add(half.into()), half) << (8 * half)
            }
            Err(error) => {
                self.complain_of_memory(address, "read", Some(error));
                floating(size)
            }
        }
    }

    /// Writes the low `size` (1, 2, 4, 8) bytes of `value` to device memory at `address`.
    pub fn mmio_write(&self, address: u64, size: u8, value: u64) {
        let low = value & floating(size);
        let write = |device: &mut dyn MmioIo, region, offset| device.mmio_write(region, offset, size, low);
        let Some(result) = self.at_address(address, write) else {
            return self.complain_of_memory(address, "write", None);
        };
        match result {
            Ok(()) => {}
            Err(IoError::Size) if size > 1 => {
                let half = size / 2;
                self.mmio_write(address, half, value);
                self.mmio_write(address.wrapping_add(half.into()), half, value >> (8 * half));
            }
            Err(error) => self.complain_of_memory(address, "write", Some(error)),
        }
    }

    /// Logs an access that nobody took, once per port.
    #[inline]
    fn complain_of_port(&self, port: u16, what: &str, error: Option<IoError>) {
        let (word, bit) = (&self.silent_ports[usize::from(port / 64)], 1 << (port % 64));
        // Some ports are written for the time that it takes.
        if word.load(Ordering::Relaxed) & bit == 0 && word.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
            self.complain("port", port.into(), what, error);
        }
    }

    /// The same, once per page of memory.
    #[cold]
    fn complain_of_memory(&self, address: u64, what: &str, error: Option<IoError>) {
        let full = self.complaints.load(Ordering::Relaxed) >= COMPLAINTS;
        if !full && self.silent_pages.lock().insert(address & !0xFFF) {
            self.complain("memory", address, what, error);
        }
    }

    #[cold]
    fn complain(&self, space: &str, address: u64, what: &str, error: Option<IoError>) {
        if self.complaints.fetch_add(1, Ordering::Relaxed) >= COMPLAINTS {
            return;
        }
        match error {
            None => log::debug!("{what} of {space} {address:#x}: nothing there"),
            Some(error) => log::debug!("{what} of {space} {address:#x}: {error}"),
        }
    }
}

fn insert<D: ?Sized>(
    table: &mut Vec<Region<D>>,
    space: &'static str,
    region: Region<D>,
) -> Result<(), RegionConflict> {
    let overlap = |other: &&Region<D>| {
        region.start < other.start + other.len && other.start < region.start + region.len
    };
    if let Some(other) = table.iter().find(overlap) {
        return Err(RegionConflict { space, start: region.start, len: region.len, owner: other.name });
    }
    let at = table.partition_point(|other| other.start < region.start);
    table.insert(at, region);
    Ok(())
}

fn find<D: ?Sized>(table: &[Region<D>], address: u64) -> Option<&Region<D>> {
    let after = table.partition_point(|region| region.start <= address);
    table[..after].last().filter(|region| region.contains(address))
}

/// All ones in `size` bytes: what an undriven bus reads as.
fn floating(size: u8) -> u64 {
    u64::MAX >> (64 - 8 * u32::from(size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Device;

    /// Four byte-wide registers.
    struct Latches([u8; 4]);
    impl Device for Latches {
        fn name(&self) -> &'static str {
            "latches"
        }
        fn reset(&mut self) {
            self.0 = [0; 4];
        }
    }
    impl PortIo for Latches {
        fn port_read(&mut self, _: u8, offset: u16, size: u8) -> IoResult<u32> {
            if size != 1 { Err(IoError::Size) } else { Ok(self.0[usize::from(offset)].into()) }
        }
        fn port_write(&mut self, _: u8, offset: u16, size: u8, value: u32) -> IoResult {
            if size != 1 {
                return Err(IoError::Size);
            }
            self.0[usize::from(offset)] = value as u8;
            Ok(())
        }
    }

    fn bus() -> Bus {
        let bus = Bus::new();
        bus.add_ports(Arc::new(Mutex::new(Latches([1, 2, 3, 4]))), 0, 0x60, 4).unwrap();
        bus
    }

    #[test]
    fn wide_accesses_split_into_bytes_and_run_off_the_end_into_floating_lines() {
        let bus = bus();
        assert_eq!(bus.port_read(0x60, 4), 0x0403_0201);
        assert_eq!(bus.port_read(0x62, 4), 0xFFFF_0403);
        bus.port_write(0x61, 2, 0xBBAA);
        assert_eq!(bus.port_read(0x60, 4), 0x04BB_AA01);
    }

    #[test]
    fn nothing_there_reads_as_ones() {
        assert_eq!(bus().port_read(0x80, 1), 0xFF);
        assert_eq!(bus().mmio_read(0xFED0_0000, 8), u64::MAX);
    }

    #[test]
    fn overlapping_claims_are_refused_with_the_owner() {
        let error = bus().add_ports(Arc::new(Mutex::new(Latches([0; 4]))), 0, 0x63, 1).unwrap_err();
        assert_eq!(error.to_string(), "port range 0x63+0x1 is already taken by latches");
    }
}
