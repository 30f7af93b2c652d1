//! Message-signalled interrupts by capability 05h: PCI 3.0, 6.8.1. 64-bit addresses, a mask and a pending bit for each
//! vector; all registers are in configuration space.

use super::ConfigSpace;
use emu_core::bus::MsiSink;

/// Capability ID.
const ID: u8 = 0x05;
/// Offsets in the capability.
const CONTROL: usize = 2;
const ADDRESS: usize = 4;
const ADDRESS_HIGH: usize = 8;
const DATA: usize = 12;
const MASK: usize = 16;
const PENDING: usize = 20;
const LEN: usize = 24;
/// Message control.
const ENABLE: u32 = 1 << 0;
const ADDRESS_64: u16 = 1 << 7;
const VECTOR_MASKING: u16 = 1 << 8;

/// The MSI capability of a function.
#[derive(Debug, Clone)]
pub(super) struct Msi {
    /// Where it is in configuration space.
    at: usize,
}

impl Msi {
    /// Appends the capability with 2 to the power of `log2` vectors, of which there are 32 at most.
    pub(super) fn add(config: &mut ConfigSpace, log2: u8) -> Self {
        assert!(log2 <= 5, "2^{log2} vectors");
        let (mut body, mut writable) = ([0; LEN - 2], [0; LEN - 2]);
        let mut put = |offset: usize, value: &[u8], mask: &[u8]| {
            body[offset - 2..offset - 2 + value.len()].copy_from_slice(value);
            writable[offset - 2..offset - 2 + mask.len()].copy_from_slice(mask);
        };
        let control = u16::from(log2) << 1 | ADDRESS_64 | VECTOR_MASKING;
        put(CONTROL, &control.to_le_bytes(), &0x71_u16.to_le_bytes());
        put(ADDRESS, &[], &0xFFFF_FFFC_u32.to_le_bytes());
        put(ADDRESS_HIGH, &[], &u32::MAX.to_le_bytes());
        put(DATA, &[], &u16::MAX.to_le_bytes());
        let vectors = (u64::MAX >> (64 - (1 << log2))) as u32;
        put(MASK, &[], &vectors.to_le_bytes());
        Msi { at: config.add_capability(ID, &body, &writable) }
    }

    pub(super) fn is_enabled(&self, config: &ConfigSpace) -> bool {
        config.get(self.at + CONTROL, 2) & ENABLE != 0
    }

    /// Vectors that the guest has enabled, less one. More than there are make no sense.
    fn vector_mask(&self, config: &ConfigSpace) -> u32 {
        let control = config.get(self.at + CONTROL, 2);
        (1 << (control >> 4 & 7).min(control >> 1 & 7)) - 1
    }

    /// Sends vector `number`, or notes it while it is held back. Vectors that are not enabled share those that are.
    pub(super) fn send(&self, config: &mut ConfigSpace, number: u16, sink: &dyn MsiSink) {
        let number = u32::from(number) & self.vector_mask(config);
        if !config.is_bus_master() || config.get(self.at + MASK, 4) & 1 << number != 0 {
            let pending = config.get(self.at + PENDING, 4);
            config.set(self.at + PENDING, 4, pending | 1 << number);
            return;
        }
        let address = u64::from(config.get(self.at + ADDRESS_HIGH, 4)) << 32
            | u64::from(config.get(self.at + ADDRESS, 4));
        let data = config.get(self.at + DATA, 2) & !self.vector_mask(config) | number;
        sink.send_msi(address, data);
    }

    /// Sends what has been held back and is not any more.
    pub(super) fn release(&self, config: &mut ConfigSpace, sink: &dyn MsiSink) {
        if !self.is_enabled(config) || !config.is_bus_master() {
            return;
        }
        let pending = config.get(self.at + PENDING, 4);
        let free = pending & !config.get(self.at + MASK, 4);
        config.set(self.at + PENDING, 4, pending & !free);
        for number in (0..32).filter(|number| free & 1 << number != 0) {
            self.send(config, number, sink);
        }
    }
}
