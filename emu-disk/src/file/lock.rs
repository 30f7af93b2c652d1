//! Locks against double use, by QEMU's convention (`block/file-posix.c`, `docs/system/qemu-block-drivers`), so that
//! QEMU, qemu-img and we notice each other.
//!
//! A user of an image holds shared locks on single bytes: on byte 100 + p for each permission p that it uses, and on
//! byte 200 + p for each one that it does not let others use. Whoever finds byte 200 + p locked for what it uses, or
//! byte 100 + p for what it refuses, gives up. The locks belong to the open file, not to the process: two uses within
//! one process are noticed too, and the kernel drops them with the last descriptor, however the process ends.

use std::{fs::File, io, os::fd::AsRawFd};

const USED: i64 = 100;
const REFUSED: i64 = 200;

const CONSISTENT_READ: i64 = 0;
const WRITE: i64 = 1;
const RESIZE: i64 = 3;

/// What we do not let others do: reader and writer alike need that nothing changes behind their backs.
const WE_REFUSE: [i64; 2] = [WRITE, RESIZE];

/// Takes the locks of a writer or a reader. They last as long as `file` is open. `Ok(false)`: somebody else is in the
/// way.
pub(super) fn take(file: &File, write: bool) -> io::Result<bool> {
    let we_use: &[i64] = if write { &[CONSISTENT_READ, WRITE, RESIZE] } else { &[CONSISTENT_READ] };
    // First ours, then a look at the others': of two that come at the same time, at least one notices.
    for at in we_use.iter().map(|p| USED + p).chain(WE_REFUSE.map(|p| REFUSED + p)) {
        control(file, libc::F_OFD_SETLK, libc::F_RDLCK, at)?;
    }
    for at in we_use.iter().map(|p| REFUSED + p).chain(WE_REFUSE.map(|p| USED + p)) {
        if control(file, libc::F_OFD_GETLK, libc::F_WRLCK, at)? != libc::F_UNLCK {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Asks for a lock on a byte; returns the kind of lock that is in the way, for `F_OFD_GETLK`.
fn control(file: &File, command: libc::c_int, kind: libc::c_int, at: i64) -> io::Result<libc::c_int> {
    let mut lock = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: at,
        l_len: 1,
        l_pid: 0,
    };
    // SAFETY: the descriptor is open, and the kernel reads and writes `lock` during the call alone.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut lock) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(lock.l_type.into()) }
}
