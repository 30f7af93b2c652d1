//! The local APIC's timer. SDM vol. 3, 11.5.4.
//!
//! Nothing counts: the count is derived from machine time when somebody looks, and the machine's timer queue is
//! armed for the moment it will reach zero. A masked timer is not armed at all.

use emu_core::clock::{Timer, VmClock, nanos_to_ticks, ticks_to_nanos};
use serde::{Deserialize, Serialize};

/// A periodic timer faster than this is served at this interval: interrupts in between would find the vector
/// still pending anyway, and the host must not be kept busy by a count of 1.
const SHORTEST_SERVED_PERIOD: u64 = 10_000;

const LVT_MASKED: u32 = 1 << 16;
const LVT_TIMER_MODE_SHIFT: u32 = 17;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    OneShot,
    Periodic,
    TscDeadline,
}

/// The timer behind the initial count, current count, divide configuration and IA32_TSC_DEADLINE registers.
pub(super) struct ApicTimer {
    clock: VmClock,
    wire: Timer,
    bus_hz: u64,
    tsc_hz: u64,
    /// What `wire` is armed for.
    armed: Option<u64>,
    // From the LVT timer register.
    mode: Mode,
    masked: bool,
    regs: TimerState,
}

/// Registers of the timer, as saved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TimerState {
    initial_count: u32,
    divide_configuration: u32,
    /// Bus ticks at which the countdown from `initial_count` began; wraps below zero.
    started: u64,
    running: bool,
    tsc_deadline: u64,
    tsc_adjust: u64,
}

impl TimerState {
    /// Bus ticks per count.
    fn divider(&self) -> u64 {
        let code = self.divide_configuration & 3 | self.divide_configuration >> 1 & 4;
        1 << ((code + 1) & 7)
    }

    /// Refuses what no timer can be in.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.running && self.initial_count == 0 {
            return Err("APIC timer: running, with an initial count of 0".to_owned());
        }
        Ok(())
    }

    /// Bus ticks from start to zero.
    fn period(&self) -> u64 {
        u64::from(self.initial_count) * self.divider()
    }
}

impl ApicTimer {
    pub(super) fn new(clock: VmClock, wire: Timer, bus_hz: u64, tsc_hz: u64) -> Self {
        let (mode, masked, regs) = (Mode::OneShot, true, TimerState::default());
        ApicTimer { clock, wire, bus_hz, tsc_hz, armed: None, mode, masked, regs }
    }

    pub(super) fn save(&self) -> TimerState {
        self.regs.clone()
    }

    /// Takes the registers of a saved timer; `lvt` is the saved LVT timer register.
    pub(super) fn load(&mut self, regs: TimerState, lvt: u32) {
        // The mode first: a change of mode disarms.
        self.set_lvt(lvt);
        self.regs = regs;
        self.arm();
    }

    /// As after INIT. IA32_TSC_ADJUST is not the APIC's and stays.
    pub(super) fn reset(&mut self) {
        self.regs = TimerState { tsc_adjust: self.regs.tsc_adjust, ..TimerState::default() };
        (self.mode, self.masked) = (Mode::OneShot, true);
        self.arm();
    }

    /// Moves the timer to the present. True: it has reached zero since the last call, once or more.
    pub(super) fn poll(&mut self) -> bool {
        let now = self.clock.now();
        match self.mode {
            Mode::TscDeadline => {
                let expired = self.regs.tsc_deadline != 0 && self.tsc(now) >= self.regs.tsc_deadline;
                if expired {
                    self.regs.tsc_deadline = 0;
                }
                expired
            }
            _ if !self.regs.running => false,
            mode => {
                let periods = self.elapsed(now) / self.regs.period();
                if periods > 0 && mode == Mode::Periodic {
                    self.regs.started = self.regs.started.wrapping_add(periods * self.regs.period());
                } else if periods > 0 {
                    self.regs.running = false;
                }
                periods > 0
            }
        }
    }

    /// The wire has fired: it must be armed again for what comes next.
    pub(super) fn wire_fired(&mut self) {
        self.armed = None;
    }

