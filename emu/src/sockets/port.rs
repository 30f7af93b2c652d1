//! A Unix socket that a port of the guest is connected to. One program at a time has it: others wait until it has gone.

use super::{CHUNK, Received, Waker, listen, receive, send};
use emu_core::backend::{StreamBackend, StreamReceiver};
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, poll};
use std::{
    collections::VecDeque,
    io,
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    sync::Arc,
    thread,
};

/// Bytes of the guest's that wait for a slow program before the guest does.
const CAPACITY: usize = 64 * 1024;

/// The socket.
pub struct PortSocket(Arc<Shared>);

struct Shared {
    waker: Waker,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    receiver: Option<Arc<dyn StreamReceiver>>,
    /// A program is connected.
    connected: bool,
    /// From the guest.
    output: VecDeque<u8>,
    /// The guest was told to wait.
    full: bool,
    /// The guest may have room again.
    resumed: bool,
}

impl PortSocket {
    /// Listens at `path`.
    pub fn listen(path: &Path) -> io::Result<PortSocket> {
        let listener = listen(path)?;
        let shared = Arc::new(Shared { waker: Waker::new()?, state: Mutex::default() });
        let worker = Worker { shared: shared.clone(), listener, client: None, refused: Vec::new() };
        thread::Builder::new().name("port".into()).spawn(move || worker.run())?;
        Ok(PortSocket(shared))
    }
}

impl StreamBackend for PortSocket {
    fn connect(&self, receiver: Arc<dyn StreamReceiver>) {
        self.0.state.lock().receiver = Some(receiver);
        self.0.waker.wake();
    }

    fn send(&self, bytes: &[u8]) -> usize {
        let mut state = self.0.state.lock();
        if !state.connected {
            return bytes.len();
        }
        let taken = bytes.len().min(CAPACITY - state.output.len());
        state.output.extend(&bytes[..taken]);
        state.full |= taken < bytes.len();
        self.0.waker.wake();
        taken
    }

    fn resume(&self) {
        self.0.state.lock().resumed = true;
        self.0.waker.wake();
    }
}

/// The thread.
struct Worker {
    shared: Arc<Shared>,
    listener: UnixListener,
    client: Option<UnixStream>,
    /// What the guest had no room for.
    refused: Vec<u8>,
}

