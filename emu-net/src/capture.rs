//! A record of what passes on a cable, for Wireshark and tcpdump: pcap with nanoseconds
//! (draft-ietf-opsawg-pcap).
//!
//! A packet that a card would cut is written whole, and checksums that a card would make are made, so that readers see
//! neither wrong ones nor a flood. The writing is done by a thread: what it cannot follow is left out and counted, and
//! nobody waits for it.

use emu_core::{
    backend::{Acceptance, NetworkBackend, NetworkReceiver, Packet},
    clock::{NANOS_PER_SECOND, VmClock, wall_clock_seconds},
};
use parking_lot::Mutex;
use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, TryRecvError, channel},
    },
    thread::{self, JoinHandle},
};

/// Nanosecond pcap, in the writer's byte order, which is little-endian whatever the host's.
const MAGIC: u32 = 0xa1b2_3c4d;
const ETHERNET: u32 = 1;
/// Nothing is longer.
const SNAP_LEN: u32 = 262_144;
/// Bytes that wait for the disk; more are left out.
const MOST_WAITING: usize = 64 << 20;

/// Why there is no capture.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The file cannot be made.
    #[error("--pcap {}: the file cannot be written", .0.display())]
    Create(PathBuf, #[source] io::Error),
    /// There is no thread to write it.
    #[error("--pcap {}: the host has no thread to write it with", .0.display())]
    Thread(PathBuf, #[source] io::Error),
}

/// What the thread is told.
enum Message {
    /// A packet, and when it passed.
    Record(u64, Packet),
    /// All has passed.
    End,
}

/// What both directions share.
struct Tape {
    clock: VmClock,
    messages: Mutex<Sender<Message>>,
    waiting: Arc<AtomicUsize>,
    lost: AtomicUsize,
}

impl Tape {
    fn record(&self, packet: &Packet) {
        let len = packet.bytes.len();
        if self.waiting.fetch_add(len, Ordering::Relaxed) + len > MOST_WAITING {
            self.waiting.fetch_sub(len, Ordering::Relaxed);
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let packet = packet.clone();
        // Both directions write, and times go forward. Nobody listens after the end.
        let messages = self.messages.lock();
        let _ = messages.send(Message::Record(self.clock.now(), packet));
    }
}

/// A backend that writes down what passes between it and the card.
pub struct Capture {
    inner: Arc<dyn NetworkBackend>,
    tape: Arc<Tape>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Capture {
    /// Puts a capture to `path` before `inner`. The times are those of `clock`, from now on.
    pub fn start(inner: Arc<dyn NetworkBackend>, path: &Path, clock: &VmClock) -> Result<Self, CaptureError> {
        let failed = |error| CaptureError::Create(path.into(), error);
        let mut file = BufWriter::with_capacity(1 << 18, File::create(path).map_err(failed)?);
        write_header(&mut file).and_then(|()| file.flush()).map_err(failed)?;
        let (sender, receiver) = channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        // What time it was at machine time 0, in seconds since 1970.
        let epoch = wall_clock_seconds().saturating_sub(clock.now() / NANOS_PER_SECOND);
        let tape = Tape {
            clock: clock.clone(),
            messages: Mutex::new(sender),
            waiting: waiting.clone(),
            lost: AtomicUsize::new(0),
        };
        let name = path.to_owned();
        let work = move || {
            if let Err(error) = write_records(&mut file, &receiver, &waiting, epoch) {
                log::error!("--pcap {}: nothing more is written: {error}", name.display());
            }
        };
        let thread = thread::Builder::new().name("capture".into()).spawn(work);
        let thread = thread.map_err(|error| CaptureError::Thread(path.into(), error))?;
        Ok(Capture { inner, tape: Arc::new(tape), thread: Mutex::new(Some(thread)) })
    }
}

fn write_header(file: &mut impl Write) -> io::Result<()> {
    let words = [MAGIC, 2 | 4 << 16, 0, 0, SNAP_LEN, ETHERNET];
    words.iter().try_for_each(|word| file.write_all(&word.to_le_bytes()))
}

fn write_records(
    file: &mut impl Write,
    messages: &Receiver<Message>,
    waiting: &AtomicUsize,
    epoch: u64,
) -> io::Result<()> {
    loop {
        let message = match messages.try_recv() {
            Ok(message) => Ok(message),
            Err(TryRecvError::Disconnected) => return file.flush(),
            Err(TryRecvError::Empty) => {
                // Who looks at the file now sees all that has passed.
                file.flush()?;
                messages.recv()
            }
        };
        let Ok(Message::Record(nanos, packet)) = message else { return file.flush() };
        waiting.fetch_sub(packet.bytes.len(), Ordering::Relaxed);
        write_record(file, nanos, packet, epoch)?;
    }
}

fn write_record(file: &mut impl Write, nanos: u64, mut packet: Packet, epoch: u64) -> io::Result<()> {
    packet.fill_checksum();
    let seconds = (epoch + nanos / NANOS_PER_SECOND) as u32;
    let len = packet.bytes.len() as u32;
    for word in [seconds, (nanos % NANOS_PER_SECOND) as u32, len.min(SNAP_LEN), len] {
        file.write_all(&word.to_le_bytes())?;
    }
    file.write_all(&packet.bytes[..len.min(SNAP_LEN) as usize])
}

/// The card, as the backend behind the capture sees it.
struct Tap {
    receiver: Arc<dyn NetworkReceiver>,
    tape: Arc<Tape>,
    /// Packets that were written down when they were offered, and will be offered again.
    refused: AtomicUsize,
}

impl NetworkReceiver for Tap {
    fn accepts(&self) -> Acceptance {
        self.receiver.accepts()
    }

    fn receive(&self, packets: &[Packet]) -> usize {
        // Before the card has them, as its answers come at once.
        let refused = self.refused.load(Ordering::Relaxed);
        packets.iter().skip(refused).for_each(|packet| self.tape.record(packet));
        let taken = self.receiver.receive(packets);
        self.refused.store(refused.max(packets.len()).saturating_sub(taken), Ordering::Relaxed);
        taken
    }
}

impl NetworkBackend for Capture {
    fn connect(&self, receiver: Arc<dyn NetworkReceiver>) {
        self.inner.connect(Arc::new(Tap { receiver, tape: self.tape.clone(), refused: AtomicUsize::new(0) }));
    }

    fn send(&self, packets: Vec<Packet>) {
        packets.iter().for_each(|packet| self.tape.record(packet));
        self.inner.send(packets);
    }

    fn resume(&self) {
        self.inner.resume();
    }

    fn link_up(&self) -> bool {
        self.inner.link_up()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.tape.messages.lock().send(Message::End);
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
        let lost = self.tape.lost.load(Ordering::Relaxed);
        if lost > 0 {
            log::warn!("--pcap: {lost} packets are left out, as the disk was too slow for them");
        }
    }
}
