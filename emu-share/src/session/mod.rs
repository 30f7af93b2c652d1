//! A session: what a guest has open, from one Tversion to the next.

mod attribute;
mod directory;
mod fid;
mod io;
mod stat;
mod walk;

use crate::{
    codec::{Answer, HEADER},
    message::{Request, kind},
    tree::Tree,
};
use fid::Fids;
use rustix::io::{Errno, Result};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// One session. Requests come from several threads at once.
pub struct Session {
    tree: Arc<Tree>,
    /// The longest message; zero before the guest has agreed to a version.
    msize: usize,
    fids: Fids,
    /// The device has been reset: nobody waits for replies.
    dead: AtomicBool,
}

impl Session {
    pub fn new(tree: Arc<Tree>, msize: usize) -> Self {
        Session { tree, msize, fids: Fids::default(), dead: AtomicBool::new(false) }
    }

    /// Closes everything that the guest has open.
    pub fn close(&self) {
        self.fids.clear();
    }

    pub fn kill(&self) {
        self.dead.store(true, Ordering::Release);
    }

    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// Does a request. The reply has at most `room` bytes; there is none if not even an error has room.
    pub fn answer(&self, message: &[u8], tag: u16, room: usize) -> Option<Vec<u8>> {
        let kind = message[4];
        let limit = room.min(self.msize);
        let mut answer = Answer::new(limit);
        let done = if self.msize == 0 {
            Err(Errno::PROTO)
        } else if message.len() > self.msize {
            Err(Errno::MSGSIZE)
        } else {
            self.request(kind, &message[HEADER..], &mut answer)
        };
        match done {
            Ok(()) => answer.finish(kind + 1, tag).or_else(|| error(Errno::MSGSIZE, tag, room)),
            Err(errno) => error(errno, tag, room),
        }
    }

    fn request(&self, kind: u8, body: &[u8], answer: &mut Answer) -> Result<()> {
        let request = Request::parse(kind, body).map_err(|malformed| {
            log::debug!("9P: {malformed}");
            if matches!(malformed, crate::message::Malformed::Kind(_)) {
                Errno::OPNOTSUPP
            } else {
                Errno::PROTO
            }
        })?;
        if self.tree.read_only && request.changes() {
            return Err(Errno::ROFS);
        }
        match request {
            // The server's own, before it comes to this.
            Request::Version { .. } | Request::Flush { .. } => Err(Errno::PROTO),
            Request::Auth => Err(Errno::OPNOTSUPP),
            Request::Attach { fid, aname, n_uname } => self.attach(fid, aname, n_uname, answer),
            Request::Walk { fid, newfid, names } => self.walk(fid, newfid, &names, answer),
            Request::Clunk { fid } => self.clunk(fid),
            Request::Remove { fid } => self.remove(fid),
            Request::Statfs { fid } => self.statfs(fid, answer),
            Request::Lopen { fid, flags } => self.lopen(fid, flags, answer),
            Request::Lcreate { new, flags, mode } => self.lcreate(&new, flags, mode, answer),
            Request::Symlink { new, target } => self.symlink(&new, target, answer),
            Request::Mknod { new, mode, device } => self.mknod(&new, mode, device, answer),
            Request::Mkdir { new, mode } => self.mkdir(&new, mode, answer),
            Request::Link { dfid, fid, name } => self.link(dfid, fid, name),
            Request::Rename { fid, dfid, name } => self.rename(fid, dfid, name),
            Request::Renameat { olddirfid, oldname, newdirfid, newname } => {
                self.renameat((olddirfid, oldname), (newdirfid, newname))
            }
            Request::Unlinkat { dirfid, name, flags } => self.unlinkat(dirfid, name, flags),
            Request::Readlink { fid } => self.readlink(fid, answer),
            Request::Getattr { fid } => self.getattr(fid, answer),
            Request::Setattr { fid, attributes } => self.setattr(fid, &attributes),
            Request::Xattrwalk { fid, newfid, name } => self.xattrwalk(fid, newfid, name, answer),
            Request::Xattrcreate { fid, name, size, flags } => self.xattrcreate(fid, name, size, flags),
            Request::Readdir { fid, offset, count } => self.readdir(fid, offset, count, answer),
            Request::Read { fid, offset, count } => self.read(fid, offset, count, answer),
            Request::Write { fid, offset, data } => self.write(fid, offset, data, answer),
            Request::Fsync { fid, data_only } => self.fsync(fid, data_only),
            Request::Lock { fid } => self.lock(fid, answer),
            Request::Getlock { fid, lock } => self.getlock(fid, &lock, answer),
        }
    }
}

/// The reply that says what went wrong.
pub fn error(errno: Errno, tag: u16, room: usize) -> Option<Vec<u8>> {
    let mut answer = Answer::new(room);
    answer.u32(errno.raw_os_error().unsigned_abs());
    answer.finish(kind::RLERROR, tag)
}
