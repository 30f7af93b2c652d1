//! One timer of the block: configuration, comparator, period, FSB route. HPET specification, 2.3.8 to 2.3.10.

use serde::{Deserialize, Serialize};

/// I/O APIC inputs that a timer can be routed to: the four that no ISA device has.
pub(super) const ROUTES: u32 = 0x00F0_0000;

const INT_TYPE_LEVEL: u64 = 1 << 1;
const INT_ENABLE: u64 = 1 << 2;
const TYPE_PERIODIC: u64 = 1 << 3;
const PERIODIC_CAPABLE: u64 = 1 << 4;
const SIZE_64_CAPABLE: u64 = 1 << 5;
const VAL_SET: u64 = 1 << 6;
const MODE_32: u64 = 1 << 8;
const ROUTE_SHIFT: u32 = 9;
const ROUTE: u64 = 0x1F << ROUTE_SHIFT;
const FSB_ENABLE: u64 = 1 << 14;
const FSB_CAPABLE: u64 = 1 << 15;
const CAPABILITIES: u64 = PERIODIC_CAPABLE | SIZE_64_CAPABLE | FSB_CAPABLE | (ROUTES as u64) << 32;
const WRITABLE: u64 = INT_TYPE_LEVEL | INT_ENABLE | TYPE_PERIODIC | VAL_SET | MODE_32 | ROUTE | FSB_ENABLE;

/// Registers of one timer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Comparator {
    conf: u64,
    comparator: u64,
    /// What a match adds to the comparator in periodic mode.
    period: u64,
    fsb_route: u64,
}

impl Comparator {
    pub(super) const AT_RESET: Comparator =
        Comparator { conf: 0, comparator: u64::MAX, period: 0, fsb_route: 0 };

    pub(super) fn is_enabled(&self) -> bool {
        self.conf & INT_ENABLE != 0
    }

    pub(super) fn is_level(&self) -> bool {
        self.conf & INT_TYPE_LEVEL != 0 && !self.uses_fsb()
    }

    pub(super) fn uses_fsb(&self) -> bool {
        self.conf & FSB_ENABLE != 0
    }

    fn is_periodic(&self) -> bool {
        self.conf & TYPE_PERIODIC != 0
    }

    /// The I/O APIC input.
    pub(super) fn route(&self) -> usize {
        ((self.conf & ROUTE) >> ROUTE_SHIFT) as usize
    }

    /// All ones in the timer's width.
    fn width(&self) -> u64 {
        if self.conf & MODE_32 != 0 { 0xFFFF_FFFF } else { u64::MAX }
    }

    pub(super) fn conf(&self) -> u64 {
        self.conf | CAPABILITIES
    }

    pub(super) fn set_conf(&mut self, value: u64) {
        // A route that is not offered does not stick: that is how software finds out.
        let route = (value & ROUTE) >> ROUTE_SHIFT;
        let keep = if route == 0 || ROUTES & 1 << route != 0 { 0 } else { ROUTE };
        self.conf = self.conf & keep | value & WRITABLE & !keep;
        self.comparator &= self.width();
        self.period &= self.width();
    }

    pub(super) fn comparator(&self) -> u64 {
        self.comparator
    }

    /// A write to the comparator. In periodic mode it sets the period; the comparator itself only if VAL_SET was
    /// armed, which holds for one write.
    pub(super) fn set_comparator(&mut self, value: u64, mask: u64) {
        let merge = |old: u64| (old & !mask | value & mask) & self.width();
        let (comparator, period) = (merge(self.comparator), merge(self.period));
        if !self.is_periodic() || self.conf & VAL_SET != 0 {
            self.comparator = comparator;
        }
        if self.is_periodic() {
            self.period = period;
        }
        self.conf &= !VAL_SET;
    }

    pub(super) fn fsb_route(&self) -> u64 {
        self.fsb_route
    }

    pub(super) fn set_fsb_route(&mut self, value: u64, mask: u64) {
        self.fsb_route = self.fsb_route & !mask | value & mask;
    }

    /// Address and data of the FSB interrupt.
    pub(super) fn fsb_message(&self) -> (u64, u32) {
        (self.fsb_route >> 32, self.fsb_route as u32)
    }

    /// Ticks from counter value `from` to the next match; a match at `from` itself was seen already.
    pub(super) fn distance(&self, from: u64) -> u128 {
        let ahead = self.comparator.wrapping_sub(from) & self.width();
        if ahead == 0 { u128::from(self.width()) + 1 } else { ahead.into() }
    }

    /// Whether it is periodic with fewer than `ticks` ticks.
    pub(super) fn repeats_within(&self, ticks: u64) -> bool {
        self.is_periodic() && self.period < ticks
    }

    /// The counter goes from `from` by `elapsed` ticks. True: it matched.
    pub(super) fn pass(&mut self, from: u64, elapsed: u64) -> bool {
        let Some(beyond) = u128::from(elapsed).checked_sub(self.distance(from)) else {
            return false;
        };
        if self.is_periodic() && self.period != 0 {
            let matches = (beyond / u128::from(self.period)) as u64 + 1;
            let advance = matches.wrapping_mul(self.period);
            self.comparator = self.comparator.wrapping_add(advance) & self.width();
        }
        true
    }
}
