//! Accesses of the 8086 that run past the end of a segment: there is no limit, they go on at its start.
//! 80386 Programmer's Reference, 14.7, item 8. On all other processors they fault, and never get here.

use super::Privilege;
use crate::{
    arch::{Exception, Seg, Width},
    cpu::Cpu,
    cpu_model::Generation,
};

impl Cpu {
    /// Loads `w` from `seg:offset`, byte by byte, if this is an 8086; else fails with `fault`, which is what a
    /// limit made of the access.
    #[cold]
    pub fn read_around(
        &mut self,
        seg: Seg,
        offset: u64,
        w: Width,
        fault: Exception,
    ) -> Result<u64, Exception> {
        if self.model.generation() != Generation::I8086 {
            return Err(fault);
        }
        (0..w.bytes()).try_fold(0, |value, at| {
            let linear = self.wrapped(seg, offset + at);
            Ok(value | self.read_linear(linear, Width::W8, Privilege::Current)? << (8 * at))
        })
    }

    /// The same for a store of the low `w` bits of `value`.
    #[cold]
    pub fn write_around(
        &mut self,
        seg: Seg,
        offset: u64,
        w: Width,
        value: u64,
        fault: Exception,
    ) -> Result<(), Exception> {
        if self.model.generation() != Generation::I8086 {
            return Err(fault);
        }
        (0..w.bytes()).try_for_each(|at| {
            let linear = self.wrapped(seg, offset + at);
            self.write_linear(linear, Width::W8, value >> (8 * at), Privilege::Current)
        })
    }

    fn wrapped(&self, seg: Seg, offset: u64) -> u64 {
        self.seg(seg).base + (offset & 0xFFFF)
    }
}
