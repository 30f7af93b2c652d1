//! One of the 8254's three counters, as a function of time: nothing happens between accesses, the counting
//! element and OUT are computed from the tick at which counting began.

use serde::{Deserialize, Serialize};

/// A tick no machine lives to see, far from overflow.
pub const LAST_TICK: u64 = 1 << 60;

/// A count written while modes 2 and 3 run: it takes over at the end of the current (half) period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Successor {
    count: u32,
    /// The tick at which it takes over.
    at: u64,
    /// Where in its period it then starts: mode 3 may be at the low half.
    elapsed: u64,
}

/// The order in which bytes of the count are accessed: bits 5 and 4 of the control word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Low,
    High,
    LowThenHigh,
}

/// One counter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// Bits 5 to 0 of the last control word: RW, M, BCD.
    control: u8,
    /// GATE.
    gate: bool,
    /// The count register, once written whole since the control word; 1 to 65536.
    cr: Option<u32>,
    /// CR is not in the counting element yet.
    unloaded: bool,
    /// First byte of a count of two.
    low_byte: Option<u8>,
    /// The count that counting began with; none before the first load since the control word.
    count: Option<u32>,
    /// Ticks counted until `since`.
    elapsed: u64,
    /// The tick from which counting goes on; none while it is stopped.
    since: Option<u64>,
    /// The tick of the last load.
    loaded_at: u64,
    successor: Option<Successor>,
    /// The next byte read of a count of two is the high one.
    read_high: bool,
    /// Output latch.
    latch: Option<u16>,
    status_latch: Option<u8>,
}

impl Counter {
    /// A counter at power-on: mode 3, stopped, since the datasheet leaves it undefined.
    pub fn new(gate: bool) -> Self {
        Counter {
            control: 0x36,
            gate,
            cr: None,
            unloaded: true,
            low_byte: None,
            count: None,
            elapsed: 0,
            since: None,
            loaded_at: 0,
            successor: None,
            read_high: false,
            latch: None,
            status_latch: None,
        }
    }

    /// Whether the numbers are within their ranges: saved state may say anything.
    pub fn is_sound(&self) -> bool {
        let counts = [self.cr, self.count, self.successor.map(|s| s.count)];
        // A periodic count has at least two ticks: see `write_count`.
        let least = if self.is_periodic() { 2 } else { 1 };
        let ticks =
            [self.elapsed, self.loaded_at, self.since.unwrap_or(0), self.successor.map_or(0, |s| s.at)];
        counts.iter().flatten().all(|count| (least..=0x10000).contains(count))
            && ticks.iter().all(|&tick| tick < LAST_TICK)
            && self.successor.is_none_or(|s| s.elapsed <= s.count.into())
            && self.control < 0x40
    }

    /// Mode 0 to 5; 6 and 7 are 2 and 3.
    fn mode(&self) -> u8 {
        let m = self.control >> 1 & 7;
        if m > 5 { m - 4 } else { m }
    }

    fn access(&self) -> Access {
        match self.control >> 4 & 3 {
            1 => Access::Low,
            2 => Access::High,
            _ => Access::LowThenHigh,
        }
    }

    fn is_bcd(&self) -> bool {
        self.control & 1 != 0
    }

    fn is_periodic(&self) -> bool {
        matches!(self.mode(), 2 | 3)
    }

    /// The length of the output's period in ticks, in the modes that repeat.
    pub fn period(&self) -> Option<u64> {
        self.count.filter(|_| self.is_periodic()).map(u64::from)
    }

    fn modulus(&self) -> u64 {
        if self.is_bcd() { 10_000 } else { 0x10000 }
    }

    /// Ticks counted since the load.
    fn elapsed_at(&self, now: u64) -> u64 {
        self.elapsed.saturating_add(self.since.map_or(0, |since| now.saturating_sub(since)))
    }

    /// A successor whose time has come takes over.
    pub fn settle(&mut self, now: u64) {
        if let Some(successor) = self.successor.filter(|s| s.at <= now) {
            self.count = Some(successor.count);
            self.elapsed = successor.elapsed;
            self.since = Some(successor.at);
            self.loaded_at = successor.at;
            self.unloaded = false;
            self.successor = None;
        }
    }

    /// OUT.
    pub fn out(&self, now: u64) -> bool {
        let Some(count) = self.count.map(u64::from) else { return self.mode() != 0 };
        let elapsed = self.elapsed_at(now);
        match self.mode() {
            0 | 1 => elapsed >= count,
            2 => !self.gate || elapsed % count != count - 1,
            3 => !self.gate || elapsed % count < count.div_ceil(2),
            _ => elapsed != count,
        }
    }

    /// The counting element, as a read would show it.
    fn counting_element(&self, now: u64) -> u16 {
        let Some(count) = self.count.map(u64::from) else { return 0 };
        let elapsed = self.elapsed_at(now);
        let modulus = self.modulus();
        let value = match self.mode() {
            2 => count - elapsed % count,
            3 => {
                let (at, high) = (elapsed % count, count.div_ceil(2));
                (count & !1) - 2 * if at < high { at } else { at - high }
            }
            _ => count + modulus - elapsed % modulus,
        } % modulus;
        if self.is_bcd() { to_bcd(value as u16) } else { value as u16 }
    }

