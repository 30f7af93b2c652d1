//! The configuration space of one function: bytes, and which of them a guest may change. PCI 3.0, chapter 6.

use super::{Bar, BarKind, BarWindow};
use serde::{Deserialize, Serialize};

/// Offsets in the header (type 0).
pub mod reg {
    #![expect(missing_docs, reason = "the names are the documentation: PCI 3.0, figure 6-1")]
    pub const VENDOR_ID: usize = 0x00;
    pub const DEVICE_ID: usize = 0x02;
    pub const COMMAND: usize = 0x04;
    pub const STATUS: usize = 0x06;
    pub const REVISION_ID: usize = 0x08;
    pub const CLASS_CODE: usize = 0x09;
    pub const CACHE_LINE_SIZE: usize = 0x0C;
    pub const LATENCY_TIMER: usize = 0x0D;
    pub const HEADER_TYPE: usize = 0x0E;
    pub const BAR0: usize = 0x10;
    pub const SUBSYSTEM_VENDOR_ID: usize = 0x2C;
    pub const SUBSYSTEM_ID: usize = 0x2E;
    pub const CAPABILITIES: usize = 0x34;
    pub const INTERRUPT_LINE: usize = 0x3C;
    pub const INTERRUPT_PIN: usize = 0x3D;
    pub const FIRST_FREE: usize = 0x40;
}

/// Bits of the command register.
pub mod command {
    /// Answers in its I/O windows.
    pub const IO: u32 = 1 << 0;
    /// Answers in its memory windows.
    pub const MEMORY: u32 = 1 << 1;
    /// Accesses memory, and sends messages.
    pub const BUS_MASTER: u32 = 1 << 2;
    /// Reports parity errors.
    pub const PARITY: u32 = 1 << 6;
    /// Reports system errors.
    pub const SERR: u32 = 1 << 8;
    /// Leaves its INTx wire alone.
    pub const INTX_DISABLE: u32 = 1 << 10;
    pub(super) const WRITABLE: u32 = IO | MEMORY | BUS_MASTER | PARITY | SERR | INTX_DISABLE;
}

/// Error bits of the status register: writing one clears.
const STATUS_CLEARABLE: u16 = 0xF900;
const STATUS_INTERRUPT: u32 = 1 << 3;
const STATUS_CAPABILITIES: u32 = 1 << 4;
const MULTIFUNCTION: u8 = 1 << 7;
/// Base address registers of a function.
pub(super) const BARS: usize = 6;
const CONVENTIONAL: usize = 256;
const EXPRESS: usize = 4096;

/// Who a function says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Subsystem vendor ID and subsystem ID.
    pub subsystem: (u16, u16),
    /// Revision ID.
    pub revision: u8,
    /// Base class, subclass, interface: 24 bits.
    pub class: u32,
    /// The device has further functions.
    pub multifunction: bool,
}

/// One function's configuration space.
///
/// The device declares registers once, with [`define`](Self::define) and its relatives, before the guest sees
/// it; these panic where a declaration makes no sense. What a guest does never panics.
#[derive(Debug, Clone)]
pub struct ConfigSpace {
    bytes: Box<[u8]>,
    /// The bytes after RESET#.
    initial: Box<[u8]>,
    /// Bits that a guest's write sets and clears.
    writable: Box<[u8]>,
    /// Bits that a guest's write of one clears.
    clearable: Box<[u8]>,
    bars: [Option<Bar>; BARS],
    /// Where the next capability goes.
    next_capability: usize,
    /// The pointer to patch for it.
    last_link: usize,
}

/// Saved bytes of a configuration space.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigState(Vec<u8>);

impl ConfigSpace {
    /// A conventional PCI function: 256 bytes.
    pub fn conventional(identity: &Identity) -> Self {
        Self::new(identity, CONVENTIONAL)
    }

    /// A PCI Express function: 4096 bytes.
    pub fn express(identity: &Identity) -> Self {
        Self::new(identity, EXPRESS)
    }

