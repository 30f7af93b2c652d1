//! Tests of the register block.

use super::*;
use emu_core::{bus::IrqSink, clock::TimerQueue};
use parking_lot::Mutex;
use proptest::prelude::*;
use rstest::rstest;

const PIN: u64 = 20;
const LEVEL: u64 = 1 << 1;
const ENABLE: u64 = 1 << 2;
const PERIODIC: u64 = 1 << 3;
const VAL_SET: u64 = 1 << 6;
const MODE_32: u64 = 1 << 8;
const ROUTED: u64 = PIN << 9;
const FSB: u64 = 1 << 14;

const LEGACY_TIMER: u32 = 100;
const LEGACY_RTC: u32 = 101;
const LEGACY: u32 = 102;

/// Everything that came out of the wires.
#[derive(Default)]
struct Recorder {
    levels: Mutex<Vec<(u32, bool)>>,
    messages: Mutex<Vec<(u64, u32)>>,
}

impl IrqSink for Recorder {
    fn set_level(&self, pin: u32, level: bool) {
        self.levels.lock().push((pin, level));
    }
}

impl MsiSink for Recorder {
    fn send_msi(&self, address: u64, data: u32) {
        self.messages.lock().push((address, data));
    }
}

struct Bench {
    hpet: Hpet,
    wires: Arc<Recorder>,
    clock: VmClock,
    queue: Arc<TimerQueue>,
}

fn wires(sink: &Arc<Recorder>) -> HpetWires {
    HpetWires {
        pins: (0..24).map(|pin| IrqLine::new(sink.clone(), pin)).collect(),
        legacy_timer: IrqLine::new(sink.clone(), LEGACY_TIMER),
        legacy_rtc: IrqLine::new(sink.clone(), LEGACY_RTC),
        legacy_replacement: IrqLine::new(sink.clone(), LEGACY),
        msi: sink.clone(),
    }
}

impl Bench {
    fn new() -> Self {
        let clock = VmClock::counted(0);
        let queue = TimerQueue::new(clock.clone());
        let sink = Arc::new(Recorder::default());
        Bench { hpet: Hpet::new(clock.clone(), queue.timer(), wires(&sink)), wires: sink, clock, queue }
    }

    fn read(&mut self, offset: u64) -> u64 {
        self.hpet.mmio_read(0, offset, 8).unwrap()
    }

    fn write(&mut self, offset: u64, value: u64) {
        self.hpet.mmio_write(0, offset, 8, value).unwrap();
    }

    /// Lets `ticks` of the counter pass, with the event loop running.
    fn tick(&mut self, ticks: u64) {
        self.clock.advance(ticks * 10);
        if self.queue.next_deadline().is_some_and(|deadline| deadline <= self.clock.now()) {
            self.queue.fire_due();
            self.hpet.expire();
        }
    }

    fn levels(&self) -> Vec<(u32, bool)> {
        std::mem::take(&mut self.wires.levels.lock())
    }
}

const EDGE: [(u32, bool); 2] = [(PIN as u32, true), (PIN as u32, false)];

#[rstest]
#[case::capabilities(0x000, 0x0098_9680_8086_A201)]
#[case::configuration(0x010, 0)]
#[case::status(0x020, 0)]
#[case::counter(0x0F0, 0)]
#[case::timer(0x100, 0x00F0_0000_0000_8030)]
#[case::comparator(0x108, u64::MAX)]
#[case::last_timer(0x140, 0x00F0_0000_0000_8030)]
fn registers_have_their_reset_values(#[case] offset: u64, #[case] value: u64) {
    assert_eq!(Bench::new().read(offset), value);
}

#[test]
fn the_counter_counts_while_enabled_and_stands_while_not() {
    let mut bench = Bench::new();
    bench.tick(50);
    assert_eq!(bench.read(0xF0), 0);
    bench.write(0x10, 1);
    bench.tick(50);
    assert_eq!(bench.read(0xF0), 50);
    bench.write(0x10, 0);
    bench.tick(50);
    bench.write(0xF0, 0x1_0000_0000);
    assert_eq!(bench.hpet.mmio_read(0, 0xF4, 4), Ok(1));
}

#[test]
fn a_one_shot_pulses_its_pin_once() {
    let mut bench = Bench::new();
    bench.write(0x100, ENABLE | ROUTED);
    bench.write(0x108, 100);
    bench.write(0x10, 1);
    bench.tick(99);
    assert_eq!(bench.levels(), []);
    bench.tick(1);
    assert_eq!(bench.levels(), EDGE);
    bench.tick(1000);
    assert_eq!(bench.levels(), []);
}

#[test]
fn a_32_bit_timer_matches_again_when_the_counter_rolls_over() {
    let mut bench = Bench::new();
    bench.write(0x100, ENABLE | ROUTED | MODE_32);
    bench.write(0x108, 100);
    bench.write(0x10, 1);
    bench.tick(100);
    assert_eq!(bench.levels(), EDGE);
    assert_eq!(bench.queue.next_deadline(), Some((100 + (1 << 32)) * 10));
}

#[test]
fn val_set_sets_the_comparator_and_the_next_write_the_period() {
    let mut bench = Bench::new();
    bench.write(0x10, 1);
    bench.write(0x100, ENABLE | ROUTED | PERIODIC | VAL_SET);
    bench.write(0x108, 5000);
    assert_eq!(bench.read(0x100) & VAL_SET, 0);
    bench.write(0x108, 2000);
    assert_eq!(bench.read(0x108), 5000);
    bench.tick(5000);
    assert_eq!((bench.levels().as_slice(), bench.read(0x108)), (&EDGE[..], 7000));
    bench.tick(2000);
    assert_eq!((bench.levels().as_slice(), bench.read(0x108)), (&EDGE[..], 9000));
}

