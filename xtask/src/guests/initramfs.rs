//! Builds initramfs archives: cpio in the new ASCII format, compressed by gzip. The kernel's side is
//! Documentation/driver-api/early-userspace/buffer-format.rst.

use cpio::newc::{Builder, trailer};
use flate2::{Compression, write::GzEncoder};
use std::io::{self, Write};

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// An archive under construction. Everything belongs to root and bears no date, so that equal content gives
/// equal bytes.
#[derive(Debug)]
pub struct Initramfs {
    archive: GzEncoder<Vec<u8>>,
    entries: u32,
}

impl Initramfs {
    /// An archive with what every guest needs: the usual mount points, and /dev/console, which the kernel opens
    /// for process 1 before anything is mounted.
    pub fn new() -> io::Result<Self> {
        let mut archive = Initramfs { archive: GzEncoder::new(Vec::new(), Compression::best()), entries: 0 };
        for name in ["bin", "dev", "etc", "proc", "sbin", "sys", "tmp", "usr", "usr/bin", "usr/sbin"] {
            archive.directory(name)?;
        }
        archive.character_device("dev/console", 5, 1)?;
        archive.character_device("dev/null", 1, 3)?;
        Ok(archive)
    }

    /// Adds a directory; its parent must be there already.
    pub fn directory(&mut self, name: &str) -> io::Result<()> {
        self.entry(name, DIRECTORY | 0o755, (0, 0), &[])
    }

    /// Adds a file with `permissions`.
    pub fn file(&mut self, name: &str, permissions: u32, content: &[u8]) -> io::Result<()> {
        self.entry(name, REGULAR | permissions, (0, 0), content)
    }

    /// Adds a symbolic link to `target`.
    pub fn symlink(&mut self, name: &str, target: &str) -> io::Result<()> {
        self.entry(name, SYMLINK | 0o777, (0, 0), target.as_bytes())
    }

    /// Adds a character device.
    pub fn character_device(&mut self, name: &str, major: u32, minor: u32) -> io::Result<()> {
        self.entry(name, CHARACTER_DEVICE | 0o600, (major, minor), &[])
    }

    /// The finished, compressed archive.
    pub fn finish(self) -> io::Result<Vec<u8>> {
        trailer(self.archive)?.finish()
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) -> io::Result<()> {
        self.entries += 1;
        let size = u32::try_from(content.len()).map_err(|_| io::Error::other("a file of over 4 GiB"))?;
        let mut writer = Builder::new(name)
            .ino(self.entries)
            .mode(mode)
            .nlink(1)
            .rdev_major(device.0)
            .rdev_minor(device.1)
            .write(&mut self.archive, size);
        writer.write_all(content)?;
        writer.finish()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cpio::newc::Reader;
    use flate2::read::GzDecoder;
    use std::io::Read;

    #[test]
    fn an_archive_holds_what_was_put_in() {
        let mut archive = Initramfs::new().unwrap();
        archive.file("init", 0o755, b"#!/bin/sh\n").unwrap();
        archive.symlink("bin/sh", "busybox").unwrap();

        let bytes = archive.finish().unwrap();

        let mut plain: Box<dyn Read> = Box::new(GzDecoder::new(&bytes[..]));
        let mut entries = Vec::new();
        loop {
            let mut reader = Reader::new(plain).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            let mut content = String::new();
            reader.read_to_string(&mut content).unwrap();
            entries.push((reader.entry().name().to_owned(), reader.entry().mode(), content));
            plain = reader.finish().unwrap();
        }
        assert!(entries.contains(&("init".into(), 0o100_755, "#!/bin/sh\n".into())));
        assert!(entries.contains(&("bin/sh".into(), 0o120_777, "busybox".into())));
        assert!(entries.contains(&("dev/console".into(), 0o020_600, String::new())));
    }

    #[test]
    fn equal_content_gives_equal_bytes() {
        let build = || Initramfs::new().unwrap().finish().unwrap();
        assert_eq!(build(), build());
    }
}
