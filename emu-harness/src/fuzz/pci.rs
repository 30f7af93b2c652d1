//! PCI configuration space by both mechanisms, and windows that move: over each other, over the configuration space's
//! own window, beyond the end of memory. Whatever a guest writes, functions stay what they are, sizes can be found out as
//! ever, and windows that are put somewhere sensible answer there and nowhere else.

use super::{
    cards::Network,
    devices::{Input, RAM, wires},
    virtio::Silence,
};
use emu_core::{
    bus::{Bus, IrqLine},
    memory::{Dma, GuestMemory, PhysicalMemory},
};
use emu_devices::{
    acpi::ResetControl,
    network::{CardWires, e1000::E1000},
    pci::{
        CONFIG_ADDRESS, CONFIG_DATA, CONFIG_PORTS_LEN, ConfigPorts, ECAM_BASE, ECAM_LEN, Ecam,
        FunctionAddress, HOST_BRIDGE, HostBridge, LPC_BRIDGE, LpcBridge, LpcWires, PciBus, PciFunction,
        PciInterrupts, PirqWires, WindowTargets,
    },
    test_device::pci::PciTestDevice,
    virtio::{Entropy, VirtioPci},
};
use parking_lot::Mutex;
use std::{array, sync::Arc};

const TEST: FunctionAddress = FunctionAddress::new(0, 1, 0);
const VIRTIO: FunctionAddress = FunctionAddress::new(0, 2, 0);
const CARD: FunctionAddress = FunctionAddress::new(0, 2, 3);
/// All that there are, and one that is not.
const FUNCTIONS: [FunctionAddress; 6] = [HOST_BRIDGE, TEST, VIRTIO, CARD, LPC_BRIDGE, NOBODY];
const NOBODY: FunctionAddress = FunctionAddress::new(3, 4, 5);
/// The same, as in addresses of configuration space.
const NUMBERS: [u32; 6] = [0, 1 << 3, 2 << 3, 2 << 3 | 3, 0x1F << 3, 3 << 8 | 4 << 3 | 5];
/// Registers.
const COMMAND: u16 = 0x04;
const BAR0: u16 = 0x10;
const BARS: u16 = 6;
const CAPABILITIES: u16 = 0x34;
/// I/O and memory windows, and bus mastering.
const ALL_ON: u32 = 0b111;
/// Where windows are in the end.
const PLACE: u32 = 0xC000_0000;
const PORTS: u32 = 0x4000;
/// Base addresses that guests try.
const BASES: [u32; 12] = [
    0,
    u32::MAX,
    PLACE,
    PLACE + 0x1000,
    ECAM_BASE as u32,
    0xFEE0_0000,
    0xFFFF_F000,
    0x10,
    0xCF8,
    0xFFF0,
    0xFFFF_FF00,
    1,
];
const STEPS: usize = 256;

/// Where the configuration space's window is, and where it is to be.
type Window = Option<(u64, u64)>;

struct Machine {
    bus: Bus,
    pci: Arc<PciBus>,
    functions: Vec<Arc<Mutex<dyn PciFunction>>>,
    ecam: Arc<Mutex<Ecam>>,
    now: Window,
    wanted: Arc<Mutex<Window>>,
}

impl Machine {
    fn new() -> Self {
        let pci = Arc::new(PciBus::new());
        let wanted = Arc::new(Mutex::new(Some((ECAM_BASE, ECAM_LEN))));
        let ecam = Arc::new(Mutex::new(Ecam::new(pci.clone())));
        let mut machine = Machine { bus: Bus::new(), pci, functions: Vec::new(), ecam, now: None, wanted };
        let reset = ResetControl::new(Box::new(|_| {}));
        let ports = Arc::new(Mutex::new(ConfigPorts::new(machine.pci.clone(), reset)));
        for (region, port) in [(0, CONFIG_ADDRESS), (1, CONFIG_DATA)] {
            let added = machine.bus.add_ports(ports.clone(), region, port, CONFIG_PORTS_LEN);
            assert!(added.is_ok(), "the bus is empty");
        }
        machine.add_functions();
        machine.apply();
        machine
    }

