//! Listing directories, and what is done to the names in them.

use super::Session;
use super::fid::Open;
use crate::{
    attributes::{self, Change},
    codec::Answer,
    message::New,
    tree::{Descriptor, Node, Place, check_name},
};
use parking_lot::Mutex;
use rustix::{
    fs::{self, AtFlags, CWD, FileType, Mode, OFlags, RawDir, SeekFrom},
    io::{Errno, Result},
};
use std::{mem::MaybeUninit, sync::Arc};

/// Flag of Tunlinkat: it is a directory.
const AT_REMOVEDIR: u32 = 0x200;
/// Bytes of entries that the host is asked for at a time.
const ENTRIES: usize = 32 << 10;
/// Bytes of an entry without its name.
const ENTRY: usize = 13 + 8 + 1 + 2;

/// A directory that is being listed. Where a listing goes on is the host's cookie, which the guest gives back: a wrong
/// one is the host's file system to refuse, which has to stand that from any process.
pub struct DirectoryStream {
    pub descriptor: Arc<Descriptor>,
    /// Held from setting the place to reading there.
    place: Mutex<()>,
}

impl DirectoryStream {
    pub fn new(descriptor: Arc<Descriptor>) -> Self {
        DirectoryStream { descriptor, place: Mutex::new(()) }
    }
}

/// The type of an entry as in `struct dirent`. What is a regular file on the host can be a special one for the guest;
/// the guest asks when it must know.
fn entry_kind(kind: FileType) -> u8 {
    match kind {
        FileType::Directory => 4,
        FileType::Symlink => 10,
        _ => 0,
    }
}

impl Session {
    pub(super) fn readdir(&self, fid: u32, offset: u64, count: u32, answer: &mut Answer) -> Result<()> {
        let fid = self.fids.get(fid)?;
        let Open::Directory(stream) = fid.open() else { return Err(Errno::BADF) };
        let node = fid.node();
        let offset = i64::try_from(offset).map_err(|_| Errno::INVAL)?;
        answer.counted(count, |bytes, most| self.list(&node, &stream, offset.unsigned_abs(), bytes, most))
    }

    fn list(
        &self,
        node: &Arc<Node>,
        stream: &DirectoryStream,
        offset: u64,
        bytes: &mut Vec<u8>,
        most: usize,
    ) -> Result<()> {
        let _place = stream.place.lock();
        fs::seek(&*stream.descriptor, SeekFrom::Start(offset))?;
        let mut buffer = vec![MaybeUninit::uninit(); ENTRIES];
        let mut entries = RawDir::new(&*stream.descriptor, &mut buffer);
        let end = bytes.len() + most;
        let start = bytes.len();
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if end - bytes.len() < ENTRY + name.len() {
                return if bytes.len() == start { Err(Errno::INVAL) } else { Ok(()) };
            }
            let qid = match name {
                b"." => self.tree.qid_of_directory(node),
                b".." => self.tree.qid_of_directory(node.parent()),
                _ => self.tree.qid_of(node, entry.ino(), entry.file_type()),
            };
            bytes.push(qid.kind);
            bytes.extend_from_slice(&qid.version.to_le_bytes());
            bytes.extend_from_slice(&qid.path.to_le_bytes());
            bytes.extend_from_slice(&entry.next_entry_cookie().to_le_bytes());
            bytes.push(entry_kind(entry.file_type()));
            bytes.extend_from_slice(&(name.len() as u16).to_le_bytes());
            bytes.extend_from_slice(name);
        }
        Ok(())
    }

    pub(super) fn mkdir(&self, new: &New<'_>, mode: u32, answer: &mut Answer) -> Result<()> {
        let (directory, user) = self.directory(new.directory)?;
        check_name(new.name)?;
        fs::mkdirat(&directory, new.name, Mode::RWXU)?;
        let node = self.tree.child(&directory, new.name)?;
        let (uid, gid) = Self::owner(new, user);
        attributes::set_new(&self.tree, &node, Change { mode: Some(mode & 0o7777), uid, gid, device: None })?;
        answer.qid(self.tree.qid(&node, &node.stat()?));
        Ok(())
    }

    /// The target means something to the guest alone.
    pub(super) fn symlink(&self, new: &New<'_>, target: &[u8], answer: &mut Answer) -> Result<()> {
        let (directory, _) = self.directory(new.directory)?;
        check_name(new.name)?;
        fs::symlinkat(target, &directory, new.name)?;
        let node = self.tree.child(&directory, new.name)?;
        answer.qid(self.tree.qid(&node, &node.stat()?));
        Ok(())
    }

    /// Never a special file on the host: see `attributes`.
    pub(super) fn mknod(
        &self,
        new: &New<'_>,
        mode: u32,
        device: (u32, u32),
        answer: &mut Answer,
    ) -> Result<()> {
        let (directory, user) = self.directory(new.directory)?;
        let (node, _) = self.tree.create(&directory, new.name, OFlags::RDWR)?;
        let (uid, gid) = Self::owner(new, user);
        let new_attributes = Change { mode: Some(mode), uid, gid, device: Some(device) };
        if let Err(error) = attributes::set_new(&self.tree, &node, new_attributes) {
            fs::unlinkat(&directory, new.name, AtFlags::empty())?;
            return Err(error);
        }
        answer.qid(self.tree.qid(&node, &node.stat()?));
        Ok(())
    }

    pub(super) fn link(&self, directory: u32, fid: u32, name: &[u8]) -> Result<()> {
        let (directory, _) = self.directory(directory)?;
        let node = self.fids.get(fid)?.node();
        check_name(name)?;
        fs::linkat(CWD, node.path(), &directory, name, AtFlags::SYMLINK_FOLLOW)
    }

    pub(super) fn renameat(&self, old: (u32, &[u8]), new: (u32, &[u8])) -> Result<()> {
        let ((from, _), (to, _)) = (self.directory(old.0)?, self.directory(new.0)?);
        check_name(old.1)?;
        check_name(new.1)?;
        fs::renameat(&from, old.1, &to, new.1)
    }

    pub(super) fn rename(&self, fid: u32, directory: u32, name: &[u8]) -> Result<()> {
        let (directory, _) = self.directory(directory)?;
        check_name(name)?;
        let fid = self.fids.get(fid)?;
        let node = fid.node();
        let place = node.place()?.ok_or(Errno::BUSY)?;
        fs::renameat(&place.parent, &*place.name, &directory, name)?;
        fid.rename(&node, Place { parent: directory, name: name.to_vec() });
        Ok(())
    }

    pub(super) fn unlinkat(&self, directory: u32, name: &[u8], flags: u32) -> Result<()> {
        let (directory, _) = self.directory(directory)?;
        check_name(name)?;
        let flags = match flags {
            0 => AtFlags::empty(),
            AT_REMOVEDIR => AtFlags::REMOVEDIR,
            _ => return Err(Errno::INVAL),
        };
        fs::unlinkat(&directory, name, flags)
    }

    /// The fid is gone, whatever happens.
    pub(super) fn remove(&self, fid: u32) -> Result<()> {
        let node = self.fids.remove(fid)?.node();
        if self.tree.read_only {
            return Err(Errno::ROFS);
        }
        let place = node.place()?.ok_or(Errno::BUSY)?;
        let directory = node.kind == FileType::Directory;
        let flags = if directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        fs::unlinkat(&place.parent, &*place.name, flags)
    }
}
