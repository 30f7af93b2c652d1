//! Where code and data of generated setups lie: the same pages in every setup, so that executors keep their maps.
//!
//! Offsets are from [`BASE`], which is the base of all segments outside 64-bit mode, with a limit of FFFF.
//!
//! | offset | what |
//! |---|---|
//! | 5000..7000 | code: far from small numbers, which pointers often are |
//! | 8C00..9400 | data across a page boundary, and the stack |
//! | 9D00..A000 | data before a page that is not there |
//! | B000..B200 | data that is read-only |

use super::Random;
use crate::{Region, Rights};

/// Linear address of offset 0.
pub const BASE: u64 = 0x10_0000;
/// Limit of segments outside 64-bit mode.
pub const LIMIT: u32 = 0xFFFF;
/// Bases of FS and GS in 64-bit mode.
pub const EXTRA: [u64; 2] = [0x1230, 0xFFFF_FFFF_FFFF_F000];
/// Target of branches.
pub const TARGET: u64 = 0x1040;
/// Pages of code.
pub const CODE: u64 = 0x5000;
/// Data, and a page boundary in it.
pub const DATA: u64 = 0x8C00;
const BOUNDARY: u64 = 0x9000;
const DATA_SIZE: usize = 0x800;
/// Data up to a page that is absent.
const EDGE: u64 = 0x9D00;
const ABSENT: u64 = 0xA000;
/// A read-only page.
const CONSTANT: u64 = 0xB000;
const CONSTANT_SIZE: usize = 0x200;

/// An offset for the code of `len` bytes: seldom across two pages.
pub fn code(random: &mut Random, len: usize) -> u64 {
    match random.below(64) {
        0 if len > 1 => CODE + 0x1000 - 1 - random.below(len as u64 - 1),
        _ => CODE + 0x80 + 32 * random.below(100),
    }
}

/// An offset for the top of the stack: in the data, now and then at the page boundary.
pub fn stack(random: &mut Random) -> u64 {
    match random.below(8) {
        0 => BOUNDARY + random.below(16),
        _ => DATA + 0x200 + 8 * random.below(0x80),
    }
}

/// An offset for an operand of `size` bytes: mostly aligned data, seldom where it is not, crosses a page, or
/// faults.
pub fn operand(random: &mut Random, size: u64) -> u64 {
    let size = size.max(1);
    let any = 64 * random.below((DATA_SIZE as u64 - 0x240) / 64) + 0x40;
    match random.below(32) {
        0 => ABSENT - 1 - random.below(size + 8),
        1 | 2 => BOUNDARY - 1 - random.below(size),
        3..7 => DATA + 0x40 + random.below(0x300),
        7 => CONSTANT + 16 * random.below(8),
        8 => CONSTANT - random.below(size + 1),
        9 => ABSENT + random.below(0x800),
        // Of large images a part may be accessed before the rest is checked.
        10 if size <= 32 && size.is_power_of_two() => u64::from(LIMIT) + 1 - random.below(size + 1),
        11..16 => DATA + any + size * random.below(3),
        _ => DATA + any,
    }
}

/// Whether an operand at `offset` reaches into the page that is absent after some of `sizes`.
pub fn ends_beyond(offset: u64, sizes: std::ops::Range<u64>) -> bool {
    sizes.contains(&ABSENT.wrapping_sub(offset))
}

/// An offset where `size` bytes, and some before and behind, can be read and written.
pub fn safe(random: &mut Random, size: u64) -> u64 {
    DATA + 0x180 + random.below(0x400u64.saturating_sub(size).max(1))
}

/// The regions of a setup: code at its linear address, which no instruction can write to, and data.
pub fn regions(at: u64, code: &[u8], data: &mut dyn FnMut(usize) -> Vec<u8>) -> Vec<Region> {
    let fixed = Rights { write: false, ..Rights::ALL };
    let mut region = |offset, len, rights| Region { address: BASE + offset, bytes: data(len), rights };
    let data = region(DATA, DATA_SIZE, Rights::ALL);
    let edge = region(EDGE, (ABSENT - EDGE) as usize, Rights::ALL);
    let constant = region(CONSTANT, CONSTANT_SIZE, fixed);
    vec![Region { address: at, bytes: code.to_vec(), rights: fixed }, data, edge, constant]
}
