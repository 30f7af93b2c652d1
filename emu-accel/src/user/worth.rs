//! Whether user code is worth being handed over: by how long its last stretches were.
//!
//! A stretch costs some 80 us to begin and to end, which is what the translator executes a few hundred thousand
//! instructions in. One that lasts [`GOOD`] or longer has gained something. After one that was shorter, the next
//! interrupts of the same address space are let pass, twice as many each time.

use std::collections::HashMap;

/// Nanoseconds from which a stretch was worth it.
pub const GOOD: u64 = 300_000;
/// Interrupts that are let pass at most.
const LONGEST: u32 = 255;
/// Address spaces that are remembered.
const KNOWN: usize = 256;

/// What is known of an address space.
#[derive(Debug, Clone, Copy, Default)]
struct Record {
    /// Interrupts to be let pass.
    pass: u32,
    /// As many as were let pass last.
    passed: u32,
}

/// See the module. Address spaces go by CR3.
#[derive(Debug, Default)]
pub struct Worth {
    records: HashMap<u64, Record>,
    /// Every stretch is taken to have been worth it: for tests.
    is_eager: bool,
}

impl Worth {
    /// One for which every stretch is worth it.
    #[cfg(test)]
    pub fn eager() -> Self {
        Worth { is_eager: true, ..Worth::default() }
    }

    /// Whether the user code of `cr3` that was interrupted is to be handed over.
    pub fn is_it(&mut self, cr3: u64) -> bool {
        if self.records.len() > KNOWN {
            self.records.clear();
        }
        let record = self.records.entry(cr3).or_default();
        let ready = record.pass == 0;
        record.pass = record.pass.saturating_sub(1);
        ready
    }

    /// A stretch of `nanos` is over. Returns whether it was worth it.
    pub fn was(&mut self, cr3: u64, nanos: u64) -> bool {
        let record = self.records.entry(cr3).or_default();
        let good = nanos >= GOOD || self.is_eager;
        *record = match good {
            true => Record { pass: 0, passed: record.passed / 2 },
            false => {
                let pass = (record.passed * 2 + 1).min(LONGEST);
                Record { pass, passed: pass }
            }
        };
        good
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_stretches_are_tried_more_and_more_seldom() {
        let mut worth = Worth::default();
        let mut tries = 0;
        for _ in 0..1000 {
            if worth.is_it(1) {
                tries += 1;
                assert!(!worth.was(1, 10_000));
            }
        }
        assert!((8..=12).contains(&tries), "{tries}");
        assert!(worth.is_it(2), "another address space is another matter");
    }

    #[test]
    fn code_that_changes_its_ways_is_found_out() {
        let mut worth = Worth::default();
        for _ in 0..100 {
            if worth.is_it(1) {
                worth.was(1, 0);
            }
        }
        let waited = (0..300).take_while(|_| !worth.is_it(1)).count();
        assert!(waited < 300);
        assert!(worth.was(1, GOOD));
        assert!(worth.is_it(1), "the next is handed over at once");
    }
}
