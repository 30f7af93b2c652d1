//! pc-testdev: a register that echoes, memory that echoes, a port that flushes a page, and the interrupt lines of
//! the board at ports of their own. QEMU, hw/misc/pc-testdev.c.
//!
//! The page flush takes a page away from the guest and gives it back, so that a hypervisor has to map it anew. A
//! guest cannot see that, and software translation has nothing that it could lose: the port takes the address and
//! does nothing.

use emu_core::bus::{Device, IoError, IoResult, IrqLine, MmioIo, PortIo, Snapshot};
use serde::{Deserialize, Serialize};

/// Region of the echo register, which takes accesses of any size; and its ports.
pub const ECHO: u8 = 0;
/// First port of [`ECHO`].
pub const ECHO_PORT: u16 = 0xE0;
/// Region of the page flush.
pub const FLUSH: u8 = 1;
/// First port of [`FLUSH`].
pub const FLUSH_PORT: u16 = 0xE4;
/// Region of the same echo register, reached byte by byte.
pub const ECHO_BYTES: u8 = 2;
/// First port of [`ECHO_BYTES`].
pub const ECHO_BYTES_PORT: u16 = 0xE8;
/// Ports of each of the regions above.
pub const REGISTER_PORTS: u16 = 4;
/// Region of the interrupt lines: a port for each.
pub const LINES: u8 = 3;
/// Port of interrupt line 0.
pub const LINES_PORT: u16 = 0x2000;
/// Number of interrupt lines: one for each global system interrupt of the I/O APIC.
pub const LINE_COUNT: usize = 24;
/// Address of the memory that echoes.
pub const MEMORY_BASE: u64 = 0xFF00_0000;
/// Its length in bytes.
pub const MEMORY_LEN: u64 = 0x1_0000;

/// The wires to the board's interrupt lines, by global system interrupt.
pub type LineWires = [IrqLine; LINE_COUNT];

/// The PC test device. Four regions of ports and one of memory.
pub struct PcTestDevice {
    lines: LineWires,
    echo: [u8; 4],
    memory: Box<[u8]>,
}

/// Saved registers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PcTestDeviceState {
    echo: [u8; 4],
    memory: Vec<u8>,
}

impl PcTestDevice {
    /// A device that drives `lines`; register and memory are zero.
    pub fn new(lines: LineWires) -> Self {
        PcTestDevice { lines, echo: [0; 4], memory: vec![0; MEMORY_LEN as usize].into() }
    }

    /// The bytes of the echo register that an access names. The bus splits one that is not aligned.
    fn echo_bytes(&mut self, region: u8, offset: u16, size: u8) -> IoResult<&mut [u8]> {
        let (offset, size) = (usize::from(offset), usize::from(size));
        if region == ECHO_BYTES && size != 1 || !offset.is_multiple_of(size) {
            return Err(IoError::Size);
        }
        self.echo.get_mut(offset..offset + size).ok_or(IoError::UnknownRegister)
    }

    /// The echoing bytes that an access names. The bus splits one that runs off the end.
    fn memory_bytes(&mut self, offset: u64, size: u8) -> IoResult<&mut [u8]> {
        let start = usize::try_from(offset).map_err(|_| IoError::UnknownRegister)?;
        let end = start.checked_add(size.into()).ok_or(IoError::UnknownRegister)?;
        self.memory.get_mut(start..end).ok_or(IoError::Size)
    }
}

impl Device for PcTestDevice {
    fn name(&self) -> &'static str {
        "pc-testdev"
    }

    fn reset(&mut self) {
        self.echo.fill(0);
        self.memory.fill(0);
        self.lines.iter().for_each(|line| line.set(false));
    }
}

impl PortIo for PcTestDevice {
    fn port_read(&mut self, region: u8, offset: u16, size: u8) -> IoResult<u32> {
        match region {
            ECHO | ECHO_BYTES => {
                let bytes = self.echo_bytes(region, offset, size)?;
                Ok(bytes.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte)))
            }
            FLUSH | LINES => Err(IoError::Direction),
            _ => Err(IoError::UnknownRegister),
        }
    }

    fn port_write(&mut self, region: u8, offset: u16, size: u8, value: u32) -> IoResult {
        match (region, size) {
            (ECHO | ECHO_BYTES, _) => {
                let bytes = self.echo_bytes(region, offset, size)?;
                bytes.copy_from_slice(&value.to_le_bytes()[..bytes.len()]);
                Ok(())
            }
            (FLUSH, 4) => Ok(()),
            (LINES, 1) => {
                let line = self.lines.get(usize::from(offset)).ok_or(IoError::UnknownRegister)?;
                line.set(value & 0xFF != 0);
                Ok(())
            }
            (FLUSH | LINES, _) => Err(IoError::Size),
            _ => Err(IoError::UnknownRegister),
        }
    }
}

