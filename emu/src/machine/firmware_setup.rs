//! Registers that a PC's firmware programs before it starts a kernel, through the same accesses.

use super::{chipset::Chipset, layout::PCI_ISA_IRQS, serial::COM_PORTS};
use emu_devices::{
    acpi::SCI_IRQ,
    pci::{self, FunctionAddress, reg},
};

/// PIRQ[A-D]_ROUT and PIRQ[E-H]_ROUT of the LPC bridge.
const PIRQ_ROUT: [u16; 2] = [0x60, 0x68];
/// Edge/level control registers.
const ELCR: [u16; 2] = [0x4D0, 0x4D1];
/// Command and data ports of the 8259As.
const PIC_MASTER: (u16, u16) = (0x20, 0x21);
const PIC_SLAVE: (u16, u16) = (0xA0, 0xA1);
/// Vectors of IRQ 0 and IRQ 8 in real mode.
const VECTORS: (u8, u8) = (0x08, 0x70);

/// Programs the chipset after reset.
pub fn program(chipset: &Chipset) {
    route_pci_interrupts(chipset);
    start_interrupt_controllers(chipset);
    set_serial_format(chipset);
    assign_pci_windows(chipset);
}

/// PCI interrupts go to the ISA interrupts that the tables name; those and the SCI are level-triggered.
fn route_pci_interrupts(chipset: &Chipset) {
    for (pirq, irq) in PCI_ISA_IRQS.into_iter().enumerate() {
        let register = PIRQ_ROUT[pirq / 4] + (pirq % 4) as u16;
        chipset.pci.config_write(pci::LPC_BRIDGE, register, 1, irq.into());
    }
    let level = PCI_ISA_IRQS.into_iter().chain([SCI_IRQ]).fold(0_u16, |set, irq| set | 1 << irq);
    for (port, set) in ELCR.into_iter().zip(level.to_le_bytes()) {
        chipset.bus.port_write(port, 1, set.into());
    }
}

/// Where I/O windows begin. Below are ports at fixed addresses.
const FIRST_IO_WINDOW: u64 = 0xC000;
/// Base address register bits: I/O space, 64-bit memory; and the bits of each kind that are no address.
const BAR_IO: u32 = 1 << 0;
const BAR_64: u32 = 1 << 2;
const BAR_IO_FLAGS: u32 = 0b11;
const BAR_MEMORY_FLAGS: u32 = 0b1111;
/// Command register: decode I/O and memory.
const DECODE: u32 = 0b11;
const BARS: u16 = 6;

/// Gives every base address register a window, and lets its function decode it. PCI 3.0, 6.2.5.1.
fn assign_pci_windows(chipset: &Chipset) {
    let mut next = NextWindow { memory: pci::MEMORY_WINDOW_BASE, io: FIRST_IO_WINDOW };
    for number in 0..=u8::MAX {
        let function = FunctionAddress::from_number(number.into());
        let mut bar = 0;
        let mut any = false;
        while bar < BARS {
            let assigned = next.assign(chipset, function, reg::BAR0 as u16 + 4 * bar);
            any |= assigned.is_some();
            bar += if assigned == Some(Width::Two) { 2 } else { 1 };
        }
        if any {
            chipset.pci.config_write(function, reg::COMMAND as u16, 2, DECODE);
        }
    }
    chipset.apply_relocations();
}

/// How many registers a base address takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    One,
    Two,
}

/// Where the next window goes.
struct NextWindow {
    memory: u64,
    io: u64,
}

impl NextWindow {
    /// Sizes the base address register at `offset` and gives it a window; `None` if there is no such register.
    fn assign(&mut self, chipset: &Chipset, function: FunctionAddress, offset: u16) -> Option<Width> {
        let pci = &chipset.pci;
        if pci.config_read(function, reg::VENDOR_ID as u16, 2) == 0xFFFF {
            return None;
        }
        pci.config_write(function, offset, 4, u32::MAX);
        let mask = pci.config_read(function, offset, 4);
        let (next, flags) = if mask & BAR_IO != 0 {
            (&mut self.io, BAR_IO_FLAGS)
        } else {
            (&mut self.memory, BAR_MEMORY_FLAGS)
        };
        let wide = mask & BAR_IO == 0 && mask & BAR_64 != 0;
        // The lowest bit that can be written is the size.
        let size = u64::from(mask & !flags) & u64::from(mask & !flags).wrapping_neg();
        if size == 0 {
            return None;
        }
        let base = next.next_multiple_of(size);
        *next = base + size;
        pci.config_write(function, offset, 4, base as u32);
        if wide {
            pci.config_write(function, offset + 4, 4, 0);
        }
        Some(if wide { Width::Two } else { Width::One })
    }
}

/// The 8259As as a BIOS has them, with everything masked: there is no BIOS to serve an interrupt.
fn start_interrupt_controllers(chipset: &Chipset) {
    // ICW1: edge, cascade, ICW4 follows. ICW2: vectors. ICW3: the slave is at IRQ 2. ICW4: 8086. OCW1: the mask.
    let chips = [(PIC_MASTER, VECTORS.0, 1 << 2), (PIC_SLAVE, VECTORS.1, 2)];
    for ((command, data), vector, cascade) in chips {
        let words = [(command, 0x11), (data, vector), (data, cascade), (data, 0x01), (data, 0xFF)];
        for (port, value) in words {
            chipset.bus.port_write(port, 1, value.into());
        }
    }
}

/// Eight data bits, no parity, one stop bit, at the 9600 baud of power-on. A small kernel may print without any
/// set-up of its own.
fn set_serial_format(chipset: &Chipset) {
    const LCR: u16 = 3;
    const EIGHT_BITS: u32 = 0b11;
    for (com, _) in COM_PORTS.into_iter().zip(&chipset.uarts) {
        chipset.bus.port_write(com.port + LCR, 1, EIGHT_BITS);
    }
}
