//! Tests through the ports and the memory window, as a guest sees the bus.

use super::*;
use crate::acpi::{PM_BASE, ResetControl, ResetKind};
use emu_core::bus::{Bus, Device, IrqLine, Snapshot};
use parking_lot::Mutex;
use proptest::prelude::*;
use rstest::rstest;
use std::sync::Arc;

/// A function with one BAR of each kind and two capabilities, and a log of what it was told.
struct Card {
    config: ConfigSpace,
    written: Vec<(u16, u8)>,
}

impl Card {
    fn new() -> Self {
        let mut config = ConfigSpace::express(&Identity {
            vendor: 0x1AF4,
            device: 0x1042,
            subsystem: (0x1AF4, 0x1100),
            revision: 1,
            class: 0x01_8000,
            multifunction: false,
        });
        config.add_bar(0, Bar { kind: BarKind::Io, size: 0x40 });
        config.add_bar(1, Bar { kind: BarKind::Memory32, size: 0x1000 });
        config.add_bar(4, Bar { kind: BarKind::Memory64 { prefetchable: true }, size: 1 << 33 });
        config.add_capability(0x11, &[0; 10], &[0, 0xC0, 0, 0, 0, 0, 0, 0, 0, 0]);
        config.add_capability(0x09, &[3], &[0]);
        config.set_interrupt_pin(1);
        Card { config, written: vec![] }
    }
}

impl Device for Card {
    fn name(&self) -> &'static str {
        "card"
    }
    fn reset(&mut self) {
        self.config.reset();
    }
}

impl PciFunction for Card {
    fn config(&self) -> &ConfigSpace {
        &self.config
    }
    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }
    fn config_written(&mut self, offset: u16, size: u8) {
        self.written.push((offset, size));
    }
}

struct Bench {
    bus: Bus,
    card: Arc<Mutex<Card>>,
    bridge: Arc<Mutex<HostBridge>>,
    lpc: Arc<Mutex<LpcBridge>>,
    resets: Arc<Mutex<Vec<ResetKind>>>,
    moves: Arc<Mutex<Vec<Option<u64>>>>,
}

fn lpc_wires(moves: &Arc<Mutex<Vec<Option<u64>>>>) -> LpcWires {
    let wires = PirqWires {
        io_apic: std::array::from_fn(|_| IrqLine::unconnected()),
        isa: std::array::from_fn(|_| IrqLine::unconnected()),
    };
    let moves = moves.clone();
    LpcWires {
        interrupts: Arc::new(PciInterrupts::new(wires)),
        pm_moved: Box::new(move |base| moves.lock().push(base.map(u64::from))),
    }
}

impl Bench {
    fn new() -> Self {
        let (resets, moves) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<Vec<_>>>::default());
        let (reset_log, move_log) = (resets.clone(), moves.clone());
        let ecam_moved =
            Box::new(move |window: Option<(u64, u64)>| move_log.lock().push(window.map(|w| w.0)));
        let card = Arc::new(Mutex::new(Card::new()));
        let bridge = Arc::new(Mutex::new(HostBridge::new(ecam_moved)));
        let lpc = Arc::new(Mutex::new(LpcBridge::new(lpc_wires(&moves))));
        let pci = Arc::new(PciBus::new());
        pci.add(HOST_BRIDGE, bridge.clone(), WindowTargets::default()).unwrap();
        pci.add(LPC_BRIDGE, lpc.clone(), WindowTargets::default()).unwrap();
        pci.add(FunctionAddress::new(0, 3, 0), card.clone(), WindowTargets::default()).unwrap();
        let reset = ResetControl::new(Box::new(move |kind| reset_log.lock().push(kind)));
        let ports = Arc::new(Mutex::new(ConfigPorts::new(pci.clone(), reset)));
        let bus = Bus::new();
        bus.add_ports(ports.clone(), 0, CONFIG_ADDRESS, CONFIG_PORTS_LEN).unwrap();
        bus.add_ports(ports, 1, CONFIG_DATA, CONFIG_PORTS_LEN).unwrap();
        bus.add_mmio(Arc::new(Mutex::new(Ecam::new(pci))), 0, ECAM_BASE, ECAM_LEN).unwrap();
        Bench { bus, card, bridge, lpc, resets, moves }
    }

    fn select(&self, device: u32, register: u32) {
        self.bus.port_write(0xCF8, 4, 1 << 31 | device << 11 | register);
    }

    fn read(&self, device: u32, register: u32) -> u32 {
        self.select(device, register);
        self.bus.port_read(0xCFC, 4)
    }

    fn write(&self, device: u32, register: u32, value: u32) {
        self.select(device, register);
        self.bus.port_write(0xCFC, 4, value);
    }
}

