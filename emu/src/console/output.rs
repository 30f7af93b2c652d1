//! Output that costs a vCPU next to nothing per byte and loses none.
//!
//! A sink is a buffer and a thread that writes it. The thread lets bytes gather for a moment, so a guest that
//! prints a screenful causes a few writes and a prompt still shows at once to the eye. A guest that prints
//! faster than the host reads waits, as it would for a wire.

use parking_lot::{Condvar, Mutex};
use rustix::event::{PollFd, PollFlags, poll};
use std::{
    fs::File,
    io::{self, ErrorKind, Write},
    mem,
    os::fd::OwnedFd,
    sync::{Arc, Weak},
    thread,
    time::Duration,
};

/// How long bytes gather before they are written.
const GATHER: Duration = Duration::from_millis(1);
/// Bytes that are written without waiting for more.
const CHUNK: usize = 4096;
/// Bytes that may wait for a slow host before the guest does.
const CAPACITY: usize = 64 * 1024;

/// A place for a guest's bytes. Cloning gives another handle to the same place.
#[derive(Clone)]
pub struct ByteSink(Option<Arc<Shared>>);

struct Shared {
    name: String,
    state: Mutex<State>,
    /// The writer has something to do, or to do sooner.
    filled: Condvar,
    /// The writer has written something.
    drained: Condvar,
    /// Told when there is room again for who was refused.
    on_room: Mutex<Vec<Box<dyn Fn() + Send>>>,
}

#[derive(Default)]
struct State {
    buffer: Vec<u8>,
    /// Bytes taken out of `buffer` are on their way.
    writing: bool,
    /// Somebody waits for the end: no gathering.
    hurry: bool,
    /// The machine is ending: nobody waits for room.
    ending: bool,
    /// Writing has failed: bytes are dropped.
    broken: bool,
    /// Somebody was refused.
    refused: bool,
}

impl Shared {
    /// The buffer has grown from `before` to `after` bytes.
    fn wake_writer(&self, before: usize, after: usize) {
        // The writer sleeps without limit while there is nothing, and for a moment while there is little.
        if (before == 0 && after > 0) || (before < CHUNK && after >= CHUNK) {
            self.filled.notify_one();
        }
    }
}

/// All sinks of the process, for its sudden end.
static SINKS: Mutex<Vec<Weak<Shared>>> = Mutex::new(Vec::new());

/// Writes out what every sink holds, each within `limit`, and lets no guest wait for a slow host from now on:
/// for the end of the process by a signal, a panic or the user.
pub fn flush_all(limit: Duration) {
    // A panicking thread may hold any of these locks: give up rather than hang.
    let Some(sinks) = SINKS.try_lock_for(limit).map(|sinks| sinks.clone()) else {
        return;
    };
    for sink in sinks.iter().filter_map(Weak::upgrade).map(|shared| ByteSink(Some(shared))) {
        sink.stop_waiting();
        sink.drain(Some(limit));
    }
}

/// Waits until every sink has written all it holds: for the machine's own end, when nothing may be lost.
pub fn drain_all() {
    let sinks = SINKS.lock().clone();
    for shared in sinks.iter().filter_map(Weak::upgrade) {
        ByteSink(Some(shared)).drain(None);
    }
}

impl ByteSink {
    /// A sink that drops everything.
    pub fn nowhere() -> ByteSink {
        ByteSink(None)
    }

    /// A sink that writes to an open file, pipe or terminal, blocking or not. `name` is for messages.
    pub fn to_descriptor(name: &str, descriptor: OwnedFd) -> io::Result<ByteSink> {
        ByteSink::to_writer(name, Patient(File::from(descriptor)))
    }

