//! Registers that a PC's firmware programs before it starts a kernel, through the same accesses.

use super::{chipset::Chipset, layout::PCI_ISA_IRQS, pci_setup, serial::COM_PORTS};
use emu_devices::{acpi::SCI_IRQ, pci};

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
    pci_setup::program(chipset);
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
