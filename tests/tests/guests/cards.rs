//! A stock 32-bit kernel with a virtio disk, and with each network card: pings, and streams out and back.

use crate::{PATIENCE, beside_others};
use emu_tests::emulator::{Emulator, guest_or_skip, skip};
use rstest::rstest;
use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket},
    thread,
};
use xtask::guests::Guest;

/// Bytes that go out and come back.
const LEN: u64 = 6_000_000;

/// Takes one stream to its end, and sends it back. Returns the port.
fn echo_once() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        stream.write_all(&bytes).unwrap();
    });
    port
}

#[rstest]
#[case::virtio("virtio", "virtio_net")]
#[case::e1000("e1000", "e1000")]
#[case::rtl8139("rtl8139", "8139cp")]
fn a_32_bit_guest_has_network(#[case] model: &str, #[case] driver: &str) {
    let Some(guest) = guest_or_skip(Guest::Devices686) else { return };
    let _host = beside_others();
    let port = echo_once();
    let mut session = Emulator::shell(&guest).option("--net", format!("user,model={model}")).start();
    session.expect("emu-guest: ready", PATIENCE);
    session.shell(&format!("modprobe {driver}"), PATIENCE);
    session.shell(
        &format!("basename $(readlink /sys/class/net/eth0/device/driver) | grep -x {driver}"),
        PATIENCE,
    );
    session.shell("ip address add 10.0.2.15/24 dev eth0 && ip link set eth0 up", PATIENCE);
    session.shell("ping -c 3 10.0.2.2", PATIENCE);
    session.shell("ping -c 3 -s 5000 10.0.2.2", PATIENCE);
    session.shell(&format!("head -c {LEN} /dev/urandom > /tmp/out"), PATIENCE);
    session.shell(&format!("nc 10.0.2.2 {port} < /tmp/out > /tmp/back"), PATIENCE);
    session.shell("[ $(md5sum < /tmp/out | cut -c1-32) = $(md5sum < /tmp/back | cut -c1-32) ]", PATIENCE);
    session.send("poweroff -f\n");
    session.finish(0, PATIENCE);
}

#[test]
fn a_32_bit_guest_has_a_disk() {
    let Some(guest) = guest_or_skip(Guest::Devices686) else { return };
    let _host = beside_others();
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("disk.raw");
    let content: Vec<u8> = (0..LEN as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    File::create(&image).unwrap().write_all(&content).unwrap();
    File::options().write(true).open(&image).unwrap().set_len(32 << 20).unwrap();
    let mut session =
        Emulator::shell(&guest).option("--disk", format!("{},format=raw", image.display())).start();
    session.expect("emu-guest: ready", PATIENCE);
    // The first eight megabytes once more, sixteen further on.
    session.shell("dd if=/dev/vda of=/dev/vda bs=1M count=8 seek=16 conv=fsync", PATIENCE);
    session.send("poweroff -f\n");
    session.finish(0, PATIENCE);
    let written = fs::read(&image).unwrap();
    assert!(written[..content.len()] == content, "what was there has changed");
    assert!(written[16 << 20..][..content.len()] == content, "what was copied is something else");
}

/// An address of the host's own that is not the loopback interface's: as far outside as a test may go.
fn address_of_the_host() -> Option<Ipv4Addr> {
    // Nothing is sent: the address is that of the interface which leads there.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(address) if !address.is_loopback() && !address.is_unspecified() => Some(address),
        _ => None,
    }
}

/// Whether the host lets this process ping without privilege.
fn may_ping() -> bool {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ping_group_range").unwrap_or_default();
    let mut limits = range.split_whitespace().map_while(|limit| limit.parse::<u32>().ok());
    let (Some(first), Some(last)) = (limits.next(), limits.next()) else { return false };
    let group = rustix::process::getegid().as_raw();
    (first..=last).contains(&group)
}

#[test]
fn a_guest_pings_the_outside() {
    if !may_ping() {
        return skip("the host has no unprivileged pings for this group (net.ipv4.ping_group_range)");
    }
    let Some(address) = address_of_the_host() else {
        return skip("the host has no address but its own loopback interface's");
    };
    let Some(guest) = guest_or_skip(Guest::Devices686) else { return };
    let _host = beside_others();
    let mut session = Emulator::shell(&guest).option("--net", "user").start();
    session.expect("emu-guest: ready", PATIENCE);
    session.shell("ip address add 10.0.2.15/24 dev eth0 && ip link set eth0 up", PATIENCE);
    session.shell("ip route add default via 10.0.2.2", PATIENCE);
    session.shell(&format!("ping -c 3 {address}"), PATIENCE);
    session.send("poweroff -f\n");
    session.finish(0, PATIENCE);
}
