use super::*;
use crate::probe::{Probe, accesses, hammer};
use emu_core::clock::TimerQueue;
use proptest::prelude::*;
use rstest::rstest;
use std::sync::Arc;

struct Bench {
    pit: I8254,
    probe: Arc<Probe>,
    clock: VmClock,
    queue: Arc<TimerQueue>,
    tick: u64,
}

impl Bench {
    fn new() -> Self {
        let (probe, clock) = (Probe::new(), VmClock::counted(0));
        let queue = TimerQueue::new(clock.clone());
        let wires = PitWires { irq: probe.line(0), clock: clock.clone(), timer: queue.timer() };
        Bench { pit: I8254::new(wires), probe, clock, queue, tick: 0 }
    }

    fn out(&mut self, port: u16, value: u8) {
        let (region, offset) = if port == 0x61 { (PORT61, 0) } else { (COUNTERS, port - 0x40) };
        self.pit.port_write(region, offset, 1, value.into()).unwrap();
    }

    fn inb(&mut self, port: u16) -> u8 {
        let (region, offset) = if port == 0x61 { (PORT61, 0) } else { (COUNTERS, port - 0x40) };
        self.pit.port_read(region, offset, 1).unwrap() as u8
    }

    /// Sets counter `index` to `mode` with a two-byte count and passes the tick that loads it.
    fn start(&mut self, index: u8, mode: u8, count: u16) {
        self.out(0x43, index << 6 | 0x30 | mode << 1);
        self.write_count(index, count);
        self.ticks(1);
    }

    fn write_count(&mut self, index: u8, count: u16) {
        let [low, high] = count.to_le_bytes();
        self.out(0x40 + u16::from(index), low);
        self.out(0x40 + u16::from(index), high);
    }

    /// Reads the latched count.
    fn count(&mut self, index: u8) -> u16 {
        self.out(0x43, index << 6);
        let port = 0x40 + u16::from(index);
        u16::from_le_bytes([self.inb(port), self.inb(port)])
    }

    /// OUT of counter `index`, by read-back.
    fn output(&mut self, index: u8) -> bool {
        self.out(0x43, 0xE0 | 2 << index);
        self.inb(0x40 + u16::from(index)) & 0x80 != 0
    }

    /// Passes time without serving the timer.
    fn doze(&mut self, ticks: u64) {
        self.tick += ticks;
        let then = ticks_to_nanos(self.tick, CLOCK_HZ);
        self.clock.advance(then - self.clock.now());
    }

    fn serve(&mut self) {
        if self.queue.next_deadline().is_some_and(|deadline| deadline <= self.clock.now()) {
            self.queue.fire_due();
            self.pit.timer_expired();
        }
    }

    /// Passes time, serving the timer at each tick.
    fn ticks(&mut self, ticks: u64) {
        for _ in 0..ticks {
            self.doze(1);
            self.serve();
        }
    }

    fn gate2(&mut self, level: bool) {
        self.out(0x61, level.into());
    }
}

/// OUT and the count after each tick from the load on, as in the datasheet's timing diagrams.
#[rstest]
#[case::interrupt_on_terminal_count(0, 3, &[(0, 3), (0, 2), (0, 1), (1, 0), (1, 0xFFFF)])]
#[case::rate_generator(2, 3, &[(1, 3), (1, 2), (0, 1), (1, 3), (1, 2), (0, 1)])]
#[case::square_wave_even(3, 4, &[(1, 4), (1, 2), (0, 4), (0, 2), (1, 4)])]
#[case::square_wave_odd(3, 5, &[(1, 4), (1, 2), (1, 0), (0, 4), (0, 2), (1, 4)])]
#[case::mode_6_is_2(6, 2, &[(1, 2), (0, 1), (1, 2)])]
#[case::software_strobe(4, 2, &[(1, 2), (1, 1), (0, 0), (1, 0xFFFF)])]
fn modes_started_by_software(#[case] mode: u8, #[case] count: u16, #[case] expected: &[(u8, u16)]) {
    let mut bench = Bench::new();
    bench.gate2(true);
    bench.start(2, mode, count);
    for (tick, &(out, count)) in expected.iter().enumerate() {
        assert_eq!((u8::from(bench.output(2)), bench.count(2)), (out, count), "tick {tick}");
        bench.ticks(1);
    }
}

#[rstest]
#[case::one_shot(1, 2, &[(0, 2), (0, 1), (1, 0), (1, 0xFFFF)])]
#[case::hardware_strobe(5, 2, &[(1, 2), (1, 1), (0, 0), (1, 0xFFFF)])]
fn modes_started_by_the_gate(#[case] mode: u8, #[case] count: u16, #[case] expected: &[(u8, u16)]) {
    let mut bench = Bench::new();
    bench.start(2, mode, count);
    bench.ticks(10);
    assert!(bench.output(2), "waits for its trigger");
    for again in 0..2 {
        bench.gate2(true);
        bench.ticks(1);
        for (tick, &(out, count)) in expected.iter().enumerate() {
            assert_eq!((u8::from(bench.output(2)), bench.count(2)), (out, count), "{again}: tick {tick}");
            bench.ticks(1);
        }
        bench.gate2(false);
    }
}

