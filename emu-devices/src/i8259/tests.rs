use super::*;
use crate::probe::{Probe, accesses, hammer};
use emu_core::clock::VmClock;
use proptest::prelude::*;
use rstest::rstest;

fn write(pair: &mut I8259Pair, port: u16, value: u8) {
    let (region, offset) = route(port);
    pair.port_write(region, offset, 1, value.into()).unwrap();
}

fn read(pair: &mut I8259Pair, port: u16) -> u8 {
    let (region, offset) = route(port);
    pair.port_read(region, offset, 1).unwrap() as u8
}

fn route(port: u16) -> (u8, u16) {
    match port {
        0x20 | 0x21 => (MASTER, port - 0x20),
        0xA0 | 0xA1 => (SLAVE, port - 0xA0),
        _ => (ELCR, port - 0x4D0),
    }
}

/// Initialised as a PC's operating system does, with vectors from 0x20 and 0x28, everything unmasked.
fn pair_with(icw1: u8, icw4: u8) -> (I8259Pair, Arc<Probe>) {
    let probe = Probe::new();
    let mut pair = I8259Pair::new(probe.line(0));
    for (even, base, icw3) in [(0x20, 0x20, 0x04), (0xA0, 0x28, 0x02)] {
        write(&mut pair, even, icw1);
        write(&mut pair, even + 1, base);
        write(&mut pair, even + 1, icw3);
        write(&mut pair, even + 1, icw4);
        write(&mut pair, even + 1, 0);
    }
    (pair, probe)
}

fn pair() -> (I8259Pair, Arc<Probe>) {
    pair_with(0x11, 0x01)
}

#[rstest]
#[case(0, 0x20)]
#[case(1, 0x21)]
#[case(7, 0x27)]
#[case(8, 0x28)]
#[case(15, 0x2F)]
fn each_pin_has_its_vector(#[case] pin: u32, #[case] vector: u8) {
    let (mut pair, probe) = pair();
    pair.set_level(pin, true);
    assert!(probe.level(0));
    assert_eq!(pair.acknowledge(), vector);
    assert!(!probe.level(0), "in service");
}

#[test]
fn the_cascade_pin_and_pins_beyond_have_no_wire() {
    let (mut pair, probe) = pair();
    pair.set_level(2, true);
    pair.set_level(16, true);
    pair.set_level(u32::MAX, true);
    assert!(!probe.level(0));
}

#[test]
fn a_higher_request_interrupts_and_a_lower_one_waits_for_eoi() {
    let (mut pair, probe) = pair();
    pair.set_level(4, true);
    assert_eq!(pair.acknowledge(), 0x24);
    pair.set_level(5, true);
    assert!(!probe.level(0));
    pair.set_level(1, true);
    assert!(probe.level(0));
    assert_eq!(pair.acknowledge(), 0x21);
    write(&mut pair, 0x20, 0x20);
    assert!(!probe.level(0), "the EOI has ended level 1, level 4 still blocks 5");
    write(&mut pair, 0x20, 0x64);
    assert!(probe.level(0));
    assert_eq!(pair.acknowledge(), 0x25);
}

#[test]
fn an_edge_interrupts_once_and_a_level_until_it_falls() {
    let (mut pair, probe) = pair();
    write(&mut pair, 0x4D0, 0xFF);
    write(&mut pair, 0x4D1, 0xFF);
    assert_eq!((read(&mut pair, 0x4D0), read(&mut pair, 0x4D1)), (0xF8, 0xDE));
    pair.set_level(1, true);
    assert_eq!(pair.acknowledge(), 0x21);
    write(&mut pair, 0x20, 0x20);
    assert!(!probe.level(0), "edge: the line is still high, but that is old news");
    pair.set_level(5, true);
    assert_eq!(pair.acknowledge(), 0x25);
    write(&mut pair, 0x20, 0x20);
    assert!(probe.level(0), "level: still asking");
    pair.set_level(5, false);
    assert!(!probe.level(0));
}

#[test]
fn icw1_ltim_makes_all_inputs_levels() {
    let (mut pair, probe) = pair_with(0x19, 0x01);
    pair.set_level(1, true);
    assert_eq!(pair.acknowledge(), 0x21);
    write(&mut pair, 0x20, 0x20);
    assert!(probe.level(0));
}

#[test]
fn icw1_forgets_edges_and_mask() {
    let (mut pair, probe) = pair();
    write(&mut pair, 0x21, 0xFF);
    pair.set_level(3, true);
    write(&mut pair, 0x20, 0x13);
    write(&mut pair, 0x21, 0x20);
    write(&mut pair, 0x21, 0x01);
    assert_eq!(read(&mut pair, 0x21), 0, "ICW3 is not expected of a single chip");
    assert!(!probe.level(0));
    assert_eq!(read(&mut pair, 0x20), 0);
}

#[test]
fn irr_isr_and_imr_read_back() {
    let (mut pair, _) = pair();
    write(&mut pair, 0x21, 0x08);
    pair.set_level(3, true);
    pair.set_level(6, true);
    assert_eq!(read(&mut pair, 0x20), 0x48);
    assert_eq!(pair.acknowledge(), 0x26);
    write(&mut pair, 0x20, 0x0B);
    assert_eq!(read(&mut pair, 0x20), 0x40);
    write(&mut pair, 0x20, 0x0A);
    assert_eq!(read(&mut pair, 0x20), 0x08);
    assert_eq!(read(&mut pair, 0x21), 0x08);
}

