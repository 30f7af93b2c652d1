//! Branches and faults.

use super::{Branch, Cond, Faults, Translator};
use cranelift_codegen::ir::{InstBuilder, Value, condcodes::IntCC};
use emu_core::{
    arch::Exception,
    decode::Insn,
    semantics::{Arithmetic, Flow, Helper},
};

impl Translator {
    /// Leaves at the instruction if `target` is perhaps no address of code. Outside 64-bit mode every offset of the
    /// size of code is one, as regions are not made where the limit of CS is less than that.
    fn check_target(&mut self, target: Value) {
        match self.mode().bitness() {
            64 => {}
            32 => return,
            _ => {
                let limit = self.constant(0xFFFF);
                return self.leave_if(IntCC::UnsignedGreaterThan, target, limit);
            }
        }
        // Canonical for 48 bits; the interpreter judges the others.
        let shifted = self.builder.ins().ishl_imm_u(target, 16);
        let extended = self.builder.ins().sshr_imm_u(shifted, 16);
        self.leave_if(IntCC::NotEqual, extended, target);
    }

    /// Whether the target of a direct branch is an address of code: in the page of the branch, or in one that was looked
    /// up when the region was entered.
    fn is_near(&self, i: &Insn) -> bool {
        i.imm < 4096 || self.known_target
    }
}

impl Flow for Translator {
    fn raise(&mut self, _: Exception) -> Faults {
        Faults
    }
    fn fault_if(&mut self, c: Cond, _: Exception) -> Result<(), Faults> {
        match c {
            Cond::Known(true) => Err(Faults),
            Cond::Known(false) => Ok(()),
            _ => {
                self.leave_when(c);
                Ok(())
            }
        }
    }
    fn jump(&mut self, i: &Insn) -> Result<(), Faults> {
        if !self.is_near(i) {
            let base = self.slot(emu_core::cpu::slot::RIP_BASE);
            let distance = self.constant(i.imm);
            let target = self.builder.ins().iadd(base, distance);
            self.check_target(target);
        }
        self.branch = Some(Branch::If(Cond::Known(true)));
        Ok(())
    }
    fn jump_if(&mut self, c: Cond, _: &Insn) -> Result<(), Faults> {
        // The target is checked where a taken branch leaves the region: see `interp::handlers::leave`.
        self.branch = Some(Branch::If(c));
        Ok(())
    }
    fn jump_to(&mut self, _: &Insn, target: Value) -> Result<(), Faults> {
        self.check_target(target);
        self.branch = Some(Branch::To(target));
        Ok(())
    }
    fn helper(&mut self, i: &Insn, _: Helper) -> Result<(), Faults> {
        // `Plan` has such instructions executed exactly as a whole.
        unreachable!("a routine within the translation of {i:?}")
    }
}