#[test]
fn a_late_periodic_timer_keeps_its_phase() {
    let mut bench = Bench::new();
    bench.write(0x10, 1);
    bench.write(0x100, ENABLE | ROUTED | PERIODIC | VAL_SET);
    bench.write(0x108, 2000);
    bench.tick(7500);
    assert_eq!((bench.levels().as_slice(), bench.read(0x108)), (&EDGE[..], 8000));
}

#[test]
fn a_level_timer_holds_its_pin_until_its_status_is_cleared() {
    let mut bench = Bench::new();
    bench.write(0x100, ENABLE | ROUTED | LEVEL);
    bench.write(0x108, 100);
    bench.write(0x10, 1);
    bench.tick(100);
    assert_eq!((bench.levels(), bench.read(0x20)), (vec![(20, true)], 1));
    bench.write(0x20, 1);
    assert_eq!((bench.levels(), bench.read(0x20)), (vec![(20, false)], 0));
}

#[test]
fn a_pin_shared_by_two_level_timers_stays_high_until_both_are_cleared() {
    let mut bench = Bench::new();
    for timer in [0x100, 0x120] {
        bench.write(timer, ENABLE | ROUTED | LEVEL);
        bench.write(timer + 8, 100);
    }
    bench.write(0x10, 1);
    bench.tick(100);
    bench.write(0x20, 1);
    assert_eq!(bench.levels().last(), Some(&(20, true)));
    bench.write(0x20, 2);
    assert_eq!(bench.levels().last(), Some(&(20, false)));
}

#[test]
fn a_level_timer_that_is_disabled_sets_its_status_in_silence() {
    let mut bench = Bench::new();
    bench.write(0x100, ROUTED | LEVEL);
    bench.write(0x108, 100);
    bench.write(0x10, 1);
    bench.clock.advance(2000);
    assert_eq!(bench.read(0x20), 1);
    assert!(!bench.levels().contains(&(20, true)));
    bench.write(0x100, ENABLE | ROUTED | LEVEL);
    assert_eq!(bench.levels().last(), Some(&(20, true)));
}

#[test]
fn an_fsb_timer_sends_its_message() {
    let mut bench = Bench::new();
    bench.write(0x130 - 0x10, ENABLE | FSB);
    bench.write(0x130, 0xFEE0_1000 << 32 | 0x41);
    bench.write(0x128, 100);
    bench.write(0x10, 1);
    bench.tick(100);
    assert_eq!(
        (bench.wires.messages.lock().as_slice(), bench.levels()),
        (&[(0xFEE0_1000, 0x41)][..], vec![])
    );
}

#[test]
fn legacy_replacement_takes_the_places_of_pit_and_rtc() {
    let mut bench = Bench::new();
    bench.write(0x100, ENABLE | ROUTED);
    bench.write(0x108, 100);
    bench.write(0x120, ENABLE | ROUTED);
    bench.write(0x128, 200);
    bench.write(0x10, 3);
    assert_eq!((bench.levels(), bench.hpet.legacy_replacement()), (vec![(LEGACY, true)], true));
    bench.tick(100);
    assert_eq!(bench.levels(), [(LEGACY_TIMER, true), (LEGACY_TIMER, false)]);
    bench.tick(100);
    assert_eq!(bench.levels(), [(LEGACY_RTC, true), (LEGACY_RTC, false)]);
    bench.write(0x10, 1);
    assert_eq!(bench.levels(), [(LEGACY, false)]);
}

#[test]
fn a_route_that_is_not_offered_does_not_stick() {
    let mut bench = Bench::new();
    bench.write(0x100, ROUTED);
    bench.write(0x100, 3 << 9);
    assert_eq!(bench.read(0x100) & 0x3E00, ROUTED);
}

#[test]
fn halves_of_registers_are_written_apart() {
    let mut bench = Bench::new();
    bench.hpet.mmio_write(0, 0x108, 4, 0x1111_1111).unwrap();
    bench.hpet.mmio_write(0, 0x10C, 4, 0x2222_2222).unwrap();
    assert_eq!(bench.read(0x108), 0x2222_2222_1111_1111);
}

#[test]
fn a_restored_block_goes_on_counting_and_interrupts_in_time() {
    let mut bench = Bench::new();
    bench.write(0x100, ENABLE | ROUTED);
    bench.write(0x108, 100);
    bench.write(0x10, 3);
    bench.tick(40);
    let state = bench.hpet.save();
    let queue = TimerQueue::new(bench.clock.clone());
    let sink = Arc::new(Recorder::default());
    let args = (bench.clock.clone(), queue.timer(), wires(&sink));
    let mut restored = Hpet::restore(args, state.clone()).unwrap();
    assert_eq!((restored.save(), restored.mmio_read(0, 0xF0, 8)), (state, Ok(40)));
    assert_eq!(queue.next_deadline(), Some(1000));
    assert!(sink.levels.lock().contains(&(LEGACY, true)));
}

proptest! {
    #[test]
    fn no_access_panics(accesses in prop::collection::vec((any::<bool>(), 0u64..0x400, 0u8..4, any::<u64>()), 1..200)) {
        let mut bench = Bench::new();
        for (write, offset, size, value) in accesses {
            // Most accesses in range of registers and aligned, so that state builds up.
            let offset = if value & 1 == 0 { offset & 0x178 } else { offset };
            let result = if write {
                bench.hpet.mmio_write(0, offset, 1 << size, value)
            } else {
                bench.hpet.mmio_read(0, offset, 1 << size).map(|_| ())
            };
            prop_assert!(result != Err(IoError::Size) || size < 2, "halves must be answered");
            bench.tick(value & 0xFFFF);
        }
    }
}
