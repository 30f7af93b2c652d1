//! A stack that is pushed to or popped from before anything is committed: the current one, that of an inner
//! level, or that of the caller. SDM vol. 1, 6.2; vol. 3, 5.8.5.

use crate::{
    arch::{Exception, Seg, Segment, Width, attr},
    cpu::{Cpu, slot},
    mmu::Privilege,
};

/// See the module. [`commit`](Self::commit) makes its pointer RSP.
#[derive(Debug, Clone, Copy)]
pub struct Stack {
    segment: Segment,
    /// 64-bit mode: no base, no limit, canonical addresses.
    flat: bool,
    /// The part of RSP that moves.
    mask: u64,
    rsp: u64,
    privilege: Privilege,
    fault: Exception,
}

impl Stack {
    /// SS:RSP as they are. Violations raise #SS(0).
    pub fn current(cpu: &Cpu) -> Self {
        let rsp = cpu.regs[slot::RSP];
        if cpu.mode.is_64bit() {
            return Stack { fault: Exception::SS0, ..Stack::long(rsp, Privilege::Current) };
        }
        let segment = *cpu.seg(Seg::Ss);
        let mask = pointer_mask(&segment);
        Stack { segment, flat: false, mask, rsp, privilege: Privilege::Current, fault: Exception::SS0 }
    }

    /// The stack `segment`:`rsp` of an inner level. Violations raise #SS with its selector.
    pub fn inner(segment: Segment, rsp: u64) -> Self {
        let fault = Exception::ss(segment.selector);
        Stack { segment, flat: false, mask: pointer_mask(&segment), rsp, privilege: Privilege::System, fault }
    }

    /// A stack of 64-bit mode. Violations raise #SS(0).
    pub fn long(rsp: u64, privilege: Privilege) -> Self {
        let segment = Segment::default();
        Stack { segment, flat: true, mask: u64::MAX, rsp, privilege, fault: Exception::SS0 }
    }

    /// The value RSP would get.
    pub fn pointer(&self) -> u64 {
        self.rsp
    }

    /// Moves the pointer up by `bytes`, or down by the two's complement.
    pub fn skip(&mut self, bytes: u64) {
        self.rsp = match self.mask {
            0xFFFF => self.rsp & !0xFFFF | self.rsp.wrapping_add(bytes) & 0xFFFF,
            mask => self.rsp.wrapping_add(bytes) & mask,
        };
    }

    /// Pushes the low `w` bits of `value`.
    pub fn push(&mut self, cpu: &mut Cpu, w: Width, value: u64) -> Result<(), Exception> {
        self.push_in(cpu, w, w, value)
    }

    /// Moves the pointer down by `w` and writes the low `written` bits there.
    pub fn push_in(&mut self, cpu: &mut Cpu, w: Width, written: Width, value: u64) -> Result<(), Exception> {
        let mut next = *self;
        next.skip(w.bytes().wrapping_neg());
        let offset = next.rsp & next.mask;
        match next.linear(cpu, offset, written.bytes(), true) {
            Ok(linear) => cpu.write_linear(linear, written, value, self.privilege)?,
            Err(fault) => cpu.write_around(Seg::Ss, offset, written, value, fault)?,
        }
        *self = next;
        Ok(())
    }

    /// Pops `w`.
    pub fn pop(&mut self, cpu: &mut Cpu, w: Width) -> Result<u64, Exception> {
        let value = self.peek(cpu, w, 0)?;
        self.skip(w.bytes());
        Ok(value)
    }

    /// Reads `w`, `offset` bytes above the top.
    pub fn peek(&self, cpu: &mut Cpu, w: Width, offset: u64) -> Result<u64, Exception> {
        let offset = self.rsp.wrapping_add(offset) & self.mask;
        match self.linear(cpu, offset, w.bytes(), false) {
            Ok(linear) => cpu.read_linear(linear, w, self.privilege),
            Err(fault) => cpu.read_around(Seg::Ss, offset, w, fault),
        }
    }

    /// RSP becomes the pointer.
    pub fn commit(&self, cpu: &mut Cpu) {
        cpu.regs[slot::RSP] = self.rsp;
    }

    fn linear(&self, cpu: &Cpu, offset: u64, len: u64, write: bool) -> Result<u64, Exception> {
        if self.flat {
            let canonical = cpu.is_canonical(offset) && cpu.is_canonical(offset.wrapping_add(len - 1));
            return if canonical { Ok(offset) } else { Err(self.fault) };
        }
        let Segment { attr, limit, base, unusable, .. } = self.segment;
        let (limit, last) = (u64::from(limit), offset + (len - 1));
        let inside = if attr & (attr::CODE | attr::EXPAND_DOWN) == attr::EXPAND_DOWN {
            offset > limit && last <= pointer_mask(&self.segment)
        } else {
            last <= limit
        };
        let read_only = write && cpu.mode.is_protected() && attr & attr::WRITABLE == 0;
        if unusable || !inside || read_only {
            return Err(self.fault);
        }
        Ok(base.wrapping_add(offset) & 0xFFFF_FFFF)
    }
}

/// The bits of RSP that a stack in `segment` uses, outside 64-bit mode.
pub const fn pointer_mask(segment: &Segment) -> u64 {
    if segment.attr & attr::D != 0 { 0xFFFF_FFFF } else { 0xFFFF }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::microcode::testing::*;

    #[test]
    fn a_16_bit_stack_wraps_and_leaves_the_upper_half_of_esp() {
        let mut cpu = real();
        cpu.regs[slot::RSP] = 0xABCD_0000;
        let mut stack = Stack::current(&cpu);
        stack.push(&mut cpu, Width::W16, 0x1234).unwrap();
        stack.commit(&mut cpu);
        assert_eq!(cpu.regs[slot::RSP], 0xABCD_FFFE);
        let base = cpu.seg(Seg::Ss).base;
        assert_eq!(get_u64(&cpu, base + 0xFFFE) & 0xFFFF, 0x1234);
    }

    #[test]
    fn a_push_across_the_limit_faults_and_moves_nothing() {
        let mut cpu = real();
        cpu.regs[slot::RSP] = 1;
        let mut stack = Stack::current(&cpu);
        assert_eq!(stack.push(&mut cpu, Width::W16, 0), Err(Exception::SS0));
        assert_eq!(stack.pointer(), 1);
    }

    #[test]
    fn an_expand_down_stack_lies_above_its_limit() {
        let mut cpu = protected(0);
        let segment = Segment { selector: 0x30, attr: 0x4097, limit: 0xFFF, base: 0, unusable: false };
        let mut stack = Stack::inner(segment, 0x1004);
        assert!(stack.push(&mut cpu, Width::W32, 1).is_ok());
        assert_eq!(stack.push(&mut cpu, Width::W32, 1), Err(Exception::ss(0x30)));
    }
}