    /// A sink that writes to `writer` on a thread of its own.
    pub fn to_writer(name: &str, writer: impl Write + Send + 'static) -> io::Result<ByteSink> {
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            state: Mutex::default(),
            filled: Condvar::new(),
            drained: Condvar::new(),
            on_room: Mutex::default(),
        });
        let mut sinks = SINKS.lock();
        sinks.retain(|sink| sink.strong_count() > 0);
        sinks.push(Arc::downgrade(&shared));
        drop(sinks);
        let writing = shared.clone();
        thread::Builder::new().name("output".into()).spawn(move || write_out(&writing, writer))?;
        Ok(ByteSink(Some(shared)))
    }

    /// Sends one byte. Waits only when the host is far behind.
    #[inline]
    pub fn put(&self, byte: u8) {
        self.send(&[byte]);
    }

    /// Sends `bytes` together: bytes of other threads come before or after, not between.
    pub fn send(&self, bytes: &[u8]) {
        let Some(shared) = &self.0 else {
            return;
        };
        let mut state = shared.state.lock();
        while state.buffer.len() >= CAPACITY && !state.ending && !state.broken {
            shared.drained.wait(&mut state);
        }
        if state.broken {
            return;
        }
        let before = state.buffer.len();
        state.buffer.extend_from_slice(bytes);
        shared.wake_writer(before, state.buffer.len());
    }

    /// Sends as many of `bytes` as there is room for, and returns how many. Never waits. Where it was not all, those of
    /// [`on_room`](Self::on_room) are told when there is room.
    pub fn offer(&self, bytes: &[u8]) -> usize {
        let Some(shared) = &self.0 else {
            return bytes.len();
        };
        let mut state = shared.state.lock();
        if state.broken {
            return bytes.len();
        }
        let before = state.buffer.len();
        let taken = bytes.len().min(CAPACITY.saturating_sub(before));
        state.buffer.extend_from_slice(&bytes[..taken]);
        state.refused |= taken < bytes.len();
        shared.wake_writer(before, before + taken);
        taken
    }

    /// Calls `tell`, on the writer's thread, when there is room again after [`offer`](Self::offer) has refused bytes.
    pub fn on_room(&self, tell: impl Fn() + Send + 'static) {
        if let Some(shared) = &self.0 {
            shared.on_room.lock().push(Box::new(tell));
        }
    }

    /// From now on nobody waits for room, however slow the host: the machine is ending.
    pub fn stop_waiting(&self) {
        let Some(shared) = &self.0 else {
            return;
        };
        if let Some(mut state) = shared.state.try_lock_for(GATHER * 100) {
            state.ending = true;
            shared.drained.notify_all();
        }
    }

    /// Waits until all bytes are written, or `limit` has passed without progress. Returns whether they are.
    pub fn drain(&self, limit: Option<Duration>) -> bool {
        let Some(shared) = &self.0 else {
            return true;
        };
        let state = match limit {
            Some(limit) => shared.state.try_lock_for(limit),
            None => Some(shared.state.lock()),
        };
        let Some(mut state) = state else {
            return false;
        };
        state.hurry = true;
        shared.filled.notify_one();
        while !state.buffer.is_empty() || state.writing {
            match limit {
                None => shared.drained.wait(&mut state),
                Some(limit) => {
                    if shared.drained.wait_for(&mut state, limit).timed_out() {
                        return false;
                    }
                }
            }
        }
        state.hurry = false;
        true
    }
}

impl Write for ByteSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.drain(None);
        Ok(())
    }
}

/// The writer's thread. It lives as long as the process: sinks are few and last as long as their machine.
fn write_out(shared: &Shared, mut writer: impl Write) {
    let mut chunk = Vec::with_capacity(CHUNK);
    loop {
        let mut state = shared.state.lock();
        while state.buffer.is_empty() {
            shared.filled.wait(&mut state);
        }
        if state.buffer.len() < CHUNK && !state.hurry {
            shared.filled.wait_for(&mut state, GATHER);
        }
        chunk.clear();
        mem::swap(&mut chunk, &mut state.buffer);
        state.writing = true;
        let broken = state.broken;
        drop(state);
        let result = if broken { Ok(()) } else { writer.write_all(&chunk).and_then(|()| writer.flush()) };
        let mut state = shared.state.lock();
        state.writing = false;
        let refused = mem::take(&mut state.refused);
        if let Err(error) = result {
            state.broken = true;
            // Logging while holding the lock would hang if the log went the same way.
            drop(state);
            log::warn!("{}: {error}; what the guest prints there from now on is lost", shared.name);
        } else {
            drop(state);
        }
        shared.drained.notify_all();
        if refused {
            shared.on_room.lock().iter().for_each(|tell| tell());
        }
    }
}

