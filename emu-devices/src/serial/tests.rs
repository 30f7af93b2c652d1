use super::*;
use crate::probe::{Probe, accesses, hammer};
use emu_core::{bus::Snapshot, clock::TimerQueue};
use parking_lot::Mutex;
use proptest::prelude::*;
use rstest::rstest;
use std::sync::Arc;

/// A backend that remembers what it was told.
#[derive(Clone, Default)]
pub struct Recording(Arc<Mutex<Heard>>);

#[derive(Default)]
struct Heard {
    sent: Vec<u8>,
    breaks: Vec<bool>,
    ready: u32,
}

impl Recording {
    /// All bytes the guest has sent.
    pub fn sent(&self) -> Vec<u8> {
        self.0.lock().sent.clone()
    }
}

impl SerialBackend for Recording {
    fn transmit(&mut self, byte: u8) {
        self.0.lock().sent.push(byte);
    }
    fn transmit_break(&mut self, on: bool) {
        self.0.lock().breaks.push(on);
    }
    fn receive_ready(&mut self) {
        self.0.lock().ready += 1;
    }
}

struct Bench {
    uart: Uart16550,
    probe: Arc<Probe>,
    host: Recording,
    clock: VmClock,
    queue: Arc<TimerQueue>,
}

impl Bench {
    fn new() -> Self {
        let (probe, host, clock) = (Probe::new(), Recording::default(), VmClock::counted(0));
        let queue = TimerQueue::new(clock.clone());
        let wires = UartWires {
            irq: probe.line(4),
            clock: clock.clone(),
            timer: queue.timer(),
            backend: Box::new(host.clone()),
        };
        Bench { uart: Uart16550::new(wires), probe, host, clock, queue }
    }

    /// FIFO on with `trigger` (FCR bits 6 and 7), interrupts `ier`, OUT2 on, 115200 baud, 8N1.
    fn with_fifo(trigger: u8, ier: u8) -> Self {
        let mut bench = Bench::new();
        for (at, value) in [(3, 0x83), (0, 1), (1, 0), (3, 0x03), (4, 0x08), (2, trigger << 6 | 1), (1, ier)]
        {
            bench.out(at, value);
        }
        bench
    }

    fn out(&mut self, at: u16, value: u8) {
        self.uart.port_write(0, at, 1, value.into()).unwrap();
    }

    fn inb(&mut self, at: u16) -> u8 {
        self.uart.port_read(0, at, 1).unwrap() as u8
    }

    fn irq(&self) -> bool {
        self.probe.level(4)
    }

    fn wait(&mut self, nanos: u64) {
        self.clock.advance(nanos);
        if self.queue.next_deadline().is_some_and(|deadline| deadline <= self.clock.now()) {
            self.queue.fire_due();
            self.uart.timer_expired();
        }
    }
}

#[test]
fn bytes_written_reach_the_host_and_the_transmitter_is_always_empty() {
    let mut bench = Bench::with_fifo(0, 0);
    for byte in *b"hello" {
        bench.out(0, byte);
        assert_eq!(bench.inb(5) & 0x60, 0x60);
    }
    assert_eq!(bench.host.sent(), b"hello");
}

#[test]
fn a_short_word_sends_only_its_bits() {
    let mut bench = Bench::new();
    bench.out(3, 0x02);
    bench.out(0, 0xC1);
    assert_eq!(bench.host.sent(), [0x41]);
}

#[test]
fn divisor_latch_hides_data_and_ier() {
    let mut bench = Bench::new();
    bench.out(3, 0x83);
    bench.out(0, 0x34);
    bench.out(1, 0x12);
    assert_eq!((bench.inb(0), bench.inb(1)), (0x34, 0x12));
    bench.out(3, 0x03);
    assert_eq!(bench.inb(1), 0);
    assert!(bench.host.sent().is_empty());
}

#[rstest]
#[case::ier(1, 0xFF, 0x0F)]
#[case::lcr(3, 0x7F, 0x7F)]
#[case::mcr(4, 0xFF, 0x1F)]
#[case::scratch(7, 0xA5, 0xA5)]
fn registers_keep_the_bits_they_have(#[case] at: u16, #[case] written: u8, #[case] read: u8) {
    let mut bench = Bench::new();
    bench.out(at, written);
    assert_eq!(bench.inb(at), read);
}

