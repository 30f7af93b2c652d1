//! A stock kernel uses the virtio devices that are no disks and no network cards.

use crate::{PATIENCE, beside_others};
use emu_tests::{
    emulator::{Emulator, guest_or_skip, skip},
    session::Session,
};
use std::{
    fs::{self, File},
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    process::Command,
    thread,
    time::Duration,
};
use xtask::{guests::Guest, workspace::is_installed};

/// MiB of the guest's memory that is used for a while.
const FILLED: u64 = 300;

#[test]
fn a_guest_has_ports_randomness_and_sockets() {
    if !is_installed("gcc") {
        return skip("gcc is not installed");
    }
    let Some(guest) = guest_or_skip(Guest::Devices) else { return };
    let _host = beside_others();
    let folder = tempfile::tempdir().unwrap();
    let [port, vsock, console] = ["port", "vsock", "console"].map(|name| folder.path().join(name));
    let mut session = Emulator::shell(&guest)
        .option("--memory", "192M")
        .flag("--rng")
        .option("--virtio-console", format!("file:{}", console.display()))
        .option("--virtio-port", format!("name=org.example.test,socket={}", port.display()))
        .option("--vsock", format!("cid=5,socket={}", vsock.display()))
        .start();
    session.expect("emu-guest: ready", PATIENCE);
    for driver in ["virtio-rng", "virtio_console", "vmw_vsock_virtio_transport"] {
        session.shell(&format!("modprobe {driver}"), PATIENCE);
    }
    session.shell("mdev -s; echo over hvc0 > /dev/hvc0", PATIENCE);
    // The console is a port too; the name tells which is which.
    session.shell(
        "port=$(grep -l org.example.test /sys/class/virtio-ports/*/name) && exec 3<>/dev/$(basename ${port%/name})",
        PATIENCE,
    );
    let mut socket = UnixStream::connect(&port).unwrap();
    randomness(&mut session, &mut socket);
    send_program(&mut session, &mut socket, &compile(folder.path()));
    guest_calls(&mut session, &vsock);
    host_calls(&mut session, &vsock);
    session.send("poweroff -f\n");
    session.finish(0, PATIENCE);
    assert!(fs::read_to_string(console).unwrap().contains("over hvc0"));
}

/// Bytes of the entropy device, which come by the port, look random: as many ones as zeroes, nibbles all as often. The
/// limits are such that good bytes fail once in millions of runs.
fn randomness(session: &mut Session, port: &mut UnixStream) {
    assert!(session.shell("cat /sys/class/misc/hw_random/rng_current", PATIENCE).contains("virtio_rng.0"));
    session.send("dd if=/dev/hwrng bs=4096 count=16 iflag=fullblock >&3\n");
    let mut bytes = vec![0; 65536];
    port.read_exact(&mut bytes).unwrap();
    let ones: u32 = bytes.iter().map(|byte| byte.count_ones()).sum();
    assert!(ones.abs_diff(262_144) < 2200, "{ones} ones of 524288");
    let mut counts = [0f64; 16];
    for byte in &bytes {
        counts[usize::from(byte >> 4)] += 1.0;
        counts[usize::from(byte & 15)] += 1.0;
    }
    let deviation: f64 = counts.iter().map(|count| (count - 8192.0).powi(2) / 8192.0).sum();
    assert!((1.0..60.0).contains(&deviation), "chi squared is {deviation}, of 15 degrees of freedom");
}

fn compile(folder: &Path) -> Vec<u8> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests/vsock.c");
    let program = folder.join("program");
    let status = Command::new("gcc").args(["-O2", "-static", "-o"]).arg(&program).arg(source).status();
    assert!(status.unwrap().success());
    fs::read(program).unwrap()
}

/// Sends a program by the port, and gets it back.
fn send_program(session: &mut Session, port: &mut UnixStream, program: &[u8]) {
    let len = program.len();
    session.send(&format!("head -c {len} <&3 > /bin/vsock; cat /bin/vsock >&3; echo 'port: 'echoed\n"));
    let (mut writing, bytes) = (port.try_clone().unwrap(), program.to_owned());
    let writer = thread::spawn(move || writing.write_all(&bytes).unwrap());
    let mut back = vec![0; len];
    port.read_exact(&mut back).unwrap();
    writer.join().unwrap();
    assert!(back == program, "the port changes bytes");
    session.expect("port: echoed", PATIENCE);
    session.shell("chmod +x /bin/vsock", PATIENCE);
}

/// Bytes that are not all the same.
fn sample(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n % 251) as u8 ^ (n / 251) as u8).collect()
}

/// The guest connects to ports of the host's; where nobody listens it is told so.
fn guest_calls(session: &mut Session, vsock: &Path) {
    let server = UnixListener::bind(format!("{}_5000", vsock.display())).unwrap();
    let host = thread::spawn(move || exchange(server.accept().unwrap().0, &sample(5_000_000)));
    session.send("vsock connect 5000\n");
    session.expect("vsock: echoed", PATIENCE);
    host.join().unwrap();
    session.send("vsock connect 5001\n");
    session.expect("Connection reset by peer", PATIENCE);
}