    fn add_functions(&mut self) {
        let dma = Dma::new(Arc::new(PhysicalMemory::new(GuestMemory::new(RAM).expect("a MiB of memory"))));
        let wanted = self.wanted.clone();
        let bridge = HostBridge::new(Box::new(move |to| *wanted.lock() = to));
        self.add(HOST_BRIDGE, Arc::new(Mutex::new(bridge)), WindowTargets::default());
        let test = Arc::new(Mutex::new(PciTestDevice::new()));
        self.add(TEST, test.clone(), WindowTargets::both(test));
        let virtio = VirtioPci::new(Entropy::new(Arc::new(Silence)), wires(&dma)).share();
        self.add(VIRTIO, virtio.clone(), WindowTargets::memory(virtio));
        let card_wires = CardWires { pci: wires(&dma), backend: Arc::<Network>::default(), mac: [2; 6] };
        let card = Arc::new(Mutex::new(E1000::new(card_wires)));
        self.add(CARD, card.clone(), WindowTargets::both(card));
        let lines = PirqWires {
            io_apic: array::from_fn(|_| IrqLine::unconnected()),
            isa: array::from_fn(|_| IrqLine::unconnected()),
        };
        let interrupts = Arc::new(PciInterrupts::new(lines));
        let lpc = LpcBridge::new(LpcWires { interrupts, pm_moved: Box::new(|_| {}) });
        self.add(LPC_BRIDGE, Arc::new(Mutex::new(lpc)), WindowTargets::default());
    }

