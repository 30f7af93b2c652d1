//! Bytes for the guest, and the escape key.
//!
//! On a terminal Ctrl-A is the escape: Ctrl-A x ends the machine, Ctrl-A h shows the keys, Ctrl-A b sends a
//! break, Ctrl-A Ctrl-A (or Ctrl-A a) sends Ctrl-A itself. A pipe has no escape: all its bytes are the guest's,
//! and its end is not the end of the guest.

use super::{output::flush_all, terminal};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    termios::isatty,
};
use std::{
    collections::VecDeque,
    io::{self, Write},
    os::fd::{AsFd, OwnedFd},
    thread,
    time::Duration,
};

/// What comes from the host's side of a serial port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsoleInput {
    /// A byte for the guest.
    Byte(u8),
    /// A break condition for the guest.
    Break,
    /// The user ends the machine.
    Quit,
}

/// The keys, as Ctrl-A h shows them.
pub const HELP: &str = "\n\
    Ctrl-A x       end the machine\n\
    Ctrl-A b       send a break\n\
    Ctrl-A Ctrl-A  send Ctrl-A\n\
    Ctrl-A h       show this\n";

const ANNOUNCEMENT: &str = "emu: Ctrl-A x ends the machine, Ctrl-A h helps\n";

const ESCAPE: u8 = 0x01;
/// Bytes read ahead of a guest that takes none.
const CAPACITY: usize = 64 * 1024;
/// How long until a byte that was refused is offered again: a character takes this long at 9600 baud.
const RETRY: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
/// How often a pseudo-terminal is looked at while nobody has it open.
const REVISIT: Duration = Duration::from_millis(100);

/// The input side of a serial port, not yet started.
pub struct SerialInput {
    descriptor: OwnedFd,
    escapes: bool,
    /// A hang-up is not the end: somebody else may open the other side.
    reopens: bool,
}

impl SerialInput {
    /// Standard input, a terminal or a pipe.
    pub fn stdin(descriptor: OwnedFd) -> SerialInput {
        let escapes = isatty(&descriptor);
        SerialInput { descriptor, escapes, reopens: false }
    }

    /// Our side of a pseudo-terminal.
    pub(super) fn pty(descriptor: OwnedFd) -> SerialInput {
        SerialInput { descriptor, escapes: false, reopens: true }
    }

    /// Whether it is a terminal, whose size the guest may want to know.
    pub(super) fn is_terminal(&self) -> bool {
        self.escapes
    }

    /// The open file behind it.
    #[cfg(test)]
    pub(super) fn descriptor(&self) -> &OwnedFd {
        &self.descriptor
    }

    /// Hands the input to `deliver`, in order, on a thread of its own. `deliver` returns whether the guest
    /// took it; a byte refused (its FIFO is full) is offered again a little later. Quit is handed over at
    /// once, before bytes that still wait, and is the last.
    ///
    /// A terminal is switched to raw mode here, not before: until the machine is built and about to run, the
    /// user may still be told of a mistake.
    pub fn start(self, deliver: impl FnMut(ConsoleInput) -> bool + Send + 'static) -> io::Result<()> {
        if self.escapes && terminal::take()? {
            show(ANNOUNCEMENT);
        }
        thread::Builder::new().name("input".into()).spawn(move || self.read_on(deliver))?;
        Ok(())
    }

    fn read_on(self, mut deliver: impl FnMut(ConsoleInput) -> bool) {
        let mut keys = Keys::default();
        let mut waiting: VecDeque<ConsoleInput> = VecDeque::new();
        let mut open = true;
        loop {
            while waiting.front().is_some_and(|&input| deliver(input)) {
                waiting.pop_front();
            }
            if !open && waiting.is_empty() {
                return;
            }
            // A terminal is always read, for the escape key; a pipe can wait until there is room.
            let listen = open && (self.escapes || waiting.len() < CAPACITY);
            let mut bytes = [0; 1024];
            let count = match self.read(listen, !waiting.is_empty(), &mut bytes) {
                Received::Bytes(count) => count,
                Received::Nothing => continue,
                Received::End => {
                    open = false;
                    continue;
                }
            };
            for &byte in &bytes[..count] {
                let key = if self.escapes { keys.press(byte) } else { Key::Input(ConsoleInput::Byte(byte)) };
                match key {
                    Key::Input(ConsoleInput::Quit) => {
                        // A vCPU that waits for a slow terminal could not be stopped.
                        flush_all(Duration::from_millis(100));
                        deliver(ConsoleInput::Quit);
                        return;
                    }
                    Key::Input(input) if waiting.len() < CAPACITY => waiting.push_back(input),
                    Key::Help => show(HELP),
                    Key::Input(_) | Key::None => {}
                }
            }
        }
    }

