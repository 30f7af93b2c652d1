//! The server: threads that do requests, tags, Tflush and Tversion.
//!
//! Requests wait in one row, and a few threads take them from there. They may be done at once and end in any order: a
//! client that wants an order waits for a reply. Tflush of a request that still waits ends it with EINTR; of one that is
//! being done waits for its end. Either way the old request's reply comes first, as its buffers are the client's only then.
//!
//! How many requests there are at a time, and so how much memory they take, is bounded by the device's queue.

use crate::{
    MAX_MESSAGE, ShareError,
    codec::{Answer, HEADER},
    message::{Request, kind},
    session::{Session, error},
    tree::Tree,
};
use emu_core::backend::{MessageBackend, Reply};
use parking_lot::{Condvar, Mutex, MutexGuard};
use rustix::io::Errno;
use std::{collections::VecDeque, path::Path, sync::Arc, thread};

/// Threads of a share. Most of their time they wait for the host's disk.
const THREADS: usize = 4;
/// The shortest message size that makes sense: Linux's own least.
const LEAST_MSIZE: u32 = 4096;
const VERSION: &[u8] = b"9P2000.L";

/// A folder of the host, as a server of 9P2000.L.
pub struct Share(Arc<Server>);

impl Share {
    /// Shares the folder at `path`. Raises the process's limit on open files as far as the host lets it: files that a guest
    /// knows are open.
    pub fn open(path: &Path, read_only: bool) -> Result<Self, ShareError> {
        let tree = Arc::new(Tree::open(path, read_only)?);
        let share = Share(Arc::new(Server {
            state: Mutex::new(State {
                session: Arc::new(Session::new(tree.clone(), 0)),
                waiting: VecDeque::new(),
                outstanding: Vec::new(),
                id: 0,
                closed: false,
            }),
            tree,
            work: Condvar::new(),
        }));
        for number in 0..THREADS {
            let server = share.0.clone();
            let thread = thread::Builder::new().name(format!("share-{number}"));
            thread.spawn(move || server.serve()).map_err(ShareError::Threads)?;
        }
        Ok(share)
    }
}

impl MessageBackend for Share {
    fn request(&self, message: Vec<u8>, room: usize, reply: Reply) {
        self.0.take(message, room, reply);
    }

    fn reset(&self) {
        self.0.reset();
    }
}

impl Drop for Share {
    /// The threads end when they have done what they are at. They are not waited for: the host may never finish.
    fn drop(&mut self) {
        self.0.state.lock().closed = true;
        self.0.reset();
        self.0.work.notify_all();
    }
}

/// A request that somebody waits for.
struct Job {
    /// Counts requests: tags come again.
    id: u64,
    message: Vec<u8>,
    room: usize,
    reply: Reply,
    session: Arc<Session>,
    /// It cannot be done, whatever it is.
    refused: Option<Errno>,
}

impl Job {
    fn tag(&self) -> u16 {
        self.message.get(5..HEADER).map_or(u16::MAX, |tag| u16::from_le_bytes([tag[0], tag[1]]))
    }

    fn kind(&self) -> u8 {
        self.message.get(4).copied().unwrap_or(0)
    }

    /// Sends the reply, unless the device has been reset. A reply that does not fit is none.
    fn reply(self, bytes: Option<Vec<u8>>) {
        if !self.session.is_dead() {
            (self.reply)(bytes.unwrap_or_default());
        }
    }

    fn fail(self, errno: Errno) {
        let bytes = error(errno, self.tag(), self.room);
        self.reply(bytes);
    }

    fn flushed(self) {
        let bytes = Answer::new(self.room).finish(kind::FLUSH + 1, self.tag());
        self.reply(bytes);
    }
}

struct State {
    session: Arc<Session>,
    waiting: VecDeque<Job>,
    /// Requests of this session whose replies have not all been handed over.
    outstanding: Vec<Outstanding>,
    /// The last request's.
    id: u64,
    closed: bool,
}

/// See [`State::outstanding`].
struct Outstanding {
    id: u64,
    tag: u16,
    /// The reply is being handed over: the client may use the tag again as soon as it sees it, but a flush still waits.
    answering: bool,
    /// Tflushes that wait for it.
    flushes: Vec<Job>,
}

impl State {
    /// Whether a request with this tag is waiting or being done.
    fn is_used(&self, tag: u16) -> bool {
        self.outstanding.iter().any(|request| request.tag == tag && !request.answering)
    }

    /// The last request with this tag.
    fn last_of(&mut self, tag: u16) -> Option<&mut Outstanding> {
        self.outstanding.iter_mut().rev().find(|request| request.tag == tag)
    }

    fn is_current(&self, job: &Job) -> bool {
        Arc::ptr_eq(&self.session, &job.session)
    }
}

struct Server {
    tree: Arc<Tree>,
    state: Mutex<State>,
    work: Condvar,
}

