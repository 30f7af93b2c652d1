//! High precision event timer: IA-PC HPET specification 1.0a.
//!
//! One block of three 64-bit timers at 100 MHz, each able to count periodically, to interrupt an I/O APIC pin
//! (edge or level) or to send a message (FSB). Nothing counts: the main counter is derived from machine time,
//! and matches are found when somebody looks or when the machine's timer queue says that one is due. Matches
//! that fall together before they are served are one interrupt.
//!
//! In legacy replacement mode timers 0 and 1 take the places of the PIT at IRQ 0 and of the RTC at IRQ 8. The
//! board does that switching, told by the [`HpetWires::legacy_replacement`] line.

mod comparator;
#[cfg(test)]
mod tests;

use comparator::Comparator;
use emu_core::{
    bus::{Device, IoError, IoResult, IrqLine, MmioIo, MsiSink, Snapshot},
    clock::{NANOS_PER_SECOND, Timer, VmClock},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Where a PC has its HPET.
pub const HPET_BASE: u64 = 0xFED0_0000;
/// Length of the register block.
pub const HPET_LEN: u64 = 0x400;
/// Timers of the block.
pub const TIMERS: usize = 3;
/// Rate of the main counter.
pub const COUNTER_HZ: u64 = 100_000_000;
/// The low half of the capability register: what the ACPI HPET table calls the event timer block ID.
pub const BLOCK_ID: u32 =
    0x8086_0000 | cap::LEG_RT as u32 | cap::COUNT_SIZE as u32 | (TIMERS as u32 - 1) << 8 | 1;

const NANOS_PER_TICK: u64 = NANOS_PER_SECOND / COUNTER_HZ;
const FEMTOSECONDS_PER_TICK: u64 = NANOS_PER_TICK * 1_000_000;
/// A periodic timer faster than this is served at this interval, so that a guest cannot keep the host busy.
const SHORTEST_SERVED_PERIOD: u64 = 10_000;

/// Register offsets.
mod reg {
    pub(super) const GCAP_ID: u64 = 0x000;
    pub(super) const GEN_CONF: u64 = 0x010;
    pub(super) const GINTR_STA: u64 = 0x020;
    pub(super) const MAIN_CNT: u64 = 0x0F0;
    pub(super) const TIMER: u64 = 0x100;
    pub(super) const TIMER_STRIDE: u64 = 0x20;
    pub(super) const TIMER_CONF: u64 = 0x00;
    pub(super) const TIMER_COMPARATOR: u64 = 0x08;
    pub(super) const TIMER_FSB_ROUTE: u64 = 0x10;
}

/// GCAP_ID.
mod cap {
    pub(super) const COUNT_SIZE: u64 = 1 << 13;
    pub(super) const LEG_RT: u64 = 1 << 15;
}

/// GEN_CONF.
mod conf {
    pub(super) const ENABLE: u64 = 1 << 0;
    pub(super) const LEG_RT: u64 = 1 << 1;
}

/// Where the HPET's interrupts go.
pub struct HpetWires {
    /// I/O APIC inputs, by number; timers can be routed to 20 to 23.
    pub pins: Vec<IrqLine>,
    /// ISA IRQ 0, in place of the PIT.
    pub legacy_timer: IrqLine,
    /// ISA IRQ 8, in place of the RTC.
    pub legacy_rtc: IrqLine,
    /// High while timers 0 and 1 replace PIT and RTC.
    pub legacy_replacement: IrqLine,
    /// FSB interrupts.
    pub msi: Arc<dyn MsiSink>,
}

impl HpetWires {
    /// The wire that `timer` drives now.
    fn line(&self, number: usize, timer: &Comparator, legacy: bool) -> Option<&IrqLine> {
        match (legacy, number) {
            (true, 0) => Some(&self.legacy_timer),
            (true, 1) => Some(&self.legacy_rtc),
            _ => self.pins.get(timer.route()),
        }
    }
}

/// Registers of the HPET, as saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HpetState {
    gen_conf: u64,
    gintr_sta: u32,
    /// The main counter when it was last started, or where it stands.
    counter: u64,
    /// Machine time at which it was last started.
    started: u64,
    /// The main counter up to which matches have been looked for.
    synced: u64,
    timers: [Comparator; TIMERS],
}

impl HpetState {
    const AT_RESET: HpetState = HpetState {
        gen_conf: 0,
        gintr_sta: 0,
        counter: 0,
        started: 0,
        synced: 0,
        timers: [Comparator::AT_RESET; TIMERS],
    };

