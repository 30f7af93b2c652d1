use super::*;
use crate::probe::{Probe, accesses, hammer};
use emu_core::{bus::Snapshot, clock::VmClock};
use proptest::prelude::*;
use rstest::rstest;
use std::sync::Arc;

const IRQ1: u32 = 1;
const IRQ12: u32 = 12;
const A20: u32 = 20;
const RESET: u32 = 21;

struct Bench {
    chip: I8042,
    probe: Arc<Probe>,
}

fn wires(probe: &Arc<Probe>) -> I8042Wires {
    I8042Wires {
        keyboard_irq: probe.line(IRQ1),
        mouse_irq: probe.line(IRQ12),
        a20: probe.line(A20),
        reset: probe.line(RESET),
    }
}

impl Bench {
    fn new() -> Self {
        let probe = Probe::new();
        Bench { chip: I8042::new(wires(&probe)), probe }
    }

    fn command(&mut self, value: u8) {
        self.chip.port_write(COMMAND, 0, 1, value.into()).unwrap();
    }

    fn data(&mut self, value: u8) {
        self.chip.port_write(DATA, 0, 1, value.into()).unwrap();
    }

    fn aux(&mut self, value: u8) {
        self.command(0xD4);
        self.data(value);
    }

    fn status(&mut self) -> u8 {
        self.chip.port_read(COMMAND, 0, 1).unwrap() as u8
    }

    fn read(&mut self) -> u8 {
        self.chip.port_read(DATA, 0, 1).unwrap() as u8
    }

    /// Reads all there is.
    fn drain(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.status() & 1 != 0 {
            bytes.push(self.read());
        }
        bytes
    }

    fn command_byte(&mut self, value: u8) {
        self.command(0x60);
        self.data(value);
    }
}

#[rstest]
#[case::self_test(0xAA, 0x55)]
#[case::keyboard_interface(0xAB, 0x00)]
#[case::aux_interface(0xA9, 0x00)]
#[case::command_byte(0x20, 0x45)]
#[case::input_port(0xC0, 0x80)]
#[case::output_port(0xD0, 0x03)]
#[case::no_password(0xA4, 0xF1)]
#[case::test_inputs(0xE0, 0x00)]
fn controller_commands_answer(#[case] command: u8, #[case] answer: u8) {
    let mut bench = Bench::new();
    bench.command(command);
    assert_eq!(bench.status() & 0x29, 0x09, "full, not aux, a command came last");
    assert_eq!(bench.drain(), [answer]);
}

#[test]
fn controller_ram_keeps_bytes() {
    let mut bench = Bench::new();
    bench.command(0x65);
    bench.data(0x77);
    bench.command(0x25);
    assert_eq!(bench.drain(), [0x77]);
}

/// As Linux looks for the second port: loop a byte, then see bit 5 follow A7 and A8.
#[test]
fn the_aux_port_is_found() {
    let mut bench = Bench::new();
    bench.command(0xD3);
    bench.data(0x5A);
    assert_eq!(bench.status() & 0x21, 0x21);
    assert_eq!(bench.drain(), [0x5A]);
    for (command, bit) in [(0xA7, 0x20), (0xA8, 0x00)] {
        bench.command(command);
        bench.command(0x20);
        assert_eq!(bench.read() & 0x20, bit);
    }
}

#[test]
fn a_key_interrupts_byte_by_byte_in_set_1() {
    let mut bench = Bench::new();
    bench.chip.key_event(Key::Extended(0x48), true);
    bench.chip.key_event(Key::Extended(0x48), false);
    assert!(bench.probe.level(IRQ1));
    assert_eq!(bench.drain(), [0xE0, 0x48, 0xE0, 0xC8]);
    assert_eq!(bench.probe.rises(IRQ1), 4);
    assert!(!bench.probe.level(IRQ1));
    assert_eq!(bench.read(), 0xC8, "an empty buffer shows its last byte");
}

#[test]
fn without_translation_keys_are_in_set_2_or_the_set_the_keyboard_was_told() {
    let mut bench = Bench::new();
    bench.command_byte(0x05);
    bench.chip.key_event(Key::Plain(0x1E), true);
    bench.chip.key_event(Key::Plain(0x1E), false);
    assert_eq!(bench.drain(), [0x1C, 0xF0, 0x1C]);
    bench.data(0xF0);
    bench.data(1);
    bench.data(0xF0);
    bench.data(0);
    assert_eq!(bench.drain(), [0xFA, 0xFA, 0xFA, 0xFA, 0x01]);
    bench.chip.key_event(Key::Plain(0x1E), false);
    assert_eq!(bench.drain(), [0x9E]);
}

