//! The thread that speaks with all clients.

use super::{
    commands,
    protocol::{self, Arguments, Failure, Input, Request},
};
use crate::{
    machine::{Happening, MachineHandle, Observer},
    sockets::{Received, Waker, listen_private, receive, send},
};
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};
use std::{
    fs, io,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

/// Clients at the same time. Others wait until one has gone.
const MOST_CLIENTS: usize = 8;
/// Bytes that wait for a client, with which nothing more is read from it.
const FULL: usize = 64 * 1024;
/// Bytes that wait for a client that does not read, with which it is let go.
const TOO_SLOW: usize = 1 << 20;
/// How often a client may have the machine stand.
const BREATH: Duration = Duration::from_millis(10);
/// How long the end waits for clients to read what is left for them.
const FAREWELL: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// A socket that nobody speaks at yet. Its file goes with it.
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlSocket {
    /// Listens at `path`, for this user alone.
    pub fn listen(path: &Path) -> io::Result<ControlSocket> {
        Ok(ControlSocket { listener: listen_private(path)?, path: path.to_owned() })
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // Somebody may have taken it away.
        let _gone = fs::remove_file(&self.path);
    }
}

/// What waits to be sent, from whatever thread.
struct Outbox {
    waker: Waker,
    state: Mutex<OutboxState>,
}

#[derive(Default)]
struct OutboxState {
    /// Answers and the numbers of the clients they are for.
    answers: Vec<(u64, Value)>,
    events: Vec<Value>,
    ending: bool,
}

/// Events between two looks of the thread. There are that many only if it is stuck.
const MOST_EVENTS: usize = 1024;

impl Observer for Outbox {
    fn happened(&self, happening: &Happening) {
        let reset = |by_guest: &bool| if *by_guest { "guest-reset" } else { "host-qmp-system-reset" };
        let shutdown = |by_guest: &bool| if *by_guest { "guest-shutdown" } else { "host-qmp-quit" };
        let event = match happening {
            Happening::Stopped => protocol::event("STOP", None),
            Happening::Resumed => protocol::event("RESUME", None),
            Happening::Reset(by_guest) => {
                protocol::event("RESET", Some(json!({ "guest": by_guest, "reason": reset(by_guest) })))
            }
            Happening::PowerDown => protocol::event("POWERDOWN", None),
            Happening::Shutdown(by_guest) => {
                protocol::event("SHUTDOWN", Some(json!({ "guest": by_guest, "reason": shutdown(by_guest) })))
            }
            Happening::NoRoom { disk, reason } => {
                let device = format!("disk{disk}");
                let data = json!({
                    "device": device, "node-name": device, "operation": "write", "action": "stop",
                    "nospace": true, "reason": reason,
                });
                protocol::event("BLOCK_IO_ERROR", Some(data))
            }
        };
        let mut state = self.state.lock();
        if state.events.len() < MOST_EVENTS {
            state.events.push(event);
        }
        drop(state);
        self.waker.wake();
    }
}

/// The way back to the client that has sent a command. Dropped, it tells that the machine has ended.
pub struct Reply {
    outbox: Arc<Outbox>,
    client: u64,
    id: Option<Value>,
    sent: bool,
}

impl Reply {
    /// Answers.
    pub fn send(mut self, result: Result<Value, Failure>) {
        self.put(result);
    }

    fn put(&mut self, result: Result<Value, Failure>) {
        self.sent = true;
        let answer = protocol::answer(result, self.id.take());
        self.outbox.state.lock().answers.push((self.client, answer));
        self.outbox.waker.wake();
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.sent {
            self.put(Err(Failure::new("the machine has ended")));
        }
    }
}

/// The thread, as long as the machine lives.
pub struct ControlServer {
    outbox: Arc<Outbox>,
    thread: Option<JoinHandle<()>>,
}

impl ControlServer {
    /// Serves clients of `socket`.
    pub fn start(socket: ControlSocket, machine: MachineHandle) -> io::Result<ControlServer> {
        let outbox = Arc::new(Outbox { waker: Waker::new()?, state: Mutex::default() });
        machine.observe(outbox.clone());
        let worker = Worker { socket, machine, outbox: outbox.clone(), clients: Vec::new(), next: 0 };
        let thread = thread::Builder::new().name("control".into()).spawn(move || worker.run())?;
        Ok(ControlServer { outbox, thread: Some(thread) })
    }
}

impl Drop for ControlServer {
    /// Waits a moment for clients to read the last words.
    fn drop(&mut self) {
        self.outbox.state.lock().ending = true;
        self.outbox.waker.wake();
        if let Some(thread) = self.thread.take() {
            // A panic has ended the process already.
            let _ = thread.join();
        }
    }
}

struct Client {
    number: u64,
    stream: UnixStream,
    input: Input,
    output: Vec<u8>,
    /// It has gone through the negotiation of capabilities.
    ready: bool,
    /// Its command is under way.
    busy: bool,
    /// It has hung up, or is let go.
    gone: bool,
}

struct Worker {
    socket: ControlSocket,
    machine: MachineHandle,
    outbox: Arc<Outbox>,
    clients: Vec<Client>,
    /// The number of the next client.
    next: u64,
}

impl Worker {
    fn run(mut self) {
        loop {
            if let Err(error) = self.wait() {
                return log::error!("the control socket: {error}");
            }
            self.outbox.waker.clear();
            let ending = self.deliver();
            for number in 0..self.clients.len() {
                self.serve(number);
            }
            self.clients.iter_mut().for_each(Client::write);
            self.clients.retain(|client| !client.gone);
            if self.clients.iter().any(Client::has_command) {
                // Nobody would tell of what has been read already.
                self.outbox.waker.wake();
            }
            if ending {
                return self.part();
            }
        }
    }

    /// Waits for something to do, and lets new clients in.
    fn wait(&mut self) -> io::Result<()> {
        let mut polled = vec![PollFd::from_borrowed_fd(self.outbox.waker.descriptor(), PollFlags::IN)];
        if self.clients.len() < MOST_CLIENTS {
            polled.push(PollFd::new(&self.socket.listener, PollFlags::IN));
        }
        // Of one of which nothing is wanted, the end would be told again and again.
        let wanted = self
            .clients
            .iter()
            .map(|client| (client, client.wanted()))
            .filter(|(_, flags)| !flags.is_empty());
        polled.extend(wanted.map(|(client, flags)| PollFd::new(&client.stream, flags)));
        match poll(&mut polled, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        self.accept();
        Ok(())
    }

    fn accept(&mut self) {
        while self.clients.len() < MOST_CLIENTS {
            match self.socket.listener.accept() {
                Ok((stream, _)) if stream.set_nonblocking(true).is_ok() => {
                    self.clients.push(Client::new(self.next, stream));
                    self.next += 1;
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // As when emu may open no more files: it would be offered again at once.
                Err(_) => return thread::sleep(BREATH),
            }
        }
    }

    /// Passes on what has gathered. Returns whether that was the last.
    fn deliver(&mut self) -> bool {
        let mut state = self.outbox.state.lock();
        let (events, answers) = (std::mem::take(&mut state.events), std::mem::take(&mut state.answers));
        let ending = state.ending;
        drop(state);
        for event in &events {
            self.clients.iter_mut().filter(|client| client.ready).for_each(|client| client.say(event));
        }
        for (number, answer) in answers {
            if let Some(client) = self.clients.iter_mut().find(|client| client.number == number) {
                client.busy = false;
                client.say(&answer);
            }
        }
        ending
    }

    /// Does what the client asks for.
    fn serve(&mut self, number: usize) {
        let client = &mut self.clients[number];
        if client.wanted().contains(PollFlags::IN) {
            client.read();
        }
        let Some(command) = client.take_command() else { return };
        match protocol::parse(&command) {
            Err((failure, id)) => client.say(&protocol::answer(Err(failure), id)),
            Ok(Request { name, arguments, id }) => match client.admit(&name, &arguments) {
                Ok(None) => client.say(&protocol::answer(Ok(json!({})), id)),
                Err(failure) => client.say(&protocol::answer(Err(failure), id)),
                Ok(Some(command)) => {
                    client.busy = true;
                    let reply = Reply { outbox: self.outbox.clone(), client: client.number, id, sent: false };
                    if command.stands {
                        // However many clients ask for that, the guest gets to run in between.
                        thread::sleep(BREATH);
                    }
                    (command.run)(&self.machine, &arguments, reply);
                }
            },
        }
    }

    /// The last words, for those who listen.
    fn part(&mut self) {
        for client in &mut self.clients {
            let mut polled = [PollFd::new(&client.stream, PollFlags::OUT)];
            if !client.output.is_empty() && poll(&mut polled, Some(&FAREWELL)).is_ok() {
                client.write();
            }
        }
    }
}

impl Client {
    fn new(number: u64, stream: UnixStream) -> Client {
        let (input, output) = (Input::default(), Vec::new());
        let mut client = Client { number, stream, input, output, ready: false, busy: false, gone: false };
        client.say(&protocol::greeting());
        client
    }

    /// Whether another command may be begun.
    fn may_ask(&self) -> bool {
        !self.busy && self.output.len() < FULL
    }

    /// Whether there is a command to be begun.
    fn has_command(&self) -> bool {
        self.may_ask() && self.input.has_command()
    }

    /// What is to be waited for.
    fn wanted(&self) -> PollFlags {
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::IN, self.may_ask() && !self.input.has_command());
        wanted.set(PollFlags::OUT, !self.output.is_empty());
        wanted
    }

    /// The command that `name` asks for; none for the end of the negotiation.
    fn admit(
        &mut self,
        name: &str,
        arguments: &Arguments,
    ) -> Result<Option<&'static commands::Command>, Failure> {
        let negotiates = name == "qmp_capabilities";
        if negotiates == self.ready {
            let text = match self.ready {
                true => "Capabilities negotiation is already complete, command ignored",
                false => "Expecting capabilities negotiation with 'qmp_capabilities'",
            };
            return Err(Failure::CommandNotFound(text.into()));
        }
        if negotiates {
            let enabled =
                arguments.get("enable").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
            if enabled {
                return Err(Failure::new("there are no capabilities to enable"));
            }
            self.ready = true;
            return Ok(None);
        }
        let command = commands::find(name)?;
        command.check(arguments)?;
        Ok(Some(command))
    }

    fn read(&mut self) {
        let mut bytes = [0; 4096];
        match receive(&self.stream, &mut bytes) {
            Received::Bytes(count) => self.input.extend(&bytes[..count]),
            Received::Nothing => {}
            Received::End => self.gone = true,
        }
        if self.input.is_too_long() {
            self.say(&protocol::answer(Err(Failure::new("the command is too long")), None));
            self.write();
            self.gone = true;
        }
    }

    /// The next command. What is only blank is none.
    fn take_command(&mut self) -> Option<Vec<u8>> {
        while self.may_ask() {
            let command = self.input.take()?;
            if !command.trim_ascii().is_empty() {
                return Some(command);
            }
        }
        None
    }

    fn say(&mut self, value: &Value) {
        self.output.extend(value.to_string().as_bytes());
        self.output.extend(b"\r\n");
        self.gone |= self.output.len() > TOO_SLOW;
    }

    fn write(&mut self) {
        if self.output.is_empty() {
            return;
        }
        match send(&self.stream, &self.output) {
            Ok(count) => drop(self.output.drain(..count)),
            Err(_) => self.gone = true,
        }
    }
}
