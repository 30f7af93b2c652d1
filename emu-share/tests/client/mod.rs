//! A 9P2000.L client that says what it is told to, sense or nonsense.
#![allow(dead_code, reason = "each test program uses a part")]

use emu_core::backend::MessageBackend;
use emu_share::Share;
use std::{
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicU16, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

pub const ROOT: u32 = 0;
pub const NO_FID: u32 = u32::MAX;
pub const MSIZE: u32 = 512_000;

pub const ENOENT: u32 = 2;
pub const EINTR: u32 = 4;
pub const ENXIO: u32 = 6;
pub const EBADF: u32 = 9;
pub const EEXIST: u32 = 17;
pub const ENOTDIR: u32 = 20;
pub const EISDIR: u32 = 21;
pub const EINVAL: u32 = 22;
pub const EROFS: u32 = 30;
pub const ELOOP: u32 = 40;
pub const EPROTO: u32 = 71;
pub const EOPNOTSUPP: u32 = 95;

pub const RDONLY: u32 = 0;
pub const WRONLY: u32 = 1;
pub const RDWR: u32 = 2;
pub const EXCL: u32 = 0o200;
pub const TRUNC: u32 = 0o1000;

/// A field of a message.
#[derive(Clone, Copy)]
pub enum F<'a> {
    B(u8),
    H(u16),
    W(u32),
    D(u64),
    S(&'a [u8]),
    Raw(&'a [u8]),
}

pub fn message(kind: u8, tag: u16, fields: &[F<'_>]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0, 0, kind];
    bytes.extend_from_slice(&tag.to_le_bytes());
    for field in fields {
        match field {
            F::B(value) => bytes.push(*value),
            F::H(value) => bytes.extend_from_slice(&value.to_le_bytes()),
            F::W(value) => bytes.extend_from_slice(&value.to_le_bytes()),
            F::D(value) => bytes.extend_from_slice(&value.to_le_bytes()),
            F::S(value) => {
                bytes.extend_from_slice(&(value.len() as u16).to_le_bytes());
                bytes.extend_from_slice(value);
            }
            F::Raw(value) => bytes.extend_from_slice(value),
        }
    }
    let len = bytes.len() as u32;
    bytes[..4].copy_from_slice(&len.to_le_bytes());
    bytes
}

/// Fields of a reply.
pub struct Reply(Vec<u8>, usize);

impl Reply {
    pub fn take<const N: usize>(&mut self) -> [u8; N] {
        let field = self.0[self.1..self.1 + N].try_into().unwrap();
        self.1 += N;
        field
    }

    pub fn w(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    pub fn h(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    pub fn d(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    pub fn b(&mut self) -> u8 {
        self.take::<1>()[0]
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let field = self.0[self.1..self.1 + len].to_vec();
        self.1 += len;
        field
    }

    pub fn s(&mut self) -> Vec<u8> {
        let len = self.h();
        self.bytes(len.into())
    }

    pub fn qid(&mut self) -> (u8, u64) {
        let kind = self.b();
        self.w();
        (kind, self.d())
    }

    pub fn rest(&self) -> usize {
        self.0.len() - self.1
    }
}

/// What Rgetattr says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    pub qid: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub links: u64,
    pub device: u64,
    pub size: u64,
    pub mtime: (u64, u64),
}

/// Threads of the server.
const THREADS: u16 = 4;

/// See [`Client::hold`].
pub struct Held(Vec<Sender<()>>);

impl Held {
    /// Lets one thread go on.
    pub fn release_one(&mut self) {
        self.0.pop();
    }
}

pub struct Client {
    pub share: Share,
    tag: AtomicU16,
    next: Mutex<u32>,
}

pub type Result<T> = std::result::Result<T, u32>;

impl Client {
    /// Has agreed to a version, and attached the root as user 1000.
    pub fn new(path: &Path) -> Self {
        Self::with(path, false)
    }

    pub fn with(path: &Path, read_only: bool) -> Self {
        let client = Self::unattached(path, read_only);
        assert_eq!(client.version(MSIZE, b"9P2000.L"), (MSIZE, b"9P2000.L".to_vec()));
        client.attach(ROOT).unwrap();
        client
    }

    pub fn unattached(path: &Path, read_only: bool) -> Self {
        let share = Share::open(path, read_only).unwrap();
        Client { share, tag: AtomicU16::new(1), next: Mutex::new(10_000) }
    }

    pub fn fid(&self) -> u32 {
        let mut next = self.next.lock().unwrap();
        *next += 1;
        *next - 1
    }

    pub fn send(&self, message: Vec<u8>, room: usize) -> Receiver<Vec<u8>> {
        let (sender, receiver) = channel();
        self.share.request(message, room, Box::new(move |bytes| drop(sender.send(bytes))));
        receiver
    }

    /// Keeps the server's threads from doing anything until what is returned is dropped: each waits in a reply.
    pub fn hold(&self) -> Held {
        let (begun, all) = channel();
        let mut held = vec![];
        for tag in 0..THREADS {
            let (release, wait) = channel::<()>();
            let begun = begun.clone();
            let reply = Box::new(move |_| {
                begun.send(()).unwrap();
                let _ = wait.recv();
            });
            self.share.request(message(200, 60_000 + tag, &[]), MSIZE as usize, reply);
            held.push(release);
        }
        (0..THREADS).for_each(|_| all.recv_timeout(Duration::from_secs(20)).unwrap());
        Held(held)
    }

    /// Sends a request and waits for its reply: fields, or an error.
    pub fn ask(&self, kind: u8, fields: &[F<'_>]) -> Result<Reply> {
        let tag = self.tag.fetch_add(1, Ordering::Relaxed) % 0xFFFF;
        let reply = self.send(message(kind, tag, fields), MSIZE as usize);
        let reply = reply.recv_timeout(Duration::from_secs(20)).expect("a reply in 20 seconds");
        check(kind, tag, reply)
    }

    pub fn version(&self, msize: u32, version: &[u8]) -> (u32, Vec<u8>) {
        let mut reply = self.ask(100, &[F::W(msize), F::S(version)]).unwrap();
        (reply.w(), reply.s())
    }

    pub fn attach(&self, fid: u32) -> Result<(u8, u64)> {
        let fields = [F::W(fid), F::W(NO_FID), F::S(b""), F::S(b""), F::W(1000)];
        self.ask(104, &fields).map(|mut reply| reply.qid())
    }

    /// The qids that were found.
    pub fn walk_to(&self, fid: u32, new: u32, names: &[&[u8]]) -> Result<Vec<(u8, u64)>> {
        let mut fields = vec![F::W(fid), F::W(new), F::H(names.len() as u16)];
        fields.extend(names.iter().map(|name| F::S(name)));
        let mut reply = self.ask(110, &fields)?;
        Ok((0..reply.h()).map(|_| reply.qid()).collect())
    }

    /// A new fid for a path from the root.
    pub fn walk(&self, path: &str) -> Result<u32> {
        let names: Vec<&[u8]> = path.split('/').filter(|name| !name.is_empty()).map(str::as_bytes).collect();
        let fid = self.fid();
        let found = self.walk_to(ROOT, fid, &names)?.len();
        if found == names.len() { Ok(fid) } else { Err(ENOENT) }
    }

    pub fn open(&self, fid: u32, flags: u32) -> Result<()> {
        self.ask(12, &[F::W(fid), F::W(flags)]).map(drop)
    }

    pub fn open_path(&self, path: &str, flags: u32) -> Result<u32> {
        let fid = self.walk(path)?;
        self.open(fid, flags).map(|()| fid)
    }

    /// A file in the directory `path`, open for reading and writing.
    pub fn create(&self, path: &str, name: &[u8], mode: u32) -> Result<u32> {
        let fid = self.walk(path)?;
        self.ask(14, &[F::W(fid), F::S(name), F::W(RDWR | EXCL), F::W(mode), F::W(100)]).map(|_| fid)
    }

    pub fn mkdir(&self, fid: u32, name: &[u8]) -> Result<()> {
        self.ask(72, &[F::W(fid), F::S(name), F::W(0o755), F::W(100)]).map(drop)
    }

    pub fn symlink(&self, fid: u32, name: &[u8], target: &[u8]) -> Result<()> {
        self.ask(16, &[F::W(fid), F::S(name), F::S(target), F::W(100)]).map(drop)
    }

    pub fn mknod(&self, fid: u32, name: &[u8], mode: u32, device: (u32, u32)) -> Result<()> {
        let fields = [F::W(fid), F::S(name), F::W(mode), F::W(device.0), F::W(device.1), F::W(100)];
        self.ask(18, &fields).map(drop)
    }

    pub fn read(&self, fid: u32, offset: u64, count: u32) -> Result<Vec<u8>> {
        let mut reply = self.ask(116, &[F::W(fid), F::D(offset), F::W(count)])?;
        let len = reply.w() as usize;
        assert_eq!(reply.rest(), len);
        Ok(reply.bytes(len))
    }

    pub fn write(&self, fid: u32, offset: u64, data: &[u8]) -> Result<u32> {
        let fields = [F::W(fid), F::D(offset), F::W(data.len() as u32), F::Raw(data)];
        self.ask(118, &fields).map(|mut reply| reply.w())
    }

    pub fn clunk(&self, fid: u32) -> Result<()> {
        self.ask(120, &[F::W(fid)]).map(drop)
    }

    pub fn getattr(&self, fid: u32) -> Result<Attributes> {
        let mut reply = self.ask(24, &[F::W(fid), F::D(0x7FF)])?;
        assert_eq!(reply.d() & 0x7FF, 0x7FF, "all basic fields are there");
        let (_, qid) = reply.qid();
        let (mode, uid, gid, links) = (reply.w(), reply.w(), reply.w(), reply.d());
        let (device, size, _, _) = (reply.d(), reply.d(), reply.d(), reply.d());
        let (_, mtime) = ((reply.d(), reply.d()), (reply.d(), reply.d()));
        assert_eq!(reply.rest(), 6 * 8, "change and birth, generation and data version");
        Ok(Attributes { qid, mode, uid, gid, links, device, size, mtime })
    }

    /// `valid`, mode, owner, size, time of modification.
    pub fn setattr(
        &self,
        fid: u32,
        valid: u32,
        (mode, uid, size, mtime): (u32, u32, u64, u64),
    ) -> Result<()> {
        let mut fields = vec![F::W(fid), F::W(valid), F::W(mode), F::W(uid), F::W(uid), F::D(size)];
        fields.extend([F::D(1), F::D(2), F::D(mtime), F::D(5)]);
        self.ask(26, &fields).map(drop)
    }

    /// Names, cookies and types from `offset` on, as far as `count` bytes reach.
    pub fn readdir(&self, fid: u32, offset: u64, count: u32) -> Result<Vec<(Vec<u8>, u64, u8)>> {
        let mut reply = self.ask(40, &[F::W(fid), F::D(offset), F::W(count)])?;
        let len = reply.w();
        assert!(len <= count && reply.rest() == len as usize);
        let mut entries = vec![];
        while reply.rest() != 0 {
            reply.qid();
            let (cookie, kind) = (reply.d(), reply.b());
            entries.push((reply.s(), cookie, kind));
        }
        Ok(entries)
    }

    pub fn list(&self, path: &str, count: u32) -> Result<Vec<Vec<u8>>> {
        let fid = self.open_path(path, RDONLY)?;
        let (mut names, mut cookie) = (vec![], 0);
        loop {
            let entries = self.readdir(fid, cookie, count)?;
            let Some(last) = entries.last() else { break };
            cookie = last.1;
            names.extend(entries.into_iter().map(|entry| entry.0));
        }
        names.sort();
        self.clunk(fid)?;
        Ok(names)
    }

    pub fn unlink(&self, fid: u32, name: &[u8], flags: u32) -> Result<()> {
        self.ask(76, &[F::W(fid), F::S(name), F::W(flags)]).map(drop)
    }

    pub fn renameat(&self, old: (u32, &[u8]), new: (u32, &[u8])) -> Result<()> {
        self.ask(74, &[F::W(old.0), F::S(old.1), F::W(new.0), F::S(new.1)]).map(drop)
    }

    pub fn link(&self, directory: u32, fid: u32, name: &[u8]) -> Result<()> {
        self.ask(70, &[F::W(directory), F::W(fid), F::S(name)]).map(drop)
    }

    pub fn readlink(&self, fid: u32) -> Result<Vec<u8>> {
        self.ask(22, &[F::W(fid)]).map(|mut reply| reply.s())
    }

    pub fn set_xattr(&self, path: &str, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        let fid = self.walk(path)?;
        self.ask(32, &[F::W(fid), F::S(name), F::D(value.len() as u64), F::W(flags)])?;
        if !value.is_empty() {
            self.write(fid, 0, value)?;
        }
        self.clunk(fid)
    }

    /// The value; or the names, if the name is empty.
    pub fn xattr(&self, path: &str, name: &[u8]) -> Result<Vec<u8>> {
        let (fid, new) = (self.walk(path)?, self.fid());
        let len = self.ask(30, &[F::W(fid), F::W(new), F::S(name)])?.d();
        let value = self.read(new, 0, 70_000)?;
        assert_eq!(value.len() as u64, len);
        self.clunk(new)?;
        Ok(value)
    }
}

/// The fields of a reply to `kind`.
pub fn check(kind: u8, tag: u16, bytes: Vec<u8>) -> Result<Reply> {
    assert!(bytes.len() >= 7, "no reply");
    assert_eq!(u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize, bytes.len());
    assert_eq!(u16::from_le_bytes(bytes[5..7].try_into().unwrap()), tag);
    if bytes[4] == 7 {
        return Err(Reply(bytes, 7).w());
    }
    assert_eq!(bytes[4], kind + 1);
    Ok(Reply(bytes, 7))
}
