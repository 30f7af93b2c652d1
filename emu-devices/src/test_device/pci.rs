//! pci-testdev: a PCI function that counts writes. QEMU, docs/specs/pci-testdev; hw/misc/pci-testdev.c for the
//! numbers.
//!
//! BAR 0 is memory, BAR 1 ports. Each begins with the header of the test that was started last through either: a
//! guest writes a test's number to its first byte, reads where to write what, writes, and reads the count.
//!
//! Three tests for each BAR. The second and third are for an event notifier that takes matching writes before the
//! device sees them; nobody waits for such an event here, so those writes end nowhere and are not counted, which
//! is what a guest sees in QEMU too. The optional BAR 2 is left out.

use crate::pci::{Bar, BarKind, ConfigSpace, ConfigState, Identity, PciFunction};
use emu_core::bus::{Device, IoError, IoResult, MmioIo, PortIo, Snapshot};
use serde::{Deserialize, Serialize};

/// BAR and region of the memory.
pub const MEMORY_BAR: u8 = 0;
/// BAR and region of the ports.
pub const PORT_BAR: u8 = 1;
/// Bytes of the memory BAR.
pub const MEMORY_LEN: u64 = 4096;
/// Ports of the port BAR.
pub const PORTS: u16 = 256;

/// Offset of the test number in the header.
const TEST: u64 = 0;
/// The header without the test's name: test, width, two bytes of padding, offset, data, count.
const HEADER: usize = 16;
/// Tests of each BAR.
const TESTS: u8 = 3;
/// The only test whose writes the device itself sees.
const NO_EVENTFD: u8 = 0;
const WILDCARD_EVENTFD: u8 = 1;
/// Width of the writes that count.
const WIDTH: u8 = 1;
/// What the guest is to write.
const DATA: u8 = 0xFA;
/// What it is to write where any value matches.
const ANY_DATA: u8 = 0xCE;

/// A test that was started, and how many writes it has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Running {
    /// The BAR by whose writes it counts.
    bar: u8,
    test: u8,
    count: u32,
}

impl Running {
    /// Where in its BAR the counted writes go: beyond the header's half, a byte for each test of the device.
    fn offset(self) -> u32 {
        let half = if self.bar == MEMORY_BAR { MEMORY_LEN as u32 / 2 } else { u32::from(PORTS) / 2 };
        half + u32::from(self.number())
    }

    /// The test's number among those of both BARs.
    fn number(self) -> u8 {
        self.bar * TESTS + self.test
    }

    fn data(self) -> u8 {
        if self.test == WILDCARD_EVENTFD { ANY_DATA } else { DATA }
    }

    fn name(self) -> String {
        let space = if self.bar == MEMORY_BAR { "mmio" } else { "portio" };
        let notifier = ["no", "wildcard", "datamatch"][usize::from(self.test % TESTS)];
        format!("{space}-{notifier}-eventfd")
    }

    /// The header as the guest reads it, with the name and its final zero.
    fn header(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + 32);
        bytes.extend_from_slice(&[self.number(), WIDTH, 0, 0]);
        for field in [self.offset(), self.data().into(), self.count] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        bytes.extend_from_slice(self.name().as_bytes());
        bytes.push(0);
        bytes
    }
}

/// The PCI test device, 1b36:0005.
pub struct PciTestDevice {
    config: ConfigSpace,
    running: Option<Running>,
}

/// Saved registers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PciTestDeviceState {
    config: ConfigState,
    running: Option<Running>,
}

impl Default for PciTestDevice {
    fn default() -> Self {
        Self::new()
    }
}

impl PciTestDevice {
    /// A device that runs no test and decodes nothing yet.
    pub fn new() -> Self {
        let mut config = ConfigSpace::conventional(&Identity {
            vendor: 0x1B36,
            device: 0x0005,
            subsystem: (0x1AF4, 0x1100),
            revision: 0,
            class: 0x00_FF00,
            multifunction: false,
        });
        config.add_bar(MEMORY_BAR.into(), Bar { kind: BarKind::Memory32, size: MEMORY_LEN });
        config.add_bar(PORT_BAR.into(), Bar { kind: BarKind::Io, size: PORTS.into() });
        PciTestDevice { config, running: None }
    }

    /// A byte of the header; zero behind it, and while no test runs.
    fn read(&self, offset: u64, size: u8) -> IoResult<u8> {
        if size != 1 {
            return Err(IoError::Size);
        }
        let header = self.running.map(Running::header).unwrap_or_default();
        Ok(usize::try_from(offset).ok().and_then(|offset| header.get(offset).copied()).unwrap_or(0))
    }

    fn write(&mut self, bar: u8, offset: u64, size: u8, value: u8) -> IoResult {
        if size != 1 {
            return Err(IoError::Size);
        }
        if offset == TEST {
            self.running = (value < TESTS).then_some(Running { bar, test: value, count: 0 });
        } else if let Some(running) = &mut self.running
            && running.test == NO_EVENTFD
            && offset == u64::from(running.offset())
            && value == running.data()
        {
            running.count = running.count.wrapping_add(1);
        }
        Ok(())
    }
}

