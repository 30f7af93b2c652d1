//! The folder, and what keeps a guest inside of it.
//!
//! - A file that the guest knows is a [`Node`]: a descriptor opened with `O_PATH`, which names the file itself, not its
//!   path. What another process renames or puts in its place does not matter to it.
//! - A name is looked up in the directory that a node is, one component at a time, and never followed: the descriptor of a
//!   symbolic link is of the link itself. (`openat2` with `RESOLVE_BENEATH`, `RESOLVE_NO_SYMLINKS` and
//!   `RESOLVE_NO_MAGICLINKS` says so once more; before Linux 5.6, `O_NOFOLLOW` alone says it, which for one component is
//!   the same.)
//! - `..` is the node that the walk came through, and the root at the root. The host's `..` is not used: a directory that
//!   another process has moved out of the folder would lead its guest there. Of a directory that was moved out while the
//!   guest held it the guest keeps what is in it, as a process of the host would.
//! - What is opened for reading and writing is opened through `/proc/self/fd`, of a node whose type is known, and a file's
//!   type never changes: devices, FIFOs and sockets are never opened, nor is a link followed.
//! - File systems that are a window on the kernel (proc, sysfs and their kind) are closed even where they are mounted
//!   within the folder.

use crate::codec::Qid;
use parking_lot::Mutex;
use rustix::{
    fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags, Statx, StatxFlags},
    io::{Errno, Result},
    process::{Resource, getrlimit, setrlimit},
};
use std::{
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// Why a folder cannot be shared.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    /// It cannot be opened.
    #[error("the folder {path} cannot be opened")]
    Open {
        /// The folder.
        path: PathBuf,
        /// What the host says.
        #[source]
        source: std::io::Error,
    },
    /// It is something else.
    #[error("{0} is not a folder; only folders can be shared")]
    NotAFolder(PathBuf),
    /// It is of a file system through which the kernel is controlled.
    #[error("{0} is a window on the host's kernel, not a folder with files; it cannot be shared")]
    KernelFiles(PathBuf),
    /// Nothing can be opened without /proc.
    #[error("sharing a folder needs the file system proc at /proc, and it is not mounted there")]
    NoProc,
    /// The server has no threads.
    #[error("the threads of a shared folder cannot be started")]
    Threads(#[source] std::io::Error),
}

/// Descriptors that all shares of the process hold.
static HELD: AtomicU64 = AtomicU64::new(0);

/// The most that they may: the rest of the process needs some as well. Asks the host for as many as it gives.
static MOST_HELD: LazyLock<u64> = LazyLock::new(|| {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        log::debug!("the limit on open files stays: {error}");
    }
    getrlimit(Resource::Nofile).current.map_or(1 << 20, |current| current - current / 4).min(1 << 20)
});

/// A descriptor that counts.
#[derive(Debug)]
pub struct Descriptor(OwnedFd);

impl Descriptor {
    /// Opens with `open` if one more may be held.
    pub fn open(open: impl FnOnce() -> Result<OwnedFd>) -> Result<Self> {
        if HELD.fetch_add(1, Ordering::Relaxed) >= *MOST_HELD {
            HELD.fetch_sub(1, Ordering::Relaxed);
            return Err(Errno::NFILE);
        }
        open().map(Descriptor).inspect_err(|_| {
            HELD.fetch_sub(1, Ordering::Relaxed);
        })
    }

    /// A path that leads the host's kernel to what the descriptor is of, whatever its name is now. A last symbolic link
    /// is that of /proc; a link that the descriptor is of is not followed.
    pub fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.0.as_raw_fd())
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        HELD.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Where a node was found.
#[derive(Debug, Clone)]
pub struct Place {
    pub parent: Arc<Node>,
    pub name: Vec<u8>,
}

/// A file that the guest knows.
#[derive(Debug)]
pub struct Node {
    descriptor: Arc<Descriptor>,
    pub kind: FileType,
    /// Device and inode.
    id: (u64, u64),
    place: Option<Place>,
}

