use super::*;
use crate::probe::{Probe, accesses, hammer};
use emu_core::{bus::Snapshot, clock::TimerQueue};
use proptest::prelude::*;
use rstest::rstest;
use std::sync::Arc;

const IRQ: u32 = 8;
const NMI: u32 = 100;
/// 2001-02-03 04:05:06 UTC, a Saturday.
const BASE: i64 = 981_173_106;

struct Bench {
    rtc: Mc146818,
    probe: Arc<Probe>,
    clock: VmClock,
    queue: Arc<TimerQueue>,
}

impl Bench {
    fn new() -> Self {
        let (probe, clock) = (Probe::new(), VmClock::counted(0));
        let queue = TimerQueue::new(clock.clone());
        let rtc = Mc146818::new(wires(&probe, &clock, &queue), BASE);
        Bench { rtc, probe, clock, queue }
    }

    fn write(&mut self, index: u8, value: u8) {
        self.rtc.port_write(0, 0, 1, index.into()).unwrap();
        self.rtc.port_write(0, 1, 1, value.into()).unwrap();
    }

    fn read(&mut self, index: u8) -> u8 {
        self.rtc.port_write(0, 0, 1, index.into()).unwrap();
        self.rtc.port_read(0, 1, 1).unwrap() as u8
    }

    fn time(&mut self) -> [u8; 7] {
        [9, 8, 7, 4, 2, 0, 6].map(|index| self.read(index))
    }

    /// Passes time without serving the timer.
    fn doze(&mut self, micros: u64) {
        self.clock.advance(micros * 1000);
    }

    /// Passes time, serving the timer whenever it is due.
    fn wait(&mut self, micros: u64) {
        let end = self.clock.now() + micros * 1000;
        while let Some(deadline) = self.queue.next_deadline().filter(|&deadline| deadline <= end) {
            self.clock.advance(deadline.saturating_sub(self.clock.now()));
            self.queue.fire_due();
            self.rtc.timer_expired();
        }
        self.clock.advance(end - self.clock.now());
    }

    fn irq(&self) -> bool {
        self.probe.level(IRQ)
    }
}

fn wires(probe: &Arc<Probe>, clock: &VmClock, queue: &Arc<TimerQueue>) -> RtcWires {
    RtcWires { irq: probe.line(IRQ), nmi_mask: probe.line(NMI), clock: clock.clone(), timer: queue.timer() }
}

#[rstest]
#[case::bcd_24(0x02, [0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 7])]
#[case::binary_24(0x06, [1, 2, 3, 4, 5, 6, 7])]
fn the_time_is_base_plus_machine_time(#[case] b: u8, #[case] expected: [u8; 7]) {
    let mut bench = Bench::new();
    bench.write(0x0B, b);
    bench.doze(999_999);
    assert_eq!(bench.time(), expected);
    assert_eq!(bench.read(0x32), 0x20 - if b == 0x06 { 12 } else { 0 });
    bench.doze(1);
    assert_eq!(bench.read(0), 7);
}

#[test]
fn afternoon_in_twelve_hours() {
    let mut bench = Bench::new();
    bench.write(0x0B, 0x00);
    bench.doze(20 * 3_600_000_000);
    assert_eq!(bench.read(4), 0x12, "midnight");
    bench.doze(15 * 3_600_000_000);
    assert_eq!(bench.read(4), 0x83);
}

/// As Linux sets it: SET, divider reset, registers, back.
#[test]
fn setting_the_time_takes_effect_and_the_first_update_comes_after_half_a_second() {
    let mut bench = Bench::new();
    bench.doze(300_000);
    bench.write(0x0B, 0x82);
    bench.write(0x0A, 0x76);
    for (index, value) in [(9, 0x24), (8, 0x02), (7, 0x29), (4, 0x23), (2, 0x59), (0, 0x59), (6, 5)] {
        bench.write(index, value);
    }
    bench.doze(5_000_000);
    bench.write(0x0B, 0x02);
    bench.write(0x0A, 0x26);
    bench.doze(499_999);
    assert_eq!(bench.time(), [0x24, 0x02, 0x29, 0x23, 0x59, 0x59, 5]);
    bench.doze(1);
    assert_eq!(bench.time(), [0x24, 0x03, 0x01, 0, 0, 0, 6]);
}

