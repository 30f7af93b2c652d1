//! Routing of port and MMIO accesses, and what floats when nobody answers.

use super::{IoError, MmioIo, PortIo};
use parking_lot::{Mutex, RwLock};
use std::{collections::HashSet, sync::Arc};

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

/// A device, the number of its region, and the offset in it.
type Found<D, Offset> = (Arc<Mutex<D>>, u8, Offset);

/// Ports and MMIO ranges of one machine. Shared by all vCPUs; each device has its own lock, the bus holds
/// only a reader lock on its tables while an access finds its device.
#[derive(Default)]
pub struct Bus {
    ports: RwLock<Vec<Region<dyn PortIo>>>,
    mmio: RwLock<Vec<Region<dyn MmioIo>>>,
    complained: Mutex<HashSet<(bool, u64)>>,
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

    fn port_device(&self, port: u16) -> Option<Found<dyn PortIo, u16>> {
        let table = self.ports.read();
        let region = find(&table, port.into())?;
        Some((region.device.clone(), region.number, port - region.start as u16))
    }

    fn mmio_device(&self, address: u64) -> Option<Found<dyn MmioIo, u64>> {
        let table = self.mmio.read();
        let region = find(&table, address)?;
        Some((region.device.clone(), region.number, address - region.start))
    }

    /// IN: reads `size` (1, 2, 4) bytes at `port`. What nobody answers reads as ones.
    pub fn port_read(&self, port: u16, size: u8) -> u32 {
        let Some((device, region, offset)) = self.port_device(port) else {
            self.complain(true, port.into(), "read", None);
            return floating(size) as u32;
        };
        let result = device.lock().port_read(region, offset, size);
        match result {
            Ok(value) => value & floating(size) as u32,
            Err(IoError::Size) if size > 1 => {
                let half = size / 2;
                let low = self.port_read(port, half);
                low | self.port_read(port.wrapping_add(half.into()), half) << (8 * half)
            }
            Err(error) => {
                self.complain(true, port.into(), "read", Some(error));
                floating(size) as u32
            }
        }
    }

    /// OUT: writes the low `size` (1, 2, 4) bytes of `value` at `port`.
    pub fn port_write(&self, port: u16, size: u8, value: u32) {
        let Some((device, region, offset)) = self.port_device(port) else {
            return self.complain(true, port.into(), "write", None);
        };
        let result = device.lock().port_write(region, offset, size, value & floating(size) as u32);
        match result {
            Ok(()) => {}
            Err(IoError::Size) if size > 1 => {
                let half = size / 2;
                self.port_write(port, half, value);
                self.port_write(port.wrapping_add(half.into()), half, value >> (8 * half));
            }
            Err(error) => self.complain(true, port.into(), "write", Some(error)),
        }
    }

    /// Reads `size` (1, 2, 4, 8) bytes of device memory at `address`.
    pub fn mmio_read(&self, address: u64, size: u8) -> u64 {
        let Some((device, region, offset)) = self.mmio_device(address) else {
            self.complain(false, address, "read", None);
            return floating(size);
        };
        let result = device.lock().mmio_read(region, offset, size);
        match result {
            Ok(value) => value & floating(size),
            Err(IoError::Size) if size > 1 => {
                let half = size / 2;
                let low = self.mmio_read(address, half);
                low | self.mmio_read(address.wrapping_add(half.into()), half) << (8 * half)
            }
            Err(error) => {
                self.complain(false, address, "read", Some(error));
                floating(size)
            }
        }
    }

    /// Writes the low `size` (1, 2, 4, 8) bytes of `value` to device memory at `address`.
    pub fn mmio_write(&self, address: u64, size: u8, value: u64) {
        let Some((device, region, offset)) = self.mmio_device(address) else {
            return self.complain(false, address, "write", None);
        };
        let result = device.lock().mmio_write(region, offset, size, value & floating(size));
        match result {
            Ok(()) => {}
            Err(IoError::Size) if size > 1 => {
                let half = size / 2;
                self.mmio_write(address, half, value);
                self.mmio_write(address.wrapping_add(half.into()), half, value >> (8 * half));
            }
            Err(error) => self.complain(false, address, "write", Some(error)),
        }
    }

    /// Logs an access that nobody took, once per port and once per page of memory.
    #[cold]
    fn complain(&self, port: bool, address: u64, what: &str, error: Option<IoError>) {
        let place = if port { address } else { address & !0xFFF };
        let mut seen = self.complained.lock();
        if seen.len() < 1024 && seen.insert((port, place)) {
            let space = if port { "port" } else { "memory" };
            match error {
                None => log::debug!("{what} of {space} {address:#x}: nothing there"),
                Some(error) => log::debug!("{what} of {space} {address:#x}: {error}"),
            }
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
    use crate::bus::{Device, IoResult};

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
