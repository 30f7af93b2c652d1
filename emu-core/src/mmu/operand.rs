//! Accesses by segment and offset, and of an instruction's memory operand.

use super::Privilege;
use crate::{
    arch::{Exception, Seg, Width},
    cpu::{Cpu, slot},
    decode::{Insn, flag},
};

impl Cpu {
    /// Loads `w` from `seg:offset`.
    pub fn read_seg(&mut self, seg: Seg, offset: u64, w: Width) -> Result<u64, Exception> {
        match self.linear(seg, offset, w.bytes(), false) {
            Ok(linear) => self.read_linear(linear, w, Privilege::Current),
            Err(fault) => self.read_around(seg, offset, w, fault),
        }
    }

    /// Stores to `seg:offset`.
    pub fn write_seg(&mut self, seg: Seg, offset: u64, w: Width, value: u64) -> Result<(), Exception> {
        match self.linear(seg, offset, w.bytes(), true) {
            Ok(linear) => self.write_linear(linear, w, value, Privilege::Current),
            Err(fault) => self.write_around(seg, offset, w, value, fault),
        }
    }

    /// Loads `buffer.len()` bytes from `seg:offset`.
    pub fn read_seg_bytes(&mut self, seg: Seg, offset: u64, buffer: &mut [u8]) -> Result<(), Exception> {
        let linear = self.linear(seg, offset, buffer.len() as u64, false)?;
        self.read_bytes(linear, buffer, Privilege::Current)
    }

    /// Stores `bytes` to `seg:offset`.
    pub fn write_seg_bytes(&mut self, seg: Seg, offset: u64, bytes: &[u8]) -> Result<(), Exception> {
        let linear = self.linear(seg, offset, bytes.len() as u64, true)?;
        self.write_bytes(linear, bytes, Privilege::Current)
    }

    /// Offset of the memory operand of `i` within its segment, truncated to its address size.
    #[inline]
    pub fn effective_address(&self, i: &Insn) -> u64 {
        if i.has(flag::MOFFS) {
            return i.imm & i.asize.mask();
        }
        let base = self.regs[usize::from(i.base) % slot::COUNT];
        let index = self.regs[usize::from(i.index) % slot::COUNT];
        base.wrapping_add(index << (i.scale & 3)).wrapping_add(i.disp) & i.asize.mask()
    }

    /// Loads `w` from the memory operand of `i`, `delta` bytes further.
    pub fn read_operand(&mut self, i: &Insn, w: Width, delta: u64) -> Result<u64, Exception> {
        let offset = self.effective_address(i).wrapping_add(delta) & i.asize.mask();
        self.read_seg(i.segment(), offset, w)
    }

    /// Stores to the memory operand of `i`, `delta` bytes further.
    pub fn write_operand(&mut self, i: &Insn, w: Width, delta: u64, value: u64) -> Result<(), Exception> {
        let offset = self.effective_address(i).wrapping_add(delta) & i.asize.mask();
        self.write_seg(i.segment(), offset, w, value)
    }

    /// Loads the memory operand of `i` as bytes.
    pub fn read_operand_bytes(&mut self, i: &Insn, buffer: &mut [u8]) -> Result<(), Exception> {
        let offset = self.effective_address(i);
        self.read_seg_bytes(i.segment(), offset, buffer)
    }

    /// Stores the memory operand of `i` as bytes.
    pub fn write_operand_bytes(&mut self, i: &Insn, bytes: &[u8]) -> Result<(), Exception> {
        let offset = self.effective_address(i);
        self.write_seg_bytes(i.segment(), offset, bytes)
    }
}