impl Drop for Node {
    /// Lets go of the nodes above one by one, since the guest decides how many there are, and the stack ends somewhere.
    fn drop(&mut self) {
        let mut place = self.place.take();
        while let Some(Place { parent, .. }) = place {
            place = Arc::into_inner(parent).and_then(|mut parent| parent.place.take());
        }
    }
}

impl AsFd for Node {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Node {
    fn new(descriptor: Arc<Descriptor>, place: Option<Place>) -> Result<Self> {
        let stat = stat(&*descriptor)?;
        let kind = FileType::from_raw_mode(stat.stx_mode.into());
        let id = (device(&stat), stat.stx_ino);
        Ok(Node { descriptor, kind, id, place })
    }

    /// See [`Descriptor::path`].
    pub fn path(&self) -> String {
        self.descriptor.path()
    }

    pub fn stat(&self) -> Result<Statx> {
        stat(&*self.descriptor)
    }

    /// The node above; the root is its own.
    pub fn parent(self: &Arc<Self>) -> &Arc<Self> {
        self.place.as_ref().map_or(self, |place| &place.parent)
    }

    /// The same file at another place.
    pub fn moved(&self, place: Place) -> Self {
        let Node { descriptor, kind, id, .. } = self;
        Node { descriptor: descriptor.clone(), kind: *kind, id: *id, place: Some(place) }
    }

    /// Where it was found, if it still is there. None for the root.
    pub fn place(&self) -> Result<Option<&Place>> {
        let Some(place) = &self.place else { return Ok(None) };
        let now = fs::statx(&place.parent, &*place.name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::INO)?;
        if (device(&now), now.stx_ino) != self.id {
            return Err(Errno::NOENT);
        }
        Ok(Some(place))
    }
}

fn stat(fd: impl AsFd) -> Result<Statx> {
    fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS | StatxFlags::BTIME)
}

fn device(stat: &Statx) -> u64 {
    u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor)
}

/// File systems that are windows on the kernel, by their magic numbers (linux/magic.h).
const KERNEL_FILES: [u32; 13] = [
    0x9FA0,      // proc
    0x6265_6572, // sysfs
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x0027_E0EB, // cgroup
    0x6367_7270, // cgroup2
    0x7363_6673, // securityfs
    0xF97C_FF8C, // selinuxfs
    0x6265_6570, // configfs
    0xCAFE_4A11, // bpf
    0x6165_676C, // pstore
    0xDE5E_81E4, // efivarfs
    0x1CD1,      // devpts
];

fn is_kernels(fd: impl AsFd) -> Result<bool> {
    Ok(KERNEL_FILES.contains(&(fs::fstatfs(fd)?.f_type as u32)))
}

/// The name of something in a directory: one component that is not special.
pub fn check_name(name: &[u8]) -> Result<()> {
    match name {
        b"" | b"." | b".." => Err(Errno::INVAL),
        _ if name.contains(&b'/') || name.contains(&0) => Err(Errno::INVAL),
        _ if name.len() > 255 => Err(Errno::NAMETOOLONG),
        _ => Ok(()),
    }
}

/// The folder.
pub struct Tree {
    root: Arc<Node>,
    pub read_only: bool,
    /// The host's kernel knows `openat2`.
    openat2: AtomicBool,
    /// Devices that were met. The position of one is part of the qid of its files.
    devices: Mutex<Vec<u64>>,
    /// Held while kept attributes of a file are read, changed and written.
    pub keeping: Mutex<()>,
}

