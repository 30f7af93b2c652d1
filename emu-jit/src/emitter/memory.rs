//! Memory: a look into the software TLB, and the access itself. What the TLB does not allow directly is left to the
//! interpreter, at the instruction's start.

use super::{Faults, Translator, arithmetic::int};
use cranelift_codegen::ir::{
    BlockArg, InstBuilder, Value,
    condcodes::IntCC,
    types::{I8X16, I64},
};
use emu_core::{
    arch::{Seg, Width},
    cpu::slot,
    decode::{AddressForm, Insn, flag},
    region::layout::tlb,
    semantics::{Arithmetic, Memory},
};

impl Translator {
    /// Linear address of `seg:offset`; the segment is flat.
    pub(super) fn linear(&mut self, seg: usize, offset: Value) -> Value {
        if self.mode().is_zero_based(seg) {
            return if self.mode().is_64bit() { offset } else { self.truncate(Width::W32, offset) };
        }
        let base = self.slot(slot::SEGMENT_BASE + seg as u8);
        let linear = self.builder.ins().iadd(base, offset);
        if self.mode().is_64bit() { linear } else { self.truncate(Width::W32, linear) }
    }

    /// Linear address of the memory operand, `delta` bytes further.
    fn operand(&mut self, i: &Insn, delta: u64) -> Value {
        let mut offset = self.effective_address(i);
        if delta != 0 {
            let delta = self.constant(delta);
            offset = self.add(i.asize, offset, delta);
        }
        self.linear(i.seg.into(), offset)
    }

    /// Host address of `size` bytes at `linear`; leaves if they cannot be accessed directly.
    pub(super) fn host(&mut self, linear: Value, size: u64, write: bool) -> Value {
        // (linear >> 12 ^ linear >> FOLD) & (ENTRIES - 1), times the size of an entry.
        let distance = i64::from(tlb::FOLD - 12);
        let entry_bits = tlb::ENTRY.trailing_zeros();
        let folded = self.builder.ins().ushr_imm_u(linear, distance);
        let folded = self.builder.ins().bxor(folded, linear);
        let scaled = self.builder.ins().ushr_imm_u(folded, i64::from(12 - entry_bits));
        let index = self.builder.ins().band_imm_u(scaled, ((tlb::ENTRIES - 1) << entry_bits) as i64);
        let entry = self.builder.ins().iadd(self.tlb, index);
        let tag_at = if write { tlb::WRITE } else { tlb::READ };
        let tag = self.builder.ins().load(I64, self.spaces.tlb, entry, tag_at as i32);
        let distance = self.builder.ins().isub(linear, tag);
        let most = self.constant(4096 - size);
        self.leave_if(IntCC::UnsignedGreaterThan, distance, most);
        let addend = self.builder.ins().load(I64, self.spaces.tlb, entry, tlb::ADDEND as i32);
        self.builder.ins().iadd(linear, addend)
    }

    fn load_linear(&mut self, linear: Value, w: Width) -> Value {
        let host = self.host(linear, w.bytes(), false);
        self.load_host(host, w)
    }

    fn load_host(&mut self, host: Value, w: Width) -> Value {
        let guest = self.spaces.guest;
        match w {
            Width::W8 => self.builder.ins().uload8(I64, guest, host, 0),
            Width::W16 => self.builder.ins().uload16(I64, guest, host, 0),
            Width::W32 => self.builder.ins().uload32(guest, host, 0),
            Width::W64 => self.builder.ins().load(I64, guest, host, 0),
        }
    }

    fn store_linear(&mut self, linear: Value, w: Width, value: Value) {
        let host = self.host(linear, w.bytes(), true);
        let value = self.stored(w, value);
        self.builder.ins().store(self.spaces.guest, value, host, 0);
    }

    fn update_linear(
        &mut self,
        i: &Insn,
        linear: Value,
        w: Width,
        change: impl Fn(&mut Self, Value) -> Value,
    ) -> (Value, Value) {
        let host = self.host(linear, w.bytes(), true);
        if !i.has(flag::LOCK) {
            let old = self.load_host(host, w);
            let new = change(self, old);
            let stored = self.narrow(w, new);
            self.builder.ins().store(self.spaces.guest, stored, host, 0);
            return (old, new);
        }
        let old = self.builder.ins().load(int(w), self.spaces.guest, host, 0);
        let again = self.builder.create_block();
        let old = {
            let first = [BlockArg::Value(old)];
            self.builder.ins().jump(again, &first);
            self.builder.append_block_param(again, int(w))
        };
        self.builder.switch_to_block(again);
        let expected = self.widen(w, old);
        let new = change(self, expected);
        let stored = self.narrow(w, new);
        let found = self.builder.ins().atomic_cas(self.spaces.guest, host, old, stored);
        let done = self.builder.create_block();
        let same = self.builder.ins().icmp(IntCC::Equal, found, old);
        self.builder.ins().brif(same, done, [], again, &[BlockArg::Value(found)]);
        self.builder.seal_block(again);
        self.builder.switch_to_block(done);
        self.builder.seal_block(done);
        (expected, new)
    }

