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
    replace_and_listen(path, |path| UnixListener::bind(path))
}

/// As [`listen`], for this user alone.
pub fn listen_private(path: &Path) -> io::Result<UnixListener> {
    use rustix::{fs::Mode, net};
    const BACKLOG: i32 = 8;
    replace_and_listen(path, |path| {
        let flags = net::SocketFlags::CLOEXEC;
        let socket = net::socket_with(net::AddressFamily::UNIX, net::SocketType::STREAM, flags, None)?;
        // The file that bind makes has the socket's mode, so nobody else finds it open for a moment.
        rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        net::bind(&socket, &net::SocketAddrUnix::new(path)?)?;
        net::listen(&socket, BACKLOG)?;
        Ok(socket.into())
    })
}

fn replace_and_listen(
    path: &Path,
    bind: impl Fn(&Path) -> io::Result<UnixListener>,
) -> io::Result<UnixListener> {
    let listener = match bind(path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let is_socket = fs::symlink_metadata(path)?.file_type().is_socket();
            if !is_socket || UnixStream::connect(path).is_ok() {
                return Err(error);
            }
            fs::remove_file(path)?;
            bind(path)?
        }
        other => other?,
    };
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Wakes a thread that waits for descriptors.
pub(crate) struct Waker {
    asleep: UnixStream,
    awake: UnixStream,
}

impl Waker {
    pub(crate) fn new() -> io::Result<Waker> {
        let (asleep, awake) = UnixStream::pair()?;
        asleep.set_nonblocking(true)?;
        awake.set_nonblocking(true)?;
        Ok(Waker { asleep, awake })
    }

    /// Wakes the thread, now or when it is about to wait.
    pub(crate) fn wake(&self) {
        // Where it is full, the thread has been woken already.
        let _full = (&self.awake).write(&[0]);
    }

    /// What the thread waits for besides.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.asleep.as_fd()
    }

    /// The thread is awake.
    pub(crate) fn clear(&self) {
        while (&self.asleep).read(&mut [0; 64]).is_ok_and(|count| count > 0) {}
    }
}

/// What came of reading.
pub(crate) enum Received {
    Bytes(usize),
    Nothing,
    /// The other side sends no more.
    End,
}

pub(crate) fn receive(stream: impl AsFd, bytes: &mut [u8]) -> Received {
    match rustix::io::read(stream, bytes) {
        Ok(0) => Received::End,
        Ok(count) => Received::Bytes(count),
        Err(Errno::AGAIN | Errno::INTR) => Received::Nothing,
        Err(_) => Received::End,
    }
}

/// Sends what can be sent at once. An error is the end of the connection.
pub(crate) fn send(stream: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    // A peer that has gone away is no reason for a signal.
    match rustix::net::send(stream, bytes, rustix::net::SendFlags::NOSIGNAL) {
        Ok(count) => Ok(count),
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_socket_is_its_users_alone() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let _listener = listen_private(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(UnixStream::connect(&path).is_ok());
    }

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
