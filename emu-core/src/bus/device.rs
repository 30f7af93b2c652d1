//! What a device is: a name, a reset, and the access traits it chooses to have.

use serde::{Serialize, de::DeserializeOwned};

/// Why a device does not answer an access. The bus turns it into a floating read or a dropped write and logs
/// it once per place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IoError {
    /// No register at this offset.
    #[error("no such register")]
    UnknownRegister,
    /// The register cannot be accessed with this width.
    #[error("access size not supported")]
    Size,
    /// The register cannot be accessed at this alignment.
    #[error("access not aligned")]
    Alignment,
    /// The register is read-only, or write-only.
    #[error("access direction not supported")]
    Direction,
}

/// Result of a device access.
pub type IoResult<T = ()> = Result<T, IoError>;

/// Root of every device. What a device can do beyond this, it says by implementing [`PortIo`] or [`MmioIo`].
pub trait Device: Send {
    /// Short datasheet name, lower case (`i8259`), for logs.
    fn name(&self) -> &'static str;
    /// The RESET# line: registers return to their power-on values. Wires and backends stay connected.
    fn reset(&mut self);
}

/// A device with registers in I/O port space.
///
/// `region` numbers the port ranges the device was given on the bus, in the order of registration; `offset`
/// counts from the start of that range; `size` is 1, 2 or 4 bytes. A device may refuse a size with
/// [`IoError::Size`]; the bus then splits the access into bytes, as an ISA bus does.
pub trait PortIo: Device {
    /// Reads `size` bytes; the value is in the low bits.
    fn port_read(&mut self, region: u8, offset: u16, size: u8) -> IoResult<u32>;
    /// Writes the low `size` bytes of `value`.
    fn port_write(&mut self, region: u8, offset: u16, size: u8, value: u32) -> IoResult;
}

/// A device with registers in guest-physical memory.
///
/// As [`PortIo`], with `size` 1, 2, 4 or 8. An access that the device refuses with [`IoError::Size`] is split
/// into halves by the bus.
pub trait MmioIo: Device {
    /// Reads `size` bytes; the value is in the low bits.
    fn mmio_read(&mut self, region: u8, offset: u64, size: u8) -> IoResult<u64>;
    /// Writes the low `size` bytes of `value`.
    fn mmio_write(&mut self, region: u8, offset: u64, size: u8, value: u64) -> IoResult;
}

/// Saving a device and making it again. Restore is a constructor: no half-initialised device exists.
///
/// Implementations destructure both the device and the state exhaustively, so that a new field cannot be
/// forgotten.
pub trait Snapshot: Sized {
    /// The saved registers; versioned by its own definition.
    type State: Serialize + DeserializeOwned;
    /// Wires, clocks and backends the new device is connected to.
    type Args;
    /// The device's volatile registers.
    fn save(&self) -> Self::State;
    /// Makes the device again. Errors name the field that makes no sense.
    fn restore(args: Self::Args, state: Self::State) -> Result<Self, String>;
}
