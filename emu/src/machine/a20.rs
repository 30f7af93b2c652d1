//! What the keyboard controller and port 92h both drive: the A20 gate, open while either opens it, and the wire
//! that resets the processor.

use super::lifecycle::{Event, Lifecycle};
use emu_core::{
    bus::{IrqLine, IrqSink},
    memory::PhysicalMemory,
};
use parking_lot::Mutex;
use std::sync::Arc;

/// The two who can open the gate.
#[derive(Debug, Clone, Copy)]
pub enum A20Source {
    /// The keyboard controller's output port.
    KeyboardController = 0,
    /// Port 92h.
    Port92 = 1,
}

/// The OR gate in front of A20.
pub struct A20Gate {
    memory: Arc<PhysicalMemory>,
    open: Mutex<u8>,
}

impl A20Gate {
    /// The gate of `memory`.
    pub fn new(memory: Arc<PhysicalMemory>) -> Arc<Self> {
        Arc::new(A20Gate { memory, open: Mutex::new(0) })
    }

    /// The wire of `source`.
    pub fn wire(self: &Arc<Self>, source: A20Source) -> IrqLine {
        IrqLine::new(self.clone(), source as u32)
    }
}

impl IrqSink for A20Gate {
    fn set_level(&self, pin: u32, level: bool) {
        let mut open = self.open.lock();
        let bit = 1 << (pin & 1);
        *open = if level { *open | bit } else { *open & !bit };
        self.memory.set_a20(*open != 0);
    }
}

/// The end of the wires that reset the processor. Without a firmware that tells a warm start from a cold one,
/// they reset the machine.
pub struct ResetLine(Arc<Lifecycle>);

impl ResetLine {
    /// A wire that resets the machine.
    pub fn wire(lifecycle: &Arc<Lifecycle>) -> IrqLine {
        IrqLine::new(Arc::new(ResetLine(lifecycle.clone())), 0)
    }
}

impl IrqSink for ResetLine {
    fn set_level(&self, _pin: u32, level: bool) {
        if level {
            self.0.request(Event::Reset);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use emu_core::memory::GuestMemory;

    #[test]
    fn either_source_opens_the_gate_and_both_must_close_it() {
        let memory = Arc::new(PhysicalMemory::new(GuestMemory::new(1 << 20).unwrap()));
        let gate = A20Gate::new(memory.clone());
        let (controller, port92) = (gate.wire(A20Source::KeyboardController), gate.wire(A20Source::Port92));

        controller.set(true);
        port92.set(true);
        controller.set(false);
        assert!(memory.a20());
        port92.set(false);
        assert!(!memory.a20());
        controller.set(true);
        assert!(memory.a20());
    }
}