#[test]
fn a_disabled_interrupt_or_port_keeps_the_byte() {
    let mut bench = Bench::new();
    bench.command_byte(0x44);
    bench.chip.key_event(Key::Plain(1), true);
    assert_eq!((bench.status() & 1, bench.probe.rises(IRQ1)), (1, 0));
    bench.command_byte(0x45);
    assert!(bench.probe.level(IRQ1));
    bench.drain();
    bench.command(0xAD);
    bench.chip.key_event(Key::Plain(1), false);
    assert_eq!(bench.status() & 1, 0);
    bench.command(0xAE);
    assert_eq!(bench.drain(), [0x81]);
}

#[rstest]
#[case::reset(&[0xFF], &[0xFA, 0xAA])]
#[case::ident(&[0xF2], &[0xFA, 0xAB, 0x83])]
#[case::echo(&[0xEE], &[0xEE])]
#[case::leds(&[0xED, 0x02], &[0xFA, 0xFA])]
#[case::typematic(&[0xF3, 0x00], &[0xFA, 0xFA])]
#[case::enable(&[0xF4], &[0xFA])]
#[case::defaults(&[0xF6], &[0xFA])]
#[case::ask_set(&[0xF0, 0x00], &[0xFA, 0xFA, 0x02])]
#[case::set_3_is_not_there(&[0xF0, 0x03], &[0xFA, 0xFE])]
#[case::unknown(&[0x01], &[0xFE])]
#[case::command_in_a_parameter_s_place(&[0xED, 0xF4], &[0xFA, 0xFA])]
fn keyboard_commands(#[case] sent: &[u8], #[case] answers: &[u8]) {
    let mut bench = Bench::new();
    bench.command_byte(0x05);
    for &byte in sent {
        bench.data(byte);
    }
    assert_eq!(bench.drain(), answers);
}

#[test]
fn a_resend_repeats_the_last_byte() {
    let mut bench = Bench::new();
    bench.data(0xEE);
    bench.drain();
    bench.data(0xFE);
    assert_eq!(bench.drain(), [0xEE]);
}

#[test]
fn leds_are_told_to_the_host() {
    let mut bench = Bench::new();
    bench.data(0xED);
    bench.data(0x05);
    assert_eq!(bench.chip.leds(), 5);
}

#[test]
fn a_keyboard_that_does_not_scan_sends_no_keys() {
    let mut bench = Bench::new();
    bench.data(0xF5);
    bench.drain();
    bench.chip.key_event(Key::Plain(1), true);
    assert!(bench.drain().is_empty());
}

#[test]
fn too_many_keys_overrun_with_whole_sequences_kept() {
    let mut bench = Bench::new();
    bench.command_byte(0x05);
    for _ in 0..30 {
        bench.chip.key_event(Key::Plain(0x1E), true);
        bench.chip.key_event(Key::Plain(0x1E), false);
    }
    let seen = bench.drain();
    assert_eq!(seen.iter().filter(|&&byte| byte == 0).count(), 1);
    assert_eq!(seen[..6], [0x1C, 0xF0, 0x1C, 0x1C, 0xF0, 0x1C]);
    assert_eq!(seen.len(), 17, "one in the controller, fifteen in the keyboard, and the overrun");
}

#[test]
fn a20_and_reset_are_on_the_output_port() {
    let mut bench = Bench::new();
    assert!(bench.probe.level(A20));
    bench.command(0xD1);
    bench.data(0x01);
    assert!(!bench.probe.level(A20));
    bench.command(0xDF);
    assert!(bench.probe.level(A20));
    bench.command(0xDD);
    assert!(!bench.probe.level(A20));
    assert_eq!(bench.probe.rises(RESET), 0);
    bench.command(0xD1);
    bench.data(0x02);
    assert_eq!(bench.probe.rises(RESET), 1);
    bench.command(0xFE);
    assert_eq!(bench.probe.rises(RESET), 2);
    bench.command(0xFF);
    assert_eq!(bench.probe.rises(RESET), 2);
}

