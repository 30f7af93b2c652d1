//! The thread that speaks with debuggers, one at a time. Others are turned away meanwhile.

use super::{
    session::{Over, Session},
    socket::GdbSocket,
};
use crate::{
    exit::ExitReason,
    machine::{MachineHandle, debug::DebugPort},
    sockets::Waker,
};
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, poll};
use std::{
    io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

/// How long to wait where no connection can be accepted.
const BREATH: Duration = Duration::from_millis(10);

/// How others reach the thread.
struct Bell {
    waker: Waker,
    /// The machine has ended, with this exit code.
    ended: Mutex<Option<u8>>,
}

/// The thread, as long as the machine lives.
pub struct GdbServer {
    bell: Arc<Bell>,
    thread: Option<JoinHandle<()>>,
}

impl GdbServer {
    /// Serves debuggers that come to `socket`. With its `wait`, the machine stands until one lets it go on.
    pub fn start(socket: GdbSocket, port: Arc<DebugPort>, machine: MachineHandle) -> io::Result<GdbServer> {
        let bell = Arc::new(Bell { waker: Waker::new()?, ended: Mutex::default() });
        let ring = bell.clone();
        port.connect(move || ring.waker.wake());
        if socket.wait {
            port.hold();
        }
        let worker = Worker { waits: socket.wait, socket, port, machine, bell: bell.clone() };
        let thread = thread::Builder::new().name("gdb".into()).spawn(move || worker.run())?;
        Ok(GdbServer { bell, thread: Some(thread) })
    }

    /// The machine has ended for `reason`, or has failed. Tells the debugger.
    pub fn end(self, reason: Option<&ExitReason>) {
        *self.bell.ended.lock() = Some(reason.map_or(crate::exit::HOST_ERROR, ExitReason::code));
    }
}

impl Drop for GdbServer {
    fn drop(&mut self) {
        self.bell.ended.lock().get_or_insert(crate::exit::HOST_ERROR);
        self.bell.waker.wake();
        if let Some(thread) = self.thread.take() {
            // A panic has ended the process already.
            let _ = thread.join();
        }
    }
}

struct Worker {
    socket: GdbSocket,
    port: Arc<DebugPort>,
    machine: MachineHandle,
    bell: Arc<Bell>,
    /// The machine has not run yet, and waits for a debugger.
    waits: bool,
}

impl Worker {
    fn run(mut self) {
        let mut session = None;
        loop {
            if let Err(error) = self.wait(session.as_ref()) {
                return log::error!("the debugger's socket: {error}");
            }
            self.bell.waker.clear();
            if let Some(code) = *self.bell.ended.lock() {
                if let Some(session) = &mut session {
                    Session::report_end(session, code);
                }
                return;
            }
            self.accept(&mut session);
            if let Some(current) = &mut session {
                current.serve();
            }
            if let Some(over) = session.as_ref().and_then(Session::over)
                && let Some(done) = session.take()
            {
                self.waits = done.close(self.waits);
                log::info!("the debugger {}", farewell(over));
            }
        }
    }

    /// Waits for something to do.
    fn wait(&self, session: Option<&Session>) -> io::Result<()> {
        let listener = self.socket.descriptor();
        let mut polled = vec![
            PollFd::from_borrowed_fd(self.bell.waker.descriptor(), PollFlags::IN),
            PollFd::from_borrowed_fd(listener, PollFlags::IN),
        ];
        polled
            .extend(session.map(|session| PollFd::from_borrowed_fd(session.descriptor(), session.wanted())));
        match poll(&mut polled, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn accept(&self, session: &mut Option<Session>) {
        loop {
            match self.socket.accept() {
                Ok(stream) if session.is_none() => {
                    *session = Session::new(stream, self.port.clone(), self.machine.clone());
                }
                Ok(_) => log::info!("a second debugger is turned away"),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // As when emu may open no more files: it would be offered again at once.
                Err(_) => return thread::sleep(BREATH),
            }
        }
    }
}

fn farewell(over: Over) -> &'static str {
    match over {
        Over::Detached => "detaches",
        Over::Killed => "ends the machine",
        Over::Lost => "is gone",
    }
}