#[rstest]
#[case::host_bridge(0, 0x00, 0x29C0_8086)]
#[case::host_bridge_class(0, 0x08, 0x0600_0000)]
#[case::pciexbar(0, 0x60, 0xE000_0001)]
#[case::lpc(0x1F, 0x00, 0x2918_8086)]
#[case::lpc_class(0x1F, 0x08, 0x0601_0002)]
#[case::lpc_header(0x1F, 0x0C, 0x0080_0000)]
#[case::pmbase(0x1F, 0x40, 0x0000_0601)]
#[case::acpi_cntl(0x1F, 0x44, 0x0000_0080)]
#[case::pirq_rout(0x1F, 0x60, 0x8080_8080)]
#[case::rcba_disabled(0x1F, 0xF0, 0)]
#[case::card_pin(3, 0x3C, 0x0000_0100)]
#[case::card_subsystem(3, 0x2C, 0x1100_1AF4)]
#[case::nobody(4, 0x00, 0xFFFF_FFFF)]
fn registers_read_the_same_through_both_mechanisms(
    #[case] device: u32,
    #[case] register: u32,
    #[case] value: u32,
) {
    let bench = Bench::new();
    assert_eq!(bench.read(device, register), value);
    let address = ECAM_BASE | u64::from(device) << 15 | u64::from(register);
    assert_eq!(bench.bus.mmio_read(address, 4), u64::from(value));
}

#[test]
fn the_enable_bit_guards_the_data_port() {
    let bench = Bench::new();
    bench.bus.port_write(0xCF8, 4, 0);
    assert_eq!(bench.bus.port_read(0xCFC, 4), 0xFFFF_FFFF);
    assert_eq!(bench.bus.port_read(0xCF8, 4), 0);
    bench.bus.port_write(0xCF8, 4, 0xFFFF_FFFF);
    assert_eq!(bench.bus.port_read(0xCF8, 4), 0x80FF_FFFC);
}

#[test]
fn narrow_data_accesses_pick_their_bytes_and_wide_ones_do_not_leave_the_register() {
    let bench = Bench::new();
    bench.select(0, 0);
    assert_eq!(bench.bus.port_read(0xCFE, 2), 0x29C0);
    assert_eq!(bench.bus.port_read(0xCFD, 1), 0x80);
    assert_eq!(bench.bus.port_read(0xCFE, 4), 0xFFFF_29C0);
    bench.select(3, 0x3C);
    bench.bus.port_write(0xCFC, 1, 0x0B);
    assert_eq!(bench.bus.port_read(0xCFC, 2), 0x010B);
    assert_eq!(bench.card.lock().written, [(0x3C, 1)]);
}

#[test]
fn port_cf9_resets_and_leaves_the_address_alone() {
    let bench = Bench::new();
    bench.select(3, 0x10);
    bench.bus.port_write(0xCF9, 1, 0x02);
    bench.bus.port_write(0xCF9, 1, 0x06);
    assert_eq!(bench.resets.lock().as_slice(), [ResetKind::Hard]);
    assert_eq!((bench.bus.port_read(0xCF9, 1), bench.bus.port_read(0xCF8, 4)), (6, 0x8000_1810));
}

#[rstest]
#[case::io(0x10, 0xFFFF_FFC1)]
#[case::memory(0x14, 0xFFFF_F000)]
#[case::absent(0x18, 0)]
#[case::memory_64_low(0x20, 0x0000_000C)]
#[case::memory_64_high(0x24, 0xFFFF_FFFE)]
#[case::no_rom(0x30, 0)]
fn bars_show_their_size(#[case] register: u32, #[case] mask: u32) {
    let bench = Bench::new();
    bench.write(3, register, 0xFFFF_FFFF);
    assert_eq!(bench.read(3, register), mask);
}

#[test]
fn bars_map_while_the_command_register_lets_them() {
    let bench = Bench::new();
    bench.write(3, 0x10, 0xC001);
    bench.write(3, 0x20, 0);
    bench.write(3, 0x24, 0x10);
    assert_eq!(bench.card.lock().config.bar(0), None);
    bench.write(3, 0x04, 0x0003);
    let card = bench.card.lock();
    assert_eq!(card.config.bar(0), Some(BarWindow { kind: BarKind::Io, base: 0xC000, size: 0x40 }));
    assert_eq!(card.config.bar(4).map(|window| window.base), Some(0x10_0000_0000));
    assert_eq!((card.config.bar(2), card.config.bar(9)), (None, None));
}

