//! Registers of the 16550 family, by their datasheet names.

use bitflags::bitflags;

/// Crystal of every PC serial port; a bit lasts 16 times the divisor of its periods.
pub const CRYSTAL_HZ: u64 = 1_843_200;

/// Register offsets. What 0 to 2 mean depends on DLAB and on the direction.
pub mod offset {
    pub const DATA: u16 = 0;
    pub const IER: u16 = 1;
    pub const IIR_FCR: u16 = 2;
    pub const LCR: u16 = 3;
    pub const MCR: u16 = 4;
    pub const LSR: u16 = 5;
    pub const MSR: u16 = 6;
    pub const SCR: u16 = 7;
}

/// Interrupt identification: what IIR reads as, highest priority first.
pub mod iir {
    pub const LINE_STATUS: u8 = 0x06;
    pub const CHARACTER_TIMEOUT: u8 = 0x0C;
    pub const RECEIVED_DATA: u8 = 0x04;
    pub const TRANSMITTER_EMPTY: u8 = 0x02;
    pub const MODEM_STATUS: u8 = 0x00;
    pub const NONE: u8 = 0x01;
    pub const FIFO_ENABLED: u8 = 0xC0;
}

bitflags! {
    /// Interrupt enable register.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Ier: u8 {
        const ERBFI = 1 << 0;
        const ETBEI = 1 << 1;
        const ELSI = 1 << 2;
        const EDSSI = 1 << 3;
    }

    /// FIFO control register. Bits 6 and 7 are the receive trigger.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Fcr: u8 {
        const ENABLE = 1 << 0;
        const RECEIVER_RESET = 1 << 1;
        const TRANSMITTER_RESET = 1 << 2;
        const DMA_MODE = 1 << 3;
        const TRIGGER = 3 << 6;
    }

    /// Line control register. Bits 0 and 1 are the word length less five.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Lcr: u8 {
        const WORD_LENGTH = 3;
        const STOP_BITS = 1 << 2;
        const PARITY = 1 << 3;
        const EVEN_PARITY = 1 << 4;
        const STICK_PARITY = 1 << 5;
        const BREAK = 1 << 6;
        const DLAB = 1 << 7;
    }

    /// Modem control register.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Mcr: u8 {
        const DTR = 1 << 0;
        const RTS = 1 << 1;
        const OUT1 = 1 << 2;
        const OUT2 = 1 << 3;
        const LOOP = 1 << 4;
    }

    /// Line status register.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Lsr: u8 {
        const DR = 1 << 0;
        const OE = 1 << 1;
        const PE = 1 << 2;
        const FE = 1 << 3;
        const BI = 1 << 4;
        const THRE = 1 << 5;
        const TEMT = 1 << 6;
        const FIFO_ERROR = 1 << 7;
        const ERRORS = 0x1E;
    }

    /// The modem's lines into the port: the upper half of the modem status register.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct ModemLines: u8 {
        /// Clear to send.
        const CTS = 1 << 4;
        /// Data set ready.
        const DSR = 1 << 5;
        /// Ring indicator.
        const RI = 1 << 6;
        /// Data carrier detect.
        const DCD = 1 << 7;
    }
}

impl Fcr {
    /// Characters in the FIFO from which on received data interrupts.
    pub fn trigger(self) -> usize {
        [1, 4, 8, 14][usize::from(self.bits() >> 6)]
    }
}

impl Lcr {
    /// The bits of a byte that are on the line.
    pub fn word_mask(self) -> u8 {
        0xFF >> (3 - (self.bits() & 3))
    }

    /// Bits of one character on the line: start, data, parity, stop. One and a half stop bits count as two.
    pub fn character_bits(self) -> u64 {
        let data = u64::from(self.bits() & 3) + 5;
        1 + data + u64::from(self.contains(Lcr::PARITY)) + 1 + u64::from(self.contains(Lcr::STOP_BITS))
    }
}

impl Mcr {
    /// What the modem inputs see in loopback: the port's own outputs.
    pub fn looped(self) -> ModemLines {
        let mut lines = ModemLines::empty();
        lines.set(ModemLines::CTS, self.contains(Mcr::RTS));
        lines.set(ModemLines::DSR, self.contains(Mcr::DTR));
        lines.set(ModemLines::RI, self.contains(Mcr::OUT1));
        lines.set(ModemLines::DCD, self.contains(Mcr::OUT2));
        lines
    }
}