/// What Linux's 8250 driver does at start-up to find UARTs that do not raise THRE again.
#[test]
fn enabling_the_transmitter_interrupt_raises_it_each_time() {
    let mut bench = Bench::with_fifo(0, 0);
    for _ in 0..2 {
        bench.out(1, 0x02);
        assert!(bench.irq());
        assert_eq!(bench.inb(2), 0xC2);
        assert_eq!(bench.inb(2), 0xC1, "reading IIR has cleared it");
        assert!(!bench.irq());
        bench.out(1, 0);
    }
}

#[test]
fn every_byte_sent_raises_the_transmitter_interrupt_with_an_edge() {
    let mut bench = Bench::with_fifo(0, 0x02);
    let before = bench.probe.rises(4);
    bench.out(0, b'a');
    bench.out(0, b'b');
    assert_eq!(bench.probe.rises(4) - before, 2);
    assert_eq!(bench.inb(2), 0xC2);
}

#[test]
fn reading_iir_clears_the_transmitter_interrupt_only_if_it_tells_it() {
    let mut bench = Bench::with_fifo(0, 0x03);
    assert!(bench.uart.receive(b'x'));
    assert_eq!(bench.inb(2), 0xC4);
    assert_eq!(bench.inb(0), b'x');
    assert_eq!(bench.inb(2), 0xC2);
    assert_eq!(bench.inb(2), 0xC1);
}

#[test]
fn out2_gates_the_interrupt() {
    let mut bench = Bench::with_fifo(0, 0x02);
    bench.out(4, 0);
    assert!(!bench.irq());
    bench.out(4, 0x08);
    assert!(bench.irq());
}

#[test]
fn priorities_are_line_status_data_transmitter_modem() {
    let mut bench = Bench::with_fifo(0, 0x0F);
    bench.uart.set_modem_lines(ModemLines::empty());
    assert!(bench.uart.receive_break());
    assert_eq!(bench.inb(2), 0xC6);
    bench.inb(5);
    assert_eq!(bench.inb(2), 0xC4);
    bench.inb(0);
    assert_eq!(bench.inb(2), 0xC2);
    assert_eq!(bench.inb(2), 0xC0);
    bench.inb(6);
    assert_eq!(bench.inb(2), 0xC1);
    assert!(!bench.irq());
}

#[rstest]
#[case(0, 1)]
#[case(1, 4)]
#[case(2, 8)]
#[case(3, 14)]
fn received_data_interrupts_from_the_trigger_level_on(#[case] trigger: u8, #[case] level: u8) {
    let mut bench = Bench::with_fifo(trigger, 0x01);
    for n in 1..=level {
        assert!(!bench.irq(), "after {} characters", n - 1);
        assert!(bench.uart.receive(n));
    }
    assert!(bench.irq());
    bench.inb(0);
    assert!(!bench.irq());
}

#[test]
fn characters_below_the_trigger_time_out_after_four_character_times() {
    let mut bench = Bench::with_fifo(2, 0x01);
    bench.uart.receive(b'a');
    // Ten bits at 115200 baud, four times: 347.2 us.
    bench.wait(300_000);
    bench.uart.receive(b'b');
    bench.wait(347_000);
    assert!(!bench.irq(), "a new character starts the time again");
    bench.wait(300);
    assert_eq!(bench.inb(2), 0xCC);
    assert_eq!(bench.inb(0), b'a');
    assert!(!bench.irq());
    bench.wait(348_000);
    assert_eq!(bench.inb(2), 0xCC, "the rest times out again");
    assert_eq!(bench.inb(0), b'b');
    bench.wait(1_000_000);
    assert!(!bench.irq());
    assert_eq!(bench.inb(5), 0x60);
}

#[test]
fn a_full_fifo_refuses_the_host_and_asks_again_when_empty() {
    let mut bench = Bench::with_fifo(0, 0);
    for n in 0..16 {
        assert!(bench.uart.receive(n));
    }
    assert!(!bench.uart.receive(16));
    for n in 0..16 {
        assert_eq!(bench.host.0.lock().ready, 0);
        assert_eq!(bench.inb(0), n);
    }
    assert_eq!(bench.host.0.lock().ready, 1);
    assert!(bench.uart.receive(16));
    assert_eq!(bench.inb(5) & 0x02, 0, "nothing was lost");
}

#[test]
fn without_fifo_one_character_fits_and_the_next_overwrites_it() {
    let mut bench = Bench::new();
    bench.out(3, 3);
    bench.out(4, 0x10);
    bench.out(0, b'a');
    bench.out(0, b'b');
    assert_eq!(bench.inb(5), 0x63, "DR and OE");
    assert_eq!(bench.inb(5), 0x61, "reading LSR has cleared OE");
    assert_eq!(bench.inb(0), b'b');
}