#[test]
fn a_one_shot_is_retriggered_while_it_runs_and_a_new_count_waits_for_that() {
    let mut bench = Bench::new();
    bench.start(2, 1, 5);
    bench.gate2(true);
    bench.ticks(3);
    bench.write_count(2, 9);
    bench.ticks(1);
    assert_eq!(bench.count(2), 2);
    bench.gate2(false);
    bench.gate2(true);
    bench.ticks(1);
    assert_eq!((bench.count(2), bench.output(2)), (9, false));
}

#[test]
fn a_low_gate_suspends_modes_0_and_4_and_restarts_modes_2_and_3() {
    for (mode, after) in [(0, 7), (4, 7), (2, 10), (3, 10)] {
        let mut bench = Bench::new();
        bench.gate2(true);
        bench.start(2, mode, 10);
        bench.ticks(3);
        bench.gate2(false);
        let held = bench.count(2);
        bench.ticks(5);
        assert_eq!(bench.count(2), held, "mode {mode}");
        assert_eq!(bench.output(2), mode != 0, "mode {mode}");
        bench.gate2(true);
        // The trigger of modes 2 and 3 takes effect with the next tick.
        bench.ticks(u64::from(mode == 2 || mode == 3));
        assert_eq!(bench.count(2), after, "mode {mode}");
    }
}

#[test]
fn mode_0_goes_low_at_the_first_byte_of_a_new_count() {
    let mut bench = Bench::new();
    bench.gate2(true);
    bench.start(2, 0, 2);
    bench.ticks(2);
    assert!(bench.output(2));
    bench.out(0x42, 4);
    assert!(!bench.output(2));
    bench.ticks(9);
    bench.out(0x42, 0);
    bench.ticks(1);
    assert_eq!(bench.count(2), 4);
}

#[test]
fn a_new_count_takes_over_at_the_end_of_the_period_or_half_period() {
    let mut bench = Bench::new();
    bench.gate2(true);
    bench.start(2, 2, 4);
    bench.ticks(1);
    bench.write_count(2, 3);
    let counts: Vec<u16> = (0..7)
        .map(|_| {
            let c = bench.count(2);
            bench.ticks(1);
            c
        })
        .collect();
    assert_eq!(counts, [3, 2, 1, 3, 2, 1, 3]);

    bench.start(2, 3, 8);
    bench.ticks(1);
    bench.write_count(2, 4);
    let outs: Vec<bool> = (0..9)
        .map(|_| {
            let o = bench.output(2);
            bench.ticks(1);
            o
        })
        .collect();
    assert_eq!(outs, [true, true, true, false, false, true, true, false, false]);
}

#[test]
fn bcd_counts_in_decimal() {
    let mut bench = Bench::new();
    bench.gate2(true);
    bench.out(0x43, 0xB1);
    bench.write_count(2, 0x1000);
    bench.ticks(2);
    assert_eq!(bench.count(2), 0x0999);
    bench.out(0x43, 0xB1);
    bench.write_count(2, 0);
    bench.ticks(2);
    assert_eq!(bench.count(2), 0x9999, "0 means 10000");
}

#[rstest]
#[case::low_byte(0x90, 0x34, 0x0034)]
#[case::high_byte(0xA0, 0x12, 0x1200)]
fn single_byte_counts(#[case] control: u8, #[case] byte: u8, #[case] count: u16) {
    let mut bench = Bench::new();
    bench.gate2(true);
    bench.out(0x43, control);
    bench.out(0x42, byte);
    bench.ticks(1);
    bench.gate2(false);
    assert_eq!(bench.inb(0x42), byte);
    let counting = bench.pit.counters[2].clone();
    bench.out(0x43, 0xE0 | 8);
    assert_eq!(bench.inb(0x42), control & 0x3F, "OUT low, count loaded");
    assert_eq!(counting.period(), None);
    bench.gate2(true);
    bench.doze(u64::from(count));
    assert!(bench.output(2));
}

#[test]
fn a_latched_count_holds_until_it_is_read_and_a_second_latch_changes_nothing() {
    let mut bench = Bench::new();
    bench.start(0, 2, 1000);
    bench.out(0x43, 0x00);
    bench.ticks(10);
    bench.out(0x43, 0x00);
    assert_eq!(u16::from_le_bytes([bench.inb(0x40), bench.inb(0x40)]), 1000);
    assert_eq!(u16::from_le_bytes([bench.inb(0x40), bench.inb(0x40)]), 990);
}

#[test]
fn read_back_latches_status_first_and_counts_of_several() {
    let mut bench = Bench::new();
    bench.gate2(true);
    bench.start(0, 2, 500);
    bench.start(2, 3, 600);
    bench.out(0x43, 0xCA);
    bench.ticks(7);
    assert_eq!(bench.inb(0x40), 0xB4);
    assert_eq!(u16::from_le_bytes([bench.inb(0x40), bench.inb(0x40)]), 499);
    assert_eq!(bench.inb(0x42), 0xB6);
    assert_eq!(u16::from_le_bytes([bench.inb(0x42), bench.inb(0x42)]), 600);
}

