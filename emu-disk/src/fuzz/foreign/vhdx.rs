//! Hyper-V's disks. Regions lie closer together than Hyper-V would have them, so that the file is small.

use super::{DATA, Made, put, put_le32};
use crate::{
    Format,
    foreign::vhdx::{BAT, DISK_SIZE, FILE_PARAMETERS, METADATA, SECTOR_SIZE, crc32c},
};
use std::ops::Range;

const KIB_64: usize = 64 << 10;
const MIB: usize = 1 << 20;
/// Headers and tables of regions, with their lengths: all signed.
const SIGNED: [(usize, usize); 4] =
    [(KIB_64, 4096), (2 * KIB_64, 4096), (3 * KIB_64, KIB_64), (4 * KIB_64, KIB_64)];
const METADATA_AT: usize = 5 * KIB_64;
const ITEMS: usize = METADATA_AT + KIB_64;
const TABLE: usize = ITEMS + KIB_64;
const BLOCKS: usize = 5;

fn sign(bytes: &mut [u8]) {
    for (at, len) in SIGNED {
        if let Some(part) = bytes.get_mut(at..at + len) {
            put_le32(part, 4, 0);
            let crc = crc32c(part);
            put_le32(part, 4, crc);
        }
    }
}

fn regions() -> Vec<u8> {
    let mut bytes = vec![0; KIB_64];
    put(&mut bytes, 0, b"regi");
    put_le32(&mut bytes, 8, 2);
    for (at, id, place) in [(16, BAT, TABLE), (48, METADATA, METADATA_AT)] {
        put(&mut bytes, at, &id);
        put_le32(&mut bytes, at + 16, place as u32);
        put_le32(&mut bytes, at + 24, (2 * KIB_64) as u32);
        put_le32(&mut bytes, at + 28, 1);
    }
    bytes
}

fn put_metadata(bytes: &mut [u8]) {
    put(bytes, METADATA_AT, b"metadata");
    put(bytes, METADATA_AT + 10, &3u16.to_le_bytes());
    let items =
        [(FILE_PARAMETERS, 8, MIB as u64), (DISK_SIZE, 8, (BLOCKS * MIB) as u64), (SECTOR_SIZE, 4, 512)];
    for (number, (id, len, value)) in items.into_iter().enumerate() {
        let entry = METADATA_AT + 32 + 32 * number;
        put(bytes, entry, &id);
        put_le32(bytes, entry + 16, (KIB_64 + 8 * number) as u32);
        put_le32(bytes, entry + 20, len);
        put(bytes, ITEMS + 8 * number, &value.to_le_bytes());
    }
}

pub(super) fn vhdx() -> Made {
    let mut bytes = vec![0; MIB + 8192];
    put(&mut bytes, 0, b"vhdxfile");
    for (number, (at, _)) in SIGNED[..2].iter().enumerate() {
        put(&mut bytes, *at, b"head");
        bytes[at + 8] = 1 + number as u8;
        bytes[at + 66] = 1;
    }
    for (at, _) in &SIGNED[2..] {
        put(&mut bytes, *at, &regions());
    }
    put_metadata(&mut bytes);
    // There, zeroes, not there, undefined, there.
    for (block, entry) in [MIB as u64 | 6, 2, 0, 1, MIB as u64 | 6].into_iter().enumerate() {
        put(&mut bytes, TABLE + 8 * block, &entry.to_le_bytes());
    }
    bytes[MIB..].fill(DATA);
    // What is not written is there all the same.
    bytes.resize(2 * MIB, 0);
    sign(&mut bytes);
    let signed = SIGNED.map(|(at, _)| at..at + 80);
    let others = [METADATA_AT..METADATA_AT + 128, ITEMS..ITEMS + 24, TABLE..TABLE + 8 * BLOCKS];
    let areas: Vec<Range<usize>> = signed.into_iter().chain(others).collect();
    Made { sign, ..Made::new(Format::Vhdx, bytes, areas) }
}
