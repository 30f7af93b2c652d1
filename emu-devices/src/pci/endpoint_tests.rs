//! Interrupts and windows of an endpoint, as its guest programs them.

use super::*;
use crate::probe::Probe;
use emu_core::{
    bus::{Bus, Device, IoResult, MmioIo, MsiSink, PortIo},
    memory::{Dma, GuestMemory, PhysicalMemory},
};
use parking_lot::Mutex;
use proptest::prelude::*;
use std::sync::Arc;

/// The messages that were sent.
#[derive(Default)]
struct Messages(Mutex<Vec<(u64, u32)>>);

impl MsiSink for Messages {
    fn send_msi(&self, address: u64, data: u32) {
        self.0.lock().push((address, data));
    }
}

/// A controller with four registers in memory and four ports, and interrupts of all three kinds.
struct Controller {
    endpoint: Endpoint,
    registers: [u8; 4],
}

impl Device for Controller {
    fn name(&self) -> &'static str {
        "controller"
    }
    fn reset(&mut self) {
        self.endpoint.reset();
    }
}

impl PciFunction for Controller {
    fn config(&self) -> &ConfigSpace {
        self.endpoint.config()
    }
    fn config_mut(&mut self) -> &mut ConfigSpace {
        self.endpoint.config_mut()
    }
    fn config_written(&mut self, _: u16, _: u8) {
        self.endpoint.config_written();
    }
}

impl MmioIo for Controller {
    fn mmio_read(&mut self, region: u8, offset: u64, size: u8) -> IoResult<u64> {
        let answer = self.endpoint.mmio_read(region, offset, size);
        answer.unwrap_or_else(|| Ok(u64::from(region) << 8 | u64::from(self.registers[offset as usize % 4])))
    }
    fn mmio_write(&mut self, region: u8, offset: u64, size: u8, value: u64) -> IoResult {
        self.endpoint.mmio_write(region, offset, size, value).unwrap_or_else(|| {
            self.registers[offset as usize % 4] = value as u8;
            Ok(())
        })
    }
}

impl PortIo for Controller {
    fn port_read(&mut self, region: u8, offset: u16, _: u8) -> IoResult<u32> {
        Ok(u32::from(region) << 8 | u32::from(self.registers[usize::from(offset) % 4]))
    }
    fn port_write(&mut self, _: u8, _: u16, _: u8, _: u32) -> IoResult {
        Ok(())
    }
}

/// Capabilities, in the order in which they are added.
const MSI: u16 = 0x7C;
const MSIX: u16 = 0x94;
const TABLE: u64 = 0x800;
const PENDING: u64 = 0xC00;
const VECTORS: u16 = 33;
const CARD: FunctionAddress = FunctionAddress::new(0, 3, 0);
const PORTS: u8 = 0;
const MEMORY: u8 = 4;

struct Bench {
    bus: Bus,
    pci: PciBus,
    card: Arc<Mutex<Controller>>,
    messages: Arc<Messages>,
    wire: Arc<Probe>,
}

fn endpoint(messages: &Arc<Messages>, wire: &Arc<Probe>) -> Endpoint {
    let memory = Arc::new(PhysicalMemory::new(GuestMemory::new(1 << 20).unwrap()));
    let wires = PciWires { intx: wire.line(0), msi: messages.clone(), dma: Dma::new(memory) };
    let identity = Identity {
        vendor: 0x1B36,
        device: 0x0010,
        subsystem: (0x1AF4, 0x1100),
        revision: 0,
        class: 0x01_0802,
        multifunction: false,
    };
    let mut endpoint = Endpoint::express(&identity, wires);
    endpoint.add_msi(2);
    endpoint.add_msix(MsixLayout { vectors: VECTORS, bar: MEMORY, table: 0x800, pending: 0xC00 });
    endpoint.add_power_management();
    endpoint.add_bar(PORTS, Bar { kind: BarKind::Io, size: 16 });
    endpoint.add_bar(MEMORY, Bar { kind: BarKind::Memory64 { prefetchable: true }, size: 0x1000 });
    endpoint
}

impl Bench {
    fn new() -> Self {
        let (messages, wire) = (Arc::<Messages>::default(), Probe::new());
        let card = Controller { endpoint: endpoint(&messages, &wire), registers: [1, 2, 3, 4] };
        let (card, pci) = (Arc::new(Mutex::new(card)), PciBus::new());
        pci.add(CARD, card.clone(), WindowTargets::both(card.clone())).unwrap();
        Bench { bus: Bus::new(), pci, card, messages, wire }
    }

    /// With windows at 0xC000 and 0xD0000000, and the command register at `command`.
    fn decoding(command: u32) -> Self {
        let bench = Bench::new();
        for (offset, value) in [(0x10, 0xC000), (0x20, 0xD000_0000), (0x24, 0), (0x04, command)] {
            bench.write(offset, 4, value);
        }
        bench
    }

    fn write(&self, offset: u16, size: u8, value: u32) {
        self.pci.config_write(CARD, offset, size, value);
        self.pci.map_windows(&self.bus);
    }

