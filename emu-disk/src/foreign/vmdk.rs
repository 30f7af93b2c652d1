//! VMware's disks: flat and sparse extents, in one file or several, and stream-optimized ones. After VMware's "Virtual
//! Disk Format" 1.1 and 5.0.
//!
//! The files that a descriptor names have to lie beside it: it is not to make us read other files of the host.
//!
//! Left out: images that build on others, and those of ESX (COWD, SESPARSE).

use super::{Layout, Packed, Run, bytes_at, disk_len, le16, le32, le64};
use crate::{
    error::{DiskError, damaged},
    file::ImageFile,
    options::CacheMode,
};
use parking_lot::Mutex;
use std::{io, path::Path};

const SECTOR: u64 = 512;
const MAGIC: &[u8] = b"KDMV";
const TEXT_MAGIC: &[u8] = b"# Disk DescriptorFile";
const HAS_ZERO_GRAINS: u32 = 1 << 2;
const COMPRESSED: u32 = 1 << 16;
const HAS_MARKERS: u32 = 1 << 17;
/// The grain directory is where the copy of the header at the end says.
const AT_END: u64 = u64::MAX;
const LONGEST_TEXT: u64 = 1 << 20;
const MOST_EXTENTS: usize = 4096;
/// Before a packed grain: its sector, and its length.
const MARKER: u64 = 12;

pub(super) struct Vmdk {
    len: u64,
    extents: Vec<Extent>,
}

/// A part of the disk.
struct Extent {
    begin: u64,
    len: u64,
    kind: Kind,
}

enum Kind {
    Zero,
    /// A file's content from an offset on.
    Flat(usize, u64),
    Sparse(usize, Sparse),
}

struct Sparse {
    grain: u64,
    /// Entries of a grain table.
    entries: u64,
    flags: u32,
    /// Sectors of grain tables.
    directory: Vec<u8>,
    /// The grain table that was looked at last, and its sector.
    table: Mutex<(u64, Vec<u8>)>,
}

/// A line of the descriptor.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    sectors: u64,
    kind: String,
    /// Name, and sector within the file.
    file: Option<(String, u64)>,
}

impl Vmdk {
    pub fn open(file: ImageFile) -> Result<(Vec<ImageFile>, Self), DiskError> {
        let path = file.path().to_owned();
        let failed = |error| DiskError::host(&path, "read", error);
        let begin = bytes_at(&file, 0, SECTOR.min(file.len().map_err(failed)?)).map_err(failed)?;
        if begin.starts_with(MAGIC) {
            let sparse = Sparse::open(&file).map_err(failed)?;
            let extent = Extent { begin: 0, len: sparse.1, kind: Kind::Sparse(0, sparse.0) };
            let len = disk_len(extent.len).map_err(failed)?;
            return Ok((vec![file], Vmdk { len, extents: vec![extent] }));
        }
        if !begin.starts_with(TEXT_MAGIC) {
            return Err(DiskError::image(&path, "it has no header of VMware's"));
        }
        let text = bytes_at(&file, 0, file.len().map_err(failed)?.min(LONGEST_TEXT)).map_err(failed)?;
        let lines =
            parse(&String::from_utf8_lossy(&text)).map_err(|problem| DiskError::image(&path, problem))?;
        let mut files = vec![file];
        let mut extents: Vec<Extent> = Vec::new();
        for line in lines {
            let begin = extents.last().map_or(0, |last| last.begin + last.len);
            let len = line.sectors.checked_mul(SECTOR).and_then(|len| disk_len(begin.checked_add(len)?).ok());
            let end = len.ok_or_else(|| DiskError::image(&path, "an extent's length makes no sense"))?;
            let kind = open_extent(&path, line, &mut files)?;
            extents.push(Extent { begin, len: end - begin, kind });
        }
        let len = extents.last().map_or(0, |last| last.begin + last.len);
        Ok((files, Vmdk { len, extents }))
    }
}

