//! The network device, as a driver sees it.

use super::{NetConfig, *};
use crate::{
    network::recorder::{MAC, Recorder, frame, packet, tcp4},
    virtio::{
        VirtioPci,
        common::status,
        driver::{BUFFERS, Driver, INDIRECT, Outside, SIZE, WINDOW, WRITE},
        feature::{ALWAYS, EVENT_IDX},
        layout,
    },
};
use emu_core::{
    backend::{ChecksumOffload, Segmentation, SegmentationKind},
    bus::Snapshot,
};
use proptest::prelude::*;
use rstest::rstest;
use std::sync::atomic::Ordering;

const RX: u16 = 0;
const TX: u16 = 1;
const CONTROL: u16 = 4;
/// Where what is sent is, and where the control queue's buffers are.
const OUT: u64 = BUFFERS + 0x10_0000;
const COMMAND: u64 = BUFFERS + 0x18_0000;

fn config(network: &Arc<Recorder>) -> NetConfig {
    NetConfig { backend: network.clone(), mac: MAC, mtu: 1500 }
}

/// A driver that has accepted everything but `without`, and uses MSI-X.
fn rig(without: u64) -> (Arc<Recorder>, Driver<Net>) {
    let network = Arc::<Recorder>::default();
    let mut driver = Driver::new(Net::new(config(&network)));
    driver.use_msix();
    driver.start(5, without);
    driver.messages.take();
    (network, driver)
}

/// Puts packet and header into one buffer and sends it.
fn send(driver: &mut Driver<Net>, queue: u16, header: [u8; 12], bytes: &[u8]) {
    driver.dma.write(OUT, &[&header[..], bytes].concat()).unwrap();
    driver.chain(queue, 0, &[(OUT, 12 + bytes.len() as u32, 0)]);
    driver.offer(queue, 0);
    driver.notify(queue);
}

/// Makes receive buffers of `len` bytes available: as many as the queue has.
fn offer_buffers(driver: &mut Driver<Net>, queue: u16, len: u32) {
    for number in 0..SIZE {
        driver.chain(queue, number, &[(BUFFERS + 0x1000 * u64::from(number), len, WRITE)]);
        driver.offer(queue, number);
    }
    driver.notify(queue);
}

/// Gives a command; returns the answer.
fn command(driver: &mut Driver<Net>, bytes: &[u8]) -> u8 {
    driver.dma.write(COMMAND, bytes).unwrap();
    driver.dma.write(COMMAND + 0x1000, &[0xEE]).unwrap();
    driver.chain(CONTROL, 0, &[(COMMAND, bytes.len() as u32, 0), (COMMAND + 0x1000, 1, WRITE)]);
    driver.offer(CONTROL, 0);
    driver.notify(CONTROL);
    assert_eq!(driver.used(CONTROL), Some((0, 1)));
    driver.memory(COMMAND + 0x1000, 1)[0]
}

fn needs_reset(driver: &Driver<Net>) -> bool {
    driver.status() & status::NEEDS_RESET != 0
}

#[test]
fn the_configuration_says_who_it_is() {
    let (network, driver) = rig(0);
    let config = |at: u64, size: u8| driver.bus.mmio_read(WINDOW + layout::DEVICE.start + at, size);
    let mac: Vec<u8> = (0..6).map(|at| config(at, 1) as u8).collect();
    assert_eq!((mac, config(6, 2), config(8, 2), config(10, 2)), (MAC.to_vec(), 1, 2, 1500));
    network.unplugged.store(true, Ordering::Relaxed);
    assert_eq!(config(6, 2), 0);
}

#[rstest]
#[case(feature::GUEST_TSO4)]
#[case(feature::GUEST_CSUM | feature::GUEST_ECN)]
#[case(feature::HOST_TSO6)]
#[case(feature::CSUM | feature::HOST_ECN)]
#[case(feature::MQ)]
#[case(feature::CTRL_VQ | feature::CTRL_RX_EXTRA)]
fn features_that_miss_another_are_not_accepted(#[case] features: u64) {
    let driver = Driver::new(Net::new(config(&Arc::default())));
    assert!(!driver.negotiate(features | ALWAYS));
}

