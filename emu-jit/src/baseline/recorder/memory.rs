//! Memory operands, and where branches lead.

use super::{Branch, Cond, Faults, Recorder, log2};
use crate::baseline::{
    ir::{Binary, NONE, Op, V},
    x64::Shift,
};
use emu_core::{
    arch::{Exception, Seg, Width},
    cpu::slot,
    decode::{AddressForm, Insn, flag},
    region::fill::Wanted,
    semantics::{Arithmetic, Flow, Helper, Memory, Registers},
};

impl Recorder {
    pub(super) fn address(&mut self, base: V, index: V, scale: u8, disp: i32) -> V {
        self.push(Op::Address(base, index, scale, disp), 64)
    }

    /// Linear address of `seg:offset`.
    pub(super) fn linear(&mut self, seg: usize, offset: V) -> V {
        if !self.mode.is_flat(seg) {
            return self.refuse();
        }
        let sum = if self.mode.is_zero_based(seg) {
            offset
        } else {
            let base = self.slot(slot::SEGMENT_BASE + seg as u8);
            self.binary(Binary::Add, Width::W64, base, offset)
        };
        if self.is_64bit() { sum } else { self.extend(2, sum) }
    }

    /// Host address of `size` bytes at the memory operand, `delta` bytes further.
    pub(in crate::baseline) fn operand(&mut self, i: &Insn, delta: u64, size: u64, write: bool) -> V {
        let linear = self.operand_linear(i, delta);
        self.push(Op::Host(linear, Wanted::one(size as u8, write)), 64)
    }

    /// Linear address of the memory operand, `delta` bytes further.
    pub(in crate::baseline) fn operand_linear(&mut self, i: &Insn, delta: u64) -> V {
        let mut offset = self.effective_address(i);
        if delta != 0 {
            let delta = self.constant(delta);
            offset = self.add(i.asize, offset, delta);
        }
        self.linear(i.seg.into(), offset)
    }

    pub(super) fn on_stack(&mut self, seg: Seg, offset: V, w: Width, write: bool) -> V {
        if self.narrow_stack {
            return self.refuse();
        }
        let linear = self.linear(seg as usize, offset);
        self.push(Op::Host(linear, Wanted::one(w.bytes() as u8, write)), 64)
    }

    pub(super) fn change(
        &mut self,
        i: &Insn,
        host: V,
        w: Width,
        change: impl Fn(&mut Self, V) -> V,
    ) -> Result<(V, V), Faults> {
        if i.has(flag::LOCK) {
            return Err(Faults);
        }
        let old = self.push(Op::Read(log2(w), host, 0), w.bits() as u8);
        let new = change(self, old);
        self.push(Op::Write(log2(w), host, 0, new), 0);
        Ok((old, new))
    }

    /// Leaves at the instruction if `target` is perhaps no address of code.
    pub(super) fn check_target(&mut self, target: V) -> Result<(), Faults> {
        match self.mode.bitness() {
            64 => {}
            32 => return Ok(()),
            _ => {
                let limit = self.constant(0xFFFF);
                let beyond = self.below(limit, target);
                return self.leave_if(beyond);
            }
        }
        // Canonical for 48 bits; the interpreter judges the others.
        let shifted = self.push(Op::ShiftBy(Shift::Left, 3, target, 16), 64);
        let extended = self.push(Op::ShiftBy(Shift::Signed, 3, shifted, 16), 64);
        let same = self.equal(extended, target);
        let other = self.negate(same);
        self.leave_if(other)
    }

    /// The RIP of offset `offset` in the page.
    pub fn code_at(&mut self, offset: u64) -> V {
        let (base, offset) = (self.rip_base(), self.constant(offset));
        let w = if self.is_64bit() { Width::W64 } else { Width::W32 };
        self.add(w, base, offset)
    }

    /// Checks alignment where the instruction demands it.
    pub(in crate::baseline) fn check_alignment(
        &mut self,
        i: &Insn,
        linear: V,
        bytes: u64,
    ) -> Result<(), Faults> {
        if !i.has(flag::ALIGNED) {
            return Ok(());
        }
        let mask = self.constant(bytes - 1);
        let low = self.and(linear, mask);
        let aligned = self.is_zero(low);
        let unaligned = self.negate(aligned);
        self.leave_if(unaligned)
    }
}

impl Memory for Recorder {
    type Fault = Faults;