    /// The first tick after `after` at which OUT rises by counting; none if it will not.
    pub fn next_rise(&self, after: u64) -> Option<u64> {
        let since = self.since?;
        let count = u64::from(self.count?);
        // Counting from `zero` would have brought it to where it is; modulo 2^64, as ticks before it matter not.
        let zero = since.wrapping_sub(self.elapsed);
        match self.mode() {
            0 | 1 => Some(zero.wrapping_add(count)).filter(|&tick| self.elapsed < count && tick > after),
            4 | 5 => Some(zero.wrapping_add(count + 1)).filter(|&tick| self.elapsed <= count && tick > after),
            _ => Some(match self.successor {
                Some(next) if next.elapsed == 0 => next.at,
                Some(next) => next.at + u64::from(next.count) - next.elapsed,
                None => zero.wrapping_add((self.elapsed_at(after) / count + 1) * count),
            }),
        }
    }

    /// A control word for this counter other than a latch command.
    pub fn write_control(&mut self, control: u8) {
        *self = Counter { control: control & 0x3F, ..Counter::new(self.gate) };
    }

    /// Counter latch command: the count is held until it is read. A second one before changes nothing.
    pub fn latch_count(&mut self, now: u64) {
        if self.latch.is_none() {
            self.latch = Some(self.counting_element(now));
        }
    }

    /// Read-back of the status: OUT, null count, and the control word.
    pub fn latch_status(&mut self, now: u64) {
        if self.status_latch.is_none() {
            let null = self.unloaded || now < self.loaded_at;
            self.status_latch = Some(u8::from(self.out(now)) << 7 | u8::from(null) << 6 | self.control);
        }
    }

    /// Reads the counter's port.
    pub fn read(&mut self, now: u64) -> u8 {
        if let Some(status) = self.status_latch.take() {
            return status;
        }
        let [low, high] = self.latch.unwrap_or_else(|| self.counting_element(now)).to_le_bytes();
        let (byte, last) = match self.access() {
            Access::Low => (low, true),
            Access::High => (high, true),
            Access::LowThenHigh => {
                self.read_high = !self.read_high;
                if self.read_high { (low, false) } else { (high, true) }
            }
        };
        if last {
            self.latch = None;
        }
        byte
    }

    /// Writes the counter's port.
    pub fn write(&mut self, value: u8, now: u64) {
        match self.access() {
            Access::Low => self.write_count(value.into(), now),
            Access::High => self.write_count(u16::from(value) << 8, now),
            Access::LowThenHigh => match self.low_byte.take() {
                Some(low) => self.write_count(u16::from_le_bytes([low, value]), now),
                None => {
                    self.low_byte = Some(value);
                    if self.mode() == 0 {
                        // The first byte stops counting and brings OUT low.
                        self.elapsed = 0;
                        self.since = None;
                    }
                }
            },
        }
    }

    fn write_count(&mut self, raw: u16, now: u64) {
        let count = if self.is_bcd() { from_bcd(raw) } else { raw.into() };
        let count = if count == 0 { self.modulus() as u32 } else { count };
        // 1 is illegal in the periodic modes; 2 is the least that has a period with both levels.
        let count = if self.is_periodic() { count.max(2) } else { count };
        self.cr = Some(count);
        self.unloaded = true;
        match self.mode() {
            0 | 4 => self.load(now),
            2 | 3 if self.count.is_none() => self.load(now),
            2 | 3 if self.since.is_some() => self.successor = self.succeed(count, now),
            // Modes 1 and 5 load at the next trigger, and so do 2 and 3 while GATE is low.
            _ => {}
        }
    }

    /// CR goes into the counting element at the next tick.
    fn load(&mut self, now: u64) {
        self.count = self.cr;
        self.unloaded = false;
        self.loaded_at = now + 1;
        self.elapsed = 0;
        self.successor = None;
        let counts = self.gate || matches!(self.mode(), 1 | 5);
        self.since = counts.then_some(now + 1);
    }

    fn succeed(&self, next: u32, now: u64) -> Option<Successor> {
        let from = now.max(self.since?);
        let count = u64::from(self.count?);
        let at = self.elapsed_at(from) % count;
        let high = count.div_ceil(2);
        if self.mode() == 3 && at < high {
            let elapsed = u64::from(next).div_ceil(2);
            Some(Successor { count: next, at: from + high - at, elapsed })
        } else {
            Some(Successor { count: next, at: from + count - at, elapsed: 0 })
        }
    }

    /// Drives GATE.
    pub fn set_gate(&mut self, level: bool, now: u64) {
        if level == self.gate {
            return;
        }
        self.gate = level;
        match (self.mode(), level) {
            (0 | 4, true) => self.since = self.count.map(|_| now.max(self.loaded_at)),
            (1 | 2 | 3 | 5, true) if self.cr.is_some() => self.load(now),
            (0 | 2 | 3 | 4, false) => {
                self.elapsed = self.elapsed_at(now);
                self.since = None;
                self.successor = None;
            }
            _ => {}
        }
    }
}

/// Four decimal digits as the count they mean. Digits above nine count on, as in the chip's decade counters.
fn from_bcd(raw: u16) -> u32 {
    let digit = |shift: u16| u32::from(raw >> shift & 0xF);
    (digit(12) * 1000 + digit(8) * 100 + digit(4) * 10 + digit(0)) % 10_000
}

fn to_bcd(value: u16) -> u16 {
    (value / 1000 % 10) << 12 | (value / 100 % 10) << 8 | (value / 10 % 10) << 4 | (value % 10)
}
