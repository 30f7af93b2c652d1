//! The chipset: every device of the machine, what its wires are connected to, and where it is on the bus.
//!
//! A PC of the Q35 kind without graphics. This is the one place that knows all devices; each
//! knows nothing but its wires.

use super::{
    a20::{A20Gate, A20Source, ResetLine},
    isa::{IsaInterrupts, Source},
    lifecycle::{Event, Lifecycle},
    network,
    pci_slots::PciSlots,
    relocation::{Movable, Relocations},
    serial::{COM_PORTS, Output},
    storage::{self, Storage},
    test_devices,
    virtio::{self, VirtioCards},
};
use crate::{
    config::MachineConfig,
    console::{ByteSink, DiskPort, NetworkPort, VirtioPorts},
};
use emu_core::{
    bus::{Bus, Device, IrqLine, MmioIo, PortIo, RegionConflict},
    clock::{Timer, TimerQueue},
    cpu_model::{CRYSTAL_HERTZ, CpuModel, Feature, TSC_HERTZ},
    engine::VcpuSignal,
    memory::{Dma, PhysicalMemory},
};
use emu_devices::{
    acpi::{self, Pm, PmWires, ResetControl, TimerWidth},
    apic::{self, ApicBus, ApicConfig, ApicWires, IoApic},
    debug_exit::{self, DebugExit},
    debugcon::Debugcon,
    ferr::{self, FerrLatch},
    hpet::{self, Hpet, HpetWires},
    i8042::{self, I8042, I8042Wires},
    i8254::{self, I8254, PitWires},
    i8259::{self, I8259Inputs, I8259Pair},
    mc146818::{self, Mc146818, RtcWires},
    pci::{
        self, CONFIG_ADDRESS, CONFIG_DATA, CONFIG_PORTS_LEN, ConfigPorts, Ecam, FunctionAddress,
        FunctionTaken, HostBridge, LpcBridge, LpcWires, PciBus, PciFunction, PciInterrupts, PirqWires,
        WindowTargets,
    },
    port92::{Port92, Port92Wires},
    pvpanic::Pvpanic,
    serial::{PORTS as UART_PORTS, Uart16550, UartWires},
};
use parking_lot::Mutex;
use std::sync::Arc;

/// Width of the ACPI PM timer, which the FADT repeats.
pub const PM_TIMER_WIDTH: TimerWidth = TimerWidth::Bits24;
/// Port of the debug console.
const DEBUGCON_PORT: u16 = 0xE9;
/// First port of isa-debug-exit.
const DEBUG_EXIT_PORT: u16 = 0xF4;
/// Port of pvpanic.
pub const PVPANIC_PORT: u16 = 0x505;
/// ISA interrupts with a fixed owner.
mod irq {
    pub const PIT: u8 = 0;
    pub const KEYBOARD: u8 = 1;
    pub const RTC: u8 = 8;
    pub const MOUSE: u8 = 12;
    pub const FERR: u8 = 13;
}

