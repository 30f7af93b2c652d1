use super::{
    super::{
        connect,
        recorder::{Bench, MAC, PIN, frame, packet, tcp4},
    },
    registers::{rctl, tctl},
    *,
};
use emu_core::backend::{ChecksumOffload, Segmentation, SegmentationKind};
use parking_lot::Mutex;
use proptest::prelude::*;
use std::sync::{Arc, atomic::Ordering};

const TX_RING: u64 = 0x1000;
const RX_RING: u64 = 0x2000;
const TX_BUFFER: u64 = 0x1_0000;
const RX_BUFFER: u64 = 0x4_0000;
const RING: u32 = 8;

/// A card and a driver of it.
struct Rig {
    bench: Bench,
    card: Arc<Mutex<E1000>>,
}

impl Rig {
    /// A card whose driver has set up both rings; receive buffers have 2048 bytes.
    fn new() -> Self {
        let bench = Bench::new();
        let card = Arc::new(Mutex::new(E1000::new(bench.wires())));
        connect(&card, &*bench.network);
        let rig = Rig { bench, card };
        rig.configure(0x04, 2, 0b111);
        for (offset, value) in [
            (reg::TDBAL, TX_RING as u32),
            (reg::TDLEN, RING * 16),
            (reg::RDBAL, RX_RING as u32),
            (reg::RDLEN, RING * 16),
            (reg::IMS, cause::TXDW | cause::RXT0),
            (reg::TCTL, tctl::EN),
            (reg::RCTL, rctl::EN | rctl::BAM | rctl::SECRC),
        ] {
            rig.write(offset, value);
        }
        for number in 0..u64::from(RING) {
            let buffer = RX_BUFFER + number * 2048;
            rig.bench.memory.write(RX_RING + number * 16, &buffer.to_le_bytes()).unwrap();
        }
        rig.write(reg::RDT, RING - 1);
        rig
    }

    fn configure(&self, offset: u16, size: u8, value: u32) {
        let mut card = self.card.lock();
        card.config_mut().write(offset, size, value);
        card.config_written(offset, size);
    }

    fn read(&self, offset: u32) -> u32 {
        self.card.lock().mmio_read(0, offset.into(), 4).unwrap() as u32
    }

    fn write(&self, offset: u32, value: u32) {
        self.card.lock().mmio_write(0, offset.into(), 4, value.into()).unwrap();
    }

    /// Puts descriptors on the ring and sends them.
    fn transmit(&self, descriptors: &[[u8; 16]]) {
        let mut tail = self.read(reg::TDT);
        for descriptor in descriptors {
            self.bench.memory.write(TX_RING + u64::from(tail) * 16, descriptor).unwrap();
            tail = (tail + 1) % RING;
        }
        self.write(reg::TDT, tail);
    }

    /// Sends `frame` with a data descriptor that has these bits in its upper half.
    fn transmit_data(&self, frame: &[u8], upper: u64) {
        self.bench.memory.write(TX_BUFFER, frame).unwrap();
        self.transmit(&[descriptor(TX_BUFFER, upper | frame.len() as u64)]);
    }

    /// A received descriptor's length, status, special.
    fn received(&self, number: u64) -> (u16, u8, u16) {
        let bytes = self.bench.read(RX_RING + number * 16, 16);
        (u16::from_le_bytes([bytes[8], bytes[9]]), bytes[12], u16::from_le_bytes([bytes[14], bytes[15]]))
    }
}

fn descriptor(lower: u64, upper: u64) -> [u8; 16] {
    (u128::from(upper) << 64 | u128::from(lower)).to_le_bytes()
}

const EOP: u64 = 1 << 24;
const IC: u64 = 1 << 26;
const TSE: u64 = 1 << 26;
const RS: u64 = 1 << 27;
const DATA: u64 = 1 << 20 | 1 << 29;
const CONTEXT: u64 = 1 << 29;
const VLE: u64 = 1 << 30;

