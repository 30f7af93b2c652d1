//! With a device that writes down what it hears.

use super::*;
use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Read, Write},
    net::Shutdown as Half,
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    sync::{Weak, mpsc},
    time::Duration,
};

const LIMIT: Duration = Duration::from_secs(20);

#[derive(Debug, PartialEq)]
enum Heard {
    Open(ConnectionKey),
    Opened(ConnectionKey),
    Bytes(Vec<u8>),
    Delivered(usize),
    ShutDown(Shutdown),
    Close(ConnectionKey),
}

struct Device {
    heard: mpsc::Sender<Heard>,
    /// Bytes that it has room for.
    room: Mutex<usize>,
    sockets: Weak<VsockSockets>,
    /// What it has closed and the sockets have not.
    closing: Mutex<BTreeSet<ConnectionKey>>,
}

impl Device {
    fn hear(&self, heard: Heard) {
        self.heard.send(heard).unwrap();
    }
}

impl ConnectionReceiver for Device {
    fn open(&self, key: ConnectionKey) -> bool {
        self.hear(Heard::Open(key));
        true
    }
    fn opened(&self, key: ConnectionKey) {
        self.hear(Heard::Opened(key));
    }
    fn receive(&self, _: ConnectionKey, bytes: &[u8]) -> usize {
        let mut room = self.room.lock();
        let taken = bytes.len().min(*room);
        *room -= taken;
        if taken > 0 {
            self.hear(Heard::Bytes(bytes[..taken].to_vec()));
        }
        taken
    }
    fn delivered(&self, _: ConnectionKey, bytes: usize) {
        self.hear(Heard::Delivered(bytes));
    }
    fn shut_down(&self, _: ConnectionKey, what: Shutdown) {
        self.hear(Heard::ShutDown(what));
    }
    fn close(&self, key: ConnectionKey) {
        if !self.closing.lock().remove(&key) {
            self.sockets.upgrade().unwrap().close(key);
        }
        self.hear(Heard::Close(key));
    }
}

struct Setup {
    path: PathBuf,
    sockets: Arc<VsockSockets>,
    device: Arc<Device>,
    heard: mpsc::Receiver<Heard>,
    _directory: tempfile::TempDir,
}

fn setup() -> Setup {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vsock");
    let sockets = Arc::new(VsockSockets::listen(&path).unwrap());
    let (sender, heard) = mpsc::channel();
    let (sockets_again, closing) = (Arc::downgrade(&sockets), Mutex::default());
    let device = Arc::new(Device { heard: sender, room: Mutex::new(4), sockets: sockets_again, closing });
    sockets.connect(device.clone());
    Setup { path, sockets, device, heard, _directory: directory }
}

impl Setup {
    #[track_caller]
    fn hears(&self, expected: Heard) {
        assert_eq!(self.heard.recv_timeout(LIMIT), Ok(expected));
    }
}

#[test]
fn a_guest_reaches_the_socket_of_a_port() {
    let setup = setup();
    let key = ConnectionKey { guest: 1234, host: 80 };
    let server = UnixListener::bind(setup.path.with_file_name("vsock_80")).unwrap();
    setup.sockets.open(key);
    setup.hears(Heard::Opened(key));
    let (mut program, _) = server.accept().unwrap();

    setup.sockets.send(key, b"hello".to_vec());
    setup.hears(Heard::Delivered(5));
    setup.sockets.shut_down(key, Shutdown { send: true, receive: false });
    let mut said = String::new();
    program.read_to_string(&mut said).unwrap();
    assert_eq!(said, "hello");

    program.write_all(b"welcome").unwrap();
    setup.hears(Heard::Bytes(b"welc".to_vec()));
    *setup.device.room.lock() = 100;
    setup.sockets.resume(key);
    setup.hears(Heard::Bytes(b"ome".to_vec()));
    program.shutdown(Half::Write).unwrap();
    let shut = setup.heard.recv_timeout(LIMIT).unwrap();
    assert!(matches!(shut, Heard::ShutDown(Shutdown { send: true, .. })), "{shut:?}");

    setup.device.closing.lock().insert(key);
    setup.sockets.close(key);
    setup.hears(Heard::Close(key));
    assert_eq!(program.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_port_where_nobody_listens_is_closed() {
    let setup = setup();
    let key = ConnectionKey { guest: 1234, host: 81 };
    for _ in 0..2 {
        setup.sockets.open(key);
        setup.hears(Heard::Close(key));
    }
}

#[test]
fn a_program_reaches_a_port_of_the_guest() {
    let setup = setup();
    let mut program = UnixStream::connect(&setup.path).unwrap();
    program.write_all(b"CONNECT 52\nabc").unwrap();
    let Heard::Open(key) = setup.heard.recv_timeout(LIMIT).unwrap() else { panic!() };
    assert_eq!(key.guest, 52);
    setup.sockets.opened(key);
    setup.hears(Heard::Bytes(b"abc".to_vec()));
    let mut reader = BufReader::new(program.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, format!("OK {}\n", key.host));
    setup.sockets.send(key, b"xyz".to_vec());
    setup.hears(Heard::Delivered(3));
    let mut back = [0; 3];
    reader.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"xyz");
    drop((program, reader));
    setup.hears(Heard::ShutDown(Shutdown::BOTH));
}

#[test]
fn who_asks_for_nonsense_is_hung_up_on() {
    let setup = setup();
    for line in [&b"CONNECT \n"[..], b"CONNECT -1\n", b"HELO 5\n", b"CONNECT 4294967296\n", &[b'x'; 100]] {
        let mut program = UnixStream::connect(&setup.path).unwrap();
        program.write_all(line).unwrap();
        let end = program.read(&mut [0]);
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    }
    assert!(setup.heard.try_recv().is_err());
}
