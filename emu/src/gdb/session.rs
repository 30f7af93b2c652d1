//! One debugger, from connecting to leaving.
//!
//! What it sends goes byte by byte into gdbstub's state machine, whose answers gather in a buffer. The first answer shows
//! that a debugger speaks, and stops the machine: somebody who only connects, or sends anything else, does not disturb
//! the guest. What breaks the protocol ends the session.

use super::target::{Ended, GdbTarget, StopReason};
use crate::{
    machine::{MachineHandle, debug::DebugPort},
    sockets::{Received, receive, send},
};
use gdbstub::{
    conn::Connection,
    stub::{DisconnectReason, GdbStub, GdbStubError, state_machine::GdbStubStateMachine},
};
use rustix::event::PollFlags;
use std::{
    cell::RefCell,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    rc::Rc,
    sync::Arc,
};

/// The longest packet.
const PACKET: usize = 16 * 1024;
/// Bytes that wait for the debugger, with which nothing more is read from it.
const FULL: usize = 64 * 1024;
/// Bytes that wait for it with which it is let go: it has asked for more than it reads, in one packet.
const TOO_MUCH: usize = 4 << 20;

type Stub = GdbStubStateMachine<'static, GdbTarget, Outgoing>;
type StubError = GdbStubError<Ended, TooMuch>;

/// What waits to be sent.
#[derive(Clone, Default)]
struct Outgoing(Rc<RefCell<Vec<u8>>>);

/// More waits than may.
#[derive(Debug, thiserror::Error)]
#[error("the debugger asks for more than it reads")]
struct TooMuch;

impl Connection for Outgoing {
    type Error = TooMuch;

    fn write(&mut self, byte: u8) -> Result<(), TooMuch> {
        self.write_all(&[byte])
    }

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), TooMuch> {
        let mut waiting = self.0.borrow_mut();
        if waiting.len() + bytes.len() > TOO_MUCH {
            return Err(TooMuch);
        }
        waiting.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), TooMuch> {
        Ok(())
    }
}

/// How a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// The debugger has detached.
    Detached,
    /// It has killed the machine.
    Killed,
    /// It is gone without a word, or has broken the protocol.
    Lost,
}

/// See the module.
pub struct Session {
    stream: OwnedFd,
    /// Out while it works.
    stub: Option<Stub>,
    target: GdbTarget,
    port: Arc<DebugPort>,
    outgoing: Outgoing,
    /// It has been answered.
    speaks: bool,
    /// It wants the machine to stop.
    interrupts: bool,
    over: Option<Over>,
}

impl Session {
    /// Whoever is at the other end of `stream`. `None`: it is gone already.
    pub fn new(stream: OwnedFd, port: Arc<DebugPort>, machine: MachineHandle) -> Option<Session> {
        let outgoing = Outgoing::default();
        let mut target = GdbTarget::new(machine, port.clone());
        let stub = GdbStub::builder(outgoing.clone()).packet_buffer_size(PACKET).build().ok()?;
        let stub = Some(stub.run_state_machine(&mut target).ok()?);
        let (speaks, interrupts, over) = (false, false, None);
        Some(Session { stream, stub, target, port, outgoing, speaks, interrupts, over })
    }

