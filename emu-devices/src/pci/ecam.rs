//! The enhanced configuration access mechanism. PCI Express base specification, 7.2.2.

use super::{FunctionAddress, PciBus};
use emu_core::bus::{Device, IoError, IoResult, MmioIo};
use std::sync::Arc;

/// Configuration space as memory: 4 KiB for each function. It has no registers of its own.
pub struct Ecam {
    bus: Arc<PciBus>,
}

impl Ecam {
    /// The window onto `bus`.
    pub fn new(bus: Arc<PciBus>) -> Self {
        Ecam { bus }
    }
}

/// Function and register at `offset` of the window; an access must not cross a 32-bit register.
fn target(offset: u64, size: u8) -> IoResult<(FunctionAddress, u16)> {
    if (offset & 3) + u64::from(size) > 4 {
        return Err(IoError::Size);
    }
    Ok((FunctionAddress::from_number((offset >> 12) as u16), (offset & 0xFFF) as u16))
}

impl Device for Ecam {
    fn name(&self) -> &'static str {
        "pci-ecam"
    }

    fn reset(&mut self) {}
}

impl MmioIo for Ecam {
    fn mmio_read(&mut self, _region: u8, offset: u64, size: u8) -> IoResult<u64> {
        let (address, register) = target(offset, size)?;
        Ok(self.bus.config_read(address, register, size).into())
    }

    fn mmio_write(&mut self, _region: u8, offset: u64, size: u8, value: u64) -> IoResult {
        let (address, register) = target(offset, size)?;
        self.bus.config_write(address, register, size, value as u32);
        Ok(())
    }
}
