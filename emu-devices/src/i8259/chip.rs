//! One 8259A: priority resolution and the command words.

use bitflags::bitflags;
use serde::{Deserialize, Serialize};

bitflags! {
    /// Initialization command word 1.
    struct Icw1: u8 {
        const IC4 = 1 << 0;
        const SNGL = 1 << 1;
        const LTIM = 1 << 3;
        const ICW1 = 1 << 4;
    }

    /// Initialization command word 4.
    struct Icw4: u8 {
        const AEOI = 1 << 1;
        const SFNM = 1 << 4;
    }

    /// Operation command word 3.
    #[derive(Clone, Copy)]
    struct Ocw3: u8 {
        const RIS = 1 << 0;
        const RR = 1 << 1;
        const P = 1 << 2;
        const OCW3 = 1 << 3;
        const SMM = 1 << 5;
        const ESMM = 1 << 6;
    }
}

/// Which word the chip expects at its odd address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Init {
    Icw2,
    Icw3,
    Icw4,
    /// Initialised: the odd address is the mask.
    Ready,
}

/// The level a vector is taken from when no request is left: the spurious interrupt.
const SPURIOUS: u8 = 7;

/// One 8259A.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chip {
    init: Init,
    /// ICW1 as written.
    icw1: u8,
    /// Vector base.
    icw2: u8,
    icw3: u8,
    /// Automatic EOI (ICW4).
    auto_eoi: bool,
    /// Special fully nested mode (ICW4).
    nested: bool,
    /// Edge/level control register: 1 = level.
    elcr: u8,
    /// Inputs that are levels whatever ELCR says: the cascade input.
    always_level: u8,
    /// Levels of the inputs.
    lines: u8,
    /// Edges seen and not yet acknowledged.
    edges: u8,
    isr: u8,
    imr: u8,
    /// The level of highest priority: the one after that of lowest.
    first: u8,
    rotate_on_auto_eoi: bool,
    special_mask: bool,
    /// OCW3: the even address reads ISR, not IRR.
    read_isr: bool,
    /// OCW3: the next read polls.
    poll: bool,
}

impl Chip {
    /// A chip at power-on, whose inputs in `cascade` come from other chips.
    pub fn new(cascade: u8) -> Self {
        Chip {
            init: Init::Ready,
            icw1: 0,
            icw2: 0,
            icw3: 0,
            auto_eoi: false,
            nested: false,
            elcr: 0,
            always_level: cascade,
            lines: 0,
            edges: 0,
            isr: 0,
            imr: 0,
            first: 0,
            rotate_on_auto_eoi: false,
            special_mask: false,
            read_isr: false,
            poll: false,
        }
    }

    /// RESET#: as new, but the levels on the inputs are not the chip's to change.
    pub fn reset(&mut self) {
        *self = Chip { lines: self.lines, ..Chip::new(self.always_level) };
    }

    /// Whether the numbers are within their ranges: saved state may say anything.
    pub fn is_sound(&self) -> bool {
        self.first < 8
    }

    /// Input `line` (0 to 7) is at `level`.
    pub fn set_line(&mut self, line: u8, level: bool) {
        let bit = 1 << line;
        if level {
            // An edge stays latched even if the line falls before INTA, as in chipsets since the ICH. The
            // 8259A of 1981 would turn it into a spurious interrupt.
            self.edges |= bit & !self.lines;
            self.lines |= bit;
        } else {
            self.lines &= !bit;
        }
    }

    fn level_triggered(&self) -> u8 {
        let all = if Icw1::from_bits_retain(self.icw1).contains(Icw1::LTIM) { 0xFF } else { 0 };
        self.elcr | self.always_level | all
    }

    /// Interrupt request register.
    pub fn irr(&self) -> u8 {
        let level = self.level_triggered();
        self.lines & level | self.edges & !level
    }

    /// Position of the highest-priority bit in `set`, counted from the level of highest priority; 8 if none.
    fn rank(&self, set: u8) -> u8 {
        set.rotate_right(self.first.into()).trailing_zeros() as u8
    }

    fn at_rank(&self, rank: u8) -> u8 {
        (rank + self.first) & 7
    }

    /// The request to be served now, if it may interrupt what is in service.
    pub fn request(&self) -> Option<u8> {
        let wanted = self.rank(self.irr() & !self.imr);
        let mut blocking = self.isr;
        if self.special_mask {
            blocking &= !self.imr;
        }
        if self.nested {
            // The slave in service may interrupt again with a higher request of its own.
            blocking &= !self.always_level;
        }
        (wanted < self.rank(blocking)).then(|| self.at_rank(wanted))
    }

