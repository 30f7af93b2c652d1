//! The threads that do a guest's disk I/O.
//!
//! Requests wait in one queue. One thread, the *runner*, takes them and does what needs no waiting: reads that the
//! host's page cache has (`RWF_NOWAIT`), and writes into it. When it has to wait, for a read of the host's disk or a
//! flush, it first lets another thread be the runner if there is something to run. So a guest that works within the
//! cache costs one wake-up per burst, and one that does not has as many requests at the host's disk as it asks for.
//!
//! Long transfers are copied side by side when several wait: the runner steps aside for them too.
//!
//! Short reads of what the page cache has are done on the vCPU's own thread, where the image can tell without waiting:
//! they take less time than to wake anybody.

#[cfg(test)]
mod tests;

use crate::{
    buffers::{Source, Target},
    file::Wait,
    image::Image,
    options::SpaceWatch,
};
use emu_core::{
    backend::{BlockBackend, BlockError, BlockGeometry, BlockRequest, Data, Operation},
    clock::{Polling, Sleep},
};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// Threads of a disk.
const MOST_THREADS: usize = 16;
const SECTOR: u64 = 512;
/// Longest read on a vCPU's thread: copying it takes about as long as waking another thread.
const MOST_AT_ONCE: usize = 64 << 10;
/// Shortest transfer beside which others go on: copying it takes several times as long as waking a thread.
const LONG: usize = 256 << 10;
/// How long until a write that found no room is tried again.
const RETRY: Duration = Duration::from_millis(500);

pub(crate) struct Settings {
    /// For messages.
    pub path: PathBuf,
    /// The file that grows by what the guest writes.
    pub grows: PathBuf,
    pub read_only: bool,
    pub discard: bool,
    /// Flushes do something.
    pub volatile: bool,
    pub space_watch: Option<Arc<dyn SpaceWatch>>,
}

/// A guest's disk.
pub(crate) struct Disk {
    shared: Arc<Shared>,
}

struct Shared {
    image: Arc<dyn Image>,
    settings: Settings,
    queue: Mutex<Queue>,
    /// Something to run, and nobody who does.
    work: Condvar,
    /// Requests in the queue, to be looked at without the lock.
    waiting: AtomicUsize,
    /// The next request often comes soon after the last one was done.
    polling: Polling,
    /// Requests that have found no room.
    stuck: AtomicUsize,
    /// The threads end; what has no room is given up.
    ending: AtomicBool,
    /// Woken when they do.
    end: Condvar,
}

#[derive(Default)]
struct Queue {
    requests: VecDeque<BlockRequest>,
    /// Somebody is the runner, or has been told to be.
    running: bool,
    /// A thread that is idle shall be the runner.
    handed: bool,
    /// Threads that wait for that.
    idle: usize,
    threads: Vec<JoinHandle<()>>,
}

impl Disk {
    /// Starts the first thread.
    pub fn new(image: Arc<dyn Image>, settings: Settings) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            image,
            settings,
            queue: Mutex::default(),
            work: Condvar::new(),
            waiting: AtomicUsize::new(0),
            polling: Polling::default(),
            stuck: AtomicUsize::new(0),
            ending: AtomicBool::new(false),
            end: Condvar::new(),
        });
        shared.start(&mut shared.queue.lock())?;
        Ok(Disk { shared })
    }
}

impl BlockBackend for Disk {
    fn geometry(&self) -> BlockGeometry {
        let settings = &self.shared.settings;
        BlockGeometry {
            len: self.shared.image.len(),
            logical_block: SECTOR as u32,
            physical_block: crate::file::PAGE as u32,
            read_only: settings.read_only,
            discard: settings.discard && !settings.read_only,
            write_zeroes: !settings.read_only,
            volatile_cache: settings.volatile,
        }
    }

    fn try_at_once(&self, operation: &mut Operation) -> bool {
        let Operation::Read { offset, data } = operation else { return false };
        let shared = &self.shared;
        // What is wrong or fails is told by those who do what was submitted.
        data.len() <= MOST_AT_ONCE
            && shared.image.answers_at_once()
            && shared.check(*offset, data.len() as u64, false).is_ok()
            && shared.read(*offset, data, Wait::No).is_ok()
    }

    fn submit(&self, request: BlockRequest) {
        let mut queue = self.shared.queue.lock();
        queue.requests.push_back(request);
        self.shared.have_run(queue);
    }

