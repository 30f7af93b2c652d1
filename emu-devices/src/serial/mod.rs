//! 16550A serial port, as in every PC at 0x3F8. National Semiconductor PC16550D datasheet, section 8.
//!
//! Receiving is exact: FIFO and trigger levels, overrun, the errors that travel with characters, the character
//! timeout in machine time. Transmission takes no time: THRE and TEMT are always 1, and the transmitter-empty
//! interrupt comes at once. Left out: DMA mode signalling (a PC has no wire for it), and parity (a host's bytes
//! have none).

mod receiver;
mod registers;
mod state;
#[cfg(test)]
mod tests;

pub use registers::ModemLines;
pub use state::UartState;
#[cfg(test)]
pub use tests::Recording;

use emu_core::{
    bus::{Device, IoError, IoResult, IrqLine, PortIo},
    clock::{Timer, VmClock, ticks_to_nanos},
};
use receiver::{Character, Fifo};
use registers::{CRYSTAL_HZ, Fcr, Ier, Lcr, Lsr, Mcr, iir, offset};

/// Ports of one UART.
pub const PORTS: u16 = 8;
/// Divisor at power-on: 9600 baud.
const DIVISOR: u16 = 12;
/// TERI: the ring indicator has gone away. The other deltas are the modem lines shifted down by four.
const TERI: u8 = 1 << 2;

/// The host's side of a serial port. Called with the device locked: it must be quick and must not call back.
pub trait SerialBackend: Send {
    /// The guest has sent a byte.
    fn transmit(&mut self, byte: u8);

    /// The guest has begun (true) or ended a break.
    fn transmit_break(&mut self, _on: bool) {}

    /// A byte was refused before; now there is room again. Only a hint to try [`Uart16550::receive`] soon.
    fn receive_ready(&mut self) {}
}

/// What a UART is connected to.
pub struct UartWires {
    /// Its interrupt.
    pub irq: IrqLine,
    /// Machine time.
    pub clock: VmClock,
    /// For the character timeout: its expiry calls [`Uart16550::timer_expired`].
    pub timer: Timer,
    /// The host's side.
    pub backend: Box<dyn SerialBackend>,
}

/// A 16550A. One region of [`PORTS`] ports.
pub struct Uart16550 {
    wires: UartWires,
    /// Level of the interrupt wire.
    asserted: bool,
    /// The host was refused a byte and waits for room.
    refused: bool,
    fifo: Fifo,
    /// Transmitter-empty interrupt: pending until IIR tells it or THR is written.
    thre_pending: bool,
    /// Character timeout interrupt: pending until RBR is read.
    timeout_pending: bool,
    /// When the characters in the FIFO will have waited too long, in machine time.
    timeout_at: Option<u64>,
    ier: Ier,
    fcr: Fcr,
    lcr: Lcr,
    mcr: Mcr,
    /// OE, PE, FE and BI; the other bits of LSR follow from the FIFO.
    lsr_errors: Lsr,
    /// The modem's lines, whether looped away from or not.
    modem: ModemLines,
    /// Lower half of MSR: what changed since it was read.
    msr_deltas: u8,
    scr: u8,
    /// DLM and DLL.
    divisor: u16,
}

impl Uart16550 {
    /// A UART at power-on with a modem that is ready (CTS, DSR, DCD).
    pub fn new(wires: UartWires) -> Self {
        Uart16550 {
            wires,
            asserted: false,
            refused: false,
            fifo: Fifo::new(),
            thre_pending: false,
            timeout_pending: false,
            timeout_at: None,
            ier: Ier::empty(),
            fcr: Fcr::empty(),
            lcr: Lcr::empty(),
            mcr: Mcr::empty(),
            lsr_errors: Lsr::empty(),
            modem: ModemLines::CTS | ModemLines::DSR | ModemLines::DCD,
            msr_deltas: 0,
            scr: 0,
            divisor: DIVISOR,
        }
    }

    /// Offers the guest a byte from the host. False if there is no room: the host keeps the byte and tries
    /// again, at the latest when its backend's [`receive_ready`](SerialBackend::receive_ready) is called.
    pub fn receive(&mut self, byte: u8) -> bool {
        self.accept(Character { byte: byte & self.lcr.word_mask(), errors: 0 })
    }

    /// Offers the guest a break, as [`receive`](Self::receive) does a byte.
    pub fn receive_break(&mut self) -> bool {
        self.accept(Character { byte: 0, errors: (Lsr::BI | Lsr::FE).bits() })
    }

    /// Whether [`receive`](Self::receive) would take a byte now.
    pub fn can_receive(&self) -> bool {
        // In loopback the input pin is cut off: the host's bytes wait until it is connected again.
        let room = if self.fcr.contains(Fcr::ENABLE) { !self.fifo.is_full() } else { self.fifo.is_empty() };
        room && !self.mcr.contains(Mcr::LOOP)
    }