/// A descriptor that others may have made non-blocking (terminals are shared between processes): waits then.
struct Patient(File);

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    poll(&mut [PollFd::new(&self.0, PollFlags::OUT)], None)?;
                }
                result => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Passes every write on.
    struct Recorder(mpsc::SyncSender<Vec<u8>>);

    impl Write for Recorder {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(|_| ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn bytes_of_several_threads_all_arrive_in_their_order() {
        let (sender, receiver) = mpsc::sync_channel(10_000);
        let sink = ByteSink::to_writer("test", Recorder(sender)).unwrap();
        let threads: Vec<_> = [0u8, 0x80]
            .map(|base| {
                let sink = sink.clone();
                thread::spawn(move || (0..50_000u32).for_each(|i| sink.put(base | (i % 128) as u8)))
            })
            .into_iter()
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(sink.drain(None));

        let all: Vec<u8> = receiver.try_iter().flatten().collect();
        assert_eq!(all.len(), 100_000);
        for base in [0, 0x80] {
            let one = all.iter().filter(|&&byte| byte & 0x80 == base).enumerate();
            assert!(one.into_iter().all(|(i, &byte)| byte & 0x7F == (i % 128) as u8));
        }
    }

    #[test]
    fn a_burst_is_gathered_into_few_writes() {
        let (sender, receiver) = mpsc::sync_channel(10_000);
        let sink = ByteSink::to_writer("test", Recorder(sender)).unwrap();
        (0..2000).for_each(|_| sink.put(b'x'));
        sink.drain(None);
        assert!(receiver.try_iter().count() < 500);
    }

    #[test]
    fn a_byte_alone_is_written_without_being_asked_for() {
        let (sender, receiver) = mpsc::sync_channel(1);
        let sink = ByteSink::to_writer("test", Recorder(sender)).unwrap();
        sink.put(b'$');
        assert_eq!(receiver.recv_timeout(Duration::from_secs(10)).unwrap(), b"$");
    }

    #[test]
    fn who_does_not_wait_is_told_of_room() {
        let (sender, receiver) = mpsc::sync_channel(0);
        let sink = ByteSink::to_writer("test", Recorder(sender)).unwrap();
        let (told, room) = mpsc::channel();
        sink.on_room(move || told.send(()).unwrap());
        let all = vec![b'x'; CAPACITY * 4];
        let expected = all.len();
        let reader = thread::spawn(move || {
            let mut read = 0;
            while read < expected {
                read += receiver.recv().unwrap().len();
            }
            read
        });
        let (mut sent, mut waits) = (0, 0);
        while sent < all.len() {
            sent += sink.offer(&all[sent..]);
            if sent < all.len() {
                room.recv_timeout(Duration::from_secs(10)).unwrap();
                waits += 1;
            }
        }
        assert!(sink.drain(None) && waits >= 2, "{waits}");
        assert_eq!(reader.join().unwrap(), all.len());
    }

    #[test]
    fn a_failed_host_does_not_stop_the_guest() {
        let (sender, receiver) = mpsc::sync_channel(1);
        drop(receiver);
        let sink = ByteSink::to_writer("test", Recorder(sender)).unwrap();
        (0..CAPACITY * 3).for_each(|_| sink.put(0));
        assert!(sink.drain(None));
    }

    #[test]
    fn a_stuck_host_holds_the_guest_back_until_the_machine_ends() {
        let (sender, _receiver) = mpsc::sync_channel(0);
        let sink = ByteSink::to_writer("test", Recorder(sender)).unwrap();
        let guest = sink.clone();
        let thread = thread::spawn(move || (0..CAPACITY * 3).for_each(|_| guest.put(0)));
        thread::sleep(Duration::from_millis(100));
        assert!(!thread.is_finished());
        sink.stop_waiting();
        thread.join().unwrap();
        assert!(!sink.drain(Some(Duration::from_millis(10))));
    }
}