impl MmioIo for PcTestDevice {
    fn mmio_read(&mut self, _region: u8, offset: u64, size: u8) -> IoResult<u64> {
        let bytes = self.memory_bytes(offset, size)?;
        Ok(bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    fn mmio_write(&mut self, _region: u8, offset: u64, size: u8, value: u64) -> IoResult {
        let bytes = self.memory_bytes(offset, size)?;
        bytes.copy_from_slice(&value.to_le_bytes()[..bytes.len()]);
        Ok(())
    }
}

impl Snapshot for PcTestDevice {
    type State = PcTestDeviceState;
    type Args = LineWires;

    fn save(&self) -> PcTestDeviceState {
        let PcTestDevice { lines: _, echo, memory } = self;
        PcTestDeviceState { echo: *echo, memory: memory.to_vec() }
    }

    fn restore(lines: LineWires, state: PcTestDeviceState) -> Result<Self, String> {
        let PcTestDeviceState { echo, memory } = state;
        if memory.len() as u64 != MEMORY_LEN {
            return Err(format!("memory of {} bytes", memory.len()));
        }
        Ok(PcTestDevice { lines, echo, memory: memory.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{Probe, accesses, hammer};
    use emu_core::{bus::Bus, clock::VmClock};
    use parking_lot::Mutex;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn device(probe: &Arc<Probe>) -> PcTestDevice {
        PcTestDevice::new(std::array::from_fn(|line| probe.line(line as u32)))
    }

    fn bus(probe: &Arc<Probe>) -> Bus {
        let (bus, device) = (Bus::new(), Arc::new(Mutex::new(device(probe))));
        for (region, port) in [(ECHO, ECHO_PORT), (FLUSH, FLUSH_PORT), (ECHO_BYTES, ECHO_BYTES_PORT)] {
            bus.add_ports(device.clone(), region, port, REGISTER_PORTS).unwrap();
        }
        bus.add_ports(device.clone(), LINES, LINES_PORT, LINE_COUNT as u16).unwrap();
        bus.add_mmio(device, 0, MEMORY_BASE, MEMORY_LEN).unwrap();
        bus
    }

    #[test]
    fn both_echo_ranges_are_one_register() {
        let bus = bus(&Probe::new());
        bus.port_write(0xE0, 4, 0x1234_5678);
        bus.port_write(0xE9, 1, 0xAA);
        assert_eq!(bus.port_read(0xE0, 4), 0x1234_AA78);
        bus.port_write(0xEA, 2, 0xBBCC);
        assert_eq!((bus.port_read(0xE2, 2), bus.port_read(0xE8, 4)), (0xBBCC, 0xBBCC_AA78));
        bus.port_write(0xE1, 2, 0x0102);
        assert_eq!(bus.port_read(0xE8, 4), 0xBBCC_AA78 & 0xFF00_00FF | 0x0001_0200, "not aligned");
    }

    #[test]
    fn a_port_drives_its_line() {
        let probe = Probe::new();
        let bus = bus(&probe);
        bus.port_write(0x200E, 1, 1);
        assert!(probe.level(14) && !probe.level(15));
        bus.port_write(0x2017, 1, 0x80);
        bus.port_write(0x200E, 1, 0);
        assert!(probe.level(23) && !probe.level(14));
    }

    #[test]
    fn reset_lets_go_of_every_line() {
        let probe = Probe::new();
        let mut device = device(&probe);
        device.port_write(LINES, 5, 1, 1).unwrap();
        device.reset();
        assert!(!probe.level(5));
    }

    #[test]
    fn a_flushed_page_is_as_it_was() {
        let bus = bus(&Probe::new());
        bus.mmio_write(MEMORY_BASE, 8, 0x1122_3344_5566_7788);
        bus.port_write(0xE4, 4, MEMORY_BASE as u32);
        assert_eq!(bus.mmio_read(MEMORY_BASE, 8), 0x1122_3344_5566_7788);
        assert_eq!(bus.port_read(0xE4, 4), u32::MAX, "write-only");
    }

    #[test]
    fn memory_echoes_at_any_size_and_alignment_up_to_its_end() {
        let bus = bus(&Probe::new());
        bus.mmio_write(MEMORY_BASE + 0x103, 4, 0xDEAD_BEEF);
        assert_eq!(bus.mmio_read(MEMORY_BASE + 0x102, 8), 0xDE_ADBE_EF00);
        bus.mmio_write(MEMORY_BASE + MEMORY_LEN - 2, 4, 0x4433_2211);
        assert_eq!(bus.mmio_read(MEMORY_BASE + MEMORY_LEN - 2, 4), 0xFFFF_2211);
    }

    #[test]
    fn a_restored_device_goes_on() {
        let probe = Probe::new();
        let mut first = device(&probe);
        first.port_write(ECHO, 0, 4, 0xCAFE_F00D).unwrap();
        first.mmio_write(0, 7, 1, 9).unwrap();
        let lines = std::array::from_fn(|line| probe.line(line as u32));
        let mut second = PcTestDevice::restore(lines, first.save()).unwrap();
        assert_eq!((second.port_read(ECHO, 0, 4), second.mmio_read(0, 7, 1)), (Ok(0xCAFE_F00D), Ok(9)));
    }

    proptest! {
        #[test]
        fn no_access_panics(accesses in accesses()) {
            hammer(&mut device(&Probe::new()), &VmClock::counted(0), &accesses, |_, _| {});
        }
    }
}