#[test]
fn the_eeprom_has_address_and_sum_by_both_ways() {
    let rig = Rig::new();
    let by_pins = |address: u32| {
        let (sk, cs, di, data_out) = (1, 2, 4, 8);
        rig.write(reg::EECD, cs);
        let clock = |bit: u32| {
            let level = cs | if bit != 0 { di } else { 0 };
            rig.write(reg::EECD, level);
            rig.write(reg::EECD, level | sk);
            rig.read(reg::EECD) & data_out != 0
        };
        for bit in (0..9).rev() {
            clock((0b110 << 6 | address) >> bit & 1);
        }
        let word = (0..16).fold(0_u16, |word, _| word << 1 | u16::from(clock(0)));
        rig.write(reg::EECD, 0);
        word
    };
    let words: Vec<u16> = (0..64).map(by_pins).collect();
    let mac: Vec<u8> = words[..3].iter().flat_map(|word| word.to_le_bytes()).collect();
    assert_eq!(mac, MAC);
    assert_eq!(words.iter().fold(0_u16, |sum, word| sum.wrapping_add(*word)), 0xBABA);
    for (address, word) in words.iter().enumerate() {
        rig.write(reg::EERD, (address as u32) << 8 | 1);
        assert_eq!(rig.read(reg::EERD), u32::from(*word) << 16 | (address as u32) << 8 | 0x10);
    }
}

#[test]
fn the_transceiver_answers_at_its_address_alone() {
    let rig = Rig::new();
    rig.write(reg::MDIC, 2 << 26 | 1 << 21 | 2 << 16);
    assert_eq!(rig.read(reg::MDIC), 1 << 28 | 2 << 26 | 1 << 21 | 2 << 16 | 0x0141);
    rig.write(reg::MDIC, 2 << 26 | 2 << 21 | 2 << 16);
    assert_ne!(rig.read(reg::MDIC) & 1 << 30, 0);
    let status = || {
        rig.write(reg::MDIC, 2 << 26 | 1 << 21 | 1 << 16);
        rig.read(reg::MDIC) as u16 & 0x24
    };
    assert_eq!((status(), rig.read(reg::STATUS) & 2), (0x24, 2));
    rig.bench.network.unplugged.store(true, Ordering::Relaxed);
    assert_eq!((status(), rig.read(reg::STATUS) & 2), (0, 0));
}

#[test]
fn a_legacy_packet_is_sent_and_reported() {
    let rig = Rig::new();
    let bytes = frame([0xFF; 6], 100);
    rig.bench.memory.write(TX_BUFFER, &bytes).unwrap();
    rig.transmit(&[descriptor(TX_BUFFER, 60), descriptor(TX_BUFFER + 60, 40 | EOP | RS)]);
    assert_eq!(rig.bench.network.take_sent(), [Packet { bytes, ..Packet::default() }]);
    assert_eq!((rig.bench.read(TX_RING + 12, 1), rig.bench.read(TX_RING + 28, 1)), (vec![0], vec![1]));
    assert!(rig.bench.probe.level(PIN));
    assert_eq!(rig.read(reg::ICR), cause::TXDW | cause::TXQE);
    assert!(!rig.bench.probe.level(PIN), "reading causes clears them");
    assert_eq!((rig.read(reg::GPTC), rig.read(reg::BPTC), rig.read(reg::GOTCL)), (1, 1, 104));
    assert_eq!(rig.read(reg::GPTC), 0, "as does reading statistics");
}

#[test]
fn a_legacy_checksum_is_left_to_the_other_end() {
    let rig = Rig::new();
    // CSO 50, CSS 34.
    rig.transmit_data(&tcp4(b"text"), EOP | IC | 50 << 16 | 34 << 40);
    assert_eq!(rig.bench.network.take_sent()[0].checksum, Some(ChecksumOffload { start: 34, offset: 16 }));
}

/// A context for [`tcp4`] with segments of `mss` bytes.
fn context(mss: u64) -> [u8; 16] {
    let sums = 14 | 24 << 8 | 33 << 16 | 34 << 32 | 50 << 40;
    descriptor(sums, CONTEXT | 0b111 << 24 | 54 << 40 | mss << 48)
}