    fn add<F: PciFunction + 'static>(
        &mut self,
        address: FunctionAddress,
        function: Arc<Mutex<F>>,
        targets: WindowTargets,
    ) {
        assert!(self.pci.add(address, function.clone(), targets).is_ok(), "the slot is empty");
        self.functions.push(function);
    }

    /// What a machine does after each access.
    fn apply(&mut self) {
        let wanted = *self.wanted.lock();
        if self.now != wanted {
            if let Some((base, _)) = self.now.take() {
                self.bus.remove_mmio(base);
            }
            let add = |(base, len)| self.bus.add_mmio(self.ecam.clone(), 0, base, len).is_ok();
            self.now = wanted.filter(|window| add(*window));
        }
        self.pci.map_windows(&self.bus);
    }

    fn write(&mut self, function: FunctionAddress, register: u16, size: u8, value: u32) {
        self.pci.config_write(function, register, size, value);
        self.apply();
    }

    fn reset(&mut self) {
        self.functions.iter().for_each(|function| function.lock().reset());
        self.pci.windows_may_have_moved();
        self.apply();
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let size = 1 << (input.next(1) % 3);
        let which = input.next(1) as usize;
        let (function, number) = (FUNCTIONS[which % FUNCTIONS.len()], NUMBERS[which % FUNCTIONS.len()]);
        match which / 16 {
            0 => self.bus.port_write(CONFIG_ADDRESS, 4, 1 << 31 | input.next(3) as u32),
            1 => {
                let register = input.next(1) as u32 & 0xFC;
                self.bus.port_write(CONFIG_ADDRESS, 4, 1 << 31 | number << 8 | register);
            }
            2 => self.bus.port_write(CONFIG_DATA + input.next(1) as u16 % 4, size, input.next(4) as u32),
            3 => _ = self.bus.port_read(CONFIG_DATA + input.next(1) as u16 % 4, size),
            4 => self.bus.port_write(input.next(2) as u16, size, input.next(4) as u32),
            5 | 6 => {
                let base = self.now.map_or(ECAM_BASE, |(base, _)| base);
                let at = base + (u64::from(number) << 12) + input.next(2) % 0x1001;
                let value = input.next(4);
                if which & 1 == 0 {
                    self.bus.mmio_write(at, size, value);
                } else {
                    self.bus.mmio_read(at, size);
                }
            }
            7..=10 => {
                let register = BAR0 + 4 * (input.next(1) as u16 % BARS);
                let base = if which & 16 != 0 { input.pick(&BASES) } else { input.next(4) as u32 };
                self.pci.config_write(function, register, 4, base);
            }
            11 => self.pci.config_write(function, COMMAND, 2, input.next(1) as u32),
            12 => {
                let at = u64::from(input.pick(&BASES)) + input.next(2);
                self.bus.mmio_write(at, 1 << (which & 3), input.next(8));
            }
            13 => _ = self.bus.mmio_read(u64::from(input.pick(&BASES)) + input.next(2), size),
            14 => _ = self.bus.port_read(input.next(2) as u16, size),
            _ if size == 4 => self.reset(),
            _ => self.check_all(),
        }
        self.apply();
    }

    fn check_all(&mut self) {
        for function in &FUNCTIONS[..FUNCTIONS.len() - 1] {
            self.check_capabilities(*function);
            (0..BARS).for_each(|bar| self.check_size(*function, BAR0 + 4 * bar));
        }
        assert_eq!(self.pci.config_read(NOBODY, 0, 4), u32::MAX);
    }

    /// The list of capabilities ends.
    fn check_capabilities(&self, function: FunctionAddress) {
        let mut at = self.pci.config_read(function, CAPABILITIES, 1) as u16;
        let mut count = 0;
        while at != 0 {
            assert!(at >= 0x40 && at & 3 == 0, "{function}: a capability at {at:#x}");
            count += 1;
            assert!(count < 48, "{function}: capabilities without end");
            at = self.pci.config_read(function, at + 1, 1) as u16;
        }
    }

    /// A base address register tells its size, and takes its value back.
    fn check_size(&mut self, function: FunctionAddress, register: u16) {
        let before = self.pci.config_read(function, register, 4);
        self.write(function, register, 4, u32::MAX);
        let mask = self.pci.config_read(function, register, 4);
        self.write(function, register, 4, before);
        assert_eq!(self.pci.config_read(function, register, 4), before, "{function}, {register:#x}");
        let low = if mask & 1 != 0 { 0b11 } else { 0b1111 };
        assert_eq!(before & !mask, 0, "{function}: bits of {register:#x} that cannot be set");
        let address = mask & !low;
        // The upper half of a 64-bit register has all bits.
        assert!(address == 0 || mask == u32::MAX || address.leading_ones() + address.trailing_zeros() == 32);
    }

    /// Sensible places: windows answer in them, and not when they are off.
    fn place_all(&mut self) {
        self.reset();
        for (at, function) in [TEST, VIRTIO, CARD].into_iter().enumerate() {
            for register in (0..BARS).map(|bar| BAR0 + 4 * bar) {
                let is_io = self.pci.config_read(function, register, 4) & 1 != 0;
                let is_upper = function == VIRTIO && register == BAR0 + 20;
                let number = (at as u32) * 8 + u32::from(register - BAR0) / 4;
                let base = if is_io { PORTS + 0x100 * number } else { PLACE + 0x10_0000 * number };
                self.write(function, register, 4, if is_upper { 0 } else { base });
            }
        }
        for on in [ALL_ON, 0, ALL_ON] {
            for function in [TEST, VIRTIO, CARD] {
                self.write(function, COMMAND, 2, on);
            }
            self.check_places(on == 0);
        }
    }

    fn check_places(&self, floating: bool) {
        // The test device's header, the virtio device's queues, the card's status.
        let memory = [(PLACE + 1, 1), (PLACE + 0x10_0000 * 12 + 0x12, 2), (PLACE + 0x10_0000 * 16 + 8, 4)];
        for (address, size) in memory {
            let value = self.bus.mmio_read(address.into(), size);
            assert_eq!(value == u64::MAX >> (64 - 8 * size), floating, "{value:#x} at {address:#x}");
        }
        let value = self.bus.port_read(PORTS as u16 + 0x100 + 1, 1);
        assert_eq!(value == 0xFF, floating, "{value:#x} at a port");
    }
}

/// Configuration space and windows.
pub fn pci(data: &[u8]) {
    let mut machine = Machine::new();
    let identities = FUNCTIONS.map(|function| machine.pci.config_read(function, 0, 4));
    machine.place_all();
    let mut input = Input(data);
    for _ in 0..STEPS {
        if input.0.is_empty() {
            break;
        }
        machine.step(&mut input);
    }
    machine.check_all();
    assert_eq!(FUNCTIONS.map(|function| machine.pci.config_read(function, 0, 4)), identities);
    machine.place_all();
}
