//! Interrupt wires. A device raises and lowers its line and never learns where the line ends.

use std::{fmt, sync::Arc};

/// The far end of interrupt wires: an interrupt controller, or the board's routing in front of several.
pub trait IrqSink: Send + Sync {
    /// The wire at input `pin` is now at `level` (true: asserted). Called on every change and possibly again
    /// with the same level.
    fn set_level(&self, pin: u32, level: bool);
}

/// Where message-signalled interrupts go.
pub trait MsiSink: Send + Sync {
    /// A write of `data` to `address` in the interrupt range (0xFEExxxxx). SDM vol. 3, 11.11.
    fn send_msi(&self, address: u64, data: u32);
}

/// One interrupt wire, as the device sees it.
#[derive(Clone)]
pub struct IrqLine {
    sink: Option<Arc<dyn IrqSink>>,
    pin: u32,
}

impl IrqLine {
    /// A wire into `pin` of `sink`.
    pub fn new(sink: Arc<dyn IrqSink>, pin: u32) -> Self {
        IrqLine { sink: Some(sink), pin }
    }

    /// A wire that ends nowhere.
    pub fn unconnected() -> Self {
        IrqLine { sink: None, pin: 0 }
    }

    /// Drives the wire.
    pub fn set(&self, level: bool) {
        if let Some(sink) = &self.sink {
            sink.set_level(self.pin, level);
        }
    }

    /// Drives the wire high and low again: one edge.
    pub fn pulse(&self) {
        self.set(true);
        self.set(false);
    }
}

impl fmt::Debug for IrqLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IrqLine({})", self.pin)
    }
}