#[test]
fn segmentation_completes_the_headers() {
    let rig = Rig::new();
    rig.transmit(&[context(1460)]);
    rig.transmit_data(&tcp4(&[7; 4000]), DATA | EOP | TSE | RS | 0b11 << 40);
    let sent = rig.bench.network.take_sent().remove(0);
    let expected = Segmentation { kind: SegmentationKind::Tcp4, size: 1460, headers: 54, ecn: false };
    assert_eq!(sent.segmentation, Some(expected));
    assert_eq!(sent.checksum, Some(ChecksumOffload { start: 34, offset: 16 }));
    // RFC 791: the sum over a header with its checksum is all ones. RFC 9293: the pseudo-header.
    assert_eq!(emu_core::backend::checksum::sum(&sent.bytes[14..34]), 0xFFFF);
    assert_eq!(sent.bytes[16..18], 4040_u16.to_be_bytes());
    let pseudo = [10, 0, 2, 15, 10, 0, 2, 2, 0, 6, (4020_u16 >> 8) as u8, 4020_u16 as u8];
    assert_eq!(sent.bytes[50..52], emu_core::backend::checksum::sum(&pseudo).to_be_bytes());
    assert_eq!((rig.read(reg::TSCTC), rig.read(reg::GPTC)), (1, 3));
}

#[test]
fn checksums_of_data_descriptors_are_made() {
    let rig = Rig::new();
    let mut bytes = tcp4(b"x");
    bytes[16..18].copy_from_slice(&41_u16.to_be_bytes());
    rig.transmit(&[context(0)]);
    rig.transmit_data(&bytes, DATA | EOP | 0b11 << 40);
    let sent = rig.bench.network.take_sent().remove(0);
    assert_eq!(emu_core::backend::checksum::sum(&sent.bytes[14..34]), 0xFFFF);
    assert_eq!((sent.checksum.map(|sum| (sum.start, sum.offset)), sent.segmentation), (Some((34, 16)), None));
}

#[test]
fn a_tag_is_inserted_and_stripped() {
    let rig = Rig::new();
    rig.write(reg::CTRL, rig.read(reg::CTRL) | ctrl::VME);
    rig.transmit_data(&frame([0xFF; 6], 60), EOP | VLE | 0x2005 << 48);
    let sent = rig.bench.network.take_sent().remove(0).bytes;
    assert_eq!((sent.len(), &sent[12..16]), (64, &[0x81, 0, 0x20, 5][..]));
    assert_eq!(rig.bench.network.offer(&[packet(sent)]), 1);
    let (len, status, special) = rig.received(0);
    assert_eq!((len, status & 0b1011, special), (60, 0b1011, 0x2005));
    assert_eq!(rig.bench.read(RX_BUFFER, 60), frame([0xFF; 6], 60));

    rig.write(reg::RCTL, rig.read(reg::RCTL) | rctl::VFE);
    let tagged = |tag: u8| packet([&[0xFF; 12][..], &[0x81, 0, 0, tag, 8, 0], &[0; 50]].concat());
    rig.write(reg::VFTA, 1 << 7);
    assert_eq!(rig.bench.network.offer(&[tagged(5), tagged(7)]), 2);
    assert_eq!((rig.read(reg::RDH), rig.received(1).2), (2, 7), "the filter lets tag 7 in alone");
}

#[test]
fn packets_are_received_up_to_the_last_descriptor() {
    let rig = Rig::new();
    let packets: Vec<Packet> = (0..RING as usize).map(|more| packet(frame(MAC, 60 + more))).collect();
    assert_eq!(rig.bench.network.offer(&packets), RING as usize - 1);
    assert!(rig.bench.probe.level(PIN));
    assert_eq!(rig.received(6).0, 66);
    assert_eq!(rig.bench.read(RX_BUFFER + 6 * 2048, 66), packets[6].bytes);
    assert_eq!((rig.read(reg::GPRC), rig.bench.network.resumed.load(Ordering::Relaxed)), (7, 0));
    rig.write(reg::RDT, 0);
    assert_eq!(rig.bench.network.resumed.load(Ordering::Relaxed), 1, "refused packets may come");
    assert_eq!(rig.bench.network.offer(&packets[7..]), 1);
}