    fn running(&self) -> bool {
        self.gen_conf & conf::ENABLE != 0
    }

    fn legacy(&self) -> bool {
        self.gen_conf & conf::LEG_RT != 0
    }

    fn main_counter(&self, now: u64) -> u64 {
        let ran = if self.running() { now.saturating_sub(self.started) / NANOS_PER_TICK } else { 0 };
        self.counter.wrapping_add(ran)
    }
}

/// The event timer block.
pub struct Hpet {
    clock: VmClock,
    timer: Timer,
    wires: HpetWires,
    regs: HpetState,
}

impl Hpet {
    /// An HPET at power-on. `timer` is its timer of the machine, whose expiry is to call [`expire`](Self::expire).
    pub fn new(clock: VmClock, timer: Timer, wires: HpetWires) -> Self {
        Hpet { clock, timer, wires, regs: HpetState::AT_RESET }
    }

    /// Whether timers 0 and 1 replace PIT and RTC.
    pub fn legacy_replacement(&self) -> bool {
        self.regs.legacy()
    }

    /// The machine's timer has expired: a match may be due.
    pub fn expire(&mut self) {
        self.sync();
        self.arm();
    }

    /// Finds the matches since the last look and interrupts for them.
    fn sync(&mut self) {
        let counter = self.regs.main_counter(self.clock.now());
        let elapsed = counter.wrapping_sub(self.regs.synced);
        for number in 0..TIMERS {
            if self.regs.timers[number].pass(self.regs.synced, elapsed) {
                self.fire(number);
            }
        }
        self.regs.synced = counter;
    }

    fn fire(&mut self, number: usize) {
        let timer = &self.regs.timers[number];
        if timer.is_level() {
            self.regs.gintr_sta |= 1 << number;
            self.hold();
        } else if !timer.is_enabled() {
            // Counts, but is silent.
        } else if timer.uses_fsb() {
            let (address, data) = timer.fsb_message();
            self.wires.msi.send_msi(address, data);
        } else if let Some(line) = self.wires.line(number, timer, self.regs.legacy()) {
            line.pulse();
        }
    }

    /// The wires that level-triggered timers hold high; several timers may share one.
    fn held(&self) -> impl Iterator<Item = &IrqLine> {
        let legacy = self.regs.legacy();
        self.regs.timers.iter().enumerate().filter_map(move |(number, timer)| {
            let holds = timer.is_level() && timer.is_enabled() && self.regs.gintr_sta & 1 << number != 0;
            if holds { self.wires.line(number, timer, legacy) } else { None }
        })
    }

    /// Drives the level wires that are to be high.
    fn hold(&self) {
        self.held().for_each(|line| line.set(true));
    }

    /// Lets go of all level wires, before a change of status or routing.
    fn release(&self) {
        self.held().for_each(|line| line.set(false));
    }

    /// Arms the machine's timer for the next match that interrupts.
    fn arm(&self) {
        let now = self.clock.now();
        let next = self.regs.timers.iter().filter(|timer| timer.is_enabled() && self.regs.running());
        let deadlines = next.map(|timer| {
            let ticks = self.regs.synced.wrapping_sub(self.regs.counter);
            let ticks = u128::from(ticks) + timer.distance(self.regs.synced);
            let nanos = u128::from(self.regs.started) + ticks * u128::from(NANOS_PER_TICK);
            let deadline = u64::try_from(nanos).unwrap_or(u64::MAX);
            if timer.repeats_within(SHORTEST_SERVED_PERIOD / NANOS_PER_TICK) {
                deadline.max(now + SHORTEST_SERVED_PERIOD)
            } else {
                deadline
            }
        });
        match deadlines.min() {
            Some(deadline) => self.timer.arm(deadline),
            None => self.timer.cancel(),
        }
    }

    fn read(&self, offset: u64) -> IoResult<u64> {
        Ok(match offset {
            reg::GCAP_ID => FEMTOSECONDS_PER_TICK << 32 | u64::from(BLOCK_ID),
            reg::GEN_CONF => self.regs.gen_conf,
            reg::GINTR_STA => self.regs.gintr_sta.into(),
            reg::MAIN_CNT => self.regs.main_counter(self.clock.now()),
            _ => {
                let (number, register) = timer_register(offset)?;
                let timer = &self.regs.timers[number];
                match register {
                    reg::TIMER_CONF => timer.conf(),
                    reg::TIMER_COMPARATOR => timer.comparator(),
                    _ => timer.fsb_route(),
                }
            }
        })
    }