/// The host connects to a port of the guest's, several times at once.
fn host_calls(session: &mut Session, vsock: &Path) {
    const CALLS: usize = 8;
    session.send(&format!("vsock listen 52 {CALLS}\n"));
    session.expect("vsock: listening", PATIENCE);
    let calls: Vec<_> = (0..CALLS)
        .map(|_| {
            let mut socket = UnixStream::connect(vsock).unwrap();
            thread::spawn(move || {
                socket.write_all(b"CONNECT 52\n").unwrap();
                let mut answer = String::new();
                // One byte at a time: what follows the line is the guest's.
                while !answer.ends_with('\n') {
                    let mut byte = [0];
                    socket.read_exact(&mut byte).unwrap();
                    answer.push(char::from(byte[0]));
                }
                assert!(answer.starts_with("OK "), "{answer}");
                exchange(socket, &sample(200_000));
            })
        })
        .collect();
    calls.into_iter().for_each(|call| call.join().unwrap());
    session.expect("vsock: served", PATIENCE);
}

/// Sends `bytes` and the end, and expects them back.
fn exchange(socket: UnixStream, bytes: &[u8]) {
    let (mut writing, sent) = (socket.try_clone().unwrap(), bytes.to_owned());
    let writer = thread::spawn(move || {
        writing.write_all(&sent).unwrap();
        writing.shutdown(Shutdown::Write).unwrap();
    });
    let (mut reading, mut back) = (socket, Vec::new());
    reading.read_to_end(&mut back).unwrap();
    writer.join().unwrap();
    assert!(back == bytes, "{} of {} bytes, or others", back.len(), bytes.len());
}

/// Memory that the process has of the host's, in MiB.
fn resident(session: &Session) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", session.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

/// Waits until the process has at most so much memory, in MiB.
#[track_caller]
fn falls_to(session: &Session, most: u64) {
    for _ in 0..PATIENCE.as_secs() * 2 {
        if resident(session) <= most {
            return;
        }
        thread::sleep(Duration::from_millis(500));
    }
    panic!("{} MiB, not {most}", resident(session));
}

#[test]
fn memory_that_a_guest_frees_is_the_hosts_again() {
    let Some(guest) = guest_or_skip(Guest::Devices) else { return };
    let _host = beside_others();
    let mut session = Emulator::shell(&guest).option("--memory", "512M").option("--balloon", "on").start();
    session.expect("emu-guest: ready", PATIENCE);
    session.shell("mount -t tmpfs -o size=400m none /mnt", PATIENCE);
    session.shell(&format!("dd if=/dev/zero of=/mnt/x bs=1M count={FILLED}"), PATIENCE);
    session.shell("modprobe virtio_balloon", PATIENCE);
    let full = resident(&session);
    assert!(full >= FILLED, "{full} MiB");
    session.shell("rm /mnt/x", PATIENCE);
    falls_to(&session, full - FILLED * 3 / 4);
    session.send("poweroff -f\n");
    session.finish(0, PATIENCE);
}

/// Memory that is not free but could be, the page cache, goes into the balloon; and comes out when nothing else is left.
#[test]
fn a_balloon_takes_memory_and_gives_it_back_when_there_is_none() {
    let Some(guest) = guest_or_skip(Guest::Devices) else { return };
    let _host = beside_others();
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk.raw");
    let mut file = File::create(&disk).unwrap();
    (0..FILLED)
        .for_each(|number| file.write_all(&sample((1 << 20) + number as usize)[number as usize..]).unwrap());
    let mut session = Emulator::shell(&guest)
        .option("--memory", "512M")
        .option("--balloon", "192M")
        .option("--disk", format!("{},format=raw", disk.display()))
        .start();
    session.expect("emu-guest: ready", PATIENCE);
    // What is in the page cache stays there only while the disk is open.
    session.shell("exec 3< /dev/vda && cat /dev/vda > /dev/null", PATIENCE);
    let full = resident(&session);
    assert!(full >= FILLED, "{full} MiB");
    session.shell("modprobe virtio_balloon", PATIENCE);
    // The balloon takes the 150 MiB or so first that have never been used.
    falls_to(&session, full - 120);
    session.shell("mount -t tmpfs -o size=400m none /mnt", PATIENCE);
    session.shell("cat /dev/vda > /mnt/x", PATIENCE);
    session.shell("[ $(md5sum < /mnt/x | cut -c1-32) = $(md5sum < /dev/vda | cut -c1-32) ]", PATIENCE);
    assert!(resident(&session) >= FILLED);
    session.shell("! dmesg | grep 'Killed process'", PATIENCE);
    session.send("poweroff -f\n");
    session.finish(0, PATIENCE);
}