/// What does not fit together. Addresses are constants, so most of it is a mistake of the program.
#[derive(Debug, thiserror::Error)]
pub enum ChipsetError {
    /// Two devices at one place.
    #[error(transparent)]
    Region(#[from] RegionConflict),
    /// Two PCI functions at one place.
    #[error(transparent)]
    Function(#[from] FunctionTaken),
    /// More cards than slots. This is the user's.
    #[error("all PCI slots are taken; use fewer disks or network cards")]
    NoSlot,
    /// More drives than ports. This is the user's.
    #[error("bus={bus} has room for {room} drives; put others on another bus")]
    NoPort {
        /// The bus.
        bus: &'static str,
        /// Its ports.
        room: usize,
    },
}

/// What the chipset is built around.
pub struct ChipsetParts<'a> {
    /// What the user asked for.
    pub config: &'a MachineConfig,
    /// The processors.
    pub model: &'a CpuModel,
    /// Memory.
    pub memory: &'a Arc<PhysicalMemory>,
    /// Time.
    pub timers: &'a Arc<TimerQueue>,
    /// Wires into the vCPUs.
    pub signals: &'a [Arc<VcpuSignal>],
    /// Who hears of power-off and reset.
    pub lifecycle: &'a Arc<Lifecycle>,
}

/// All devices.
pub struct Chipset {
    /// Ports and device memory.
    pub bus: Arc<Bus>,
    /// PCI functions.
    pub pci: Arc<PciBus>,
    /// Local APICs.
    pub apics: Arc<ApicBus>,
    /// The 8259As, for INTA.
    pub pic: Arc<Mutex<I8259Pair>>,
    /// FERR#.
    pub ferr: Arc<Mutex<FerrLatch>>,
    /// What is under way at disks.
    pub storage: Arc<Storage>,
    /// What the machine needs of other virtio devices.
    pub virtio: VirtioCards,
    /// Power management, with its button.
    pub pm: Arc<Mutex<Pm>>,
    /// Serial ports, COM1 first.
    pub uarts: Vec<Arc<Mutex<Uart16550>>>,
    /// Blocks that the guest can move.
    pub movable: Arc<Movable>,
    /// Its wishes.
    pub relocations: Arc<Relocations>,
    /// Everything with a RESET# pin, in the order of reset.
    devices: Vec<Arc<Mutex<dyn Device>>>,
}

/// A device behind its lock.
pub(super) fn shared<D>(device: D) -> Arc<Mutex<D>> {
    Arc::new(Mutex::new(device))
}

/// Lets `timer` call `expire` on `device`, as long as that exists.
fn connect<D: Send + 'static>(timer: &Timer, device: &Arc<Mutex<D>>, expire: fn(&mut D)) {
    let device = Arc::downgrade(device);
    timer.on_expiry(move || {
        if let Some(device) = device.upgrade() {
            expire(&mut device.lock());
        }
    });
}

impl Chipset {
    /// Builds and connects everything. `serial` are the outputs of the serial ports, `networks` the network
    /// cards with what their cables lead to.
    pub fn new(
        parts: &ChipsetParts<'_>,
        serial: Vec<ByteSink>,
        debugcon: Option<ByteSink>,
        disks: Vec<DiskPort>,
        networks: Vec<NetworkPort>,
        virtio: VirtioPorts,
    ) -> Result<Self, ChipsetError> {
        let apics = local_apics(parts);
        let io_apic = IoApic::new(apics.clone());
        let pic = shared(I8259Pair::new(IrqLine::new(apics.clone(), 0)));
        let isa = IsaInterrupts::new(I8259Inputs(pic.clone()), io_apic.pins());
        let pins = io_apic.pins();
        let io_apic_wire = |pin| IrqLine::new(pins.clone(), pin);
        let pirqs = Arc::new(PciInterrupts::new(PirqWires {
            io_apic: std::array::from_fn(|pirq| io_apic_wire(pci::pirq_gsi(pirq))),
            isa: std::array::from_fn(|irq| isa.wire(irq as u8, Source::Pci)),
        }));
        let hpet_wires = HpetWires {
            pins: (0..apic::PINS as u32).map(io_apic_wire).collect(),
            legacy_timer: isa.wire(irq::PIT, Source::Hpet),
            legacy_rtc: isa.wire(irq::RTC, Source::Hpet),
            legacy_replacement: isa.replacement_wire(),
            msi: apics.clone(),
        };
        let relocations = Arc::<Relocations>::default();
        let pci_bus = Arc::new(PciBus::new());
        let ecam = shared(Ecam::new(pci_bus.clone()));
        let pm = power_management(parts, &isa);
        let ferr = shared(FerrLatch::new(isa.wire(irq::FERR, Source::Device)));
        let mut chipset = Chipset {
            bus: Arc::new(Bus::new()),
            pci: pci_bus.clone(),
            apics,
            pic: pic.clone(),
            ferr: ferr.clone(),
            storage: Arc::default(),
            virtio: VirtioCards::default(),
            pm: pm.clone(),
            uarts: Vec::new(),
            movable: Arc::new(Movable { ecam: ecam.clone(), pm: pm.clone(), pci: pci_bus.clone() }),
            relocations,
            devices: vec![ecam],
        };
        let mut slots = PciSlots::new(pirqs.clone(), chipset.apics.clone(), Dma::new(parts.memory.clone()));
        chipset.add_pci(parts, pirqs)?;
        chipset.add_ports(&pm, &[(1, acpi::SMI_CMD, acpi::SMI_LEN)])?;
        chipset.relocations.move_pm(Some(acpi::PM_BASE));
        chipset.relocations.move_ecam(Some((pci::ECAM_BASE, pci::ECAM_LEN)));
        chipset
            .add_ports(&pic, &[(i8259::MASTER, 0x20, 2), (i8259::SLAVE, 0xA0, 2), (i8259::ELCR, 0x4D0, 2)])?;
        chipset.add_ports(&ferr, &[(0, ferr::PORT, ferr::PORTS)])?;
        chipset.add_mmio(&shared(io_apic), apic::IO_APIC_BASE, apic::IO_APIC_LEN)?;
        chipset.add_hpet(parts, hpet_wires)?;
        chipset.add_legacy_timers(parts, &isa)?;
        chipset.add_keyboard_and_port92(parts, &isa)?;
        chipset.add_uarts(parts, &isa, serial)?;
        chipset.add_debug_ports(parts, debugcon)?;
        if parts.config.test_device {
            test_devices::add(&mut chipset, parts, test_devices::lines(&isa, &pins))?;
        }
        // Cards of networks come first: guests name interfaces by slots, and disks come and go.
        for port in networks {
            network::add(&mut chipset, &mut slots, port)?;
        }
        storage::add(&mut chipset, parts, &mut slots, &isa, disks)?;
        virtio::add(&mut chipset, parts, &mut slots, virtio)?;
        chipset.relocations.apply(&chipset.bus, &chipset.movable);
        Ok(chipset)
    }

