//! 8254 programmable interval timer with the PC's port 61h, which drives counter 2's gate and shows its output.
//! Intel 8254 datasheet (231164); IBM PC/AT Technical Reference for port 61h.
//!
//! All six modes, binary and BCD, on the exact grid of 1193182 Hz machine time. A late host delivers counter
//! 0's missed periods soon after one another (a guest that counts ticks keeps its time), up to a limit beyond
//! which they are dropped. Left out: the speaker makes no sound, and counter 1 refreshes nothing.

mod counter;
#[cfg(test)]
mod tests;

use bitflags::bitflags;
use counter::{Counter, LAST_TICK};
use emu_core::{
    bus::{Device, IoError, IoResult, IrqLine, PortIo, Snapshot},
    clock::{Timer, VmClock, nanos_to_ticks, ticks_to_nanos},
};
use serde::{Deserialize, Serialize};

/// Frequency of CLK 0 to 2.
pub const CLOCK_HZ: u64 = 1_193_182;
/// Region of the counters' and the control word's ports, four from 0x40.
pub const COUNTERS: u8 = 0;
/// Region of port 61h, one port.
pub const PORT61: u8 = 1;

/// Missed periods of counter 0 that are delivered late; more are dropped.
const BACKLOG: u64 = 64;
/// Least distance of late periods in ticks, 20 us: a guest must get something done between them.
const SPACING: u64 = 24;
/// Nanoseconds between refresh cycles: bit 4 of port 61h toggles with each.
const REFRESH_NANOS: u64 = 15_085;

/// Control word: the counter number that means read-back.
const READ_BACK: u8 = 3;

bitflags! {
    /// Port 61h, system control port B.
    struct Port61: u8 {
        const GATE2 = 1 << 0;
        const SPEAKER = 1 << 1;
        const PARITY_OFF = 1 << 2;
        const CHANNEL_CHECK_OFF = 1 << 3;
        const REFRESH = 1 << 4;
        const OUT2 = 1 << 5;
        /// What a write keeps.
        const WRITABLE = 0x0F;
    }
}

/// What the timer is connected to.
pub struct PitWires {
    /// OUT of counter 0: IRQ 0.
    pub irq: IrqLine,
    /// Machine time.
    pub clock: VmClock,
    /// For counter 0: its expiry calls [`I8254::timer_expired`].
    pub timer: Timer,
}

/// The 8254 and port 61h. Regions [`COUNTERS`] and [`PORT61`].
pub struct I8254 {
    wires: PitWires,
    /// Level of the interrupt wire.
    asserted: bool,
    /// The tick of the next rise of OUT 0 that is not delivered yet; in the past if delivery is late.
    rise_at: Option<u64>,
    counters: [Counter; 3],
    /// Lower bits of port 61h.
    port61: u8,
}

impl I8254 {
    /// The timer at power-on: nothing counts.
    pub fn new(wires: PitWires) -> Self {
        I8254 { wires, asserted: false, rise_at: None, counters: power_on_counters(), port61: 0 }
    }

    /// Counter 0's rise is due.
    pub fn timer_expired(&mut self) {
        let now = self.now();
        self.deliver(now);
        self.arm(now);
    }

    fn now(&self) -> u64 {
        nanos_to_ticks(self.wires.clock.now(), CLOCK_HZ)
    }

    /// Lets OUT 0 rise if it is time, and finds the next rise on the grid.
    fn deliver(&mut self, now: u64) {
        let Some(due) = self.rise_at.filter(|&due| due <= now) else { return };
        // In the periodic modes nobody has lowered the wire; who counts edges needs to see one.
        self.drive(false);
        self.drive(true);
        let counter = &mut self.counters[0];
        counter.settle(due);
        self.rise_at = counter.next_rise(due).map(|next| match counter.period() {
            Some(period) => {
                let missed = now.saturating_sub(next) / period;
                next + missed.saturating_sub(BACKLOG) * period
            }
            None => next,
        });
    }

    fn drive(&mut self, level: bool) {
        if level != self.asserted {
            self.asserted = level;
            self.wires.irq.set(level);
        }
    }

    /// Arms the timer for the next rise, or soon if that is late already.
    fn arm(&self, now: u64) {
        let Some(due) = self.rise_at else { return self.wires.timer.cancel() };
        let tick = if due > now {
            due
        } else {
            let period = self.counters[0].period().unwrap_or(0);
            now + SPACING.max(period / 2)
        };
        self.wires.timer.arm(ticks_to_nanos(tick, CLOCK_HZ));
    }

