//! Flags that are made later: the operation that set them, in place of what it set.
//!
//! Translated code may keep the operands of the last operation in the words of the lazy flags, and in a third word,
//! [`Cpu::deferred`](crate::cpu::Cpu::deferred), which operation it was. Whoever leaves translated code settles the
//! flags first; nothing but translated code ever sees them deferred.

use super::{
    arith::{set_flags_difference, set_flags_step, set_flags_sum},
    shift::{set_flags_shift, shifted_by},
};
use crate::{
    arch::Width,
    semantics::{Emitter, FlagSource},
};

/// What the third word says when the flags are not deferred.
pub const SETTLED: u32 = 0;

/// An operation of which all flags follow from two words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deferred {
    operation: Operation,
    width: Width,
    count: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Sum,
    Difference,
    Up,
    Down,
    /// See `shift`.
    Shift(u8),
}

const FIRST_SHIFT: u32 = 5;

impl Deferred {
    /// The operation that `source` tells of, with the two words; `None`: flags do not follow from two words. The second
    /// word may mean nothing.
    pub fn of<V: Copy>(source: FlagSource<V>) -> Option<(Self, V, Option<V>)> {
        let deferred = |operation, width, count| Deferred { operation, width, count };
        Some(match source {
            FlagSource::Sum { w, a, b, .. } => (deferred(Operation::Sum, w, 0), a, Some(b)),
            FlagSource::Difference(w, a, b) => (deferred(Operation::Difference, w, 0), a, Some(b)),
            FlagSource::Step { down, w, r, carry } => {
                let operation = if down { Operation::Down } else { Operation::Up };
                (deferred(operation, w, 0), r, Some(carry))
            }
            FlagSource::Shift { kind, w, a, count, .. } => {
                (deferred(Operation::Shift(kind), w, count), a, None)
            }
            FlagSource::Result(..) | FlagSource::Order(_) => return None,
        })
    }

    /// As one word, which is not [`SETTLED`].
    pub fn pack(self) -> u32 {
        let operation = match self.operation {
            Operation::Sum => 1,
            Operation::Difference => 2,
            Operation::Up => 3,
            Operation::Down => 4,
            Operation::Shift(kind) => FIRST_SHIFT + u32::from(kind),
        };
        operation | (self.width as u32) << 4 | u32::from(self.count) << 8
    }

    /// From that word; `None` if it is [`SETTLED`].
    pub fn unpack(word: u32) -> Option<Self> {
        let operation = match word & 0xF {
            1 => Operation::Sum,
            2 => Operation::Difference,
            3 => Operation::Up,
            4 => Operation::Down,
            kind if kind >= FIRST_SHIFT => Operation::Shift((kind - FIRST_SHIFT) as u8),
            _ => return None,
        };
        let width = Width::from_bytes(1 << (word >> 4 & 3)).unwrap_or(Width::W64);
        Some(Deferred { operation, width, count: (word >> 8) as u8 })
    }

    /// What the two words tell: [`Self::of`] turned around.
    pub fn source<E: Emitter>(self, e: &mut E, first: E::Value, second: E::Value) -> FlagSource<E::Value> {
        let (w, count) = (self.width, self.count);
        match self.operation {
            Operation::Sum => {
                let r = e.add(w, first, second);
                FlagSource::Sum { w, a: first, b: second, r }
            }
            Operation::Difference => FlagSource::Difference(w, first, second),
            Operation::Up => FlagSource::Step { down: false, w, r: first, carry: second },
            Operation::Down => FlagSource::Step { down: true, w, r: first, carry: second },
            Operation::Shift(kind) => {
                let r = shifted_by(e, kind, w, first, count);
                FlagSource::Shift { kind, w, a: first, count, r }
            }
        }
    }

    /// Bits that the two words have at most.
    pub fn bits(self) -> [u32; 2] {
        let w = self.width.bits();
        match self.operation {
            Operation::Sum | Operation::Difference => [w, w],
            Operation::Up | Operation::Down | Operation::Shift(_) => [w, 64],
        }
    }

    /// Sets the flags from the two words.
    pub fn settle<E: Emitter>(self, e: &mut E, first: E::Value, second: E::Value) {
        let w = self.width;
        match self.operation {
            Operation::Sum => {
                let r = e.add(w, first, second);
                set_flags_sum(e, w, first, second, r);
            }
            Operation::Difference => {
                let r = e.sub(w, first, second);
                set_flags_difference(e, w, first, second, r);
            }
            Operation::Up => set_flags_step(e, false, w, first, second),
            Operation::Down => set_flags_step(e, true, w, first, second),
            Operation::Shift(kind) => set_flags_shift(e, kind, w, first, self.count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semantics::integer::shift::{SAR, SHL, SHR};

    #[test]
    fn every_operation_survives_packing() {
        let (a, b, r, carry) = (1u64, 2, 3, 4);
        for w in [Width::W8, Width::W16, Width::W32, Width::W64] {
            let mut sources = vec![FlagSource::Sum { w, a, b, r }, FlagSource::Difference(w, a, b)];
            sources.extend([false, true].map(|down| FlagSource::Step { down, w, r, carry }));
            sources.extend([SHL, SHR, SAR].map(|kind| FlagSource::Shift { kind, w, a, count: 63, r }));
            for source in sources {
                let (deferred, ..) = Deferred::of(source).unwrap();
                assert_ne!(deferred.pack(), SETTLED);
                assert_eq!(Deferred::unpack(deferred.pack()), Some(deferred));
            }
        }
        assert_eq!(Deferred::unpack(SETTLED), None);
    }
}