    /// RESET# to every device.
    pub fn reset(&self) {
        for device in &self.devices {
            device.lock().reset();
        }
        self.apics.reset();
        self.pci.windows_may_have_moved();
        self.apply_relocations();
    }

    /// Moves blocks that accesses past the vCPUs have moved.
    pub fn apply_relocations(&self) {
        self.relocations.apply(&self.bus, &self.movable);
    }

    /// Puts a device with (region, first port, length) ranges on the bus.
    pub(super) fn add_ports<D: PortIo + 'static>(
        &mut self,
        device: &Arc<Mutex<D>>,
        ranges: &[(u8, u16, u16)],
    ) -> Result<(), RegionConflict> {
        for &(region, port, len) in ranges {
            self.bus.add_ports(device.clone(), region, port, len)?;
        }
        self.devices.push(device.clone());
        Ok(())
    }

    /// Puts a device with one range of memory on the bus.
    fn add_mmio<D: MmioIo + 'static>(
        &mut self,
        device: &Arc<Mutex<D>>,
        base: u64,
        len: u64,
    ) -> Result<(), RegionConflict> {
        self.bus.add_mmio(device.clone(), 0, base, len)?;
        self.devices.push(device.clone());
        Ok(())
    }

    /// Puts a function on the PCI bus; `targets` answer in its windows.
    pub(super) fn add_function<D: PciFunction + 'static>(
        &mut self,
        address: FunctionAddress,
        function: &Arc<Mutex<D>>,
        targets: WindowTargets,
    ) -> Result<(), FunctionTaken> {
        self.pci.add(address, function.clone(), targets)?;
        self.devices.push(function.clone());
        Ok(())
    }

    fn add_pci(
        &mut self,
        parts: &ChipsetParts<'_>,
        interrupts: Arc<PciInterrupts>,
    ) -> Result<(), ChipsetError> {
        let (ecam, pm) = (self.relocations.clone(), self.relocations.clone());
        let host_bridge = shared(HostBridge::new(Box::new(move |to| ecam.move_ecam(to))));
        let wires = LpcWires { interrupts, pm_moved: Box::new(move |to| pm.move_pm(to)) };
        let lpc_bridge = shared(LpcBridge::new(wires));
        self.add_function(pci::HOST_BRIDGE, &host_bridge, WindowTargets::default())?;
        self.add_function(pci::LPC_BRIDGE, &lpc_bridge, WindowTargets::default())?;
        let lifecycle = parts.lifecycle.clone();
        // A soft reset restarts the processors alone, from a firmware that would find nothing to do.
        let reset = ResetControl::new(Box::new(move |_kind| lifecycle.request(Event::Reset)));
        let ports = shared(ConfigPorts::new(self.pci.clone(), reset));
        let ranges = [(0, CONFIG_ADDRESS, CONFIG_PORTS_LEN), (1, CONFIG_DATA, CONFIG_PORTS_LEN)];
        self.add_ports(&ports, &ranges)?;
        Ok(())
    }

    fn add_hpet(&mut self, parts: &ChipsetParts<'_>, wires: HpetWires) -> Result<(), RegionConflict> {
        let timer = parts.timers.timer();
        let hpet = shared(Hpet::new(parts.timers.clock().clone(), timer.clone(), wires));
        connect(&timer, &hpet, Hpet::expire);
        self.add_mmio(&hpet, hpet::HPET_BASE, hpet::HPET_LEN)
    }

    fn add_legacy_timers(
        &mut self,
        parts: &ChipsetParts<'_>,
        isa: &Arc<IsaInterrupts>,
    ) -> Result<(), RegionConflict> {
        let (clock, timer) = (parts.timers.clock().clone(), parts.timers.timer());
        let pit_wires = PitWires { irq: isa.wire(irq::PIT, Source::Device), clock, timer: timer.clone() };
        let pit = shared(I8254::new(pit_wires));
        connect(&timer, &pit, I8254::timer_expired);
        self.add_ports(&pit, &[(i8254::COUNTERS, 0x40, 4), (i8254::PORT61, 0x61, 1)])?;

        let (clock, timer) = (parts.timers.clock().clone(), parts.timers.timer());
        let rtc_wires = RtcWires {
            irq: isa.wire(irq::RTC, Source::Device),
            // Nothing on this board raises the NMI that it could hold back.
            nmi_mask: IrqLine::unconnected(),
            clock,
            timer: timer.clone(),
        };
        let mut rtc = Mc146818::new(rtc_wires, parts.config.rtc.power_on_seconds());
        fill_cmos(&mut rtc, parts);
        let rtc = shared(rtc);
        connect(&timer, &rtc, Mc146818::timer_expired);
        self.add_ports(&rtc, &[(0, 0x70, mc146818::PORTS)])
    }

    fn add_keyboard_and_port92(
        &mut self,
        parts: &ChipsetParts<'_>,
        isa: &Arc<IsaInterrupts>,
    ) -> Result<(), RegionConflict> {
        let gate = A20Gate::new(parts.memory.clone());
        let reset = ResetLine::wire(parts.lifecycle);
        let controller = shared(I8042::new(I8042Wires {
            keyboard_irq: isa.wire(irq::KEYBOARD, Source::Device),
            mouse_irq: isa.wire(irq::MOUSE, Source::Device),
            a20: gate.wire(A20Source::KeyboardController),
            reset: reset.clone(),
        }));
        self.add_ports(&controller, &[(i8042::DATA, 0x60, 1), (i8042::COMMAND, 0x64, 1)])?;
        let port92 = shared(Port92::new(Port92Wires { a20: gate.wire(A20Source::Port92), reset }));
        self.add_ports(&port92, &[(0, 0x92, 1)])
    }

    fn add_uarts(
        &mut self,
        parts: &ChipsetParts<'_>,
        isa: &Arc<IsaInterrupts>,
        outputs: Vec<ByteSink>,
    ) -> Result<(), RegionConflict> {
        for (number, output) in outputs.into_iter().enumerate().take(COM_PORTS.len()) {
            let com = COM_PORTS[number];
            // COM3 and COM4 share the interrupts of COM1 and COM2.
            let source = if number < 2 { Source::Device } else { Source::Second };
            let (clock, timer) = (parts.timers.clock().clone(), parts.timers.timer());
            let wires = UartWires {
                irq: isa.wire(com.irq, source),
                clock,
                timer: timer.clone(),
                backend: Box::new(Output(output)),
            };
            let uart = shared(Uart16550::new(wires));
            connect(&timer, &uart, Uart16550::timer_expired);
            self.add_ports(&uart, &[(0, com.port, UART_PORTS)])?;
            self.uarts.push(uart);
        }
        Ok(())
    }

    fn add_debug_ports(
        &mut self,
        parts: &ChipsetParts<'_>,
        debugcon: Option<ByteSink>,
    ) -> Result<(), RegionConflict> {
        if let Some(output) = debugcon {
            let debugcon = shared(Debugcon::new(Box::new(Output(output))));
            self.add_ports(&debugcon, &[(0, DEBUGCON_PORT, 1)])?;
        }
        if parts.config.debug_exit {
            let lifecycle = parts.lifecycle.clone();
            let request = Box::new(move |value| lifecycle.request(Event::DebugExit(value)));
            let ports = [(0, DEBUG_EXIT_PORT, debug_exit::PORTS)];
            self.add_ports(&shared(DebugExit::new(request)), &ports)?;
        }
        let pvpanic = Pvpanic::new(Box::new(|event| log::error!("the guest reports a panic: {event:?}")));
        self.add_ports(&shared(pvpanic), &[(0, PVPANIC_PORT, 1)])
    }
}

