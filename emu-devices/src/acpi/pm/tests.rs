//! Tests of the power management block.

use super::*;
use crate::acpi::PM_LEN;
use emu_core::{
    bus::{Bus, IrqSink},
    clock::TimerQueue,
};
use parking_lot::Mutex;
use proptest::prelude::*;
use rstest::rstest;
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

#[derive(Default)]
struct Sci(AtomicBool);

impl IrqSink for Sci {
    fn set_level(&self, _pin: u32, level: bool) {
        self.0.store(level, Ordering::Relaxed);
    }
}

struct Bench {
    pm: Pm,
    sci: Arc<Sci>,
    off: Arc<AtomicU32>,
    clock: VmClock,
    queue: Arc<TimerQueue>,
}

fn wires(sci: &Arc<Sci>, off: &Arc<AtomicU32>) -> PmWires {
    let off = off.clone();
    let power_off = Box::new(move || {
        off.fetch_add(1, Ordering::Relaxed);
    });
    PmWires { sci: IrqLine::new(sci.clone(), 9), power_off }
}

impl Bench {
    fn new(width: TimerWidth) -> Self {
        let (sci, off) = (Arc::<Sci>::default(), Arc::<AtomicU32>::default());
        let clock = VmClock::counted(0);
        let queue = TimerQueue::new(clock.clone());
        let pm = Pm::new(clock.clone(), queue.timer(), width, wires(&sci, &off));
        Bench { pm, sci, off, clock, queue }
    }

    /// With ACPI switched on and `events` enabled.
    fn enabled(events: PmEvents) -> Self {
        let mut bench = Bench::new(TimerWidth::Bits24);
        bench.pm.port_write(1, 0, 1, ACPI_ENABLE.into()).unwrap();
        bench.write(0x02, events.bits());
        bench
    }

    fn read(&mut self, offset: u16) -> u16 {
        self.pm.port_read(0, offset, 2).unwrap() as u16
    }

    fn write(&mut self, offset: u16, value: u16) {
        self.pm.port_write(0, offset, 2, value.into()).unwrap();
    }

    fn sci(&self) -> bool {
        self.sci.0.load(Ordering::Relaxed)
    }
}

#[test]
fn the_smi_command_port_switches_acpi_on_and_off() {
    let mut bench = Bench::new(TimerWidth::Bits24);
    assert_eq!(bench.read(0x04), 0);
    bench.pm.port_write(1, 0, 1, ACPI_ENABLE.into()).unwrap();
    assert_eq!((bench.read(0x04), bench.pm.port_read(1, 0, 1)), (1, Ok(ACPI_ENABLE.into())));
    bench.pm.port_write(1, 0, 1, ACPI_DISABLE.into()).unwrap();
    assert_eq!(bench.read(0x04), 0);
}

#[test]
fn the_power_button_interrupts_until_its_status_is_cleared() {
    let mut bench = Bench::enabled(PmEvents::PWRBTN);
    assert!(bench.pm.press_power_button());
    assert_eq!((bench.sci(), bench.read(0x00)), (true, 0x100));
    bench.write(0x00, 0x0FF);
    assert!(bench.sci(), "other bits");
    bench.pm.port_write(0, 1, 1, 0x01).unwrap();
    assert_eq!((bench.sci(), bench.read(0x00)), (false, 0));
}

#[test]
fn a_power_button_that_nobody_listens_to_says_so() {
    assert!(!Bench::new(TimerWidth::Bits24).pm.press_power_button());
    assert!(!Bench::enabled(PmEvents::TMR).pm.press_power_button());
}

#[rstest]
#[case::s5(0x3C00, 1)]
#[case::type_without_enable(0x1C00, 0)]
#[case::s3(0x3400, 0)]
#[case::s0(0x2000, 0)]
fn slp_en_with_the_type_of_s5_powers_off(#[case] pm1_cnt: u16, #[case] times: u32) {
    let mut bench = Bench::new(TimerWidth::Bits24);
    bench.write(0x04, pm1_cnt);
    assert_eq!(bench.off.load(Ordering::Relaxed), times);
    assert_eq!(bench.read(0x04), pm1_cnt & 0x1C00, "SLP_EN reads as zero");
}