    /// The first INTA cycle: the request goes into service. `None` if it has vanished: level 7 is told, and
    /// nothing is in service.
    pub fn acknowledge(&mut self) -> Option<u8> {
        let line = self.request()?;
        let bit = 1 << line;
        self.edges &= !bit;
        if self.auto_eoi {
            if self.rotate_on_auto_eoi {
                self.first = (line + 1) & 7;
            }
        } else {
            self.isr |= bit;
        }
        Some(line)
    }

    /// The vector for `line`.
    pub fn vector(&self, line: Option<u8>) -> u8 {
        self.icw2 & 0xF8 | line.unwrap_or(SPURIOUS)
    }

    /// Whether `line` is, as the guest has told, where a slave is.
    pub fn has_slave_at(&self, line: u8) -> bool {
        let single = Icw1::from_bits_retain(self.icw1).contains(Icw1::SNGL);
        !single && self.icw3 & 1 << line != 0
    }

    /// Edge/level control register.
    pub fn elcr(&self) -> u8 {
        self.elcr
    }

    /// Writes the edge/level control register.
    pub fn set_elcr(&mut self, value: u8) {
        self.elcr = value;
    }

    /// Reads at the even (`a0` false) or odd address.
    pub fn read(&mut self, a0: bool) -> u8 {
        if std::mem::take(&mut self.poll) {
            return self.acknowledge().map_or(0, |line| 0x80 | line);
        }
        match (a0, self.read_isr) {
            (true, _) => self.imr,
            (false, true) => self.isr,
            (false, false) => self.irr(),
        }
    }

    /// Writes at the even (`a0` false) or odd address.
    pub fn write(&mut self, a0: bool, value: u8) {
        if a0 {
            self.write_odd(value);
        } else if value & Icw1::ICW1.bits() != 0 {
            self.write_icw1(value);
        } else if value & Ocw3::OCW3.bits() != 0 {
            self.write_ocw3(Ocw3::from_bits_retain(value));
        } else {
            self.write_ocw2(value);
        }
    }

    fn write_icw1(&mut self, value: u8) {
        *self = Chip {
            init: Init::Icw2,
            icw1: value,
            elcr: self.elcr,
            lines: self.lines,
            icw2: self.icw2,
            ..Chip::new(self.always_level)
        };
    }

    fn write_odd(&mut self, value: u8) {
        let icw1 = Icw1::from_bits_retain(self.icw1);
        let after_icw3 = if icw1.contains(Icw1::IC4) { Init::Icw4 } else { Init::Ready };
        match self.init {
            Init::Icw2 => {
                self.icw2 = value & 0xF8;
                self.init = if icw1.contains(Icw1::SNGL) { after_icw3 } else { Init::Icw3 };
            }
            Init::Icw3 => {
                self.icw3 = value;
                self.init = after_icw3;
            }
            Init::Icw4 => {
                let icw4 = Icw4::from_bits_retain(value);
                self.auto_eoi = icw4.contains(Icw4::AEOI);
                self.nested = icw4.contains(Icw4::SFNM);
                self.init = Init::Ready;
            }
            Init::Ready => self.imr = value,
        }
    }

    fn write_ocw3(&mut self, ocw3: Ocw3) {
        self.poll = ocw3.contains(Ocw3::P);
        if ocw3.contains(Ocw3::RR) {
            self.read_isr = ocw3.contains(Ocw3::RIS);
        }
        if ocw3.contains(Ocw3::ESMM) {
            self.special_mask = ocw3.contains(Ocw3::SMM);
        }
    }

    /// OCW2: R, SL and EOI in bits 7 to 5, the level in bits 2 to 0.
    fn write_ocw2(&mut self, value: u8) {
        let named = value & 7;
        let (rotate, specific, eoi) = (value & 0x80 != 0, value & 0x40 != 0, value & 0x20 != 0);
        match (eoi, specific) {
            (true, true) => self.end(named, rotate),
            (true, false) => {
                // In special mask mode a masked level is not ended by accident.
                let ending = if self.special_mask { self.isr & !self.imr } else { self.isr };
                if ending != 0 {
                    self.end(self.at_rank(self.rank(ending)), rotate);
                }
            }
            (false, true) if rotate => self.first = (named + 1) & 7,
            (false, true) => {}
            (false, false) => self.rotate_on_auto_eoi = rotate,
        }
    }

    fn end(&mut self, line: u8, rotate: bool) {
        self.isr &= !(1 << line);
        if rotate {
            self.first = (line + 1) & 7;
        }
    }
}