    /// Arms the wire for the next expiry. The timer is in the present ([`poll`](Self::poll)).
    pub(super) fn arm(&mut self) {
        let deadline = if self.masked { None } else { self.next_expiry() };
        if deadline != self.armed {
            match deadline {
                Some(deadline) => self.wire.arm(deadline),
                None => self.wire.cancel(),
            }
            self.armed = deadline;
        }
    }

    fn next_expiry(&self) -> Option<u64> {
        match self.mode {
            Mode::TscDeadline if self.regs.tsc_deadline == 0 => None,
            Mode::TscDeadline => {
                let ticks = self.regs.tsc_deadline.wrapping_sub(self.regs.tsc_adjust);
                Some(ticks_to_nanos(ticks, self.tsc_hz))
            }
            _ if !self.regs.running => None,
            mode => {
                let zero = self.regs.started.wrapping_add(self.regs.period());
                let deadline = ticks_to_nanos(zero, self.bus_hz);
                let too_fast = mode == Mode::Periodic
                    && ticks_to_nanos(self.regs.period(), self.bus_hz) < SHORTEST_SERVED_PERIOD;
                Some(if too_fast {
                    deadline.max(self.clock.now() + SHORTEST_SERVED_PERIOD)
                } else {
                    deadline
                })
            }
        }
    }

    /// The LVT timer register was written.
    pub(super) fn set_lvt(&mut self, lvt: u32) {
        let mode = match lvt >> LVT_TIMER_MODE_SHIFT & 3 {
            1 => Mode::Periodic,
            2 => Mode::TscDeadline,
            _ => Mode::OneShot,
        };
        if (mode == Mode::TscDeadline) != (self.mode == Mode::TscDeadline) {
            // Entering or leaving TSC-deadline mode disarms the timer.
            (self.regs.running, self.regs.tsc_deadline) = (false, 0);
        }
        (self.mode, self.masked) = (mode, lvt & LVT_MASKED != 0);
    }

    pub(super) fn initial_count(&self) -> u32 {
        self.regs.initial_count
    }

    /// Loads the count and starts it; 0 stops. Ignored in TSC-deadline mode.
    pub(super) fn set_initial_count(&mut self, count: u32) {
        if self.mode != Mode::TscDeadline {
            self.regs.initial_count = count;
            self.regs.running = count != 0;
            self.regs.started = nanos_to_ticks(self.clock.now(), self.bus_hz);
        }
    }

    /// The count now. The timer is in the present.
    pub(super) fn current_count(&self) -> u32 {
        if !self.regs.running || self.mode == Mode::TscDeadline {
            return 0;
        }
        let counted = self.elapsed(self.clock.now()) / self.regs.divider();
        // Time may have moved since the poll: the last value then is 0, not a wrap.
        self.regs.initial_count.saturating_sub(u32::try_from(counted).unwrap_or(u32::MAX))
    }

    pub(super) fn divide_configuration(&self) -> u32 {
        self.regs.divide_configuration
    }

    /// Changes the divider; the count goes on from where it is.
    pub(super) fn set_divide_configuration(&mut self, value: u32) {
        let counted = self.regs.initial_count - self.current_count();
        self.regs.divide_configuration = value & 0b1011;
        if self.regs.running {
            let now = nanos_to_ticks(self.clock.now(), self.bus_hz);
            self.regs.started = now.wrapping_sub(u64::from(counted) * self.regs.divider());
        }
    }

    pub(super) fn tsc_deadline(&self) -> u64 {
        self.regs.tsc_deadline
    }

    /// Arms the timer for TSC value `deadline`; 0 disarms. Ignored outside TSC-deadline mode.
    pub(super) fn set_tsc_deadline(&mut self, deadline: u64) {
        if self.mode == Mode::TscDeadline {
            self.regs.tsc_deadline = deadline;
        }
    }

    /// What this vCPU's time-stamp counter is ahead of the machine's.
    pub(super) fn set_tsc_adjust(&mut self, adjust: u64) {
        self.regs.tsc_adjust = adjust;
    }