    /// Leaves if an operand of `N` lanes must be aligned and is not.
    fn check_alignment<const N: usize>(&mut self, i: &Insn, linear: Value) {
        if i.has(flag::ALIGNED) {
            let low = self.builder.ins().band_imm_u(linear, 16 * N as i64 - 1);
            let zero = self.constant(0);
            self.leave_if(IntCC::NotEqual, low, zero);
        }
    }
}

impl Memory for Translator {
    type Fault = Faults;

    fn effective_address(&mut self, i: &Insn) -> Value {
        if i.has(flag::MOFFS) {
            return self.constant(i.imm & i.asize.mask());
        }
        let mut sum = self.slot(i.base);
        if i.index != slot::ZERO {
            let index = self.slot(i.index);
            let scaled = match i.scale & 3 {
                0 => index,
                scale => self.builder.ins().ishl_imm_u(index, i64::from(scale)),
            };
            sum = self.builder.ins().iadd(sum, scaled);
        }
        if i.disp != 0 {
            let disp = self.constant(i.disp);
            sum = self.builder.ins().iadd(sum, disp);
        }
        self.truncate(i.asize, sum)
    }
    fn load(&mut self, i: &Insn, _: AddressForm, w: Width, delta: u64) -> Result<Value, Faults> {
        let linear = self.operand(i, delta);
        Ok(self.load_linear(linear, w))
    }
    fn store(&mut self, i: &Insn, _: AddressForm, w: Width, delta: u64, value: Value) -> Result<(), Faults> {
        let linear = self.operand(i, delta);
        self.store_linear(linear, w, value);
        Ok(())
    }
    fn update(
        &mut self,
        i: &Insn,
        _: AddressForm,
        w: Width,
        change: impl Fn(&mut Self, Value) -> Value,
    ) -> Result<(Value, Value), Faults> {
        let linear = self.operand(i, 0);
        Ok(self.update_linear(i, linear, w, change))
    }
    fn update_at(
        &mut self,
        i: &Insn,
        w: Width,
        displacement: Value,
        change: impl Fn(&mut Self, Value) -> Value,
    ) -> Result<(Value, Value), Faults> {
        let offset = self.effective_address(i);
        let offset = self.add(i.asize, offset, displacement);
        let linear = self.linear(i.seg.into(), offset);
        Ok(self.update_linear(i, linear, w, change))
    }
    fn load_at(&mut self, seg: Seg, offset: Value, w: Width) -> Result<Value, Faults> {
        let linear = self.linear(seg as usize, offset);
        Ok(self.load_linear(linear, w))
    }
    fn store_at(&mut self, seg: Seg, offset: Value, w: Width, value: Value) -> Result<(), Faults> {
        let linear = self.linear(seg as usize, offset);
        self.store_linear(linear, w, value);
        Ok(())
    }
    fn load_lanes<const N: usize>(&mut self, i: &Insn, _: AddressForm) -> Result<[Value; N], Faults> {
        let linear = self.operand(i, 0);
        self.check_alignment::<N>(i, linear);
        let host = self.host(linear, 16 * N as u64, false);
        let guest = self.spaces.guest;
        Ok(std::array::from_fn(|n| self.builder.ins().load(I8X16, guest, host, 16 * n as i32)))
    }
    fn store_lanes<const N: usize>(
        &mut self,
        i: &Insn,
        _: AddressForm,
        value: [Value; N],
    ) -> Result<(), Faults> {
        let linear = self.operand(i, 0);
        self.check_alignment::<N>(i, linear);
        let host = self.host(linear, 16 * N as u64, true);
        for (n, value) in value.into_iter().enumerate() {
            self.builder.ins().store(self.spaces.guest, value, host, 16 * n as i32);
        }
        Ok(())
    }
}
