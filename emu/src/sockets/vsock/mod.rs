//! The host's side of virtio-vsock, as Firecracker and Cloud Hypervisor have it. A program in the guest that connects to
//! port P of the host (address 2) reaches the Unix socket `PATH_P`. A program on the host that wants port P in the guest
//! connects to `PATH`, writes `CONNECT P` and a line feed, and reads `OK Q` and a line feed, where Q is the port that the
//! guest sees at the host's end; then the connection is the two programs'. A connection that the guest refuses ends
//! without a word.

mod worker;

use super::{Waker, listen};
use emu_core::backend::{ConnectionBackend, ConnectionKey, ConnectionReceiver, Shutdown};
use parking_lot::Mutex;
use std::{collections::BTreeMap, io, path::Path, sync::Arc, thread};
use worker::Worker;

/// The sockets.
pub struct VsockSockets(Arc<Shared>);

struct Shared {
    waker: Waker,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    receiver: Option<Arc<dyn ConnectionReceiver>>,
    /// What the device has said and the thread has not heard.
    mail: BTreeMap<ConnectionKey, Mail>,
}

/// What the device has said of a connection: what came first is first here.
#[derive(Default)]
struct Mail {
    /// `close`, as the answer to ours; what is below is of another connection with this key.
    answered: bool,
    open: bool,
    opened: bool,
    bytes: Vec<u8>,
    resume: bool,
    shut_down: Option<Shutdown>,
    close: bool,
}

impl VsockSockets {
    /// Listens at `path`.
    pub fn listen(path: &Path) -> io::Result<VsockSockets> {
        let listener = listen(path)?;
        let shared = Arc::new(Shared { waker: Waker::new()?, state: Mutex::default() });
        let worker = Worker::new(shared.clone(), listener, path);
        thread::Builder::new().name("vsock".into()).spawn(move || worker.run())?;
        Ok(VsockSockets(shared))
    }

    fn tell(&self, key: ConnectionKey, what: impl FnOnce(&mut Mail)) {
        what(self.0.state.lock().mail.entry(key).or_default());
        self.0.waker.wake();
    }
}

impl ConnectionBackend for VsockSockets {
    fn connect(&self, receiver: Arc<dyn ConnectionReceiver>) {
        self.0.state.lock().receiver = Some(receiver);
        self.0.waker.wake();
    }

    fn open(&self, key: ConnectionKey) {
        self.tell(key, |mail| {
            let answered = mail.answered || mail.close;
            *mail = Mail { answered, open: true, ..Mail::default() };
        });
    }

    fn opened(&self, key: ConnectionKey) {
        self.tell(key, |mail| mail.opened = true);
    }

    fn send(&self, key: ConnectionKey, bytes: Vec<u8>) {
        self.tell(key, |mail| {
            if mail.bytes.is_empty() {
                mail.bytes = bytes;
            } else {
                mail.bytes.extend_from_slice(&bytes);
            }
        });
    }

    fn resume(&self, key: ConnectionKey) {
        self.tell(key, |mail| mail.resume = true);
    }

    fn shut_down(&self, key: ConnectionKey, what: Shutdown) {
        self.tell(key, |mail| mail.shut_down = Some(what));
    }

    fn close(&self, key: ConnectionKey) {
        self.tell(key, |mail| mail.close = true);
    }
}

#[cfg(test)]
mod tests;
