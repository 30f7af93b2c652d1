//! What the firmware has to know about the machine: where its devices are and how they are wired.
//!
//! The machine fills this in from the devices it built, so that each address is written down once, at the
//! device; the tables only repeat it.

use std::ops::Range;

/// The machine as the firmware describes it to a guest.
#[derive(Debug, Clone)]
pub struct MachineLayout {
    /// Local APIC identifiers, one for each CPU; the first is the bootstrap processor's. Above 254 they are
    /// announced as x2APIC identifiers.
    pub cpu_apic_ids: Vec<u32>,
    /// Whether the CPUs have long mode: a 64-bit kernel is then entered at its 64-bit entry.
    pub long_mode: bool,
    /// Address of the local APICs' registers.
    pub local_apic: u32,
    /// The I/O APIC.
    pub io_apic: IoApicLayout,
    /// ACPI fixed hardware.
    pub acpi: AcpiHardware,
    /// The PCI host bridge.
    pub pci: PciLayout,
    /// The HPET, if there is one.
    pub hpet: Option<HpetLayout>,
    /// The serial ports present, COM1 first.
    pub serial_ports: Vec<SerialPort>,
    /// Whether there is an i8042 with keyboard and mouse.
    pub i8042: bool,
    /// Whether a VGA adapter shows text mode 3.
    pub vga_text: bool,
    /// Port of the pvpanic device, if there is one.
    pub pvpanic: Option<u16>,
}

/// The I/O APIC: 24 inputs from global system interrupt 0, with ISA IRQ n at input n and IRQ 0 at input 2.
#[derive(Debug, Clone, Copy)]
pub struct IoApicLayout {
    /// Its identifier on the APIC bus.
    pub id: u8,
    /// Address of its registers.
    pub address: u32,
}

/// ACPI fixed hardware (ACPI 6.5, 4.8): what the FADT says.
#[derive(Debug, Clone, Copy)]
pub struct AcpiHardware {
    /// PM1a event block (4 bytes), PM1a control block (at +4) and PM timer (at +8).
    pub pm_base: u16,
    /// Whether the PM timer counts 32 bits rather than 24.
    pub pm_timer_32bit: bool,
    /// General-purpose event block 0.
    pub gpe0_base: u16,
    /// Its length in bytes, status and enable halves together; 0 if there is none.
    pub gpe0_len: u8,
    /// SMI command port.
    pub smi_cmd: u16,
    /// Value that switches ACPI mode on through `smi_cmd`.
    pub acpi_enable: u8,
    /// Value that switches it off.
    pub acpi_disable: u8,
    /// System control interrupt, level-triggered, active high.
    pub sci_irq: u8,
    /// SLP_TYP of the soft-off state.
    pub s5_slp_typ: u8,
    /// Reset register.
    pub reset_port: u16,
    /// Value that resets the machine.
    pub reset_value: u8,
    /// CMOS index of the century, 0 if the RTC has none.
    pub century: u8,
}

/// The PCI host bridge, its windows and the wiring of INTA#..INTD#.
#[derive(Debug, Clone)]
pub struct PciLayout {
    /// Memory-mapped configuration space: 1 MiB for each bus from bus 0.
    pub ecam: Range<u64>,
    /// Window for 32-bit BARs.
    pub mmio32: Range<u64>,
    /// Window for 64-bit BARs above 4 GiB.
    pub mmio64: Option<Range<u64>>,
    /// Global system interrupt of the first of eight PCI interrupt lines at the I/O APIC.
    pub gsi_base: u32,
    /// ISA IRQ that each of the eight lines drives for a guest that uses the 8259s.
    pub isa_irqs: [u8; 8],
    /// Device and function of the PCI-to-ISA bridge on bus 0, if there is one.
    pub isa_bridge: Option<(u8, u8)>,
}

impl PciLayout {
    /// Which of the eight interrupt lines `pin` (0: INTA#) of `device` on bus 0 is wired to.
    pub fn line(device: u8, pin: u8) -> u8 {
        device.wrapping_add(pin) & 7
    }

    /// Global system interrupt of `pin` (0: INTA#) of `device` on bus 0.
    pub fn gsi(&self, device: u8, pin: u8) -> u32 {
        self.gsi_base + u32::from(Self::line(device, pin))
    }

    /// Number of buses that the ECAM window covers.
    pub(crate) fn buses(&self) -> u16 {
        ((self.ecam.end.saturating_sub(self.ecam.start) >> 20).min(256)) as u16
    }
}

/// The high precision event timer.
#[derive(Debug, Clone, Copy)]
pub struct HpetLayout {
    /// Address of its registers.
    pub address: u32,
    /// Low half of its general capabilities register: the event timer block identifier.
    pub block_id: u32,
    /// Shortest period in main counter ticks that loses no interrupt.
    pub minimum_tick: u16,
}

/// One 16550 serial port.
#[derive(Debug, Clone, Copy)]
pub struct SerialPort {
    /// First of its eight ports.
    pub port: u16,
    /// Its ISA IRQ.
    pub irq: u8,
}

#[cfg(test)]
pub(crate) mod fixture {
    use super::*;

    /// A complete machine with `cpus` CPUs.
    pub(crate) fn machine(cpus: u32) -> MachineLayout {
        MachineLayout {
            cpu_apic_ids: (0..cpus).collect(),
            long_mode: true,
            local_apic: 0xFEE0_0000,
            io_apic: IoApicLayout { id: 0, address: 0xFEC0_0000 },
            acpi: AcpiHardware {
                pm_base: 0x600,
                pm_timer_32bit: false,
                gpe0_base: 0x620,
                gpe0_len: 16,
                smi_cmd: 0xB2,
                acpi_enable: 2,
                acpi_disable: 3,
                sci_irq: 9,
                s5_slp_typ: 5,
                reset_port: 0xCF9,
                reset_value: 6,
                century: 0x32,
            },
            pci: PciLayout {
                ecam: 0xE000_0000..0xF000_0000,
                mmio32: 0xC000_0000..0xE000_0000,
                mmio64: Some(0x80_0000_0000..0x100_0000_0000),
                gsi_base: 16,
                isa_irqs: [10, 11, 10, 11, 10, 11, 10, 11],
                isa_bridge: Some((31, 0)),
            },
            hpet: Some(HpetLayout { address: 0xFED0_0000, block_id: 0x8086_A201, minimum_tick: 100 }),
            serial_ports: vec![SerialPort { port: 0x3F8, irq: 4 }, SerialPort { port: 0x2F8, irq: 3 }],
            i8042: true,
            vga_text: false,
            pvpanic: Some(0x505),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_devices_use_different_lines() {
        let pci = fixture::machine(1).pci;
        assert_eq!(pci.gsi(0, 0), 16);
        assert_eq!(pci.gsi(1, 0), 17);
        assert_eq!(pci.gsi(31, 3), 18);
        assert_eq!(pci.buses(), 256);
    }
}
