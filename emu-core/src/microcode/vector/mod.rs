//! Vector instructions that reach memory element by element, each by its own bit of a mask: gathers and masked
//! moves of AVX and AVX2. An element whose mask bit is clear is not accessed and cannot fault. And VCVTPS2PH, whose
//! store is looked at before it converts.

mod gather;
mod half_store;
mod masked_move;
#[cfg(test)]
mod tests;

use crate::{
    arch::Width,
    cpu::Cpu,
    decode::{Insn, flag},
    semantics::{Attr, Emitter, Row},
};

/// What is checked before any of them.
const VEX: Attr = Attr::AVX;

/// Rows of this family.
pub fn rows<E: Emitter>() -> Vec<Row<E>> {
    let mut rows = gather::rows();
    rows.extend(masked_move::rows());
    rows.extend(half_store::rows());
    rows
}

/// Bytes of a vector.
fn vector_len(i: &Insn) -> u64 {
    if i.has(flag::L256) { 32 } else { 16 }
}

/// A vector register as elements of width `w`.
struct Elements<'a> {
    lanes: &'a mut [u128; 2],
    w: Width,
}

impl Elements<'_> {
    fn of(cpu: &mut Cpu, register: u8, w: Width) -> Elements<'_> {
        Elements { lanes: &mut cpu.simd.vector[usize::from(register & 15)], w }
    }

    /// Its lane, and its place there.
    fn place(&self, k: u64) -> (usize, u32) {
        let bit = k * u64::from(self.w.bits());
        (((bit / 128) & 1) as usize, (bit % 128) as u32)
    }

    fn get(&self, k: u64) -> u64 {
        let (lane, bit) = self.place(k);
        (self.lanes[lane] >> bit) as u64 & self.w.mask()
    }

    fn set(&mut self, k: u64, value: u64) {
        let (lane, bit) = self.place(k);
        let mask = u128::from(self.w.mask()) << bit;
        self.lanes[lane] = self.lanes[lane] & !mask | u128::from(value) << bit & mask;
    }

    /// Whether the mask in this register selects element `k`: its sign bit.
    fn selects(&self, k: u64) -> bool {
        self.get(k) >> (self.w.bits() - 1) != 0
    }

    /// Clears all bytes from `len` on.
    fn clear_from(&mut self, len: u64) {
        for k in len / self.w.bytes()..32 / self.w.bytes() {
            self.set(k, 0);
        }
    }
}