    fn new(identity: &Identity, len: usize) -> Self {
        let zeroes = || vec![0; len].into_boxed_slice();
        let mut space = ConfigSpace {
            bytes: zeroes(),
            initial: zeroes(),
            writable: zeroes(),
            clearable: zeroes(),
            bars: [None; BARS],
            next_capability: reg::FIRST_FREE,
            last_link: reg::CAPABILITIES,
        };
        let Identity { vendor, device, subsystem, revision, class, multifunction } = *identity;
        space.define(reg::VENDOR_ID, 2, vendor.into(), 0);
        space.define(reg::DEVICE_ID, 2, device.into(), 0);
        space.define(reg::COMMAND, 2, 0, command::WRITABLE);
        space.define(reg::REVISION_ID, 4, class << 8 | u32::from(revision), 0);
        space.define(reg::CACHE_LINE_SIZE, 1, 0, 0xFF);
        space.define(reg::LATENCY_TIMER, 1, 0, 0xFF);
        space.define(reg::HEADER_TYPE, 1, if multifunction { MULTIFUNCTION.into() } else { 0 }, 0);
        space.define(reg::SUBSYSTEM_VENDOR_ID, 2, subsystem.0.into(), 0);
        space.define(reg::SUBSYSTEM_ID, 2, subsystem.1.into(), 0);
        space.define(reg::INTERRUPT_LINE, 1, 0, 0xFF);
        space.clearable[reg::STATUS..reg::STATUS + 2].copy_from_slice(&STATUS_CLEARABLE.to_le_bytes());
        space
    }

    // Declarations.

    /// A register of `size` (1, 2, 4) bytes with its value after RESET# and the bits a guest may write.
    pub fn define(&mut self, offset: usize, size: usize, value: u32, writable: u32) {
        self.bytes[offset..offset + size].copy_from_slice(&value.to_le_bytes()[..size]);
        self.initial[offset..offset + size].copy_from_slice(&value.to_le_bytes()[..size]);
        self.writable[offset..offset + size].copy_from_slice(&writable.to_le_bytes()[..size]);
    }

    /// Base address register `index`; a 64-bit one takes `index + 1` too.
    pub fn add_bar(&mut self, index: usize, bar: Bar) {
        let wide = matches!(bar.kind, BarKind::Memory64 { .. });
        assert!(
            bar.size.is_power_of_two() && bar.size >= bar.kind.smallest(),
            "BAR of {:#x} bytes",
            bar.size
        );
        // PCI 3.0, 6.2.5.1: I/O windows have at most 256 ports.
        assert!(bar.kind != BarKind::Io || bar.size <= 256, "an I/O BAR of {:#x} ports", bar.size);
        assert!(wide || bar.size <= 1 << 31, "a 32-bit BAR of {:#x} bytes", bar.size);
        assert!(index + usize::from(wide) < BARS, "no BAR {index}");
        let address_bits = !(bar.size - 1);
        let low = address_bits as u32 & !bar.kind.flag_mask();
        self.define(reg::BAR0 + 4 * index, 4, bar.kind.flags(), low);
        if wide {
            self.define(reg::BAR0 + 4 * (index + 1), 4, 0, (address_bits >> 32) as u32);
        }
        self.bars[index] = Some(bar);
    }

    /// Appends capability `id`: `body` follows its two header bytes, `writable` are the bits of it that a guest
    /// may write. Returns the capability's offset.
    pub fn add_capability(&mut self, id: u8, body: &[u8], writable: &[u8]) -> usize {
        assert_eq!(body.len(), writable.len(), "capability {id:#x}");
        let (at, end) = (self.next_capability, self.next_capability + 2 + body.len());
        assert!(end <= CONVENTIONAL, "no room for capability {id:#x}");
        self.define(self.last_link, 1, at as u32, 0);
        self.define(at, 2, id.into(), 0);
        for (index, (&value, &writable)) in body.iter().zip(writable).enumerate() {
            self.define(at + 2 + index, 1, value.into(), writable.into());
        }
        self.define(reg::STATUS, 2, STATUS_CAPABILITIES, 0);
        (self.last_link, self.next_capability) = (at + 1, end.next_multiple_of(4));
        at
    }

