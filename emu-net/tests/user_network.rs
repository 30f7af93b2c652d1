//! The user network seen from a guest: smoltcp's stack on the other end of the cable.

mod guest;

use emu_core::backend::NetworkBackend;
use emu_net::user::{DNS, DNS6, Forward, GATEWAY, GATEWAY6, Protocol, UserNetwork, UserOptions};
use guest::{Card, Guest, Port, pattern};
use rstest::rstest;
use smoltcp::socket::{dhcpv4, tcp, udp};
use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket},
    sync::Arc,
    thread,
    time::Duration,
};

const MEBIBYTE: usize = 1 << 20;

fn network(options: &UserOptions) -> Arc<UserNetwork> {
    Arc::new(UserNetwork::start(options).unwrap())
}

fn guest(card: Card) -> Guest {
    Guest::new(network(&UserOptions::default()), card)
}

/// The guest's way to a server on the host's loopback interface.
fn by_gateway(server: SocketAddr) -> SocketAddr {
    let gateway = if server.is_ipv4() { IpAddr::V4(GATEWAY) } else { IpAddr::V6(GATEWAY6) };
    SocketAddr::new(gateway, server.port())
}

/// A server that does `serve` to one connection.
fn server<T: Send + 'static>(
    address: &str,
    serve: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (SocketAddr, thread::JoinHandle<T>) {
    let listener = TcpListener::bind(address).unwrap();
    let address = listener.local_addr().unwrap();
    (address, thread::spawn(move || serve(listener.accept().unwrap().0)))
}

fn send_pattern(stream: &mut TcpStream, total: usize) {
    let mut sent = 0;
    while sent < total {
        let len = (total - sent).min(100_000);
        let bytes: Vec<u8> = (sent..sent + len).map(pattern).collect();
        stream.write_all(&bytes).unwrap();
        sent += len;
    }
}

fn receive_pattern(stream: &mut TcpStream) -> usize {
    let mut received = 0;
    let mut buffer = vec![0; 100_000];
    loop {
        let len = stream.read(&mut buffer).unwrap();
        if len == 0 {
            return received;
        }
        let right = buffer[..len].iter().enumerate().all(|(index, byte)| *byte == pattern(received + index));
        assert!(right, "not what was sent");
        received += len;
    }
}

fn free_port(protocol: Protocol) -> SocketAddr {
    match protocol {
        Protocol::Tcp => TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap(),
        Protocol::Udp => UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap(),
    }
}

#[test]
fn dhcp_gives_the_addresses_that_users_know() {
    let mut guest = guest(Card::PLAIN);
    let handle = guest.sockets.add(dhcpv4::Socket::new());
    let config = guest.run(|_, sockets| match sockets.get_mut::<dhcpv4::Socket>(handle).poll() {
        Some(dhcpv4::Event::Configured(config)) => {
            Some((config.address, config.router, config.dns_servers.to_vec()))
        }
        _ => None,
    });
    assert_eq!(config, ("10.0.2.15/24".parse().unwrap(), Some(GATEWAY), vec![DNS]));
}

/// A query for one name.
fn query(name: &str, kind: u16) -> Vec<u8> {
    let mut query = vec![0x77, 0x88, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(label.len() as u8);
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 0, kind as u8, 0, 1]);
    query
}

#[test]
fn names_in_the_hosts_file_are_answered() {
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let names = hosts.lines().filter_map(|line| line.split('#').next()?.split_whitespace().nth(1));
    let mut guest = guest(Card::PLAIN);
    let socket = guest.udp(5000);
    let mut asked = 0;
    for name in names.chain(["localhost"]) {
        let Ok(addresses) = (name, 0).to_socket_addrs() else { continue };
        let expected: Vec<_> =
            addresses.filter(|address| address.is_ipv4()).map(|address| address.ip()).collect();
        for server in [IpAddr::V4(DNS), IpAddr::V6(DNS6)] {
            let (answer, from) = guest.ask(socket, SocketAddr::new(server, 53), &query(name, 1));
            assert_eq!(IpAddr::from(from.addr), server);
            assert_eq!(answer[..2], [0x77, 0x88]);
            assert_eq!(answer[3] & 15, 0, "{name}");
            let count = usize::from(answer[7]);
            let records = answer[query(name, 1).len()..].chunks(16).take(count);
            let found: Vec<_> = records
                .map(|record| IpAddr::V4(Ipv4Addr::new(record[12], record[13], record[14], record[15])))
                .collect();
            assert!(
                expected.iter().all(|address| found.contains(address)),
                "{name}: {found:?}, not {expected:?}"
            );
            asked += 1;
        }
    }
    assert!(asked > 0);
}