    /// Waits for input, or no longer than [`RETRY`] if `impatient`.
    fn read(&self, listen: bool, impatient: bool, bytes: &mut [u8]) -> Received {
        let events = if listen { PollFlags::IN } else { PollFlags::empty() };
        let mut polled = [PollFd::new(&self.descriptor, events)];
        // A descriptor not listened to would still report its hang-up, again and again.
        let polled = if listen { &mut polled[..] } else { &mut [] };
        match poll(polled, impatient.then_some(&RETRY)) {
            Ok(0) | Err(Errno::INTR) => return Received::Nothing,
            Ok(_) => {}
            Err(error) => {
                log::warn!("serial input: {error}");
                return Received::End;
            }
        }
        match rustix::io::read(self.descriptor.as_fd(), bytes) {
            Ok(0) | Err(Errno::IO) if self.reopens => {
                thread::sleep(REVISIT);
                Received::Nothing
            }
            Ok(0) | Err(Errno::IO) => Received::End,
            Ok(count) => Received::Bytes(count),
            Err(Errno::INTR | Errno::AGAIN) => Received::Nothing,
            Err(error) => {
                log::warn!("serial input: {error}");
                Received::End
            }
        }
    }
}

enum Received {
    Bytes(usize),
    Nothing,
    End,
}

/// Interprets the escape key.
#[derive(Default)]
struct Keys {
    escaped: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Key {
    Input(ConsoleInput),
    Help,
    None,
}

impl Keys {
    fn press(&mut self, byte: u8) -> Key {
        if !std::mem::take(&mut self.escaped) {
            self.escaped = byte == ESCAPE;
            return if self.escaped { Key::None } else { Key::Input(ConsoleInput::Byte(byte)) };
        }
        match byte {
            // Held down, Control is still Control: Ctrl-A Ctrl-X works too.
            b'x' | b'X' | 0x18 => Key::Input(ConsoleInput::Quit),
            b'b' | b'B' | 0x02 => Key::Input(ConsoleInput::Break),
            b'a' | b'A' | ESCAPE => Key::Input(ConsoleInput::Byte(ESCAPE)),
            b'h' | b'H' | b'?' => Key::Help,
            _ => Key::None,
        }
    }
}

/// Shows `text` on the terminal, beside what the guest prints.
fn show(text: &str) {
    // What cannot be shown is not worth more words.
    let _ = io::stderr().write_all(text.replace('\n', "\r\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use std::sync::mpsc;

    #[rstest]
    #[case(b"ls\r", &[Key::Input(ConsoleInput::Byte(b'l')), Key::Input(ConsoleInput::Byte(b's')),
        Key::Input(ConsoleInput::Byte(b'\r'))])]
    #[case(b"\x01x", &[Key::None, Key::Input(ConsoleInput::Quit)])]
    #[case(b"\x01b", &[Key::None, Key::Input(ConsoleInput::Break)])]
    #[case(b"\x01\x01x", &[Key::None, Key::Input(ConsoleInput::Byte(1)), Key::Input(ConsoleInput::Byte(b'x'))])]
    #[case(b"\x01hx", &[Key::None, Key::Help, Key::Input(ConsoleInput::Byte(b'x'))])]
    #[case(b"\x01zx", &[Key::None, Key::None, Key::Input(ConsoleInput::Byte(b'x'))])]
    fn the_escape_key_does_what_its_help_says(#[case] typed: &[u8], #[case] expected: &[Key]) {
        let mut keys = Keys::default();
        let pressed: Vec<Key> = typed.iter().map(|&byte| keys.press(byte)).collect();
        assert_eq!(pressed, expected);
    }

    #[test]
    fn a_pipe_delivers_every_byte_even_to_a_guest_that_refuses_some_and_escapes_nothing() {
        let (reader, mut writer) = io::pipe().unwrap();
        let (sender, receiver) = mpsc::channel();
        let mut offered = 0;
        SerialInput::stdin(OwnedFd::from(reader))
            .start(move |input| {
                offered += 1;
                let taken = offered % 3 != 0;
                if taken {
                    sender.send(input).unwrap();
                }
                taken
            })
            .unwrap();

        writer.write_all(b"a\x01x\xFF").unwrap();
        drop(writer);

        let received: Vec<_> = receiver.iter().collect();
        assert_eq!(received, [b'a', 1, b'x', 0xFF].map(ConsoleInput::Byte));
    }
}
