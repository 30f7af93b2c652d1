//! I/O APIC: 82093AA as in ICH chipsets, version 0x20, with 24 pins and the EOI register.
//!
//! A wire here says "asserted", not a voltage, so the polarity bit of an entry is kept and has no effect. The
//! fabric delivers at once: the delivery status bit reads as idle. An interrupt that nobody takes, because its
//! destinations are off, is offered again when its pin or its entry changes.

mod redirection;
#[cfg(test)]
mod tests;

use super::{ApicBus, DeliveryMode, EoiSink, IO_APIC_ID};
use emu_core::bus::{Device, IoError, IoResult, IrqSink, MmioIo, Snapshot};
use parking_lot::Mutex;
use redirection::Entry;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Number of input pins.
pub const PINS: usize = 24;

/// Offsets in the memory window.
mod window {
    pub(super) const IOREGSEL: u64 = 0x00;
    pub(super) const IOWIN: u64 = 0x10;
    pub(super) const EOI: u64 = 0x40;
}

/// Indirect registers.
mod reg {
    pub(super) const IOAPICID: u8 = 0x00;
    pub(super) const IOAPICVER: u8 = 0x01;
    pub(super) const IOAPICARB: u8 = 0x02;
    pub(super) const IOREDTBL: u8 = 0x10;
    pub(super) const IOREDTBL_LAST: u8 = IOREDTBL + 2 * super::PINS as u8 - 1;
}

const VERSION: u32 = 0x20 | (PINS as u32 - 1) << 16;
const ID_MASK: u32 = 0x0F00_0000;

/// Registers of the I/O APIC, as saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoApicState {
    ioregsel: u8,
    id: u32,
    /// Levels of the pins.
    pins: u32,
    redirection: [Entry; PINS],
}

impl IoApicState {
    fn at_reset(pins: u32) -> Self {
        let id = u32::from(IO_APIC_ID) << 24;
        IoApicState { ioregsel: 0, id, pins, redirection: [Entry::AT_RESET; PINS] }
    }
}

/// The pins of an I/O APIC: where interrupt wires end, and where EOIs arrive.
pub struct IoApicPins {
    fabric: Arc<ApicBus>,
    state: Mutex<IoApicState>,
}

/// An I/O APIC as the bus sees it.
pub struct IoApic {
    chip: Arc<IoApicPins>,
}

impl IoApic {
    /// An I/O APIC at power-on whose messages go to `fabric`.
    pub fn new(fabric: Arc<ApicBus>) -> Self {
        Self::with(fabric, IoApicState::at_reset(0))
    }

    fn with(fabric: Arc<ApicBus>, state: IoApicState) -> Self {
        let chip = Arc::new(IoApicPins { fabric, state: Mutex::new(state) });
        let sink: Arc<dyn EoiSink> = chip.clone();
        chip.fabric.add_eoi_sink(Arc::downgrade(&sink));
        IoApic { chip }
    }

    /// Its pins, for the board to wire.
    pub fn pins(&self) -> Arc<IoApicPins> {
        self.chip.clone()
    }
}

impl IoApicPins {
    /// Sends the interrupt of `pin` if its entry is open and its pin asserted (level) or just raised (edge).
    fn service(&self, state: &mut IoApicState, pin: usize, rising: bool) {
        let asserted = state.pins & 1 << pin != 0;
        let entry = &mut state.redirection[pin];
        let Some(message) = entry.message() else {
            return;
        };
        if message.level {
            if asserted && !entry.remote_irr() && self.fabric.deliver(&message) {
                entry.set_remote_irr(true);
            }
        } else if rising || asserted && message.mode == DeliveryMode::ExtInt {
            // The 8259 keeps INTR high while more than one of its interrupts waits, so each time it says so again
            // counts. What nobody takes is lost, as an edge is.
            self.fabric.deliver(&message);
        }
    }

