//! Owners, modes and special files that a guest gives its files.
//!
//! emu runs as a user without rights, and what a guest says must have no force on the host: a set-user-ID file that a guest
//! makes would run with the rights of emu's user there. So a file on the host is emu's user's. Its nine permission bits
//! are the guest's, but its owner may always read and write it (and enter it, if it is a directory). What differs from
//! that is kept in the file's extended attribute `user.emu.attributes`, as text: `mode=104755 uid=0 gid=0`, and
//! `rdev=8:1` of a device, which like a FIFO or socket is an empty regular file on the host.
//!
//! Files without the attribute have the host's owner and mode. If somebody changes the permission bits on the host, then
//! those count, and the guest's mode is forgotten. The guest sees neither this attribute nor others of `user.emu.`.
//!
//! Where the file system has no extended attributes, new files are emu's user's, and other owners, special bits and special
//! files are refused. Symbolic links can have no attributes: they are emu's user's, and setting their owner does nothing.

use crate::tree::{Node, Tree};
use rustix::{
    fs::{self, CWD, FileType, Mode, Statx, XattrFlags},
    io::{Errno, Result},
};
use std::fmt::Write;

/// Attributes of ours begin so.
pub const RESERVED: &[u8] = b"user.emu.";
const NAME: &str = "user.emu.attributes";
/// Longer than any that is written.
const MOST_BYTES: usize = 128;

/// Bits of a mode: all that chmod sets, and those that are given to the host's file.
const ALL_BITS: u32 = 0o7777;
const PERMISSIONS: u32 = 0o777;
const TYPE: u32 = 0o170000;
const REGULAR: u32 = 0o100000;
const SPECIAL: [u32; 4] = [0o010000, 0o020000, 0o060000, 0o140000];

/// What is kept for a file. A field without a value is the host's.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Kept {
    /// With its type.
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// Major and minor number.
    pub device: Option<(u32, u32)>,
}

impl Kept {
    /// Reads the text. Other processes can write it: what makes no sense is left out.
    fn parse(text: &[u8]) -> Self {
        let mut kept = Kept::default();
        for word in std::str::from_utf8(text).unwrap_or_default().split_ascii_whitespace() {
            match word.split_once('=') {
                Some(("mode", mode)) => kept.mode = u32::from_str_radix(mode, 8).ok(),
                Some(("uid", uid)) => kept.uid = uid.parse().ok(),
                Some(("gid", gid)) => kept.gid = gid.parse().ok(),
                Some(("rdev", device)) => {
                    kept.device = device
                        .split_once(':')
                        .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
                }
                _ => {}
            }
        }
        kept
    }

    fn text(&self) -> String {
        let mut text = String::new();
        if let Some(mode) = self.mode {
            let _ = write!(text, "mode={mode:o} ");
        }
        if let Some(uid) = self.uid {
            let _ = write!(text, "uid={uid} ");
        }
        if let Some(gid) = self.gid {
            let _ = write!(text, "gid={gid} ");
        }
        if let Some((major, minor)) = self.device {
            let _ = write!(text, "rdev={major}:{minor} ");
        }
        text.trim_end().to_owned()
    }

    fn load(node: &Node) -> Result<Self> {
        if !matches!(node.kind, FileType::RegularFile | FileType::Directory) {
            return Ok(Kept::default());
        }
        let mut text = [0; MOST_BYTES];
        match fs::getxattr(node.path(), NAME, &mut text) {
            Ok(len) => Ok(Kept::parse(&text[..len])),
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => Ok(Kept::default()),
            // A file whose content emu's user may not read: as the host says.
            Err(Errno::ACCESS | Errno::PERM) => Ok(Kept::default()),
            Err(error) => Err(error),
        }
    }

    fn store(&self, node: &Node) -> Result<()> {
        if *self != Kept::default() {
            return fs::setxattr(node.path(), NAME, self.text().as_bytes(), XattrFlags::empty());
        }
        match fs::removexattr(node.path(), NAME) {
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
            other => other,
        }
    }
}

/// A file as the guest sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// With its type.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Major and minor number.
    pub device: (u32, u32),
}

impl Seen {
    pub fn new(node: &Node, stat: &Statx) -> Result<Self> {
        let kept = Kept::load(node)?;
        let host = u32::from(stat.stx_mode);
        let mode = kept.mode.filter(|mode| host & PERMISSIONS == on_host(node, *mode));
        let kind = mode
            .map(|mode| mode & TYPE)
            .filter(|kind| node.kind == FileType::RegularFile && SPECIAL.contains(kind));
        let kind = kind.unwrap_or(host & TYPE);
        Ok(Seen {
            mode: kind | mode.unwrap_or(host) & ALL_BITS,
            uid: kept.uid.unwrap_or(stat.stx_uid),
            gid: kept.gid.unwrap_or(stat.stx_gid),
            device: kept.device.unwrap_or((stat.stx_rdev_major, stat.stx_rdev_minor)),
        })
    }
}

