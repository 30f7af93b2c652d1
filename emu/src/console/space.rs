//! File systems of the host that are full: the guest's writes wait, the machine is told to pause, and the user why.

use super::describe_error;
use emu_disk::SpaceWatch;
use indicatif::BinaryBytes;
use parking_lot::Mutex;
use rustix::io::Errno;
use std::{
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

/// What happened to the room for a guest's disks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Room {
    /// There is none for the disk of this number.
    None {
        /// From 0.
        disk: usize,
        /// The host's error.
        reason: String,
    },
    /// Every write has gone through again.
    Again,
}

/// Told of it; returns whether the machine goes on when there is room again.
type Listener = Box<dyn Fn(Room) -> bool + Send + Sync>;

/// The room for all disks of a machine.
#[derive(Default)]
pub struct HostSpace {
    /// How many disks have none.
    full: Mutex<usize>,
    listener: OnceLock<Listener>,
}

impl HostSpace {
    /// Tells `listener` from now on. Once, before a guest runs.
    pub fn connect(&self, listener: impl Fn(Room) -> bool + Send + Sync + 'static) {
        // The first one stays.
        let _again = self.listener.set(Box::new(listener));
    }

    fn tell(&self, room: Room) -> bool {
        self.listener.get().is_none_or(|listener| listener(room))
    }
}

/// Watches over one disk.
pub struct DiskSpace {
    /// From 0.
    pub number: usize,
    /// All of the machine.
    pub space: Arc<HostSpace>,
}

impl SpaceWatch for DiskSpace {
    fn no_space(&self, file: &Path, error: &io::Error) {
        let mut full = self.space.full.lock();
        *full += 1;
        let place = FileSystem::of(file);
        let (file, reason) = (file.display(), describe_error(error));
        let what = if error.raw_os_error() == Some(Errno::DQUOT.raw_os_error()) {
            "the quota is used up"
        } else {
            "no room"
        };
        log::error!("{file}: {what} on {place}: the machine is paused until there is some");
        self.space.tell(Room::None { disk: self.number, reason });
    }

    fn space_again(&self, file: &Path) {
        let mut full = self.space.full.lock();
        *full -= 1;
        if *full != 0 {
            return;
        }
        let place = FileSystem::of(file);
        let file = file.display();
        let goes_on =
            if self.space.tell(Room::Again) { "the machine goes on" } else { "the machine may go on" };
        log::warn!("{file}: there is room again on {place}: {goes_on}");
    }
}

/// Where a file is. Displays as `/mnt (tmpfs, 4.00 KiB free)`.
struct FileSystem {
    mount_point: PathBuf,
    kind: String,
    free: Option<u64>,
}

impl FileSystem {
    /// The file system of `file`, or of its folder if the file has no name any more.
    fn of(file: &Path) -> FileSystem {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let path = file.canonicalize().or_else(|_| folder.canonicalize()).unwrap_or_else(|_| file.to_owned());
        let mounts = fs::read("/proc/self/mountinfo").unwrap_or_default();
        let (mount_point, kind) =
            mount_of(&path, &mounts).unwrap_or_else(|| (path.clone(), "unknown".to_owned()));
        let free = rustix::fs::statvfs(&path).ok().map(|status| status.f_bavail * status.f_frsize);
        FileSystem { mount_point, kind, free }
    }
}

impl std::fmt::Display for FileSystem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let FileSystem { mount_point, kind, free } = self;
        write!(f, "{} ({kind}", mount_point.display())?;
        if let Some(free) = free {
            write!(f, ", {} free", BinaryBytes(*free))?;
        }
        f.write_str(")")
    }
}

/// The mount point above `path`, and the type of what is mounted there: proc_pid_mountinfo(5).
fn mount_of(path: &Path, mounts: &[u8]) -> Option<(PathBuf, String)> {
    let mut found: Option<(PathBuf, String)> = None;
    for line in mounts.split(|&byte| byte == b'\n') {
        let fields: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
        // Optional fields are between the sixth and a hyphen.
        let Some(hyphen) = fields.iter().skip(6).position(|field| field == b"-") else { continue };
        let (Some(point), Some(kind)) = (fields.get(4), fields.get(6 + hyphen + 1)) else { continue };
        let point = PathBuf::from(std::ffi::OsStr::from_bytes(&unescaped(point)));
        // What was mounted last lies on top.
        let deeper =
            found.as_ref().is_none_or(|(best, _)| point.components().count() >= best.components().count());
        if path.starts_with(&point) && deeper {
            found = Some((point, String::from_utf8_lossy(kind).into_owned()));
        }
    }
    found
}

/// Blanks and the like are written in octal, as `\040`.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, behind)) = rest.split_first() {
        let octal = behind.get(..3).filter(|_| first == b'\\').and_then(|digits| {
            digits.iter().try_fold(0_u32, |value, digit| {
                (b'0'..=b'7').contains(digit).then(|| value * 8 + u32::from(digit - b'0'))
            })
        });
        let (byte, used) =
            octal.and_then(|value| u8::try_from(value).ok()).map_or((first, 1), |byte| (byte, 4));
        bytes.push(byte);
        rest = &rest[used..];
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &[u8] = b"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n\
        2 1 0:20 / /mnt/my\\040disks rw,nosuid shared:1 master:2 - xfs /dev/sdb rw\n\
        3 1 0:21 / /mnt/my\\040disks rw - tmpfs none rw\n\
        broken line\n";

    #[test]
    fn the_file_system_of_a_file_is_the_last_one_mounted_nearest_above_it() {
        let of = |path: &str| {
            mount_of(Path::new(path), MOUNTS).map(|(point, kind)| (point.display().to_string(), kind))
        };
        assert_eq!(of("/mnt/my disks/a/b"), Some(("/mnt/my disks".into(), "tmpfs".into())));
        assert_eq!(of("/mnt/my disks2/b"), Some(("/".into(), "ext4".into())));
        assert_eq!(mount_of(Path::new("/a"), b"nothing"), None);
        assert_eq!(unescaped(br"a\134\04\777"), br"a\\04\777".to_vec());
    }

    #[test]
    fn the_machine_is_told_of_each_full_disk_and_once_that_all_have_room() {
        let space = Arc::<HostSpace>::default();
        let heard = Arc::<Mutex<Vec<Room>>>::default();
        let hears = heard.clone();
        space.connect(move |room| {
            hears.lock().push(room);
            true
        });
        let disks = [0, 1].map(|number| DiskSpace { number, space: space.clone() });
        let full = io::Error::from_raw_os_error(Errno::NOSPC.raw_os_error());
        disks[0].no_space(Path::new("/a"), &full);
        disks[1].no_space(Path::new("/b"), &full);
        disks[0].space_again(Path::new("/a"));
        assert_eq!(heard.lock().len(), 2, "the other one is still full");
        disks[1].space_again(Path::new("/b"));
        let none = |disk| Room::None { disk, reason: "no space left on device".into() };
        assert_eq!(*heard.lock(), [none(0), none(1), Room::Again]);
    }
}
