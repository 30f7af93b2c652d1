//! The coprocessor error latch of the PC/AT: FERR# of the processor becomes IRQ 13, until the handler writes port
//! F0h. That write also asserts IGNNE#, which lets x87 instructions run until the error is cleared. IBM PC/AT
//! Technical Reference, "Math Coprocessor"; ICH datasheets, COPROC_ERR.

use emu_core::bus::{Device, IoError, IoResult, IrqLine, PortIo, Snapshot};
use serde::{Deserialize, Serialize};

/// First port: F0h clears the latch, F1h resets a coprocessor, which clears it too.
pub const PORT: u16 = 0xF0;
/// Ports of the latch.
pub const PORTS: u16 = 2;

/// The latch. One region of [`PORTS`] ports at [`PORT`].
#[derive(Debug)]
pub struct FerrLatch {
    /// IRQ 13.
    irq: IrqLine,
    /// Levels of FERR#, one bit for each of the first 64 processors.
    ferr: u64,
    latched: bool,
    /// IGNNE#.
    ignne: bool,
}

/// Saved latch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FerrState {
    ferr: u64,
    latched: bool,
    ignne: bool,
}

impl FerrLatch {
    /// The latch at power-on.
    pub fn new(irq: IrqLine) -> Self {
        FerrLatch { irq, ferr: 0, latched: false, ignne: false }
    }

    /// FERR# of processor `vcpu` is now at `level`. Only its rise sets the latch. Returns the level of IGNNE#.
    pub fn set_ferr(&mut self, vcpu: usize, level: bool) -> bool {
        let bit = 1_u64.checked_shl(vcpu as u32).unwrap_or(0);
        let rose = level && self.ferr & bit == 0;
        self.ferr = if level { self.ferr | bit } else { self.ferr & !bit };
        if rose {
            self.latched = true;
            self.irq.set(true);
        }
        self.ignne &= self.ferr != 0;
        self.ignne
    }

    fn acknowledge(&mut self) {
        self.ignne = self.ferr != 0;
        self.clear();
    }

    fn clear(&mut self) {
        self.latched = false;
        self.irq.set(false);
    }
}

impl Device for FerrLatch {
    fn name(&self) -> &'static str {
        "ferr"
    }

    fn reset(&mut self) {
        (self.ferr, self.ignne) = (0, false);
        self.clear();
    }
}

impl PortIo for FerrLatch {
    fn port_read(&mut self, _region: u8, _offset: u16, _size: u8) -> IoResult<u32> {
        Err(IoError::Direction)
    }

    fn port_write(&mut self, _region: u8, offset: u16, size: u8, _value: u32) -> IoResult {
        match (offset, size) {
            (0..PORTS, 1) => self.acknowledge(),
            (0..PORTS, _) => return Err(IoError::Size),
            _ => return Err(IoError::UnknownRegister),
        }
        Ok(())
    }
}

impl Snapshot for FerrLatch {
    type State = FerrState;
    type Args = IrqLine;

    fn save(&self) -> FerrState {
        let FerrLatch { irq: _, ferr, latched, ignne } = self;
        FerrState { ferr: *ferr, latched: *latched, ignne: *ignne }
    }

    fn restore(irq: IrqLine, state: FerrState) -> Result<Self, String> {
        let FerrState { ferr, latched, ignne } = state;
        irq.set(latched);
        Ok(FerrLatch { irq, ferr, latched, ignne })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{Probe, accesses, hammer};
    use emu_core::clock::VmClock;
    use proptest::prelude::*;

    #[test]
    fn an_error_interrupts_until_it_is_acknowledged_at_port_f0() {
        let wire = Probe::new();
        let mut latch = FerrLatch::new(wire.line(13));

        latch.set_ferr(0, true);
        assert!(wire.level(13));
        latch.port_write(0, 0, 1, 0).unwrap();
        assert!(!wire.level(13));
        latch.set_ferr(0, true);
        assert!(!wire.level(13), "the same error does not interrupt twice");
        latch.set_ferr(0, false);
        latch.set_ferr(0, true);
        assert!(wire.level(13));
    }

    #[test]
    fn the_acknowledgement_has_the_error_ignored_until_it_is_cleared() {
        let mut latch = FerrLatch::new(IrqLine::unconnected());

        let raised = latch.set_ferr(0, true);
        latch.port_write(0, 0, 1, 0).unwrap();
        let acknowledged = latch.set_ferr(0, true);
        let cleared = latch.set_ferr(0, false);
        latch.port_write(0, 0, 1, 0).unwrap();
        let next = latch.set_ferr(0, true);

        assert_eq!((raised, acknowledged, cleared, next), (false, true, false, false));
    }

    #[test]
    fn a_restored_latch_drives_its_wire() {
        let mut latch = FerrLatch::new(IrqLine::unconnected());
        latch.set_ferr(1, true);
        let wire = Probe::new();
        let restored = FerrLatch::restore(wire.line(13), latch.save()).unwrap();
        assert!(wire.level(13) && restored.save() == latch.save());
    }

    proptest! {
        #[test]
        fn no_access_panics(accesses in accesses()) {
            let mut latch = FerrLatch::new(IrqLine::unconnected());
            hammer(&mut latch, &VmClock::counted(0), &accesses, |_, _| {});
        }
    }
}
