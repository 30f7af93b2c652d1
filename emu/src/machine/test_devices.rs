//! What test kernels look for, on the board: QEMU's pc-testdev and pci-testdev, and fw_cfg.

use super::{
    chipset::{Chipset, ChipsetError, ChipsetParts, shared},
    isa::{IsaInterrupts, Source},
    pci_slots,
};
use emu_core::bus::IrqLine;
use emu_devices::{
    apic::IoApicPins,
    fw_cfg::{self, FwCfg, FwCfgItems},
    pci::{FunctionAddress, WindowTargets},
    test_device::{
        pc::{self, LineWires, PcTestDevice},
        pci::PciTestDevice,
    },
};
use std::sync::Arc;

/// Where the PCI test device is.
const FUNCTION: FunctionAddress = FunctionAddress::new(0, pci_slots::TEST_DEVICE, 0);

/// The wires by which the PC test device drives each global system interrupt. Those of ISA interrupts are shared
/// with their owners; the others it has to itself while no PCI function drives them.
pub fn lines(isa: &Arc<IsaInterrupts>, pins: &Arc<IoApicPins>) -> LineWires {
    std::array::from_fn(|gsi| match gsi as u32 {
        irq @ 0..16 => isa.wire(irq as u8, Source::Test),
        pin => IrqLine::new(pins.clone(), pin),
    })
}

/// Puts all of them on the bus.
pub fn add(chipset: &mut Chipset, parts: &ChipsetParts<'_>, lines: LineWires) -> Result<(), ChipsetError> {
    let device = shared(PcTestDevice::new(lines));
    let ranges = [
        (pc::ECHO, pc::ECHO_PORT, pc::REGISTER_PORTS),
        (pc::FLUSH, pc::FLUSH_PORT, pc::REGISTER_PORTS),
        (pc::ECHO_BYTES, pc::ECHO_BYTES_PORT, pc::REGISTER_PORTS),
        (pc::LINES, pc::LINES_PORT, pc::LINE_COUNT as u16),
    ];
    chipset.add_ports(&device, &ranges)?;
    chipset.bus.add_mmio(device, 0, pc::MEMORY_BASE, pc::MEMORY_LEN)?;
    let function = shared(PciTestDevice::new());
    chipset.add_function(FUNCTION, &function, WindowTargets::both(function.clone()))?;
    let items = FwCfgItems { ram_bytes: parts.memory.ram().size(), cpus: parts.config.cpus as u16 };
    chipset.add_ports(&shared(FwCfg::new(items)), &[(0, fw_cfg::PORT, fw_cfg::PORTS)])?;
    Ok(())
}
