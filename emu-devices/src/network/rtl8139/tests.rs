use super::{
    super::{
        connect,
        recorder::{Bench, MAC, PIN, frame, packet, tcp4},
    },
    registers::{TCR_VERSION, rcr},
    *,
};
use emu_core::backend::{ChecksumOffload, SegmentationKind};
use parking_lot::Mutex;
use proptest::prelude::*;
use std::sync::{Arc, atomic::Ordering};

const RING: u64 = 0x1_0000;
const BUFFER: u64 = 0x4_0000;
const TX_RING: u64 = 0x1000;
const RX_RING: u64 = 0x2000;

/// A card and a driver of it.
struct Rig {
    bench: Bench,
    card: Arc<Mutex<Rtl8139>>,
}

impl Rig {
    fn new() -> Self {
        let bench = Bench::new();
        let card = Arc::new(Mutex::new(Rtl8139::new(bench.wires())));
        connect(&card, &*bench.network);
        let rig = Rig { bench, card };
        let mut card = rig.card.lock();
        card.config_mut().write(0x04, 2, 0b111);
        card.config_written(0x04, 2);
        drop(card);
        rig.write(reg::IMR, 2, 0xFFFF);
        rig
    }

    /// With the ring of bytes, 8 KiB long.
    fn classic() -> Self {
        let rig = Rig::new();
        rig.write(reg::RBSTART, 4, RING as u32);
        rig.write(reg::CR, 1, (cr::RE | cr::TE).into());
        rig.write(reg::RCR, 4, rcr::APM | rcr::AB | rcr::AM);
        rig
    }

    /// With rings of four descriptors; receive buffers have 1600 bytes.
    fn plus() -> Self {
        let rig = Rig::new();
        for number in 0..4 {
            let end = if number == 3 { 1 << 30 } else { 0 };
            rig.descriptor(RX_RING, number, (1 << 31 | end | 1600, 0, BUFFER + 2048 * number));
        }
        rig.write(reg::CPCR, 2, (cpcr::RX | cpcr::TX | cpcr::RX_CHECKSUM | cpcr::RX_VLAN).into());
        rig.write(reg::CR, 1, (cr::RE | cr::TE).into());
        rig.write(reg::RDSAR, 4, RX_RING as u32);
        rig.write(reg::TNPDS, 4, TX_RING as u32);
        rig.write(reg::RCR, 4, rcr::APM | rcr::AB);
        rig
    }

    fn read(&self, offset: u8, size: u8) -> u32 {
        self.card.lock().mmio_read(1, offset.into(), size).unwrap() as u32
    }

    fn write(&self, offset: u8, size: u8, value: u32) {
        self.card.lock().port_write(0, offset.into(), size, value).unwrap();
    }

    fn descriptor(&self, ring: u64, number: u64, (first, second, address): (u32, u32, u64)) {
        let words = u128::from(address) << 64 | u128::from(second) << 32 | u128::from(first);
        self.bench.memory.write(ring + 16 * number, &words.to_le_bytes()).unwrap();
    }

    fn words(&self, ring: u64, number: u64) -> (u32, u32) {
        let bytes = self.bench.read(ring + 16 * number, 8);
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        (word(0), word(4))
    }

    /// Sends `frame` by descriptor 0 with these bits.
    fn transmit(&self, frame: &[u8], first: u32, second: u32) -> Vec<Packet> {
        self.bench.memory.write(BUFFER, frame).unwrap();
        let whole = 1 << 31 | 1 << 30 | 3 << 28 | first | frame.len() as u32;
        self.descriptor(TX_RING, 0, (whole, second, BUFFER));
        self.write(reg::TPPOLL, 1, 0x40);
        self.bench.network.take_sent()
    }
}

#[test]
fn drivers_find_a_c_plus_with_its_address() {
    let rig = Rig::new();
    assert_eq!(rig.read(reg::TCR, 4) & 0x7CC0_0000, TCR_VERSION);
    let address: Vec<u8> = (0..6).map(|at| rig.read(reg::IDR + at, 1) as u8).collect();
    assert_eq!(address, MAC);
    // The way of drivers: start bit, opcode, address, sixteen clocks.
    let word = |address: u32, bits: u32| {
        rig.write(reg::CR9346, 1, 0x80);
        let clock = |input: u32| {
            rig.write(reg::CR9346, 1, 0x88 | input << 1);
            rig.write(reg::CR9346, 1, 0x8C | input << 1);
            rig.read(reg::CR9346, 1) & 1
        };
        let command = 0b110 << bits | address;
        (0..bits + 5).rev().for_each(|bit| _ = clock(command >> bit & 1));
        let word = (0..16).fold(0, |word, _| word << 1 | clock(0));
        rig.write(reg::CR9346, 1, 0);
        word
    };
    assert_eq!((word(0, 6), word(7, 6)), (0x8129, 0x5452));
    assert_ne!(word(0, 8), 0x8129, "it is no 93C56");
}

