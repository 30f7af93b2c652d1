//! What the firmware tells a guest of the machine, filled in from the devices' own constants.

use super::{chipset, serial::COM_PORTS};
use crate::config::MachineConfig;
use emu_core::{
    cpu_model::{CpuModel, Feature},
    memory::GuestMemory,
};
use emu_devices::{acpi, acpi::TimerWidth, apic, hpet, pci};
use firmware::{
    MachineLayout,
    layout::{AcpiHardware, HpetLayout, IoApicLayout, PciLayout, SerialPort},
};
use std::ops::Range;

/// ISA interrupts that the PCI interrupt lines drive, alternately, for a guest without an I/O APIC.
pub const PCI_ISA_IRQS: [u8; pci::PIRQS] = [10, 11, 10, 11, 10, 11, 10, 11];
/// CMOS index of the century.
const CENTURY: u8 = 0x32;
/// Shortest HPET period that a guest may count on: 1 us at 100 MHz.
const HPET_MINIMUM_TICK: u16 = 100;
/// Where 64-bit BARs go, unless RAM is there.
const HIGH_WINDOW: Range<u64> = 0x80_0000_0000..0x100_0000_0000;

/// The machine that `config` asks for.
pub fn describe(config: &MachineConfig, model: &CpuModel, ram: &GuestMemory) -> MachineLayout {
    let ram_end = ram.ranges().map(|(start, len)| start + len).max().unwrap_or(0);
    let serial_ports = config.serial.iter().zip(COM_PORTS);
    MachineLayout {
        cpu_apic_ids: (0..config.cpus).collect(),
        long_mode: model.has(Feature::Lm),
        local_apic: apic::LOCAL_APIC_BASE as u32,
        io_apic: IoApicLayout { id: apic::IO_APIC_ID, address: apic::IO_APIC_BASE as u32 },
        acpi: acpi_hardware(),
        pci: PciLayout {
            ecam: pci::ECAM_BASE..pci::ECAM_BASE + pci::ECAM_LEN,
            mmio32: pci::MEMORY_WINDOW_BASE..pci::MEMORY_WINDOW_BASE + pci::MEMORY_WINDOW_LEN,
            mmio64: (ram_end <= HIGH_WINDOW.start).then_some(HIGH_WINDOW),
            gsi_base: pci::pirq_gsi(0),
            isa_irqs: PCI_ISA_IRQS,
            isa_bridge: Some((pci::LPC_BRIDGE.device(), 0)),
        },
        hpet: Some(HpetLayout {
            address: hpet::HPET_BASE as u32,
            block_id: hpet::BLOCK_ID,
            minimum_tick: HPET_MINIMUM_TICK,
        }),
        serial_ports: serial_ports.map(|(_, com)| SerialPort { port: com.port, irq: com.irq }).collect(),
        i8042: true,
        vga_text: false,
        pvpanic: Some(chipset::PVPANIC_PORT),
    }
}

fn acpi_hardware() -> AcpiHardware {
    AcpiHardware {
        pm_base: acpi::PM_BASE,
        pm_timer_32bit: chipset::PM_TIMER_WIDTH == TimerWidth::Bits32,
        gpe0_base: acpi::GPE0_BLK,
        gpe0_len: acpi::GPE0_BLK_LEN,
        smi_cmd: acpi::SMI_CMD,
        acpi_enable: acpi::ACPI_ENABLE,
        acpi_disable: acpi::ACPI_DISABLE,
        sci_irq: acpi::SCI_IRQ,
        s5_slp_typ: acpi::S5_SLP_TYP,
        reset_port: acpi::RESET_REG,
        reset_value: acpi::RESET_VALUE,
        century: CENTURY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> MachineLayout {
        let config = MachineConfig::default();
        describe(&config, &CpuModel::default(), &GuestMemory::new(config.memory).unwrap())
    }

    #[test]
    fn tables_and_devices_agree_on_every_pci_interrupt_wire() {
        let layout = layout();
        for (device, pin) in (0..32).flat_map(|device| (0..4).map(move |pin| (device, pin))) {
            assert_eq!(layout.pci.gsi(device, pin), pci::pirq_gsi(pci::pirq(device, pin)));
        }
    }

    #[test]
    fn the_fixed_hardware_is_where_the_firmware_computes_it() {
        let acpi = layout().acpi;
        assert_eq!((acpi.pm_base, acpi.pm_base + 4), (acpi::PM1A_EVT_BLK, acpi::PM1A_CNT_BLK));
        assert_eq!(acpi.pm_base + 8, acpi::PM_TMR_BLK);
    }
}
