//! The protocol without gdb: connections that are no debugger's, packets that make no sense, and how a guest ends.

use super::{gdb, has_gdb, says};
use crate::{PATIENCE, beside_others};
use emu_tests::emulator::Emulator;
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
};

/// `content` as a packet.
fn packet(content: &[u8]) -> Vec<u8> {
    let sum = content.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    [b"$", content, format!("#{sum:02x}").as_bytes()].concat()
}

/// What comes back for `bytes`, up to the end of a packet.
fn ask(stream: &mut TcpStream, bytes: &[u8]) -> String {
    stream.write_all(bytes).unwrap();
    let (mut answer, mut byte) = (Vec::new(), [0]);
    while !answer.ends_with(b"#") && stream.read(&mut byte).unwrap() == 1 {
        answer.push(byte[0]);
    }
    // The checksum.
    stream.read_exact(&mut [0; 2]).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// A TCP port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn no_packet_makes_emu_fail() {
    const COMMANDS: [&str; 16] = [
        "g",
        "G",
        "m",
        "M",
        "X",
        "p",
        "P",
        "Z0,",
        "z1,",
        "Z2,",
        "vCont;",
        "H",
        "qXfer:features:read:target.xml:",
        "qRcmd,",
        "T",
        "qThreadExtraInfo,",
    ];
    const PIECES: [&str; 12] =
        ["0", "1", "ffffffffffffffff", ",", ":", "7c00", "-1", "p1.1", ";", "=", "63", "\u{7d}"];
    let _host = beside_others();
    let port = free_port();
    let guest = Emulator::run().option("--gdb", port.to_string()).start_on_terminal();
    let mut random = 1_u32;
    let mut next = |below: usize| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 8) as usize % below
    };
    let connect = || loop {
        // emu has to start first.
        if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) {
            break stream;
        }
    };
    for _ in 0..200 {
        let mut stream = connect();
        for _ in 0..20 {
            let mut content = COMMANDS[next(COMMANDS.len())].to_owned();
            (0..next(6)).for_each(|_| content += PIECES[next(PIECES.len())]);
            // It may have been let go.
            let _gone = stream.write_all(&packet(content.as_bytes()));
        }
        let _closed = stream.shutdown(std::net::Shutdown::Write);
        let _reset = stream.read_to_end(&mut Vec::new());
    }
    connect().write_all(&packet(b"k")).unwrap();
    guest.finish(0, PATIENCE);
}

#[test]
fn the_end_of_the_guest_is_told_and_what_is_no_debugger_does_not_disturb_it() {
    let folder = tempfile::tempdir().unwrap();
    if !has_gdb() {
        return;
    }
    let _host = beside_others();
    let port = free_port();
    let control = folder.path().join("control");
    let mut guest =
        Emulator::run().option("--gdb", port.to_string()).option("--control", &control).start_on_terminal();
    guest.expect("million instructions per second", PATIENCE);
    let status = || {
        let output = Emulator::ctl(&control).flag("query-status").output();
        String::from_utf8(output.stdout).unwrap()
    };
    let connect = || TcpStream::connect(("127.0.0.1", port)).unwrap();

    let silent = connect();
    assert!(status().contains("running"), "somebody who says nothing stops nothing");
    let mut second = connect();
    assert_eq!(second.read(&mut [0; 16]).unwrap(), 0, "there is one at a time");
    drop(silent);
    for garbage in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], b"$g#00", b"$\xff\xff#fe", b"$vCont;s#b8", &[b'$'; 100_000]]
    {
        let mut stream = connect();
        // It may be let go before it has said all.
        let _gone = stream.write_all(garbage);
        let _closed = stream.shutdown(std::net::Shutdown::Write);
        let _reset = stream.read_to_end(&mut Vec::new());
    }
    assert!(status().contains("running"), "{}", status());
    let mut stream = connect();
    assert!(ask(&mut stream, &packet(b"?")).contains("T05"));
    assert!(status().contains("debug"), "{}", status());
    stream.write_all(&packet(b"vCont;c")).unwrap();
    while !status().contains("running") {}
    assert!(ask(&mut stream, b"\x03").contains("T02"), "Ctrl-C stops the guest");
    assert!(ask(&mut stream, &packet(b"D;1")).contains("OK"));
    assert!(status().contains("running"), "{}", status());
    drop(stream);

    let place = PathBuf::from(format!("127.0.0.1:{port}"));
    let keys = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_secs(2));
        guest.send("q");
        guest.finish(0, PATIENCE);
    });
    let said = gdb(None, &place, &["monitor registers", "continue"]);
    says(&said, &["processor 0", "rip 0x", "exited normally"]);
    keys.join().unwrap();
}