fn local_apics(parts: &ChipsetParts<'_>) -> Arc<ApicBus> {
    let config = ApicConfig {
        clock: parts.timers.clock().clone(),
        bus_hz: CRYSTAL_HERTZ,
        tsc_hz: TSC_HERTZ,
        x2apic: parts.model.has(Feature::X2apic),
        tsc_deadline: parts.model.has(Feature::TscDeadline),
    };
    let wires = parts.signals.iter().enumerate().map(|(number, signal)| ApicWires {
        apic_id: number as u32,
        timer: parts.timers.timer(),
        signal: signal.clone(),
    });
    ApicBus::new(&config, wires.collect()).share()
}

fn power_management(parts: &ChipsetParts<'_>, isa: &Arc<IsaInterrupts>) -> Arc<Mutex<Pm>> {
    let lifecycle = parts.lifecycle.clone();
    let wires = PmWires {
        sci: isa.wire(acpi::SCI_IRQ, Source::Device),
        power_off: Box::new(move || lifecycle.request(Event::PowerOff)),
    };
    let timer = parts.timers.timer();
    let pm = shared(Pm::new(parts.timers.clock().clone(), timer.clone(), PM_TIMER_WIDTH, wires));
    connect(&timer, &pm, Pm::expire);
    pm
}

/// What a firmware's setup leaves in CMOS RAM.
fn fill_cmos(rtc: &mut Mc146818, parts: &ChipsetParts<'_>) {
    /// Equipment: a coprocessor and a mouse.
    const EQUIPMENT: (u8, u8) = (0x14, 0b110);
    /// Number of processors besides the first: QEMU's and Bochs' convention.
    const MORE_PROCESSORS: u8 = 0x5F;
    rtc.set_cmos(EQUIPMENT.0, EQUIPMENT.1);
    rtc.set_cmos(MORE_PROCESSORS, (parts.config.cpus - 1).min(255) as u8);
    let ranges: Vec<_> = parts.memory.ram().ranges().collect();
    let above: u64 = ranges.iter().filter(|(start, _)| *start >= 1 << 32).map(|(_, len)| len).sum();
    rtc.set_memory_size(parts.memory.ram().size() - above, above);
}
