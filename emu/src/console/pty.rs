//! A serial port on a pseudo-terminal. Its path is printed on standard error; any terminal program may open
//! and close it. What the guest prints while nobody listens is lost, as on a wire.

use super::{SerialPort, input::SerialInput, output::ByteSink};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Mode, OFlags},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{OptionalActions, tcgetattr, tcsetattr},
};
use std::{
    fs::File,
    io::{self, Write},
};

/// How long a program that has the pseudo-terminal open may not read before it counts as not listening.
const PATIENCE: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// Opens a pseudo-terminal for the port called `name`.
pub(super) fn open(name: &str) -> io::Result<SerialPort> {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    let path = ptsname(&ours, Vec::new())?;
    // The other side starts raw: an echo would be the guest's own output typed back at it. Having been opened
    // once, it also reports from now on whether anybody has it open.
    let theirs = rustix::fs::open(&path, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    let mut settings = tcgetattr(&theirs)?;
    settings.make_raw();
    tcsetattr(&theirs, OptionalActions::Now, &settings)?;
    drop(theirs);
    eprintln!("emu: {name} is on {}", path.to_string_lossy());
    let reading = ours.try_clone()?;
    Ok(SerialPort {
        output: ByteSink::to_writer(name, Writer(File::from(ours)))?,
        input: Some(SerialInput::pty(reading)),
    })
}

/// Writes while somebody listens.
struct Writer(File);

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut polled = [PollFd::new(&self.0, PollFlags::OUT)];
        let ready = poll(&mut polled, Some(&PATIENCE))?;
        if ready == 0 || polled[0].revents().contains(PollFlags::HUP) {
            return Ok(bytes.len());
        }
        (&self.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::ConsoleInput;
    use std::{io::Read, path::Path, sync::mpsc, time::Duration};

    fn open_other_side(port: &SerialInput) -> File {
        let path = ptsname(port.descriptor(), Vec::new()).unwrap();
        File::options().read(true).write(true).open(Path::new(path.to_str().unwrap())).unwrap()
    }

    #[test]
    fn a_pty_carries_bytes_both_ways_and_survives_a_hang_up() {
        let port = open("a test port").unwrap();
        let input = port.input.unwrap();
        port.output.send(b"nobody hears this");
        assert!(port.output.drain(Some(Duration::from_secs(5))));
        let mut first = open_other_side(&input);
        let (mut second, (sender, receiver)) = (open_other_side(&input), mpsc::channel());
        input.start(move |byte| sender.send(byte).is_ok()).unwrap();

        port.output.send(b"ok\n");
        let mut heard = [0; 3];
        first.read_exact(&mut heard).unwrap();
        drop(first);
        second.write_all(b"k").unwrap();

        assert_eq!(&heard, b"ok\n");
        assert_eq!(receiver.recv_timeout(Duration::from_secs(5)), Ok(ConsoleInput::Byte(b'k')));
    }
}
