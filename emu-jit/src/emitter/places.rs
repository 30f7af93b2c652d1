//! Where code is: distances from the page of the region's first block.

use super::{Cond, Translator};
use cranelift_codegen::ir::{Value, condcodes::IntCC};
use emu_core::{arch::Width, semantics::Arithmetic};

impl Translator {
    /// RIP of the first byte of the page at `distance` from the first block's.
    pub(crate) fn base_of(&mut self, distance: u64) -> Value {
        if distance == 0 {
            return self.first_base;
        }
        let distance = self.constant(distance);
        let w = if self.mode.is_64bit() { Width::W64 } else { Width::W32 };
        self.add(w, self.first_base, distance)
    }

    /// Distance of offset `offset` in the page at `distance` from the first block's page.
    pub fn place_of(&self, distance: u64, offset: u64) -> u64 {
        let place = distance.wrapping_add(offset);
        if self.mode.is_64bit() { place } else { place & Width::W32.mask() }
    }

    /// Distance of the RIP `target` from the first block's page.
    pub fn from_first(&mut self, target: Value) -> Value {
        let w = if self.mode.is_64bit() { Width::W64 } else { Width::W32 };
        self.sub(w, target, self.first_base)
    }

    /// Whether one distance from the first block's page is less than another.
    pub fn is_before(&mut self, from_first: Value, place: u64) -> Cond {
        let place = self.constant(place);
        Cond::Compare(IntCC::UnsignedLessThan, from_first, place)
    }

    /// Whether `target` is the RIP of offset `offset` in the page at `distance`.
    pub fn is_code(&mut self, target: Value, distance: u64, offset: u64) -> Cond {
        let code = self.base_of(distance.wrapping_add(offset));
        Cond::Compare(IntCC::Equal, target, code)
    }
}