/// Linux measures the FIFO like this.
#[test]
fn a_fifo_in_loopback_keeps_sixteen_characters_and_reports_the_overrun() {
    let mut bench = Bench::with_fifo(0, 0x04);
    bench.out(4, 0x18);
    for n in 0..=255 {
        bench.out(0, n);
    }
    assert_eq!(bench.inb(2), 0xC6);
    assert_eq!(bench.inb(5) & 0x03, 0x03);
    let mut count = 0;
    while bench.inb(5) & 1 != 0 {
        assert_eq!(bench.inb(0), count);
        count += 1;
    }
    assert_eq!(count, 16);
    assert!(bench.host.sent().is_empty());
}

#[test]
fn errors_show_when_their_character_is_at_the_front() {
    let mut bench = Bench::with_fifo(0, 0x04);
    bench.uart.receive(b'a');
    bench.uart.receive_break();
    assert_eq!(bench.inb(5), 0xE1, "an error is somewhere in the FIFO, not at its front");
    assert!(!bench.irq());
    assert_eq!(bench.inb(0), b'a');
    assert!(bench.irq());
    assert_eq!(bench.inb(5), 0xF9, "BI and FE");
    assert_eq!(bench.inb(5), 0x61);
    assert_eq!(bench.inb(0), 0);
}

#[test]
fn loopback_connects_the_modem_outputs_to_the_inputs() {
    let mut bench = Bench::new();
    assert_eq!(bench.inb(6), 0xB0);
    bench.out(4, 0x1A);
    assert_eq!(bench.inb(6) & 0xF0, 0x90, "RTS shows as CTS, OUT2 as DCD: Linux's probe");
    bench.out(4, 0x15);
    assert_eq!(bench.inb(6), 0x60 | 0x0B, "DSR and RI came, CTS and DCD went");
    bench.out(4, 0x11);
    assert_eq!(bench.inb(6), 0x20 | 0x04, "the trailing edge of RI");
}

#[test]
fn modem_changes_interrupt_until_msr_is_read() {
    let mut bench = Bench::with_fifo(0, 0x08);
    bench.inb(6);
    bench.uart.set_modem_lines(ModemLines::CTS);
    assert!(bench.irq());
    assert_eq!(bench.inb(6), 0x10 | 0x0A);
    assert!(!bench.irq());
    assert_eq!(bench.inb(6), 0x10);
}

#[test]
fn break_control_tells_the_host() {
    let mut bench = Bench::new();
    bench.out(3, 0x43);
    bench.out(3, 0x43);
    bench.out(3, 0x03);
    assert_eq!(bench.host.0.lock().breaks, [true, false]);
}

#[test]
fn fcr_clears_the_receiver_and_iir_tells_whether_the_fifo_is_on() {
    let mut bench = Bench::with_fifo(2, 0x01);
    bench.uart.receive(1);
    bench.out(2, 0x83);
    assert_eq!(bench.inb(5), 0x60);
    bench.wait(1_000_000);
    assert!(!bench.irq(), "nothing is left that could time out");
    bench.out(2, 0);
    assert_eq!(bench.inb(2), 0x01);
}

#[test]
fn the_far_side_waits_while_the_port_is_looped() {
    let mut bench = Bench::with_fifo(0, 0);
    bench.out(4, 0x10);
    assert!(!bench.uart.receive(b'x'));
    bench.out(4, 0x08);
    assert_eq!(bench.host.0.lock().ready, 1);
}

#[test]
fn a_restored_uart_goes_on_where_it_was() {
    let mut bench = Bench::with_fifo(2, 0x01);
    bench.uart.receive(b'q');
    let state = bench.uart.save();
    let mut again = Bench::new();
    let wires = UartWires {
        irq: again.probe.line(4),
        clock: again.clock.clone(),
        timer: again.queue.timer(),
        backend: Box::new(again.host.clone()),
    };
    again.uart = Uart16550::restore(wires, state.clone()).unwrap();
    assert_eq!(again.uart.save(), state);
    again.wait(400_000);
    assert!(again.irq());
    assert_eq!(again.inb(0), b'q');
}

proptest! {
    #[test]
    fn no_access_panics(accesses in accesses()) {
        let mut bench = Bench::new();
        hammer(&mut bench.uart, &bench.clock, &accesses, |uart, seen| {
            uart.receive(seen as u8);
            uart.timer_expired();
        });
    }
}
