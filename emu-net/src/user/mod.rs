//! User-mode NAT: a network for one machine that needs no privilege, as all that leaves it does so by sockets of this
//! process.
//!
//! On the cable there are a gateway, which also is the DHCP server and the IPv6 router, a name server, and the guest
//! (`plan`). One thread (`switch`) does everything; only the resolver has others, as it waits. What comes from the guest
//! goes from `frame` to the protocol: `link` for ARP and neighbour discovery, `dhcp`, `dns`, `echo`, `udp`, `tcp`. What
//! goes to it goes through `outlet`.
//!
//! Left out: ICMP other than echo and unreachability, multicast, DHCPv6 (the router advertises all there is), errors of
//! UDP that come later than sending.

mod dhcp;
mod dns;
mod echo;
mod fragments;
mod frame;
mod inbox;
mod link;
mod outlet;
mod plan;
mod poll;
mod switch;
mod tcp;
mod udp;
mod wire;

pub use plan::{DNS, DNS6, GATEWAY, GATEWAY6, GUEST};

use emu_core::backend::{NetworkBackend, NetworkReceiver, Packet};
use inbox::Inbox;
use parking_lot::Mutex;
use poll::Poll;
use socket2::{Domain, Socket, Type};
use std::{
    fmt, io,
    net::SocketAddr,
    sync::Arc,
    thread::{self, JoinHandle},
};
use switch::Switch;
use wire::Wire;

/// What can be forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        })
    }
}

/// A port of the host's that leads to one of the guest's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// What is forwarded.
    pub protocol: Protocol,
    /// Where the host listens.
    pub host: SocketAddr,
    /// Where it leads, at the guest's address.
    pub guest_port: u16,
}

/// What a user network is to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserOptions {
    /// The guest reaches nothing on its own: only what is forwarded gets to it, and answers out.
    pub restrict: bool,
    /// Ports that lead to the guest.
    pub forwards: Vec<Forward>,
}

/// Why there is no user network.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// Another program has it.
    #[error("--forward {0}: port {port} of {address} is in use already; choose another", port = .0.host.port(), address = .0.host.ip())]
    PortInUse(Forward),
    /// Only for the privileged.
    #[error("--forward {0}: port {port} may only be opened by the superuser; choose one from 1024 on", port = .0.host.port())]
    PrivilegedPort(Forward),
    /// Not one of this host's.
    #[error("--forward {0}: the host has no address {address}; write one that it has, or 127.0.0.1", address = .0.host.ip())]
    NoSuchAddress(Forward),
    /// Something else is wrong with a forward.
    #[error("--forward {0}: the host cannot listen there")]
    Forward(Forward, #[source] io::Error),
    /// The host has no more files or threads.
    #[error("the host cannot make a network for the guest")]
    Host(#[from] io::Error),
}

impl From<rustix::io::Errno> for UserError {
    fn from(error: rustix::io::Errno) -> Self {
        UserError::Host(error.into())
    }
}

/// The network. It ends when this is dropped.
pub struct UserNetwork {
    inbox: Arc<Inbox>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl UserNetwork {
    /// Opens what is forwarded, and starts.
    pub fn start(options: &UserOptions) -> Result<Self, UserError> {
        let inbox = Arc::new(Inbox::new()?);
        let wire = Wire::new(Poll::new(&inbox.waker)?, inbox.clone(), options.restrict);
        let (mut listeners, mut sockets) = (Vec::new(), Vec::new());
        for forward in &options.forwards {
            let socket = listen(forward).map_err(|error| explain(*forward, error))?;
            match forward.protocol {
                Protocol::Tcp => listeners.push((socket, forward.guest_port)),
                Protocol::Udp => sockets.push((socket, forward.guest_port)),
            }
        }
        let (tcp, udp) = (tcp::Tcp::new(listeners, &wire)?, udp::Udp::new(sockets, &wire)?);
        let switch = Switch::new(wire, tcp, udp);
        let thread = thread::Builder::new().name("network".into()).spawn(move || switch.run())?;
        Ok(UserNetwork { inbox, thread: Mutex::new(Some(thread)) })
    }
}

fn listen(forward: &Forward) -> io::Result<Socket> {
    let kind = match forward.protocol {
        Protocol::Tcp => Type::STREAM,
        Protocol::Udp => Type::DGRAM,
    };
    let socket = Socket::new(Domain::for_address(forward.host), kind, None)?;
    socket.set_nonblocking(true)?;
    if forward.host.is_ipv6() {
        // All of IPv6 is not all of IPv4: who wants both writes both.
        socket.set_only_v6(true)?;
    }
    if forward.protocol == Protocol::Tcp {
        // A machine that is started again must not wait for the old one's connections.
        socket.set_reuse_address(true)?;
    }
    socket.bind(&forward.host.into())?;
    if forward.protocol == Protocol::Tcp {
        socket.listen(128)?;
    }
    Ok(socket)
}

fn explain(forward: Forward, error: io::Error) -> UserError {
    match error.kind() {
        io::ErrorKind::AddrInUse => UserError::PortInUse(forward),
        io::ErrorKind::PermissionDenied => UserError::PrivilegedPort(forward),
        io::ErrorKind::AddrNotAvailable => UserError::NoSuchAddress(forward),
        _ => UserError::Forward(forward, error),
    }
}

impl NetworkBackend for UserNetwork {
    fn connect(&self, receiver: Arc<dyn NetworkReceiver>) {
        self.inbox.put(|mail| mail.receiver = Some(receiver));
    }

    fn send(&self, packets: Vec<Packet>) {
        self.inbox.send(packets);
    }

    fn resume(&self) {
        self.inbox.put(|mail| mail.resumed = true);
    }
}

impl Drop for UserNetwork {
    fn drop(&mut self) {
        self.inbox.put(|mail| mail.stop = true);
        // Dropped by its own thread, through the card that it holds, it cannot wait for itself.
        if let Some(thread) = self.thread.lock().take()
            && thread.thread().id() != thread::current().id()
        {
            let _ = thread.join();
        }
    }
}