    /// Writes the bits of `mask`.
    fn write(&mut self, offset: u64, value: u64, mask: u64) -> IoResult {
        let merge = |old: u64| old & !mask | value & mask;
        match offset {
            reg::GEN_CONF => self.set_gen_conf(merge(self.regs.gen_conf)),
            reg::GINTR_STA => {
                self.release();
                self.regs.gintr_sta &= !((value & mask) as u32);
                self.hold();
            }
            reg::MAIN_CNT => {
                let now = self.clock.now();
                self.regs.counter = merge(self.regs.main_counter(now));
                (self.regs.started, self.regs.synced) = (now, self.regs.counter);
            }
            reg::GCAP_ID => return Err(IoError::Direction),
            _ => {
                let (number, register) = timer_register(offset)?;
                match register {
                    reg::TIMER_CONF => {
                        self.release();
                        let timer = &mut self.regs.timers[number];
                        timer.set_conf(merge(timer.conf()));
                        if !self.regs.timers[number].is_level() {
                            self.regs.gintr_sta &= !(1 << number);
                        }
                        self.hold();
                    }
                    reg::TIMER_COMPARATOR => self.regs.timers[number].set_comparator(value, mask),
                    _ => self.regs.timers[number].set_fsb_route(value, mask),
                }
            }
        }
        Ok(())
    }

    fn set_gen_conf(&mut self, value: u64) {
        let now = self.clock.now();
        let counter = self.regs.main_counter(now);
        self.release();
        let legacy_before = self.regs.legacy();
        self.regs.gen_conf = value & (conf::ENABLE | conf::LEG_RT);
        (self.regs.counter, self.regs.started, self.regs.synced) = (counter, now, counter);
        if self.regs.legacy() != legacy_before {
            self.wires.legacy_replacement.set(self.regs.legacy());
        }
        self.hold();
    }
}

/// The timer at `offset`, and which of its registers.
fn timer_register(offset: u64) -> IoResult<(usize, u64)> {
    let from_first = offset.checked_sub(reg::TIMER).ok_or(IoError::UnknownRegister)?;
    let (number, register) = (from_first / reg::TIMER_STRIDE, from_first % reg::TIMER_STRIDE);
    let exists = number < TIMERS as u64 && register <= reg::TIMER_FSB_ROUTE;
    if exists { Ok((number as usize, register)) } else { Err(IoError::UnknownRegister) }
}

impl Device for Hpet {
    fn name(&self) -> &'static str {
        "hpet"
    }

    fn reset(&mut self) {
        self.release();
        self.regs = HpetState::AT_RESET;
        self.wires.legacy_replacement.set(false);
        self.timer.cancel();
    }
}

impl MmioIo for Hpet {
    fn mmio_read(&mut self, _region: u8, offset: u64, size: u8) -> IoResult<u64> {
        if offset & (u64::from(size) - 1) != 0 {
            return Err(IoError::Alignment);
        }
        self.sync();
        let value = self.read(offset & !7)?;
        self.arm();
        Ok(value >> (8 * (offset & 7)))
    }

    fn mmio_write(&mut self, _region: u8, offset: u64, size: u8, value: u64) -> IoResult {
        // The specification leaves narrower writes undefined.
        let mask: u64 = match size {
            4 => 0xFFFF_FFFF,
            8 => u64::MAX,
            _ => return Err(IoError::Size),
        };
        if offset & (u64::from(size) - 1) != 0 {
            return Err(IoError::Alignment);
        }
        self.sync();
        let shift = 8 * (offset & 7);
        self.write(offset & !7, value << shift, mask << shift)?;
        self.arm();
        Ok(())
    }
}

impl Snapshot for Hpet {
    type State = HpetState;
    type Args = (VmClock, Timer, HpetWires);

    fn save(&self) -> HpetState {
        let Hpet { clock: _, timer: _, wires: _, regs } = self;
        regs.clone()
    }

    fn restore((clock, timer, wires): Self::Args, state: HpetState) -> Result<Self, String> {
        let hpet = Hpet { clock, timer, wires, regs: state };
        hpet.wires.legacy_replacement.set(hpet.regs.legacy());
        hpet.hold();
        hpet.arm();
        Ok(hpet)
    }
}
