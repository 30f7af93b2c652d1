//! A running emulator with a console: waits for text, types, asserts how it ends.

use rustix::{
    pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt},
    termios::{Termios, tcgetattr},
};
use std::{
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

/// How often an ending process is looked at.
const POLL: Duration = Duration::from_millis(10);

/// A process and what it has said so far. Ends the process when dropped.
#[derive(Debug)]
pub struct Session {
    child: Child,
    input: File,
    chunks: Receiver<Vec<u8>>,
    /// Everything said, and how much of it earlier calls have matched.
    said: String,
    matched: usize,
    terminal: Option<OwnedFd>,
}

impl Session {
    /// Starts `command` with pipes for standard input and output. Standard error is read as if it were output.
    pub fn on_pipes(mut command: Command) -> Self {
        let (sender, chunks) = mpsc::channel();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let input = child.stdin.take().expect("standard input is a pipe");
        let output = child.stdout.take().expect("standard output is a pipe");
        let errors = child.stderr.take().expect("standard error is a pipe");
        forward(File::from(OwnedFd::from(output)), sender.clone());
        forward(File::from(OwnedFd::from(errors)), sender);
        Self::new(child, File::from(OwnedFd::from(input)), chunks, None)
    }

    /// Starts `command` on a terminal of its own.
    pub fn on_terminal(mut command: Command) -> Self {
        let (user, program) =
            open_terminal().unwrap_or_else(|error| panic!("cannot open a terminal: {error}"));
        let end = || program.try_clone().expect("a descriptor can be duplicated");
        let (sender, chunks) = mpsc::channel();
        let child = command
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        // The command still holds its ends of the terminal; output only ends when all are closed.
        drop(command);
        let duplicate = || File::from(user.try_clone().expect("a descriptor can be duplicated"));
        forward(duplicate(), sender);
        // This end stays open, so that the terminal outlives the program.
        Self::new(child, duplicate(), chunks, Some(program))
    }

    fn new(child: Child, input: File, chunks: Receiver<Vec<u8>>, terminal: Option<OwnedFd>) -> Self {
        Session { child, input, chunks, said: String::new(), matched: 0, terminal }
    }

    /// Waits until the guest says `text`, and returns what it said since the last match, `text` included.
    #[track_caller]
    pub fn expect(&mut self, text: &str, limit: Duration) -> String {
        let deadline = now() + limit;
        loop {
            if let Some(at) = self.said[self.matched..].find(text) {
                let from = self.matched;
                self.matched += at + text.len();
                return self.said[from..self.matched].to_owned();
            }
            match self.chunks.recv_timeout(deadline.saturating_duration_since(now())) {
                Ok(chunk) => self.hear(&chunk),
                Err(RecvTimeoutError::Timeout) => {
                    self.give_up(&format!("not said within {limit:?}: {text:?}"))
                }
                Err(RecvTimeoutError::Disconnected) => {
                    self.give_up(&format!("ended without saying: {text:?}"))
                }
            }
        }
    }

    /// Waits for `text` and then for the rest of its line; returns that rest.
    #[track_caller]
    pub fn expect_line(&mut self, text: &str, limit: Duration) -> String {
        self.expect(text, limit);
        self.expect("\n", limit).trim().to_owned()
    }

    /// The process's number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Types `text`.
    #[track_caller]
    pub fn send(&mut self, text: &str) {
        if let Err(error) = self.input.write_all(text.as_bytes()) {
            self.give_up(&format!("cannot type {text:?}: {error}"));
        }
    }

    /// Has the guest's shell do `command`, and asserts that it succeeded. Returns what was said meanwhile.
    #[track_caller]
    pub fn shell(&mut self, command: &str, limit: Duration) -> String {
        // A sum, so that the echo of the line is not taken for its answer.
        self.send(&format!("{command} && echo done-$((40 + 2)) || echo failed-$((40 + 2))\r"));
        let said = self.expect("-42", limit);
        assert!(said.ends_with("done-42"), "{command}: {said}");
        said
    }

    /// Waits for the end, and asserts the exit code. Returns everything that was said.
    #[track_caller]
    pub fn finish(mut self, code: i32, limit: Duration) -> String {
        let deadline = now() + limit;
        let status = self.wait(deadline);
        // What is still in the pipe was said before the end. On a terminal, whose other end stays open, the
        // end of what was said shows by silence.
        while let Ok(chunk) = self.chunks.recv_timeout(Duration::from_millis(200)) {
            self.hear(&chunk);
        }
        match status {
            Some(status) if status.code() == Some(code) => std::mem::take(&mut self.said),
            Some(status) => self.give_up(&format!("ended with {status}, not with exit code {code}")),
            None => self.give_up(&format!("did not end within {limit:?}")),
        }
    }

    /// Kills the process (SIGKILL), if it has not ended. Returns what it had said since the last match.
    pub fn kill(mut self) -> String {
        self.child.kill().expect("a child of ours can be killed");
        self.child.wait().expect("a child can be waited for");
        // On a terminal this would have no end.
        while let Ok(chunk) = self.chunks.recv_timeout(Duration::from_secs(5)) {
            self.hear(&chunk);
        }
        self.said.split_off(self.matched)
    }

    /// Asserts that `text` is not among what was said so far.
    #[track_caller]
    pub fn refuse(&self, text: &str) {
        if self.said.contains(text) {
            self.give_up(&format!("said {text:?}"));
        }
    }

    /// The terminal's modes now. Only for a session on a terminal.
    #[track_caller]
    pub fn terminal_modes(&self) -> Termios {
        let terminal = self.terminal.as_ref().expect("the session is on a terminal");
        tcgetattr(terminal).expect("a terminal has modes")
    }

    /// A second handle of the terminal, to look at it after the session's end.
    pub fn terminal(&self) -> OwnedFd {
        let terminal = self.terminal.as_ref().expect("the session is on a terminal");
        terminal.try_clone().expect("a descriptor can be duplicated")
    }

    fn wait(&mut self, deadline: Instant) -> Option<ExitStatus> {
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return Some(status);
            }
            if now() >= deadline {
                return None;
            }
            // Keeps the pipe from filling up while waiting. Sleeps only once nobody can say anything more.
            match self.chunks.recv_timeout(POLL) {
                Ok(chunk) => self.hear(&chunk),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => thread::sleep(POLL),
            }
        }
    }

    fn hear(&mut self, chunk: &[u8]) {
        self.said += &String::from_utf8_lossy(chunk);
    }

    #[track_caller]
    fn give_up(&self, why: &str) -> ! {
        panic!("{why}\n--- what was said ---\n{}\n---", self.said);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Fails only if it has ended already, which is as well.
        if self.child.kill().is_ok() {
            self.child.wait().map(drop).unwrap_or_default();
        }
    }
}

