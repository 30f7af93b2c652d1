//! Tests of the I/O APIC through its window and pins.

use super::*;
use crate::apic::{Acknowledge, ApicConfig, ApicWires};
use emu_core::{
    clock::{TimerQueue, VmClock},
    engine::VcpuSignal,
};
use proptest::prelude::*;
use rstest::rstest;

struct Bench {
    io: IoApic,
    pins: Arc<IoApicPins>,
    fabric: Arc<ApicBus>,
}

fn bench() -> Bench {
    let clock = VmClock::counted(0);
    let queue = TimerQueue::new(clock.clone());
    let wires =
        |apic_id| ApicWires { apic_id, timer: queue.timer(), signal: Arc::new(VcpuSignal::default()) };
    let (bus_hz, tsc_hz) = (1_000_000_000, 1_000_000_000);
    let config = ApicConfig { clock, bus_hz, tsc_hz, x2apic: true, tsc_deadline: true };
    let fabric = ApicBus::new(&config, vec![wires(0), wires(1)]).share();
    for vcpu in 0..2 {
        fabric.mmio_write(vcpu, 0xF0, 4, 0x1FF);
    }
    let io = IoApic::new(fabric.clone());
    Bench { pins: io.pins(), io, fabric }
}

impl Bench {
    fn read(&mut self, register: u8) -> u32 {
        self.io.mmio_write(0, 0, 4, register.into()).unwrap();
        self.io.mmio_read(0, 0x10, 4).unwrap() as u32
    }

    fn write(&mut self, register: u8, value: u32) {
        self.io.mmio_write(0, 0, 4, register.into()).unwrap();
        self.io.mmio_write(0, 0x10, 4, value.into()).unwrap();
    }

    /// Programs an entry for the processor with APIC ID 1.
    fn route(&mut self, pin: u8, low: u32) {
        self.write(0x11 + 2 * pin, 1 << 24);
        self.write(0x10 + 2 * pin, low);
    }

    fn acknowledge(&self) -> Acknowledge {
        self.fabric.acknowledge(1)
    }

    fn eoi(&self) {
        self.fabric.mmio_write(1, 0xB0, 4, 0);
    }
}

#[rstest]
#[case::id(0x00, 0)]
#[case::version(0x01, 0x0017_0020)]
#[case::entry(0x10, 0x1_0000)]
#[case::entry_high(0x11, 0)]
#[case::last_entry(0x3E, 0x1_0000)]
#[case::nothing(0x40, 0)]
fn registers_have_their_reset_values(#[case] register: u8, #[case] value: u32) {
    assert_eq!(bench().read(register), value);
}

#[test]
fn only_writable_bits_of_an_entry_are_written() {
    let mut bench = bench();
    bench.write(0x10, u32::MAX);
    bench.write(0x11, u32::MAX);
    assert_eq!((bench.read(0x10), bench.read(0x11)), (0x1_AFFF, 0xFF00_0000));
}

#[test]
fn an_edge_interrupts_once_and_a_masked_one_is_lost() {
    let mut bench = bench();
    bench.pins.set_level(4, true);
    bench.pins.set_level(4, false);
    bench.route(4, 0x34);
    assert_eq!(bench.acknowledge(), Acknowledge::Nothing);
    bench.pins.set_level(4, true);
    bench.pins.set_level(4, true);
    assert_eq!(bench.acknowledge(), Acknowledge::Vector(0x34));
    bench.eoi();
    assert_eq!(bench.acknowledge(), Acknowledge::Nothing);
}

#[test]
fn a_level_interrupt_waits_for_eoi_and_comes_again_while_asserted() {
    let mut bench = bench();
    bench.route(9, 0x8039);
    bench.pins.set_level(9, true);
    assert_eq!(bench.read(0x10 + 18), 0xC039);
    assert_eq!(bench.acknowledge(), Acknowledge::Vector(0x39));
    bench.pins.set_level(9, true);
    assert_eq!(bench.acknowledge(), Acknowledge::Nothing);
    bench.eoi();
    assert_eq!(bench.acknowledge(), Acknowledge::Vector(0x39));
    bench.pins.set_level(9, false);
    bench.eoi();
    assert_eq!((bench.acknowledge(), bench.read(0x10 + 18)), (Acknowledge::Nothing, 0x8039));
}

#[test]
fn unmasking_an_asserted_level_pin_delivers() {
    let mut bench = bench();
    bench.pins.set_level(9, true);
    bench.route(9, 0x8039);
    assert_eq!(bench.acknowledge(), Acknowledge::Vector(0x39));
}

