//! VMware's disks: a sparse extent, a stream-optimized one, and a descriptor with extents in other files.

use super::{DATA, Made, put, put_le32};
use crate::Format;
use flate2::{Compression, write::ZlibEncoder};
use std::io::Write;

const SECTOR: usize = 512;
/// Sectors of a grain, and entries of a grain table.
const GRAIN: usize = 8;
const ENTRIES: usize = 16;
const CAPACITY: usize = 2 * GRAIN * ENTRIES;
const AT_END: u64 = u64::MAX;
/// Sectors of the parts.
const TEXT: usize = 1;
const DIRECTORY: usize = 2;
const TABLE: usize = 3;
const GRAINS: usize = 4;
const DESCRIPTOR: &str = "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\n";

fn header(flags: u32, directory: u64) -> Vec<u8> {
    let mut bytes = vec![0; SECTOR];
    put(&mut bytes, 0, b"KDMV");
    put_le32(&mut bytes, 4, 1);
    put_le32(&mut bytes, 8, flags);
    for (at, value) in [(12, CAPACITY), (20, GRAIN), (28, TEXT), (36, 1)] {
        put_le32(&mut bytes, at, value as u32);
    }
    put_le32(&mut bytes, 44, ENTRIES as u32);
    put(&mut bytes, 56, &directory.to_le_bytes());
    put_le32(&mut bytes, 64, GRAINS as u32);
    if flags & 1 << 16 != 0 {
        put(&mut bytes, 77, &1u16.to_le_bytes());
    }
    bytes
}

/// What all sparse extents begin with, and a table of which two grains are there.
fn begin(flags: u32, directory: u64, second: usize) -> Vec<u8> {
    let mut bytes = header(flags, directory);
    bytes.resize(GRAINS * SECTOR, 0);
    put(&mut bytes, TEXT * SECTOR, DESCRIPTOR.as_bytes());
    put_le32(&mut bytes, DIRECTORY * SECTOR, TABLE as u32);
    put_le32(&mut bytes, TABLE * SECTOR, GRAINS as u32);
    put_le32(&mut bytes, TABLE * SECTOR + 4, second as u32);
    put_le32(&mut bytes, TABLE * SECTOR + 8, 1);
    bytes
}

const AREAS: [std::ops::Range<usize>; 4] = [
    0..80,
    TEXT * SECTOR..TEXT * SECTOR + DESCRIPTOR.len(),
    DIRECTORY * SECTOR..DIRECTORY * SECTOR + 8,
    TABLE * SECTOR..TABLE * SECTOR + 4 * ENTRIES,
];

pub(super) fn sparse() -> Made {
    let mut bytes = begin(0b111, DIRECTORY as u64, GRAINS + GRAIN);
    bytes.resize(bytes.len() + 2 * GRAIN * SECTOR, DATA);
    Made::new(Format::Vmdk, bytes, AREAS.to_vec())
}

pub(super) fn stream() -> Made {
    let mut packer = ZlibEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(&[DATA; GRAIN * SECTOR]).expect("memory takes all");
    let packed = packer.finish().expect("memory takes all");
    let flags = 0b101 | 1 << 16 | 1 << 17;
    let mut bytes = begin(flags, AT_END, GRAINS + 1);
    for number in 0..2u64 {
        let grain =
            [&(number * GRAIN as u64).to_le_bytes()[..], &(packed.len() as u32).to_le_bytes(), &packed];
        bytes.extend(grain.concat());
        bytes.resize((GRAINS + 1 + number as usize) * SECTOR, 0);
    }
    let footer = bytes.len();
    bytes.extend(header(flags, DIRECTORY as u64));
    bytes.resize(footer + 2 * SECTOR, 0);
    let data = GRAINS * SECTOR;
    let areas = AREAS.into_iter().chain([footer..footer + 80, data..data + 12 + packed.len()]);
    Made::new(Format::Vmdk, bytes, areas.collect())
}

pub(super) fn descriptor() -> Made {
    let lines = "RW 16 FLAT \"flat\" 1\nRW 8 ZERO\nRW 256 SPARSE \"sparse\"\nNOACCESS 8 VMFS \"flat\"\n";
    let bytes = format!("{DESCRIPTOR}{lines}").into_bytes();
    let area = 0..bytes.len();
    let beside = vec![("flat", vec![DATA; 17 * SECTOR]), ("sparse", sparse().bytes)];
    Made { beside, ..Made::new(Format::Vmdk, bytes, vec![area]) }
}