#[test]
fn the_name_of_an_address_is_answered() {
    let mut guest = guest(Card::OFFLOAD);
    let socket = guest.udp(5000);
    let question = query("1.0.0.127.in-addr.arpa", 12);
    let (answer, _) = guest.ask(socket, SocketAddr::new(IpAddr::V4(DNS), 53), &question);
    // Only a host without any name for itself has none.
    let expected = dns_lookup::lookup_addr(&IpAddr::V4(Ipv4Addr::LOCALHOST));
    match expected {
        Ok(name) => {
            let label = name.split('.').next().unwrap();
            let data = &answer[question.len() + 12..];
            assert_eq!(&data[1..1 + usize::from(data[0])], label.as_bytes());
        }
        Err(_) => assert_eq!(answer[3] & 15, 3),
    }
}

#[test]
fn arp_is_answered_for_the_gateway_and_the_name_server_alone() {
    let network = network(&UserOptions::default());
    let port = Port::new(Card::PLAIN);
    network.connect(port.clone());
    let ask = |last: u8| {
        let mut frame = [&[0xff; 6][..], &guest::MAC, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &guest::MAC].concat();
        frame.extend_from_slice(&[10, 0, 2, 15, 0, 0, 0, 0, 0, 0, 10, 0, 2, last]);
        network.send(vec![emu_core::backend::Packet { bytes: frame, ..Default::default() }]);
        port.expect().map(|packet| packet.bytes)
    };
    for last in [2, 3] {
        let reply = ask(last).expect("an answer");
        assert_eq!(reply[20..22], [0, 2]);
        assert_eq!(reply[28..32], [10, 0, 2, last]);
        assert_eq!(reply[..6], guest::MAC);
    }
    assert_eq!(ask(99), None);
    assert_eq!(ask(15), None, "a guest that asks whether its address is taken");
}

#[rstest]
#[case(IpAddr::V4(GATEWAY))]
#[case(IpAddr::V4(DNS))]
#[case(IpAddr::V6(GATEWAY6))]
fn the_gateway_answers_pings(#[case] address: IpAddr, #[values(Card::PLAIN, Card::OFFLOAD)] card: Card) {
    use smoltcp::{phy::ChecksumCapabilities, socket::icmp, wire::*};
    let mut guest = guest(card);
    let buffer = || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 4], vec![0; 4096]);
    let mut socket = icmp::Socket::new(buffer(), buffer());
    socket.bind(icmp::Endpoint::Ident(77)).unwrap();
    let data = [0x5a; 1000];
    let checksums = ChecksumCapabilities::default();
    let bytes = match address {
        IpAddr::V4(_) => {
            let repr = Icmpv4Repr::EchoRequest { ident: 77, seq_no: 3, data: &data };
            let mut bytes = vec![0; repr.buffer_len()];
            repr.emit(&mut Icmpv4Packet::new_unchecked(&mut bytes), &checksums);
            bytes
        }
        IpAddr::V6(to) => {
            let repr = Icmpv6Repr::EchoRequest { ident: 77, seq_no: 3, data: &data };
            let mut bytes = vec![0; repr.buffer_len()];
            let from = "fec0::f".parse().unwrap();
            repr.emit(&from, &to, &mut Icmpv6Packet::new_unchecked(&mut bytes), &checksums);
            bytes
        }
    };
    socket.send_slice(&bytes, address.into()).unwrap();
    let handle = guest.sockets.add(socket);
    let (reply, from) = guest.run(|_, sockets| {
        let socket = sockets.get_mut::<icmp::Socket>(handle);
        socket.recv().ok().map(|(bytes, from)| (bytes.to_vec(), from))
    });
    assert_eq!((reply[0], IpAddr::from(from)), (if address.is_ipv4() { 0 } else { 129 }, address));
    assert_eq!(reply[4..], bytes[4..]);
}