impl Server {
    fn take(&self, message: Vec<u8>, room: usize, reply: Reply) {
        let mut state = self.state.lock();
        let session = state.session.clone();
        state.id += 1;
        let mut job = Job { id: state.id, message, room, reply, session, refused: None };
        if job.message.len() < HEADER || job.message.len() > MAX_MESSAGE {
            job.refused = Some(Errno::MSGSIZE);
        } else if state.is_used(job.tag()) {
            job.refused = Some(Errno::INVAL);
        } else {
            let (id, tag) = (job.id, job.tag());
            state.outstanding.push(Outstanding { id, tag, answering: false, flushes: Vec::new() });
        }
        // A flush overtakes what it may be to flush; flushes stay in order.
        let flush = |job: &Job| job.refused.is_none() && job.kind() == kind::FLUSH;
        let place = if flush(&job) {
            state.waiting.iter().take_while(|other| flush(other)).count()
        } else {
            state.waiting.len()
        };
        state.waiting.insert(place, job);
        drop(state);
        self.work.notify_one();
    }

    fn reset(&self) {
        let mut state = self.state.lock();
        let blank = Arc::new(Session::new(self.tree.clone(), 0));
        let old = std::mem::replace(&mut state.session, blank);
        old.kill();
        let (waiting, flushes) = (std::mem::take(&mut state.waiting), std::mem::take(&mut state.outstanding));
        drop(state);
        // Closing files takes time: not under the lock.
        old.close();
        drop((waiting, flushes));
    }

    fn serve(&self) {
        let mut state = self.state.lock();
        while !state.closed {
            match state.waiting.pop_front() {
                Some(job) => MutexGuard::unlocked(&mut state, || self.do_job(job)),
                None => self.work.wait(&mut state),
            }
        }
    }

    fn do_job(&self, job: Job) {
        if let Some(errno) = job.refused {
            return job.fail(errno);
        }
        match job.kind() {
            kind::VERSION => self.version(job),
            kind::FLUSH => self.flush(job),
            _ => {
                let bytes = job.session.answer(&job.message, job.tag(), job.room);
                self.done(job, |job| job.reply(bytes));
            }
        }
    }

    /// Ends a request, and then the flushes that wait for it, and for those.
    fn done(&self, job: Job, end: impl FnOnce(Job)) {
        let mut flushes = VecDeque::from(self.answer(job, end));
        while let Some(flush) = flushes.pop_front() {
            flushes.extend(self.answer(flush, Job::flushed));
        }
    }

    /// Ends a request. Returns the flushes that wait for it.
    fn answer(&self, job: Job, end: impl FnOnce(Job)) -> Vec<Job> {
        let id = job.id;
        let mut state = self.state.lock();
        if let Some(request) = state.outstanding.iter_mut().find(|request| request.id == id) {
            request.answering = true;
        }
        drop(state);
        end(job);
        let mut state = self.state.lock();
        let index = state.outstanding.iter().position(|request| request.id == id);
        index.map(|index| state.outstanding.remove(index).flushes).unwrap_or_default()
    }

    fn flush(&self, job: Job) {
        let Ok(Request::Flush { oldtag }) = Request::parse(kind::FLUSH, &job.message[HEADER..]) else {
            return self.done(job, |job| job.fail(Errno::PROTO));
        };
        let mut state = self.state.lock();
        let current = state.is_current(&job);
        if !current || oldtag == job.tag() || state.last_of(oldtag).is_none() {
            drop(state);
            return self.done(job, Job::flushed);
        }
        let waits = |other: &Job| other.refused.is_none() && other.tag() == oldtag;
        if let Some(index) = state.waiting.iter().position(waits) {
            let old = state.waiting.remove(index);
            drop(state);
            if let Some(old) = old {
                self.done(old, |old| old.fail(Errno::INTR));
            }
            return self.done(job, Job::flushed);
        }
        if let Some(request) = state.last_of(oldtag) {
            request.flushes.push(job);
        }
    }

    /// A new session. What the old one waits for ends; what it had open is closed.
    fn version(&self, job: Job) {
        let Ok(Request::Version { msize, version }) = Request::parse(kind::VERSION, &job.message[HEADER..])
        else {
            return self.done(job, |job| job.fail(Errno::PROTO));
        };
        let agreed = version.starts_with(VERSION) && msize >= LEAST_MSIZE;
        let msize = msize.min(MAX_MESSAGE as u32);
        let mut answer = Answer::new(job.room);
        answer.u32(msize);
        answer.string(if agreed { VERSION } else { b"unknown" });
        let bytes = answer.finish(kind::VERSION + 1, job.tag());

        let session = Arc::new(Session::new(self.tree.clone(), if agreed { msize as usize } else { 0 }));
        let mut state = self.state.lock();
        if !state.is_current(&job) {
            drop(state);
            return job.fail(Errno::INTR);
        }
        let old = std::mem::replace(&mut state.session, session);
        let waiting = std::mem::take(&mut state.waiting);
        let outstanding = std::mem::take(&mut state.outstanding);
        drop(state);
        old.close();
        waiting.into_iter().for_each(|job| job.fail(Errno::INTR));
        outstanding.into_iter().flat_map(|request| request.flushes).for_each(Job::flushed);
        job.reply(bytes);
    }
}
