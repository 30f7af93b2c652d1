//! The bytes of an input, and the changes that they make to an image.

use std::ops::Range;

/// The next bytes of the input; zeroes behind its end.
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl Input<'_> {
    pub(super) fn next(&mut self, len: usize) -> u64 {
        let taken = self.0.split_off(..self.0.len().min(len)).unwrap_or_default();
        taken.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Changes `bytes` in up to 15 places of `areas`, where headers and tables are. Returns how many changes there were.
    pub(super) fn change(&mut self, bytes: &mut Vec<u8>, areas: &[Range<usize>]) -> u64 {
        let count = self.next(1) % 16;
        for _ in 0..count {
            let area = &areas[self.next(1) as usize % areas.len()];
            let at = area.start + self.next(2) as usize % area.len();
            let how = self.next(1);
            let len = [1, 2, 4, 8][how as usize & 3];
            let mut value = match how >> 2 & 7 {
                0 => 0,
                1 => u64::MAX,
                2 => 1 << (how >> 2),
                _ => self.next(len),
            }
            .to_le_bytes();
            if how & 0x80 != 0 {
                value[..len].reverse();
            }
            for (byte, new) in bytes.iter_mut().skip(at).zip(&value[..len]) {
                *byte = *new;
            }
        }
        if self.next(1) == 0xFF {
            let len = bytes.len() as u64;
            bytes.truncate((self.next(3) % len) as usize);
            return count + 1;
        }
        count
    }
}
