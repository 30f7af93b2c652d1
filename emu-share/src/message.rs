//! Requests, as the protocol document lists them. Field names are the document's.

use crate::codec::{Fields, Truncated};

/// Message types. The reply's is one more.
pub mod kind {
    pub const RLERROR: u8 = 7;
    pub const STATFS: u8 = 8;
    pub const LOPEN: u8 = 12;
    pub const LCREATE: u8 = 14;
    pub const SYMLINK: u8 = 16;
    pub const MKNOD: u8 = 18;
    pub const RENAME: u8 = 20;
    pub const READLINK: u8 = 22;
    pub const GETATTR: u8 = 24;
    pub const SETATTR: u8 = 26;
    pub const XATTRWALK: u8 = 30;
    pub const XATTRCREATE: u8 = 32;
    pub const READDIR: u8 = 40;
    pub const FSYNC: u8 = 50;
    pub const LOCK: u8 = 52;
    pub const GETLOCK: u8 = 54;
    pub const LINK: u8 = 70;
    pub const MKDIR: u8 = 72;
    pub const RENAMEAT: u8 = 74;
    pub const UNLINKAT: u8 = 76;
    pub const VERSION: u8 = 100;
    pub const AUTH: u8 = 102;
    pub const ATTACH: u8 = 104;
    pub const FLUSH: u8 = 108;
    pub const WALK: u8 = 110;
    pub const READ: u8 = 116;
    pub const WRITE: u8 = 118;
    pub const CLUNK: u8 = 120;
    pub const REMOVE: u8 = 122;
}

/// No fid.
pub const NO_FID: u32 = u32::MAX;
/// The most names of a walk.
const MOST_NAMES: u16 = 16;

/// A message that makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// See [`Truncated`].
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// A walk of more names than there may be.
    #[error("a walk of {0} names")]
    LongWalk(u16),
    /// A type that this protocol does not have.
    #[error("message type {0}")]
    Kind(u8),
}

/// Times that are to be set: seconds and nanoseconds.
pub type Time = (u64, u64);

/// A file to be made: who asks for it is the fid's user.
#[derive(Debug)]
pub struct New<'a> {
    pub directory: u32,
    pub name: &'a [u8],
    pub gid: u32,
}

/// What Tsetattr carries.
#[derive(Debug)]
pub struct SetAttributes {
    pub valid: u32,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub atime: Time,
    pub mtime: Time,
}

/// A range of a file that is to be locked, or asked about.
#[derive(Debug)]
pub struct Lock<'a> {
    pub kind: u8,
    pub start: u64,
    pub length: u64,
    pub proc_id: u32,
    pub client_id: &'a [u8],
}

