//! Opening, reading and writing files; locks.

use super::{Session, fid::Open};
use crate::{
    attributes::{self, Change},
    codec::Answer,
    message::{Lock, New},
    tree::{Descriptor, Node},
};
use rustix::{
    fs::{self, FileType, OFlags},
    io::{self, Errno, Result},
};
use std::sync::Arc;

/// Flags of Tlopen and Tlcreate: those of Linux on x86.
mod flag {
    pub const ACCESS: u32 = 0o3;
    pub const WRONLY: u32 = 0o1;
    pub const RDWR: u32 = 0o2;
    pub const EXCL: u32 = 0o200;
    pub const TRUNC: u32 = 0o1000;
    pub const APPEND: u32 = 0o2000;
    pub const DSYNC: u32 = 0o10000;
    pub const DIRECTORY: u32 = 0o200000;
    pub const SYNC: u32 = 0o4000000;
}

/// Answers to Tlock, and what Rgetlock says of a range that is not locked.
const LOCK_SUCCESS: u8 = 0;
const UNLOCKED: u8 = 2;

/// A file that is open for reading or writing.
pub struct OpenFile {
    descriptor: Arc<Descriptor>,
}

/// What the host is asked for: direct access to disks, for one, is between the guest and its own cache.
fn host_flags(flags: u32) -> Result<OFlags> {
    let access = match flags & flag::ACCESS {
        0 => OFlags::RDONLY,
        flag::WRONLY => OFlags::WRONLY,
        flag::RDWR => OFlags::RDWR,
        _ => return Err(Errno::INVAL),
    };
    let pairs = [
        (flag::TRUNC, OFlags::TRUNC),
        (flag::APPEND, OFlags::APPEND),
        (flag::DSYNC, OFlags::DSYNC),
        (flag::SYNC & !flag::DSYNC, OFlags::SYNC),
        (flag::DIRECTORY, OFlags::DIRECTORY),
    ];
    Ok(pairs.into_iter().filter(|(bit, _)| flags & bit != 0).fold(access, |all, (_, one)| all | one))
}

impl Session {
    pub(super) fn lopen(&self, fid: u32, flags: u32, answer: &mut Answer) -> Result<()> {
        let fid = self.fids.get(fid)?;
        let mut state = fid.unopened()?;
        state.open = self.open_node(&state.node, flags)?;
        answer.qid(self.tree.qid(&state.node, &state.node.stat()?));
        answer.u32(0);
        Ok(())
    }

    fn open_node(&self, node: &Node, flags: u32) -> Result<Open> {
        let flags = host_flags(flags)?;
        if self.tree.read_only && flags.intersects(OFlags::WRONLY | OFlags::RDWR | OFlags::TRUNC) {
            return Err(Errno::ROFS);
        }
        let descriptor = Arc::new(self.tree.reopen(node, flags)?);
        Ok(match node.kind {
            FileType::Directory => {
                Open::Directory(Arc::new(super::directory::DirectoryStream::new(descriptor)))
            }
            _ => Open::File(Arc::new(OpenFile { descriptor })),
        })
    }

    /// Afterwards the fid is the file, and open.
    pub(super) fn lcreate(&self, new: &New<'_>, flags: u32, mode: u32, answer: &mut Answer) -> Result<()> {
        let fid = self.fids.get(new.directory)?;
        let mut state = fid.unopened()?;
        if state.node.kind != FileType::Directory {
            return Err(Errno::NOTDIR);
        }
        let host = host_flags(flags)?.difference(OFlags::TRUNC | OFlags::DIRECTORY);
        match self.tree.create(&state.node, new.name, host) {
            Ok((node, descriptor)) => {
                let (uid, gid) = Self::owner(new, fid.user);
                let new = Change { mode: Some(mode & 0o7777), uid, gid, device: None };
                attributes::set_new(&self.tree, &node, new)?;
                state.node = node;
                state.open = Open::File(Arc::new(OpenFile { descriptor }));
            }
            Err(Errno::EXIST) if flags & flag::EXCL == 0 => {
                let node = self.tree.child(&state.node, new.name)?;
                state.open = self.open_node(&node, flags)?;
                state.node = node;
            }
            Err(error) => return Err(error),
        }
        answer.qid(self.tree.qid(&state.node, &state.node.stat()?));
        answer.u32(0);
        Ok(())
    }

    pub(super) fn read(&self, fid: u32, offset: u64, count: u32, answer: &mut Answer) -> Result<()> {
        match self.fids.get(fid)?.open() {
            Open::File(file) => answer.counted(count, |bytes, most| read_at(&file, offset, bytes, most)),
            Open::Attribute(attribute) => {
                let rest = usize::try_from(offset).ok().and_then(|offset| attribute.bytes.get(offset..));
                let rest = rest.unwrap_or_default();
                answer.counted(count, |bytes, most| {
                    bytes.extend_from_slice(&rest[..rest.len().min(most)]);
                    Ok(())
                })
            }
            Open::Directory(_) => Err(Errno::ISDIR),
            _ => Err(Errno::BADF),
        }
    }

    pub(super) fn write(&self, fid: u32, offset: u64, data: &[u8], answer: &mut Answer) -> Result<()> {
        let written = match self.fids.get(fid)?.open() {
            Open::File(file) => {
                check_end(offset, data.len())?;
                io::retry_on_intr(|| io::pwrite(&*file.descriptor, data, offset))?
            }
            Open::NewAttribute(attribute) => attribute.lock().write(offset, data)?,
            _ => return Err(Errno::BADF),
        };
        answer.u32(written as u32);
        Ok(())
    }

    pub(super) fn fsync(&self, fid: u32, data_only: bool) -> Result<()> {
        let open = self.fids.get(fid)?.open();
        let descriptor: &Descriptor = match &open {
            Open::File(file) => &file.descriptor,
            Open::Directory(directory) => &directory.descriptor,
            _ => return Err(Errno::BADF),
        };
        if data_only { fs::fdatasync(descriptor) } else { fs::fsync(descriptor) }
    }

    /// The guest's kernel has locked it among the guest's processes before it asks, and there is nobody else.
    pub(super) fn lock(&self, fid: u32, answer: &mut Answer) -> Result<()> {
        self.fids.get(fid)?;
        answer.u8(LOCK_SUCCESS);
        Ok(())
    }

    pub(super) fn getlock(&self, fid: u32, lock: &Lock<'_>, answer: &mut Answer) -> Result<()> {
        self.fids.get(fid)?;
        log::trace!("9P: getlock of kind {}", lock.kind);
        answer.u8(UNLOCKED);
        answer.u64(lock.start);
        answer.u64(lock.length);
        answer.u32(lock.proc_id);
        answer.string(lock.client_id);
        Ok(())
    }
}

/// File offsets are signed on the host.
fn check_end(offset: u64, len: usize) -> Result<()> {
    let end = offset.checked_add(len as u64).filter(|end| i64::try_from(*end).is_ok());
    end.map(drop).ok_or(Errno::FBIG)
}

/// Appends what is at `offset`, up to `most` bytes.
fn read_at(file: &OpenFile, offset: u64, bytes: &mut Vec<u8>, most: usize) -> Result<()> {
    check_end(offset, most).map_err(|_| Errno::INVAL)?;
    let start = bytes.len();
    bytes.resize(start + most, 0);
    let read = io::retry_on_intr(|| io::pread(&*file.descriptor, &mut bytes[start..], offset))?;
    bytes.truncate(start + read);
    Ok(())
}
