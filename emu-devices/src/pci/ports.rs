//! Configuration mechanism 1, PCI 3.0, 3.2.2.3.2, and the reset register in the middle of its address port.
//!
//! CONFIG_ADDRESS is a 32-bit register that only 32-bit accesses reach; a byte at 0xCF9 is the reset register.

use super::{FunctionAddress, PciBus};
use crate::acpi::ResetControl;
use emu_core::bus::{Device, IoError, IoResult, PortIo, Snapshot};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Region numbers on the bus.
mod region {
    pub(super) const ADDRESS: u8 = 0;
    pub(super) const DATA: u8 = 1;
}

const ENABLE: u32 = 1 << 31;
const ADDRESS_MASK: u32 = 0x80FF_FFFC;
/// The reset register's offset in the address port.
const RST_CNT: u16 = 1;

/// The ports 0xCF8 (region 0) and 0xCFC (region 1), four each.
pub struct ConfigPorts {
    bus: Arc<PciBus>,
    reset_control: ResetControl,
    config_address: u32,
}

/// Registers of the configuration ports, as saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigPortsState {
    config_address: u32,
    rst_cnt: u8,
}

impl ConfigPorts {
    /// The ports of `bus` at power-on.
    pub fn new(bus: Arc<PciBus>, reset_control: ResetControl) -> Self {
        ConfigPorts { bus, reset_control, config_address: 0 }
    }

    /// What a data access at byte `offset` is for.
    fn target(&self, offset: u16, size: u8) -> IoResult<Option<(FunctionAddress, u16)>> {
        if offset + u16::from(size) > 4 {
            return Err(IoError::Size);
        }
        let address = FunctionAddress::from_number((self.config_address >> 8) as u16);
        let register = (self.config_address & 0xFC) as u16 + offset;
        Ok((self.config_address & ENABLE != 0).then_some((address, register)))
    }
}

impl Device for ConfigPorts {
    fn name(&self) -> &'static str {
        "pci-config"
    }

    fn reset(&mut self) {
        self.config_address = 0;
        self.reset_control.set(0);
    }
}

impl PortIo for ConfigPorts {
    fn port_read(&mut self, region: u8, offset: u16, size: u8) -> IoResult<u32> {
        match (region, offset, size) {
            (region::ADDRESS, 0, 4) => Ok(self.config_address),
            (region::ADDRESS, RST_CNT, 1) => Ok(self.reset_control.read().into()),
            (region::ADDRESS, _, 1) => Err(IoError::UnknownRegister),
            (region::ADDRESS, ..) => Err(IoError::Size),
            (region::DATA, ..) => Ok(match self.target(offset, size)? {
                Some((address, register)) => self.bus.config_read(address, register, size),
                None => u32::MAX,
            }),
            _ => Err(IoError::UnknownRegister),
        }
    }

    fn port_write(&mut self, region: u8, offset: u16, size: u8, value: u32) -> IoResult {
        match (region, offset, size) {
            (region::ADDRESS, 0, 4) => self.config_address = value & ADDRESS_MASK,
            (region::ADDRESS, RST_CNT, 1) => self.reset_control.write(value as u8),
            (region::ADDRESS, _, 1) => return Err(IoError::UnknownRegister),
            (region::ADDRESS, ..) => return Err(IoError::Size),
            (region::DATA, ..) => {
                if let Some((address, register)) = self.target(offset, size)? {
                    self.bus.config_write(address, register, size, value);
                }
            }
            _ => return Err(IoError::UnknownRegister),
        }
        Ok(())
    }
}

impl Snapshot for ConfigPorts {
    type State = ConfigPortsState;
    type Args = (Arc<PciBus>, ResetControl);

    fn save(&self) -> ConfigPortsState {
        let ConfigPorts { bus: _, reset_control, config_address } = self;
        ConfigPortsState { config_address: *config_address, rst_cnt: reset_control.read() }
    }

    fn restore((bus, mut reset_control): Self::Args, state: ConfigPortsState) -> Result<Self, String> {
        let ConfigPortsState { config_address, rst_cnt } = state;
        reset_control.set(rst_cnt);
        Ok(ConfigPorts { bus, reset_control, config_address: config_address & ADDRESS_MASK })
    }
}