impl Worker {
    fn run(mut self) {
        loop {
            let (client, receiver) = match self.wait() {
                Ok(ready) => ready,
                Err(error) => return log::error!("a port's socket: {error}"),
            };
            self.shared.waker.clear();
            // The device is connected before a guest runs; programs that come earlier wait.
            let Some(receiver) = receiver else { continue };
            self.offer_refused(&*receiver);
            if self.client.is_none() {
                self.accept(&*receiver);
            } else if client.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                self.read(&*receiver);
            }
            self.write(&*receiver);
        }
    }

    /// Waits for something to do. Returns what is ready at the client.
    fn wait(&self) -> io::Result<(PollFlags, Option<Arc<dyn StreamReceiver>>)> {
        let state = self.shared.state.lock();
        let receiver = state.receiver.clone();
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::IN, self.refused.is_empty());
        wanted.set(PollFlags::OUT, !state.output.is_empty());
        drop(state);
        let mut polled = vec![PollFd::from_borrowed_fd(self.shared.waker.descriptor(), PollFlags::IN)];
        match &self.client {
            // One of which nothing is wanted would tell of its end again and again.
            Some(client) if !wanted.is_empty() => polled.push(PollFd::new(client, wanted)),
            None if receiver.is_some() => polled.push(PollFd::new(&self.listener, PollFlags::IN)),
            _ => {}
        }
        match poll(&mut polled, None) {
            Err(rustix::io::Errno::INTR) => Ok((PollFlags::empty(), receiver)),
            result => {
                result?;
                Ok((polled.get(1).map_or(PollFlags::empty(), PollFd::revents), receiver))
            }
        }
    }

    fn accept(&mut self, receiver: &dyn StreamReceiver) {
        let Ok((client, _)) = self.listener.accept() else { return };
        if client.set_nonblocking(true).is_ok() {
            self.client = Some(client);
            self.shared.state.lock().connected = true;
            receiver.connected(true);
        }
    }

    fn offer_refused(&mut self, receiver: &dyn StreamReceiver) {
        if !self.refused.is_empty() && std::mem::take(&mut self.shared.state.lock().resumed) {
            let taken = receiver.receive(&self.refused);
            self.refused.drain(..taken);
        }
    }

    fn read(&mut self, receiver: &dyn StreamReceiver) {
        let Some(client) = self.client.as_ref().filter(|_| self.refused.is_empty()) else { return };
        let mut bytes = vec![0; CHUNK];
        match receive(client, &mut bytes) {
            Received::Bytes(count) => {
                // A word from now on may mean what is refused now.
                self.shared.state.lock().resumed = false;
                let taken = receiver.receive(&bytes[..count]);
                self.refused = bytes[taken..count].to_vec();
                // It may have come before there was anything to offer.
                self.offer_refused(receiver);
            }
            Received::Nothing => {}
            Received::End => self.hang_up(receiver),
        }
    }

    fn write(&mut self, receiver: &dyn StreamReceiver) {
        let Some(client) = &self.client else { return };
        let mut state = self.shared.state.lock();
        let (bytes, _) = state.output.as_slices();
        if bytes.is_empty() {
            return;
        }
        match send(client, bytes) {
            Ok(count) => {
                state.output.drain(..count);
                let tell = count > 0 && std::mem::take(&mut state.full);
                drop(state);
                if tell {
                    receiver.writable();
                }
            }
            Err(_) => {
                drop(state);
                self.hang_up(receiver);
            }
        }
    }

    /// The program has gone. What it has not read is lost, what it has sent is not.
    fn hang_up(&mut self, receiver: &dyn StreamReceiver) {
        self.client = None;
        let mut state = self.shared.state.lock();
        state.connected = false;
        state.output.clear();
        let tell = std::mem::take(&mut state.full);
        drop(state);
        if tell {
            receiver.writable();
        }
        receiver.connected(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read, Write},
        sync::mpsc,
        time::Duration,
    };

    const LIMIT: Duration = Duration::from_secs(20);

    #[derive(Debug, PartialEq)]
    enum Heard {
        Bytes(Vec<u8>),
        Writable,
        Connected(bool),
    }

    /// A guest that takes as many bytes as it has room for.
    struct Guest {
        heard: mpsc::Sender<Heard>,
        room: Mutex<usize>,
    }

    impl StreamReceiver for Guest {
        fn receive(&self, bytes: &[u8]) -> usize {
            let mut room = self.room.lock();
            let taken = bytes.len().min(*room);
            *room -= taken;
            self.heard.send(Heard::Bytes(bytes[..taken].to_vec())).unwrap();
            taken
        }
        fn writable(&self) {
            self.heard.send(Heard::Writable).unwrap();
        }
        fn connected(&self, connected: bool) {
            self.heard.send(Heard::Connected(connected)).unwrap();
        }
        fn resized(&self, _: u16, _: u16) {}
    }

    #[test]
    fn bytes_wait_for_who_has_no_room_and_nobody_hears_what_the_last_one_missed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("port");
        let port = PortSocket::listen(&path).unwrap();
        let (sender, heard) = mpsc::channel();
        let guest = Arc::new(Guest { heard: sender, room: Mutex::new(3) });
        port.connect(guest.clone());
        assert_eq!(port.send(b"to nobody"), 9);

        let mut client = UnixStream::connect(&path).unwrap();
        assert_eq!(heard.recv_timeout(LIMIT), Ok(Heard::Connected(true)));
        client.write_all(b"abcdef").unwrap();
        assert_eq!(heard.recv_timeout(LIMIT), Ok(Heard::Bytes(b"abc".to_vec())));
        *guest.room.lock() = 100;
        port.resume();
        assert_eq!(heard.recv_timeout(LIMIT), Ok(Heard::Bytes(b"def".to_vec())));

        let all: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
        let reader = thread::spawn(move || {
            let mut back = vec![0; 3_000_000];
            thread::sleep(Duration::from_millis(50));
            client.read_exact(&mut back).unwrap();
            back
        });
        let mut sent = 0;
        let mut waits = 0;
        while sent < all.len() {
            sent += port.send(&all[sent..]);
            if sent < all.len() {
                assert_eq!(heard.recv_timeout(LIMIT), Ok(Heard::Writable));
                waits += 1;
            }
        }
        assert!(reader.join().unwrap() == all && waits > 10, "{waits}");

        assert_eq!(heard.recv_timeout(LIMIT), Ok(Heard::Connected(false)));
        let _next = UnixStream::connect(&path).unwrap();
        assert_eq!(heard.recv_timeout(LIMIT), Ok(Heard::Connected(true)));
    }
}