#[test]
fn the_eoi_register_ends_what_a_suppressed_broadcast_does_not() {
    let mut bench = bench();
    bench.fabric.mmio_write(1, 0xF0, 4, 0x11FF);
    bench.route(9, 0x8039);
    bench.pins.set_level(9, true);
    bench.pins.set_level(9, false);
    assert_eq!(bench.acknowledge(), Acknowledge::Vector(0x39));
    bench.eoi();
    assert_eq!(bench.read(0x10 + 18), 0xC039);
    bench.io.mmio_write(0, 0x40, 4, 0x39).unwrap();
    assert_eq!(bench.read(0x10 + 18), 0x8039);
}

#[test]
fn making_an_entry_an_edge_clears_remote_irr() {
    let mut bench = bench();
    bench.route(9, 0x8039);
    bench.pins.set_level(9, true);
    bench.write(0x10 + 18, 0x1_0039);
    bench.write(0x10 + 18, 0x1_8039);
    assert_eq!(bench.read(0x10 + 18), 0x1_8039);
}

#[test]
fn a_level_interrupt_that_nobody_took_is_offered_again() {
    let mut bench = bench();
    bench.fabric.mmio_write(1, 0xF0, 4, 0xFF);
    bench.route(9, 0x8039);
    bench.pins.set_level(9, true);
    assert_eq!(bench.read(0x10 + 18), 0x8039);
    bench.fabric.mmio_write(1, 0xF0, 4, 0x1FF);
    bench.pins.set_level(9, true);
    assert_eq!(bench.acknowledge(), Acknowledge::Vector(0x39));
}

#[test]
fn the_8259_behind_pin_0_is_asked_for_its_vector_each_time_it_calls() {
    let mut bench = bench();
    bench.route(0, 0x700);
    bench.pins.set_level(0, true);
    assert_eq!(bench.acknowledge(), Acknowledge::External);
    assert_eq!(bench.acknowledge(), Acknowledge::Nothing);
    bench.pins.set_level(0, true);
    assert_eq!(bench.acknowledge(), Acknowledge::External);
}

#[test]
fn a_snapshot_round_trips() {
    let mut bench = bench();
    bench.route(9, 0x8039);
    bench.pins.set_level(9, true);
    let state = bench.io.save();
    assert_eq!(IoApic::restore(bench.fabric.clone(), state.clone()).unwrap().save(), state);
}

#[test]
fn reset_masks_all_entries_and_keeps_the_wires() {
    let mut bench = bench();
    bench.route(9, 0x8039);
    bench.pins.set_level(9, true);
    bench.io.reset();
    assert_eq!(bench.read(0x10 + 18), 0x1_0000);
    bench.fabric.reset();
    bench.fabric.mmio_write(1, 0xF0, 4, 0x1FF);
    bench.route(9, 0x8039);
    assert_eq!(bench.acknowledge(), Acknowledge::Vector(0x39));
}

#[test]
fn a_device_and_the_processor_it_interrupts_do_not_deadlock() {
    let mut bench = bench();
    bench.route(9, 0x8039);
    let taken = std::thread::scope(|scope| {
        let processor = scope.spawn(|| {
            let mut taken = 0;
            while taken < 5_000 {
                if bench.fabric.acknowledge(1) == Acknowledge::Vector(0x39) {
                    bench.fabric.mmio_write(1, 0xB0, 4, 0);
                    taken += 1;
                }
            }
            taken
        });
        while !processor.is_finished() {
            bench.pins.set_level(9, true);
            bench.pins.set_level(9, false);
        }
        processor.join().unwrap()
    });
    assert_eq!(taken, 5_000);
}

proptest! {
    #[test]
    fn no_access_panics(accesses in prop::collection::vec((0u8..4, any::<u16>(), 0u8..4, any::<u64>()), 1..200)) {
        let mut bench = bench();
        for (kind, offset, size, value) in accesses {
            let result = match kind {
                0 => bench.io.mmio_read(0, (offset & 0xFFF).into(), 1 << size).map(|_| ()),
                1 => bench.io.mmio_write(0, (offset & 0xFFF).into(), 1 << size, value),
                2 => bench.io.mmio_write(0, (offset & 0x10).into(), 4, value & 0xFF),
                _ => { bench.pins.set_level(u32::from(offset) & 31, value & 1 != 0); Ok(()) }
            };
            prop_assert!(result != Err(IoError::Size) || size == 3, "only 8-byte accesses are to be split");
            bench.acknowledge();
        }
    }
}