#[rstest]
fn bulk_arrives_whole_from_the_host(
    #[values(Card::PLAIN, Card::OFFLOAD, Card::LONG)] card: Card,
    #[values("127.0.0.1:0", "[::1]:0")] address: &str,
) {
    let total = if address.starts_with('[') { 8 * MEBIBYTE } else { 64 * MEBIBYTE };
    let (server, thread) = server(address, move |mut stream| send_pattern(&mut stream, total));
    let mut guest = guest(card);
    let handle = guest.connect(by_gateway(server), MEBIBYTE);
    assert_eq!(guest.download(handle), total);
    thread.join().unwrap();
}

#[rstest]
fn bulk_arrives_whole_from_the_guest(
    #[values(Card::PLAIN, Card::OFFLOAD, Card::LONG)] card: Card,
    #[values("127.0.0.1:0", "[::1]:0")] address: &str,
) {
    let total = if address.starts_with('[') { 8 * MEBIBYTE } else { 64 * MEBIBYTE };
    let (server, thread) = server(address, |mut stream| receive_pattern(&mut stream));
    let mut guest = guest(card);
    let handle = guest.connect(by_gateway(server), MEBIBYTE);
    guest.upload(handle, total);
    guest.run(|_, _| thread.is_finished().then_some(()));
    assert_eq!(thread.join().unwrap(), total);
}

#[test]
fn a_card_that_drops_packets_gets_them_again() {
    let (server, thread) = server("127.0.0.1:0", |mut stream| send_pattern(&mut stream, 4 * MEBIBYTE));
    let mut guest = guest(Card { drop_every: Some(97), ..Card::PLAIN });
    let handle = guest.connect(by_gateway(server), MEBIBYTE);
    assert_eq!(guest.download(handle), 4 * MEBIBYTE);
    thread.join().unwrap();
}

#[test]
fn a_server_that_does_not_read_stops_the_guest() {
    let (go, wait) = std::sync::mpsc::channel();
    let (server, thread) = server("127.0.0.1:0", move |mut stream| {
        wait.recv().unwrap();
        receive_pattern(&mut stream)
    });
    let mut guest = guest(Card::LONG);
    let handle = guest.connect(by_gateway(server), MEBIBYTE);
    let mut sent = 0;
    guest.run(|_, sockets| sockets.get_mut::<tcp::Socket>(handle).may_send().then_some(()));
    for _ in 0..300 {
        guest.run_for(2);
        let socket = guest.sockets.get_mut::<tcp::Socket>(handle);
        while socket.can_send() {
            let bytes: Vec<u8> = (sent..sent + 65536).map(pattern).collect();
            sent += socket.send_slice(&bytes).unwrap();
        }
    }
    assert!(sent < 32 * MEBIBYTE, "{sent} bytes are somewhere");
    guest.sockets.get_mut::<tcp::Socket>(handle).close();
    go.send(()).unwrap();
    guest.run(|_, _| thread.is_finished().then_some(()));
    assert_eq!(thread.join().unwrap(), sent);
}

#[test]
fn a_guest_that_does_not_read_stops_the_server() {
    let total = 64 * MEBIBYTE;
    let (server, thread) = server("127.0.0.1:0", move |mut stream| {
        stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let mut sent = 0;
        while sent < total {
            match stream.write(&[0x33; 65536]) {
                Ok(len) => sent += len,
                Err(_) => break,
            }
        }
        sent
    });
    let mut guest = guest(Card::OFFLOAD);
    guest.connect(by_gateway(server), 65536);
    guest.run(|_, _| thread.is_finished().then_some(()));
    let sent = thread.join().unwrap();
    assert!(sent < 32 * MEBIBYTE, "{sent} bytes are somewhere");
}

