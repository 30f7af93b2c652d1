//! Initial RAM file systems: cpio archives in the "newc" format (Linux's
//! Documentation/driver-api/early-userspace/buffer-format.rst), compressed with gzip or not.

use cpio::newc;
use flate2::{Compression, write::GzEncoder};
use std::{
    collections::BTreeSet,
    io::{self, Write},
};

// Parts of `mode`, as in stat(2).
const PERMISSIONS: u32 = 0o7777;
const S_IFCHR: u32 = 0o020_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;

/// A file system being put together. The same calls give the same bytes: no times, no host's users.
#[derive(Default)]
pub struct Initramfs {
    entries: Vec<Entry>,
    directories: BTreeSet<String>,
}

struct Entry {
    path: String,
    mode: u32,
    device: (u32, u32),
    data: Vec<u8>,
}

impl Initramfs {
    /// An empty file system.
    pub fn new() -> Initramfs {
        Initramfs::default()
    }

    /// A directory, and those above it. One that is there already stays as it is.
    pub fn directory(&mut self, path: &str) -> &mut Self {
        let path = path.trim_matches('/');
        if !path.is_empty() && !self.directories.contains(path) {
            self.add(path, S_IFDIR | 0o755, (0, 0), Vec::new());
            self.directories.insert(path.to_owned());
        }
        self
    }

    /// A file with its permissions.
    pub fn file(&mut self, path: &str, permissions: u32, data: impl Into<Vec<u8>>) -> &mut Self {
        self.add(path, S_IFREG | (permissions & PERMISSIONS), (0, 0), data.into())
    }

    /// A symbolic link to `target`.
    pub fn symlink(&mut self, path: &str, target: &str) -> &mut Self {
        self.add(path, S_IFLNK | 0o777, (0, 0), target.into())
    }

    /// A character device.
    pub fn character_device(&mut self, path: &str, permissions: u32, major: u32, minor: u32) -> &mut Self {
        self.add(path, S_IFCHR | (permissions & PERMISSIONS), (major, minor), Vec::new())
    }

    fn add(&mut self, path: &str, mode: u32, device: (u32, u32), data: Vec<u8>) -> &mut Self {
        let path = path.trim_matches('/');
        // The kernel creates nothing in a directory that the archive has not created before.
        if let Some((above, _)) = path.rsplit_once('/') {
            self.directory(above);
        }
        self.entries.push(Entry { path: path.to_owned(), mode, device, data });
        self
    }

    /// Writes the archive uncompressed.
    pub fn write<W: Write>(&self, mut out: W) -> io::Result<W> {
        for (number, entry) in (1..).zip(&self.entries) {
            let header = newc::Builder::new(&entry.path)
                .ino(number)
                .mode(entry.mode)
                .nlink(1)
                .rdev_major(entry.device.0)
                .rdev_minor(entry.device.1);
            let size = u32::try_from(entry.data.len())
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a file of 4 GiB or more"))?;
            let mut file = header.write(out, size);
            file.write_all(&entry.data)?;
            out = file.finish()?;
        }
        newc::trailer(out)
    }

    /// Writes the archive compressed with gzip.
    pub fn write_gzip<W: Write>(&self, out: W) -> io::Result<W> {
        self.write(GzEncoder::new(out, Compression::default()))?.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use std::io::Read;

    #[test]
    fn the_archive_reads_back_with_parents_first() {
        let mut tree = Initramfs::new();
        tree.file("/bin/a", 0o755, "hello").symlink("/init", "bin/a").character_device(
            "/dev/console",
            0o600,
            5,
            1,
        );
        let packed = tree.write_gzip(Vec::new()).unwrap();
        let mut archive = Vec::new();
        GzDecoder::new(&packed[..]).read_to_end(&mut archive).unwrap();

        let mut seen = Vec::new();
        let mut rest = &archive[..];
        loop {
            let mut reader = newc::Reader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            let mut data = String::new();
            reader.read_to_string(&mut data).unwrap();
            let entry = reader.entry();
            seen.push((entry.name().to_owned(), entry.mode(), entry.rdev_major(), entry.rdev_minor(), data));
            rest = reader.finish().unwrap();
        }
        let expected = [
            ("bin", 0o40755, 0, 0, ""),
            ("bin/a", 0o100755, 0, 0, "hello"),
            ("init", 0o120777, 0, 0, "bin/a"),
            ("dev", 0o40755, 0, 0, ""),
            ("dev/console", 0o20600, 5, 1, ""),
        ];
        assert_eq!(seen, expected.map(|(n, m, a, i, d)| (n.to_owned(), m, a, i, d.to_owned())));
    }

    #[test]
    fn the_same_tree_gives_the_same_bytes() {
        let build = || Initramfs::new().directory("/proc").file("/x", 0o644, "1").write_gzip(Vec::new());
        assert_eq!(build().unwrap(), build().unwrap());
    }
}