    /// The modem's lines are now `lines`.
    pub fn set_modem_lines(&mut self, lines: ModemLines) {
        let before = self.modem_lines();
        self.modem = lines;
        self.note_modem_change(before);
        self.drive();
    }

    /// The character timeout is due.
    pub fn timer_expired(&mut self) {
        match self.timeout_at {
            Some(at) if at <= self.wires.clock.now() => {
                self.timeout_at = None;
                self.timeout_pending = !self.fifo.is_empty();
                self.drive();
            }
            Some(at) => self.wires.timer.arm(at),
            None => {}
        }
    }

    fn accept(&mut self, character: Character) -> bool {
        if !self.can_receive() {
            self.refused = true;
            return false;
        }
        self.shift_in(character);
        self.drive();
        true
    }

    /// A character has arrived in the receiver's shift register.
    fn shift_in(&mut self, character: Character) {
        if !self.fcr.contains(Fcr::ENABLE) {
            if !self.fifo.is_empty() {
                self.lsr_errors |= Lsr::OE;
                self.fifo.clear();
            }
            self.fifo.push(character);
        } else if self.fifo.is_full() {
            // The FIFO stays as it is, the new character is lost.
            self.lsr_errors |= Lsr::OE;
            return;
        } else {
            self.fifo.push(character);
        }
        if self.fifo.len() == 1 {
            self.lsr_errors |= self.fifo.front_errors();
        }
        self.restart_timeout();
    }

    /// A character came or went: the FIFO's rest has four character times to be read.
    fn restart_timeout(&mut self) {
        let waiting = self.fcr.contains(Fcr::ENABLE) && !self.fifo.is_empty() && !self.timeout_pending;
        if waiting {
            let periods = 4 * self.lcr.character_bits() * 16 * u64::from(self.divisor.max(1));
            let at = self.wires.clock.now().saturating_add(ticks_to_nanos(periods, CRYSTAL_HZ));
            self.timeout_at = Some(at);
            self.wires.timer.arm(at);
        } else if self.timeout_at.take().is_some() {
            self.wires.timer.cancel();
        }
    }

    fn modem_lines(&self) -> ModemLines {
        if self.mcr.contains(Mcr::LOOP) { self.mcr.looped() } else { self.modem }
    }

    fn note_modem_change(&mut self, before: ModemLines) {
        let now = self.modem_lines();
        self.msr_deltas |= ((before ^ now) - ModemLines::RI).bits() >> 4;
        if before.contains(ModemLines::RI) && !now.contains(ModemLines::RI) {
            self.msr_deltas |= TERI;
        }
    }

    /// The pending interrupt of highest priority, as IIR tells it.
    fn interrupt(&self) -> u8 {
        let threshold = if self.fcr.contains(Fcr::ENABLE) { self.fcr.trigger() } else { 1 };
        if self.ier.contains(Ier::ELSI) && !self.lsr_errors.is_empty() {
            iir::LINE_STATUS
        } else if self.ier.contains(Ier::ERBFI) && self.timeout_pending {
            iir::CHARACTER_TIMEOUT
        } else if self.ier.contains(Ier::ERBFI) && self.fifo.len() >= threshold {
            iir::RECEIVED_DATA
        } else if self.ier.contains(Ier::ETBEI) && self.thre_pending {
            iir::TRANSMITTER_EMPTY
        } else if self.ier.contains(Ier::EDSSI) && self.msr_deltas != 0 {
            iir::MODEM_STATUS
        } else {
            iir::NONE
        }
    }

    /// Brings the interrupt wire in line with the registers. OUT2 gates it, as on a PC's board.
    fn drive(&mut self) {
        let level = self.interrupt() != iir::NONE && self.mcr.contains(Mcr::OUT2);
        if level != self.asserted {
            self.asserted = level;
            self.wires.irq.set(level);
        }
    }

    fn tell_room(&mut self) {
        // Waiting for an empty FIFO lets a host with much to say fill it whole at each turn.
        if self.refused && self.fifo.is_empty() && self.can_receive() {
            self.refused = false;
            self.wires.backend.receive_ready();
        }
    }

    fn read_rbr(&mut self) -> u8 {
        let byte = self.fifo.pop();
        self.lsr_errors |= self.fifo.front_errors();
        self.timeout_pending = false;
        self.restart_timeout();
        self.tell_room();
        byte
    }

    fn write_thr(&mut self, byte: u8) {
        // Writing clears the interrupt; the byte's departure, at once, raises it again: the wire shows both.
        self.thre_pending = false;
        self.drive();
        let byte = byte & self.lcr.word_mask();
        if self.mcr.contains(Mcr::LOOP) {
            self.shift_in(Character { byte, errors: 0 });
        } else {
            self.wires.backend.transmit(byte);
        }
        self.thre_pending = true;
    }