#[test]
fn set_alone_keeps_the_divider_s_phase() {
    let mut bench = Bench::new();
    bench.doze(300_000);
    bench.write(0x0B, 0x82);
    bench.doze(3_000_000);
    assert_eq!(bench.read(0), 6, "stopped");
    bench.write(0x0B, 0x02);
    bench.doze(699_999);
    assert_eq!(bench.read(0), 6);
    bench.doze(1);
    assert_eq!(bench.read(0), 7);
}

#[test]
fn uip_announces_the_update() {
    let mut bench = Bench::new();
    bench.doze(1_000_000 - 2_228 - 1);
    assert_eq!(bench.read(0x0A), 0x26);
    bench.doze(1);
    assert_eq!(bench.read(0x0A), 0xA6);
    assert_eq!(bench.read(0), 6);
    bench.doze(2_228);
    assert_eq!(bench.read(0x0A), 0x26);
    assert_eq!(bench.read(0), 7);
    bench.write(0x0B, 0x82);
    bench.doze(999_000);
    assert_eq!(bench.read(0x0A), 0x26, "no update comes while SET is 1");
}

#[test]
fn update_ended_interrupts_each_second_until_register_c_is_read() {
    let mut bench = Bench::new();
    bench.write(0x0B, 0x12);
    bench.wait(999_999);
    assert!(!bench.irq());
    bench.wait(1);
    assert!(bench.irq());
    bench.wait(5_000_000);
    assert_eq!(bench.probe.rises(IRQ), 1, "an unanswered interrupt is not repeated");
    assert_eq!(bench.read(0x0C) & 0xB0, 0x90);
    assert!(!bench.irq());
    assert_eq!(bench.read(0x0C), 0);
    bench.wait(1_000_000);
    assert!(bench.irq());
}

#[test]
fn flags_can_be_polled_without_interrupts() {
    let mut bench = Bench::new();
    bench.doze(1_000_000);
    assert_eq!(bench.read(0x0C), 0x50);
    assert_eq!(bench.probe.rises(IRQ), 0);
}

#[rstest]
#[case(3, 8192)]
#[case(6, 1024)]
#[case(15, 2)]
#[case(1, 256)]
#[case(2, 128)]
fn periodic_interrupts_come_at_their_rate(#[case] rate: u8, #[case] hertz: u32) {
    let mut bench = Bench::new();
    bench.write(0x0A, 0x20 | rate);
    bench.write(0x0B, 0x42);
    let mut count = 0;
    while bench.clock.now() < NANOS_PER_SECOND {
        bench.wait(1);
        if bench.irq() {
            assert_eq!(bench.read(0x0C) & 0xC0, 0xC0);
            count += 1;
        }
    }
    assert_eq!(count, hertz);
}

#[test]
fn no_rate_or_a_held_divider_means_no_periodic_interrupt() {
    for a in [0x20, 0x66] {
        let mut bench = Bench::new();
        bench.write(0x0A, a);
        bench.write(0x0B, 0x42);
        bench.wait(3_000_000);
        assert!(!bench.irq());
    }
}

#[rstest]
#[case::exact([0x04, 0x06, 0x00], 54)]
#[case::each_minute([0xFF, 0xFF, 0x07], 1)]
#[case::each_second([0xC0, 0xC0, 0xC0], 1)]
#[case::tomorrow([0x04, 0x05, 0x06], 86_400)]
fn the_alarm_interrupts_when_it_matches(#[case] alarm: [u8; 3], #[case] after: u64) {
    let [hours, minutes, seconds] = alarm;
    let mut bench = Bench::new();
    for (index, value) in [(5, hours), (3, minutes), (1, seconds), (0x0B, 0x22)] {
        bench.write(index, value);
    }
    bench.wait(after * 1_000_000 - 1);
    assert!(!bench.irq());
    bench.wait(1);
    assert!(bench.irq());
    assert_eq!(bench.read(0x0C) & 0xA0, 0xA0);
}