/// Both ends of a new terminal: the user's and the program's.
fn open_terminal() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let user = openpt(flags)?;
    grantpt(&user)?;
    unlockpt(&user)?;
    let program = ioctl_tiocgptpeer(&user, flags)?;
    Ok((user, program))
}

/// Passes on everything that can be read, from a thread of its own. A terminal ends with an error (EIO).
fn forward(mut from: File, to: mpsc::Sender<Vec<u8>>) {
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            if to.send(buffer[..length].to_vec()).is_err() {
                return;
            }
        }
    });
}

#[expect(clippy::disallowed_methods, reason = "patience with a process is the host's time, not a machine's")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_conversation_goes_line_by_line() {
        let mut session = Session::on_pipes(shell("echo ready; read word; echo got $word; exit 3"));
        session.expect("ready", LIMIT);
        session.send("apple\n");
        assert_eq!(session.expect_line("got ", LIMIT), "apple");
        session.finish(3, LIMIT);
    }

    #[test]
    fn text_is_matched_once_and_in_order() {
        let mut session = Session::on_pipes(shell("echo one; echo two; echo one"));
        session.expect("one", LIMIT);
        assert!(session.expect("one", LIMIT).contains("two"));
    }

    #[test]
    fn standard_error_is_heard_too() {
        let mut session = Session::on_pipes(shell("echo trouble >&2"));
        session.expect("trouble", LIMIT);
    }

    #[test]
    fn a_program_on_a_terminal_sees_a_terminal() {
        let mut session = Session::on_terminal(shell("test -t 0 && test -t 1 && echo yes; read x; exit 5"));
        session.expect("yes", LIMIT);
        session.send("\n");
        session.finish(5, LIMIT);
    }

    #[test]
    fn the_terminal_outlives_the_program_with_its_modes() {
        let session = Session::on_terminal(shell("stty raw -echo"));
        let terminal = session.terminal();
        let before = session.terminal_modes().local_modes;
        session.finish(0, LIMIT);
        assert_ne!(tcgetattr(&terminal).unwrap().local_modes, before);
    }

    #[test]
    fn what_was_said_before_a_kill_is_heard() {
        let mut session = Session::on_pipes(shell("echo one; echo two; exec sleep 100"));
        session.expect("two", LIMIT);
        assert_eq!(session.kill(), "\n");
    }

    #[test]
    #[should_panic(expected = "not said within")]
    fn silence_ends_the_wait() {
        Session::on_pipes(shell("exec sleep 100")).expect("word", Duration::from_millis(200));
    }

    #[test]
    #[should_panic(expected = "ended without saying")]
    fn an_early_end_ends_the_wait() {
        Session::on_pipes(shell("echo other")).expect("word", LIMIT);
    }

    #[test]
    #[should_panic(expected = "not with exit code 0")]
    fn a_wrong_exit_code_is_an_error() {
        Session::on_pipes(shell("exit 4")).finish(0, LIMIT);
    }

    #[test]
    #[should_panic(expected = "did not end within")]
    fn a_program_that_goes_on_is_an_error() {
        Session::on_pipes(shell("exec sleep 100")).finish(0, Duration::from_millis(200));
    }
}
