//! Two machines joined by a Unix socket: whoever comes first listens, the other connects, and whoever is left waits for
//! the next.
//!
//! Each side says hello with eight bytes. Then each packet is a length (32 bits, little-endian), the header of
//! `vnet_header`, and so many bytes: what a packet lacks is left to the side that must do it.

use crate::{
    pipe::{Incoming, Pipe},
    vnet_header,
};
use emu_core::backend::{MAX_PACKET, NetworkBackend, NetworkReceiver, Packet};
use parking_lot::Mutex;
use rustix::{
    buffer::spare_capacity,
    event::{PollFd, PollFlags, Timespec, poll},
    fs::FlockOperation,
    io::Errno,
};
use std::{
    fs::{self, File},
    io,
    os::unix::{
        fs::FileTypeExt,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

const HELLO: &[u8; 8] = b"emu-net1";
const HEADER: usize = 4 + vnet_header::LEN;
/// Bytes written and read at once, about.
const BATCH: usize = 256 << 10;
/// Nanoseconds until another attempt to find a peer.
const AGAIN: i64 = 200_000_000;

/// Why machines cannot be joined.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// There is a file of that name.
    #[error("--net socket:{}: there is a file that is no socket; choose another path", .0.display())]
    NoSocket(PathBuf),
    /// The directory is missing or may not be written.
    #[error("--net socket:{}: no socket can be made there", .0.display())]
    Bind(PathBuf, #[source] io::Error),
    /// Somebody listens who is not for us.
    #[error("--net socket:{}: the socket cannot be connected to", .0.display())]
    Connect(PathBuf, #[source] io::Error),
    /// The host has no more files or threads.
    #[error("--net socket:{}: the host cannot make it", .0.display())]
    Host(PathBuf, #[source] io::Error),
}

/// One end. It is closed when this is dropped.
pub struct SocketNetwork {
    pipe: Arc<Pipe>,
    joined: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl SocketNetwork {
    /// Listens at `path`, or connects if another machine does.
    pub fn open(path: &Path) -> Result<Self, SocketError> {
        let role = meet(path)?;
        let pipe = Arc::new(Pipe::new().map_err(|error| SocketError::Host(path.into(), error.into()))?);
        let joined = Arc::new(AtomicBool::new(false));
        let link = Link { path: path.into(), role, pipe: pipe.clone(), joined: joined.clone(), peer: None };
        let thread = thread::Builder::new().name("network socket".into()).spawn(move || link.run());
        let thread = thread.map_err(|error| SocketError::Host(path.into(), error))?;
        Ok(SocketNetwork { pipe, joined, thread: Mutex::new(Some(thread)) })
    }
}

/// What this end is, as long as the other is away.
enum Role {
    Listening(UnixListener),
    Connected(UnixStream),
    /// To be found out anew.
    Undecided,
}

/// Finds out which end this is.
fn meet(path: &Path) -> Result<Role, SocketError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = |error| SocketError::Bind(path.into(), error);
    // Two that start at once, and find the socket of one that has died, must not both think that they are the first.
    let directory = File::open(parent).map_err(failed)?;
    rustix::fs::flock(&directory, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
    match UnixStream::connect(path) {
        Ok(stream) => return Ok(Role::Connected(stream)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            let is_socket = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
            if !is_socket {
                return Err(SocketError::NoSocket(path.into()));
            }
            fs::remove_file(path).map_err(failed)?;
        }
        Err(error) => return Err(SocketError::Connect(path.into(), error)),
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(Role::Listening(listener))
}

/// The other machine.
struct Peer {
    stream: UnixStream,
    /// What is being written, and from where on.
    writing: Vec<u8>,
    written: usize,
    reading: Vec<u8>,
    greeted: bool,
}

impl Peer {
    fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Peer {
            stream,
            writing: HELLO.to_vec(),
            written: 0,
            reading: Vec::with_capacity(BATCH),
            greeted: false,
        })
    }

    /// Writes what waits.
    fn write(&mut self, pipe: &Pipe) -> io::Result<()> {
        loop {
            if self.written == self.writing.len() {
                self.writing.clear();
                self.written = 0;
                self.fill(pipe);
            }
            if self.writing.is_empty() {
                return Ok(());
            }
            match rustix::net::send(
                &self.stream,
                &self.writing[self.written..],
                rustix::net::SendFlags::NOSIGNAL,
            ) {
                Ok(len) => self.written += len,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn fill(&mut self, pipe: &Pipe) {
        while self.writing.len() < BATCH {
            let Some(packet) = pipe.next() else { return };
            self.writing.extend_from_slice(&(packet.bytes.len() as u32).to_le_bytes());
            self.writing.extend_from_slice(&vnet_header::encode(&packet));
            self.writing.extend_from_slice(&packet.bytes);
        }
    }

    /// Reads what has come. An error is the end of the connection.
    fn read(&mut self, pipe: &Pipe, incoming: &mut Incoming) -> io::Result<()> {
        self.reading.reserve(BATCH);
        match rustix::io::read(&self.stream, spare_capacity(&mut self.reading)) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let mut at = 0;
        if !self.greeted {
            let Some(hello) = self.reading.get(..HELLO.len()) else { return Ok(()) };
            if hello != HELLO {
                return Err(io::Error::other("the other side speaks another language"));
            }
            self.greeted = true;
            at = HELLO.len();
        }
        while let Some((packet, len)) = parse(&self.reading[at..])? {
            packet.into_iter().for_each(|packet| incoming.push(pipe, packet));
            at += len;
        }
        self.reading.drain(..at);
        Ok(())
    }
}

/// The packet at the beginning of `bytes`, if it is sound, and its length there; nothing if it is not whole yet.
fn parse(bytes: &[u8]) -> io::Result<Option<(Option<Packet>, usize)>> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else { return Ok(None) };
    let [a, b, c, d, header @ ..] = *header;
    let len = u32::from_le_bytes([a, b, c, d]) as usize;
    if len > MAX_PACKET {
        return Err(io::Error::other("a packet is too long"));
    }
    let packet = rest.get(..len);
    Ok(packet.map(|bytes| (vnet_header::decode(&header, bytes.to_vec()), HEADER + len)))
}

struct Link {
    path: PathBuf,
    role: Role,
    pipe: Arc<Pipe>,
    joined: Arc<AtomicBool>,
    peer: Option<Peer>,
}

impl Link {
    fn run(mut self) {
        let mut incoming = Incoming::default();
        while !self.pipe.is_stopped() {
            self.find_peer();
            incoming.deliver(&self.pipe);
            if let Err(error) = self.exchange(&mut incoming) {
                log::info!("--net socket:{}: the other machine is gone: {error}", self.path.display());
                self.peer = None;
            }
        }
        if let Role::Listening(_) = self.role {
            let _ = fs::remove_file(&self.path);
        }
    }

    /// Makes a peer of who has connected, or looks for one.
    fn find_peer(&mut self) {
        if let Role::Undecided = self.role
            && self.peer.is_none()
        {
            match meet(&self.path) {
                Ok(role) => self.role = role,
                Err(error) => log::debug!("{error}"),
            }
        }
        if let Role::Connected(_) = self.role
            && let Role::Connected(stream) = std::mem::replace(&mut self.role, Role::Undecided)
        {
            self.peer = Peer::new(stream).ok();
        }
        while let Role::Listening(listener) = &self.role
            && let Ok((stream, _)) = listener.accept()
        {
            // A cable has two ends: a third machine is turned away.
            if self.peer.is_none() {
                self.peer = Peer::new(stream).ok();
            }
        }
        let joined = self.peer.as_ref().is_some_and(|peer| peer.greeted);
        self.joined.store(joined, Ordering::Relaxed);
        if self.peer.is_none() {
            self.pipe.discard_outgoing();
        }
    }

    /// Waits, and moves what can be moved.
    fn exchange(&mut self, incoming: &mut Incoming) -> io::Result<()> {
        if let Some(peer) = &mut self.peer {
            peer.write(&self.pipe)?;
        }
        let mut descriptors = vec![PollFd::new(self.pipe.waker(), PollFlags::IN)];
        if let Role::Listening(listener) = &self.role {
            descriptors.push(PollFd::new(listener, PollFlags::IN));
        }
        if let Some(peer) = &self.peer {
            let mut events = PollFlags::empty();
            events.set(PollFlags::IN, incoming.is_empty());
            events.set(PollFlags::OUT, !peer.writing.is_empty());
            descriptors.push(PollFd::new(&peer.stream, events));
        }
        let undecided = matches!(self.role, Role::Undecided) && self.peer.is_none();
        let timeout = undecided.then_some(Timespec { tv_sec: 0, tv_nsec: AGAIN as _ });
        // Interrupted or not: all is looked at again.
        let _ = poll(&mut descriptors, timeout.as_ref());
        if !descriptors[0].revents().is_empty() {
            self.pipe.awake();
        }
        if let Some(peer) = &mut self.peer
            && incoming.is_empty()
        {
            peer.read(&self.pipe, incoming)?;
        }
        Ok(())
    }
}

impl NetworkBackend for SocketNetwork {
    fn connect(&self, receiver: Arc<dyn NetworkReceiver>) {
        self.pipe.connect(receiver);
    }

    fn send(&self, packets: Vec<Packet>) {
        self.pipe.send(packets);
    }

    fn resume(&self) {
        self.pipe.wake();
    }

    fn link_up(&self) -> bool {
        self.joined.load(Ordering::Relaxed)
    }
}

impl Drop for SocketNetwork {
    fn drop(&mut self) {
        self.pipe.stop();
        if let Some(thread) = self.thread.lock().take()
            && thread.thread().id() != thread::current().id()
        {
            let _ = thread.join();
        }
    }
}
