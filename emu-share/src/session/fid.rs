//! Fids: the numbers by which a guest knows its files, and what stands behind them.

use super::{attribute::NewAttribute, directory::DirectoryStream, io::OpenFile};
use crate::tree::{Node, Place};
use parking_lot::{Mutex, MutexGuard};
use rustix::io::{Errno, Result};
use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

/// The most fids of a session. The host's limit on open files is often lower, and is kept elsewhere.
const MOST_FIDS: usize = 1 << 18;
/// Bytes that all extended attributes of a session may have while they are read or written.
const MOST_ATTRIBUTE_BYTES: usize = 16 << 20;

/// How a fid is open.
#[derive(Clone)]
pub enum Open {
    /// It only names a file.
    No,
    File(Arc<OpenFile>),
    Directory(Arc<DirectoryStream>),
    /// An extended attribute, or the list of their names.
    Attribute(Arc<Buffer>),
    /// An extended attribute that is set when the fid is clunked.
    NewAttribute(Arc<Mutex<NewAttribute>>),
}

/// What a fid stands for now.
#[derive(Clone)]
pub struct State {
    pub node: Arc<Node>,
    pub open: Open,
}

/// One fid.
pub struct Fid {
    /// The guest's user that it is for.
    pub user: u32,
    state: Mutex<State>,
}

impl Fid {
    pub fn new(user: u32, node: Arc<Node>, open: Open) -> Self {
        Fid { user, state: Mutex::new(State { node, open }) }
    }

    pub fn node(&self) -> Arc<Node> {
        self.state.lock().node.clone()
    }

    pub fn open(&self) -> Open {
        self.state.lock().open.clone()
    }

    /// The fid's file, which was `node`, has another place now.
    pub fn rename(&self, node: &Arc<Node>, place: Place) {
        let mut state = self.state.lock();
        if Arc::ptr_eq(&state.node, node) {
            state.node = Arc::new(node.moved(place));
        }
    }

    /// The fid, if it is not open, for a request that opens it or lets it name another file.
    pub fn unopened(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.state.lock();
        if matches!(state.open, Open::No) { Ok(state) } else { Err(Errno::BADF) }
    }
}

/// Bytes of an extended attribute, which count.
pub struct Buffer {
    pub bytes: Vec<u8>,
    counted: usize,
    all: Arc<Mutex<usize>>,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        *self.all.lock() -= self.counted;
    }
}

/// All fids of a session.
#[derive(Default)]
pub struct Fids {
    fids: Mutex<HashMap<u32, Arc<Fid>>>,
    attribute_bytes: Arc<Mutex<usize>>,
}

impl Fids {
    pub fn get(&self, number: u32) -> Result<Arc<Fid>> {
        self.fids.lock().get(&number).cloned().ok_or(Errno::BADF)
    }

    /// Adds a fid whose number is free.
    pub fn add(&self, number: u32, fid: Fid) -> Result<()> {
        let mut fids = self.fids.lock();
        if fids.len() >= MOST_FIDS {
            return Err(Errno::NFILE);
        }
        match fids.entry(number) {
            Entry::Vacant(entry) if number != crate::message::NO_FID => {
                entry.insert(Arc::new(fid));
                Ok(())
            }
            _ => Err(Errno::BADF),
        }
    }

    pub fn clear(&self) {
        let fids = std::mem::take(&mut *self.fids.lock());
        drop(fids);
    }

    pub fn remove(&self, number: u32) -> Result<Arc<Fid>> {
        self.fids.lock().remove(&number).ok_or(Errno::BADF)
    }

    /// A buffer that may grow to `len` bytes.
    pub fn buffer(&self, len: usize) -> Result<Buffer> {
        let mut all = self.attribute_bytes.lock();
        if *all + len > MOST_ATTRIBUTE_BYTES {
            return Err(Errno::NOMEM);
        }
        *all += len;
        Ok(Buffer { bytes: Vec::new(), counted: len, all: self.attribute_bytes.clone() })
    }
}