    fn read_iir(&mut self) -> u8 {
        let id = self.interrupt();
        if id == iir::TRANSMITTER_EMPTY {
            self.thre_pending = false;
        }
        if self.fcr.contains(Fcr::ENABLE) { id | iir::FIFO_ENABLED } else { id }
    }

    fn read_lsr(&mut self) -> u8 {
        let mut lsr = self.lsr_errors | Lsr::THRE | Lsr::TEMT;
        lsr.set(Lsr::DR, !self.fifo.is_empty());
        lsr.set(Lsr::FIFO_ERROR, self.fcr.contains(Fcr::ENABLE) && self.fifo.has_errors());
        self.lsr_errors = Lsr::empty();
        self.fifo.forget_front_errors();
        lsr.bits()
    }

    fn write_ier(&mut self, value: u8) {
        let before = self.ier;
        self.ier = Ier::from_bits_truncate(value);
        // The transmitter is always empty: enabling its interrupt raises it. Drivers test for this.
        if (before ^ self.ier).contains(Ier::ETBEI) {
            self.thre_pending = self.ier.contains(Ier::ETBEI);
        }
    }

    fn write_fcr(&mut self, value: u8) {
        let fcr = Fcr::from_bits_truncate(value);
        let switched = (self.fcr ^ fcr).contains(Fcr::ENABLE);
        if switched || fcr.contains(Fcr::ENABLE | Fcr::RECEIVER_RESET) {
            self.fifo.clear();
            self.timeout_pending = false;
        }
        // The other bits are only taken together with the enable bit; the resets clear themselves.
        self.fcr = if fcr.contains(Fcr::ENABLE) {
            fcr - Fcr::RECEIVER_RESET - Fcr::TRANSMITTER_RESET
        } else {
            Fcr::empty()
        };
        self.restart_timeout();
        self.tell_room();
    }

    fn write_lcr(&mut self, value: u8) {
        let before = self.lcr;
        self.lcr = Lcr::from_bits_truncate(value);
        if (before ^ self.lcr).contains(Lcr::BREAK) && !self.mcr.contains(Mcr::LOOP) {
            self.wires.backend.transmit_break(self.lcr.contains(Lcr::BREAK));
        }
    }

    fn write_mcr(&mut self, value: u8) {
        let before = self.modem_lines();
        self.mcr = Mcr::from_bits_truncate(value);
        self.note_modem_change(before);
        self.tell_room();
    }
}

impl Device for Uart16550 {
    fn name(&self) -> &'static str {
        "uart16550"
    }

    fn reset(&mut self) {
        self.fifo.clear();
        self.thre_pending = false;
        self.timeout_pending = false;
        self.ier = Ier::empty();
        self.fcr = Fcr::empty();
        self.lcr = Lcr::empty();
        self.mcr = Mcr::empty();
        self.lsr_errors = Lsr::empty();
        self.msr_deltas = 0;
        self.divisor = DIVISOR;
        self.restart_timeout();
        self.tell_room();
        self.drive();
    }
}

impl PortIo for Uart16550 {
    fn port_read(&mut self, _region: u8, at: u16, size: u8) -> IoResult<u32> {
        if size != 1 {
            return Err(IoError::Size);
        }
        let dlab = self.lcr.contains(Lcr::DLAB);
        let [dll, dlm] = self.divisor.to_le_bytes();
        let value = match at {
            offset::DATA if dlab => dll,
            offset::DATA => self.read_rbr(),
            offset::IER if dlab => dlm,
            offset::IER => self.ier.bits(),
            offset::IIR_FCR => self.read_iir(),
            offset::LCR => self.lcr.bits(),
            offset::MCR => self.mcr.bits(),
            offset::LSR => self.read_lsr(),
            offset::MSR => self.modem_lines().bits() | std::mem::take(&mut self.msr_deltas),
            offset::SCR => self.scr,
            _ => return Err(IoError::UnknownRegister),
        };
        self.drive();
        Ok(value.into())
    }

    fn port_write(&mut self, _region: u8, at: u16, size: u8, value: u32) -> IoResult {
        if size != 1 {
            return Err(IoError::Size);
        }
        let dlab = self.lcr.contains(Lcr::DLAB);
        let [dll, dlm] = self.divisor.to_le_bytes();
        let value = value as u8;
        match at {
            offset::DATA if dlab => self.divisor = u16::from_le_bytes([value, dlm]),
            offset::DATA => self.write_thr(value),
            offset::IER if dlab => self.divisor = u16::from_le_bytes([dll, value]),
            offset::IER => self.write_ier(value),
            offset::IIR_FCR => self.write_fcr(value),
            offset::LCR => self.write_lcr(value),
            offset::MCR => self.write_mcr(value),
            // Writable for factory tests only.
            offset::LSR | offset::MSR => return Err(IoError::Direction),
            offset::SCR => self.scr = value,
            _ => return Err(IoError::UnknownRegister),
        }
        self.drive();
        Ok(())
    }
}
