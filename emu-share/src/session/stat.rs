//! What is said of files and of the file system.

use super::Session;
use crate::{
    attributes::{self, Change, Seen},
    codec::Answer,
    message::{SetAttributes, Time},
};
use rustix::{
    fs::{self, FileType, OFlags, StatxTimestamp, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT},
    io::{Errno, Result},
};

/// The file system's type: V9FS_MAGIC.
const V9FS_MAGIC: u32 = 0x0102_1997;
/// Fields of Rgetattr that are there: all up to the blocks, and the time of birth.
const GETATTR_BASIC: u64 = 0x7FF;
const GETATTR_BTIME: u64 = 0x800;

/// Fields of Tsetattr that are there.
mod valid {
    pub const MODE: u32 = 0x001;
    pub const UID: u32 = 0x002;
    pub const GID: u32 = 0x004;
    pub const SIZE: u32 = 0x008;
    pub const ATIME: u32 = 0x010;
    pub const MTIME: u32 = 0x020;
    pub const ATIME_SET: u32 = 0x080;
    pub const MTIME_SET: u32 = 0x100;
}

/// Device numbers as Linux encodes them in 32 bits.
fn encode_device((major, minor): (u32, u32)) -> u64 {
    u64::from(minor & 0xFF | (major & 0xFFF) << 8 | (minor & 0xF_FF00) << 12)
}

impl Session {
    pub(super) fn getattr(&self, fid: u32, answer: &mut Answer) -> Result<()> {
        let node = self.fids.get(fid)?.node();
        let stat = node.stat()?;
        let seen = Seen::new(&node, &stat)?;
        answer.u64(GETATTR_BASIC | GETATTR_BTIME);
        answer.qid(self.tree.qid(&node, &stat));
        answer.u32(seen.mode);
        answer.u32(seen.uid);
        answer.u32(seen.gid);
        answer.u64(stat.stx_nlink.into());
        answer.u64(encode_device(seen.device));
        answer.u64(stat.stx_size);
        answer.u64(stat.stx_blksize.into());
        answer.u64(stat.stx_blocks);
        for StatxTimestamp { tv_sec, tv_nsec, .. } in
            [stat.stx_atime, stat.stx_mtime, stat.stx_ctime, stat.stx_btime]
        {
            answer.u64(tv_sec.cast_unsigned());
            answer.u64(tv_nsec.into());
        }
        answer.u64(0);
        answer.u64(0);
        Ok(())
    }

    pub(super) fn setattr(&self, fid: u32, set: &SetAttributes) -> Result<()> {
        let node = self.fids.get(fid)?.node();
        let wanted = |bit| set.valid & bit != 0;
        if wanted(valid::SIZE) {
            if node.kind != FileType::RegularFile || i64::try_from(set.size).is_err() {
                return Err(Errno::INVAL);
            }
            fs::ftruncate(self.tree.reopen(&node, OFlags::WRONLY)?, set.size)?;
        }
        if wanted(valid::MODE | valid::UID | valid::GID) {
            let change = Change {
                mode: wanted(valid::MODE).then_some(set.mode & 0o7777),
                uid: wanted(valid::UID).then_some(set.uid),
                gid: wanted(valid::GID).then_some(set.gid),
                device: None,
            };
            attributes::change(&self.tree, &node, change)?;
        }
        if wanted(valid::ATIME | valid::MTIME) {
            let times = Timestamps {
                last_access: time(wanted(valid::ATIME), wanted(valid::ATIME_SET), set.atime)?,
                last_modification: time(wanted(valid::MTIME), wanted(valid::MTIME_SET), set.mtime)?,
            };
            attributes::set_times(&node, &times)?;
        }
        Ok(())
    }

    pub(super) fn statfs(&self, fid: u32, answer: &mut Answer) -> Result<()> {
        let host = fs::fstatvfs(&*self.fids.get(fid)?.node())?;
        answer.u32(V9FS_MAGIC);
        answer.u32(host.f_bsize as u32);
        for field in [host.f_blocks, host.f_bfree, host.f_bavail, host.f_files, host.f_ffree, host.f_fsid] {
            answer.u64(field);
        }
        answer.u32(host.f_namemax as u32);
        Ok(())
    }

    pub(super) fn readlink(&self, fid: u32, answer: &mut Answer) -> Result<()> {
        let node = self.fids.get(fid)?.node();
        if node.kind != FileType::Symlink {
            return Err(Errno::INVAL);
        }
        answer.string(fs::readlinkat(&*node, c"", Vec::new())?.to_bytes());
        Ok(())
    }
}

/// A time for `utimensat`: left alone, now, or the guest's.
fn time(wanted: bool, set: bool, (seconds, nanoseconds): Time) -> Result<Timespec> {
    Ok(match (wanted, set) {
        (false, _) => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        (true, false) => Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        (true, true) if nanoseconds < 1_000_000_000 => {
            Timespec { tv_sec: seconds.cast_signed(), tv_nsec: nanoseconds as _ }
        }
        (true, true) => return Err(Errno::INVAL),
    })
}