#[test]
fn a_buffer_is_sent_and_reported() {
    let rig = Rig::classic();
    let bytes = frame([0xFF; 6], 100);
    rig.bench.memory.write(BUFFER, &bytes).unwrap();
    rig.write(reg::TSAD + 4, 4, BUFFER as u32);
    rig.write(reg::TSD + 4, 4, 100);
    assert_eq!(rig.bench.network.take_sent(), [Packet { bytes, ..Packet::default() }]);
    assert_eq!(rig.read(reg::TSD + 4, 4), tsd::OWN | tsd::TOK | 100);
    assert_eq!(rig.read(reg::TSAD_STATUS, 2), 0x200F, "all buffers are free, the second was sent");
    assert!(rig.bench.probe.level(PIN));
    rig.write(reg::ISR, 2, isr::TOK.into());
    assert!(!rig.bench.probe.level(PIN));
}

#[test]
fn a_buffer_outside_of_memory_is_aborted() {
    let rig = Rig::classic();
    rig.write(reg::TSAD, 4, 0xFFFF_FF00);
    rig.write(reg::TSD, 4, 100);
    assert_eq!((rig.bench.network.take_sent(), rig.read(reg::TSD, 4) & tsd::TABT), (vec![], tsd::TABT));
}

#[test]
fn packets_go_round_the_ring_of_bytes() {
    let rig = Rig::classic();
    assert_eq!(rig.read(reg::CR, 1) & 1, 1, "empty");
    // 4 bytes of header, 4 of check sequence: 1008 each, of which eight fit.
    let packets: Vec<Packet> = (0..9).map(|_| packet(frame(MAC, 1000))).collect();
    assert_eq!((rig.bench.network.offer(&packets), rig.read(reg::CR, 1) & 1), (8, 0));
    assert_eq!(rig.bench.read(RING, 4), [1, 0x40, 0xEC, 3]);
    assert_eq!(rig.bench.read(RING + 4, 1000), packets[0].bytes);
    assert_eq!((rig.read(reg::CBR, 2), rig.read(reg::ISR, 2)), (8064, isr::ROK.into()));
    rig.write(reg::CAPR, 2, 1008 - 16);
    assert_eq!(rig.bench.network.resumed.load(Ordering::Relaxed), 1);
    assert_eq!(rig.bench.network.offer(&packets[8..]), 1);
    assert_eq!(rig.bench.read(RING + 8068, 124), packets[8].bytes[..124]);
    assert_eq!(rig.bench.read(RING, 876), packets[8].bytes[124..]);
}

#[test]
fn filters_are_the_drivers() {
    let rig = Rig::classic();
    let arrives = |destination| {
        let before = rig.read(reg::CBR, 2);
        assert_eq!(rig.bench.network.offer(&[packet(frame(destination, 60))]), 1);
        rig.read(reg::CBR, 2) != before
    };
    let (stranger, group) = ([2, 0, 0, 0, 0, 9], [1, 0, 0x5E, 0, 0, 1]);
    assert_eq!([MAC, [0xFF; 6], stranger, group].map(arrives), [true, true, false, false]);
    // The all-hosts group has bit 31, as Linux' ether_crc(..) >> 26 says.
    rig.write(reg::MAR, 4, 1 << 31);
    assert!(arrives(group));
    rig.write(reg::RCR, 4, rcr::AAP);
    assert!(arrives(stranger));
}

#[test]
fn descriptors_are_sent_with_their_offloads() {
    let rig = Rig::plus();
    let mut bytes = tcp4(b"data");
    bytes[16..18].copy_from_slice(&44_u16.to_be_bytes());
    // IPCS and TCPCS; tag 5.
    let sent = rig.transmit(&bytes, 1 << 18 | 1 << 16, 1 << 17 | 0x0500).remove(0);
    assert_eq!(sent.bytes[12..16], [0x81, 0, 0, 5]);
    assert_eq!(sent.checksum, Some(ChecksumOffload { start: 38, offset: 16 }));
    assert_eq!(emu_core::backend::checksum::sum(&sent.bytes[18..38]), 0xFFFF);
    assert_eq!(rig.words(TX_RING, 0).0 >> 31, 0, "the driver's again");
    assert_ne!(rig.read(reg::ISR, 2) & u32::from(isr::TOK), 0);

    let sent = rig.transmit(&tcp4(&[1; 3000]), 1 << 27 | 1000 << 16, 0).remove(0);
    let cut = sent.segmentation.unwrap();
    assert_eq!((cut.kind, cut.size, cut.headers), (SegmentationKind::Tcp4, 1000, 54));
    assert_eq!(sent.bytes[16..18], 3040_u16.to_be_bytes());

    // Counters go to memory.
    rig.write(reg::DTCCR + 4, 4, 0);
    rig.write(reg::DTCCR, 4, 0x8000 | 8);
    assert_eq!((rig.bench.read(0x8000, 8), rig.read(reg::DTCCR, 4)), (vec![2, 0, 0, 0, 0, 0, 0, 0], 0x8000));
}

