//! System control port A (0x92): the fast A20 gate and the fast CPU reset of the PS/2 and every chipset since.
//! IBM PS/2 Hardware Interface Technical Reference, "System Control Port A"; Intel ICH datasheets, PORT92.
//!
//! Left out: the PS/2's activity lights, password lock and watchdog bits.

use emu_core::bus::{Device, IoError, IoResult, IrqLine, PortIo, Snapshot};
use serde::{Deserialize, Serialize};

/// INIT_NOW: a 0 to 1 transition resets the CPU.
const INIT_NOW: u8 = 1 << 0;
/// ALT_A20_GATE: 1 lets address line 20 through.
const ALT_A20_GATE: u8 = 1 << 1;

/// What port 0x92 is connected to.
#[derive(Debug, Clone)]
pub struct Port92Wires {
    /// High while this port lets A20 through. The board ORs it with the keyboard controller's.
    pub a20: IrqLine,
    /// Pulsed to reset the CPU.
    pub reset: IrqLine,
}

/// Port 0x92. One region: 0x92, one port.
#[derive(Debug)]
pub struct Port92 {
    wires: Port92Wires,
    value: u8,
}

/// Saved register.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port92State {
    value: u8,
}

impl Port92 {
    /// The port at power-on: A20 not forced.
    pub fn new(wires: Port92Wires) -> Self {
        wires.a20.set(false);
        Port92 { wires, value: 0 }
    }
}

impl Device for Port92 {
    fn name(&self) -> &'static str {
        "port92"
    }

    fn reset(&mut self) {
        self.value = 0;
        self.wires.a20.set(false);
    }
}

impl PortIo for Port92 {
    fn port_read(&mut self, _region: u8, offset: u16, size: u8) -> IoResult<u32> {
        match (offset, size) {
            (0, 1) => Ok(self.value.into()),
            (0, _) => Err(IoError::Size),
            _ => Err(IoError::UnknownRegister),
        }
    }

    fn port_write(&mut self, _region: u8, offset: u16, size: u8, value: u32) -> IoResult {
        if size != 1 {
            return Err(IoError::Size);
        }
        if offset != 0 {
            return Err(IoError::UnknownRegister);
        }
        let value = value as u8 & (INIT_NOW | ALT_A20_GATE);
        let rose = value & !self.value;
        self.value = value;
        self.wires.a20.set(value & ALT_A20_GATE != 0);
        if rose & INIT_NOW != 0 {
            self.wires.reset.pulse();
        }
        Ok(())
    }
}

impl Snapshot for Port92 {
    type State = Port92State;
    type Args = Port92Wires;

    fn save(&self) -> Port92State {
        let Port92 { wires: _, value } = self;
        Port92State { value: *value }
    }

    fn restore(wires: Port92Wires, state: Port92State) -> Result<Self, String> {
        let Port92State { value } = state;
        wires.a20.set(value & ALT_A20_GATE != 0);
        Ok(Port92 { wires, value: value & (INIT_NOW | ALT_A20_GATE) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{Probe, accesses, hammer};
    use emu_core::clock::VmClock;
    use proptest::prelude::*;

    const A20: u32 = 0;
    const RESET: u32 = 1;

    fn port() -> (Port92, std::sync::Arc<Probe>) {
        let probe = Probe::new();
        (Port92::new(Port92Wires { a20: probe.line(A20), reset: probe.line(RESET) }), probe)
    }

    #[test]
    fn bit_1_gates_a20() {
        let (mut port, probe) = port();
        port.port_write(0, 0, 1, 2).unwrap();
        assert!(probe.level(A20));
        assert_eq!(port.port_read(0, 0, 1), Ok(2));
        port.port_write(0, 0, 1, 0).unwrap();
        assert!(!probe.level(A20));
    }

    #[test]
    fn only_a_rising_bit_0_resets() {
        let (mut port, probe) = port();
        port.port_write(0, 0, 1, 1).unwrap();
        port.port_write(0, 0, 1, 3).unwrap();
        assert_eq!(probe.rises(RESET), 1);
        port.port_write(0, 0, 1, 0).unwrap();
        port.port_write(0, 0, 1, 1).unwrap();
        assert_eq!(probe.rises(RESET), 2);
    }

    #[test]
    fn restore_brings_back_the_gate() {
        let (mut port, _) = port();
        port.port_write(0, 0, 1, 2).unwrap();
        let probe = Probe::new();
        let wires = Port92Wires { a20: probe.line(A20), reset: probe.line(RESET) };
        let again = Port92::restore(wires, port.save()).unwrap();
        assert!(probe.level(A20));
        assert_eq!(again.save(), port.save());
    }

    proptest! {
        #[test]
        fn no_access_panics(accesses in accesses()) {
            hammer(&mut port().0, &VmClock::counted(0), &accesses, |_, _| {});
        }
    }
}