    fn submit_all(&self, requests: Vec<BlockRequest>) {
        let mut queue = self.shared.queue.lock();
        queue.requests.extend(requests);
        self.shared.have_run(queue);
    }
}

impl Drop for Disk {
    /// Waits until all is done that was asked for.
    fn drop(&mut self) {
        let mut queue = self.shared.queue.lock();
        self.shared.ending.store(true, Ordering::Relaxed);
        let threads = std::mem::take(&mut queue.threads);
        drop(queue);
        self.shared.work.notify_all();
        self.shared.end.notify_all();
        for thread in threads {
            // A completion may own the last handle of the disk: then this is one of its threads.
            if thread.thread().id() != thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

impl Shared {
    /// Sees to it that somebody runs if there is something to run.
    fn have_run(self: &Arc<Self>, mut queue: MutexGuard<'_, Queue>) {
        self.waiting.store(queue.requests.len(), Ordering::Relaxed);
        if queue.running || queue.requests.is_empty() {
            return;
        }
        if queue.idle > 0 {
            queue.running = true;
            queue.handed = true;
            drop(queue);
            self.work.notify_one();
            return;
        }
        if queue.threads.len() == MOST_THREADS {
            // The first of them that is done with its request runs.
            return;
        }
        if let Err(error) = self.start(&mut queue) {
            // The others will come to it.
            log::warn!("{}: no more threads for its I/O ({error})", self.settings.path.display());
        }
    }

    /// Starts a thread, which is the runner.
    fn start(self: &Arc<Self>, queue: &mut Queue) -> io::Result<()> {
        let shared = self.clone();
        let thread = thread::Builder::new().name("disk".into()).spawn(move || shared.serve())?;
        queue.running = true;
        queue.threads.push(thread);
        Ok(())
    }

    /// What a thread does. It begins as the runner.
    fn serve(self: Arc<Self>) {
        let mut queue = self.queue.lock();
        loop {
            let sleep = self.run(&mut queue);
            queue.idle += 1;
            while !queue.handed && !self.ending.load(Ordering::Relaxed) {
                self.work.wait(&mut queue);
            }
            queue.idle -= 1;
            if let Some(sleep) = sleep {
                sleep.over();
            }
            if !std::mem::take(&mut queue.handed) {
                return;
            }
        }
    }

    /// Runs until nothing is left, or somebody else runs.
    fn run(self: &Arc<Self>, queue: &mut MutexGuard<'_, Queue>) -> Option<Sleep<'_>> {
        loop {
            if let Some(request) = queue.requests.pop_front() {
                self.waiting.store(queue.requests.len(), Ordering::Relaxed);
                let still_runner =
                    MutexGuard::unlocked(queue, || Execution { shared: self, runner: true }.execute(request));
                if !still_runner && std::mem::replace(&mut queue.running, true) {
                    return None;
                }
                continue;
            }
            let ready = || self.waiting.load(Ordering::Relaxed) != 0 || self.ending.load(Ordering::Relaxed);
            let sleep = MutexGuard::unlocked(queue, || self.polling.poll(ready));
            if queue.requests.is_empty() {
                queue.running = false;
                return sleep;
            }
        }
    }

    /// Reads from the image.
    fn read(&self, offset: u64, data: &mut Data, wait: Wait) -> io::Result<()> {
        self.image.read(offset, &Target::data(data), wait)?;
        if let Data::Guest(buffer) = data {
            buffer.filled(0..buffer.len());
        }
        Ok(())
    }

    fn check(&self, offset: u64, len: u64, writes: bool) -> Result<(), BlockError> {
        let inside = offset.checked_add(len).is_some_and(|end| end <= self.image.len());
        if !inside || !(offset | len).is_multiple_of(SECTOR) {
            return Err(BlockError::Range);
        }
        if writes && self.settings.read_only { Err(BlockError::ReadOnly) } else { Ok(()) }
    }
}

/// A request being executed.
struct Execution<'a> {
    shared: &'a Arc<Shared>,
    /// This thread is the runner.
    runner: bool,
}

impl Execution<'_> {
    /// Returns whether this thread still is the runner.
    fn execute(mut self, request: BlockRequest) -> bool {
        let BlockRequest { operation, done } = request;
        if let Operation::Read { data, .. } | Operation::Write { data, .. } = &operation
            && data.len() >= LONG
            && self.shared.waiting.load(Ordering::Relaxed) != 0
        {
            self.step_aside();
        }
        let (result, data) = match operation {
            Operation::Read { offset, mut data } => (self.read(offset, &mut data), Some(data)),
            Operation::Write { offset, data, through } => (self.write(offset, &data, through), Some(data)),
            Operation::Flush => (self.flush(), None),
            Operation::Discard { offset, len } => (self.discard(offset, len), None),
            Operation::WriteZeroes { offset, len, unmap } => (self.write_zeroes(offset, len, unmap), None),
        };
        done(result, data);
        self.runner
    }

    /// This thread is going to wait: another one runs meanwhile.
    fn step_aside(&mut self) {
        if std::mem::take(&mut self.runner) {
            let mut queue = self.shared.queue.lock();
            queue.running = false;
            self.shared.have_run(queue);
        }
    }

    fn read(&mut self, offset: u64, data: &mut Data) -> Result<(), BlockError> {
        self.shared.check(offset, data.len() as u64, false)?;
        let mut result = Err(io::ErrorKind::WouldBlock.into());
        if !self.shared.image.direct() {
            result = self.shared.read(offset, data, Wait::No);
        }
        if result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            self.step_aside();
            result = self.shared.read(offset, data, Wait::Yes);
        }
        result.map_err(|error| self.failed("read", &error))
    }

    fn write(&mut self, offset: u64, data: &Data, through: bool) -> Result<(), BlockError> {
        self.shared.check(offset, data.len() as u64, true)?;
        if self.shared.image.direct() {
            self.step_aside();
        }
        let source = Source::data(data);
        self.persist("written", |image| image.write(offset, &source))?;
        if through { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        if self.shared.settings.read_only {
            return Ok(());
        }
        self.step_aside();
        self.persist("flushed", |image| image.flush())
    }

    fn discard(&mut self, offset: u64, len: u64) -> Result<(), BlockError> {
        self.shared.check(offset, len, true)?;
        if !self.shared.settings.discard || len == 0 {
            return Ok(());
        }
        self.step_aside();
        self.persist("written", |image| image.discard(offset, len))
    }

    fn write_zeroes(&mut self, offset: u64, len: u64, unmap: bool) -> Result<(), BlockError> {
        self.shared.check(offset, len, true)?;
        if len == 0 {
            return Ok(());
        }
        self.step_aside();
        self.persist("written", |image| image.write_zeroes(offset, len, unmap))
    }

    /// Tries until the host's disk has room.
    fn persist(
        &mut self,
        what: &str,
        attempt: impl Fn(&dyn Image) -> io::Result<()>,
    ) -> Result<(), BlockError> {
        let mut stuck = false;
        let result = loop {
            match attempt(&*self.shared.image) {
                Err(error) if is_full(&error) && self.wait_for_room(&mut stuck, &error) => {}
                result => break result,
            }
        };
        let none_stuck = stuck && self.shared.stuck.fetch_sub(1, Ordering::Relaxed) == 1;
        // What is given up at the end has found no room.
        if none_stuck && !self.shared.ending.load(Ordering::Relaxed) {
            self.tell(|watch, path| watch.space_again(path));
        }
        result.map_err(|error| self.failed(what, &error))
    }

    /// Waits a while. Returns whether to try again. `stuck`: this request is counted as one that has no room.
    fn wait_for_room(&mut self, stuck: &mut bool, error: &io::Error) -> bool {
        if self.shared.settings.space_watch.is_none() {
            return false;
        }
        self.step_aside();
        if !std::mem::replace(stuck, true) && self.shared.stuck.fetch_add(1, Ordering::Relaxed) == 0 {
            self.tell(|watch, path| watch.no_space(path, error));
        }
        let mut queue = self.shared.queue.lock();
        if !self.shared.ending.load(Ordering::Relaxed) {
            self.shared.end.wait_for(&mut queue, RETRY);
        }
        !self.shared.ending.load(Ordering::Relaxed)
    }

    fn tell(&self, what: impl Fn(&dyn SpaceWatch, &Path)) {
        if let Some(watch) = &self.shared.settings.space_watch {
            what(&**watch, &self.shared.settings.grows);
        }
    }

    fn failed(&self, what: &str, error: &io::Error) -> BlockError {
        log::error!("{}: cannot be {what} ({error})", self.shared.settings.path.display());
        BlockError::Host
    }
}

/// The host's disk is full, or its user's share of it.
fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT))
}
