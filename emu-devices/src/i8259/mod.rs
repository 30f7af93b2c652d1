//! The PC's two cascaded 8259A interrupt controllers, with the edge/level control registers of EISA and of
//! every chipset since. Intel 8259A datasheet (231468); Intel ICH datasheets for ELCR.
//!
//! Left out: MCS-80/85 mode (CALL instead of a vector) and buffered mode, which change nothing a PC can see.

mod chip;
#[cfg(test)]
mod tests;

use chip::Chip;
use emu_core::bus::{Device, IoError, IoResult, IrqLine, IrqSink, PortIo, Snapshot};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Region of the master's two ports, at 0x20.
pub const MASTER: u8 = 0;
/// Region of the slave's two ports, at 0xA0.
pub const SLAVE: u8 = 1;
/// Region of the two edge/level control registers, at 0x4D0.
pub const ELCR: u8 = 2;

/// The master's input that the slave is on.
const CASCADE: u8 = 2;
/// Inputs of the master that may be level-triggered: not the timer, the keyboard and the cascade.
const ELCR_MASTER: u8 = 0xF8;
/// Inputs of the slave that may be level-triggered: not the RTC and FERR#.
const ELCR_SLAVE: u8 = 0xDE;

/// Both 8259As. Regions [`MASTER`], [`SLAVE`] and [`ELCR`], two ports each.
#[derive(Debug)]
pub struct I8259Pair {
    /// INTR to the CPU.
    intr: IrqLine,
    /// Level of INTR.
    asserted: bool,
    master: Chip,
    slave: Chip,
}

/// The pair's sixteen inputs, for wires to end in.
#[derive(Clone)]
pub struct I8259Inputs(pub Arc<Mutex<I8259Pair>>);

impl IrqSink for I8259Inputs {
    fn set_level(&self, pin: u32, level: bool) {
        self.0.lock().set_level(pin, level);
    }
}

impl I8259Pair {
    /// The pair at power-on, driving `intr`.
    pub fn new(intr: IrqLine) -> Self {
        I8259Pair { intr, asserted: false, master: Chip::new(1 << CASCADE), slave: Chip::new(0) }
    }

    /// Input `pin` (0 to 15) is at `level`. Pin 2 is the cascade and has no wire; a pin that does not exist
    /// has none either.
    pub fn set_level(&mut self, pin: u32, level: bool) {
        match pin {
            2 | 16.. => return,
            0..8 => self.master.set_line(pin as u8, level),
            _ => self.slave.set_line(pin as u8 - 8, level),
        }
        self.drive();
    }

    /// Level of INTR.
    pub fn has_interrupt(&self) -> bool {
        self.asserted
    }

    /// The INTA cycles: takes the interrupt of highest priority into service and returns its vector. If the
    /// request has gone meanwhile, that of IRQ 7 or 15, with nothing in service.
    pub fn acknowledge(&mut self) -> u8 {
        let line = self.master.acknowledge();
        let vector = if line == Some(CASCADE) && self.master.has_slave_at(CASCADE) {
            let line = self.slave.acknowledge();
            self.slave.vector(line)
        } else {
            self.master.vector(line)
        };
        self.drive();
        vector
    }

    /// Brings the cascade and INTR in line with the registers.
    fn drive(&mut self) {
        self.master.set_line(CASCADE, self.slave.request().is_some());
        let level = self.master.request().is_some();
        if level != self.asserted {
            self.asserted = level;
            self.intr.set(level);
        }
    }
}

impl Device for I8259Pair {
    fn name(&self) -> &'static str {
        "i8259"
    }

    fn reset(&mut self) {
        self.master.reset();
        self.slave.reset();
        self.drive();
    }
}

impl PortIo for I8259Pair {
    fn port_read(&mut self, region: u8, offset: u16, size: u8) -> IoResult<u32> {
        if size != 1 {
            return Err(IoError::Size);
        }
        let value = match (region, offset) {
            (MASTER, 0 | 1) => self.master.read(offset == 1),
            (SLAVE, 0 | 1) => self.slave.read(offset == 1),
            (ELCR, 0) => self.master.elcr(),
            (ELCR, 1) => self.slave.elcr(),
            _ => return Err(IoError::UnknownRegister),
        };
        // A poll is a read that changes what is in service.
        self.drive();
        Ok(value.into())
    }

    fn port_write(&mut self, region: u8, offset: u16, size: u8, value: u32) -> IoResult {
        if size != 1 {
            return Err(IoError::Size);
        }
        let value = value as u8;
        match (region, offset) {
            (MASTER, 0 | 1) => self.master.write(offset == 1, value),
            (SLAVE, 0 | 1) => self.slave.write(offset == 1, value),
            (ELCR, 0) => self.master.set_elcr(value & ELCR_MASTER),
            (ELCR, 1) => self.slave.set_elcr(value & ELCR_SLAVE),
            _ => return Err(IoError::UnknownRegister),
        }
        self.drive();
        Ok(())
    }
}

/// Saved registers of both chips.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct I8259State {
    master: Chip,
    slave: Chip,
}

impl Snapshot for I8259Pair {
    type State = I8259State;
    type Args = IrqLine;

    fn save(&self) -> I8259State {
        let I8259Pair { intr: _, asserted: _, master, slave } = self;
        I8259State { master: master.clone(), slave: slave.clone() }
    }

    fn restore(intr: IrqLine, state: I8259State) -> Result<Self, String> {
        let I8259State { master, slave } = state;
        if !master.is_sound() || !slave.is_sound() {
            return Err("first: an 8259A has eight levels".to_owned());
        }
        let mut pair = I8259Pair { intr, asserted: false, master, slave };
        pair.drive();
        Ok(pair)
    }
}
