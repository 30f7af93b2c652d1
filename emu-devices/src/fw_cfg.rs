//! fw_cfg, the traditional interface, read-only: a selector port and a data port by which a guest asks what
//! machine it is in. QEMU, docs/specs/fw_cfg; the numbers of keys are those of Linux' uapi/linux/qemu_fw_cfg.h.
//!
//! Test kernels take the number of processors and the size of RAM from it. Left out: DMA, files, writing, and
//! keys by which QEMU hands a kernel to its firmware; what has no key here reads as an item of no bytes.

use emu_core::bus::{Device, IoError, IoResult, PortIo, Snapshot};
use serde::{Deserialize, Serialize};

/// First port: the selector, which overlaps the data port after it.
pub const PORT: u16 = 0x510;
/// Number of ports.
pub const PORTS: u16 = 2;

const SELECTOR: u16 = 0;
const DATA: u16 = 1;

/// Keys of the items.
mod key {
    pub(super) const SIGNATURE: u16 = 0x00;
    pub(super) const ID: u16 = 0x01;
    pub(super) const RAM_SIZE: u16 = 0x03;
    pub(super) const NB_CPUS: u16 = 0x05;
    pub(super) const MAX_CPUS: u16 = 0x0F;
    /// Asks for writing, which the interface no longer has: the item is the same.
    pub(super) const WRITE_CHANNEL: u16 = 1 << 14;
}

/// ID: the traditional interface alone.
const TRADITIONAL: u32 = 1 << 0;

/// What the device tells of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FwCfgItems {
    /// Bytes of RAM, below and above 4 GiB together.
    pub ram_bytes: u64,
    /// Number of processors.
    pub cpus: u16,
}

/// The device. One region of [`PORTS`] ports.
pub struct FwCfg {
    items: FwCfgItems,
    key: u16,
    offset: u32,
}

/// Saved registers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FwCfgState {
    key: u16,
    offset: u32,
}

impl FwCfg {
    /// A device that tells `items`; the signature is selected.
    pub fn new(items: FwCfgItems) -> Self {
        FwCfg { items, key: key::SIGNATURE, offset: 0 }
    }

    /// The selected item: its bytes in little-endian order, and how many they are.
    fn item(&self) -> ([u8; 8], usize) {
        let cpus = u64::from(self.items.cpus);
        let (value, len) = match self.key & !key::WRITE_CHANNEL {
            key::SIGNATURE => (u32::from_le_bytes(*b"QEMU").into(), 4),
            key::ID => (TRADITIONAL.into(), 4),
            key::RAM_SIZE => (self.items.ram_bytes, 8),
            key::NB_CPUS | key::MAX_CPUS => (cpus, 2),
            _ => (0, 0),
        };
        (value.to_le_bytes(), len)
    }
}

impl Device for FwCfg {
    fn name(&self) -> &'static str {
        "fw-cfg"
    }

    fn reset(&mut self) {
        (self.key, self.offset) = (key::SIGNATURE, 0);
    }
}

impl PortIo for FwCfg {
    fn port_read(&mut self, _region: u8, offset: u16, size: u8) -> IoResult<u32> {
        match (offset, size) {
            (DATA, 1) => {
                let (bytes, len) = self.item();
                let byte = bytes[..len].get(self.offset as usize).copied().unwrap_or(0);
                self.offset = self.offset.saturating_add(1);
                Ok(byte.into())
            }
            (SELECTOR, 1) => Err(IoError::Direction),
            (SELECTOR | DATA, _) => Err(IoError::Size),
            _ => Err(IoError::UnknownRegister),
        }
    }

    fn port_write(&mut self, _region: u8, offset: u16, size: u8, value: u32) -> IoResult {
        match (offset, size) {
            (SELECTOR, 2) => {
                (self.key, self.offset) = (value as u16, 0);
                Ok(())
            }
            // Ignored by definition.
            (DATA, 1) => Ok(()),
            (SELECTOR | DATA, _) => Err(IoError::Size),
            _ => Err(IoError::UnknownRegister),
        }
    }
}

impl Snapshot for FwCfg {
    type State = FwCfgState;
    type Args = FwCfgItems;

    fn save(&self) -> FwCfgState {
        let FwCfg { items: _, key, offset } = self;
        FwCfgState { key: *key, offset: *offset }
    }

    fn restore(items: FwCfgItems, state: FwCfgState) -> Result<Self, String> {
        let FwCfgState { key, offset } = state;
        Ok(FwCfg { items, key, offset })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{accesses, hammer};
    use emu_core::clock::VmClock;
    use proptest::prelude::*;
    use rstest::rstest;

    const ITEMS: FwCfgItems = FwCfgItems { ram_bytes: 0x1_8000_0000, cpus: 4 };

    fn read(device: &mut FwCfg, key: u32, len: usize) -> Vec<u8> {
        device.port_write(0, SELECTOR, 2, key).unwrap();
        (0..len).map(|_| device.port_read(0, DATA, 1).unwrap() as u8).collect()
    }

    #[rstest]
    #[case::signature(0x00, b"QEMU\0")]
    #[case::interface(0x01, &[1, 0, 0, 0, 0])]
    #[case::ram(0x03, &[0, 0, 0, 0x80, 1, 0, 0, 0, 0])]
    #[case::cpus(0x05, &[4, 0, 0])]
    #[case::most_cpus(0x0F, &[4, 0, 0])]
    #[case::for_writing(0x4005, &[4, 0, 0])]
    #[case::no_files(0x19, &[0; 4])]
    fn an_item_is_read_byte_by_byte_and_ends_in_zeros(#[case] key: u32, #[case] bytes: &[u8]) {
        assert_eq!(read(&mut FwCfg::new(ITEMS), key, bytes.len()), bytes);
    }

    #[test]
    fn a_restored_device_goes_on_within_the_item() {
        let mut first = FwCfg::new(ITEMS);
        read(&mut first, 0, 2);
        let mut second = FwCfg::restore(ITEMS, first.save()).unwrap();
        assert_eq!(second.port_read(0, DATA, 1), Ok(b'M'.into()));
    }

    proptest! {
        #[test]
        fn no_access_panics(accesses in accesses()) {
            hammer(&mut FwCfg::new(ITEMS), &VmClock::counted(0), &accesses, |_, _| {});
        }
    }
}