fn open_extent(path: &Path, line: Line, files: &mut Vec<ImageFile>) -> Result<Kind, DiskError> {
    let Some((name, sector)) = line.file else { return Ok(Kind::Zero) };
    if name.contains('/') || name == ".." {
        let problem =
            format!("it names {name:?}, which is not beside it; put all of its files into one directory");
        return Err(DiskError::image(path, problem));
    }
    let file =
        ImageFile::open(&path.parent().unwrap_or(Path::new("")).join(name), false, CacheMode::Writeback)?;
    let index = files.len();
    let kind = if line.kind == "SPARSE" {
        let (sparse, _) = Sparse::open(&file).map_err(|error| DiskError::host(file.path(), "read", error))?;
        Kind::Sparse(index, sparse)
    } else {
        let offset = sector.checked_mul(SECTOR).filter(|offset| *offset < 1 << 60);
        Kind::Flat(index, offset.ok_or_else(|| DiskError::image(path, "an extent's offset makes no sense"))?)
    };
    files.push(file);
    Ok(kind)
}

/// The extents that a descriptor names.
fn parse(text: &str) -> Result<Vec<Line>, String> {
    check_parent(text)?;
    let mut lines = Vec::new();
    for line in text.lines().map(str::trim) {
        let mut words = line.split_whitespace();
        let (access, sectors, kind) = (words.next(), words.next(), words.next());
        let (Some("RW" | "RDONLY" | "NOACCESS"), Some(sectors), Some(kind)) = (access, sectors, kind) else {
            continue;
        };
        let file = match kind {
            "ZERO" => None,
            "FLAT" | "VMFS" | "SPARSE" => {
                let mut quoted = line.splitn(3, '"').skip(1);
                let name = quoted.next().ok_or_else(|| format!("{line:?} names no file"))?;
                let sector = quoted.next().unwrap_or_default().trim();
                Some((name.to_owned(), sector.parse().unwrap_or(0)))
            }
            other => return Err(format!("extents of type {other} are not supported")),
        };
        let sectors = sectors.parse().map_err(|_| format!("{line:?} has no length"))?;
        lines.push(Line { sectors, kind: kind.to_owned(), file });
        if lines.len() > MOST_EXTENTS {
            return Err("it names too many files".into());
        }
    }
    if lines.is_empty() { Err("its descriptor names no file".into()) } else { Ok(lines) }
}

/// A descriptor says what the image builds on.
fn check_parent(text: &str) -> Result<(), String> {
    let mut parents = text.lines().filter_map(|line| line.trim().strip_prefix("parentCID="));
    if parents.all(|parent| parent.eq_ignore_ascii_case("ffffffff")) {
        return Ok(());
    }
    Err("it builds on another image, which is not supported; merge them first".into())
}

impl Sparse {
    /// Returns the length too.
    fn open(file: &ImageFile) -> io::Result<(Self, u64)> {
        let mut header = bytes_at(file, 0, SECTOR)?;
        if !header.starts_with(MAGIC) {
            return Err(damaged("it is no sparse extent of VMware's"));
        }
        if le64(&header, 56) == AT_END {
            header = bytes_at(file, file.len()?.saturating_sub(2 * SECTOR), SECTOR)?;
            if !header.starts_with(MAGIC) || le64(&header, 56) == AT_END {
                return Err(damaged("it ends without a footer; it is incomplete"));
            }
        }
        let flags = le32(&header, 8);
        if flags & COMPRESSED != 0 && (flags & HAS_MARKERS == 0 || le16(&header, 77) != 1) {
            return Err(damaged("how it is compressed is not known"));
        }
        check_descriptor(file, &header)?;
        let sectors = |at: usize| le64(&header, at).checked_mul(SECTOR).filter(|len| *len < 1 << 60);
        let no_sense = || damaged("the size of its grains makes no sense");
        let (capacity, grain) = (sectors(12).ok_or_else(no_sense)?, sectors(20).ok_or_else(no_sense)?);
        let entries = u64::from(le32(&header, 44));
        if !grain.is_power_of_two() || !(512..=64 << 20).contains(&grain) || !(1..=1 << 20).contains(&entries)
        {
            return Err(no_sense());
        }
        let tables = capacity.div_ceil(grain * entries);
        let directory = bytes_at(file, sectors(56).ok_or_else(no_sense)?, tables * 4)?;
        Ok((Sparse { grain, entries, flags, directory, table: Mutex::default() }, capacity))
    }

