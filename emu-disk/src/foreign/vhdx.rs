//! Hyper-V's disks. After Microsoft's MS-VHDX.
//!
//! Left out: differencing images, and replaying the log of an image that was not closed.

use super::{Layout, Run, bytes_at, disk_len, le16, le32, le64};
use crate::{error::damaged, file::ImageFile};
use std::io;

const KIB_64: u64 = 64 << 10;
const MIB: u64 = 1 << 20;
/// GUIDs as they are in files.
pub(crate) const BAT: [u8; 16] = guid(0x2DC2_7766, 0xF623, 0x4200, 0x9D64_115E_9BFD_4A08);
pub(crate) const METADATA: [u8; 16] = guid(0x8B7C_A206, 0x4790, 0x4B9A, 0xB8FE_575F_050F_886E);
pub(crate) const FILE_PARAMETERS: [u8; 16] = guid(0xCAA1_6737, 0xFA36, 0x4D43, 0xB3B6_33F0_AA44_E76B);
pub(crate) const DISK_SIZE: [u8; 16] = guid(0x2FA5_4224, 0xCD1B, 0x4876, 0xB211_5DBE_D83B_F4B8);
pub(crate) const SECTOR_SIZE: [u8; 16] = guid(0x8141_BF1D, 0xA96F, 0x4709, 0xBA47_F233_A8FA_AB5F);
const HAS_PARENT: u32 = 1 << 1;
/// States of blocks.
const NOT_PRESENT: u64 = 0;
const FULLY_PRESENT: u64 = 6;
const PARTIALLY_PRESENT: u64 = 7;

const fn guid(a: u32, b: u16, c: u16, d: u64) -> [u8; 16] {
    let (a, b, c, d) = (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes(), d.to_be_bytes());
    [a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]]
}

pub(super) struct Vhdx {
    len: u64,
    block: u64,
    /// Blocks between which the table has an entry for a bitmap.
    chunk: u64,
    table: Vec<u8>,
}

impl Vhdx {
    pub fn open(file: &ImageFile) -> io::Result<Self> {
        let headers = [KIB_64, 2 * KIB_64].map(|at| signed(file, at, 4096, b"head"));
        let current = headers.into_iter().flatten().max_by_key(|header| le64(header, 8));
        let header = current.ok_or_else(|| damaged("both of its headers are damaged"))?;
        if header[48..64] != [0; 16] {
            return Err(damaged("it was not closed; let Hyper-V or qemu-img check -r all replay its log"));
        }
        let regions = [3 * KIB_64, 4 * KIB_64].into_iter().find_map(|at| signed(file, at, KIB_64, b"regi"));
        let regions = regions.ok_or_else(|| damaged("both of its region tables are damaged"))?;
        let metadata = region(&regions, &METADATA)?;
        let metadata_table = bytes_at(file, metadata.0, KIB_64)?;
        let item = |id: &[u8; 16], len: u64| {
            let offset = item(&metadata_table, id)?;
            bytes_at(file, metadata.0 + offset, len)
        };
        let parameters = item(&FILE_PARAMETERS, 8)?;
        if le32(&parameters, 4) & HAS_PARENT != 0 {
            return Err(damaged("it builds on another image, which is not supported; merge them first"));
        }
        let block = u64::from(le32(&parameters, 0));
        let len = disk_len(le64(&item(&DISK_SIZE, 8)?, 0))?;
        let sector = u64::from(le32(&item(&SECTOR_SIZE, 4)?, 0));
        if !(MIB..=256 * MIB).contains(&block) || !block.is_power_of_two() || !matches!(sector, 512 | 4096) {
            return Err(damaged("the size of its blocks or sectors makes no sense"));
        }
        let chunk = (sector << 23) / block;
        let bat = region(&regions, &BAT)?;
        let blocks = len.div_ceil(block);
        let needed = (blocks + blocks.saturating_sub(1) / chunk) * 8;
        if needed > bat.1 {
            return Err(damaged("its block table is too short"));
        }
        Ok(Vhdx { len, block, chunk, table: bytes_at(file, bat.0, needed)? })
    }
}

/// A structure with a signature and a checksum behind it, if both are right.
fn signed(file: &ImageFile, at: u64, len: u64, signature: &[u8; 4]) -> Option<Vec<u8>> {
    let mut bytes = bytes_at(file, at, len).ok()?;
    let checksum = le32(&bytes, 4);
    bytes[4..8].fill(0);
    (bytes.starts_with(signature) && crc32c(&bytes) == checksum).then_some(bytes)
}

/// The CRC of each byte (Castagnoli's polynomial).
const CRCS: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < table.len() {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 != 0 { crc >> 1 ^ 0x82F6_3B78 } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// The CRC of iSCSI and ext4.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| CRCS[usize::from(crc as u8 ^ byte)] ^ crc >> 8;
    !bytes.iter().fold(!0, step)
}

/// Offset and length of a region.
fn region(table: &[u8], id: &[u8; 16]) -> io::Result<(u64, u64)> {
    let entries = table[16..].chunks_exact(32).take(le32(table, 8) as usize);
    let found = entries.into_iter().find(|entry| entry.starts_with(id));
    let found = found.ok_or_else(|| damaged("a region is missing"))?;
    Ok((le64(found, 16), le32(found, 24).into()))
}

/// Where an item is, from the beginning of the metadata region.
fn item(table: &[u8], id: &[u8; 16]) -> io::Result<u64> {
    if !table.starts_with(b"metadata") {
        return Err(damaged("its metadata is damaged"));
    }
    let mut entries = table[32..].chunks_exact(32).take(le16(table, 10).into());
    let found = entries.find(|entry| entry.starts_with(id));
    found.map(|entry| le32(entry, 16).into()).ok_or_else(|| damaged("its metadata is incomplete"))
}

impl Layout for Vhdx {
    fn len(&self) -> u64 {
        self.len
    }

    fn run(&self, _: &[ImageFile], offset: u64) -> io::Result<(Run, u64)> {
        let (index, begin) = (offset / self.block, offset % self.block);
        let entry = le64(&self.table, (index + index / self.chunk) as usize * 8);
        let run = match entry & 7 {
            FULLY_PRESENT => Run::Data(0, (entry & !(MIB - 1)).saturating_add(begin)),
            PARTIALLY_PRESENT => return Err(damaged("a block is partly in another image")),
            NOT_PRESENT => Run::Unallocated,
            _ => Run::Zero,
        };
        Ok((run, self.block - begin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crc_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
    }
}
