//! Whatever a guest or a peer sends, the networks neither panic nor stop nor keep ever more.

mod guest;

use emu_core::backend::{
    Acceptance, ChecksumOffload, MAX_PACKET, NetworkBackend, Packet, Segmentation, SegmentationKind,
};
use emu_net::{
    offload,
    user::{UserNetwork, UserOptions},
};
use guest::{Card, Guest, Port};
use proptest::prelude::*;
use std::sync::Arc;

fn kind() -> impl Strategy<Value = SegmentationKind> {
    prop_oneof![Just(SegmentationKind::Tcp4), Just(SegmentationKind::Tcp6), Just(SegmentationKind::Udp)]
}

prop_compose! {
    fn segmentation()(kind in kind(), size: u16, headers: u16, ecn: bool) -> Segmentation {
        Segmentation { kind, size, headers, ecn }
    }
}

/// Bytes that begin as a packet of each protocol does, and then go astray.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let ethernet = [&[0x52, 0x55, 10, 0, 2, 2][..], &guest::MAC].concat();
    let v4 =
        |protocol: u8| vec![8, 0, 0x45, 0, 0, 60, 0, 1, 0, 0, 64, protocol, 0, 0, 10, 0, 2, 15, 10, 0, 2, 2];
    let v6 = |next: u8| {
        let mut header = vec![0x86, 0xdd, 0x60, 0, 0, 0, 0, 40, next, 255, 0xfe, 0xc0];
        header.extend_from_slice(&[0; 13]);
        header.extend_from_slice(&[15, 0xfe, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        header
    };
    let starts = [
        v4(1),
        v4(6),
        v4(17),
        v6(0),
        v6(6),
        v6(17),
        v6(44),
        v6(58),
        v6(60),
        vec![8, 6, 0, 1, 8, 0, 6, 4],
        vec![],
    ];
    let start = proptest::sample::select(starts.to_vec());
    let mutation = proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4);
    (start, proptest::collection::vec(any::<u8>(), 0..200), mutation).prop_map(
        move |(start, rest, mutation)| {
            let mut bytes = [&ethernet[..], &start, &rest].concat();
            mutation.iter().for_each(|(index, value)| *index.get_mut(&mut bytes) = *value);
            bytes
        },
    )
}

prop_compose! {
    fn packet()(
        bytes in bytes(),
        checksum in proptest::option::of((any::<u16>(), any::<u16>())),
        segmentation in proptest::option::of(segmentation()),
        trusted in prop::bool::weighted(0.8),
    ) -> Packet {
        let checksum = checksum.map(|(start, offset)| ChecksumOffload { start, offset });
        Packet { bytes, checksum, segmentation, trusted }
    }
}

proptest! {
    #[test]
    fn odd_packets_are_finished_or_dropped(packet in packet(), checksum: bool, tcp4: bool, tcp6: bool) {
        let acceptance = Acceptance { checksum, tcp4, tcp6 };
        let mut out = Vec::new();
        offload::finish(&packet, acceptance, &mut out);
        prop_assert!(out.len() <= MAX_PACKET);
        prop_assert!(out.iter().all(|packet| packet.bytes.len() <= MAX_PACKET));
        // Cut packets are not longer than the whole, each with its headers.
        let cut = out.iter().all(|packet| offload::accepted(packet, acceptance));
        prop_assert!(cut);
    }
}

#[test]
fn a_guest_that_sends_nonsense_still_has_a_network() {
    let network = Arc::new(UserNetwork::start(&UserOptions { restrict: true, forwards: vec![] }).unwrap());
    let port = Port::new(Card::PLAIN);
    network.connect(port.clone());
    let config = ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(packets in proptest::collection::vec(packet(), 1..100))| {
        network.send(packets);
        while port.take().is_some() {}
        network.resume();
    });
    // It answers as before.
    let mut guest = Guest::new(network, Card::PLAIN);
    let handle = guest.sockets.add(smoltcp::socket::dhcpv4::Socket::new());
    guest.run(|_, sockets| {
        let event = sockets.get_mut::<smoltcp::socket::dhcpv4::Socket>(handle).poll();
        matches!(event, Some(smoltcp::socket::dhcpv4::Event::Configured(_))).then_some(())
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn connections_of_a_mad_guest_end_somehow(data in proptest::collection::vec(any::<u8>(), 0..400)) {
        emu_net::fuzz::packets(&data);
    }
}

#[test]
fn long_packets_are_cut_into_what_they_were_made_of() {
    use smoltcp::wire::{Ipv4Packet, TcpPacket};
    let payload: Vec<u8> = (0..10_000).map(guest::pattern).collect();
    let mut bytes =
        [&guest::MAC[..], &guest::MAC, &[8, 0, 0x45, 0, 0, 0, 0, 7, 0x40, 0, 64, 6, 0, 0]].concat();
    bytes.extend_from_slice(&[10, 0, 2, 2, 10, 0, 2, 15]);
    bytes.extend_from_slice(&[0, 80, 1, 0, 0xff, 0xff, 0xff, 0, 0, 0, 0, 9, 0x50, 0x99, 1, 0, 0, 0, 0, 0]);
    bytes.extend_from_slice(&payload);
    let segmentation = Segmentation { kind: SegmentationKind::Tcp4, size: 1460, headers: 54, ecn: true };
    let checksum = Some(ChecksumOffload { start: 34, offset: 16 });
    let packet = Packet { bytes, checksum, segmentation: Some(segmentation), trusted: true };
    let mut out = Vec::new();
    offload::finish(&packet, Acceptance::default(), &mut out);
    assert_eq!(out.len(), 7);
    let mut joined = Vec::new();
    for (index, packet) in out.iter().enumerate() {
        let ip = Ipv4Packet::new_checked(&packet.bytes[14..]).unwrap();
        let segment = TcpPacket::new_checked(ip.payload()).unwrap();
        assert!(
            ip.verify_checksum() && segment.verify_checksum(&ip.src_addr().into(), &ip.dst_addr().into())
        );
        assert_eq!(ip.ident(), 7 + index as u16);
        assert_eq!(segment.seq_number().0 as u32, 0xffff_ff00u32.wrapping_add(joined.len() as u32));
        // The end and the push come last, the reduced window first.
        assert_eq!((segment.fin(), segment.psh(), segment.cwr()), (index == 6, index == 6, index == 0));
        joined.extend_from_slice(segment.payload());
    }
    assert_eq!(joined, payload);
}
