//! Images of other programs, which are read and copied from: vmdk, vdi, vhd, vhdx.
//!
//! Each format says where on the disk what is (`Layout`); [`Foreign`] makes an image of that. None of them may build on
//! other images: such ones are refused.

mod vdi;
mod vhd;
pub(crate) mod vhdx;
mod vmdk;

use crate::{
    buffers::{Source, Target},
    error::{DiskError, damaged},
    file::{ImageFile, Wait},
    image::{Extent, ExtentKind, Image},
    options::Format,
};
use flate2::{Decompress, FlushDecompress};
use parking_lot::Mutex;
use std::{io, sync::Arc};

/// The longest table that is read into memory. No disk that fits on a host needs more.
const LONGEST_TABLE: u64 = 128 << 20;

/// Where on a disk what is.
trait Layout: Send + Sync {
    /// The disk's length.
    fn len(&self) -> u64;
    /// What is at `offset`, and for how many bytes; at least one, perhaps beyond the disk's end.
    fn run(&self, files: &[ImageFile], offset: u64) -> io::Result<(Run, u64)>;
}

/// See [`Layout::run`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Run {
    Zero,
    Unallocated,
    /// At this offset of this file.
    Data(usize, u64),
    /// Within something packed.
    Packed(Packed),
}

/// A piece of the disk that is packed by zlib.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Packed {
    file: usize,
    /// Where in the file.
    offset: u64,
    /// How long there.
    len: u64,
    /// How long on the disk.
    unpacked: usize,
    /// Where in it the run begins.
    begin: usize,
}

pub(crate) struct Foreign {
    files: Vec<ImageFile>,
    layout: Box<dyn Layout>,
    /// What was unpacked last.
    unpacked: Mutex<Option<(Packed, Arc<Vec<u8>>)>>,
}

impl Foreign {
    /// Opens an image of a format that is not our own.
    pub fn open(file: ImageFile, format: Format) -> Result<Self, DiskError> {
        let path = file.path().to_owned();
        let failed = |error| DiskError::host(&path, "read", error);
        let (files, layout): (_, Box<dyn Layout>) = match format {
            Format::Vdi => {
                let layout = vdi::Vdi::open(&file).map_err(failed)?;
                (vec![file], Box::new(layout))
            }
            Format::Vhd => {
                let layout = vhd::Vhd::open(&file).map_err(failed)?;
                (vec![file], Box::new(layout))
            }
            Format::Vhdx => {
                let layout = vhdx::Vhdx::open(&file).map_err(failed)?;
                (vec![file], Box::new(layout))
            }
            Format::Vmdk => {
                let (files, layout) = vmdk::Vmdk::open(file)?;
                (files, Box::new(layout))
            }
            Format::Raw | Format::Qcow2 => unreachable!("these are our own"),
        };
        Ok(Foreign { files, layout, unpacked: Mutex::new(None) })
    }

    /// What is at `offset`, not beyond the disk's end nor `len`.
    fn run(&self, offset: u64, len: u64) -> io::Result<(Run, u64)> {
        let (run, run_len) = self.layout.run(&self.files, offset)?;
        Ok((run, run_len.min(len)))
    }

    fn unpack(&self, packed: Packed) -> io::Result<Arc<Vec<u8>>> {
        let key = Packed { begin: 0, ..packed };
        if let Some((_, bytes)) = self.unpacked.lock().as_ref().filter(|(last, _)| *last == key) {
            return Ok(bytes.clone());
        }
        let mut input = vec![0; packed.len as usize];
        self.files[packed.file].read_bytes(packed.offset, &mut input)?;
        let mut bytes = vec![0; packed.unpacked];
        let mut inflater = Decompress::new(true);
        let _ = inflater.decompress(&input, &mut bytes, FlushDecompress::Finish).map_err(io::Error::other)?;
        // What is missing at the disk's end is not there; elsewhere it is zeroes too.
        let bytes = Arc::new(bytes);
        *self.unpacked.lock() = Some((key, bytes.clone()));
        Ok(bytes)
    }
}

impl Image for Foreign {
    fn len(&self) -> u64 {
        self.layout.len()
    }

    fn read(&self, offset: u64, target: &Target<'_>, wait: Wait) -> io::Result<()> {
        let mut done = 0;
        while done < target.len() {
            let (run, len) = self.run(offset + done as u64, (target.len() - done) as u64)?;
            let part = target.slice(done..done + len as usize);
            match run {
                Run::Zero | Run::Unallocated => part.clear(),
                Run::Data(file, at) => self.files[file].read(at, &part, wait)?,
                Run::Packed(packed) => part.copy_from(&self.unpack(packed)?[packed.begin..]),
            }
            done += len as usize;
        }
        Ok(())
    }

    fn extent(&self, offset: u64, len: u64) -> io::Result<Extent> {
        let (first, mut found) = self.run(offset, len)?;
        let kind = match first {
            Run::Zero => ExtentKind::Zero,
            Run::Unallocated => ExtentKind::Unallocated,
            Run::Data(_, at) => ExtentKind::Data(at),
            Run::Packed(_) => ExtentKind::Compressed,
        };
        // Joined with what continues it, as far as that is worth looking.
        for _ in 0..1024 {
            if found == len || kind == ExtentKind::Compressed {
                break;
            }
            let (next, more) = self.run(offset + found, len - found)?;
            let continues = match (first, next) {
                (Run::Data(file, at), Run::Data(next_file, next)) => (file, at + found) == (next_file, next),
                _ => first == next,
            };
            if !continues {
                break;
            }
            found += more;
        }
        Ok(Extent { len: found, kind, depth: 0 })
    }

    fn write(&self, _: u64, _: &Source<'_>) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn write_zeroes(&self, _: u64, _: u64, _: bool) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn discard(&self, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a part of an image's metadata.
fn bytes_at(file: &ImageFile, offset: u64, len: u64) -> io::Result<Vec<u8>> {
    if len > LONGEST_TABLE || offset.checked_add(len).is_none_or(|end| end > i64::MAX as u64) {
        return Err(damaged(format!("a table of {len} bytes at {offset:#x} makes no sense")));
    }
    if file.len()? < offset + len {
        return Err(damaged(format!("it ends before its table at {offset:#x}; it is incomplete")));
    }
    let mut bytes = vec![0; len as usize];
    file.read_bytes(offset, &mut bytes)?;
    Ok(bytes)
}

fn le16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn le64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// The longest disk that is believed in.
const LONGEST_DISK: u64 = 1 << 56;

/// A disk's length, if it is one.
fn disk_len(len: u64) -> io::Result<u64> {
    if len.is_multiple_of(512) && len <= LONGEST_DISK {
        Ok(len)
    } else {
        Err(damaged(format!("a disk of {len} bytes is not possible")))
    }
}
