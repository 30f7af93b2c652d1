//! MC146818 real-time clock with 128 bytes of CMOS RAM, as in the PC/AT at ports 70h and 71h. Motorola
//! MC146818A datasheet; IBM PC/AT Technical Reference for the RAM's layout.
//!
//! The time is machine time plus a base. Flags are computed from the time that has passed whenever somebody
//! looks; the timer only serves interrupts that are enabled and not pending yet, so that a guest that does not
//! answer is not flooded. Left out: daylight saving (bit DSE is kept), the square wave output, time bases other
//! than 32.768 kHz.

mod calendar;
mod registers;
mod state;
#[cfg(test)]
mod tests;

pub use registers::cmos;
pub use state::RtcState;

use calendar::{Alarm, Format, TimeRegisters};
use emu_core::{
    bus::{Device, IoError, IoResult, IrqLine, PortIo},
    clock::{NANOS_PER_SECOND, Timer, VmClock},
};
use registers::{B, C, UIP, VRT, index};
use std::cell::Cell;

/// Ports: index and data.
pub const PORTS: u16 = 2;
/// Port 70h: 1 keeps NMI from the CPU.
const NMI_DISABLE: u8 = 0x80;
const INTERRUPTS: u8 = 0x70;
/// Register A at power-on as firmware sets it: divider running at 32.768 kHz, periodic rate 1024 Hz.
const A_DEFAULT: u8 = 0x26;
/// How long before the time changes UIP is set: 244 us notice and an update cycle of 1984 us.
const UPDATE_NANOS: i64 = 244_000 + 1_984_000;
/// 73 years of machine time: differences of such times cannot overflow.
const LAST_NANO: i64 = 1 << 61;
const SECOND: i64 = NANOS_PER_SECOND as i64;
/// The divider's input.
const CRYSTAL_HZ: i128 = 32_768;

/// What the RTC is connected to.
pub struct RtcWires {
    /// IRQ 8.
    pub irq: IrqLine,
    /// High while port 70h keeps NMI from the CPU.
    pub nmi_mask: IrqLine,
    /// Machine time.
    pub clock: VmClock,
    /// For interrupts: its expiry calls [`Mc146818::timer_expired`].
    pub timer: Timer,
}

/// Seconds since 1970, weekday shift, format.
type Meaning = (i64, u8, Format);

/// The RTC and its RAM. One region of [`PORTS`] ports.
pub struct Mc146818 {
    wires: RtcWires,
    /// Level of the interrupt wire.
    asserted: bool,
    /// Port 70h, with the NMI bit.
    index: u8,
    a: u8,
    b: B,
    c: C,
    /// RAM; the places of time registers are unused but for the alarm.
    ram: [u8; 128],
    /// Seconds since 1970 at `epoch`.
    seconds: i64,
    /// Machine time in nanoseconds at which a second began. Before power-on after a divider reset.
    epoch: i64,
    /// How far the guest has set the weekday off the calendar.
    weekday_shift: u8,
    /// The time registers while updates are stopped (SET, or the divider held in reset).
    stopped: Option<TimeRegisters>,
    /// The time registers that were worked out last, and what from.
    shown: Cell<Option<(Meaning, TimeRegisters)>>,
    /// Machine time up to which flags are set in C.
    settled: i64,
}

impl Mc146818 {
    /// An RTC whose battery has kept the time: it shows `base` seconds since 1970, in UTC or local time as the
    /// caller likes, at the present machine time.
    pub fn new(wires: RtcWires, base: i64) -> Self {
        let now = nanos(&wires.clock);
        wires.nmi_mask.set(false);
        Mc146818 {
            wires,
            asserted: false,
            index: 0,
            a: A_DEFAULT,
            b: B::HOURS_24,
            c: C::empty(),
            ram: [0; 128],
            seconds: base,
            epoch: now,
            weekday_shift: 0,
            stopped: None,
            shown: Cell::default(),
            settled: now,
        }
    }

    /// A byte of RAM, for firmware that runs outside the guest.
    pub fn cmos(&self, index: u8) -> u8 {
        self.ram[usize::from(index & 0x7F)]
    }

    /// Sets a byte of RAM from outside the guest. Time and control registers are not RAM and keep their values.
    pub fn set_cmos(&mut self, index: u8, value: u8) {
        self.ram[usize::from(index & 0x7F)] = value;
    }

