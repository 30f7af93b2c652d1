//! Tests of the message fabric.

use super::*;
use crate::apic::BROADCAST;
use emu_core::{
    clock::{TimerQueue, VmClock},
    engine::request,
};
use std::sync::atomic::AtomicU32;

struct Bench {
    bus: Arc<ApicBus>,
    signals: Vec<Arc<VcpuSignal>>,
    clock: VmClock,
    queue: Arc<TimerQueue>,
}

fn config(clock: &VmClock) -> ApicConfig {
    ApicConfig {
        clock: clock.clone(),
        bus_hz: 1_000_000_000,
        tsc_hz: 1_000_000_000,
        x2apic: true,
        tsc_deadline: true,
    }
}

fn wires(queue: &Arc<TimerQueue>, signals: &[Arc<VcpuSignal>]) -> Vec<ApicWires> {
    let numbered = (0..).zip(signals);
    numbered
        .map(|(apic_id, signal)| ApicWires { apic_id, timer: queue.timer(), signal: signal.clone() })
        .collect()
}

/// `count` vCPUs with software-enabled APICs, logical addresses 1, 2, 4...
fn bench(count: usize) -> Bench {
    let clock = VmClock::counted(0);
    let queue = TimerQueue::new(clock.clone());
    let signals: Vec<_> = (0..count).map(|_| Arc::new(VcpuSignal::default())).collect();
    let bus = ApicBus::new(&config(&clock), wires(&queue, &signals)).share();
    for vcpu in 0..count {
        bus.mmio_write(vcpu, 0xF0, 4, 0x1FF);
        bus.mmio_write(vcpu, 0xD0, 4, 1 << (24 + vcpu));
    }
    Bench { bus, signals, clock, queue }
}

impl Bench {
    /// Which vCPUs have `bit` raised.
    fn raised(&self, bit: u32) -> Vec<usize> {
        (0..self.signals.len()).filter(|&vcpu| self.signals[vcpu].requests() & bit != 0).collect()
    }
}

fn fixed(destination: Destination, vector: u8) -> Message {
    Message { destination, mode: DeliveryMode::Fixed, vector, level: false }
}

#[test]
fn an_ipi_reaches_its_destination_and_nobody_else() {
    let bench = bench(4);
    bench.bus.mmio_write(0, 0x310, 4, 2 << 24);
    bench.bus.mmio_write(0, 0x300, 4, 0x41);
    assert_eq!(bench.raised(request::INTERRUPT), [2]);
    assert_eq!(bench.bus.acknowledge(2), Acknowledge::Vector(0x41));
    assert!(bench.raised(request::INTERRUPT).is_empty());
}

#[test]
fn shorthands_count_the_sender_in_or_out() {
    let bench = bench(3);
    bench.bus.mmio_write(1, 0x300, 4, 0xC_0041);
    assert_eq!(bench.raised(request::INTERRUPT), [0, 2]);
    bench.bus.mmio_write(1, 0x300, 4, 0x4_0041);
    assert_eq!(bench.raised(request::INTERRUPT), [0, 1, 2]);
    bench.bus.mmio_write(1, 0x300, 4, 0xC_4500);
    assert_eq!((bench.raised(request::INIT), bench.raised(request::INTERRUPT)), (vec![0, 2], vec![1]));
}

#[test]
fn start_up_carries_its_page() {
    let bench = bench(2);
    bench.bus.mmio_write(0, 0x310, 4, 1 << 24);
    bench.bus.mmio_write(0, 0x300, 4, 0x4500);
    bench.bus.mmio_write(0, 0x300, 4, 0x4699);
    assert_eq!((bench.raised(request::INIT), bench.raised(request::STARTUP)), (vec![1], vec![1]));
    assert_eq!(bench.signals[1].startup_vector(), 0x99);
}

#[test]
fn lowest_priority_goes_to_the_least_busy_of_the_addressed() {
    let bench = bench(4);
    bench.bus.set_cr8(0, 1);
    bench.bus.set_cr8(1, 5);
    bench.bus.set_cr8(2, 4);
    let message = Message { mode: DeliveryMode::LowestPriority, ..fixed(Destination::Logical(0b0110), 0x71) };
    assert!(bench.bus.deliver(&message));
    assert_eq!(bench.raised(request::INTERRUPT), [2]);
}

#[test]
fn a_message_that_nobody_takes_says_so() {
    let bench = bench(2);
    assert!(!bench.bus.deliver(&fixed(Destination::Physical(9), 0x41)));
    bench.bus.mmio_write(1, 0xF0, 4, 0xFF);
    assert!(!bench.bus.deliver(&fixed(Destination::Physical(1), 0x41)));
    assert!(bench.bus.deliver(&fixed(Destination::Physical(BROADCAST), 0x41)));
}

#[test]
fn msi_reaches_logical_destinations() {
    let bench = bench(3);
    bench.bus.send_msi(0xFEE0_0000 | 0b101 << 12 | 1 << 2, 0x41);
    assert_eq!(bench.raised(request::INTERRUPT), [0, 2]);
}