#[test]
fn capabilities_form_a_list() {
    let bench = Bench::new();
    assert_eq!(bench.read(3, 0x04) >> 16 & 0x10, 0x10);
    assert_eq!(bench.read(3, 0x34), 0x40);
    assert_eq!(bench.read(3, 0x40), 0x0000_4C11);
    assert_eq!(bench.read(3, 0x4C), 0x0003_0009);
    bench.write(3, 0x40, 0xFFFF_FFFF);
    assert_eq!(bench.read(3, 0x40), 0xC000_4C11);
    assert_eq!(bench.read(0, 0x34), 0);
}

#[test]
fn status_errors_are_cleared_by_writing_one() {
    let mut config = Card::new().config;
    config.set(reg::STATUS, 2, 0xF910);
    config.write(reg::STATUS as u16, 2, 0x8010);
    assert_eq!(config.get(reg::STATUS, 2), 0x7910);
}

#[test]
fn extended_space_is_there_for_express_functions_only() {
    let bench = Bench::new();
    assert_eq!(bench.bus.mmio_read(ECAM_BASE | 3 << 15 | 0x100, 4), 0);
    assert_eq!(bench.bus.mmio_read(ECAM_BASE | 0x1F << 15 | 0x100, 4), 0xFFFF_FFFF);
    assert_eq!(bench.bus.mmio_read(ECAM_BASE, 8), 0x0000_0000_29C0_8086);
}

#[test]
fn moving_the_windows_is_reported() {
    let bench = Bench::new();
    bench.write(0, 0x60, 0xB000_0003);
    bench.write(0, 0x60, 0);
    bench.write(0x1F, 0x40, 0xB000);
    bench.write(0x1F, 0x44, 0);
    assert_eq!(bench.moves.lock().as_slice(), [Some(0xB000_0000), None, Some(0xB000), None]);
    bench.bridge.lock().reset();
    bench.lpc.lock().reset();
    assert_eq!(bench.bridge.lock().ecam(), Some((ECAM_BASE, ECAM_LEN)));
    assert_eq!(bench.lpc.lock().pm_base(), Some(PM_BASE));
}

#[test]
fn an_address_is_taken_once() {
    let pci = PciBus::new();
    pci.add(HOST_BRIDGE, Arc::new(Mutex::new(Card::new())), WindowTargets::default()).unwrap();
    let error =
        pci.add(HOST_BRIDGE, Arc::new(Mutex::new(Card::new())), WindowTargets::default()).unwrap_err();
    assert_eq!(error.to_string(), "PCI function 00:00.0 is already card");
}

#[test]
fn snapshots_round_trip_and_refuse_another_device() {
    let bench = Bench::new();
    bench.write(0x1F, 0x60, 0x0B0A_0505);
    let lpc = bench.lpc.lock().save();
    let restored = LpcBridge::restore(lpc_wires(&bench.moves), lpc.clone()).unwrap();
    assert_eq!(restored.save(), lpc);
    assert_eq!(restored.config().read(0x60, 4), 0x0B0A_0505);
    assert!(HostBridge::restore(Box::new(|_| {}), lpc).is_err());
}

proptest! {
    #[test]
    fn no_access_panics(accesses in prop::collection::vec((0u8..4, any::<u32>(), 0u8..4, any::<u32>()), 1..200)) {
        let bench = Bench::new();
        for (kind, address, size, value) in accesses {
            let (port, size) = (0xCF8 + (address & 7) as u16, 1 << size);
            // Half of the accesses at functions that exist.
            let device = [0, 3, 0x1F, address >> 15 & 0x1F][(value >> 30) as usize];
            let ecam = ECAM_BASE | u64::from(device << 15 | address & 0xFFF);
            match kind {
                0 if size < 8 => { bench.bus.port_read(port, size); }
                1 if size < 8 => {
                    bench.select(device, address & 0xFF);
                    bench.bus.port_write(port, size, value);
                }
                2 => { bench.bus.mmio_read(ecam, size); }
                _ => bench.bus.mmio_write(ecam, size, value.into()),
            }
            for index in 0..6 {
                bench.card.lock().config.bar(index);
            }
        }
    }
}