#[test]
fn packets_fill_descriptors() {
    let rig = Rig::plus();
    let mut to_me = tcp4(b"data");
    to_me[..6].copy_from_slice(&MAC);
    let tagged = [&[0xFF; 12][..], &[0x81, 0, 0x20, 5, 8, 0], &[0; 60]].concat();
    let packets = [packet(to_me.clone()), packet(tagged), packet(frame(MAC, 60)), packet(frame(MAC, 60))];
    assert_eq!(rig.bench.network.offer(&[&packets[..], &packets[..1]].concat()), 4);
    // First and last, for this card, TCP, 60 bytes and the check sequence's 4.
    assert_eq!(rig.words(RX_RING, 0), (3 << 28 | 1 << 25 | 1 << 16 | 64, 0));
    assert_eq!(rig.bench.read(BUFFER, to_me.len()), to_me);
    assert_eq!(rig.words(RX_RING, 1), (3 << 28 | 1 << 24 | 78, 1 << 16 | 0x0520));
    assert_eq!(rig.words(RX_RING, 3).0 >> 30, 1, "the ring's end stays marked");
    assert_eq!(rig.read(reg::ISR, 2), u32::from(isr::ROK | isr::RDU));

    rig.descriptor(RX_RING, 0, (1 << 31 | 1600, 0, BUFFER));
    rig.write(reg::ISR, 2, 0xFFFF);
    assert_eq!(rig.bench.network.resumed.load(Ordering::Relaxed), 1);
    assert_eq!(rig.bench.network.offer(&packets[..1]), 1);
}

#[test]
fn wide_accesses_reach_all_registers_below_them() {
    let rig = Rig::new();
    // ISR is not changed by the ones that are written to IMR beside it, nor by zeroes.
    rig.write(reg::IMR, 4, 0x0000_8001);
    assert_eq!(rig.read(reg::IMR, 4), 0x8001);
    rig.write(reg::IDR, 4, 0x4433_2211);
    rig.write(reg::IDR + 2, 1, 0xEE);
    assert_eq!(rig.read(reg::IDR, 4), 0x44EE_2211);
}

#[test]
fn a_saved_card_goes_on() {
    let rig = Rig::plus();
    rig.bench.network.offer(&[packet(frame(MAC, 60))]);
    let state = rig.card.lock().save();
    let copy = Arc::new(Mutex::new(Rtl8139::restore(rig.bench.wires(), state.clone()).unwrap()));
    assert_eq!(copy.lock().save(), state);
    assert_eq!(copy.lock().receive(&[packet(frame(MAC, 61))]), 1);
    assert_eq!(rig.words(RX_RING, 1).0 & 0x1FFF, 65);
}

proptest! {
    #[test]
    fn no_driver_and_no_packet_makes_it_panic(
        plus: bool,
        pokes in prop::collection::vec((0u8..0xF0, prop::sample::select(vec![1u8, 2, 4]), any::<u32>()), 1..100),
        descriptors in prop::collection::vec(any::<u32>(), 256),
        received in prop::collection::vec(any::<u8>(), 0..2000),
    ) {
        let rig = if plus { Rig::plus() } else { Rig::classic() };
        let bytes: Vec<u8> = descriptors.iter().flat_map(|word| word.to_le_bytes()).collect();
        rig.bench.memory.write(TX_RING, &bytes).unwrap();
        rig.write(reg::TPPOLL, 1, 0x40);
        for (offset, size, value) in pokes {
            // A refusal is an answer; only a panic is not.
            let _ = rig.card.lock().mmio_write(1, offset.into(), size, value.into());
            let _ = rig.card.lock().mmio_read(1, offset.into(), size);
            rig.bench.network.offer(&[packet(received.clone())]);
        }
        let state = rig.card.lock().save();
        prop_assert_eq!(Rtl8139::restore(rig.bench.wires(), state.clone()).unwrap().save(), state);
    }
}