#[test]
fn a_32_bit_destination_reaches_a_big_apic_id() {
    let clock = VmClock::counted(0);
    let queue = TimerQueue::new(clock.clone());
    let signals = [Arc::new(VcpuSignal::default()), Arc::new(VcpuSignal::default())];
    let mut wires = wires(&queue, &signals);
    wires[1].apic_id = 0x123;
    let bus = ApicBus::new(&config(&clock), wires).share();
    for vcpu in 0..2 {
        bus.msr_write(vcpu, 0x1B, 0xFEE0_0C00).unwrap();
        bus.msr_write(vcpu, 0x80F, 0x1FF).unwrap();
    }
    bus.msr_write(0, 0x830, 0x123 << 32 | 0x41).unwrap();
    assert_eq!(bus.acknowledge(1), Acknowledge::Vector(0x41));
    bus.msr_write(1, 0x830, 0x1 << 32 | 0x841).unwrap();
    assert_eq!(bus.acknowledge(0), Acknowledge::Vector(0x41));
}

#[test]
fn level_eois_reach_the_sinks_with_no_apic_locked() {
    struct Sink(AtomicU32, Arc<ApicBus>);
    impl EoiSink for Sink {
        fn end_of_interrupt(&self, vector: u8) {
            assert!(self.1.local_apic(0).try_lock().is_some(), "an I/O APIC may deliver from here");
            self.0.fetch_add(vector.into(), Ordering::Relaxed);
        }
    }
    let bench = bench(1);
    let sink = Arc::new(Sink(AtomicU32::new(0), bench.bus.clone()));
    let listener: Arc<dyn EoiSink> = sink.clone();
    bench.bus.add_eoi_sink(Arc::downgrade(&listener));
    for level in [true, false] {
        bench.bus.deliver(&Message { level, ..fixed(Destination::Physical(0), 0x41) });
        assert_eq!(bench.bus.acknowledge(0), Acknowledge::Vector(0x41));
        bench.bus.mmio_write(0, 0xB0, 4, 0);
    }
    assert_eq!(sink.0.load(Ordering::Relaxed), 0x41);
}

#[test]
fn the_register_page_moves_and_disappears() {
    let bench = bench(2);
    assert_eq!(bench.bus.page_offset(1, 0xFEE0_0380), Some(0x380));
    bench.bus.msr_write(1, 0x1B, 0xFED0_0800).unwrap();
    assert_eq!(bench.bus.page_offset(1, 0xFEE0_0380), None);
    assert_eq!(bench.bus.page_offset(1, 0xFED0_0380), Some(0x380));
    assert_eq!(bench.bus.page_offset(0, 0xFEE0_0380), Some(0x380));
    bench.bus.msr_write(1, 0x1B, 0xFED0_0C00).unwrap();
    assert_eq!(bench.bus.page_offset(1, 0xFED0_0380), None);
    bench.bus.reset();
    assert_eq!(bench.bus.page_offset(1, 0xFEE0_0380), Some(0x380));
}

#[test]
fn the_timer_queue_drives_each_apics_timer() {
    let bench = bench(2);
    bench.bus.mmio_write(1, 0x3E0, 4, 0b1011);
    bench.bus.mmio_write(1, 0x320, 4, 0x41);
    bench.bus.mmio_write(1, 0x380, 4, 1000);
    bench.clock.advance(1000);
    bench.queue.fire_due();
    assert_eq!(bench.raised(request::INTERRUPT), [1]);
}

#[test]
fn intr_enters_through_the_bootstrap_processor() {
    let bench = bench(2);
    bench.bus.mmio_write(0, 0x350, 4, 0x700);
    bench.bus.set_level(0, true);
    assert_eq!(bench.raised(request::INTERRUPT), [0]);
    assert_eq!(bench.bus.acknowledge(0), Acknowledge::External);
}

#[test]
fn a_snapshot_round_trips_and_refuses_another_number_of_vcpus() {
    let bench = bench(2);
    bench.bus.deliver(&fixed(Destination::Physical(1), 0x41));
    let state = bench.bus.save();
    let args = |count: usize| (config(&bench.clock), wires(&bench.queue, &bench.signals[..count]));
    assert_eq!(ApicBus::restore(args(2), state.clone()).unwrap().save(), state);
    assert!(ApicBus::restore(args(1), state).is_err());
}

#[test]
fn vcpus_that_interrupt_each_other_do_not_deadlock() {
    let bench = bench(2);
    std::thread::scope(|scope| {
        for vcpu in 0..2 {
            let bus = &bench.bus;
            scope.spawn(move || {
                for _ in 0..20_000 {
                    bus.mmio_write(vcpu, 0x300, 4, 0x8_0041);
                    if let Acknowledge::Vector(_) = bus.acknowledge(vcpu) {
                        bus.mmio_write(vcpu, 0xB0, 4, 0);
                    }
                }
            });
        }
    });
    assert!(bench.bus.local_apic(0).try_lock().is_some());
}