    fn tsc(&self, now: u64) -> u64 {
        nanos_to_ticks(now, self.tsc_hz).wrapping_add(self.regs.tsc_adjust)
    }

    fn elapsed(&self, now: u64) -> u64 {
        nanos_to_ticks(now, self.bus_hz).wrapping_sub(self.regs.started)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use emu_core::clock::TimerQueue;
    use rstest::rstest;
    use std::sync::Arc;

    const PERIODIC: u32 = 1 << 17;
    const DEADLINE: u32 = 2 << 17;

    /// Bus at 1 GHz, TSC at 2 GHz.
    fn timer(lvt: u32) -> (ApicTimer, VmClock, Arc<TimerQueue>) {
        let clock = VmClock::counted(1000);
        let queue = TimerQueue::new(clock.clone());
        let mut timer = ApicTimer::new(clock.clone(), queue.timer(), 1_000_000_000, 2_000_000_000);
        timer.set_lvt(lvt);
        (timer, clock, queue)
    }

    #[rstest]
    #[case(0b0000, 2)]
    #[case(0b0001, 4)]
    #[case(0b0010, 8)]
    #[case(0b0011, 16)]
    #[case(0b1000, 32)]
    #[case(0b1001, 64)]
    #[case(0b1010, 128)]
    #[case(0b1011, 1)]
    fn the_divide_configuration_divides(#[case] divide_configuration: u32, #[case] divider: u64) {
        assert_eq!(TimerState { divide_configuration, ..TimerState::default() }.divider(), divider);
    }

    #[test]
    fn a_one_shot_counts_down_expires_once_and_stays_at_zero() {
        let (mut timer, clock, queue) = timer(0);
        timer.set_divide_configuration(0b0001);
        timer.set_initial_count(100);
        timer.arm();
        assert_eq!(queue.next_deadline(), Some(1400));
        clock.advance(399);
        assert_eq!((timer.poll(), timer.current_count()), (false, 1));
        clock.advance(1);
        assert_eq!((timer.poll(), timer.current_count(), timer.poll()), (true, 0, false));
    }

    #[test]
    fn a_periodic_timer_does_not_drift_however_late_it_is_served() {
        let (mut timer, clock, queue) = timer(PERIODIC);
        timer.set_divide_configuration(0b1011);
        timer.set_initial_count(20_000);
        clock.advance(53_000);
        assert!(timer.poll());
        timer.arm();
        assert_eq!((timer.current_count(), queue.next_deadline()), (7_000, Some(61_000)));
    }

    #[test]
    fn changing_the_divider_keeps_the_count() {
        let (mut timer, clock, _queue) = timer(0);
        timer.set_divide_configuration(0b1011);
        timer.set_initial_count(100);
        clock.advance(40);
        timer.set_divide_configuration(0b0001);
        assert_eq!(timer.current_count(), 60);
        clock.advance(8);
        assert_eq!(timer.current_count(), 58);
    }

    #[test]
    fn a_masked_timer_is_not_armed() {
        let (mut timer, _clock, queue) = timer(LVT_MASKED);
        timer.set_initial_count(100);
        timer.arm();
        assert_eq!(queue.next_deadline(), None);
    }

    #[test]
    fn a_tsc_deadline_counts_with_the_adjusted_tsc_and_reads_zero_once_passed() {
        let (mut timer, clock, queue) = timer(DEADLINE);
        timer.set_tsc_adjust(500);
        timer.set_tsc_deadline(2000 + 500 + 300);
        assert!(!timer.poll());
        timer.arm();
        assert_eq!(queue.next_deadline(), Some(1150));
        clock.advance(150);
        assert_eq!((timer.poll(), timer.tsc_deadline()), (true, 0));
    }

    #[test]
    fn leaving_deadline_mode_disarms() {
        let (mut timer, clock, _queue) = timer(DEADLINE);
        timer.set_tsc_deadline(u64::MAX);
        timer.set_lvt(0);
        timer.set_lvt(DEADLINE);
        clock.advance(1);
        assert_eq!((timer.tsc_deadline(), timer.poll()), (0, false));
    }
}
