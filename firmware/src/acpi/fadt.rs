//! The fixed ACPI description table (ACPI 6.5, 5.2.9): registers of the fixed hardware, of 4.8.

use super::table::{CREATOR_ID, CREATOR_REVISION, OEM_ID, OEM_REVISION, OEM_TABLE_ID};
use crate::layout::MachineLayout;
use acpi_tables::{
    Aml,
    fadt::{FADTBuilder, Flags, PmProfile},
    gas::{AccessSize, AddressSpace, GAS},
};

/// IA-PC boot architecture flags (5.2.9.3): devices that no table enumerates are on the ISA bus.
const LEGACY_DEVICES: u16 = 1 << 0;
/// There is an 8042 at ports 0x60 and 0x64.
const I8042: u16 = 1 << 1;
/// Do not look for a VGA adapter.
const VGA_NOT_PRESENT: u16 = 1 << 2;
/// Latencies above which C2 and C3 are not supported (5.2.9, P_LVL2_LAT and P_LVL3_LAT), in microseconds.
const NO_C2_LATENCY: u16 = 0x0FFF;
const NO_C3_LATENCY: u16 = 0x0FFF;

/// Builds the FADT. The power button is the fixed-feature one; there is no sleep button.
pub(super) fn fadt(layout: &MachineLayout, facs: u32, dsdt: u32) -> Vec<u8> {
    let acpi = &layout.acpi;
    let mut fadt = FADTBuilder::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION)
        .preferred_pm_profile(PmProfile::Desktop)
        .flag(Flags::Wbinvd)
        .flag(Flags::ProcC1)
        .flag(Flags::SlpButton)
        .flag(Flags::FixRtc)
        .flag(Flags::ResetRegSup);
    if acpi.pm_timer_32bit {
        fadt = fadt.flag(Flags::TmrValExt);
    }
    fadt.creator_id = CREATOR_ID;
    fadt.creator_revision = CREATOR_REVISION;
    fadt.firmware_ctrl = facs.into();
    fadt.dsdt = dsdt.into();
    fadt.x_dsdt = u64::from(dsdt).into();
    fadt.sci_int = u16::from(acpi.sci_irq).into();
    fadt.smi_cmd = u32::from(acpi.smi_cmd).into();
    fadt.acpi_enable = acpi.acpi_enable;
    fadt.acpi_disable = acpi.acpi_disable;
    let (event, control, timer) = (acpi.pm_base, acpi.pm_base + 4, acpi.pm_base + 8);
    fadt.pm1a_evt_blk = u32::from(event).into();
    fadt.pm1_evt_len = 4;
    fadt.x_pm1a_evt_blk = io_register(event, 4, AccessSize::WordAccess);
    fadt.pm1a_cnt_blk = u32::from(control).into();
    fadt.pm1_cnt_len = 2;
    fadt.x_pm1a_cnt_blk = io_register(control, 2, AccessSize::WordAccess);
    fadt.pm_tmr_blk = u32::from(timer).into();
    fadt.pm_tmr_len = 4;
    fadt.x_pm_tmr_blk = io_register(timer, 4, AccessSize::DwordAccess);
    if acpi.gpe0_len != 0 {
        fadt.gpe0_blk = u32::from(acpi.gpe0_base).into();
        fadt.gpe0_blk_len = acpi.gpe0_len;
        fadt.x_gpe0_blk = io_register(acpi.gpe0_base, acpi.gpe0_len, AccessSize::ByteAccess);
    }
    fadt.p_lvl2_lat = NO_C2_LATENCY.into();
    fadt.p_lvl3_lat = NO_C3_LATENCY.into();
    fadt.century = acpi.century;
    fadt.iapc_boot_arch = boot_architecture(layout).into();
    fadt.reset_reg = io_register(acpi.reset_port, 1, AccessSize::ByteAccess);
    fadt.reset_value = acpi.reset_value;
    let mut bytes = Vec::new();
    fadt.finalize().to_aml_bytes(&mut bytes);
    bytes
}

fn boot_architecture(layout: &MachineLayout) -> u16 {
    let i8042 = if layout.i8042 { I8042 } else { 0 };
    let vga = if layout.vga_text { 0 } else { VGA_NOT_PRESENT };
    LEGACY_DEVICES | i8042 | vga
}

/// A register block of `bytes` bytes in I/O space.
fn io_register(port: u16, bytes: u8, access: AccessSize) -> GAS {
    GAS::new(AddressSpace::SystemIo, bytes.saturating_mul(8), 0, access, port.into())
}
