//! Connections between programs in the guest and programs on the host: the host's side of a socket device.
//!
//! Who is asked to open one answers [`opened`](ConnectionBackend::opened) or `close`. Each side may say that it will
//! send no more, or wants no more ([`Shutdown`]). Either side ends a connection by `close`, and the other answers it by
//! its own `close`, whatever it has said before: only then may the key name another connection. A side that has said
//! `close` hears of the connection nothing but the other's.

use std::sync::Arc;

/// Which connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionKey {
    /// The port in the guest.
    pub guest: u32,
    /// The port on the host.
    pub host: u32,
}

/// What a side will do no more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shutdown {
    /// It takes no more.
    pub receive: bool,
    /// It sends no more.
    pub send: bool,
}

impl Shutdown {
    /// Both.
    pub const BOTH: Shutdown = Shutdown { receive: true, send: true };

    /// What either says.
    pub fn and(self, other: Shutdown) -> Shutdown {
        Shutdown { receive: self.receive | other.receive, send: self.send | other.send }
    }
}

/// The host's side.
pub trait ConnectionBackend: Send + Sync {
    /// Connects the device. Once, before anything else.
    fn connect(&self, receiver: Arc<dyn ConnectionReceiver>);
    /// The guest asks for a connection.
    fn open(&self, key: ConnectionKey);
    /// The guest takes the connection that the host had asked for.
    fn opened(&self, key: ConnectionKey);
    /// Bytes from the guest. All are taken: the device lets the guest send no more than what the backend may have to keep,
    /// of which [`ConnectionReceiver::delivered`] keeps account.
    fn send(&self, key: ConnectionKey, bytes: Vec<u8>);
    /// The guest, which had refused bytes, has room again.
    fn resume(&self, key: ConnectionKey);
    /// What the guest will do no more. What it has sent before is delivered.
    fn shut_down(&self, key: ConnectionKey, what: Shutdown);
    /// The guest, or the device, ends it: what has not been delivered is lost.
    fn close(&self, key: ConnectionKey);
}

/// The device, as the host's side sees it. Called on a thread of the backend's.
pub trait ConnectionReceiver: Send + Sync {
    /// The host asks for a connection. False: there are too many, or the guest is not ready; there is no more of this one.
    fn open(&self, key: ConnectionKey) -> bool;
    /// The host takes the connection that the guest had asked for.
    fn opened(&self, key: ConnectionKey);
    /// Offers bytes. Returns how many were taken; the others are offered again after [`ConnectionBackend::resume`].
    fn receive(&self, key: ConnectionKey, bytes: &[u8]) -> usize;
    /// So many bytes of the guest's have been delivered: there is room for as many.
    fn delivered(&self, key: ConnectionKey, bytes: usize);
    /// What the host will do no more.
    fn shut_down(&self, key: ConnectionKey, what: Shutdown);
    /// The host ends it, or knows of its end.
    fn close(&self, key: ConnectionKey);
}