#[test]
fn a_packet_is_sent_with_what_is_left_to_do() {
    let (network, mut driver) = rig(0);
    // NEEDS_CSUM; TCP in IPv4 with ECN, in segments of 1000; sum from 34 on, to 50.
    let header = [1, 0x81, 54, 0, 0xE8, 3, 34, 0, 16, 0, 0, 0];
    send(&mut driver, TX, header, &tcp4(&[5; 3000]));
    let expected = Packet {
        bytes: tcp4(&[5; 3000]),
        checksum: Some(ChecksumOffload { start: 34, offset: 16 }),
        segmentation: Some(Segmentation { kind: SegmentationKind::Tcp4, size: 1000, headers: 54, ecn: true }),
        trusted: false,
    };
    assert_eq!(network.take_sent(), [expected]);
    assert_eq!((driver.used(TX), driver.messages.take()), (Some((0, 0)), vec![2]));
}

#[rstest]
#[case::checksum_outside([1, 0, 0, 0, 0, 0, 60, 0, 0, 0, 0, 0])]
#[case::no_checksum([0, 1, 54, 0, 100, 0, 34, 0, 16, 0, 0, 0])]
#[case::no_size([1, 1, 54, 0, 0, 0, 34, 0, 16, 0, 0, 0])]
#[case::other_version([1, 4, 54, 0, 100, 0, 34, 0, 16, 0, 0, 0])]
#[case::udp([1, 3, 54, 0, 100, 0, 34, 0, 16, 0, 0, 0])]
fn a_header_that_contradicts_its_packet_loses_it(#[case] header: [u8; 12]) {
    let (network, mut driver) = rig(0);
    send(&mut driver, TX, header, &tcp4(b"abcd"));
    assert_eq!((network.take_sent(), driver.used(TX), needs_reset(&driver)), (vec![], Some((0, 0)), false));
}

#[test]
fn chains_without_sense_stop_the_device() {
    for (queue, buffers) in [
        (TX, vec![(OUT, 11, 0)]),
        (TX, vec![(OUT, 20, 0), (OUT, 20, WRITE)]),
        (TX, vec![(0xFEE0_0000, 100, 0)]),
        (TX, vec![(OUT, 100, INDIRECT)]),
        (RX, vec![(OUT, 11, WRITE)]),
        (RX, vec![(OUT, 100, 0)]),
        (CONTROL, vec![(OUT, 100, 0)]),
        (CONTROL, vec![(OUT, 1, 0), (OUT, 1, WRITE)]),
    ] {
        let (network, mut driver) = rig(0);
        driver.chain(queue, 0, &buffers);
        driver.offer(queue, 0);
        driver.notify(queue);
        if queue == RX {
            assert_eq!(network.offer(&[packet(frame(MAC, 60))]), 1, "dropped");
        }
        assert!(needs_reset(&driver), "queue {queue}, {buffers:?}");
    }
}

#[test]
fn a_packet_is_received_in_merged_buffers() {
    let (network, mut driver) = rig(0);
    offer_buffers(&mut driver, RX, 100);
    let checksum = Some(ChecksumOffload { start: 34, offset: 16 });
    let cut = Segmentation { kind: SegmentationKind::Tcp4, size: 100, headers: 54, ecn: false };
    let mut bytes = tcp4(&[9; 196]);
    bytes[..6].copy_from_slice(&MAC);
    let long = Packet { bytes: bytes.clone(), checksum, segmentation: Some(cut), trusted: true };
    assert_eq!(network.offer(&[long]), 1);
    // 12 + 250 bytes in three buffers of 100.
    assert_eq!(driver.memory(BUFFERS, 12), [1, 1, 54, 0, 100, 0, 34, 0, 16, 0, 3, 0]);
    let received = [
        driver.memory(BUFFERS + 12, 88),
        driver.memory(BUFFERS + 0x1000, 100),
        driver.memory(BUFFERS + 0x2000, 62),
    ];
    assert_eq!(received.concat(), bytes);
    assert_eq!(
        [driver.used(RX), driver.used(RX), driver.used(RX), driver.used(RX)],
        [Some((0, 100)), Some((1, 100)), Some((2, 62)), None]
    );
    assert_eq!(driver.messages.take(), [1], "one interrupt for all");
}

