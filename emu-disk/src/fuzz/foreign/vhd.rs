//! Virtual PC's disks, fixed and dynamic.

use super::{DATA, Made, put, put_be32};
use crate::Format;
use std::ops::Range;

const FIXED: u32 = 2;
const DYNAMIC: u32 = 3;
const FOOTER: usize = 512;
const BLOCK: usize = 4096;
const BLOCKS: usize = 4;
/// In a dynamic image: the second header, the table, and the blocks with their bitmaps.
const HEADER: Range<usize> = 512..1536;
const TABLE: usize = 1536;
const DATA_AT: usize = 2048;
const STEP: usize = 512 + BLOCK;

fn footer(kind: u32, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; FOOTER];
    put(&mut bytes, 0, b"conectix");
    put(&mut bytes, 28, b"win ");
    let len = len as u32;
    let fields = [(8, 2), (12, 0x1_0000), (16, u32::MAX), (20, u32::MAX), (44, len), (52, len), (60, kind)];
    for (at, value) in fields {
        put_be32(&mut bytes, at, value);
    }
    if kind == DYNAMIC {
        put(&mut bytes, 16, &(HEADER.start as u64).to_be_bytes());
    }
    bytes
}

/// Sets the checksum at `at` of these bytes.
fn sign(bytes: &mut [u8], at: usize) {
    put_be32(bytes, at, 0);
    let sum: u32 = bytes.iter().map(|byte| u32::from(*byte)).sum();
    put_be32(bytes, at, !sum);
}

fn sign_footer(bytes: &mut [u8]) {
    if let Some(footer) = bytes.len().checked_sub(FOOTER).map(|at| &mut bytes[at..]) {
        sign(footer, 64);
    }
}

fn sign_all(bytes: &mut [u8]) {
    sign_footer(bytes);
    if let Some(bytes) = bytes.get_mut(..HEADER.end) {
        sign(&mut bytes[..FOOTER], 64);
        sign(&mut bytes[HEADER], 36);
    }
}

pub(super) fn fixed() -> Made {
    let mut bytes = vec![DATA; 2 * BLOCK];
    bytes.extend(footer(FIXED, 2 * BLOCK));
    sign_footer(&mut bytes);
    let area = 2 * BLOCK..bytes.len();
    Made { sign: sign_footer, ..Made::new(Format::Vhd, bytes, vec![area]) }
}

pub(super) fn dynamic() -> Made {
    let footer = footer(DYNAMIC, BLOCKS * BLOCK);
    let mut bytes = vec![0; DATA_AT];
    put(&mut bytes, 0, &footer);
    put(&mut bytes, HEADER.start, b"cxsparse");
    let fields = [(8, u32::MAX), (12, u32::MAX), (20, TABLE as u32), (24, 0x1_0000)];
    for (at, value) in fields.into_iter().chain([(28, BLOCKS as u32), (32, BLOCK as u32)]) {
        put_be32(&mut bytes, HEADER.start + at, value);
    }
    bytes[TABLE..].fill(0xFF);
    for (block, place) in [1, u32::MAX, 0].into_iter().enumerate() {
        if place != u32::MAX {
            put_be32(&mut bytes, TABLE + 4 * block, ((DATA_AT + STEP * place as usize) / 512) as u32);
        }
    }
    bytes.extend([vec![0xFF; 512], vec![DATA; BLOCK], vec![0xFF; 512], vec![DATA; BLOCK]].concat());
    bytes.extend(footer);
    sign_all(&mut bytes);
    let end = bytes.len();
    let areas = vec![0..FOOTER, HEADER, TABLE..TABLE + 4 * BLOCKS, end - FOOTER..end];
    Made { sign: sign_all, ..Made::new(Format::Vhd, bytes, areas) }
}