#[test]
fn one_side_may_end_while_the_other_goes_on() {
    // The server answers only when it has seen the end.
    let (server, thread) = server("127.0.0.1:0", |mut stream| {
        let received = receive_pattern(&mut stream);
        send_pattern(&mut stream, 300_000);
        received
    });
    let mut guest = guest(Card::OFFLOAD);
    let handle = guest.connect(by_gateway(server), 65536);
    guest.upload(handle, 100_000);
    assert_eq!(guest.download(handle), 300_000);
    assert_eq!(thread.join().unwrap(), 100_000);
}

#[test]
fn the_server_may_end_first() {
    let (server, thread) = server("127.0.0.1:0", |mut stream| {
        send_pattern(&mut stream, 1000);
        stream.shutdown(Shutdown::Write).unwrap();
        receive_pattern(&mut stream)
    });
    let mut guest = guest(Card::PLAIN);
    let handle = guest.connect(by_gateway(server), 65536);
    assert_eq!(guest.download(handle), 1000);
    assert_eq!(guest.sockets.get::<tcp::Socket>(handle).state(), tcp::State::CloseWait);
    guest.upload(handle, 50_000);
    guest.run(|_, _| thread.is_finished().then_some(()));
    assert_eq!(thread.join().unwrap(), 50_000);
}

#[test]
fn a_refused_connection_is_refused_at_once() {
    let mut guest = guest(Card::PLAIN);
    let begin = guest.now();
    let handle = guest.connect(by_gateway(free_port(Protocol::Tcp)), 4096);
    guest.run(|_, sockets| (sockets.get::<tcp::Socket>(handle).state() == tcp::State::Closed).then_some(()));
    assert!(guest.now() - begin < 1_000_000_000);
}

#[test]
fn a_reset_goes_through() {
    let (server, thread) = server("127.0.0.1:0", |stream| {
        // Closing with unread data resets.
        let mut stream = stream;
        stream.read_exact(&mut [0; 1]).unwrap();
        thread::sleep(Duration::from_millis(50));
    });
    let mut guest = guest(Card::OFFLOAD);
    let handle = guest.connect(by_gateway(server), 65536);
    guest.run(|_, sockets| {
        let socket = sockets.get_mut::<tcp::Socket>(handle);
        socket.can_send().then(|| socket.send_slice(&[1; 1000]).unwrap())
    });
    guest.run(|_, sockets| (sockets.get::<tcp::Socket>(handle).state() == tcp::State::Closed).then_some(()));
    thread.join().unwrap();
}

#[test]
fn a_guest_that_aborts_resets_the_server() {
    let (server, thread) = server("127.0.0.1:0", |mut stream| {
        stream.read_exact(&mut [0; 4]).unwrap();
        stream.read(&mut [0; 4]).map_err(|error| error.kind())
    });
    let mut guest = guest(Card::PLAIN);
    let handle = guest.connect(by_gateway(server), 65536);
    guest.run(|_, sockets| {
        let socket = sockets.get_mut::<tcp::Socket>(handle);
        socket.can_send().then(|| socket.send_slice(&[1; 4]).unwrap())
    });
    guest.run_for(50);
    guest.sockets.get_mut::<tcp::Socket>(handle).abort();
    guest.run(|_, _| thread.is_finished().then_some(()));
    assert_eq!(thread.join().unwrap(), Err(std::io::ErrorKind::ConnectionReset));
}

#[test]
fn many_connections_live_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut word = [0; 8];
                while stream.read_exact(&mut word).is_ok() {
                    stream.write_all(&word).unwrap();
                }
            });
        }
    });
    let mut guest = guest(Card::OFFLOAD);
    let handles: Vec<_> = (0..200).map(|_| guest.connect(by_gateway(address), 1024)).collect();
    guest.run(|_, sockets| {
        handles.iter().all(|handle| sockets.get::<tcp::Socket>(*handle).can_send()).then_some(())
    });
    for (number, handle) in (0u64..).zip(&handles) {
        guest.sockets.get_mut::<tcp::Socket>(*handle).send_slice(&number.to_be_bytes()).unwrap();
    }
    for (number, handle) in (0u64..).zip(&handles) {
        let word = guest.run(|_, sockets| {
            let socket = sockets.get_mut::<tcp::Socket>(*handle);
            (socket.recv_queue() == 8).then(|| socket.recv(|word| (8, word.to_vec())).unwrap())
        });
        assert_eq!(word, number.to_be_bytes());
    }
}