    fn effective_address(&mut self, i: &Insn) -> V {
        if i.has(flag::MOFFS) {
            return self.constant(i.imm & i.asize.mask());
        }
        let disp = i32::try_from(i.disp as i64);
        let (near, far) = match disp {
            Ok(disp) => (disp, None),
            Err(_) => (0, Some(i.disp)),
        };
        let (base, index) = match (i.base, i.index) {
            (slot::ZERO, slot::ZERO) => return self.constant(i.disp & i.asize.mask()),
            (slot::ZERO, index) if i.scale & 3 == 0 => (index, slot::ZERO),
            pair => pair,
        };
        let scale = i.scale & 3;
        let base = self.slot(base);
        let mut sum = if index == slot::ZERO {
            if near == 0 { base } else { self.address(base, NONE, 0, near) }
        } else {
            let index = self.slot(index);
            self.address(base, index, scale, near)
        };
        if let Some(far) = far {
            let far = self.constant(far);
            sum = self.binary(Binary::Add, Width::W64, sum, far);
        }
        self.extend(log2(i.asize), sum)
    }
    fn load(&mut self, i: &Insn, _: AddressForm, w: Width, delta: u64) -> Result<V, Faults> {
        let host = self.operand(i, delta, w.bytes(), false);
        Ok(self.push(Op::Read(log2(w), host, 0), w.bits() as u8))
    }
    fn store(&mut self, i: &Insn, _: AddressForm, w: Width, delta: u64, value: V) -> Result<(), Faults> {
        let host = self.operand(i, delta, w.bytes(), true);
        self.push(Op::Write(log2(w), host, 0, value), 0);
        Ok(())
    }
    fn update(
        &mut self,
        i: &Insn,
        _: AddressForm,
        w: Width,
        change: impl Fn(&mut Self, V) -> V,
    ) -> Result<(V, V), Faults> {
        let host = self.operand(i, 0, w.bytes(), true);
        self.change(i, host, w, change)
    }
    fn update_at(
        &mut self,
        i: &Insn,
        w: Width,
        displacement: V,
        change: impl Fn(&mut Self, V) -> V,
    ) -> Result<(V, V), Faults> {
        let offset = self.effective_address(i);
        let offset = self.add(i.asize, offset, displacement);
        let linear = self.linear(i.seg.into(), offset);
        let host = self.push(Op::Host(linear, Wanted::one(w.bytes() as u8, true)), 64);
        self.change(i, host, w, change)
    }
    fn load_at(&mut self, seg: Seg, offset: V, w: Width) -> Result<V, Faults> {
        let host = self.on_stack(seg, offset, w, false);
        Ok(self.push(Op::Read(log2(w), host, 0), w.bits() as u8))
    }
    fn store_at(&mut self, seg: Seg, offset: V, w: Width, value: V) -> Result<(), Faults> {
        let host = self.on_stack(seg, offset, w, true);
        self.push(Op::Write(log2(w), host, 0, value), 0);
        Ok(())
    }
    fn load_lanes<const N: usize>(&mut self, i: &Insn, _: AddressForm) -> Result<[u8; N], Faults> {
        self.read_lanes(i)
    }
    fn store_lanes<const N: usize>(
        &mut self,
        i: &Insn,
        _: AddressForm,
        value: [u8; N],
    ) -> Result<(), Faults> {
        self.write_lanes(i, value)
    }
}

impl Flow for Recorder {
    fn raise(&mut self, _: Exception) -> Faults {
        Faults
    }
    fn fault_if(&mut self, c: Cond, _: Exception) -> Result<(), Faults> {
        self.leave_if(c)
    }
    fn jump(&mut self, i: &Insn) -> Result<(), Faults> {
        if i.imm >= 4096 {
            let (base, distance) = (self.rip_base(), self.constant(i.imm));
            let target = self.binary(Binary::Add, Width::W64, base, distance);
            self.check_target(target)?;
        }
        self.branch = Some(Branch::If(Cond::Known(true)));
        Ok(())
    }
    fn jump_if(&mut self, c: Cond, _: &Insn) -> Result<(), Faults> {
        // The target is checked where a taken branch leaves the region: see `interp::handlers::leave`.
        self.branch = Some(Branch::If(c));
        Ok(())
    }
    fn jump_to(&mut self, _: &Insn, target: V) -> Result<(), Faults> {
        self.check_target(target)?;
        self.branch = Some(Branch::To(target));
        Ok(())
    }
    fn helper(&mut self, _: &Insn, _: Helper) -> Result<(), Faults> {
        Err(Faults)
    }
}
