//! The disk controllers with ATA drives under a guest without sense: bytes as accesses to registers, configuration
//! space and memory, and as commands that are nearly right.

use super::devices::{Disk, FUNCTION, Input, RAM, wires};
use emu_core::{
    bus::{Bus, Device, IrqLine, Snapshot},
    memory::{Dma, GuestMemory, PhysicalMemory},
};
use emu_devices::{
    pci::{PciBus, WindowTargets},
    storage::{
        ahci::Ahci,
        ata::{Cable, Drive, DriveIdentity},
        ide::{Ide, IdeDrives, IdeWires, LEGACY_PORTS},
    },
};
use parking_lot::Mutex;
use std::sync::Arc;

/// Sectors of the disk.
const SECTORS: usize = 256;
/// Where the windows are: AHCI's registers, and IDE's bus masters.
const ABAR: u64 = 0xD000_0000;
const BUS_MASTERS: u16 = 0xC000;
/// Where the guest keeps command lists, received FISes, command tables, and IDE's table of places.
const LIST: u64 = 0x1000;
const RECEIVED: u64 = 0x2000;
const TABLE: u64 = 0x3000;
/// Accesses of one run.
const STEPS: usize = 256;

fn drive(disk: &Arc<Disk>, cdrom: bool, cable: Cable) -> Drive {
    let identity = DriveIdentity { serial: "fuzz".into(), firmware: "1".into(), model: "EMU FUZZ".into() };
    let disk = disk.clone();
    if cdrom { Drive::cdrom(Some(disk), identity, cable) } else { Drive::disk(disk, identity, cable) }
}

fn memory() -> Dma {
    Dma::new(Arc::new(PhysicalMemory::new(GuestMemory::new(RAM).expect("a MiB of memory"))))
}

/// What both controllers have around them.
struct Board {
    bus: Bus,
    pci: PciBus,
    dma: Dma,
}

impl Board {
    fn store(&self, address: u64, bytes: &[u8]) {
        // What is not RAM stays as it is.
        let _refused = self.dma.write(address % (2 * RAM), bytes);
    }

    /// Writes a base address, and lets the function decode it and be bus master.
    fn open_window(&self, register: u16, base: u32) {
        self.pci.config_write(FUNCTION, register, 4, base);
        self.pci.config_write(FUNCTION, 0x04, 2, 0b111);
        self.pci.map_windows(&self.bus);
    }

    fn configure(&self, input: &mut Input<'_>) {
        self.pci.config_write(FUNCTION, input.next(1) as u16, 2, input.next(2) as u32);
        self.pci.map_windows(&self.bus);
    }
}

/// The AHCI controller, with a disk at port 0 and a CD-ROM drive at port 1.
pub fn ahci(data: &[u8]) {
    let disk = Arc::new(Disk::new(SECTORS * 512));
    let drives = || vec![Some(drive(&disk, false, Cable::Serial)), Some(drive(&disk, true, Cable::Serial))];
    let dma = memory();
    let function = Ahci::new(wires(&dma), drives()).share();
    let board = Board { bus: Bus::new(), pci: PciBus::new(), dma };
    let added = board.pci.add(FUNCTION, function.clone(), WindowTargets::memory(function.clone()));
    assert!(added.is_ok(), "the bus is empty");
    board.open_window(0x24, ABAR as u32);
    (0..2).for_each(|port| ahci_start(&board, port));
    let mut input = Input(data);
    for _ in 0..STEPS {
        if input.0.is_empty() {
            break;
        }
        ahci_step(&board, &function, &mut input);
        let choice = input.next(1);
        if choice & 1 != 0 {
            disk.work(choice >> 1);
        }
    }
    let state = function.lock().save();
    if let Ok(restored) = Ahci::restore((wires(&board.dma), drives()), state) {
        drop(restored.share());
    }
    disk.work(0);
}

fn ahci_port(board: &Board, port: u64, register: u64, value: u64) {
    board.bus.mmio_write(ABAR + 0x100 + 0x80 * port + register, 4, value);
}

fn ahci_start(board: &Board, port: u64) {
    for (register, value) in [(0x00, LIST), (0x08, RECEIVED), (0x14, 0xFFFF_FFFF), (0x18, 0x10), (0x18, 0x11)]
    {
        ahci_port(board, port, register, value);
    }
}

fn ahci_step(board: &Board, function: &Mutex<Ahci>, input: &mut Input<'_>) {
    let size = 1 << (input.next(1) & 3);
    match input.next(1) % 8 {
        0 => board.bus.mmio_write(ABAR + input.next(2) % 0x400, size, input.next(8)),
        1 => _ = board.bus.mmio_read(ABAR + input.next(2) % 0x400, size),
        2 => ahci_port(board, input.next(1) % 2, 4 * (input.next(1) % 18), input.next(4)),
        3 => board.configure(input),
        4 => board.store(input.next(4), &input.next(8).to_le_bytes()),
        5 => {
            // Out of an error, as a driver does it.
            let port = input.next(1) % 2;
            ahci_port(board, port, 0x18, 0x10);
            ahci_start(board, port);
        }
        6 => ahci_issue(board, input),
        _ => {
            function.lock().reset();
            board.pci.windows_may_have_moved();
            board.open_window(0x24, ABAR as u32);
        }
    }
}

