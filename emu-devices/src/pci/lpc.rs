//! The LPC bridge: ICH9, 8086:2918 at 0:1f.0. ICH9 datasheet, 13.1.
//!
//! It routes PCI interrupts and says where the ACPI power management block is. There is no GPIO block and no
//! root complex register block; both base registers read as disabled until a guest writes them, and writing them
//! maps nothing.

use super::{ConfigSpace, ConfigState, Identity, PIRQS, PciFunction, PciInterrupts, touches};
use crate::acpi::PM_BASE;
use emu_core::bus::{Device, Snapshot};
use std::sync::Arc;

/// Registers of the LPC bridge.
mod ich {
    pub(super) const PMBASE: usize = 0x40;
    pub(super) const ACPI_CNTL: usize = 0x44;
    pub(super) const GPIOBASE: usize = 0x48;
    pub(super) const GPIO_CNTL: usize = 0x4C;
    pub(super) const PIRQA_ROUT: usize = 0x60;
    pub(super) const SERIRQ_CNTL: usize = 0x64;
    pub(super) const PIRQE_ROUT: usize = 0x68;
    pub(super) const LPC_IO_DEC: usize = 0x80;
    pub(super) const LPC_EN: usize = 0x82;
    pub(super) const GEN1_DEC: usize = 0x84;
    pub(super) const GEN_PMCON_1: usize = 0xA0;
    pub(super) const GEN_PMCON_2: usize = 0xA2;
    pub(super) const GEN_PMCON_3: usize = 0xA4;
    pub(super) const RCBA: usize = 0xF0;
}

const ACPI_EN: u32 = 1 << 7;
const PMBASE_IO: u32 = 1 << 0;
const PMBASE_ADDRESS: u32 = 0xFF80;
/// PIRQx_ROUT at power-on: bit 7, routed to the I/O APIC alone.
const PIRQ_TO_IO_APIC: u32 = 0x80;

/// Called when the guest moves the power management block: its new first port, or `None` when it is switched
/// off. Called with the bridge locked: it has to note the request and return.
pub type PmMoved = Box<dyn Fn(Option<u16>) + Send + Sync>;

/// What the LPC bridge drives.
pub struct LpcWires {
    /// The interrupt router that its PIRQ registers steer.
    pub interrupts: Arc<PciInterrupts>,
    /// Told of the power management block's place.
    pub pm_moved: PmMoved,
}

/// The LPC bridge's registers, as saved.
pub type LpcState = ConfigState;

/// The LPC bridge.
pub struct LpcBridge {
    config: ConfigSpace,
    wires: LpcWires,
}

impl LpcBridge {
    /// The bridge at power-on, with the power management block as firmware would leave it: on, at [`PM_BASE`].
    pub fn new(wires: LpcWires) -> Self {
        let mut config = ConfigSpace::conventional(&Identity {
            vendor: 0x8086,
            device: 0x2918,
            subsystem: (0, 0),
            revision: 2,
            class: 0x06_0100,
            multifunction: true,
        });
        config.define(ich::PMBASE, 4, u32::from(PM_BASE) | PMBASE_IO, PMBASE_ADDRESS);
        config.define(ich::ACPI_CNTL, 1, ACPI_EN, 0x87);
        config.define(ich::GPIOBASE, 4, 1, 0xFFC0);
        config.define(ich::GPIO_CNTL, 1, 0, 0x11);
        for number in 0..PIRQS {
            config.define(pirq_rout(number), 1, PIRQ_TO_IO_APIC, 0x8F);
        }
        config.define(ich::SERIRQ_CNTL, 1, 0x10, 0xFF);
        config.define(ich::LPC_IO_DEC, 2, 0, 0x1377);
        config.define(ich::LPC_EN, 2, 0, 0x3F0F);
        for decoder in 0..4 {
            config.define(ich::GEN1_DEC + 4 * decoder, 4, 0, 0x00FC_FFFD);
        }
        config.define(ich::GEN_PMCON_1, 2, 0, 0x0E9F);
        config.define(ich::GEN_PMCON_2, 1, 0, 0x80);
        config.define(ich::GEN_PMCON_3, 1, 0, 0xDF);
        config.define(ich::RCBA, 4, 0, 0xFFFF_C001);
        let bridge = LpcBridge { config, wires };
        bridge.route_all();
        bridge
    }

    /// First port of the power management block, if it is on.
    pub fn pm_base(&self) -> Option<u16> {
        let enabled = self.config.get(ich::ACPI_CNTL, 1) & ACPI_EN != 0;
        enabled.then_some((self.config.get(ich::PMBASE, 4) & PMBASE_ADDRESS) as u16)
    }

    fn route_all(&self) {
        for number in 0..PIRQS {
            self.wires.interrupts.set_route(number, self.config.get(pirq_rout(number), 1) as u8);
        }
    }
}

/// Offset of PIRQ[A-H]_ROUT.
fn pirq_rout(number: usize) -> usize {
    if number < 4 { ich::PIRQA_ROUT + number } else { ich::PIRQE_ROUT + number - 4 }
}

impl Device for LpcBridge {
    fn name(&self) -> &'static str {
        "ich9-lpc"
    }

    fn reset(&mut self) {
        self.config.reset();
        self.route_all();
        (self.wires.pm_moved)(self.pm_base());
    }
}

impl PciFunction for LpcBridge {
    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }

    fn config_written(&mut self, offset: u16, size: u8) {
        if touches(offset, size, ich::PIRQA_ROUT, 4) || touches(offset, size, ich::PIRQE_ROUT, 4) {
            self.route_all();
        }
        if touches(offset, size, ich::PMBASE, 5) {
            (self.wires.pm_moved)(self.pm_base());
        }
    }
}

impl Snapshot for LpcBridge {
    type State = LpcState;
    type Args = LpcWires;

    fn save(&self) -> LpcState {
        let LpcBridge { config, wires: _ } = self;
        config.save()
    }

    fn restore(wires: LpcWires, state: LpcState) -> Result<Self, String> {
        let LpcBridge { config, wires } = LpcBridge::new(wires);
        let bridge = LpcBridge { config: config.with_state(state)?, wires };
        bridge.route_all();
        (bridge.wires.pm_moved)(bridge.pm_base());
        Ok(bridge)
    }
}
