//! A tap: an interface of the host's whose other end is the guest's card (Linux, Documentation/networking/tuntap.rst).
//!
//! Packets carry a virtio header, so that checksums and cutting are left to whoever must do them at last.

use crate::{
    pipe::{Incoming, Pipe},
    vnet_header,
};
use emu_core::backend::{MAX_PACKET, NetworkBackend, NetworkReceiver, Packet};
use parking_lot::Mutex;
use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::{AsRawFd, OwnedFd},
    fs::{Mode, OFlags},
    io::{self, Errno, IoSlice, IoSliceMut},
};
use std::{
    sync::Arc,
    thread::{self, JoinHandle},
};

/// Packets moved in one direction before the other has its turn.
const TURN: usize = 64;

/// Why there is no tap.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// The host has no such device.
    #[error("--net tap:{0}: the host has no /dev/net/tun, so there are no taps; use --net user")]
    NoTaps(String),
    /// Not for this user.
    #[error(
        "--net tap:{0}: not permitted; let an administrator make the interface with `ip tuntap add {0} mode tap user NAME`, or use --net user"
    )]
    NotPermitted(String),
    /// Another program has it.
    #[error("--net tap:{0}: the interface is in use by another program")]
    InUse(String),
    /// The interface is something else.
    #[error("--net tap:{0}: there is an interface of this name that is no tap")]
    NoTap(String),
    /// Something else.
    #[error("--net tap:{0}: the interface cannot be opened")]
    Host(String, #[source] std::io::Error),
}

impl TapError {
    fn new(name: &str, error: Errno) -> Self {
        let name = name.to_owned();
        match error {
            Errno::NOENT | Errno::NODEV | Errno::NXIO => TapError::NoTaps(name),
            Errno::PERM | Errno::ACCESS => TapError::NotPermitted(name),
            Errno::BUSY => TapError::InUse(name),
            Errno::INVAL => TapError::NoTap(name),
            error => TapError::Host(name, error.into()),
        }
    }
}

/// A tap. It is let go when this is dropped.
pub struct TapNetwork {
    pipe: Arc<Pipe>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl TapNetwork {
    /// Opens the tap called `name`, or makes it where that is permitted.
    pub fn open(name: &str) -> Result<Self, TapError> {
        let failed = |error| TapError::new(name, error);
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::open("/dev/net/tun", flags, Mode::empty()).map_err(failed)?;
        configure(&file, name).map_err(failed)?;
        let pipe = Arc::new(Pipe::new().map_err(failed)?);
        let shared = pipe.clone();
        let thread = thread::Builder::new().name("tap".into()).spawn(move || run(&file, &shared));
        let thread = thread.map_err(|error| TapError::Host(name.into(), error))?;
        Ok(TapNetwork { pipe, thread: Mutex::new(Some(thread)) })
    }
}

/// Makes `file` the tap called `name`, with offloads.
fn configure(file: &OwnedFd, name: &str) -> io::Result<()> {
    const FLAGS: i32 = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    // SAFETY: all zeroes is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name[..room].iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = FLAGS as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes an ifreq, which lives as long as the call.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as libc::Ioctl, &mut request) })?;
    let header = vnet_header::LEN as libc::c_int;
    // SAFETY: TUNSETVNETHDRSZ reads an int, which lives as long as the call.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETVNETHDRSZ as libc::Ioctl, &header) })?;
    let little_endian: libc::c_int = 1;
    // SAFETY: TUNSETVNETLE reads an int, which lives as long as the call.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETVNETLE as libc::Ioctl, &little_endian) })?;
    let offloads = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
    // SAFETY: TUNSETOFFLOAD takes its argument by value.
    check(unsafe {
        libc::ioctl(file.as_raw_fd(), libc::TUNSETOFFLOAD as libc::Ioctl, libc::c_ulong::from(offloads))
    })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result >= 0 {
        return Ok(());
    }
    let error = std::io::Error::last_os_error();
    Err(Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

fn run(file: &OwnedFd, pipe: &Pipe) {
    let mut incoming = Incoming::default();
    let mut refused = None;
    let mut buffer = vec![0; MAX_PACKET];
    while !pipe.is_stopped() {
        // What the card refused it takes after `resume`, which wakes this thread.
        incoming.deliver(pipe);
        let mut events = PollFlags::empty();
        if incoming.is_empty() {
            events |= PollFlags::IN;
        }
        if refused.is_some() || pipe.has_outgoing() {
            events |= PollFlags::OUT;
        }
        let mut descriptors = [PollFd::new(file, events), PollFd::new(pipe.waker(), PollFlags::IN)];
        if poll(&mut descriptors, None).is_err() {
            continue;
        }
        let (ready, woken) = (descriptors[0].revents(), descriptors[1].revents());
        if !woken.is_empty() {
            pipe.awake();
        }
        if ready.intersects(PollFlags::ERR | PollFlags::NVAL) {
            log::error!("network: the tap is gone");
            return;
        }
        if ready.contains(PollFlags::IN) {
            (0..TURN).take_while(|_| read(file, &mut buffer, pipe, &mut incoming)).for_each(drop);
        }
        if ready.contains(PollFlags::OUT) {
            refused = write(file, pipe, refused);
        }
    }
}

/// Reads a packet. False if there is none.
fn read(file: &OwnedFd, buffer: &mut [u8], pipe: &Pipe, incoming: &mut Incoming) -> bool {
    let mut header = [0; vnet_header::LEN];
    let result = io::readv(file, &mut [IoSliceMut::new(&mut header), IoSliceMut::new(buffer)]);
    let Ok(len) = result else { return false };
    let Some(bytes) = len.checked_sub(vnet_header::LEN).and_then(|len| buffer.get(..len)) else {
        return false;
    };
    if let Some(packet) = vnet_header::decode(&header, bytes.to_vec()) {
        incoming.push(pipe, packet);
    }
    true
}

/// Writes what the card has sent. Returns what the host has no room for.
fn write(file: &OwnedFd, pipe: &Pipe, mut refused: Option<Packet>) -> Option<Packet> {
    for _ in 0..TURN {
        let packet = refused.take().or_else(|| pipe.next())?;
        let header = vnet_header::encode(&packet);
        let result = io::writev(file, &[IoSlice::new(&header), IoSlice::new(&packet.bytes)]);
        // What contradicts itself the host refuses: it is lost, as is what comes while the interface is down.
        if result == Err(Errno::AGAIN) {
            return Some(packet);
        }
    }
    None
}

impl NetworkBackend for TapNetwork {
    fn connect(&self, receiver: Arc<dyn NetworkReceiver>) {
        self.pipe.connect(receiver);
    }

    fn send(&self, packets: Vec<Packet>) {
        self.pipe.send(packets);
    }

    fn resume(&self) {
        self.pipe.wake();
    }
}

impl Drop for TapNetwork {
    fn drop(&mut self) {
        self.pipe.stop();
        if let Some(thread) = self.thread.lock().take()
            && thread.thread().id() != thread::current().id()
        {
            let _ = thread.join();
        }
    }
}