    /// The INTx pin the function uses: 1 is INTA#.
    pub fn set_interrupt_pin(&mut self, pin: u8) {
        self.define(reg::INTERRUPT_PIN, 1, pin.into(), 0);
    }

    /// Bits of a register that a guest clears by writing ones.
    pub fn clear_by_ones(&mut self, offset: usize, size: usize, bits: u32) {
        self.clearable[offset..offset + size].copy_from_slice(&bits.to_le_bytes()[..size]);
    }

    // The device's side.

    /// The register of `size` (1, 2, 4) bytes at `offset`.
    pub fn get(&self, offset: usize, size: usize) -> u32 {
        let mut value = [0; 4];
        value[..size].copy_from_slice(&self.bytes[offset..offset + size]);
        u32::from_le_bytes(value)
    }

    /// Changes a register from the device's side.
    pub fn set(&mut self, offset: usize, size: usize, value: u32) {
        self.bytes[offset..offset + size].copy_from_slice(&value.to_le_bytes()[..size]);
    }

    /// Where base address register `index` maps to; `None` while its decoding is off.
    pub fn bar(&self, index: usize) -> Option<BarWindow> {
        let Bar { kind, size } = (*self.bars.get(index)?)?;
        let enable = if kind == BarKind::Io { command::IO } else { command::MEMORY };
        if self.get(reg::COMMAND, 2) & enable == 0 {
            return None;
        }
        let low = u64::from(self.get(reg::BAR0 + 4 * index, 4) & !kind.flag_mask());
        let high = match kind {
            BarKind::Memory64 { .. } => self.get(reg::BAR0 + 4 * (index + 1), 4),
            _ => 0,
        };
        Some(BarWindow { kind, base: u64::from(high) << 32 | low, size })
    }

    /// Whether the function may access memory on its own.
    pub fn is_bus_master(&self) -> bool {
        self.get(reg::COMMAND, 2) & command::BUS_MASTER != 0
    }

    /// Whether INTx is switched off.
    pub fn is_intx_disabled(&self) -> bool {
        self.get(reg::COMMAND, 2) & command::INTX_DISABLE != 0
    }

    /// Shows in the status register whether the function asks for its INTx.
    pub(super) fn show_interrupt(&mut self, asked: bool) {
        let status = self.get(reg::STATUS, 2) & !STATUS_INTERRUPT;
        self.set(reg::STATUS, 2, if asked { status | STATUS_INTERRUPT } else { status });
    }

    /// RESET#.
    pub fn reset(&mut self) {
        self.bytes.copy_from_slice(&self.initial);
    }

    // The guest's side.

    /// Reads `size` bytes. Beyond the space's end, lines float.
    pub fn read(&self, offset: u16, size: u8) -> u32 {
        let byte = |index: usize| u32::from(self.bytes.get(index).copied().unwrap_or(0xFF));
        (0..usize::from(size.min(4))).fold(0, |value, n| value | byte(usize::from(offset) + n) << (8 * n))
    }

    /// Writes the low `size` bytes of `value`, as far as the registers there let it.
    pub fn write(&mut self, offset: u16, size: u8, value: u32) {
        let bytes = value.to_le_bytes();
        for (index, &new) in (usize::from(offset)..self.bytes.len()).zip(&bytes[..usize::from(size.min(4))]) {
            let (writable, clearable) = (self.writable[index], self.clearable[index]);
            self.bytes[index] = (self.bytes[index] & !writable | new & writable) & !(new & clearable);
        }
    }

    /// The bytes, as saved.
    pub fn save(&self) -> ConfigState {
        ConfigState(self.bytes.to_vec())
    }

    /// Takes saved bytes, after the same declarations as when they were saved.
    pub fn with_state(mut self, state: ConfigState) -> Result<Self, String> {
        let ConfigState(bytes) = state;
        if bytes.len() != self.bytes.len() || bytes[..4] != self.bytes[..4] {
            return Err("configuration space of another device".to_owned());
        }
        self.bytes = bytes.into_boxed_slice();
        Ok(self)
    }
}