impl Tree {
    pub fn open(path: &Path, read_only: bool) -> std::result::Result<Self, ShareError> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let failed = |error: Errno| ShareError::Open { path: path.into(), source: error.into() };
        let descriptor = Descriptor::open(|| fs::open(path, flags, Mode::empty())).map_err(failed)?;
        let root = Node::new(Arc::new(descriptor), None).map_err(failed)?;
        if root.kind != FileType::Directory {
            return Err(ShareError::NotAFolder(path.into()));
        }
        if is_kernels(&root).map_err(failed)? {
            return Err(ShareError::KernelFiles(path.into()));
        }
        let again = fs::stat(root.path()).map_err(|_| ShareError::NoProc)?;
        if again.st_ino != root.id.1 {
            return Err(ShareError::NoProc);
        }
        Ok(Tree {
            devices: Mutex::new(vec![root.id.0]),
            root: Arc::new(root),
            read_only,
            openat2: AtomicBool::new(true),
            keeping: Mutex::new(()),
        })
    }

    pub fn root(&self) -> &Arc<Node> {
        &self.root
    }

    /// Opens `name` in a directory, itself if it is a link.
    fn open_in(&self, directory: &Node, name: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd> {
        check_name(name)?;
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if self.openat2.load(Ordering::Relaxed) {
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            match fs::openat2(directory, name, flags, mode, resolve) {
                Err(Errno::NOSYS) => self.openat2.store(false, Ordering::Relaxed),
                other => return other,
            }
        }
        fs::openat(directory, name, flags, mode)
    }

    /// What is called `name` in `directory`.
    pub fn child(&self, directory: &Arc<Node>, name: &[u8]) -> Result<Arc<Node>> {
        let open = || self.open_in(directory, name, OFlags::PATH, Mode::empty());
        self.found(directory, name, Descriptor::open(open)?)
    }

    fn found(&self, directory: &Arc<Node>, name: &[u8], descriptor: Descriptor) -> Result<Arc<Node>> {
        let place = Place { parent: directory.clone(), name: name.to_vec() };
        let node = Node::new(Arc::new(descriptor), Some(place))?;
        if node.id.0 != directory.id.0 && is_kernels(&node)? {
            return Err(Errno::ACCESS);
        }
        Ok(Arc::new(node))
    }

    /// Makes a regular file, which did not exist. Returns it opened with `flags`.
    pub fn create(
        &self,
        directory: &Arc<Node>,
        name: &[u8],
        flags: OFlags,
    ) -> Result<(Arc<Node>, Arc<Descriptor>)> {
        let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOCTTY | OFlags::NONBLOCK;
        let mode = Mode::RUSR | Mode::WUSR;
        let descriptor = Descriptor::open(|| self.open_in(directory, name, flags, mode))?;
        let node = self.found(directory, name, descriptor)?;
        let descriptor = node.descriptor.clone();
        Ok((node, descriptor))
    }

    /// Opens a file or directory for use. The flags are an access mode and what `session::io` lets through.
    pub fn reopen(&self, node: &Node, flags: OFlags) -> Result<Descriptor> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        match node.kind {
            FileType::RegularFile => {}
            FileType::Directory if flags.intersects(OFlags::WRONLY | OFlags::RDWR | OFlags::TRUNC) => {
                return Err(Errno::ISDIR);
            }
            FileType::Directory => {}
            FileType::Symlink => return Err(Errno::LOOP),
            _ => return Err(Errno::NXIO),
        }
        Descriptor::open(|| fs::open(node.path(), flags, Mode::empty()))
    }

    pub fn qid(&self, node: &Node, stat: &Statx) -> Qid {
        let mtime = stat.stx_mtime.tv_nsec ^ stat.stx_mtime.tv_sec as u32;
        Qid { version: mtime ^ (stat.stx_size as u32) << 8, ..self.qid_of(node, node.id.1, node.kind) }
    }

    /// The qid of an inode on the device of `near`. Files of the root's device have their inode's number.
    pub fn qid_of(&self, near: &Node, inode: u64, kind: FileType) -> Qid {
        let mut devices = self.devices.lock();
        let index = devices.iter().position(|device| *device == near.id.0).unwrap_or_else(|| {
            devices.push(near.id.0);
            devices.len() - 1
        });
        let kind = match kind {
            FileType::Directory => 0x80,
            FileType::Symlink => 0x02,
            _ => 0,
        };
        Qid { kind, version: 0, path: inode ^ (index as u64) << 56 }
    }

    /// The qid of a directory's own node.
    pub fn qid_of_directory(&self, node: &Node) -> Qid {
        self.qid_of(node, node.id.1, FileType::Directory)
    }
}