#[test]
fn a_long_packet_takes_several_buffers() {
    let rig = Rig::new();
    let jumbo = [packet(frame(MAC, 5000))];
    assert_eq!((rig.bench.network.offer(&jumbo), rig.read(reg::RDH)), (1, 0), "dropped without LPE");
    rig.write(reg::RCTL, rctl::EN | rctl::LPE);
    assert_eq!((rig.bench.network.offer(&jumbo), rig.read(reg::RDH)), (1, 3));
    let ends: Vec<_> = (0..3).map(|number| (rig.received(number).0, rig.received(number).1 & 3)).collect();
    assert_eq!(ends, [(2048, 1), (2048, 1), (908, 3)]);
}

#[test]
fn filters_are_the_drivers() {
    let rig = Rig::new();
    let arrives = |destination| {
        let before = rig.read(reg::RDH);
        assert_eq!(rig.bench.network.offer(&[packet(frame(destination, 60))]), 1);
        rig.write(reg::RDT, (rig.read(reg::RDT) + 1) % RING);
        rig.read(reg::RDH) != before
    };
    let (stranger, group) = ([2, 0, 0, 0, 0, 9], [1, 0, 0x5E, 0, 0, 0xFB]);
    assert_eq!([MAC, [0xFF; 6], stranger, group].map(arrives), [true, true, false, false]);
    // Bits 47 to 36 of the address: 0xFB0.
    rig.write(reg::MTA + 4 * (0xFB0 >> 5), 1 << (0xFB0 & 31));
    assert!(arrives(group));
    rig.write(reg::MTA + 4 * (0xFB0 >> 5), 0);
    rig.write(reg::RAL0 + 8, 2);
    rig.write(reg::RAH0 + 8, 0x8000_0900);
    assert!(arrives(stranger));
    for (bit, destination) in [(rctl::UPE, [2, 0, 0, 0, 0, 8]), (rctl::MPE, group)] {
        rig.write(reg::RCTL, rctl::EN);
        assert!(!arrives(destination));
        rig.write(reg::RCTL, rctl::EN | bit);
        assert!(arrives(destination));
    }
    assert!(!arrives([0xFF; 6]), "broadcasts have a bit of their own");
}

#[test]
fn checksums_are_reported_where_the_other_end_knows() {
    let rig = Rig::new();
    rig.write(reg::RXCSUM, 0x300);
    let tcp = packet(tcp4(b"payload"));
    let doubtful = Packet { trusted: false, ..tcp.clone() };
    assert_eq!(rig.bench.network.offer(&[tcp, doubtful, packet(frame(MAC, 60))]), 3);
    // IPCS and TCPCS, or IXSM.
    // (The frames are for the peer, so nothing arrives before promiscuous mode.)
    assert_eq!(rig.read(reg::RDH), 1);
    rig.write(reg::RCTL, rctl::EN | rctl::UPE);
    let tcp = packet(tcp4(b"payload"));
    let doubtful = Packet { trusted: false, ..tcp.clone() };
    assert_eq!(rig.bench.network.offer(&[tcp, doubtful]), 2);
    let bits = [0, 1, 2].map(|number| rig.received(number).1 & 0x64);
    assert_eq!(bits, [0x04, 0x60, 0x04]);
}

#[test]
fn loopback_of_the_transceiver_comes_back() {
    let rig = Rig::new();
    rig.write(reg::MDIC, 1 << 26 | 1 << 21 | 0x4140);
    rig.transmit_data(&frame(MAC, 64), EOP);
    assert_eq!((rig.bench.network.take_sent(), rig.received(0).0), (vec![], 64));
}