    /// Does something to counter 0, then brings the wire and the timer in line.
    fn change_counter0(&mut self, now: u64, change: impl FnOnce(&mut Counter)) {
        // What was due before the change has happened.
        self.deliver(now);
        let counter = &mut self.counters[0];
        change(counter);
        let out = counter.out(now);
        self.rise_at = counter.next_rise(now);
        self.drive(out);
        self.arm(now);
    }

    fn write_counter(&mut self, index: usize, value: u8, now: u64) {
        if index == 0 {
            self.change_counter0(now, |counter| counter.write(value, now));
        } else {
            self.counters[index].write(value, now);
        }
    }

    fn write_control(&mut self, value: u8, now: u64) {
        let select = value >> 6;
        if select == READ_BACK {
            let (count, status) = (value & 0x20 == 0, value & 0x10 == 0);
            for (index, counter) in self.counters.iter_mut().enumerate() {
                if value & 2 << index != 0 {
                    if count {
                        counter.latch_count(now);
                    }
                    if status {
                        counter.latch_status(now);
                    }
                }
            }
        } else if value & 0x30 == 0 {
            self.counters[usize::from(select)].latch_count(now);
        } else if select == 0 {
            self.change_counter0(now, |counter| counter.write_control(value));
        } else {
            self.counters[usize::from(select)].write_control(value);
        }
    }

    fn read_port61(&self, now: u64) -> u8 {
        let mut value = Port61::from_bits_truncate(self.port61);
        value.set(Port61::REFRESH, !(self.wires.clock.now() / REFRESH_NANOS).is_multiple_of(2));
        value.set(Port61::OUT2, self.counters[2].out(now));
        value.bits()
    }
}

/// Counters 0 and 1 always count; counter 2's gate is on port 61h.
fn power_on_counters() -> [Counter; 3] {
    [Counter::new(true), Counter::new(true), Counter::new(false)]
}

impl Device for I8254 {
    fn name(&self) -> &'static str {
        "i8254"
    }

    fn reset(&mut self) {
        self.counters = power_on_counters();
        self.port61 = 0;
        self.rise_at = None;
        self.wires.timer.cancel();
        self.drive(false);
    }
}

impl PortIo for I8254 {
    fn port_read(&mut self, region: u8, offset: u16, size: u8) -> IoResult<u32> {
        if size != 1 {
            return Err(IoError::Size);
        }
        let now = self.now();
        for counter in &mut self.counters {
            counter.settle(now);
        }
        match (region, offset) {
            (COUNTERS, 0..3) => Ok(self.counters[usize::from(offset)].read(now).into()),
            (COUNTERS, 3) => Err(IoError::Direction),
            (PORT61, 0) => Ok(self.read_port61(now).into()),
            _ => Err(IoError::UnknownRegister),
        }
    }

    fn port_write(&mut self, region: u8, offset: u16, size: u8, value: u32) -> IoResult {
        if size != 1 {
            return Err(IoError::Size);
        }
        let now = self.now();
        for counter in &mut self.counters {
            counter.settle(now);
        }
        let value = value as u8;
        match (region, offset) {
            (COUNTERS, 0..3) => self.write_counter(offset.into(), value, now),
            (COUNTERS, 3) => self.write_control(value, now),
            (PORT61, 0) => {
                self.port61 = value & Port61::WRITABLE.bits();
                self.counters[2].set_gate(value & Port61::GATE2.bits() != 0, now);
            }
            _ => return Err(IoError::UnknownRegister),
        }
        Ok(())
    }
}

/// Saved registers of the timer. Ticks are of machine time, which goes on after a restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PitState {
    asserted: bool,
    rise_at: Option<u64>,
    counters: [Counter; 3],
    port61: u8,
}

impl Snapshot for I8254 {
    type State = PitState;
    type Args = PitWires;

    fn save(&self) -> PitState {
        let I8254 { wires: _, asserted, rise_at, counters, port61 } = self;
        PitState { asserted: *asserted, rise_at: *rise_at, counters: counters.clone(), port61: *port61 }
    }

    fn restore(wires: PitWires, state: PitState) -> Result<Self, String> {
        let PitState { asserted, rise_at, counters, port61 } = state;
        if !counters.iter().all(Counter::is_sound) {
            return Err("counters: a count or tick out of range".to_owned());
        }
        if rise_at.is_some_and(|tick| tick >= LAST_TICK) {
            return Err("rise_at: out of range".to_owned());
        }
        wires.irq.set(asserted);
        let pit = I8254 { wires, asserted, rise_at, counters, port61: port61 & Port61::WRITABLE.bits() };
        pit.arm(pit.now());
        Ok(pit)
    }
}
