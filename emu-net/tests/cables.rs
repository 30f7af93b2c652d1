//! Taps, sockets and captures seen from a guest.

mod guest;

use emu_core::{
    backend::{NetworkBackend, Packet},
    clock::{VmClock, wall_clock_seconds},
};
use emu_net::{
    Capture, SocketError, SocketNetwork, TapError, TapNetwork,
    user::{GATEWAY, UserNetwork, UserOptions},
};
use guest::{Card, Guest, Port};
use smoltcp::{socket::tcp, wire::Ipv4Address};
use std::{
    io::Write,
    net::{IpAddr, SocketAddr, TcpListener},
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};

const MEBIBYTE: usize = 1 << 20;

fn pair(path: &Path, first: Card, second: Card) -> (Guest, Guest) {
    let one = Arc::new(SocketNetwork::open(path).unwrap());
    let other = Arc::new(SocketNetwork::open(path).unwrap());
    let one = Guest::with_addresses(one, first, Ipv4Address::new(10, 0, 2, 15), guest::MAC);
    let other =
        Guest::with_addresses(other, second, Ipv4Address::new(10, 0, 2, 16), [0x52, 0x54, 0, 0, 0, 9]);
    (one, other)
}

#[rstest::rstest]
fn two_machines_talk_through_a_socket(
    #[values(Card::PLAIN, Card::OFFLOAD, Card::LONG)] first: Card,
    #[values(Card::PLAIN, Card::OFFLOAD)] second: Card,
) {
    let directory = tempfile::tempdir().unwrap();
    let (mut one, mut other) = pair(&directory.path().join("link"), first, second);
    let thread = thread::spawn(move || {
        let handle = other.tcp(MEBIBYTE);
        other.sockets.get_mut::<tcp::Socket>(handle).listen(80).unwrap();
        other.run(|_, sockets| sockets.get::<tcp::Socket>(handle).may_send().then_some(()));
        let received = other.download(handle);
        other.run_for(100);
        received
    });
    let handle = one.connect("10.0.2.16:80".parse().unwrap(), MEBIBYTE);
    one.upload(handle, 16 * MEBIBYTE);
    one.run(|_, _| thread.is_finished().then_some(()));
    assert_eq!(thread.join().unwrap(), 16 * MEBIBYTE);
}

fn packet(byte: u8) -> Packet {
    Packet { bytes: vec![byte; 60], trusted: true, ..Packet::default() }
}

fn arrives(from: &SocketNetwork, to: &Port, byte: u8) -> bool {
    // What is sent while nobody is there is lost.
    (0..200).any(|_| {
        from.send(vec![packet(byte)]);
        to.wait(Duration::from_millis(20));
        to.take().is_some_and(|(packet, _)| packet.bytes[0] == byte)
    })
}

#[test]
fn a_machine_that_comes_back_is_joined_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("link");
    let first = SocketNetwork::open(&path).unwrap();
    let (port, second_port) = (Port::new(Card::PLAIN), Port::new(Card::PLAIN));
    first.connect(port.clone());
    for _ in 0..2 {
        let second = SocketNetwork::open(&path).unwrap();
        assert!(arrives(&second, &port, 1));
        assert!((0..100).any(|_| second.link_up() || (thread::sleep(Duration::from_millis(10)), false).1));
    }
    // The second is left alone, and becomes the one who listens.
    let second = SocketNetwork::open(&path).unwrap();
    second.connect(second_port.clone());
    assert!(arrives(&first, &second_port, 2));
    drop(first);
    let third = SocketNetwork::open(&path);
    let third = third.or_else(|_| SocketNetwork::open(&path)).unwrap();
    assert!(arrives(&third, &second_port, 3));
}

#[test]
fn a_third_machine_is_turned_away() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("link");
    let first = SocketNetwork::open(&path).unwrap();
    let second = SocketNetwork::open(&path).unwrap();
    let port = Port::new(Card::PLAIN);
    first.connect(port.clone());
    assert!(arrives(&second, &port, 1));
    let third = SocketNetwork::open(&path).unwrap();
    thread::sleep(Duration::from_millis(100));
    assert!(!third.link_up());
    assert!(arrives(&second, &port, 2));
}

#[test]
fn a_socket_that_was_left_behind_is_no_obstacle() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("link");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    drop(SocketNetwork::open(&path).unwrap());
    assert!(!path.exists(), "who listened cleans up");
}

#[test]
fn a_file_is_never_replaced_by_a_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("precious");
    std::fs::write(&path, "data").unwrap();
    assert!(matches!(SocketNetwork::open(&path), Err(SocketError::NoSocket(_))));
    assert_eq!(std::fs::read(&path).unwrap(), b"data");
    let missing = SocketNetwork::open(&directory.path().join("no/such"));
    assert!(matches!(missing, Err(SocketError::Bind(..))));
}

