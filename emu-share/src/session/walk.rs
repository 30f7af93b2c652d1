//! Getting fids and letting them go: attach, walk, clunk.

use super::{
    Session,
    fid::{Fid, Open},
};
use crate::{codec::Answer, message::New, tree::Node};
use rustix::{
    fs::FileType,
    io::{Errno, Result},
};
use std::sync::Arc;

impl Session {
    /// `aname` could name one of several trees; here is one.
    pub(super) fn attach(&self, fid: u32, aname: &[u8], user: u32, answer: &mut Answer) -> Result<()> {
        if !matches!(aname, b"" | b"/") {
            return Err(Errno::NOENT);
        }
        let root = self.tree.root().clone();
        answer.qid(self.tree.qid(&root, &root.stat()?));
        self.fids.add(fid, Fid::new(user, root, Open::No))
    }

    /// A walk that stops on the way, but not at its first name, is none, and says how far it got.
    pub(super) fn walk(&self, number: u32, new: u32, names: &[&[u8]], answer: &mut Answer) -> Result<()> {
        let fid = self.fids.get(number)?;
        let mut node = fid.node();
        let mut qids = Vec::with_capacity(names.len());
        for name in names {
            match self.step(&node, name) {
                Ok((next, qid)) => {
                    node = next;
                    qids.push(qid);
                }
                Err(error) if qids.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        if qids.len() == names.len() {
            if new == number {
                fid.unopened()?.node = node;
            } else {
                self.fids.add(new, Fid::new(fid.user, node, Open::No))?;
            }
        }
        answer.u16(qids.len() as u16);
        qids.into_iter().for_each(|qid| answer.qid(qid));
        Ok(())
    }

    fn step(&self, node: &Arc<Node>, name: &[u8]) -> Result<(Arc<Node>, crate::codec::Qid)> {
        if node.kind != FileType::Directory {
            return Err(Errno::NOTDIR);
        }
        let next = if name == b".." { node.parent().clone() } else { self.tree.child(node, name)? };
        let qid = self.tree.qid(&next, &next.stat()?);
        Ok((next, qid))
    }

    /// The fid is gone, whatever happens. What was written to an extended attribute is set now.
    pub(super) fn clunk(&self, number: u32) -> Result<()> {
        let fid = self.fids.remove(number)?;
        match fid.open() {
            Open::NewAttribute(attribute) => self.set_attribute(&fid.node(), &attribute.lock()),
            _ => Ok(()),
        }
    }

    /// The directory that a fid is, and for whom.
    pub(super) fn directory(&self, number: u32) -> Result<(Arc<Node>, u32)> {
        let fid = self.fids.get(number)?;
        let node = fid.node();
        if node.kind != FileType::Directory {
            return Err(Errno::NOTDIR);
        }
        Ok((node, fid.user))
    }

    /// The owner of a file that is to be made: the fid's user. A client that names no user is nobody of the guest's.
    pub(super) fn owner(new: &New<'_>, user: u32) -> (Option<u32>, Option<u32>) {
        let known = |id| (id != u32::MAX).then_some(id);
        (known(user), known(new.gid))
    }
}