/// The permission bits of a host's file that has `mode` for the guest.
fn on_host(node: &Node, mode: u32) -> u32 {
    let own = if node.kind == FileType::Directory { 0o700 } else { 0o600 };
    mode & PERMISSIONS | own
}

/// What a guest wants changed.
#[derive(Debug, Default, Clone, Copy)]
pub struct Change {
    /// Without or with its type.
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// Of a new device.
    pub device: Option<(u32, u32)>,
}

/// Changes what is said of a file.
pub fn change(tree: &Tree, node: &Node, change: Change) -> Result<()> {
    if node.kind == FileType::Symlink {
        return if change.mode.is_some() { Err(Errno::OPNOTSUPP) } else { Ok(()) };
    }
    let _keeping = tree.keeping.lock();
    let stat = node.stat()?;
    let before = Seen::new(node, &stat)?;
    let mode = match change.mode {
        Some(mode) if SPECIAL.contains(&(mode & TYPE)) => mode & (TYPE | ALL_BITS),
        Some(mode) => before.mode & TYPE | mode & ALL_BITS,
        None => before.mode,
    };
    let after = Seen {
        mode,
        uid: change.uid.unwrap_or(before.uid),
        gid: change.gid.unwrap_or(before.gid),
        device: change.device.unwrap_or(before.device),
    };
    let kept = kept(node, &stat, &after);
    let stored = if kept == Kept::load(node)? { Ok(()) } else { kept.store(node) };
    match stored {
        Err(Errno::OPNOTSUPP) if can_do_without(&kept) => {}
        Err(Errno::OPNOTSUPP) => return Err(Errno::PERM),
        other => other?,
    }
    let permissions = on_host(node, after.mode);
    if change.mode.is_some() && u32::from(stat.stx_mode) & ALL_BITS != permissions {
        fs::chmod(node.path(), Mode::from_raw_mode(permissions))?;
    }
    Ok(())
}

/// What must be kept for a file that is to be seen as `after`.
fn kept(node: &Node, stat: &Statx, after: &Seen) -> Kept {
    let differs = |guest, host| (guest != host).then_some(guest);
    let special = SPECIAL.contains(&(after.mode & TYPE)) && node.kind == FileType::RegularFile;
    let plain = after.mode & ALL_BITS == on_host(node, after.mode) && !special;
    Kept {
        mode: (!plain).then_some(after.mode),
        uid: differs(after.uid, stat.stx_uid),
        gid: differs(after.gid, stat.stx_gid),
        device: special.then_some(after.device).filter(|device| *device != (0, 0)),
    }
}

/// Whether nothing is lost that matters where there is no place for it: permissions that its owner does not have.
fn can_do_without(kept: &Kept) -> bool {
    let plain = |mode: u32| mode & ALL_BITS & !PERMISSIONS == 0 && matches!(mode & TYPE, REGULAR | 0o040000);
    kept.uid.is_none() && kept.gid.is_none() && kept.mode.is_none_or(plain)
}

/// Sets mode and owner of a file that the guest has just made. Its owner is emu's user if it cannot be kept.
pub fn set_new(tree: &Tree, node: &Node, new: Change) -> Result<()> {
    match change(tree, node, new) {
        Err(Errno::PERM) if new.mode.is_none_or(|mode| !SPECIAL.contains(&(mode & TYPE))) => {
            let mode = new.mode.map(|mode| mode & PERMISSIONS);
            change(tree, node, Change { mode, ..Change::default() })
        }
        other => other,
    }
}

/// Times that a guest sets, for `utimensat`.
pub fn set_times(node: &Node, times: &fs::Timestamps) -> Result<()> {
    fs::utimensat(CWD, node.path(), times, fs::AtFlags::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_text_that_survives() {
        let kept = Kept { mode: Some(0o104755), uid: Some(0), gid: Some(12), device: Some((8, 1)) };
        assert_eq!(kept.text(), "mode=104755 uid=0 gid=12 rdev=8:1");
        assert_eq!(Kept::parse(kept.text().as_bytes()), kept);
    }

    #[test]
    fn text_of_others_is_taken_for_what_makes_sense() {
        for text in [&b"mode=9 uid=-1 rdev=1"[..], b"\xFF\0", b"", b"mode", b"gid=99999999999"] {
            assert_eq!(Kept::parse(text), Kept::default(), "{text:?}");
        }
        assert_eq!(Kept::parse(b"x=1 uid=7").uid, Some(7));
    }
}
