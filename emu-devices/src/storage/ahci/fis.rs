//! Frame information structures: what goes over a serial ATA cable, and where the received ones are put in memory.
//! Serial ATA 3.0, 10.3; AHCI 1.3.1, 4.2.1.

use crate::storage::ata::{Ending, Taskfile};

/// Bytes of a command FIS in a command table, all that may be there.
pub const COMMAND_LEN: usize = 64;
/// Type of a register FIS to the device.
const REGISTER_H2D: u8 = 0x27;
const REGISTER_D2H: u8 = 0x34;
const PIO_SETUP: u8 = 0x5F;
const SET_DEVICE_BITS: u8 = 0xA1;
/// The FIS brings a command; else device control.
const COMMAND: u8 = 1 << 7;
/// The device asks for an interrupt.
const INTERRUPT: u8 = 1 << 6;
/// PIO data goes to the host.
const TO_HOST: u8 = 1 << 5;
/// Software reset, in device control.
const SRST: u8 = 1 << 2;
/// Status bits that SET DEVICE BITS brings: neither BSY nor DRQ nor bit 3's neighbours.
pub const DEVICE_BITS: u8 = 0x77;

/// Offsets in the received FIS area.
mod area {
    pub(super) const PIO_SETUP: u64 = 0x20;
    pub(super) const REGISTER_D2H: u64 = 0x40;
    pub(super) const SET_DEVICE_BITS: u64 = 0x58;
}

/// What the host sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FromHost {
    /// A command.
    Command(Taskfile),
    /// Device control: whether SRST is set.
    Control {
        /// It is.
        reset: bool,
    },
}

impl FromHost {
    /// What `bytes` say; `None`: no device knows that.
    pub fn parse(bytes: &[u8; COMMAND_LEN]) -> Option<Self> {
        if bytes[0] != REGISTER_H2D {
            return None;
        }
        if bytes[1] & COMMAND == 0 {
            return Some(FromHost::Control { reset: bytes[15] & SRST != 0 });
        }
        Some(FromHost::Command(Taskfile {
            command: bytes[2],
            feature: u16::from_le_bytes([bytes[3], bytes[11]]),
            count: u16::from_le_bytes([bytes[12], bytes[13]]),
            lba: [bytes[4], bytes[5], bytes[6], bytes[8], bytes[9], bytes[10]],
            device: bytes[7],
        }))
    }
}

/// A FIS from the device: its offset in the received FIS area, and its bytes.
pub struct ToHost {
    /// Where.
    pub offset: u64,
    /// What.
    pub bytes: [u8; 20],
    /// How many of them.
    pub len: usize,
}

impl ToHost {
    fn registers(kind: u8, flags: u8, ending: &Ending) -> [u8; 20] {
        let Ending { status, error, count, lba, device } = *ending;
        let [count_low, count_high] = count.to_le_bytes();
        let mut bytes = [0; 20];
        bytes[..8].copy_from_slice(&[kind, flags, status, error, lba[0], lba[1], lba[2], device]);
        bytes[8..11].copy_from_slice(&lba[3..]);
        (bytes[12], bytes[13]) = (count_low, count_high);
        bytes
    }

    /// Register, device to host.
    pub fn register(ending: &Ending, interrupt: bool) -> Self {
        let flags = if interrupt { INTERRUPT } else { 0 };
        let bytes = Self::registers(REGISTER_D2H, flags, ending);
        ToHost { offset: area::REGISTER_D2H, bytes, len: 20 }
    }

    /// PIO setup for the last block, of `len` bytes; `ending` is what the registers hold after it.
    pub fn pio_setup(ending: &Ending, before: u8, len: u16, to_host: bool, interrupt: bool) -> Self {
        let flags = if to_host { TO_HOST } else { 0 } | if interrupt { INTERRUPT } else { 0 };
        let mut bytes = Self::registers(PIO_SETUP, flags, &Ending { status: before, ..*ending });
        bytes[15] = ending.status;
        bytes[16..18].copy_from_slice(&len.to_le_bytes());
        ToHost { offset: area::PIO_SETUP, bytes, len: 20 }
    }

    /// Set device bits: queued commands that are done.
    pub fn set_device_bits(status: u8, error: u8, done: u32) -> Self {
        let mut bytes = [0; 20];
        bytes[..4].copy_from_slice(&[SET_DEVICE_BITS, INTERRUPT, status & DEVICE_BITS, error]);
        bytes[4..8].copy_from_slice(&done.to_le_bytes());
        ToHost { offset: area::SET_DEVICE_BITS, bytes, len: 8 }
    }
}