#[test]
fn garbage_from_the_other_side_ends_the_connection_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("link");
    let first = SocketNetwork::open(&path).unwrap();
    let port = Port::new(Card::PLAIN);
    first.connect(port.clone());
    for garbage in [&b"GET / HTTP/1.0\r\n\r\n"[..], b"emu-net1\xff\xff\xff\xff0123456789"] {
        let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
        stream.write_all(garbage).unwrap();
        thread::sleep(Duration::from_millis(50));
    }
    let second = SocketNetwork::open(&path).unwrap();
    assert!(arrives(&second, &port, 1));
}

#[test]
fn a_tap_carries_packets_both_ways() {
    let name = format!("emut{}", std::process::id() % 100_000);
    let tap = match TapNetwork::open(&name) {
        Ok(tap) => Arc::new(tap),
        Err(error @ (TapError::NotPermitted(_) | TapError::NoTaps(_))) => {
            eprintln!("skipped: {error}");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let ip = |arguments: &[&str]| {
        let status = std::process::Command::new("ip").args(arguments).status();
        status.is_ok_and(|status| status.success())
    };
    let address = "198.18.77.1/24";
    if !ip(&["address", "add", address, "dev", &name]) || !ip(&["link", "set", &name, "up"]) {
        eprintln!("skipped: the interface {name} cannot be set up with `ip`");
        return;
    }
    assert!(matches!(TapNetwork::open(&name), Err(TapError::InUse(_))));
    for card in [Card::PLAIN, Card::OFFLOAD] {
        let listener = TcpListener::bind("198.18.77.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let thread = thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let bytes: Vec<u8> = (0..4 * MEBIBYTE).map(guest::pattern).collect();
            stream.write_all(&bytes).unwrap();
        });
        let mut guest =
            Guest::with_addresses(tap.clone(), card, Ipv4Address::new(198, 18, 77, 2), guest::MAC);
        let handle = guest.connect(server, MEBIBYTE);
        assert_eq!(guest.download(handle), 4 * MEBIBYTE);
        thread.join().unwrap();
    }
}

/// The packets of a capture, as times and bytes.
fn read_capture(path: &Path) -> Vec<(u64, Vec<u8>)> {
    let file = std::fs::read(path).unwrap();
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    assert_eq!((word(0), word(4), word(20)), (0xa1b2_3c4d, 0x0004_0002, 1));
    let mut at = 24;
    let mut packets = Vec::new();
    while at < file.len() {
        let (seconds, nanos, len) = (word(at), word(at + 4), word(at + 8) as usize);
        assert!(nanos < 1_000_000_000 && word(at + 12) as usize == len);
        packets.push((
            u64::from(seconds) * 1_000_000_000 + u64::from(nanos),
            file[at + 16..at + 16 + len].to_vec(),
        ));
        at += 16 + len;
    }
    packets
}

#[test]
fn a_capture_has_what_passed_with_checksums_and_times() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("capture.pcap");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = SocketAddr::new(IpAddr::V4(GATEWAY), listener.local_addr().unwrap().port());
    let thread = thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let bytes: Vec<u8> = (0..MEBIBYTE).map(guest::pattern).collect();
        stream.write_all(&bytes).unwrap();
    });
    let network = Arc::new(UserNetwork::start(&UserOptions::default()).unwrap());
    let clock = VmClock::real(5_000_000_000);
    let capture = Arc::new(Capture::start(network, &path, &clock).unwrap());
    let mut guest = Guest::new(capture.clone(), Card::OFFLOAD);
    let handle = guest.connect(server, MEBIBYTE);
    assert_eq!(guest.download(handle), MEBIBYTE);
    thread.join().unwrap();
    thread::sleep(Duration::from_millis(200));
    let early = read_capture(&path).len();
    drop(guest);
    drop(capture);

    let packets = read_capture(&path);
    assert!(early > 0, "nothing is there before the end");
    assert!(packets.is_sorted_by_key(|(time, _)| *time));
    let now = wall_clock_seconds() * 1_000_000_000;
    assert!(packets.iter().all(|(time, _)| now.abs_diff(*time) < 120_000_000_000));
    let tcp =
        packets.iter().map(|(_, bytes)| bytes).filter(|bytes| bytes[12..14] == [8, 0] && bytes[23] == 6);
    let (mut payload, mut longest) = (0, 0);
    for bytes in tcp {
        use smoltcp::wire::{Ipv4Packet, TcpPacket};
        let ip = Ipv4Packet::new_checked(&bytes[14..]).unwrap();
        assert!(ip.verify_checksum());
        let segment = TcpPacket::new_checked(ip.payload()).unwrap();
        assert!(segment.verify_checksum(&ip.src_addr().into(), &ip.dst_addr().into()));
        payload += if ip.src_addr() == GATEWAY { segment.payload().len() } else { 0 };
        longest = longest.max(bytes.len());
    }
    assert_eq!(payload, MEBIBYTE);
    assert!(longest > 2000, "long packets are whole");
}

#[test]
fn a_capture_that_cannot_be_written_is_a_clear_error() {
    let network = Arc::new(UserNetwork::start(&UserOptions::default()).unwrap());
    let error = Capture::start(network, Path::new("/nonexistent/a.pcap"), &VmClock::real(0)).err().unwrap();
    assert_eq!(error.to_string(), "--pcap /nonexistent/a.pcap: the file cannot be written");
}