/// A request. Those of the session itself, version and flush, are here as well.
#[derive(Debug)]
pub enum Request<'a> {
    Version { msize: u32, version: &'a [u8] },
    Auth,
    Flush { oldtag: u16 },
    Attach { fid: u32, aname: &'a [u8], n_uname: u32 },
    Walk { fid: u32, newfid: u32, names: Vec<&'a [u8]> },
    Clunk { fid: u32 },
    Remove { fid: u32 },
    Statfs { fid: u32 },
    Lopen { fid: u32, flags: u32 },
    Lcreate { new: New<'a>, flags: u32, mode: u32 },
    Symlink { new: New<'a>, target: &'a [u8] },
    Mknod { new: New<'a>, mode: u32, device: (u32, u32) },
    Mkdir { new: New<'a>, mode: u32 },
    Link { dfid: u32, fid: u32, name: &'a [u8] },
    Rename { fid: u32, dfid: u32, name: &'a [u8] },
    Renameat { olddirfid: u32, oldname: &'a [u8], newdirfid: u32, newname: &'a [u8] },
    Unlinkat { dirfid: u32, name: &'a [u8], flags: u32 },
    Readlink { fid: u32 },
    Getattr { fid: u32 },
    Setattr { fid: u32, attributes: SetAttributes },
    Xattrwalk { fid: u32, newfid: u32, name: &'a [u8] },
    Xattrcreate { fid: u32, name: &'a [u8], size: u64, flags: u32 },
    Readdir { fid: u32, offset: u64, count: u32 },
    Read { fid: u32, offset: u64, count: u32 },
    Write { fid: u32, offset: u64, data: &'a [u8] },
    Fsync { fid: u32, data_only: bool },
    Lock { fid: u32 },
    Getlock { fid: u32, lock: Lock<'a> },
}

impl<'a> Request<'a> {
    /// Reads the fields behind the header. What is behind the last field is ignored, as servers do.
    pub fn parse(kind: u8, body: &'a [u8]) -> Result<Self, Malformed> {
        let f = &mut Fields::new(body);
        Ok(match kind {
            kind::VERSION => Request::Version { msize: f.u32()?, version: f.string()? },
            kind::AUTH => Request::Auth,
            kind::FLUSH => Request::Flush { oldtag: f.u16()? },
            kind::ATTACH => Self::attach(f)?,
            kind::WALK => Self::walk(f)?,
            kind::CLUNK => Request::Clunk { fid: f.u32()? },
            kind::REMOVE => Request::Remove { fid: f.u32()? },
            kind::STATFS => Request::Statfs { fid: f.u32()? },
            kind::LOPEN => Request::Lopen { fid: f.u32()?, flags: f.u32()? },
            kind::LCREATE | kind::SYMLINK | kind::MKNOD | kind::MKDIR => Self::create(kind, f)?,
            kind::LINK => Request::Link { dfid: f.u32()?, fid: f.u32()?, name: f.string()? },
            kind::RENAME => Request::Rename { fid: f.u32()?, dfid: f.u32()?, name: f.string()? },
            kind::RENAMEAT => Request::Renameat {
                olddirfid: f.u32()?,
                oldname: f.string()?,
                newdirfid: f.u32()?,
                newname: f.string()?,
            },
            kind::UNLINKAT => Request::Unlinkat { dirfid: f.u32()?, name: f.string()?, flags: f.u32()? },
            kind::READLINK => Request::Readlink { fid: f.u32()? },
            kind::GETATTR => Request::Getattr { fid: f.u32()? },
            kind::SETATTR => Request::Setattr { fid: f.u32()?, attributes: Self::attributes(f)? },
            kind::XATTRWALK => Request::Xattrwalk { fid: f.u32()?, newfid: f.u32()?, name: f.string()? },
            kind::XATTRCREATE => {
                Request::Xattrcreate { fid: f.u32()?, name: f.string()?, size: f.u64()?, flags: f.u32()? }
            }
            kind::READDIR => Request::Readdir { fid: f.u32()?, offset: f.u64()?, count: f.u32()? },
            kind::READ => Request::Read { fid: f.u32()?, offset: f.u64()?, count: f.u32()? },
            kind::WRITE => Self::write(f)?,
            // Early clients send no second field.
            kind::FSYNC => Request::Fsync { fid: f.u32()?, data_only: f.u32().unwrap_or(0) != 0 },
            kind::LOCK => Request::Lock { fid: f.u32()? },
            kind::GETLOCK => Request::Getlock { fid: f.u32()?, lock: Self::lock(f)? },
            _ => return Err(Malformed::Kind(kind)),
        })
    }

    fn attach(f: &mut Fields<'a>) -> Result<Self, Malformed> {
        let fid = f.u32()?;
        let (_afid, _uname) = (f.u32()?, f.string()?);
        Ok(Request::Attach { fid, aname: f.string()?, n_uname: f.u32()? })
    }

    fn walk(f: &mut Fields<'a>) -> Result<Self, Malformed> {
        let (fid, newfid, count) = (f.u32()?, f.u32()?, f.u16()?);
        if count > MOST_NAMES {
            return Err(Malformed::LongWalk(count));
        }
        let names = (0..count).map(|_| f.string()).collect::<Result<_, _>>()?;
        Ok(Request::Walk { fid, newfid, names })
    }

    fn create(kind: u8, f: &mut Fields<'a>) -> Result<Self, Malformed> {
        let (directory, name) = (f.u32()?, f.string()?);
        let new = |gid| New { directory, name, gid };
        Ok(match kind {
            kind::LCREATE => {
                let (flags, mode) = (f.u32()?, f.u32()?);
                Request::Lcreate { new: new(f.u32()?), flags, mode }
            }
            kind::SYMLINK => {
                let target = f.string()?;
                Request::Symlink { new: new(f.u32()?), target }
            }
            kind::MKNOD => {
                let (mode, device) = (f.u32()?, (f.u32()?, f.u32()?));
                Request::Mknod { new: new(f.u32()?), mode, device }
            }
            _ => {
                let mode = f.u32()?;
                Request::Mkdir { new: new(f.u32()?), mode }
            }
        })
    }

    fn attributes(f: &mut Fields<'a>) -> Result<SetAttributes, Malformed> {
        Ok(SetAttributes {
            valid: f.u32()?,
            mode: f.u32()?,
            uid: f.u32()?,
            gid: f.u32()?,
            size: f.u64()?,
            atime: (f.u64()?, f.u64()?),
            mtime: (f.u64()?, f.u64()?),
        })
    }

    fn write(f: &mut Fields<'a>) -> Result<Self, Malformed> {
        let (fid, offset, count) = (f.u32()?, f.u64()?, f.u32()?);
        Ok(Request::Write { fid, offset, data: f.bytes(count as usize)? })
    }

    fn lock(f: &mut Fields<'a>) -> Result<Lock<'a>, Malformed> {
        Ok(Lock {
            kind: f.u8()?,
            start: f.u64()?,
            length: f.u64()?,
            proc_id: f.u32()?,
            client_id: f.string()?,
        })
    }

    /// Whether it changes something in the folder. Opening and clunking are looked at more closely where they are done.
    pub fn changes(&self) -> bool {
        matches!(
            self,
            Request::Lcreate { .. }
                | Request::Symlink { .. }
                | Request::Mknod { .. }
                | Request::Mkdir { .. }
                | Request::Link { .. }
                | Request::Rename { .. }
                | Request::Renameat { .. }
                | Request::Unlinkat { .. }
                | Request::Setattr { .. }
                | Request::Xattrcreate { .. }
                | Request::Write { .. }
        )
    }
}
