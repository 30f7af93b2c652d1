//! Raw images: the disk's content, byte by byte. Holes of the file are zeroes.
//!
//! A file that ends within a sector reads as zeroes up to the sector's end.

use crate::{
    buffers::{Source, Target},
    file::{ImageFile, Wait},
    image::{Extent, ExtentKind, Image},
};
use std::io;

pub(crate) struct Raw {
    file: ImageFile,
    len: u64,
}

impl Raw {
    pub fn new(file: ImageFile) -> io::Result<Self> {
        let len = file.len()?.next_multiple_of(512);
        Ok(Raw { file, len })
    }
}

impl Image for Raw {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, offset: u64, target: &Target<'_>, wait: Wait) -> io::Result<()> {
        self.file.read(offset, target, wait)
    }

    fn extent(&self, offset: u64, len: u64) -> io::Result<Extent> {
        let (data, end) = self.file.next_data(offset, self.len);
        let (kind, until) =
            if data > offset { (ExtentKind::Zero, data) } else { (ExtentKind::Data(offset), end) };
        Ok(Extent { len: (until - offset).min(len), kind, depth: 0 })
    }

    fn write(&self, offset: u64, source: &Source<'_>) -> io::Result<()> {
        self.file.write(offset, source)
    }

    fn write_zeroes(&self, offset: u64, len: u64, unmap: bool) -> io::Result<()> {
        self.file.zero(offset, len, unmap)
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.file.punch(offset, len).map(|_| ())
    }

    fn flush(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn answers_at_once(&self) -> bool {
        !self.file.direct()
    }

    fn direct(&self) -> bool {
        self.file.direct()
    }
}
