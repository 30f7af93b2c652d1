//! Builds initramfs archives: cpio in the new ASCII format, compressed by gzip. The kernel's side is
//! Documentation/driver-api/early-userspace/buffer-format.rst.

use cpio::newc::{Builder, trailer};
use flate2::{Compression, write::GzEncoder};
use std::io::{self, Write};

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// A file system being put together. Everything belongs to root and bears no date, so that equal content gives
/// equal bytes.
#[derive(Debug, Default)]
pub struct Initramfs {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    path: String,
    mode: u32,
    device: (u32, u32),
    data: Vec<u8>,
}

impl Initramfs {
    /// An empty file system.
    pub fn new() -> Self {
        Self::default()
    }

    /// A directory, and those above it. One that is there already stays as it is.
    pub fn directory(&mut self, path: &str) -> &mut Self {
        let path = path.trim_matches('/');
        if path.is_empty() || self.entries.iter().any(|entry| entry.path == path) {
            return self;
        }
        self.add(path, DIRECTORY | 0o755, (0, 0), Vec::new())
    }

    /// A file with its permissions.
    pub fn file(&mut self, path: &str, permissions: u32, data: impl Into<Vec<u8>>) -> &mut Self {
        self.add(path, REGULAR | permissions, (0, 0), data.into())
    }

    /// A character device.
    pub fn character_device(&mut self, path: &str, permissions: u32, major: u32, minor: u32) -> &mut Self {
        self.add(path, CHARACTER_DEVICE | permissions, (major, minor), Vec::new())
    }

    /// A symbolic link to `target`.
    pub fn symlink(&mut self, path: &str, target: &str) -> &mut Self {
        self.add(path, SYMLINK | 0o777, (0, 0), target.into())
    }

    fn add(&mut self, path: &str, mode: u32, device: (u32, u32), data: Vec<u8>) -> &mut Self {
        let path = path.trim_matches('/');
        // The kernel puts nothing into a directory that the archive has not made before.
        if let Some((above, _)) = path.rsplit_once('/') {
            self.directory(above);
        }
        self.entries.push(Entry { path: path.to_owned(), mode, device, data });
        self
    }

    /// Writes the archive, compressed.
    pub fn write_gzip<W: Write>(&self, out: W) -> io::Result<W> {
        let mut archive = GzEncoder::new(out, Compression::default());
        for (number, entry) in (1..).zip(&self.entries) {
            let size =
                u32::try_from(entry.data.len()).map_err(|_| io::Error::other("a file of over 4 GiB"))?;
            let mut writer = Builder::new(&entry.path)
                .ino(number)
                .mode(entry.mode)
                .nlink(1)
                .rdev_major(entry.device.0)
                .rdev_minor(entry.device.1)
                .write(archive, size);
            writer.write_all(&entry.data)?;
            archive = writer.finish()?;
        }
        trailer(archive)?.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cpio::newc::Reader;
    use flate2::read::GzDecoder;
    use std::io::Read;

    #[test]
    fn an_archive_holds_what_was_put_in_with_folders_first() {
        let mut tree = Initramfs::new();
        tree.file("/bin/busybox", 0o755, "elf").symlink("/bin/sh", "busybox");
        tree.character_device("/dev/console", 0o600, 5, 1);

        let bytes = tree.write_gzip(Vec::new()).unwrap();

        let mut plain: Box<dyn Read> = Box::new(GzDecoder::new(&bytes[..]));
        let mut entries = Vec::new();
        loop {
            let mut reader = Reader::new(plain).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            let mut content = String::new();
            reader.read_to_string(&mut content).unwrap();
            let entry = reader.entry();
            entries.push((entry.name().to_owned(), entry.mode(), entry.rdev_major(), content));
            plain = reader.finish().unwrap();
        }
        let expected = [
            ("bin", 0o040_755, 0, ""),
            ("bin/busybox", 0o100_755, 0, "elf"),
            ("bin/sh", 0o120_777, 0, "busybox"),
            ("dev", 0o040_755, 0, ""),
            ("dev/console", 0o020_600, 5, ""),
        ];
        assert_eq!(
            entries,
            expected.map(|(name, mode, major, data)| (name.into(), mode, major, data.into()))
        );
    }

    #[test]
    fn equal_content_gives_equal_bytes() {
        let build = || Initramfs::new().file("/x", 0o644, "1").write_gzip(Vec::new()).unwrap();
        assert_eq!(build(), build());
    }
}