/// A command with up to three places for data.
fn ahci_issue(board: &Board, input: &mut Input<'_>) {
    let (port, slot, places) = (input.next(1) % 2, input.next(1) % 4, input.next(1) % 4);
    let flags = 5 | places << 16 | (input.next(1) & 0b111) << 5;
    board.store(LIST + 32 * slot, &[flags.to_le_bytes(), TABLE.to_le_bytes()].concat());
    let fis: Vec<u8> = (0..20).map(|at| if at == 0 { 0x27 } else { input.next(1) as u8 }).collect();
    board.store(TABLE, &fis);
    board.store(TABLE + 0x40, &input.next(8).to_le_bytes());
    for place in 0..places {
        let (address, len) = (input.next(3), input.next(2));
        board.store(TABLE + 0x80 + 16 * place, &address.to_le_bytes());
        board.store(TABLE + 0x80 + 16 * place + 12, &(len as u32).to_le_bytes());
    }
    ahci_port(board, port, 0x34, (input.next(1) & 1) << slot);
    ahci_port(board, port, 0x38, 1 << slot);
}

/// The IDE controller, with a disk and a CD-ROM drive at its first channel.
pub fn ide(data: &[u8]) {
    let disk = Arc::new(Disk::new(SECTORS * 512));
    let drives = || -> IdeDrives {
        [
            [Some(drive(&disk, false, Cable::Parallel)), Some(drive(&disk, true, Cable::Parallel))],
            [None, None],
        ]
    };
    let dma = memory();
    let ide_wires =
        |dma: &Dma| IdeWires { pci: wires(dma), irqs: [IrqLine::unconnected(), IrqLine::unconnected()] };
    let function = Ide::new(ide_wires(&dma), drives()).share();
    let board = Board { bus: Bus::new(), pci: PciBus::new(), dma };
    let added = board.pci.add(FUNCTION, function.clone(), WindowTargets::ports(function.clone()));
    assert!(added.is_ok(), "the bus is empty");
    for (region, port, len) in LEGACY_PORTS {
        assert!(board.bus.add_ports(function.clone(), region, port, len).is_ok(), "the bus is empty");
    }
    board.open_window(0x20, u32::from(BUS_MASTERS));
    let mut input = Input(data);
    for _ in 0..STEPS {
        if input.0.is_empty() {
            break;
        }
        ide_step(&board, &function, &mut input);
        let choice = input.next(1);
        if choice & 1 != 0 {
            disk.work(choice >> 1);
        }
    }
    let state = function.lock().save();
    if let Ok(restored) = Ide::restore((ide_wires(&board.dma), drives()), state) {
        drop(restored.share());
    }
    disk.work(0);
}

fn ide_step(board: &Board, function: &Mutex<Ide>, input: &mut Input<'_>) {
    const COMMAND_BLOCK: u16 = 0x1F0;
    let bus = &board.bus;
    let size = 1 << (input.next(1) % 3);
    match input.next(1) % 9 {
        0 => bus.port_write(COMMAND_BLOCK + input.next(1) as u16 % 8, size, input.next(4) as u32),
        1 => _ = bus.port_read(COMMAND_BLOCK + input.next(1) as u16 % 8, size),
        2 => bus.port_write(0x3F6, 1, input.next(1) as u32),
        3 => bus.port_write(BUS_MASTERS + input.next(1) as u16 % 16, size, input.next(4) as u32),
        4 => board.configure(input),
        5 => board.store(input.next(4), &input.next(8).to_le_bytes()),
        6 => {
            // Data, a block of it at most.
            let (words, value) = (input.next(2) % 0x1000, input.next(2) as u32);
            for _ in 0..words {
                bus.port_write(COMMAND_BLOCK, 2, value);
                bus.port_read(COMMAND_BLOCK, 2);
            }
        }
        7 => ide_command(board, input),
        _ => {
            function.lock().reset();
            board.pci.windows_may_have_moved();
            board.open_window(0x20, u32::from(BUS_MASTERS));
        }
    }
}

/// A command, and the bus master with two places for data.
fn ide_command(board: &Board, input: &mut Input<'_>) {
    let (first, second) =
        (input.next(3) | input.next(2) << 32, input.next(3) | input.next(2) << 32 | 1 << 63);
    board.store(TABLE, &[first.to_le_bytes(), second.to_le_bytes()].concat());
    board.bus.port_write(BUS_MASTERS, 1, 0);
    board.bus.port_write(BUS_MASTERS + 4, 4, TABLE as u32);
    board.bus.port_write(BUS_MASTERS, 1, 0b1001);
    let registers = [(6, 0xE0 | (input.next(1) as u32 & 1) << 4), (1, input.next(1) as u32 & 1)];
    let address = [2, 3, 4].map(|offset| (offset, input.next(1) as u32));
    for (offset, value) in registers.into_iter().chain(address).chain([(5, 0), (7, input.next(1) as u32)]) {
        board.bus.port_write(0x1F0 + offset, 1, value);
    }
}