#[test]
fn without_bus_mastering_nothing_moves() {
    let rig = Rig::new();
    rig.configure(0x04, 2, 0b011);
    rig.transmit_data(&frame(MAC, 64), EOP);
    assert_eq!(rig.bench.network.offer(&[packet(frame(MAC, 64))]), 1);
    assert_eq!((rig.bench.network.take_sent(), rig.read(reg::RDH), rig.read(reg::TDH)), (vec![], 0, 0));
}

#[test]
fn ports_lead_to_the_registers() {
    let rig = Rig::new();
    let mut card = rig.card.lock();
    card.port_write(1, IOADDR, 4, reg::VET).unwrap();
    assert_eq!(card.port_read(1, IODATA, 4), Ok(0x8100));
    card.port_write(1, IODATA, 4, 0x88A8).unwrap();
    assert_eq!(card.mmio_read(0, reg::VET.into(), 4), Ok(0x88A8));
}

#[test]
fn a_saved_card_goes_on() {
    let rig = Rig::new();
    // The first half of a packet.
    rig.bench.memory.write(TX_BUFFER, &frame(MAC, 100)).unwrap();
    rig.transmit(&[descriptor(TX_BUFFER, 60)]);
    let state = rig.card.lock().save();
    let copy = Arc::new(Mutex::new(E1000::restore(rig.bench.wires(), state.clone()).unwrap()));
    assert_eq!(copy.lock().save(), state);
    let rig = Rig { bench: rig.bench, card: copy };
    rig.transmit(&[descriptor(TX_BUFFER + 60, 40 | EOP)]);
    assert_eq!(rig.bench.network.take_sent()[0].bytes, frame(MAC, 100));
}

/// Offsets where registers are, and values that make some sense there.
fn pokes() -> impl Strategy<Value = Vec<(u32, u32)>> {
    let known = prop::sample::select(vec![
        reg::CTRL,
        reg::EECD,
        reg::EERD,
        reg::MDIC,
        reg::ICS,
        reg::IMS,
        reg::RCTL,
        reg::TCTL,
        reg::RDBAL,
        reg::RDLEN,
        reg::RDH,
        reg::RDT,
        reg::TDBAL,
        reg::TDLEN,
        reg::TDH,
        reg::TDT,
        reg::RXCSUM,
        reg::VET,
    ]);
    let offset = prop_oneof![9 => known, 1 => 0u32..0x2_0000];
    let value =
        prop_oneof![4 => 0u32..0x20, 2 => (0u32..0x400).prop_map(|value| value * 128), 2 => any::<u32>()];
    prop::collection::vec((offset, value), 1..100)
}

proptest! {
    #[test]
    fn no_driver_and_no_packet_makes_it_panic(
        memory in prop::collection::vec(any::<u8>(), 0x400),
        pokes in pokes(),
        received in prop::collection::vec(any::<u8>(), 0..3000),
    ) {
        let rig = Rig::new();
        rig.bench.memory.write(TX_RING, &memory).unwrap();
        rig.bench.memory.write(RX_RING, &memory).unwrap();
        for (offset, value) in pokes {
            // A refusal is an answer; only a panic is not.
            let _ = rig.card.lock().mmio_write(0, offset.into(), 4, value.into());
            let _ = rig.card.lock().mmio_read(0, offset.into(), 4);
            rig.bench.network.offer(&[packet(received.clone())]);
        }
        let state = rig.card.lock().save();
        prop_assert_eq!(E1000::restore(rig.bench.wires(), state.clone()).unwrap().save(), state);
    }

    #[test]
    fn no_descriptors_make_it_panic(rings in prop::collection::vec(any::<[u8; 16]>(), 7)) {
        let rig = Rig::new();
        rig.bench.memory.write(TX_BUFFER, &tcp4(&[1; 3000])).unwrap();
        let near = |mut descriptor: [u8; 16]| {
            descriptor[..8].copy_from_slice(&TX_BUFFER.to_le_bytes());
            descriptor
        };
        rig.transmit(&rings.into_iter().map(near).collect::<Vec<_>>());
        prop_assert!(rig.bench.network.take_sent().iter().all(|packet| packet.bytes.len() <= 65593 + 4));
    }
}