#[test]
fn an_alarm_that_no_time_matches_never_comes() {
    let mut bench = Bench::new();
    bench.write(1, 0x77);
    bench.write(0x0B, 0x22);
    bench.wait(200_000_000_000);
    assert!(!bench.irq());
}

#[test]
fn setting_set_clears_the_update_interrupt_enable() {
    let mut bench = Bench::new();
    bench.write(0x0B, 0x92);
    assert_eq!(bench.read(0x0B), 0x82);
}

#[test]
fn ram_keeps_bytes_and_registers_c_and_d_are_read_only() {
    let mut bench = Bench::new();
    bench.write(cmos::SHUTDOWN, 0x05);
    bench.write(0x7F, 0xAA);
    bench.write(0x0D, 0x00);
    assert_eq!((bench.read(0x0F), bench.read(0x7F), bench.read(0x0D)), (0x05, 0xAA, 0x80));
    assert_eq!(bench.rtc.cmos(cmos::SHUTDOWN), 0x05);
}

#[test]
fn the_index_port_s_top_bit_masks_nmi_and_selects_nothing() {
    let mut bench = Bench::new();
    bench.write(0x80 | 0x40, 0x12);
    assert!(bench.probe.level(NMI));
    assert_eq!(bench.read(0x40), 0x12);
    assert!(!bench.probe.level(NMI));
    assert_eq!(bench.rtc.port_read(0, 0, 1), Err(IoError::Direction));
}

#[rstest]
#[case::small(64 << 20, 0, [640, 63 << 10, 768, 0])]
#[case::large(3 << 30, 5 << 30, [640, 0xFFFF, 0xBF00, 0x1_4000])]
#[case::tiny(512 << 10, 0, [512, 0, 0, 0])]
fn memory_size_fields(#[case] below: u64, #[case] above: u64, #[case] expected: [u32; 4]) {
    let mut bench = Bench::new();
    bench.rtc.set_memory_size(below, above);
    let mut field =
        |index: u8, bytes: u8| (0..bytes).map(|n| u32::from(bench.read(index + n)) << (8 * n)).sum::<u32>();
    assert_eq!([field(0x15, 2), field(0x17, 2), field(0x34, 2), field(0x5B, 3)], expected);
    assert_eq!(field(0x30, 2), expected[1]);
    let sum: u32 = (0x10..=0x2D).map(|index| field(index, 1)).sum();
    assert_eq!(field(0x2E, 1) << 8 | field(0x2F, 1), sum);
}

#[test]
fn reset_keeps_time_and_ram_and_disables_interrupts() {
    let mut bench = Bench::new();
    bench.write(0x40, 7);
    bench.write(0x0B, 0x72);
    bench.wait(1_500_000);
    assert!(bench.irq());
    bench.rtc.reset();
    assert!(!bench.irq());
    assert_eq!((bench.read(0x0B), bench.read(0x40), bench.read(0)), (0x02, 7, 7));
}

#[test]
fn a_restored_clock_goes_on() {
    let mut bench = Bench::new();
    bench.write(0x0B, 0x12);
    bench.write(6, 3);
    bench.wait(600_000);
    let state = bench.rtc.save();
    bench.rtc = Mc146818::restore(wires(&bench.probe, &bench.clock, &bench.queue), state.clone()).unwrap();
    assert_eq!(bench.rtc.save(), state);
    bench.wait(400_000);
    assert!(bench.irq());
    assert_eq!(bench.time(), [0x01, 0x02, 0x03, 0x04, 0x05, 0x07, 3]);
}

proptest! {
    #[test]
    fn no_access_panics(accesses in accesses()) {
        let mut bench = Bench::new();
        hammer(&mut bench.rtc, &bench.clock, &accesses, |rtc, _| rtc.timer_expired());
    }

    #[test]
    fn no_register_value_panics(writes in proptest::collection::vec((0u8..16, any::<u8>()), 0..40)) {
        let mut bench = Bench::new();
        for (index, value) in writes {
            bench.write(index, value);
            bench.doze(700_000);
            bench.rtc.timer_expired();
            bench.time();
        }
    }
}
