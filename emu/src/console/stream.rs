//! A port of the guest on standard input and output, a file or a pseudo-terminal.

use super::{ConsoleInput, SerialPort, input::SerialInput, output::ByteSink};
use emu_core::backend::{StreamBackend, StreamReceiver};
use parking_lot::Mutex;
use rustix::termios::tcgetwinsize;
use signal_hook::{consts::SIGWINCH, iterator::Signals};
use std::{
    io,
    sync::{Arc, OnceLock},
    thread,
};

/// See the module.
pub struct SinkStream {
    output: ByteSink,
    /// Until the machine starts.
    input: Mutex<Option<SerialInput>>,
    receiver: OnceLock<Arc<dyn StreamReceiver>>,
}

impl SinkStream {
    /// A stream with the ends of `port`.
    pub fn new(port: SerialPort) -> Self {
        let SerialPort { output, input } = port;
        SinkStream { output, input: Mutex::new(input), receiver: OnceLock::new() }
    }

    /// From now on the guest has the user's keys, but for the one that calls `quit`.
    pub fn start(&self, mut quit: impl FnMut() + Send + 'static) -> io::Result<()> {
        let Some(receiver) = self.receiver.get().cloned() else { return Ok(()) };
        receiver.connected(true);
        let Some(input) = self.input.lock().take() else { return Ok(()) };
        if input.is_terminal() {
            follow_size(receiver.clone())?;
        }
        input.start(move |input| match input {
            ConsoleInput::Byte(byte) => receiver.receive(&[byte]) == 1,
            // There is no such thing here.
            ConsoleInput::Break => true,
            ConsoleInput::Quit => {
                quit();
                true
            }
        })
    }
}

impl StreamBackend for SinkStream {
    fn connect(&self, receiver: Arc<dyn StreamReceiver>) {
        let writable = receiver.clone();
        self.output.on_room(move || writable.writable());
        let _first = self.receiver.set(receiver);
    }

    fn send(&self, bytes: &[u8]) -> usize {
        self.output.offer(bytes)
    }

    /// Input that was refused is offered again all the time.
    fn resume(&self) {}
}

/// Tells `receiver` how large the terminal is, now and whenever that changes.
fn follow_size(receiver: Arc<dyn StreamReceiver>) -> io::Result<()> {
    let mut signals = Signals::new([SIGWINCH])?;
    let tell = move || {
        if let Ok(size) = tcgetwinsize(io::stdin())
            && size.ws_col > 0
            && size.ws_row > 0
        {
            receiver.resized(size.ws_col, size.ws_row);
        }
    };
    tell();
    thread::Builder::new().name("terminal".into()).spawn(move || signals.forever().for_each(|_| tell()))?;
    Ok(())
}
