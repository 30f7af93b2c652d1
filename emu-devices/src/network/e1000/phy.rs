//! The transceiver: the M88E1011's registers as the 82540EM has them within, behind MDIC. IEEE 802.3, clause 22; 8254x
//! manual, section 13.4.8. It is always done negotiating 1000 Mb/s in full duplex.

use serde::{Deserialize, Serialize};

const CONTROL: usize = 0;
const STATUS: usize = 1;
const SPECIFIC_STATUS: usize = 17;
/// Control: reset, loopback, restart negotiation.
const RESET: u16 = 1 << 15;
const LOOPBACK: u16 = 1 << 14;
const RESTART: u16 = 1 << 9;
/// Link in the status register and in the specific one, there with "resolved".
const LINK: u16 = 1 << 2;
const NEGOTIATED: u16 = 1 << 5;
const SPECIFIC_LINK: u16 = 1 << 10;

/// Number, value after reset, and the bits that can be written.
const REGISTERS: [(usize, u16, u16); 17] = [
    (CONTROL, 0x1140, 0x7D80),
    (STATUS, 0x7949, 0),
    (2, 0x0141, 0),       // identifier
    (3, 0x0C20, 0),       // identifier
    (4, 0x0DE1, 0xFFFF),  // advertised
    (5, 0xCDE1, 0),       // the partner's
    (6, 0x000F, 0),       // expansion
    (7, 0x2001, 0xFFFF),  // next page
    (9, 0x0E00, 0xFF00),  // 1000BASE-T control
    (10, 0x3C00, 0),      // 1000BASE-T status
    (15, 0x3000, 0),      // extended status
    (16, 0x0360, 0xFFFF), // specific control
    (SPECIFIC_STATUS, 0xA800, 0),
    (18, 0, 0xFFFF),      // interrupt enable
    (19, 0, 0),           // interrupt status
    (20, 0x0D60, 0xFFFF), // extended specific control
    (21, 0, 0),           // receive errors
];

/// Fields of MDIC.
pub(super) mod mdic {
    pub const READ: u32 = 2;
    pub const WRITE: u32 = 1;
    pub const READY: u32 = 1 << 28;
    pub const INTERRUPT: u32 = 1 << 29;
    pub const ERROR: u32 = 1 << 30;
}
/// The only one on the bus.
const ADDRESS: u32 = 1;

/// The transceiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Phy {
    registers: [u16; 32],
    /// The last command and its answer.
    mdic: u32,
}

impl Phy {
    pub(super) fn new() -> Self {
        let mut registers = [0; 32];
        for (number, value, _) in REGISTERS {
            registers[number] = value;
        }
        Phy { registers, mdic: mdic::READY }
    }

    pub(super) fn mdic(&self) -> u32 {
        self.mdic
    }

    /// What is sent comes back.
    pub(super) fn is_loopback(&self) -> bool {
        self.registers[CONTROL] & LOOPBACK != 0
    }

    /// MDIC is written. Returns whether the link has been negotiated anew.
    pub(super) fn command(&mut self, value: u32, link: bool) -> bool {
        let number = (value >> 16 & 31) as usize;
        let row = REGISTERS.iter().find(|row| row.0 == number && value >> 21 & 31 == ADDRESS);
        let mut answer = value & !mdic::ERROR | mdic::READY;
        let mut renewed = false;
        match (value >> 26 & 3, row) {
            (mdic::READ, Some(_)) => answer = answer & !0xFFFF | u32::from(self.read(number, link)),
            (mdic::WRITE, Some((_, _, mask))) => renewed = self.write(number, value as u16, *mask),
            _ => answer |= mdic::ERROR,
        }
        self.mdic = answer;
        renewed
    }

    fn read(&self, number: usize, link: bool) -> u16 {
        let live = match number {
            STATUS => LINK | NEGOTIATED,
            SPECIFIC_STATUS => SPECIFIC_LINK,
            _ => 0,
        };
        self.registers[number] | if link { live } else { 0 }
    }

    fn write(&mut self, number: usize, value: u16, mask: u16) -> bool {
        if number == CONTROL && value & RESET != 0 {
            let mdic = self.mdic;
            *self = Phy { mdic, ..Phy::new() };
            return true;
        }
        let register = &mut self.registers[number];
        *register = *register & !mask | value & mask;
        if number == CONTROL {
            // Restarting is over at once.
            *register &= !RESTART;
        }
        number == CONTROL && value & RESTART != 0
    }
}