    /// What the stream is to be waited for.
    pub fn wanted(&self) -> PollFlags {
        let waiting = self.outgoing.0.borrow().len();
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::IN, waiting < FULL);
        wanted.set(PollFlags::OUT, waiting > 0);
        wanted
    }

    /// The stream.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// How it is over, if it is.
    pub fn over(&self) -> Option<Over> {
        self.over
    }

    /// Reads what has come, does it, tells that the machine has stopped if it has, and sends what there is.
    pub fn serve(&mut self) {
        if self.over.is_none() && self.wanted().contains(PollFlags::IN) {
            self.read();
        }
        if self.over.is_none()
            && let Err(error) = self.report_stop()
        {
            self.lose(&error);
        }
        self.write();
    }

    fn read(&mut self) {
        let mut bytes = [0; 4096];
        match receive(&self.stream, &mut bytes) {
            Received::Bytes(count) => {
                for byte in &bytes[..count] {
                    if let Err(error) = self.take(*byte) {
                        self.lose(&error);
                    }
                    if self.over.is_some() {
                        return;
                    }
                }
            }
            Received::Nothing => {}
            Received::End => self.over = Some(Over::Lost),
        }
    }

    fn take(&mut self, byte: u8) -> Result<(), StubError> {
        let Some(stub) = self.stub.take() else { return Ok(()) };
        let stub = match stub {
            GdbStubStateMachine::Idle(stub) => stub.incoming_data(&mut self.target, byte)?,
            GdbStubStateMachine::Running(stub) => stub.incoming_data(&mut self.target, byte)?,
            stub @ (GdbStubStateMachine::CtrlCInterrupt(_) | GdbStubStateMachine::Disconnected(_)) => stub,
        };
        self.stub = match stub {
            GdbStubStateMachine::CtrlCInterrupt(stub) => {
                self.interrupts = true;
                Some(stub.interrupt_handled(&mut self.target, None::<StopReason>)?)
            }
            GdbStubStateMachine::Disconnected(stub) => {
                self.over = Some(match stub.get_reason() {
                    DisconnectReason::Kill => Over::Killed,
                    DisconnectReason::Disconnect => Over::Detached,
                    DisconnectReason::TargetExited(_) | DisconnectReason::TargetTerminated(_) => Over::Lost,
                });
                None
            }
            stub => Some(stub),
        };
        if self.over == Some(Over::Killed) {
            // gdb waits for this answer to vKill, which gdbstub leaves to extended mode.
            self.outgoing.0.borrow_mut().extend_from_slice(b"$OK#9a");
        }
        if !self.speaks && !self.outgoing.0.borrow().is_empty() {
            self.speaks = true;
            self.target.hold();
        }
        Ok(())
    }

    /// Tells that the machine has stopped, if it runs for the debugger and has.
    fn report_stop(&mut self) -> Result<(), StubError> {
        if self.interrupts {
            self.target.hold();
        } else if !self.port.has_stopped() {
            return Ok(());
        }
        self.stub = match self.stub.take() {
            Some(GdbStubStateMachine::Running(stub)) => {
                self.interrupts = false;
                match self.target.stop_reason() {
                    Ok(reason) => Some(stub.report_stop(&mut self.target, reason)?),
                    // The server will tell how.
                    Err(Ended) => Some(GdbStubStateMachine::Running(stub)),
                }
            }
            stub => {
                // It stands already.
                self.interrupts = false;
                stub
            }
        };
        Ok(())
    }

    /// The machine has ended, with this exit code.
    pub fn report_end(&mut self, code: u8) {
        if let Some(GdbStubStateMachine::Running(stub)) = self.stub.take() {
            // Nobody may be there to hear it.
            let _gone = stub.report_stop(&mut self.target, StopReason::Exited(code)).is_ok();
        }
        self.over = Some(Over::Lost);
        self.write();
    }

    /// Puts the machine back into the state in which a session finds it. `waits`: it has not run yet, and is to wait for
    /// a debugger. Returns whether it is to wait still.
    pub fn close(mut self, waits: bool) -> bool {
        self.write();
        let lost = self.over != Some(Over::Detached) && !self.target.has_run;
        let waits = waits && lost;
        if self.over == Some(Over::Killed) {
            self.target.kill();
        } else if self.speaks {
            // A machine that has ended has nothing to forget.
            let _ended = self.target.leave(!waits);
        }
        waits
    }

    fn lose(&mut self, error: &StubError) {
        log::info!("the debugger is let go: {error}");
        self.over = Some(Over::Lost);
    }

    fn write(&mut self) {
        let mut waiting = self.outgoing.0.borrow_mut();
        if waiting.is_empty() {
            return;
        }
        match send(&self.stream, &waiting) {
            Ok(count) => drop(waiting.drain(..count)),
            Err(_) => {
                self.over.get_or_insert(Over::Lost);
            }
        }
    }
}