    /// Tells firmware and guests how much RAM there is, in bytes: below 4 GiB (from address 0), and above.
    pub fn set_memory_size(&mut self, below_4g: u64, above_4g: u64) {
        let mut put = |index: u8, value: u64, bytes: usize| {
            let limit = (1 << (8 * bytes)) - 1;
            let at = usize::from(index);
            self.ram[at..at + bytes].copy_from_slice(&value.min(limit).to_le_bytes()[..bytes]);
        };
        put(cmos::BASE_MEMORY, (below_4g >> 10).min(640), 2);
        put(cmos::EXTENDED_MEMORY, below_4g.saturating_sub(1 << 20) >> 10, 2);
        put(cmos::EXTENDED_MEMORY_FOUND, below_4g.saturating_sub(1 << 20) >> 10, 2);
        put(cmos::MEMORY_ABOVE_16M, below_4g.saturating_sub(16 << 20) >> 16, 2);
        put(cmos::MEMORY_ABOVE_4G, above_4g >> 16, 3);
        let sum: u16 = cmos::CHECKED.map(|index| u16::from(self.cmos(index))).sum();
        let at = usize::from(cmos::CHECKSUM);
        self.ram[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }

    /// An interrupt is due.
    pub fn timer_expired(&mut self) {
        self.settle();
        self.drive();
    }

    fn format(&self) -> Format {
        Format { binary: self.b.contains(B::DM), hours_24: self.b.contains(B::HOURS_24) }
    }

    fn alarm(&self) -> Alarm {
        let raw = |index: u8| self.cmos(index);
        let (seconds, minutes) = (raw(index::SECONDS_ALARM), raw(index::MINUTES_ALARM));
        Alarm::new(seconds, minutes, raw(index::HOURS_ALARM), self.format())
    }

    /// Whether bits DV of register A hold the divider in reset.
    fn divider_held(&self) -> bool {
        self.a & 0x60 == 0x60
    }

    /// Ticks of the crystal between periodic interrupts.
    fn period(&self) -> Option<i128> {
        let rate = self.a & 0xF;
        if rate == 0 || self.divider_held() {
            return None;
        }
        // The two slowest-looking rates repeat 256 and 128 Hz.
        let shift = if rate <= 2 { rate + 6 } else { rate - 1 };
        Some(1 << shift)
    }

    fn seconds_at(&self, at: i64) -> i64 {
        self.seconds + (at - self.epoch).div_euclid(SECOND)
    }

    /// Nanoseconds since the second began.
    fn phase(&self, at: i64) -> i64 {
        (at - self.epoch).rem_euclid(SECOND)
    }

    fn periods_at(&self, at: i64, period: i128) -> i128 {
        (i128::from(at - self.epoch) * CRYSTAL_HZ).div_euclid(i128::from(SECOND) * period)
    }

    /// Sets the flags of what has happened since the last time.
    fn settle(&mut self) -> i64 {
        let now = nanos(&self.wires.clock);
        if self.stopped.is_none() {
            let (before, after) = (self.seconds_at(self.settled), self.seconds_at(now));
            if after > before {
                self.c |= C::UF;
                if self.alarm().next_after(before).is_some_and(|at| at <= after) {
                    self.c |= C::AF;
                }
            }
        }
        if !self.c.contains(C::PF)
            && let Some(period) = self.period()
            && self.periods_at(now, period) > self.periods_at(self.settled, period)
        {
            self.c |= C::PF;
        }
        self.settled = now;
        now
    }

    /// Brings IRQF, the interrupt wire and the timer in line with the registers.
    fn drive(&mut self) {
        let level = self.c.bits() & self.b.bits() & INTERRUPTS != 0;
        self.c.set(C::IRQF, level);
        if level != self.asserted {
            self.asserted = level;
            self.wires.irq.set(level);
        }
        match self.next_interrupt().filter(|_| !level) {
            // Another interrupt could not be told from the one that is pending.
            None => self.wires.timer.cancel(),
            Some(at) => self.wires.timer.arm(at.try_into().unwrap_or(0)),
        }
    }

    /// When the next enabled interrupt is due, in machine time.
    fn next_interrupt(&self) -> Option<i64> {
        let begin = |second: i64| self.epoch.saturating_add((second - self.seconds).saturating_mul(SECOND));
        let now = self.seconds_at(self.settled);
        let updates = self.stopped.is_none();
        let update = (updates && self.b.contains(B::UIE)).then(|| begin(now + 1));
        let alarm =
            if updates && self.b.contains(B::AIE) { self.alarm().next_after(now).map(begin) } else { None };
        let periodic = self.period().filter(|_| self.b.contains(B::PIE)).map(|period| {
            let ticks = (self.periods_at(self.settled, period) + 1) * period;
            // Rounded up, for the period to be certainly over.
            let nanos = -(-ticks * i128::from(SECOND)).div_euclid(CRYSTAL_HZ);
            self.epoch.saturating_add(i64::try_from(nanos).unwrap_or(i64::MAX))
        });
        [update, alarm, periodic].into_iter().flatten().min()
    }

    fn time_registers(&self) -> TimeRegisters {
        let running = || {
            let time = (self.seconds_at(self.settled), self.weekday_shift, self.format());
            match self.shown.get() {
                Some((shown, registers)) if shown == time => registers,
                _ => {
                    let registers = TimeRegisters::at(time.0, time.1, time.2);
                    self.shown.set(Some((time, registers)));
                    registers
                }
            }
        };
        self.stopped.unwrap_or_else(running)
    }

    /// Makes `registers` the time, without touching the divider.
    fn set_time(&mut self, registers: &TimeRegisters) {
        let (seconds, weekday_shift) = registers.meaning(self.format());
        self.seconds = seconds;
        self.weekday_shift = weekday_shift;
        self.epoch = self.settled - self.phase(self.settled);
    }

    /// Stops or starts updates after SET or the divider have changed.
    fn stop_or_start(&mut self, divider_was_held: bool) {
        let stop = self.b.contains(B::SET) || self.divider_held();
        match self.stopped {
            None if stop => self.stopped = Some(self.time_registers()),
            Some(registers) if !stop => {
                self.stopped = None;
                self.set_time(&registers);
            }
            _ => {}
        }
        if divider_was_held && !self.divider_held() {
            // The first update comes half a second after the divider's release.
            let shown = self.seconds_at(self.settled);
            self.seconds = shown;
            self.epoch = self.settled - SECOND / 2;
        }
    }

    fn read(&mut self, index: u8) -> u8 {
        let now = self.settle();
        let time = self.time_registers();
        match index {
            index::SECONDS => time.seconds,
            index::MINUTES => time.minutes,
            index::HOURS => time.hours,
            index::WEEKDAY => time.weekday,
            index::DAY => time.day,
            index::MONTH => time.month,
            index::YEAR => time.year,
            index::CENTURY => time.century,
            index::A => {
                let updating = self.stopped.is_none() && self.phase(now) >= SECOND - UPDATE_NANOS;
                self.a | if updating { UIP } else { 0 }
            }
            index::B => self.b.bits(),
            index::C => {
                self.drive();
                let flags = std::mem::replace(&mut self.c, C::empty());
                self.drive();
                flags.bits()
            }
            index::D => VRT,
            _ => self.cmos(index),
        }
    }

    fn write(&mut self, index: u8, value: u8) {
        self.settle();
        let mut time = self.time_registers();
        match index {
            index::SECONDS => time.seconds = value,
            index::MINUTES => time.minutes = value,
            index::HOURS => time.hours = value,
            index::WEEKDAY => time.weekday = value,
            index::DAY => time.day = value,
            index::MONTH => time.month = value,
            index::YEAR => time.year = value,
            index::CENTURY => time.century = value,
            index::A => {
                let held = self.divider_held();
                self.a = value & !UIP;
                self.stop_or_start(held);
                return self.drive();
            }
            index::B => {
                self.write_b(B::from_bits_retain(value));
                return self.drive();
            }
            index::C | index::D => return,
            _ => {
                self.set_cmos(index, value);
                return self.drive();
            }
        }
        match &mut self.stopped {
            Some(registers) => *registers = time,
            None => self.set_time(&time),
        }
        self.drive();
    }

    fn write_b(&mut self, mut value: B) {
        if value.contains(B::SET) {
            // Without updates there is no end of one to be told.
            value -= B::UIE;
            // The registers are shown in the format they were counted in, then it changes.
            self.stopped = Some(self.time_registers());
        }
        self.b = value;
        self.stop_or_start(self.divider_held());
    }
}

fn nanos(clock: &VmClock) -> i64 {
    clock.now().min(LAST_NANO.unsigned_abs()) as i64
}

impl Device for Mc146818 {
    fn name(&self) -> &'static str {
        "mc146818"
    }

    fn reset(&mut self) {
        // The battery keeps the time, the RAM and what else register B says.
        self.settle();
        self.b -= B::PIE | B::AIE | B::UIE | B::SQWE;
        self.c = C::empty();
        self.index = 0;
        self.wires.nmi_mask.set(false);
        self.drive();
    }
}

impl PortIo for Mc146818 {
    fn port_read(&mut self, _region: u8, offset: u16, size: u8) -> IoResult<u32> {
        match (offset, size) {
            (0 | 1, 2 | 4) => Err(IoError::Size),
            (0, _) => Err(IoError::Direction),
            (1, _) => Ok(self.read(self.index & !NMI_DISABLE).into()),
            _ => Err(IoError::UnknownRegister),
        }
    }

    fn port_write(&mut self, _region: u8, offset: u16, size: u8, value: u32) -> IoResult {
        match (offset, size) {
            (0 | 1, 2 | 4) => return Err(IoError::Size),
            (0, _) => {
                self.index = value as u8;
                self.wires.nmi_mask.set(self.index & NMI_DISABLE != 0);
            }
            (1, _) => self.write(self.index & !NMI_DISABLE, value as u8),
            _ => return Err(IoError::UnknownRegister),
        }
        Ok(())
    }
}