#[rstest]
#[case::reset(&[0xFF], &[0xFA, 0xAA, 0x00])]
#[case::ident(&[0xF2], &[0xFA, 0x00])]
#[case::status(&[0xE9], &[0xFA, 0x00, 0x02, 100])]
#[case::status_changed(&[0xF4, 0xE7, 0xE8, 3, 0xF3, 40, 0xE9], &[0xFA, 0x30, 3, 40])]
#[case::intellimouse(&[0xF3, 200, 0xF3, 100, 0xF3, 80, 0xF2], &[0xFA, 0x03])]
#[case::explorer(&[0xF3, 200, 0xF3, 200, 0xF3, 80, 0xF2], &[0xFA, 0x04])]
#[case::remote_read(&[0xF0, 0xEB], &[0xFA, 0x08, 0, 0])]
#[case::wrap(&[0xEE, 0x12], &[0x12])]
#[case::out_of_wrap(&[0xEE, 0xEC], &[0xFA])]
#[case::bad_resolution(&[0xE8, 9], &[0xFE])]
#[case::unknown(&[0x00], &[0xFE])]
fn mouse_commands(#[case] sent: &[u8], #[case] last_answer: &[u8]) {
    let mut bench = Bench::new();
    let mut answer = Vec::new();
    for &byte in sent {
        bench.aux(byte);
        answer = bench.drain();
    }
    assert_eq!(answer, last_answer);
}

#[test]
fn movement_is_reported_once_enabled_and_interrupts() {
    let mut bench = Bench::new();
    bench.command_byte(0x47);
    bench.chip.mouse_event(5, 5, 0, button::LEFT);
    assert_eq!(bench.status() & 1, 0);
    bench.aux(0xF4);
    assert_eq!(bench.drain(), [0xFA]);
    bench.chip.mouse_event(3, -2, 0, button::LEFT);
    assert_eq!(bench.status() & 0x21, 0x21);
    assert!(bench.probe.level(IRQ12));
    assert_eq!(bench.drain(), [0x29, 3, 0xFE]);
    assert!(!bench.probe.level(IRQ12));
    assert_eq!(bench.probe.rises(IRQ1), 0);
}

#[test]
fn movement_beyond_a_packet_follows_in_the_next() {
    let mut bench = Bench::new();
    bench.aux(0xF4);
    bench.drain();
    bench.chip.mouse_event(300, -300, 0, 0);
    assert_eq!(bench.drain(), [0x28, 255, 0, 0x28, 45, 212]);
}

#[test]
fn an_intellimouse_reports_its_wheel_and_an_explorer_its_buttons() {
    for (second, last) in [(100, 0xFF), (200, 0x1F)] {
        let mut bench = Bench::new();
        for rate in [200, second, 80] {
            bench.aux(0xF3);
            bench.aux(rate);
        }
        bench.aux(0xF4);
        bench.drain();
        bench.chip.mouse_event(0, 0, -1, button::SIDE);
        assert_eq!(bench.drain(), [0x08, 0, 0, last]);
    }
}

#[test]
fn keyboard_and_mouse_bytes_do_not_mix_up() {
    let mut bench = Bench::new();
    bench.aux(0xF4);
    bench.drain();
    bench.chip.mouse_event(1, 0, 0, 0);
    bench.chip.key_event(Key::Plain(1), true);
    let mut seen = Vec::new();
    loop {
        let status = bench.status();
        if status & 1 == 0 {
            break;
        }
        seen.push((status & 0x20 != 0, bench.read()));
    }
    assert_eq!(seen, [(true, 0x08), (false, 0x01), (true, 1), (true, 0)]);
}

#[test]
fn a_restored_controller_goes_on_where_it_was() {
    let mut bench = Bench::new();
    bench.chip.key_event(Key::Plain(0x1E), true);
    bench.chip.key_event(Key::Plain(0x1E), false);
    bench.command(0xD4);
    let probe = Probe::new();
    let chip = I8042::restore(wires(&probe), bench.chip.save()).unwrap();
    assert_eq!(chip.save(), bench.chip.save());
    let mut again = Bench { chip, probe };
    assert!(again.probe.level(IRQ1) && again.probe.level(A20));
    again.data(0xF2);
    assert_eq!(again.drain(), [0x1E, 0x9E, 0xFA, 0x00]);
}

#[test]
fn reset_empties_everything() {
    let mut bench = Bench::new();
    bench.chip.key_event(Key::Plain(1), true);
    bench.chip.reset();
    assert!(!bench.probe.level(IRQ1));
    assert_eq!(bench.status(), 0x14);
}

proptest! {
    #[test]
    fn no_access_panics(accesses in accesses()) {
        let mut bench = Bench::new();
        hammer(&mut bench.chip, &VmClock::counted(0), &accesses, |chip, seen| {
            chip.key_event(Key::Plain(seen as u8), seen & 0x100 != 0);
            chip.mouse_event(seen as i32, i32::MIN, i32::MAX, seen as u8);
        });
    }
}