    fn read(&self, offset: u16, size: u8) -> u32 {
        self.pci.config_read(CARD, offset, size)
    }

    /// Gives vector `number` an address and data, unmasked.
    fn program(&self, number: u64) {
        for (word, value) in [0xFEE0_0000, 0, 0x40 + number, 0].into_iter().enumerate() {
            self.bus.mmio_write(0xD000_0000 + TABLE + 16 * number + 4 * word as u64, 4, value);
        }
    }

    fn pending(&self) -> u64 {
        self.bus.mmio_read(0xD000_0000 + PENDING, 8)
    }

    fn sent(&self) -> Vec<u32> {
        self.messages
            .0
            .lock()
            .drain(..)
            .map(|(address, data)| {
                assert_eq!(address, 0xFEE0_0000);
                data
            })
            .collect()
    }
}

#[test]
fn windows_follow_base_address_and_command_register() {
    let bench = Bench::decoding(0b11);
    assert_eq!((bench.bus.port_read(0xC001, 1), bench.bus.mmio_read(0xD000_0002, 1)), (2, 3));
    assert_eq!(bench.bus.mmio_read(0xD000_0002, 2), 0x403, "the region is the register's number");

    bench.write(0x24, 4, 0x12);
    assert_eq!(bench.bus.mmio_read(0xD000_0002, 1), 0xFF);
    assert_eq!(bench.bus.mmio_read(0x12_D000_0002, 1), 3);

    bench.write(0x04, 2, 0b10);
    assert_eq!(bench.bus.port_read(0xC001, 1), 0xFF, "ports are not decoded any more");
    bench.card.lock().reset();
    bench.pci.windows_may_have_moved();
    bench.pci.map_windows(&bench.bus);
    assert_eq!(bench.bus.mmio_read(0x12_D000_0002, 1), 0xFF);
}

#[test]
fn windows_that_no_processor_reaches_are_nowhere() {
    let bench = Bench::decoding(0b11);
    bench.write(0x10, 4, 0x1_C001);
    bench.write(0x20, 4, u32::MAX);
    bench.write(0x24, 4, u32::MAX);
    assert_eq!(bench.bus.port_read(0xC001, 1), 0xFF);
    assert_eq!(bench.bus.mmio_read(u64::MAX - 0xFFF, 1), 0xFF);
}

#[test]
fn a_window_waits_until_its_place_is_free() {
    let bench = Bench::decoding(0b11);
    let second = Controller { endpoint: endpoint(&bench.messages, &bench.wire), registers: [9; 4] };
    let (second, at) = (Arc::new(Mutex::new(second)), FunctionAddress::new(0, 4, 0));
    bench.pci.add(at, second.clone(), WindowTargets::memory(second)).unwrap();
    bench.pci.config_write(at, 0x20, 4, 0xD000_0000);
    bench.pci.config_write(at, 0x04, 2, 0b11);
    bench.pci.map_windows(&bench.bus);
    assert_eq!(bench.bus.mmio_read(0xD000_0000, 1), 1, "first come, first served");

    bench.write(0x20, 4, 0xD001_0000);
    assert_eq!((bench.bus.mmio_read(0xD000_0000, 1), bench.bus.mmio_read(0xD001_0000, 1)), (9, 1));
}

#[test]
fn the_wire_follows_the_request_unless_it_is_switched_off() {
    let bench = Bench::decoding(0b111);
    bench.card.lock().endpoint.set_interrupt(true);
    assert!(bench.wire.level(0));
    assert_eq!(bench.read(0x06, 2) & 1 << 3, 1 << 3, "interrupt status");
    bench.write(0x04, 2, 1 << 10 | 0b111);
    assert!(!bench.wire.level(0));
    assert_eq!(bench.read(0x06, 2) & 1 << 3, 1 << 3, "the request is still there");
    bench.write(0x04, 2, 0b111);
    assert!(bench.wire.level(0));
    bench.card.lock().endpoint.set_interrupt(false);
    assert!(!bench.wire.level(0));
    assert_eq!(bench.read(0x06, 2) & 1 << 3, 0);
}

#[test]
fn an_interrupt_with_a_level_is_one_message_where_the_guest_wants_messages() {
    let bench = Bench::decoding(0b111);
    for (offset, value) in [(4, 0xFEE0_0000), (12, 0x31), (2, 1)] {
        bench.write(MSI + offset, if offset == 2 { 2 } else { 4 }, value);
    }
    for level in [true, true, false, true] {
        bench.card.lock().endpoint.set_interrupt(level);
    }
    assert_eq!((bench.sent(), bench.wire.rises(0)), (vec![0x31, 0x31], 0));
}

#[test]
fn msi_replaces_the_low_bits_of_the_data_by_the_vector() {
    let bench = Bench::decoding(0b111);
    for (offset, size, value) in [(4, 4, 0xFEE0_0000), (12, 2, 0x47), (2, 2, 2 << 4 | 1)] {
        bench.write(MSI + offset, size, value);
    }
    for vector in 0..6 {
        bench.card.lock().endpoint.send(vector);
    }
    assert_eq!(bench.sent(), [0x44, 0x45, 0x46, 0x47, 0x44, 0x45]);
}