#[test]
fn a_checked_packet_says_so() {
    let (network, mut driver) = rig(0);
    offer_buffers(&mut driver, RX, 2000);
    let plain = packet(frame(MAC, 60));
    network.offer(&[plain.clone(), Packet { trusted: false, ..plain }]);
    assert_eq!(driver.memory(BUFFERS, 12), [2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    assert_eq!(driver.memory(BUFFERS + 0x1000, 12), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
}

#[test]
fn a_driver_without_offloads_gets_finished_packets() {
    let guest = feature::GUEST_CSUM | feature::GUEST_TSO4 | feature::GUEST_TSO6 | feature::GUEST_ECN;
    let (network, mut driver) = rig(guest | feature::MRG_RXBUF);
    offer_buffers(&mut driver, RX, 1600);
    let checksum = Some(ChecksumOffload { start: 14, offset: 0 });
    let unfinished = Packet {
        bytes: [&MAC[..], &[2; 6], &[8, 0], &[0, 0, 0x12, 0x34]].concat(),
        checksum,
        ..Packet::default()
    };
    let cut = Segmentation { kind: SegmentationKind::Tcp4, size: 100, headers: 54, ecn: false };
    let long = Packet { bytes: tcp4(&[0; 500]), checksum, segmentation: Some(cut), trusted: true };
    assert_eq!(network.offer(&[long, unfinished, packet(frame(MAC, 1700))]), 3);
    assert_eq!(driver.memory(BUFFERS, 12), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    assert_eq!(driver.memory(BUFFERS + 12 + 14, 4), [0xED, 0xCB, 0x12, 0x34]);
    assert_eq!((driver.used(RX), driver.used(RX)), (Some((0, 30)), None), "what cannot be taken is dropped");
}

#[test]
fn packets_wait_for_buffers() {
    let (network, mut driver) = rig(0);
    assert_eq!(network.offer(&[packet(frame(MAC, 60))]), 0);
    assert_eq!(driver.available_event(RX), 0, "the next buffer is worth a notification");
    // One buffer that is too small: it is kept.
    driver.chain(RX, 0, &[(BUFFERS, 40, WRITE)]);
    driver.offer(RX, 0);
    driver.notify(RX);
    assert_eq!(network.resumed.load(Ordering::Relaxed), 1);
    assert_eq!((network.offer(&[packet(frame(MAC, 60))]), driver.used(RX)), (0, None));
    assert_eq!(driver.available_event(RX), 1);
    driver.chain(RX, 1, &[(BUFFERS + 0x1000, 40, WRITE)]);
    driver.offer(RX, 1);
    driver.notify(RX);
    assert_eq!(network.resumed.load(Ordering::Relaxed), 2);
    assert_eq!(network.offer(&[packet(frame(MAC, 60))]), 1);
    assert_eq!((driver.used(RX), driver.used(RX)), (Some((0, 40)), Some((1, 32))));
}

#[test]
fn a_packet_that_no_queue_could_hold_is_dropped() {
    let (network, mut driver) = rig(0);
    offer_buffers(&mut driver, RX, 20);
    assert_eq!(
        (network.offer(&[packet(frame(MAC, 1000)), packet(frame(MAC, 60))]), driver.used(RX)),
        (2, Some((0, 20)))
    );
}

#[test]
fn interrupts_and_notifications_are_held_back() {
    let (network, mut driver) = rig(0);
    offer_buffers(&mut driver, RX, 100);
    driver.set_used_event(RX, 2);
    let small = packet(frame(MAC, 60));
    network.offer(std::slice::from_ref(&small));
    driver.messages.take();
    network.offer(std::slice::from_ref(&small));
    assert_eq!(driver.messages.take(), [0; 0], "the driver wants to hear of the third");
    network.offer(&[small]);
    assert_eq!(driver.messages.take(), [1]);
    send(&mut driver, TX, [0; 12], &frame(MAC, 60));
    assert_eq!(driver.available_event(TX), 1);

    let (network, mut driver) = rig(EVENT_IDX);
    offer_buffers(&mut driver, RX, 100);
    driver.set_interrupt_flag(RX, 1);
    network.offer(&[packet(frame(MAC, 60))]);
    assert_eq!(driver.messages.take(), [0; 0]);
}

#[test]
fn filters_are_the_drivers() {
    let (network, mut driver) = rig(0);
    offer_buffers(&mut driver, RX, 100);
    let arrives = |driver: &mut Driver<Net>, destination| {
        assert_eq!(network.offer(&[packet(frame(destination, 60))]), 1);
        driver.used(RX).is_some()
    };
    let (stranger, group) = ([2, 0, 0, 0, 0, 9], [1, 0, 0x5E, 0, 0, 1]);
    assert!(arrives(&mut driver, stranger), "all come until the driver has said what it wants");
    assert_eq!(command(&mut driver, &[0, 0, 0]), 0);
    for (destination, expected) in [(stranger, false), (group, false), (MAC, true), ([0xFF; 6], true)] {
        assert_eq!(arrives(&mut driver, destination), expected, "{destination:?}");
    }
    let table = [&[1, 0, 1, 0, 0, 0][..], &stranger, &[1, 0, 0, 0], &group].concat();
    assert_eq!(command(&mut driver, &table), 0);
    assert_eq!([stranger, group].map(|to| arrives(&mut driver, to)), [true, true]);
    assert_eq!((command(&mut driver, &[0, 3, 1]), command(&mut driver, &[0, 5, 1])), (0, 0));
    assert_eq!([group, [0xFF; 6]].map(|to| arrives(&mut driver, to)), [false, false]);
    assert_eq!(command(&mut driver, &[&[1, 1][..], &[2, 0, 0, 0, 0, 8]].concat()), 0);
    assert_eq!([MAC, [2, 0, 0, 0, 0, 8]].map(|to| arrives(&mut driver, to)), [false, true]);
}

#[test]
fn vlans_are_let_in_one_by_one() {
    let (network, mut driver) = rig(0);
    offer_buffers(&mut driver, RX, 100);
    command(&mut driver, &[0, 0, 0]);
    let tagged = packet([&MAC[..], &[2; 6], &[0x81, 0, 0x20, 5, 8, 0], &[0; 46]].concat());
    let arrives = |driver: &mut Driver<Net>| {
        network.offer(std::slice::from_ref(&tagged));
        driver.used(RX).is_some()
    };
    assert!(!arrives(&mut driver));
    assert_eq!((command(&mut driver, &[2, 0, 5, 0]), arrives(&mut driver)), (0, true));
    assert_eq!((command(&mut driver, &[2, 1, 5, 0]), arrives(&mut driver)), (0, false));
    assert_eq!(command(&mut driver, &[2, 0, 0, 0x10]), 1, "there are 4096");
}

#[rstest]
#[case::class(&[9, 0])]
#[case::command(&[0, 9, 1])]
#[case::no_data(&[0, 0])]
#[case::no_pairs(&[4, 0, 0, 0])]
#[case::three_pairs(&[4, 0, 3, 0])]
#[case::table_without_end(&[1, 0, 0xFF, 0xFF, 0xFF, 0xFF])]
#[case::unknown_offload(&[5, 0, 1, 0, 0, 0, 0, 0, 0, 0])]
fn a_command_without_sense_is_refused(#[case] bytes: &[u8]) {
    let (_, mut driver) = rig(0);
    assert_eq!((command(&mut driver, bytes), needs_reset(&driver)), (1, false));
}

#[test]
fn offloads_can_be_switched_off() {
    let (network, mut driver) = rig(0);
    let accepts = || network.accepts();
    assert_eq!(accepts(), Acceptance { checksum: true, tcp4: true, tcp6: true });
    assert_eq!(command(&mut driver, &[5, 0, 2, 0, 0, 0, 0, 0, 0, 0]), 0);
    assert_eq!(accepts(), Acceptance { checksum: true, tcp4: false, tcp6: false });
}

#[test]
fn a_flow_is_received_where_it_was_sent() {
    let (network, mut driver) = rig(0);
    offer_buffers(&mut driver, 0, 200);
    offer_buffers(&mut driver, 2, 200);
    // The answer: addresses and ports changed over.
    let out = tcp4(b"question");
    let mut answer = out.clone();
    answer[..6].copy_from_slice(&MAC);
    for (at, from) in [(26, 30..34), (30, 26..30), (34, 36..38), (36, 34..36)] {
        answer[at..at + from.len()].copy_from_slice(&out[from]);
    }
    assert_eq!(command(&mut driver, &[4, 0, 2, 0]), 0);
    send(&mut driver, 3, [0; 12], &out);
    network.offer(&[packet(answer.clone()), packet(frame(MAC, 60))]);
    assert_eq!((driver.used(2), driver.used(0).is_some(), driver.used(0)), (Some((0, 12 + 62)), true, None));
    assert_eq!(command(&mut driver, &[4, 0, 1, 0]), 0);
    network.offer(&[packet(answer)]);
    assert!(driver.used(0).is_some(), "pairs that are off receive nothing");
}

#[test]
fn without_pairs_the_control_queue_is_the_third() {
    let (_, mut driver) = rig(feature::MQ);
    driver.dma.write(COMMAND, &[0, 0, 1]).unwrap();
    driver.chain(2, 0, &[(COMMAND, 3, 0), (COMMAND + 0x1000, 1, WRITE)]);
    driver.offer(2, 0);
    driver.notify(2);
    assert_eq!(driver.used(2), Some((0, 1)));
}

#[test]
fn a_reset_takes_buffers_back() {
    let (network, mut driver) = rig(0);
    offer_buffers(&mut driver, RX, 20);
    network.offer(&[packet(frame(MAC, 1000))]);
    driver.write(crate::virtio::common::reg::DEVICE_STATUS, 0);
    assert_eq!(network.offer(&[packet(frame(MAC, 60))]), 1, "nobody is there");
    driver.start(5, 0);
    assert_eq!((network.offer(&[packet(frame(MAC, 60))]), driver.used(RX)), (0, None));
}

#[test]
fn a_restored_device_announces_itself_and_goes_on() {
    let (network, mut driver) = rig(0);
    command(&mut driver, &[0, 0, 0]);
    driver.chain(RX, 0, &[(BUFFERS, 40, WRITE)]);
    driver.offer(RX, 0);
    // The buffer has been taken, and is too small.
    assert_eq!(network.offer(&[packet(frame(MAC, 60))]), 0);
    let state = driver.function.lock().save();
    let outside =
        Outside { dma: driver.dma.clone(), messages: driver.messages.clone(), wire: driver.wire.clone() };
    let network = Arc::<Recorder>::default();
    let copy = VirtioPci::restore((Net::new(config(&network)), outside.wires()), state.clone()).unwrap();
    assert_eq!(copy.save(), state);
    let copy = copy.share();
    assert_eq!(copy.lock().device().config()[6..8], [3, 0], "link up, announce");
    driver.chain(RX, 1, &[(BUFFERS + 0x1000, 40, WRITE)]);
    driver.offer(RX, 1);
    assert_eq!(network.offer(&[packet(frame([2, 0, 0, 0, 0, 9], 60)), packet(frame(MAC, 60))]), 2);
    assert_eq!((driver.used(RX), driver.used(RX)), (Some((0, 40)), Some((1, 32))));
}

proptest! {
    #[test]
    fn no_driver_and_no_packet_makes_it_panic(
        queue in 0u16..5,
        headers in any::<[u8; 12]>(),
        descriptors in prop::collection::vec((0u64..0x2000, 0u32..5000, 0u16..8, 0u16..20), 1..16),
        received in prop::collection::vec(any::<u8>(), 0..3000),
        (start, offset) in any::<(u16, u16)>(),
    ) {
        let (network, mut driver) = rig(0);
        driver.dma.write(OUT, &headers).unwrap();
        driver.dma.write(OUT + 12, &tcp4(&[1; 2000])).unwrap();
        for (index, (address, len, flags, next)) in descriptors.into_iter().enumerate() {
            driver.descriptor(Driver::<Net>::area(queue), index as u16, (OUT + address, len, flags, next));
            driver.offer(queue, index as u16);
        }
        driver.notify(queue);
        let checksum = Some(ChecksumOffload { start, offset });
        network.offer(&[packet(received.clone()), Packet { bytes: received, checksum, ..Packet::default() }]);
        prop_assert!(network.take_sent().iter().all(|packet| packet.bytes.len() <= emu_core::backend::MAX_PACKET));
        let state = driver.function.lock().save();
        let copy = VirtioPci::restore((Net::new(config(&network)), Outside::new().wires()), state.clone());
        prop_assert_eq!(copy.unwrap().save(), state);
    }
}
