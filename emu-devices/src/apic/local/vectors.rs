//! The 256-bit registers IRR, ISR and TMR.

use serde::{Deserialize, Serialize};

/// One bit per vector, in eight 32-bit registers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct VectorSet([u32; 8]);

impl VectorSet {
    pub(super) fn insert(&mut self, vector: u8) {
        self.0[usize::from(vector / 32)] |= 1 << (vector % 32);
    }

    pub(super) fn remove(&mut self, vector: u8) {
        self.0[usize::from(vector / 32)] &= !(1 << (vector % 32));
    }

    pub(super) fn contains(&self, vector: u8) -> bool {
        self.0[usize::from(vector / 32)] & 1 << (vector % 32) != 0
    }

    /// The register that holds vectors `32 * index ..`.
    pub(super) fn word(&self, index: u8) -> u32 {
        self.0[usize::from(index & 7)]
    }

    /// The vector of the highest priority.
    pub(super) fn highest(&self) -> Option<u8> {
        let word = self.0.iter().rposition(|&word| word != 0)?;
        Some((word * 32 + 31) as u8 - self.0[word].leading_zeros() as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_vector_is_found_in_every_word() {
        let mut set = VectorSet::default();
        assert_eq!(set.highest(), None);
        for vector in 0..=255 {
            set.insert(vector);
            assert_eq!(set.highest(), Some(vector));
        }
        set.remove(255);
        assert_eq!((set.highest(), set.contains(255), set.word(7)), (Some(254), false, 0x7FFF_FFFF));
    }
}
