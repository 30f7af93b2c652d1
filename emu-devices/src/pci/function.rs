//! What a PCI function is to its bus.

use super::ConfigSpace;
use emu_core::bus::Device;
use std::fmt;

/// Bus, device and function number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FunctionAddress(u16);

impl FunctionAddress {
    /// `device` below 32, `function` below 8; higher bits are not looked at.
    pub const fn new(bus: u8, device: u8, function: u8) -> Self {
        FunctionAddress((bus as u16) << 8 | (device as u16 & 0x1F) << 3 | function as u16 & 7)
    }

    /// From the 16-bit number that configuration addresses and requester IDs hold.
    pub const fn from_number(number: u16) -> Self {
        FunctionAddress(number)
    }

    /// The device number.
    pub fn device(self) -> u8 {
        (self.0 >> 3) as u8 & 0x1F
    }
}

impl fmt::Display for FunctionAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}:{:02x}.{}", self.0 >> 8, self.device(), self.0 & 7)
    }
}

/// One function: a device with a configuration space.
pub trait PciFunction: Device {
    /// Its configuration space.
    fn config(&self) -> &ConfigSpace;
    /// Its configuration space, to be written by the guest.
    fn config_mut(&mut self) -> &mut ConfigSpace;
    /// The guest has written `size` bytes at `offset`: follow what changed (command, capabilities, own registers).
    /// Windows are followed by the bus.
    fn config_written(&mut self, offset: u16, size: u8);
    /// The guest is about to read `size` bytes at `offset`: for registers that are made when somebody looks.
    fn config_will_be_read(&mut self, _offset: u16, _size: u8) {}
}

/// Whether an access of `size` bytes at `offset` touches the register of `len` bytes at `register`.
pub fn touches(offset: u16, size: u8, register: usize, len: usize) -> bool {
    let offset = usize::from(offset);
    offset < register + len && register < offset + usize::from(size)
}
