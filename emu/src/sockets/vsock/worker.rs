//! The thread behind the sockets: waits for all of them and for the device.

use super::{Mail, Shared};
use crate::sockets::{CHUNK, Received, receive, send};
use emu_core::backend::{ConnectionKey, ConnectionReceiver, Shutdown};
use rustix::{
    event::{PollFd, PollFlags, poll},
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with},
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ffi::OsString,
    io, net,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::Arc,
};

/// The first port that the guest sees at the host's end of a connection that the host has asked for.
const FIRST_HOST_PORT: u32 = 1 << 30;
/// Programs on the host that have not said yet which port they want.
const MOST_CALLERS: usize = 64;
/// The longest line that says so.
const LINE: usize = 32;

/// See the module.
pub(super) struct Worker {
    shared: Arc<Shared>,
    listener: UnixListener,
    path: PathBuf,
    callers: VecDeque<Caller>,
    connections: BTreeMap<ConnectionKey, Connection>,
    /// What has been closed here and not by the device yet.
    closing: BTreeSet<ConnectionKey>,
    next_port: u32,
}

/// A program that has connected to `PATH`.
struct Caller {
    stream: UnixStream,
    line: Vec<u8>,
}

struct Connection {
    stream: UnixStream,
    /// Both sides have it.
    open: bool,
    /// For the program: from the guest, but for the first `own` bytes.
    output: VecDeque<u8>,
    own: usize,
    /// From the program, but refused by the device.
    refused: Vec<u8>,
    /// The program sends no more.
    ended: bool,
    guest_shut: Shutdown,
    /// The program has been told that the guest sends no more.
    told: bool,
}

impl Connection {
    fn new(stream: UnixStream, open: bool) -> Self {
        Connection {
            stream,
            open,
            output: VecDeque::new(),
            own: 0,
            refused: Vec::new(),
            ended: false,
            guest_shut: Shutdown::default(),
            told: false,
        }
    }