#[test]
fn masked_msi_vectors_are_pending_until_they_are_not_masked() {
    let bench = Bench::decoding(0b111);
    for (offset, size, value) in [(4, 4, 0xFEE0_0000), (12, 2, 0x40), (16, 4, 0b10), (2, 2, 2 << 4 | 1)] {
        bench.write(MSI + offset, size, value);
    }
    bench.card.lock().endpoint.send(1);
    bench.card.lock().endpoint.send(1);
    assert_eq!((bench.sent(), bench.read(MSI + 20, 4)), (vec![], 0b10));
    bench.write(MSI + 16, 4, 0);
    assert_eq!((bench.sent(), bench.read(MSI + 20, 4)), (vec![0x41], 0));
}

#[test]
fn msix_holds_back_what_is_masked_or_may_not_be_sent() {
    let bench = Bench::decoding(0b111);
    assert_eq!(bench.bus.mmio_read(0xD000_0000 + TABLE + 12, 4), 1, "masked at power-on");
    bench.program(0);
    bench.program(32);
    bench.write(MSIX + 2, 2, 0xC000);
    let send = |vector| bench.card.lock().endpoint.send(vector);
    send(0);
    send(32);
    send(1);
    send(VECTORS);
    assert_eq!((bench.sent(), bench.pending()), (vec![], 1 << 32 | 0b11), "all are masked");
    bench.write(MSIX + 2, 2, 0x8000);
    assert_eq!((bench.sent(), bench.pending()), (vec![0x40, 0x60], 0b10));
    bench.program(1);
    assert_eq!((bench.sent(), bench.pending()), (vec![0x41], 0));

    bench.write(0x04, 2, 0b011);
    assert!(bench.card.lock().endpoint.dma().is_none());
    send(0);
    assert_eq!(bench.sent(), Vec::<u32>::new(), "no bus master");
    bench.write(0x04, 2, 0b111);
    assert_eq!(bench.sent(), [0x40]);
}

#[test]
fn messages_and_the_wire_exclude_each_other() {
    let bench = Bench::decoding(0b111);
    bench.card.lock().endpoint.set_interrupt(true);
    bench.card.lock().endpoint.send(0);
    bench.write(MSIX + 2, 2, 0x8000);
    assert_eq!((bench.wire.level(0), bench.sent()), (false, vec![]));
    bench.write(MSIX + 2, 2, 0);
    assert!(bench.wire.level(0));
}

#[test]
fn where_no_function_is_lines_float_in_the_width_of_the_access() {
    let bench = Bench::new();
    let reads = [1, 2, 4].map(|size| bench.pci.config_read(FunctionAddress::new(0, 9, 0), 0, size));
    assert_eq!(reads, [0xFF, 0xFFFF, 0xFFFF_FFFF]);
}

#[test]
fn capabilities_say_what_the_function_is() {
    let bench = Bench::new();
    assert_eq!(bench.read(0x34, 1), 0x40);
    let heads: Vec<u32> = [0x40, MSI, MSIX, 0xA0].map(|at| bench.read(at, 4)).to_vec();
    assert_eq!(heads, [0x0092_7C10, 0x0184_9405, 0x0020_A011, 0x0003_0001]);
    assert_eq!((bench.read(MSIX + 4, 4), bench.read(MSIX + 8, 4)), (0x804, 0xC04));
}

#[test]
fn a_restored_endpoint_drives_its_wire_and_has_its_vectors() {
    let bench = Bench::decoding(0b111);
    bench.program(5);
    bench.card.lock().endpoint.set_interrupt(true);
    let state = bench.card.lock().endpoint.save();
    let (messages, wire) = (Arc::<Messages>::default(), Probe::new());
    let mut restored = endpoint(&messages, &wire).with_state(state.clone()).unwrap();
    assert_eq!((restored.save() == state, wire.level(0)), (true, true));
    restored.config_mut().write(MSIX + 2, 2, 0x8000);
    restored.send(5);
    assert_eq!(*messages.0.lock(), [(0xFEE0_0000, 0x45)]);
}

proptest! {
    #[test]
    fn no_access_panics(accesses in prop::collection::vec((0u8..5, any::<u16>(), 0u8..4, any::<u32>()), 1..200)) {
        let bench = Bench::decoding(0b111);
        for (kind, offset, size, value) in accesses {
            match kind {
                0 => bench.write(offset & 0xFF, 1 << (size % 3), value),
                1 => _ = bench.bus.mmio_read(0xD000_0000 + u64::from(offset & 0xFFF), 1 << size),
                2 => bench.bus.mmio_write(0xD000_0000 + u64::from(offset & 0xFFF), 1 << size, value.into()),
                3 => bench.card.lock().endpoint.send(offset),
                _ => bench.card.lock().endpoint.set_interrupt(value & 1 != 0),
            }
        }
        // Whatever it was, it can be saved and restored.
        let state = bench.card.lock().endpoint.save();
        let restored = endpoint(&bench.messages, &bench.wire).with_state(state.clone()).unwrap();
        prop_assert_eq!(restored.save(), state);
    }
}
