//! The socket that a debugger connects to.

use crate::{
    config::{GdbPlace, GdbSpec},
    sockets::listen_private,
};
use std::{
    fs, io,
    net::TcpListener,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::PathBuf,
};

/// A socket that nobody is connected to yet. A Unix socket's file goes with it.
pub struct GdbSocket {
    listener: Listener,
    /// The machine stands until a debugger has come.
    pub wait: bool,
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

impl GdbSocket {
    /// Listens where `spec` says; at a Unix socket for this user alone.
    pub fn listen(spec: &GdbSpec) -> io::Result<GdbSocket> {
        let listener = match &spec.place {
            GdbPlace::Tcp(host, port) => {
                let listener = TcpListener::bind(format!("{host}:{port}"))?;
                listener.set_nonblocking(true)?;
                Listener::Tcp(listener)
            }
            GdbPlace::Unix(path) => Listener::Unix(listen_private(path)?, path.clone()),
        };
        Ok(GdbSocket { listener, wait: spec.wait })
    }

    /// Becomes readable when somebody connects.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        match &self.listener {
            Listener::Tcp(listener) => listener.as_fd(),
            Listener::Unix(listener, _) => listener.as_fd(),
        }
    }

    /// The next who has connected. Reading from it does not wait.
    pub fn accept(&self) -> io::Result<OwnedFd> {
        match &self.listener {
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                // The protocol is short questions and answers.
                stream.set_nodelay(true)?;
                Ok(stream.into())
            }
            Listener::Unix(listener, _) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok(stream.into())
            }
        }
    }
}

impl Drop for GdbSocket {
    fn drop(&mut self) {
        if let Listener::Unix(_, path) = &self.listener {
            // Somebody may have taken it away.
            let _gone = fs::remove_file(path);
        }
    }
}
