//! Unix sockets of the host that lead into the guest: of virtio ports ([`port`]) and of virtio-vsock ([`vsock`]).
//!
//! Each has a thread that waits for all its descriptors at once, and is woken by a [`Waker`] for what the guest wants.

pub mod port;
pub mod vsock;

use rustix::io::Errno;
use std::{
    fs,
    io::{self, ErrorKind, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{
            fs::FileTypeExt,
            net::{UnixListener, UnixStream},
        },
    },
    path::Path,
};

/// Bytes that are read or written together.
const CHUNK: usize = 64 * 1024;

/// Listens at `path`. A socket that a process has left behind is replaced; nothing else is.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let is_socket = fs::symlink_metadata(path)?.file_type().is_socket();
            if !is_socket || UnixStream::connect(path).is_ok() {
                return Err(error);
            }
            fs::remove_file(path)?;
            UnixListener::bind(path)?
        }
        other => other?,
    };
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Wakes a thread that waits for descriptors.
struct Waker {
    asleep: UnixStream,
    awake: UnixStream,
}

impl Waker {
    fn new() -> io::Result<Waker> {
        let (asleep, awake) = UnixStream::pair()?;
        asleep.set_nonblocking(true)?;
        awake.set_nonblocking(true)?;
        Ok(Waker { asleep, awake })
    }

    /// Wakes the thread, now or when it is about to wait.
    fn wake(&self) {
        // Where it is full, the thread has been woken already.
        let _full = (&self.awake).write(&[0]);
    }

    /// What the thread waits for besides.
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.asleep.as_fd()
    }

    /// The thread is awake.
    fn clear(&self) {
        while (&self.asleep).read(&mut [0; 64]).is_ok_and(|count| count > 0) {}
    }
}

/// What came of reading.
enum Received {
    Bytes(usize),
    Nothing,
    /// The other side sends no more.
    End,
}

fn receive(mut stream: &UnixStream, bytes: &mut [u8]) -> Received {
    match stream.read(bytes) {
        Ok(0) => Received::End,
        Ok(count) => Received::Bytes(count),
        Err(error) if is_temporary(&error) => Received::Nothing,
        Err(_) => Received::End,
    }
}

/// Sends what can be sent at once. An error is the end of the connection.
fn send(stream: &UnixStream, bytes: &[u8]) -> io::Result<usize> {
    // A peer that has gone away is no reason for a signal.
    match rustix::net::send(stream, bytes, rustix::net::SendFlags::NOSIGNAL) {
        Ok(count) => Ok(count),
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

fn is_temporary(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_was_left_behind_is_replaced_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        drop(listen(&path).unwrap());
        let listener = listen(&path).unwrap();
        assert_eq!(listen(&path).unwrap_err().kind(), ErrorKind::AddrInUse, "somebody listens there");
        drop(listener);
        let file = directory.path().join("file");
        fs::write(&file, "precious").unwrap();
        assert!(listen(&file).is_err());
        assert_eq!(fs::read(&file).unwrap(), b"precious");
    }
}