#[rstest]
#[case::bits_24(TimerWidth::Bits24, 0x00FF_FFFF)]
#[case::bits_32(TimerWidth::Bits32, 0xFFFF_FFFF)]
fn the_pm_timer_counts_at_its_rate_and_wraps(#[case] width: TimerWidth, #[case] mask: u64) {
    let mut bench = Bench::new(width);
    bench.clock.advance(10_000_000_000);
    assert_eq!(bench.pm.port_read(0, 8, 4), Ok((35_795_450 & mask) as u32));
    bench.clock.advance(2_000_000_000_000);
    assert_eq!(bench.pm.port_read(0, 8, 4), Ok((7_194_885_450 & mask) as u32));
    assert_eq!(bench.pm.port_read(0, 9, 1).map(|b| b as u8), Ok((7_194_885_450_u64 >> 8) as u8));
}

#[test]
fn a_change_of_the_timers_top_bit_interrupts_each_time() {
    let mut bench = Bench::enabled(PmEvents::TMR);
    for toggle in 1..4_u64 {
        let deadline = ticks_to_nanos(toggle << 23, PM_TIMER_HZ);
        assert_eq!(bench.queue.next_deadline(), Some(deadline));
        bench.clock.advance(deadline - bench.clock.now());
        bench.queue.fire_due();
        bench.pm.expire();
        assert!(bench.sci());
        bench.write(0x00, PmEvents::TMR.bits());
        assert!(!bench.sci());
    }
}

#[test]
fn the_timer_status_is_set_though_nobody_enabled_it() {
    let mut bench = Bench::new(TimerWidth::Bits24);
    bench.clock.advance(3_000_000_000);
    assert_eq!((bench.read(0x00), bench.queue.next_deadline()), (1, None));
}

#[test]
fn general_purpose_events_interrupt_when_enabled() {
    let mut bench = Bench::enabled(PmEvents::empty());
    bench.pm.raise_gpe(17);
    assert!(!bench.sci());
    bench.write(0x2A, 1 << 1);
    assert!(bench.sci());
    assert_eq!(bench.read(0x22), 1 << 1);
    bench.write(0x22, 1 << 1);
    assert!(!bench.sci());
}

#[test]
fn dword_accesses_reach_both_halves_through_the_bus() {
    let bench = Bench::enabled(PmEvents::PWRBTN);
    let bus = Bus::new();
    let pm = Arc::new(Mutex::new(bench.pm));
    bus.add_ports(pm.clone(), 0, 0x600, PM_LEN).unwrap();
    pm.lock().press_power_button();
    assert_eq!(bus.port_read(0x600, 4), 0x0100_0100);
    assert_eq!(bus.port_read(0x604, 4), 0x0000_0001);
}

#[test]
fn a_restored_block_still_interrupts() {
    let mut bench = Bench::enabled(PmEvents::PWRBTN | PmEvents::TMR);
    bench.pm.press_power_button();
    let state = bench.pm.save();
    let sci = Arc::<Sci>::default();
    let queue = TimerQueue::new(bench.clock.clone());
    let args = (bench.clock.clone(), queue.timer(), TimerWidth::Bits24, wires(&sci, &bench.off));
    assert_eq!(Pm::restore(args, state.clone()).unwrap().save(), state);
    assert!(sci.0.load(Ordering::Relaxed) && queue.next_deadline().is_some());
}

proptest! {
    #[test]
    fn no_access_panics(accesses in prop::collection::vec((any::<bool>(), 0u8..3, any::<u16>(), 0u8..3, any::<u32>()), 1..200)) {
        let mut bench = Bench::new(TimerWidth::Bits24);
        for (write, region, offset, size, value) in accesses {
            let offset = if region == 1 { offset & 1 } else { offset & 0x7F };
            let result = if write {
                bench.pm.port_write(region, offset, 1 << size, value)
            } else {
                bench.pm.port_read(region, offset, 1 << size).map(|_| ())
            };
            prop_assert!(result != Err(IoError::Size) || size > 0, "a byte cannot be split");
            bench.clock.advance(u64::from(value));
            bench.pm.expire();
        }
    }
}