#[rstest]
fn datagrams_go_out_and_come_back(#[values("127.0.0.1:0", "[::1]:0")] address: &str) {
    let server = UdpSocket::bind(address).unwrap();
    let address = server.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 2000];
        while let Ok((len, from)) = server.recv_from(&mut buffer) {
            buffer[..len].reverse();
            server.send_to(&buffer[..len], from).unwrap();
        }
    });
    let mut guest = guest(Card::PLAIN);
    let socket = guest.udp(6000);
    for len in [0, 1, 1400] {
        let message: Vec<u8> = (0..len).map(pattern).collect();
        let (answer, from) = guest.ask(socket, by_gateway(address), &message);
        assert_eq!(SocketAddr::new(from.addr.into(), from.port), by_gateway(address));
        assert!(answer.iter().eq(message.iter().rev()));
    }
}

#[rstest]
fn a_forwarded_port_leads_to_the_guest(#[values("127.0.0.1", "::1", "0.0.0.0")] address: IpAddr) {
    let host = SocketAddr::new(address, free_port(Protocol::Tcp).port());
    let forwards = vec![Forward { protocol: Protocol::Tcp, host, guest_port: 22 }];
    let mut guest = Guest::new(network(&UserOptions { restrict: true, forwards }), Card::OFFLOAD);
    let to = if host.ip().is_unspecified() {
        SocketAddr::new(Ipv4Addr::LOCALHOST.into(), host.port())
    } else {
        host
    };
    for _ in 0..3 {
        let thread = thread::spawn(move || {
            let mut stream = TcpStream::connect(to).unwrap();
            send_pattern(&mut stream, MEBIBYTE);
            stream.shutdown(Shutdown::Write).unwrap();
            receive_pattern(&mut stream)
        });
        let handle = guest.tcp(65536);
        guest.sockets.get_mut::<tcp::Socket>(handle).listen(22).unwrap();
        guest.run(|_, sockets| sockets.get::<tcp::Socket>(handle).may_send().then_some(()));
        let peer = guest.sockets.get::<tcp::Socket>(handle).remote_endpoint().unwrap();
        assert_eq!(IpAddr::from(peer.addr), IpAddr::V4(GATEWAY));
        assert_eq!(guest.download(handle), MEBIBYTE);
        guest.upload(handle, MEBIBYTE);
        guest.run(|_, _| thread.is_finished().then_some(()));
        assert_eq!(thread.join().unwrap(), MEBIBYTE);
    }
}

#[test]
fn a_forwarded_port_where_nobody_listens_is_refused() {
    let host = free_port(Protocol::Tcp);
    let forwards = vec![Forward { protocol: Protocol::Tcp, host, guest_port: 22 }];
    let mut guest = Guest::new(network(&UserOptions { restrict: false, forwards }), Card::PLAIN);
    let thread =
        thread::spawn(move || TcpStream::connect(host).unwrap().read(&mut [0; 1]).map_err(|e| e.kind()));
    guest.run(|_, _| thread.is_finished().then_some(()));
    assert_eq!(thread.join().unwrap(), Err(std::io::ErrorKind::ConnectionReset));
}