#[test]
fn a_request_that_goes_away_is_spurious_irq_7_with_nothing_in_service() {
    let (mut pair, _) = pair();
    pair.set_level(4, true);
    write(&mut pair, 0x21, 0x10);
    assert_eq!(pair.acknowledge(), 0x27);
    write(&mut pair, 0x20, 0x0B);
    assert_eq!(read(&mut pair, 0x20), 0);
}

/// The slave's request goes between the two chips' INTA cycles: only forced in a test, it is a race in life.
#[test]
fn a_slave_request_that_goes_away_is_spurious_irq_15_with_the_cascade_in_service() {
    let (mut pair, _) = pair();
    pair.slave.set_line(3, true);
    pair.drive();
    pair.slave.write(true, 0xFF);
    assert_eq!(pair.acknowledge(), 0x2F);
    write(&mut pair, 0x20, 0x0B);
    write(&mut pair, 0xA0, 0x0B);
    assert_eq!((read(&mut pair, 0x20), read(&mut pair, 0xA0)), (0x04, 0));
}

#[test]
fn the_slave_needs_both_eois() {
    let (mut pair, probe) = pair();
    pair.set_level(10, true);
    pair.set_level(12, true);
    assert_eq!(pair.acknowledge(), 0x2A);
    write(&mut pair, 0x20, 0x20);
    assert!(!probe.level(0), "the slave still has 10 in service");
    write(&mut pair, 0xA0, 0x20);
    assert_eq!(pair.acknowledge(), 0x2C);
}

#[test]
fn in_special_fully_nested_mode_the_slave_interrupts_itself() {
    for (icw4, nested) in [(0x01, false), (0x11, true)] {
        let (mut pair, probe) = pair_with(0x11, icw4);
        pair.set_level(12, true);
        assert_eq!(pair.acknowledge(), 0x2C);
        pair.set_level(9, true);
        assert_eq!(probe.level(0), nested);
    }
}

#[test]
fn auto_eoi_leaves_nothing_in_service_and_rotates_if_told() {
    let (mut pair, probe) = pair_with(0x11, 0x03);
    write(&mut pair, 0x20, 0x80);
    pair.set_level(3, true);
    assert_eq!(pair.acknowledge(), 0x23);
    pair.set_level(3, false);
    pair.set_level(3, true);
    pair.set_level(4, true);
    assert!(probe.level(0));
    assert_eq!(pair.acknowledge(), 0x24, "level 3 has rotated to the lowest priority");
    assert_eq!(pair.acknowledge(), 0x23);
}

#[test]
fn rotation_makes_the_ended_or_the_named_level_the_lowest() {
    let (mut pair, _) = pair();
    pair.set_level(0, true);
    assert_eq!(pair.acknowledge(), 0x20);
    write(&mut pair, 0x20, 0xA0);
    pair.set_level(0, false);
    pair.set_level(0, true);
    pair.set_level(6, true);
    assert_eq!(pair.acknowledge(), 0x26);
    write(&mut pair, 0x20, 0xE6);
    pair.set_level(7, true);
    assert_eq!(pair.acknowledge(), 0x27);
    write(&mut pair, 0x20, 0x20);
    write(&mut pair, 0x20, 0xC3);
    pair.set_level(4, true);
    assert_eq!(pair.acknowledge(), 0x24, "set priority 3 makes 4 the highest");
}

#[test]
fn special_mask_mode_lets_lower_levels_through_a_masked_one() {
    let (mut pair, probe) = pair();
    pair.set_level(1, true);
    assert_eq!(pair.acknowledge(), 0x21);
    pair.set_level(5, true);
    write(&mut pair, 0x21, 0x02);
    assert!(!probe.level(0));
    write(&mut pair, 0x20, 0x68);
    assert!(probe.level(0));
    assert_eq!(pair.acknowledge(), 0x25);
    write(&mut pair, 0x20, 0x20);
    write(&mut pair, 0x20, 0x0B);
    assert_eq!(read(&mut pair, 0x20), 0x02, "the masked level stays in service");
    write(&mut pair, 0x20, 0x48);
    pair.set_level(6, true);
    assert!(!probe.level(0));
}

#[test]
fn polling_acknowledges() {
    let (mut pair, probe) = pair();
    write(&mut pair, 0x20, 0x0C);
    assert_eq!(read(&mut pair, 0x20), 0);
    pair.set_level(5, true);
    write(&mut pair, 0x20, 0x0C);
    assert_eq!(read(&mut pair, 0x20), 0x85);
    assert!(!probe.level(0));
    write(&mut pair, 0x20, 0x0B);
    assert_eq!(read(&mut pair, 0x20), 0x20);
}

#[test]
fn a_restored_pair_has_the_same_registers_and_drives_intr() {
    let (mut pair, _) = pair();
    pair.set_level(4, true);
    pair.acknowledge();
    pair.set_level(1, true);
    let probe = Probe::new();
    let mut again = I8259Pair::restore(probe.line(0), pair.save()).unwrap();
    assert_eq!(again.save(), pair.save());
    assert!(probe.level(0));
    assert_eq!(again.acknowledge(), 0x21);
}

#[test]
fn reset_leaves_the_wires_as_they_are() {
    let (mut pair, probe) = pair();
    pair.set_level(4, true);
    pair.reset();
    assert!(!probe.level(0));
    pair.set_level(4, true);
    assert!(!probe.level(0), "no edge: the line was high all along");
}

proptest! {
    #[test]
    fn no_access_panics(accesses in accesses()) {
        let (mut pair, _) = pair();
        hammer(&mut pair, &VmClock::counted(0), &accesses, |pair, seen| {
            pair.set_level(seen & 31, seen & 32 != 0);
            if seen & 64 != 0 {
                pair.acknowledge();
            }
        });
    }
}
