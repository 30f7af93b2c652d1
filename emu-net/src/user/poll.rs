//! Waiting for the host's sockets: edge-triggered epoll. Each socket is registered once; what it is ready for is kept
//! beside it until it is not.

use rustix::{
    buffer::spare_capacity,
    event::{EventfdFlags, Timespec, epoll, eventfd},
    fd::{AsFd, OwnedFd},
    io,
};

/// Who an event is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The card, the resolver, or the end.
    Wake,
    /// A listening socket for TCP, by its number.
    Listener(usize),
    /// A TCP connection: its slot, and which of the connections that had this slot.
    Tcp(usize, u32),
    /// A flow of UDP, as for TCP.
    Udp(usize, u32),
    /// A socket for forwarded UDP, by its number.
    UdpForward(usize),
    /// A flow of echo requests, as for TCP.
    Echo(usize, u32),
}

impl Source {
    fn encode(self) -> u64 {
        let (kind, slot, generation) = match self {
            Source::Wake => (0, 0, 0),
            Source::Listener(number) => (1, number, 0),
            Source::Tcp(slot, generation) => (2, slot, generation),
            Source::Udp(slot, generation) => (3, slot, generation),
            Source::UdpForward(number) => (4, number, 0),
            Source::Echo(slot, generation) => (5, slot, generation),
        };
        kind << 56 | (slot as u64 & 0xff_ffff) << 32 | u64::from(generation)
    }

    fn decode(data: u64) -> Self {
        let (slot, generation) = ((data >> 32 & 0xff_ffff) as usize, data as u32);
        match data >> 56 {
            1 => Source::Listener(slot),
            2 => Source::Tcp(slot, generation),
            3 => Source::Udp(slot, generation),
            4 => Source::UdpForward(slot),
            5 => Source::Echo(slot, generation),
            _ => Source::Wake,
        }
    }
}

/// What a socket became ready for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ready {
    pub source: Source,
    pub readable: bool,
    pub writable: bool,
    /// The other side sends no more.
    pub ended: bool,
}

/// What has happened.
pub(super) struct Events(Vec<epoll::Event>);

impl Events {
    pub fn new() -> Self {
        Events(Vec::with_capacity(256))
    }

    /// Whether nothing has.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes what has happened.
    pub fn drain(&mut self) -> impl Iterator<Item = Ready> {
        self.0.drain(..).map(|event| {
            let flags = event.flags;
            let failed = flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP);
            Ready {
                source: Source::decode(event.data.u64()),
                readable: flags.contains(epoll::EventFlags::IN) || failed,
                writable: flags.contains(epoll::EventFlags::OUT) || failed,
                ended: flags.contains(epoll::EventFlags::RDHUP) || failed,
            }
        })
    }
}

pub(super) struct Poll(OwnedFd);

impl Poll {
    /// A poll that `wake` can end.
    pub fn new(wake: &OwnedFd) -> io::Result<Self> {
        let poll = Poll(epoll::create(epoll::CreateFlags::CLOEXEC)?);
        poll.add(wake, Source::Wake)?;
        Ok(poll)
    }

    /// Reports what happens to `socket` from now on, until it is closed.
    pub fn add(&self, socket: impl AsFd, source: Source) -> io::Result<()> {
        let flags =
            epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        epoll::add(&self.0, socket, epoll::EventData::new_u64(source.encode()), flags)
    }

    /// Waits for at most `nanos`.
    pub fn wait(&self, nanos: u64, events: &mut Events) {
        let timeout =
            Timespec { tv_sec: (nanos / 1_000_000_000) as i64, tv_nsec: (nanos % 1_000_000_000) as _ };
        events.0.clear();
        // Interrupted or not: whoever waits looks again.
        let _ = epoll::wait(&self.0, spare_capacity(&mut events.0), Some(&timeout));
    }
}

/// Something to wake a [`Poll`] by.
pub(super) fn waker() -> io::Result<OwnedFd> {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
}

/// Wakes who waits for `waker`. Edge-triggered: it need not be read.
pub(super) fn wake(waker: &OwnedFd) {
    if io::write(waker, &1u64.to_ne_bytes()) == Err(io::Errno::AGAIN) {
        // Full after 2^64 wakes: reading makes room.
        let _ = io::read(waker, &mut [0; 8]);
        let _ = io::write(waker, &1u64.to_ne_bytes());
    }
}