    /// Clears the remote IRR of every level entry of `vector`, and sends again what is still asserted.
    fn end(&self, state: &mut IoApicState, vector: u8) {
        for pin in 0..PINS {
            if state.redirection[pin].ends_with(vector) {
                state.redirection[pin].set_remote_irr(false);
                self.service(state, pin, false);
            }
        }
    }

    fn read(&self, state: &IoApicState) -> u32 {
        match state.ioregsel {
            reg::IOAPICID | reg::IOAPICARB => state.id,
            reg::IOAPICVER => VERSION,
            index @ reg::IOREDTBL..=reg::IOREDTBL_LAST => {
                let index = index - reg::IOREDTBL;
                state.redirection[usize::from(index / 2)].half(index & 1 != 0)
            }
            _ => 0,
        }
    }

    fn write(&self, state: &mut IoApicState, value: u32) {
        match state.ioregsel {
            reg::IOAPICID => state.id = value & ID_MASK,
            index @ reg::IOREDTBL..=reg::IOREDTBL_LAST => {
                let index = index - reg::IOREDTBL;
                let pin = usize::from(index / 2);
                state.redirection[pin].set_half(index & 1 != 0, value);
                self.service(state, pin, false);
            }
            _ => {}
        }
    }
}

impl IrqSink for IoApicPins {
    fn set_level(&self, pin: u32, level: bool) {
        if pin as usize >= PINS {
            return;
        }
        let mut state = self.state.lock();
        let rising = level && state.pins & 1 << pin == 0;
        state.pins = state.pins & !(1 << pin) | u32::from(level) << pin;
        self.service(&mut state, pin as usize, rising);
    }
}

impl EoiSink for IoApicPins {
    fn end_of_interrupt(&self, vector: u8) {
        self.end(&mut self.state.lock(), vector);
    }
}

impl Device for IoApic {
    fn name(&self) -> &'static str {
        "ioapic"
    }

    fn reset(&mut self) {
        let mut state = self.chip.state.lock();
        *state = IoApicState::at_reset(state.pins);
    }
}

impl MmioIo for IoApic {
    fn mmio_read(&mut self, _region: u8, offset: u64, size: u8) -> IoResult<u64> {
        let state = self.chip.state.lock();
        let value = match offset & !3 {
            window::IOREGSEL => state.ioregsel.into(),
            window::IOWIN => self.chip.read(&state),
            window::EOI => return Err(IoError::Direction),
            _ => return Err(IoError::UnknownRegister),
        };
        if offset & 3 != 0 { Err(IoError::Alignment) } else { narrow(value, size) }
    }

    fn mmio_write(&mut self, _region: u8, offset: u64, size: u8, value: u64) -> IoResult {
        let mut state = self.chip.state.lock();
        // The selector and EOI are a byte each; the data window only takes all its 32 bits at once.
        match (offset, size) {
            (_, 8) => return Err(IoError::Size),
            (window::IOREGSEL, _) => state.ioregsel = value as u8,
            (window::IOWIN, 4) => self.chip.write(&mut state, value as u32),
            (window::IOWIN, _) => return Err(IoError::Alignment),
            (window::EOI, _) => self.chip.end(&mut state, value as u8),
            _ => return Err(IoError::UnknownRegister),
        }
        Ok(())
    }
}

/// The low `size` bytes of a 32-bit register.
fn narrow(value: u32, size: u8) -> IoResult<u64> {
    match size {
        1 => Ok((value & 0xFF).into()),
        2 => Ok((value & 0xFFFF).into()),
        4 => Ok(value.into()),
        _ => Err(IoError::Size),
    }
}

impl Snapshot for IoApic {
    type State = IoApicState;
    type Args = Arc<ApicBus>;

    fn save(&self) -> IoApicState {
        let IoApic { chip } = self;
        chip.state.lock().clone()
    }

    fn restore(fabric: Arc<ApicBus>, state: IoApicState) -> Result<Self, String> {
        Ok(Self::with(fabric, state))
    }
}
