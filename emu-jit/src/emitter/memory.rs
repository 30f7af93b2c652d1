//! Memory: a look into the software TLB, and the access itself. A cold call fills the TLB, preserving all registers. What
//! cannot be done directly even so is left to the interpreter, at the instruction's start.

use super::{
    Faults, Translator,
    arithmetic::int,
    pages::{self, Base, Remembered},
    ranges::{Check, Range},
};
use cranelift_codegen::ir::{
    BlockArg, Inst, InstBuilder, Value, ValueDef,
    condcodes::IntCC,
    types::{I8X16, I64},
};
use emu_core::{
    arch::{Seg, Width},
    cpu::slot,
    decode::{AddressForm, Insn, flag},
    region::{
        fill::{self, Wanted},
        layout::{self, tlb},
    },
    semantics::{Arithmetic, Memory},
};

/// What fills the TLB and preserves all registers, if this is a host where there is such a thing.
fn fill() -> *const () {
    #[cfg(target_arch = "x86_64")]
    let fill = fill::fill_requested as *const ();
    #[cfg(not(target_arch = "x86_64"))]
    let fill = std::ptr::null();
    fill
}

/// What a look into the TLB has found.
struct LookedUp {
    /// Address of the entry.
    entry: Value,
    /// The load of its tag.
    tag: Inst,
    /// The constant that tells what is wanted.
    wanted: Option<Inst>,
}

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

    /// Host address of `size` bytes at `linear`, as an address and a distance from it; leaves if they cannot be accessed
    /// directly.
    fn host(&mut self, linear: Value, size: u64, write: bool, base: Option<Base>) -> (Value, i32) {
        let at = self.root(linear);
        if let Some(found) = self.in_range(at, size, write) {
            return found;
        }
        let page = base.and_then(|base| self.page_of((base, write)));
        let (host, check) = match page {
            Some(page) => self.check_remembered(linear, size, write, page),
            None => self.check(linear, size, write),
        };
        self.ranges.push(Range::new(at, size, write, host, check));
        (host, 0)
    }

    /// Host address of `size` bytes at `linear`, as one value.
    pub(super) fn host_address(
        &mut self,
        linear: Value,
        size: u64,
        write: bool,
        base: Option<Base>,
    ) -> Value {
        let (host, distance) = self.host(linear, size, write, base);
        self.builder.ins().iadd_imm_s(host, i64::from(distance))
    }

    /// Host address of `linear`, after a check of `size` bytes there.
    fn check(&mut self, linear: Value, size: u64, write: bool) -> (Value, Check) {
        let (zero, start) = self.changeable(0);
        let first = self.builder.ins().iadd(linear, zero);
        let (longest, most) = self.changeable(4096 - size as i64);
        let looked = self.look_up((linear, first), longest, Wanted::one(size as u8, write), false);
        let addend = self.builder.ins().load(I64, self.spaces.tlb, looked.entry, tlb::ADDEND as i32);
        let host = self.builder.ins().iadd(linear, addend);
        (host, Check { start, tag: Some(looked.tag), most, wanted: looked.wanted })
    }

    /// The same; `page` is looked at first, and remembers it.
    fn check_remembered(
        &mut self,
        linear: Value,
        size: u64,
        write: bool,
        page: Remembered,
    ) -> (Value, Check) {
        // Whatever has to be done before the region can be left is done before the branch.
        self.here();
        let (zero, start) = self.changeable(0);
        let first = self.builder.ins().iadd(linear, zero);
        let (longest, most) = self.changeable(4096 - size as i64);
        let [tag, addend] = self.remembered(page);
        let distance = self.builder.ins().isub(first, tag);
        let other = self.builder.ins().icmp(IntCC::UnsignedGreaterThan, distance, longest);
        let (cold, hit) = (self.builder.create_block(), self.builder.create_block());
        self.builder.set_cold_block(cold);
        for _ in 0..2 {
            self.builder.append_block_param(hit, I64);
        }
        let known = [tag, addend].map(BlockArg::Value);
        self.builder.ins().brif(other, cold, [], hit, &known);
        self.builder.switch_to_block(cold);
        self.builder.seal_block(cold);
        let looked = self.look_up((linear, first), longest, Wanted::one(size as u8, write), true);
        let tag_at = if write { tlb::WRITE } else { tlb::READ };
        let new = [tag_at, tlb::ADDEND].map(|at| {
            BlockArg::Value(self.builder.ins().load(I64, self.spaces.tlb, looked.entry, at as i32))
        });
        self.builder.ins().jump(hit, &new);
        self.builder.switch_to_block(hit);
        self.builder.seal_block(hit);
        let [tag, addend] = [0, 1].map(|n| self.builder.block_params(hit)[n]);
        self.remember_page(page, [tag, addend]);
        let host = self.builder.ins().iadd(linear, addend);
        (host, Check { start, tag: None, most, wanted: looked.wanted })
    }

    /// The entry of the TLB that allows an access at `linear`, in a range that begins with `first` and is at most
    /// `longest` away from the tag; leaves if none does. `rare`: so is looking.
    fn look_up(
        &mut self,
        (linear, first): (Value, Value),
        longest: Value,
        wanted: Wanted,
        rare: bool,
    ) -> LookedUp {
        // (first >> 12 ^ first >> FOLD) & (ENTRIES - 1), times the size of an entry.
        let distance = i64::from(tlb::FOLD - 12);
        let entry_bits = tlb::ENTRY.trailing_zeros();
        let folded = self.builder.ins().ushr_imm_u(first, distance);
        let folded = self.builder.ins().bxor(folded, first);
        let scaled = self.builder.ins().ushr_imm_u(folded, i64::from(12 - entry_bits));
        let index = self.builder.ins().band_imm_u(scaled, ((tlb::ENTRIES - 1) << entry_bits) as i64);
        let entry = self.builder.ins().iadd(self.tlb, index);
        let tag_at = if wanted.write { tlb::WRITE } else { tlb::READ };
        let tag = self.builder.ins().load(I64, self.spaces.tlb, entry, tag_at as i32);
        let distance = self.builder.ins().isub(first, tag);
        let miss = self.builder.ins().icmp(IntCC::UnsignedGreaterThan, distance, longest);
        let wanted = self.fill_if(miss, linear, wanted);
        if rare && let Some(block) = self.builder.current_block() {
            self.builder.set_cold_block(block);
        }
        let ValueDef::Result(tag, _) = self.builder.func.dfg.value_def(tag) else { unreachable!("a load") };
        LookedUp { entry, tag, wanted }
    }

    /// A constant of its own, which may be changed later.
    fn changeable(&mut self, value: i64) -> (Value, Inst) {
        let value = self.builder.ins().iconst(I64, value);
        let ValueDef::Result(inst, _) = self.builder.func.dfg.value_def(value) else {
            unreachable!("a constant")
        };
        (value, inst)
    }

    /// If `miss`: has the TLB filled for the access at `linear`, then goes on; leaves if it cannot be done directly.
    /// Returns the constant that tells what is wanted.
    fn fill_if(&mut self, miss: Value, linear: Value, wanted: Wanted) -> Option<Inst> {
        let Some(signature) = self.fill_signature else {
            self.leave_if_true(miss);
            return None;
        };
        // Whatever has to be done before the region can be left is done before the branch.
        self.here();
        let (cold, hit) = (self.builder.create_block(), self.builder.create_block());
        self.builder.set_cold_block(cold);
        self.builder.ins().brif(miss, cold, [], hit, []);
        self.builder.switch_to_block(cold);
        self.builder.seal_block(cold);
        let (wanted, changeable) = self.changeable(wanted.pack() as i64);
        self.set_field(layout::FILL_LINEAR, linear);
        self.set_field(layout::FILL_WANTED, wanted);
        let callee = self.builder.ins().iconst(I64, fill() as i64);
        self.builder.ins().call_indirect(signature, callee, &[self.cpu]);
        let answer = self.field(I64, layout::FILLED);
        let all = self.builder.ins().icmp_imm_u(IntCC::Equal, answer, fill::ALL as i64);
        self.leave_unless(all, hit);
        self.builder.switch_to_block(hit);
        self.builder.seal_block(hit);
        Some(changeable)
    }

    fn load_linear(&mut self, linear: Value, w: Width, base: Option<Base>) -> Value {
        let at = self.host(linear, w.bytes(), false, base);
        self.load_host(at, w)
    }

    fn load_host(&mut self, (host, distance): (Value, i32), w: Width) -> Value {
        let guest = self.spaces.guest;
        if !self.target.orders_accesses() {
            return self.load_acquire((host, distance), w);
        }
        match w {
            Width::W8 => self.builder.ins().uload8(I64, guest, host, distance),
            Width::W16 => self.builder.ins().uload16(I64, guest, host, distance),
            Width::W32 => self.builder.ins().uload32(guest, host, distance),
            Width::W64 => self.builder.ins().load(I64, guest, host, distance),
        }
    }

    fn store_linear(&mut self, linear: Value, w: Width, value: Value, base: Option<Base>) {
        let at = self.host(linear, w.bytes(), true, base);
        // Where stores release they are of integers.
        let value = if self.target.orders_accesses() { self.stored(w, value) } else { self.narrow(w, value) };
        self.store_host(at, w, value);
    }

    /// Stores `value`, which has width `w`.
    fn store_host(&mut self, (host, distance): (Value, i32), w: Width, value: Value) {
        if self.target.orders_accesses() {
            self.builder.ins().store(self.spaces.guest, value, host, distance);
        } else {
            self.store_release((host, distance), w, value);
        }
    }

    fn update_linear(
        &mut self,
        i: &Insn,
        linear: Value,
        w: Width,
        change: impl Fn(&mut Self, Value) -> Value,
    ) -> (Value, Value) {
        let (host, distance) = self.host(linear, w.bytes(), true, pages::base_of(i));
        if !i.has(flag::LOCK) {
            let old = self.load_host((host, distance), w);
            let new = change(self, old);
            let stored = self.narrow(w, new);
            self.store_host((host, distance), w, stored);
            return (old, new);
        }
        let host = self.builder.ins().iadd_imm_s(host, i64::from(distance));
        self.leave_if_split(host, w);
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
        self.fence();
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

/// The register by which an access that is no operand is known.
fn stack_base(seg: Seg) -> Option<Base> {
    (seg == Seg::Ss).then_some((slot::RSP as u8, 0))
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
        Ok(self.load_linear(linear, w, pages::base_of(i)))
    }
    fn store(&mut self, i: &Insn, _: AddressForm, w: Width, delta: u64, value: Value) -> Result<(), Faults> {
        let linear = self.operand(i, delta);
        self.store_linear(linear, w, value, pages::base_of(i));
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
        Ok(self.load_linear(linear, w, stack_base(seg)))
    }
    fn store_at(&mut self, seg: Seg, offset: Value, w: Width, value: Value) -> Result<(), Faults> {
        let linear = self.linear(seg as usize, offset);
        self.store_linear(linear, w, value, stack_base(seg));
        Ok(())
    }
    fn load_lanes<const N: usize>(&mut self, i: &Insn, _: AddressForm) -> Result<[Value; N], Faults> {
        let linear = self.operand(i, 0);
        self.check_alignment::<N>(i, linear);
        let (host, distance) = self.host(linear, 16 * N as u64, false, pages::base_of(i));
        let guest = self.spaces.guest;
        let lanes =
            std::array::from_fn(|n| self.builder.ins().load(I8X16, guest, host, distance + 16 * n as i32));
        self.fence();
        Ok(lanes)
    }
    fn store_lanes<const N: usize>(
        &mut self,
        i: &Insn,
        _: AddressForm,
        value: [Value; N],
    ) -> Result<(), Faults> {
        let linear = self.operand(i, 0);
        self.check_alignment::<N>(i, linear);
        let (host, distance) = self.host(linear, 16 * N as u64, true, pages::base_of(i));
        self.fence();
        for (n, value) in value.into_iter().enumerate() {
            self.builder.ins().store(self.spaces.guest, value, host, distance + 16 * n as i32);
        }
        Ok(())
    }
}
