//! A file, or a block device, that holds an image: how it is opened, read, written, and given back to the host.
//!
//! `cache=none` opens it a second time, past the host's page cache, for data whose place and memory the host can take
//! so. All else, as metadata, goes through the page cache; the kernel keeps the two coherent.

mod lock;

use crate::{
    buffers::{Source, Target},
    error::DiskError,
    options::CacheMode,
};
use std::{
    fs::{File, OpenOptions},
    io::{self, Seek, SeekFrom},
    os::{
        fd::AsRawFd,
        unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

/// What the host's page cache and file systems work in. Direct I/O asks for at most this alignment.
pub(crate) const PAGE: u64 = 4096;
/// Zeroes that are written at a time, where the host has no better way.
const ZEROES: usize = 1 << 20;

/// Which file it is, whatever it is called.
pub(crate) type Identity = (u64, u64);

pub(crate) struct ImageFile {
    path: PathBuf,
    file: File,
    direct: Option<File>,
    sync: bool,
    writable: bool,
}

/// What to do when data is not there at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// `ErrorKind::WouldBlock`.
    No,
    /// Wait for it.
    Yes,
}

impl ImageFile {
    /// Opens and locks an image.
    pub fn open(path: &Path, write: bool, cache: CacheMode) -> Result<Self, DiskError> {
        let failed = |error| DiskError::host(path, "opened", error);
        let open = |flags: i32| {
            // A pipe would make us wait for its other end.
            OpenOptions::new().read(true).write(write).custom_flags(flags | libc::O_NONBLOCK).open(path)
        };
        let file = open(0).map_err(failed)?;
        let kind = file.metadata().map_err(failed)?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Err(DiskError::image(path, "neither a file nor a block device; name an image"));
        }
        if !lock::take(&file, write).map_err(|error| DiskError::host(path, "locked", error))? {
            return Err(DiskError::InUse { path: path.to_owned() });
        }
        let direct = (cache == CacheMode::None).then(|| open(libc::O_DIRECT)).transpose();
        let direct = direct.unwrap_or_else(|error| {
            log::warn!("{}: the host cannot do cache=none here ({error}); its cache is used", path.display());
            None
        });
        let sync = cache != CacheMode::Unsafe;
        Ok(ImageFile { path: path.to_owned(), file, direct, sync, writable: write })
    }

    /// An image that goes with its last user: `file` has no name any more.
    pub fn temporary(file: File, path: PathBuf) -> Self {
        ImageFile { path, file, direct: None, sync: false, writable: true }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn writable(&self) -> bool {
        self.writable
    }

    /// Whether data passes the host's cache, so that every access waits for the device.
    pub fn direct(&self) -> bool {
        self.direct.is_some()
    }

    pub fn identity(&self) -> io::Result<Identity> {
        let metadata = self.file.metadata()?;
        let device = if metadata.file_type().is_block_device() { metadata.rdev() } else { metadata.dev() };
        Ok((device, metadata.ino()))
    }

    pub fn len(&self) -> io::Result<u64> {
        let metadata = self.file.metadata()?;
        // Only the end of a block device says how long it is.
        if metadata.is_file() { Ok(metadata.len()) } else { (&self.file).seek(SeekFrom::End(0)) }
    }

    pub fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    /// Fills `target` from `offset` on. What lies beyond the end reads as zeroes.
    pub fn read(&self, offset: u64, target: &Target<'_>, wait: Wait) -> io::Result<()> {
        let file = self.direct.as_ref().filter(|_| suits_direct(offset, target.is_aligned(PAGE as usize)));
        let flags = if wait == Wait::No && file.is_none() { libc::RWF_NOWAIT } else { 0 };
        let fd = file.unwrap_or(&self.file).as_raw_fd();
        let mut done = 0;
        while done < target.len() {
            let rest = target.slice(done..target.len());
            let vectors = rest.vectors();
            let at = (offset + done as u64) as i64;
            // SAFETY: the vectors are memory that `target` may fill as long as it lives.
            let read =
                unsafe { libc::preadv2(fd, vectors.as_ptr(), vectors.len() as libc::c_int, at, flags) };
            match usize::try_from(read) {
                Ok(0) => {
                    rest.clear();
                    return Ok(());
                }
                Ok(read) => done += read,
                Err(_) => refused(flags)?,
            }
        }
        Ok(())
    }

    /// Writes `source` at `offset`.
    pub fn write(&self, offset: u64, source: &Source<'_>) -> io::Result<()> {
        let file = self.direct.as_ref().filter(|_| suits_direct(offset, source.is_aligned(PAGE as usize)));
        let fd = file.unwrap_or(&self.file).as_raw_fd();
        let mut done = 0;
        while done < source.len() {
            let rest = source.slice(done..source.len());
            let vectors = rest.vectors();
            let at = (offset + done as u64) as i64;
            // SAFETY: the vectors are memory that `source` may read as long as it lives.
            let written = unsafe { libc::pwritev(fd, vectors.as_ptr(), vectors.len() as libc::c_int, at) };
            match usize::try_from(written) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => done += written,
                Err(_) => refused(0)?,
            }
        }
        Ok(())
    }

    /// Reads metadata. The file ending before is damage.
    pub fn read_bytes(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }

    /// Writes metadata.
    pub fn write_bytes(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    /// What was written outlives a loss of power.
    pub fn sync(&self) -> io::Result<()> {
        if self.sync { self.file.sync_data() } else { Ok(()) }
    }

    /// Gives the space back to the host; reads then give zeroes. A host that cannot do it is no error: `Ok(false)`.
    pub fn punch(&self, offset: u64, len: u64) -> io::Result<bool> {
        self.allocate(libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE, offset, len)
    }

    /// Reads give zeroes from now on.
    pub fn zero(&self, offset: u64, len: u64, unmap: bool) -> io::Result<()> {
        if unmap && self.punch(offset, len)? {
            return Ok(());
        }
        if self.allocate(libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE, offset, len)? {
            return Ok(());
        }
        let zeroes = vec![0; ZEROES.min(len as usize)];
        let mut done = 0;
        while done < len {
            let now = (len - done).min(zeroes.len() as u64);
            self.write_bytes(offset + done, &zeroes[..now as usize])?;
            done += now;
        }
        Ok(())
    }

    fn allocate(&self, mode: libc::c_int, offset: u64, len: u64) -> io::Result<bool> {
        loop {
            // SAFETY: the descriptor is open; no memory of ours is involved.
            let result = unsafe { libc::fallocate(self.file.as_raw_fd(), mode, offset as i64, len as i64) };
            let error = io::Error::last_os_error();
            return match error.raw_os_error() {
                _ if result == 0 => Ok(true),
                Some(libc::EINTR) => continue,
                Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::ENODEV) => Ok(false),
                _ => Err(error),
            };
        }
    }

    /// The next stretch from `offset` on that holds data (or, beyond it, the end), as the host's file system knows.
    pub fn next_data(&self, offset: u64, len: u64) -> (u64, u64) {
        let seek = |at: u64, whence| {
            // SAFETY: the descriptor is open; its position is nobody's.
            u64::try_from(unsafe { libc::lseek(self.file.as_raw_fd(), at as i64, whence) })
        };
        match seek(offset, libc::SEEK_DATA) {
            Ok(data) => (data.min(len), seek(data, libc::SEEK_HOLE).unwrap_or(len).min(len)),
            // No data behind `offset`; else a host that does not know: all is data.
            Err(_) if io::Error::last_os_error().raw_os_error() == Some(libc::ENXIO) => (len, len),
            Err(_) => (offset, len),
        }
    }
}

fn suits_direct(offset: u64, aligned: bool) -> bool {
    aligned && offset.is_multiple_of(PAGE)
}

/// Whether a call that failed is to be made again.
fn refused(flags: libc::c_int) -> io::Result<()> {
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EINTR) => Ok(()),
        // A file system that cannot say whether it would wait.
        Some(libc::EOPNOTSUPP) if flags != 0 => Err(io::ErrorKind::WouldBlock.into()),
        _ => Err(error),
    }
}