    /// What it waits for.
    fn wanted(&self) -> PollFlags {
        let reads = self.open && self.refused.is_empty() && !self.ended && !self.guest_shut.receive;
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::IN, reads);
        wanted.set(PollFlags::OUT, !self.output.is_empty());
        wanted
    }
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, listener: UnixListener, path: &Path) -> Self {
        Worker {
            shared,
            listener,
            path: path.to_owned(),
            callers: VecDeque::new(),
            connections: BTreeMap::new(),
            closing: BTreeSet::new(),
            next_port: FIRST_HOST_PORT,
        }
    }

    pub(super) fn run(mut self) {
        loop {
            let ready = match self.wait() {
                Ok(ready) => ready,
                Err(error) => return log::error!("the sockets of virtio-vsock: {error}"),
            };
            self.shared.waker.clear();
            let mut state = self.shared.state.lock();
            let mail = std::mem::take(&mut state.mail);
            let receiver = state.receiver.clone();
            drop(state);
            // The device is connected before a guest runs; programs that come earlier wait.
            let Some(receiver) = receiver else { continue };
            for (key, mail) in mail {
                self.read_mail(key, mail, &*receiver);
            }
            self.accept();
            self.listen_to_callers(&*receiver);
            for (key, flags) in ready {
                self.serve(key, flags, &*receiver);
            }
        }
    }

    /// Waits for something to do. Returns the connections that are ready.
    fn wait(&self) -> io::Result<Vec<(ConnectionKey, PollFlags)>> {
        let mut polled = vec![PollFd::from_borrowed_fd(self.shared.waker.descriptor(), PollFlags::IN)];
        polled.push(PollFd::new(&self.listener, PollFlags::IN));
        polled.extend(self.callers.iter().map(|caller| PollFd::new(&caller.stream, PollFlags::IN)));
        let first = polled.len();
        // One of which nothing is wanted would tell of its end again and again.
        let waiting = self.connections.iter().filter(|(_, connection)| !connection.wanted().is_empty());
        let keys: Vec<ConnectionKey> = waiting
            .map(|(key, connection)| {
                polled.push(PollFd::new(&connection.stream, connection.wanted()));
                *key
            })
            .collect();
        match poll(&mut polled, None) {
            Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            result => result?,
        };
        let flags = polled[first..].iter().map(PollFd::revents);
        Ok(keys.into_iter().zip(flags).filter(|(_, flags)| !flags.is_empty()).collect())
    }

    // What the device says.

    fn read_mail(&mut self, key: ConnectionKey, mail: Mail, receiver: &dyn ConnectionReceiver) {
        let Mail { answered, open, opened, bytes, resume, shut_down, close } = mail;
        if answered {
            self.closing.remove(&key);
        }
        if open {
            self.open(key, receiver);
        }
        if let Some(connection) = self.connections.get_mut(&key) {
            if opened {
                connection.open = true;
                let greeting = format!("OK {}\n", key.host);
                connection.own = greeting.len();
                connection.output.extend(greeting.as_bytes());
            }
            connection.output.extend(&bytes);
            connection.guest_shut = shut_down.unwrap_or(connection.guest_shut);
            if connection.guest_shut.receive {
                // Whoever has gone away needs no telling.
                let _gone = connection.stream.shutdown(net::Shutdown::Read);
            }
            if resume || connection.guest_shut.receive {
                self.offer_refused(key, receiver);
            }
            if !close {
                self.write(key, receiver);
            }
        }
        if close && !self.closing.remove(&key) {
            self.connections.remove(&key);
            receiver.close(key);
        }
    }

    fn open(&mut self, key: ConnectionKey, receiver: &dyn ConnectionReceiver) {
        match self.connect(key.host) {
            Ok(stream) => {
                self.connections.insert(key, Connection::new(stream, true));
                receiver.opened(key);
            }
            Err(error) => {
                log::debug!("virtio-vsock: port {} of the host: {error}", key.host);
                self.close(key, receiver);
            }
        }
    }

    /// Connects to the socket of a port of the host's. Does not wait for one whose program accepts nothing.
    fn connect(&self, port: u32) -> io::Result<UnixStream> {
        let mut path = OsString::from(&self.path);
        path.push(format!("_{port}"));
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        connect(&socket, &SocketAddrUnix::new(PathBuf::from(path))?)?;
        Ok(UnixStream::from(socket))
    }

    /// Ends a connection from here.
    fn close(&mut self, key: ConnectionKey, receiver: &dyn ConnectionReceiver) {
        self.connections.remove(&key);
        self.closing.insert(key);
        receiver.close(key);
    }

    // What programs on the host want.

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            if self.callers.len() == MOST_CALLERS {
                self.callers.pop_front();
            }
            self.callers.push_back(Caller { stream, line: Vec::new() });
        }
    }

    fn listen_to_callers(&mut self, receiver: &dyn ConnectionReceiver) {
        for mut caller in std::mem::take(&mut self.callers) {
            match caller.listen() {
                Call::Unfinished => self.callers.push_back(caller),
                Call::Port(port) => self.call(caller.stream, port, receiver),
                Call::Nonsense => {}
            }
        }
    }

    fn call(&mut self, stream: UnixStream, guest: u32, receiver: &dyn ConnectionReceiver) {
        let key = self.free_key(guest);
        // It is there before the device says anything of it.
        self.connections.insert(key, Connection::new(stream, false));
        if !receiver.open(key) {
            self.connections.remove(&key);
        }
    }

    fn free_key(&mut self, guest: u32) -> ConnectionKey {
        loop {
            let key = ConnectionKey { guest, host: self.next_port };
            self.next_port = self.next_port.checked_add(1).unwrap_or(FIRST_HOST_PORT);
            if !self.connections.contains_key(&key) && !self.closing.contains(&key) {
                return key;
            }
        }
    }

    // Data.

    fn serve(&mut self, key: ConnectionKey, flags: PollFlags, receiver: &dyn ConnectionReceiver) {
        if flags.intersects(PollFlags::OUT | PollFlags::ERR | PollFlags::HUP) {
            self.write(key, receiver);
        }
        let Some(connection) = self.connections.get_mut(&key) else { return };
        if !connection.wanted().contains(PollFlags::IN) {
            return;
        }
        let mut bytes = vec![0; CHUNK];
        match receive(&connection.stream, &mut bytes) {
            Received::Bytes(count) => {
                bytes.truncate(count);
                connection.refused = bytes;
                self.offer_refused(key, receiver);
            }
            Received::Nothing => {}
            Received::End => {
                connection.ended = true;
                // Whoever has closed it all takes nothing more, either.
                let gone = flags.intersects(PollFlags::HUP | PollFlags::ERR);
                receiver.shut_down(key, Shutdown { send: true, receive: gone });
            }
        }
    }

    fn offer_refused(&mut self, key: ConnectionKey, receiver: &dyn ConnectionReceiver) {
        if let Some(connection) = self.connections.get_mut(&key)
            && !connection.refused.is_empty()
        {
            let taken = receiver.receive(key, &connection.refused);
            connection.refused.drain(..taken);
        }
    }

    fn write(&mut self, key: ConnectionKey, receiver: &dyn ConnectionReceiver) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        let (bytes, _) = connection.output.as_slices();
        if !bytes.is_empty() {
            let Ok(count) = send(&connection.stream, bytes) else {
                return self.close(key, receiver);
            };
            connection.output.drain(..count);
            let own = count.min(connection.own);
            connection.own -= own;
            if count > own {
                receiver.delivered(key, count - own);
            }
        }
        if connection.guest_shut.send && connection.output.is_empty() && !connection.told {
            connection.told = true;
            // Whoever has gone away needs no telling.
            let _gone = connection.stream.shutdown(net::Shutdown::Write);
        }
    }
}

/// What a caller says.
enum Call {
    Unfinished,
    Port(u32),
    Nonsense,
}

impl Caller {
    /// Reads on, byte by byte: what comes behind the line is for the guest.
    fn listen(&mut self) -> Call {
        let mut byte = [0];
        while self.line.len() < LINE {
            match receive(&self.stream, &mut byte) {
                Received::Bytes(_) if byte == *b"\n" => {
                    return self.port().map_or(Call::Nonsense, Call::Port);
                }
                Received::Bytes(_) => self.line.push(byte[0]),
                Received::Nothing => return Call::Unfinished,
                Received::End => return Call::Nonsense,
            }
        }
        Call::Nonsense
    }

    fn port(&self) -> Option<u32> {
        let line = std::str::from_utf8(&self.line).ok()?;
        let port = line.strip_prefix("CONNECT ").or_else(|| line.strip_prefix("connect "))?;
        port.trim_end_matches('\r').parse().ok()
    }
}