    /// What a grain table says: a sector, or a mark.
    fn place(&self, file: &ImageFile, table: u64, entry: u64) -> io::Result<u32> {
        let mut last = self.table.lock();
        if last.0 != table {
            *last = (table, bytes_at(file, table * SECTOR, self.entries * 4)?);
        }
        Ok(le32(&last.1, entry as usize * 4))
    }

    fn run(&self, index: usize, file: &ImageFile, offset: u64) -> io::Result<(Run, u64)> {
        let (grain, begin) = (offset / self.grain, offset % self.grain);
        let len = self.grain - begin;
        let (table, entry) = ((grain / self.entries) as usize, grain % self.entries);
        let table = match self.directory.get(table * 4..table * 4 + 4) {
            Some(place) => u64::from(le32(place, 0)),
            None => return Err(damaged("an extent is shorter than its descriptor says")),
        };
        if table == 0 {
            return Ok((Run::Unallocated, (self.entries - entry) * self.grain - begin));
        }
        let place = self.place(file, table, entry)?;
        let at = u64::from(place) * SECTOR;
        let run = match place {
            0 => Run::Unallocated,
            1 if self.flags & HAS_ZERO_GRAINS != 0 => Run::Zero,
            _ if self.flags & COMPRESSED == 0 => Run::Data(index, at + begin),
            _ => {
                let packed = u64::from(le32(&bytes_at(file, at, MARKER)?, 8));
                if packed > 2 * self.grain + SECTOR {
                    return Err(damaged("a packed grain has an impossible length"));
                }
                let (unpacked, begin) = (self.grain as usize, begin as usize);
                Run::Packed(Packed { file: index, offset: at + MARKER, len: packed, unpacked, begin })
            }
        };
        Ok((run, len))
    }
}

/// The descriptor within a sparse extent may say that it builds on another image.
fn check_descriptor(file: &ImageFile, header: &[u8]) -> io::Result<()> {
    let (at, len) = (le64(header, 28), le64(header, 36));
    if at == 0 || len == 0 {
        return Ok(());
    }
    let len = len.saturating_mul(SECTOR).min(LONGEST_TEXT);
    let text = bytes_at(file, at.saturating_mul(SECTOR), len)?;
    check_parent(&String::from_utf8_lossy(&text)).map_err(damaged)
}

impl Layout for Vmdk {
    fn len(&self) -> u64 {
        self.len
    }

    fn run(&self, files: &[ImageFile], offset: u64) -> io::Result<(Run, u64)> {
        let index = self.extents.partition_point(|extent| extent.begin + extent.len <= offset);
        let extent = &self.extents[index];
        let begin = offset - extent.begin;
        let (run, len) = match &extent.kind {
            Kind::Zero => (Run::Zero, extent.len - begin),
            Kind::Flat(file, at) => (Run::Data(*file, at + begin), extent.len - begin),
            Kind::Sparse(file, sparse) => sparse.run(*file, &files[*file], begin)?,
        };
        Ok((run, len.min(extent.len - begin)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_names_extents() {
        let text = "# Disk DescriptorFile\nparentCID=ffffffff\nRW 63 FLAT \"a b-flat.vmdk\" 128\nRW 5 ZERO\n";
        let expected = [
            Line { sectors: 63, kind: "FLAT".into(), file: Some(("a b-flat.vmdk".into(), 128)) },
            Line { sectors: 5, kind: "ZERO".into(), file: None },
        ];
        assert_eq!(parse(text).unwrap(), expected);
        assert!(parse("parentCID=12345678\nRW 5 ZERO").is_err(), "a differencing image");
        assert!(parse("RW 5 SESPARSE \"x\"").is_err());
        assert!(parse("nothing").is_err());
    }
}