#[test]
fn null_count_is_set_from_the_control_word_to_the_load() {
    let mut bench = Bench::new();
    bench.gate2(true);
    bench.out(0x43, 0xB0);
    let null = |bench: &mut Bench| {
        bench.out(0x43, 0xE8);
        bench.inb(0x42) & 0x40 != 0
    };
    assert!(null(&mut bench));
    bench.write_count(2, 100);
    assert!(null(&mut bench));
    bench.ticks(1);
    assert!(!null(&mut bench));
}

#[test]
fn counter_0_interrupts_each_period_on_the_grid() {
    let mut bench = Bench::new();
    bench.start(0, 2, 100);
    let before = bench.probe.rises(0);
    bench.ticks(1000);
    assert_eq!(bench.probe.rises(0) - before, 10);
}

#[test]
fn mode_0_interrupts_once() {
    let mut bench = Bench::new();
    bench.start(0, 0, 50);
    assert!(!bench.probe.level(0));
    bench.ticks(49);
    assert!(!bench.probe.level(0));
    bench.ticks(1);
    assert!(bench.probe.level(0));
    bench.ticks(200_000);
    assert_eq!(bench.probe.rises(0), 1);
}

#[test]
fn a_late_host_delivers_every_missed_period_but_not_all_at_once() {
    let mut bench = Bench::new();
    bench.start(0, 2, 1000);
    let before = bench.probe.rises(0);
    bench.doze(10_000);
    bench.serve();
    assert_eq!(bench.probe.rises(0) - before, 1);
    bench.ticks(490);
    assert_eq!(bench.probe.rises(0) - before, 1);
    bench.ticks(20_000 - 490);
    assert_eq!(bench.probe.rises(0) - before, 30, "it has caught up and keeps to the grid");
}

#[test]
fn a_host_that_is_far_too_late_drops_periods() {
    let mut bench = Bench::new();
    bench.start(0, 3, 1000);
    let before = bench.probe.rises(0);
    bench.doze(100_000_000);
    bench.serve();
    bench.ticks(100_000);
    assert_eq!(bench.probe.rises(0) - before, 1 + 64 + 1 + 100);
}

/// `pit_calibrate_tsc` of Linux, and memtest86+: counter 2 in mode 0, gated by port 61h, polled there.
#[test]
fn tsc_calibration_sees_out_2_after_the_count() {
    let mut bench = Bench::new();
    let value = bench.inb(0x61) & !0x02 | 0x01;
    bench.out(0x61, value);
    bench.out(0x43, 0xB0);
    bench.out(0x42, 0x9C);
    bench.out(0x42, 0x2E);
    let start = bench.tick;
    while bench.inb(0x61) & 0x20 == 0 {
        bench.ticks(1);
    }
    assert_eq!(bench.tick - start, 0x2E9C + 1);
}

/// `quick_pit_calibrate` of Linux reads low and high bytes in turn without latching.
#[test]
fn unlatched_reads_alternate_between_the_bytes() {
    let mut bench = Bench::new();
    bench.gate2(true);
    bench.start(2, 0, 0xFFFF);
    let mut highs = Vec::new();
    for _ in 0..4 {
        bench.inb(0x42);
        highs.push(bench.inb(0x42));
        bench.ticks(256);
    }
    assert_eq!(highs, [0xFF, 0xFE, 0xFD, 0xFC]);
}

#[test]
fn port_61_keeps_its_low_bits_and_toggles_with_refresh() {
    let mut bench = Bench::new();
    bench.out(0x61, 0xFF);
    assert_eq!(bench.inb(0x61) & 0xCF, 0x0F);
    let toggles = (0..1000).filter(|_| {
        let before = bench.inb(0x61) & 0x10;
        bench.ticks(1);
        bench.inb(0x61) & 0x10 != before
    });
    assert!((54..58).contains(&toggles.count()), "every 15 us");
}

#[test]
fn the_control_word_cannot_be_read() {
    assert_eq!(Bench::new().pit.port_read(COUNTERS, 3, 1), Err(IoError::Direction));
}

#[test]
fn a_restored_timer_goes_on_where_it_was() {
    let mut bench = Bench::new();
    bench.start(0, 2, 100);
    bench.ticks(30);
    let state = bench.pit.save();
    let wires = PitWires { irq: bench.probe.line(1), clock: bench.clock.clone(), timer: bench.queue.timer() };
    bench.pit = I8254::restore(wires, state.clone()).unwrap();
    assert_eq!(bench.pit.save(), state);
    let before = bench.probe.rises(1);
    bench.ticks(69);
    assert_eq!(bench.probe.rises(1) - before, 0);
    bench.ticks(1);
    assert_eq!(bench.probe.rises(1) - before, 1);
}

proptest! {
    #[test]
    fn no_access_panics(accesses in accesses()) {
        let mut bench = Bench::new();
        hammer(&mut bench.pit, &bench.clock, &accesses, |pit, _| pit.timer_expired());
    }
}