impl Device for PciTestDevice {
    fn name(&self) -> &'static str {
        "pci-testdev"
    }

    fn reset(&mut self) {
        self.config.reset();
        self.running = None;
    }
}

impl PciFunction for PciTestDevice {
    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }

    fn config_written(&mut self, _offset: u16, _size: u8) {}
}

impl MmioIo for PciTestDevice {
    fn mmio_read(&mut self, _region: u8, offset: u64, size: u8) -> IoResult<u64> {
        self.read(offset, size).map(u64::from)
    }

    fn mmio_write(&mut self, _region: u8, offset: u64, size: u8, value: u64) -> IoResult {
        self.write(MEMORY_BAR, offset, size, value as u8)
    }
}

impl PortIo for PciTestDevice {
    fn port_read(&mut self, _region: u8, offset: u16, size: u8) -> IoResult<u32> {
        self.read(offset.into(), size).map(u32::from)
    }

    fn port_write(&mut self, _region: u8, offset: u16, size: u8, value: u32) -> IoResult {
        self.write(PORT_BAR, offset.into(), size, value as u8)
    }
}

impl Snapshot for PciTestDevice {
    type State = PciTestDeviceState;
    type Args = ();

    fn save(&self) -> PciTestDeviceState {
        let PciTestDevice { config, running } = self;
        PciTestDeviceState { config: config.save(), running: *running }
    }

    fn restore((): (), state: PciTestDeviceState) -> Result<Self, String> {
        let PciTestDeviceState { config: saved, running } = state;
        if let Some(Running { bar, test, count: _ }) = running
            && (bar > PORT_BAR || test >= TESTS)
        {
            return Err(format!("test {test} of BAR {bar}"));
        }
        let PciTestDevice { config, running: _ } = PciTestDevice::new();
        Ok(PciTestDevice { config: config.with_state(saved)?, running })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{accesses, hammer};
    use emu_core::{bus::Bus, clock::VmClock};
    use parking_lot::Mutex;
    use proptest::prelude::*;
    use rstest::rstest;
    use std::sync::Arc;

    const BASE: u64 = 0xC000_0000;
    const BASE_PORT: u16 = 0xC000;

    fn bus() -> Bus {
        let (bus, device) = (Bus::new(), Arc::new(Mutex::new(PciTestDevice::new())));
        bus.add_mmio(device.clone(), MEMORY_BAR, BASE, MEMORY_LEN).unwrap();
        bus.add_ports(device, PORT_BAR, BASE_PORT, PORTS).unwrap();
        bus
    }

    /// Runs test `number` with 16 writes of what its header says; returns its name and count.
    fn run_in_memory(bus: &Bus, number: u64) -> (String, u64) {
        bus.mmio_write(BASE, 1, number);
        assert_eq!((bus.mmio_read(BASE + 1, 1), bus.mmio_read(BASE + 12, 4)), (1, 0));
        let (offset, data) = (bus.mmio_read(BASE + 4, 4), bus.mmio_read(BASE + 8, 4));
        for _ in 0..16 {
            bus.mmio_write(BASE + offset, 1, data);
        }
        let name = (0..).map(|at| bus.mmio_read(BASE + 16 + at, 1) as u8).take_while(|&byte| byte != 0);
        (String::from_utf8(name.collect()).unwrap(), bus.mmio_read(BASE + 12, 4))
    }

    #[rstest]
    #[case(0, "mmio-no-eventfd", 16)]
    #[case(1, "mmio-wildcard-eventfd", 0)]
    #[case(2, "mmio-datamatch-eventfd", 0)]
    fn a_test_counts_what_no_event_takes(#[case] number: u64, #[case] name: &str, #[case] count: u64) {
        assert_eq!(run_in_memory(&bus(), number), (name.to_owned(), count));
    }

    #[test]
    fn ports_have_tests_of_their_own() {
        let bus = bus();
        bus.port_write(BASE_PORT, 1, 0);
        assert_eq!((bus.port_read(BASE_PORT, 1), bus.port_read(BASE_PORT + 4, 4)), (3, 128 + 3));
        bus.port_write(BASE_PORT + 131, 1, 0xFA);
        bus.port_write(BASE_PORT + 131, 1, 0xFB);
        assert_eq!(bus.port_read(BASE_PORT + 12, 4), 1, "only the right data counts");
    }

    #[test]
    fn an_unknown_test_ends_the_scan() {
        let bus = bus();
        bus.mmio_write(BASE, 1, 0);
        bus.mmio_write(BASE, 1, 3);
        assert_eq!((bus.mmio_read(BASE + 1, 1), bus.mmio_read(BASE + 4, 4)), (0, 0));
    }

    #[test]
    fn a_restored_device_runs_the_same_test() {
        let mut device = PciTestDevice::new();
        device.mmio_write(MEMORY_BAR, 0, 1, 2).unwrap();
        let copy = PciTestDevice::restore((), device.save()).unwrap();
        assert_eq!(copy.save(), device.save());
        device.reset();
        assert_ne!(copy.save(), device.save());
    }

    proptest! {
        #[test]
        fn no_access_panics(accesses in accesses()) {
            hammer(&mut PciTestDevice::new(), &VmClock::counted(0), &accesses, |_, _| {});
        }
    }
}
