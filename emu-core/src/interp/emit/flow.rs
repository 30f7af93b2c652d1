//! Branches and faults: what an instruction decides about where to go.

use super::{Interp, Path};
use crate::{
    arch::{Exception, Seg, Width},
    cpu::{Cpu, slot},
    decode::Insn,
    semantics::{Flow, Helper},
};

impl Cpu {
    /// Where the direct branch `i` leads if it is taken: an offset in CS.
    #[inline(always)]
    pub(in crate::interp) fn direct_target(&self, i: &Insn) -> u64 {
        let target = self.regs[usize::from(slot::RIP_BASE)].wrapping_add(i.imm);
        match i.width[0] {
            Width::W16 => target & 0xFFFF,
            _ => target & self.linear_mask,
        }
    }

    /// Whether code can be at `target`: within the limit of CS, or canonical.
    pub(in crate::interp) fn can_jump_to(&self, target: u64) -> bool {
        if self.mode.is_64bit() {
            self.is_canonical(target)
        } else {
            target <= u64::from(self.seg(Seg::Cs).limit)
        }
    }
}

impl<P: Path> Flow for Interp<P> {
    #[inline(always)]
    fn raise(&mut self, exception: Exception) -> P::Fault {
        P::fault(exception)
    }
    #[inline(always)]
    fn fault_if(&mut self, c: bool, exception: Exception) -> Result<(), P::Fault> {
        if c { Err(P::fault(exception)) } else { Ok(()) }
    }
    #[inline(always)]
    fn jump(&mut self, i: &Insn) -> Result<(), P::Fault> {
        P::check_target(self.cpu, self.cpu.direct_target(i))?;
        self.taken = true;
        Ok(())
    }
    #[inline(always)]
    fn jump_if(&mut self, c: bool, i: &Insn) -> Result<(), P::Fault> {
        if P::CHECKS_CONDITIONAL_JUMPS && c {
            P::check_target(self.cpu, self.cpu.direct_target(i))?;
        }
        self.taken = c;
        Ok(())
    }
    #[inline(always)]
    fn jump_to(&mut self, _: &Insn, target: u64) -> Result<(), P::Fault> {
        P::check_target(self.cpu, target)?;
        self.target = target;
        Ok(())
    }
    #[inline(always)]
    fn helper(&mut self, i: &Insn, f: Helper) -> Result<(), P::Fault> {
        P::helper(self.cpu, i, f)
    }
}
