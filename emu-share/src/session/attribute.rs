//! Extended attributes. Those of users pass; all others, which have force on the host or none here, do not exist.

use super::{
    Session,
    fid::{Buffer, Fid, Open},
};
use crate::{attributes::RESERVED, codec::Answer, tree::Node};
use parking_lot::Mutex;
use rustix::{
    fs::{self, FileType, XattrFlags},
    io::{Errno, Result},
};
use std::sync::Arc;

/// The longest value, and the longest list of names, on Linux.
const MOST_BYTES: usize = 64 << 10;

/// An attribute that is being written.
pub struct NewAttribute {
    name: Vec<u8>,
    value: Buffer,
    size: usize,
    flags: XattrFlags,
}

impl NewAttribute {
    /// Parts come in order; there are no holes.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> Result<usize> {
        let value = &mut self.value.bytes;
        if offset != value.len() as u64 {
            return Err(Errno::INVAL);
        }
        if self.size - value.len() < data.len() {
            return Err(Errno::NOSPC);
        }
        value.extend_from_slice(data);
        Ok(data.len())
    }
}

fn is_visible(name: &[u8]) -> bool {
    name.starts_with(b"user.") && !name.starts_with(RESERVED)
}

fn check(node: &Node, name: &[u8]) -> Result<()> {
    let may_have = matches!(node.kind, FileType::RegularFile | FileType::Directory);
    if !may_have || !is_visible(name) || name.contains(&0) {
        return Err(Errno::OPNOTSUPP);
    }
    if name.len() > 255 { Err(Errno::RANGE) } else { Ok(()) }
}

impl Session {
    /// The new fid is the attribute; without a name it is the list of names.
    pub(super) fn xattrwalk(&self, fid: u32, new: u32, name: &[u8], answer: &mut Answer) -> Result<()> {
        let fid = self.fids.get(fid)?;
        let node = fid.node();
        let bytes = if name.is_empty() { list(&node)? } else { get(&node, name)? };
        let mut buffer = self.fids.buffer(bytes.len())?;
        answer.u64(bytes.len() as u64);
        buffer.bytes = bytes;
        self.fids.add(new, Fid::new(fid.user, node, Open::Attribute(Arc::new(buffer))))
    }

    /// The fid becomes the attribute, which is set when the fid is clunked.
    pub(super) fn xattrcreate(&self, fid: u32, name: &[u8], size: u64, flags: u32) -> Result<()> {
        let fid = self.fids.get(fid)?;
        let mut state = fid.unopened()?;
        check(&state.node, name)?;
        let size = usize::try_from(size).ok().filter(|size| *size <= MOST_BYTES).ok_or(Errno::NOSPC)?;
        let known = XattrFlags::CREATE.bits() | XattrFlags::REPLACE.bits();
        if flags & !known != 0 {
            return Err(Errno::INVAL);
        }
        let (name, flags) = (name.to_vec(), XattrFlags::from_bits_retain(flags));
        let attribute = NewAttribute { name, value: self.fids.buffer(size)?, size, flags };
        state.open = Open::NewAttribute(Arc::new(Mutex::new(attribute)));
        Ok(())
    }

    /// Linux removes an attribute by replacing it with nothing.
    pub(super) fn set_attribute(&self, node: &Node, attribute: &NewAttribute) -> Result<()> {
        let NewAttribute { name, value, size, flags } = attribute;
        if value.bytes.len() != *size {
            return Err(Errno::INVAL);
        }
        if *size == 0 && *flags == XattrFlags::REPLACE {
            return fs::removexattr(node.path(), &**name);
        }
        fs::setxattr(node.path(), &**name, &value.bytes, *flags)
    }
}

fn get(node: &Node, name: &[u8]) -> Result<Vec<u8>> {
    check(node, name)?;
    let mut value = vec![0; MOST_BYTES];
    let len = fs::getxattr(node.path(), name, &mut *value)?;
    value.truncate(len);
    value.shrink_to_fit();
    Ok(value)
}

/// Names, a zero behind each.
fn list(node: &Node) -> Result<Vec<u8>> {
    if !matches!(node.kind, FileType::RegularFile | FileType::Directory) {
        return Ok(Vec::new());
    }
    let mut names = vec![0; MOST_BYTES];
    let len = match fs::listxattr(node.path(), &mut *names) {
        Err(Errno::OPNOTSUPP) => 0,
        other => other?,
    };
    let names = names[..len].split_inclusive(|byte| *byte == 0).filter(|name| is_visible(name));
    Ok(names.flatten().copied().collect())
}