#[test]
fn datagrams_to_a_forwarded_port_reach_the_guest() {
    let host = free_port(Protocol::Udp);
    let forwards = vec![Forward { protocol: Protocol::Udp, host, guest_port: 53 }];
    let mut guest = Guest::new(network(&UserOptions { restrict: true, forwards }), Card::PLAIN);
    let socket = guest.udp(53);
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_nonblocking(true).unwrap();
    let mut buffer = [0; 64];
    // The first may be lost while the guest is looked for.
    let len = guest.run(|_, sockets| {
        peer.send_to(b"ping", host).unwrap();
        let socket = sockets.get_mut::<udp::Socket>(socket);
        if let Ok((bytes, from)) = socket.recv().map(|(bytes, meta)| (bytes.to_vec(), meta.endpoint)) {
            assert_eq!(bytes, b"ping");
            assert_eq!(from.port, peer.local_addr().unwrap().port());
            socket.send_slice(b"pong!", from).unwrap();
        }
        thread::sleep(Duration::from_millis(5));
        peer.recv(&mut buffer).ok()
    });
    assert_eq!(&buffer[..len], b"pong!");
}

#[test]
fn a_restricted_guest_reaches_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let udp_server = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp_server.set_nonblocking(true).unwrap();
    let mut guest = Guest::new(network(&UserOptions { restrict: true, forwards: vec![] }), Card::PLAIN);
    let handle = guest.connect(by_gateway(listener.local_addr().unwrap()), 4096);
    guest.run(|_, sockets| (sockets.get::<tcp::Socket>(handle).state() == tcp::State::Closed).then_some(()));
    let socket = guest.udp(7000);
    let to = by_gateway(udp_server.local_addr().unwrap());
    guest
        .sockets
        .get_mut::<udp::Socket>(socket)
        .send_slice(b"out", smoltcp::wire::IpEndpoint::from(to))
        .unwrap();
    let dns = SocketAddr::new(IpAddr::V4(DNS), 53);
    let question = query("localhost", 1);
    guest
        .sockets
        .get_mut::<udp::Socket>(socket)
        .send_slice(&question, smoltcp::wire::IpEndpoint::from(dns))
        .unwrap();
    guest.run_for(300);
    assert!(listener.accept().is_err() && udp_server.recv(&mut [0; 8]).is_err());
    assert!(!guest.sockets.get_mut::<udp::Socket>(socket).can_recv());
}

#[test]
fn a_taken_port_is_a_clear_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = taken.local_addr().unwrap();
    let options = UserOptions {
        restrict: false,
        forwards: vec![Forward { protocol: Protocol::Tcp, host, guest_port: 22 }],
    };
    let error = UserNetwork::start(&options).err().unwrap().to_string();
    assert!(error.contains(&format!("port {} of 127.0.0.1 is in use", host.port())), "{error}");
}

#[test]
fn a_strange_address_is_a_clear_error() {
    let host = "192.0.2.77:4444".parse().unwrap();
    let options = UserOptions {
        restrict: false,
        forwards: vec![Forward { protocol: Protocol::Udp, host, guest_port: 22 }],
    };
    let error = UserNetwork::start(&options).err().unwrap().to_string();
    assert!(error.contains("has no address 192.0.2.77"), "{error}");
}

#[test]
fn the_router_is_advertised_to_who_asks() {
    let network = network(&UserOptions::default());
    let port = Port::new(Card::PLAIN);
    network.connect(port.clone());
    let mut frame =
        [&[0x33, 0x33, 0, 0, 0, 2][..], &guest::MAC, &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 58, 255]].concat();
    frame.extend_from_slice(&[0; 16]);
    frame.extend_from_slice(&[0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    frame.extend_from_slice(&[133, 0, 0, 0, 0, 0, 0, 0]);
    network.send(vec![emu_core::backend::Packet { bytes: frame, trusted: true, ..Default::default() }]);
    let advertisement = port.expect().expect("an advertisement").bytes;
    assert_eq!(advertisement[..6], [0x33, 0x33, 0, 0, 0, 1]);
    let message = &advertisement[54..];
    assert_eq!(message[0], 134);
    let mut options = &message[16..];
    let mut kinds = Vec::new();
    while let [kind, len, ..] = options {
        kinds.push(*kind);
        options = &options[usize::from(*len) * 8..];
    }
    assert_eq!(kinds, [1, 5, 3, 25], "link address, MTU, prefix, name server");
}
