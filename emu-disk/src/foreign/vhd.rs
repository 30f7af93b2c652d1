//! Virtual PC's disks, fixed and dynamic. After Microsoft's "Virtual Hard Disk Image Format Specification" 1.0.
//!
//! A footer tells the size in bytes, and as a geometry, which is often less. Programs disagree about which one counts;
//! as QEMU does, we go by the program that made the image.
//!
//! Left out: differencing images.

use super::{Layout, Run, be32, be64, bytes_at, disk_len};
use crate::{error::damaged, file::ImageFile};
use std::io;

const SECTOR: u64 = 512;
const FIXED: u32 = 2;
const DYNAMIC: u32 = 3;
const FREE: u32 = 0xFFFF_FFFF;
/// Programs that mean the size in bytes.
const MEAN_BYTES: [&[u8; 4]; 6] = [b"win ", b"qem2", b"d2v ", b"CTXS", b"tap\0", b"wa\0\0"];
/// The largest geometry: it stands for all larger disks.
const LARGEST: u64 = 65535 * 16 * 255;

pub(super) struct Vhd {
    len: u64,
    /// Of a dynamic image.
    blocks: Option<Blocks>,
}

struct Blocks {
    size: u64,
    /// Before each block: which of its sectors have been written. The others are zeroes anyway.
    bitmap: u64,
    table: Vec<u8>,
}

impl Vhd {
    pub fn open(file: &ImageFile) -> io::Result<Self> {
        let file_len = file.len()?;
        let footer = bytes_at(file, file_len.saturating_sub(SECTOR), SECTOR)?;
        // A dynamic image has a copy in front, which serves where the end is damaged.
        let footer = if valid(&footer, 64) { footer } else { bytes_at(file, 0, SECTOR)? };
        if !footer.starts_with(b"conectix") || !valid(&footer, 64) {
            return Err(damaged("it has no footer of Virtual PC's, or a damaged one"));
        }
        let len = length(&footer);
        match be32(&footer, 60) {
            FIXED if len > file_len - SECTOR => Err(damaged("it is shorter than its disk")),
            FIXED => Ok(Vhd { len: disk_len(len)?, blocks: None }),
            DYNAMIC => {
                let len = disk_len(len)?;
                Ok(Vhd { len, blocks: Some(Blocks::open(file, be64(&footer, 16), len)?) })
            }
            _ => Err(damaged("it builds on another image, which is not supported; merge them first")),
        }
    }
}

impl Blocks {
    fn open(file: &ImageFile, header: u64, len: u64) -> io::Result<Self> {
        let header = bytes_at(file, header, 1024)?;
        if !header.starts_with(b"cxsparse") || !valid(&header, 36) {
            return Err(damaged("its second header is damaged"));
        }
        let (entries, size) = (u64::from(be32(&header, 28)), u64::from(be32(&header, 32)));
        if size < SECTOR || !size.is_power_of_two() || entries * size < len {
            return Err(damaged("the size of its blocks makes no sense"));
        }
        let table = bytes_at(file, be64(&header, 16), entries * 4)?;
        Ok(Blocks { size, bitmap: (size / SECTOR).div_ceil(8).next_multiple_of(SECTOR), table })
    }
}

/// Whether the checksum that is `at` is right: all bytes without it, added and inverted.
fn valid(bytes: &[u8], at: usize) -> bool {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    !(sum(bytes) - sum(&bytes[at..at + 4])) == be32(bytes, at)
}

fn length(footer: &[u8]) -> u64 {
    let (cylinders, heads, sectors) =
        (u64::from(be32(footer, 56) >> 16), u64::from(footer[58]), u64::from(footer[59]));
    let geometry = cylinders * heads * sectors;
    let by_bytes = MEAN_BYTES.iter().any(|creator| footer[28..32] == **creator);
    if by_bytes || geometry == LARGEST { be64(footer, 48) } else { geometry * SECTOR }
}

impl Layout for Vhd {
    fn len(&self) -> u64 {
        self.len
    }

    fn run(&self, _: &[ImageFile], offset: u64) -> io::Result<(Run, u64)> {
        let Some(blocks) = &self.blocks else { return Ok((Run::Data(0, offset), self.len - offset)) };
        let (index, begin) = (offset / blocks.size, offset % blocks.size);
        let run = match be32(&blocks.table, index as usize * 4) {
            FREE => Run::Unallocated,
            sector => Run::Data(0, u64::from(sector) * SECTOR + blocks.bitmap + begin),
        };
        Ok((run, blocks.size - begin))
    }
}
