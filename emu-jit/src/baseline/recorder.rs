//! [`Recorder`]: the emitter that writes down the operations of a block.
//!
//! What it has no operation for it refuses ([`Recorder::refuse`]): then the interpreter executes the instruction.

use super::{
    ir::{Binary, NONE, Op, Test, Unary, V},
    x64::{BitCount, Cc, Log2, Shift},
};
use emu_core::{
    arch::{Exception, Flags, Seg, Width},
    cpu::{Mode, slot},
    decode::{AddressForm, Insn, flag},
    region::{fill::Wanted, layout},
    semantics::{Arithmetic, FlagSource, Flow, Helper, Memory, Pure, Registers, Types},
};

/// A truth value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cond {
    /// Known now.
    Known(bool),
    /// Found where it is used.
    Test(Test),
}

/// Faults leave the region, or the instruction was refused.
#[derive(Debug, Clone, Copy)]
pub struct Faults;

/// Where a block's branch leads.
#[derive(Debug, Clone, Copy)]
pub enum Branch {
    /// To its target if the condition holds, else to the next instruction.
    If(Cond),
    /// To a computed RIP.
    To(V),
}

/// What is known of registers and flags within a block.
#[derive(Debug, Clone, Copy)]
struct Known {
    slots: [V; 32],
    low: [V; 16],
    flags: Option<(V, V)>,
    source: Option<FlagSource<V>>,
}

const NOTHING: Known = Known { slots: [NONE; 32], low: [NONE; 16], flags: None, source: None };

/// See the module.
pub struct Recorder {
    /// The operations.
    pub ops: Vec<Op>,
    /// By value: bits that it has at most.
    bits: Vec<u8>,
    /// What the instruction has decided about where to go.
    pub branch: Option<Branch>,
    known: Known,
    refused: bool,
    mode: Mode,
    narrow_stack: bool,
    /// Lanes in use by the instruction.
    pub(super) lanes: u8,
}

/// log2 of the bytes of a width.
pub(super) fn log2(w: Width) -> Log2 {
    match w {
        Width::W8 => 0,
        Width::W16 => 1,
        Width::W32 => 2,
        Width::W64 => 3,
    }
}

/// The width an operation is done in.
fn done_in(w: Width) -> Log2 {
    log2(w).max(2)
}

impl Types for Recorder {
    type Value = V;
    type Cond = Cond;
    type Lane = u8;
}

impl Recorder {
    /// For code of `mode`.
    pub fn new(mode: Mode) -> Self {
        Recorder {
            ops: Vec::with_capacity(512),
            bits: Vec::with_capacity(512),
            branch: None,
            known: NOTHING,
            refused: false,
            mode,
            narrow_stack: false,
            lanes: 0,
        }
    }

    /// Begins a block.
    pub fn begin_block(&mut self) {
        self.ops.clear();
        self.bits.clear();
        self.branch = None;
        self.known = NOTHING;
    }

    /// Records what `run` does for `i`. False: it was refused, and nothing is recorded.
    pub fn record(&mut self, i: &Insn, run: fn(&mut Self, &Insn) -> Result<(), Faults>) -> bool {
        let (at, known) = (self.ops.len(), self.known);
        (self.branch, self.refused, self.lanes) = (None, false, 0);
        self.narrow_stack = i.stack_width() == Width::W16;
        if run(self, i).is_ok() && !self.refused {
            return true;
        }
        self.ops.truncate(at);
        self.bits.truncate(at);
        (self.known, self.branch) = (known, None);
        false
    }

    /// The instruction is executed by the interpreter.
    pub fn exact(&mut self) {
        self.push(Op::Exact, 64);
        self.known = NOTHING;
        self.branch = None;
    }

    /// Has the interpreter execute this instruction. The value means nothing.
    pub(super) fn refuse(&mut self) -> V {
        self.refused = true;
        self.constant(0)
    }

    pub(super) fn push(&mut self, op: Op, bits: u8) -> V {
        self.ops.push(op);
        self.bits.push(bits);
        self.ops.len() as V - 1
    }

    fn known_constant(&self, v: V) -> Option<u64> {
        match self.ops[v as usize] {
            Op::Const(value) => Some(value),
            _ => None,
        }
    }

    fn fits(&self, v: V, bits: u8) -> bool {
        self.bits[v as usize] <= bits
    }

    fn extend(&mut self, w: Log2, v: V) -> V {
        let bits = 8 << w;
        if self.fits(v, bits) {
            return v;
        }
        if let Some(value) = self.known_constant(v) {
            return self.constant(value & (u64::MAX >> (64 - bits)));
        }
        self.push(Op::Extend(w, v), bits)
    }

    fn binary(&mut self, op: Binary, w: Width, a: V, b: V) -> V {
        if let (Some(x), Some(y)) = (self.known_constant(a), self.known_constant(b)) {
            let value = match op {
                Binary::Add => x.wrapping_add(y),
                Binary::Sub => x.wrapping_sub(y),
                Binary::And => x & y,
                Binary::Or => x | y,
                Binary::Xor => x ^ y,
                Binary::Multiply => x.wrapping_mul(y),
            };
            return self.constant(value & w.mask());
        }
        let zero = self.known_constant(b) == Some(0);
        if zero && matches!(op, Binary::Add | Binary::Sub | Binary::Or | Binary::Xor) {
            return a;
        }
        let bits = match op {
            Binary::And => self.bits[a as usize].min(self.bits[b as usize]),
            Binary::Or | Binary::Xor => self.bits[a as usize].max(self.bits[b as usize]),
            _ => 8 << done_in(w),
        };
        // A constant is best the second operand.
        let swap = self.known_constant(a).is_some() && op != Binary::Sub;
        let (a, b) = if swap { (b, a) } else { (a, b) };
        let narrow = bits <= 32 && matches!(op, Binary::And | Binary::Or | Binary::Xor);
        let r = self.push(Op::Binary(op, if narrow { 2 } else { done_in(w) }, a, b), bits);
        self.extend(log2(w), r)
    }

    fn address(&mut self, base: V, index: V, scale: u8, disp: i32) -> V {
        self.push(Op::Address(base, index, scale, disp), 64)
    }

    /// All of slot `n`.
    fn slot(&mut self, n: u8) -> V {
        if n == slot::ZERO {
            return self.constant(0);
        }
        let known = self.known.slots[usize::from(n)];
        if known != NONE {
            return known;
        }
        let v = self.push(Op::Slot(n), 64);
        self.known.slots[usize::from(n)] = v;
        v
    }

    /// A condition as an operation's test; `Err`: it is known.
    fn truth(&mut self, c: Cond) -> V {
        match c {
            Cond::Known(value) => self.constant(value.into()),
            Cond::Test(test) => self.push(Op::Truth(test), 1),
        }
    }

    fn is_true(&mut self, v: V) -> Cond {
        let zero = self.constant(0);
        Cond::Test(Test::Compare(Cc::NotEqual, 2, v, zero))
    }

    fn leave_if(&mut self, c: Cond) -> Result<(), Faults> {
        match c {
            Cond::Known(true) => Err(Faults),
            Cond::Known(false) => Ok(()),
            Cond::Test(test) => {
                self.push(Op::LeaveIf(test), 0);
                Ok(())
            }
        }
    }

    fn compare(&mut self, cc: Cc, a: V, b: V) -> Cond {
        if let (Some(x), Some(y)) = (self.known_constant(a), self.known_constant(b)) {
            return Cond::Known(if cc == Cc::Equal { x == y } else { x < y });
        }
        let w = if self.fits(a, 32) && self.fits(b, 32) { 2 } else { 3 };
        Cond::Test(Test::Compare(cc, w, a, b))
    }

    fn is_64bit(&self) -> bool {
        self.mode.is_64bit()
    }

    /// Linear address of `seg:offset`.
    fn linear(&mut self, seg: usize, offset: V) -> V {
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
    pub(super) fn operand(&mut self, i: &Insn, delta: u64, size: u64, write: bool) -> V {
        let linear = self.operand_linear(i, delta);
        self.push(Op::Host(linear, Wanted::one(size as u8, write)), 64)
    }

    /// Linear address of the memory operand, `delta` bytes further.
    pub(super) fn operand_linear(&mut self, i: &Insn, delta: u64) -> V {
        let mut offset = self.effective_address(i);
        if delta != 0 {
            let delta = self.constant(delta);
            offset = self.add(i.asize, offset, delta);
        }
        self.linear(i.seg.into(), offset)
    }

    fn on_stack(&mut self, seg: Seg, offset: V, w: Width, write: bool) -> V {
        if self.narrow_stack {
            return self.refuse();
        }
        let linear = self.linear(seg as usize, offset);
        self.push(Op::Host(linear, Wanted::one(w.bytes() as u8, write)), 64)
    }

    fn change(
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
    fn check_target(&mut self, target: V) -> Result<(), Faults> {
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
}

impl Arithmetic for Recorder {
    fn constant(&mut self, value: u64) -> V {
        self.push(Op::Const(value), (64 - value.leading_zeros()) as u8)
    }
    fn add(&mut self, w: Width, a: V, b: V) -> V {
        self.binary(Binary::Add, w, a, b)
    }
    fn sub(&mut self, w: Width, a: V, b: V) -> V {
        self.binary(Binary::Sub, w, a, b)
    }
    fn and(&mut self, a: V, b: V) -> V {
        self.binary(Binary::And, Width::W64, a, b)
    }
    fn or(&mut self, a: V, b: V) -> V {
        self.binary(Binary::Or, Width::W64, a, b)
    }
    fn xor(&mut self, a: V, b: V) -> V {
        self.binary(Binary::Xor, Width::W64, a, b)
    }
    fn not(&mut self, w: Width, a: V) -> V {
        let r = self.push(Op::Unary(Unary::Complement, done_in(w), a), 8 << done_in(w));
        self.extend(log2(w), r)
    }
    fn shl(&mut self, w: Width, a: V, count: V) -> V {
        let r = match self.known_constant(count) {
            Some(0) => a,
            Some(count) if count < 64 => match self.known_constant(a) {
                Some(value) => self.constant(value << count),
                None if count < 32 && done_in(w) == 2 => {
                    self.push(Op::ShiftBy(Shift::Left, 2, a, count as u8), 32)
                }
                None => self.push(Op::ShiftBy(Shift::Left, 3, a, count as u8), 64),
            },
            Some(_) => self.constant(0),
            None => self.push(Op::Shift(Shift::Left, a, count), 64),
        };
        self.extend(log2(w), r)
    }
    fn shr(&mut self, _: Width, a: V, count: V) -> V {
        let bits = self.bits[a as usize];
        match self.known_constant(count) {
            Some(0) => a,
            Some(count) if count < 64 => match self.known_constant(a) {
                Some(value) => self.constant(value >> count),
                None => {
                    self.push(Op::ShiftBy(Shift::Right, 3, a, count as u8), bits.saturating_sub(count as u8))
                }
            },
            Some(_) => self.constant(0),
            None => self.push(Op::Shift(Shift::Right, a, count), bits),
        }
    }
    fn sar(&mut self, w: Width, a: V, count: V) -> V {
        let signed = if w == Width::W64 { a } else { self.push(Op::SignExtend(log2(w), a), 64) };
        let r = match self.known_constant(count) {
            Some(count) => self.push(Op::ShiftBy(Shift::Signed, 3, signed, count.min(63) as u8), 64),
            None => self.push(Op::Shift(Shift::Signed, signed, count), 64),
        };
        self.extend(log2(w), r)
    }
    fn rol(&mut self, w: Width, a: V, count: V) -> V {
        self.push(Op::Rotate(log2(w), a, count), w.bits() as u8)
    }
    fn mul(&mut self, w: Width, a: V, b: V) -> V {
        self.binary(Binary::Multiply, w, a, b)
    }
    fn mul_high_unsigned(&mut self, w: Width, a: V, b: V) -> V {
        if w == Width::W64 {
            return self.push(Op::MultiplyHigh(false, a, b), 64);
        }
        let product = self.binary(Binary::Multiply, Width::W64, a, b);
        let count = self.constant(w.bits().into());
        let high = self.shr(Width::W64, product, count);
        self.extend(log2(w), high)
    }
    fn mul_high_signed(&mut self, w: Width, a: V, b: V) -> V {
        if w == Width::W64 {
            return self.push(Op::MultiplyHigh(true, a, b), 64);
        }
        let a = self.push(Op::SignExtend(log2(w), a), 64);
        let b = self.push(Op::SignExtend(log2(w), b), 64);
        let product = self.binary(Binary::Multiply, Width::W64, a, b);
        let count = self.constant(w.bits().into());
        let high = self.shr(Width::W64, product, count);
        self.extend(log2(w), high)
    }
    fn truncate(&mut self, w: Width, a: V) -> V {
        self.extend(log2(w), a)
    }
    fn sign_extend(&mut self, from: Width, to: Width, a: V) -> V {
        let signed = if from == Width::W64 { a } else { self.push(Op::SignExtend(log2(from), a), 64) };
        self.extend(log2(to), signed)
    }
    fn swap_bytes(&mut self, w: Width, a: V) -> V {
        match w {
            Width::W8 => a,
            Width::W16 => {
                let swapped = self.push(Op::Unary(Unary::ReverseBytes, 2, a), 32);
                self.push(Op::ShiftBy(Shift::Right, 2, swapped, 16), 16)
            }
            _ => self.push(Op::Unary(Unary::ReverseBytes, log2(w), a), w.bits() as u8),
        }
    }
    fn leading_zeros(&mut self, w: Width, a: V) -> V {
        let zeros = self.push(Op::Unary(Unary::Count(BitCount::LeadingZeros), 3, a), 7);
        let outside = self.constant(u64::from(64 - w.bits()));
        self.sub(Width::W64, zeros, outside)
    }
    fn trailing_zeros(&mut self, w: Width, a: V) -> V {
        let a = if w == Width::W64 {
            a
        } else {
            let end = self.constant(1 << w.bits());
            self.or(a, end)
        };
        self.push(Op::Unary(Unary::Count(BitCount::TrailingZeros), 3, a), 7)
    }
    fn count_ones(&mut self, a: V) -> V {
        self.push(Op::Unary(Unary::Count(BitCount::Ones), 3, a), 7)
    }
    fn pure(&mut self, f: Pure, a: V, b: V, c: V) -> V {
        self.push(Op::Pure(f, a, b, c), 64)
    }
    fn known(&mut self, value: bool) -> Cond {
        Cond::Known(value)
    }
    fn equal(&mut self, a: V, b: V) -> Cond {
        self.compare(Cc::Equal, a, b)
    }
    fn below(&mut self, a: V, b: V) -> Cond {
        self.compare(Cc::Below, a, b)
    }
    fn less(&mut self, w: Width, a: V, b: V) -> Cond {
        if w.bits() >= 32 {
            return Cond::Test(Test::Compare(Cc::Less, log2(w), a, b));
        }
        let a = self.push(Op::SignExtend(log2(w), a), 64);
        let b = self.push(Op::SignExtend(log2(w), b), 64);
        Cond::Test(Test::Compare(Cc::Less, 2, a, b))
    }
    fn bit(&mut self, a: V, n: u32) -> Cond {
        match self.known_constant(a) {
            Some(value) => Cond::Known(value >> n & 1 != 0),
            None => Cond::Test(Test::Bit(a, n as u8, true)),
        }
    }
    fn negate(&mut self, c: Cond) -> Cond {
        match c {
            Cond::Known(value) => Cond::Known(!value),
            Cond::Test(test) => Cond::Test(test.opposite()),
        }
    }
    fn both(&mut self, a: Cond, b: Cond) -> Cond {
        match (a, b) {
            (Cond::Known(true), other) | (other, Cond::Known(true)) => other,
            (Cond::Known(false), _) | (_, Cond::Known(false)) => Cond::Known(false),
            _ => {
                let (a, b) = (self.truth(a), self.truth(b));
                let r = self.and(a, b);
                self.is_true(r)
            }
        }
    }
    fn either(&mut self, a: Cond, b: Cond) -> Cond {
        match (a, b) {
            (Cond::Known(false), other) | (other, Cond::Known(false)) => other,
            (Cond::Known(true), _) | (_, Cond::Known(true)) => Cond::Known(true),
            _ => {
                let (a, b) = (self.truth(a), self.truth(b));
                let r = self.or(a, b);
                self.is_true(r)
            }
        }
    }
    fn select(&mut self, c: Cond, a: V, b: V) -> V {
        match c {
            Cond::Known(true) => a,
            Cond::Known(false) => b,
            Cond::Test(test) => {
                let bits = self.bits[a as usize].max(self.bits[b as usize]);
                self.push(Op::Select(test, a, b), bits)
            }
        }
    }
    fn value_of(&mut self, c: Cond) -> V {
        self.truth(c)
    }
}

impl Registers for Recorder {
    fn gpr(&mut self, w: Width, at: u8) -> V {
        let (number, byte) = (usize::from(at / 8), at % 8);
        let all = self.known.slots[number];
        if w == Width::W64 {
            return self.slot(at / 8);
        }
        if all != NONE {
            let shifted = match byte {
                0 => all,
                byte => self.push(Op::ShiftBy(Shift::Right, 3, all, 8 * byte), 64 - 8 * byte),
            };
            return self.extend(log2(w), shifted);
        }
        if w == Width::W32 && byte == 0 && number < 16 {
            if self.known.low[number] == NONE {
                self.known.low[number] = self.push(Op::Part(at, 2), 32);
            }
            return self.known.low[number];
        }
        self.push(Op::Part(at, log2(w)), w.bits() as u8)
    }
    fn set_gpr(&mut self, w: Width, at: u8, value: V) {
        let (number, byte) = (at / 8, at % 8);
        let new = match w {
            Width::W64 | Width::W32 => value,
            _ if byte == 0 => {
                let old = self.slot(number);
                self.push(Op::Insert(log2(w), old, value), 64)
            }
            _ => {
                let old = self.slot(number);
                let (mask, count) = (self.constant(!0xFF00), self.constant(8));
                let kept = self.and(old, mask);
                let placed = self.shl(Width::W64, value, count);
                self.or(kept, placed)
            }
        };
        self.push(Op::SetSlot(number, new), 0);
        self.known.slots[usize::from(number)] = new;
        self.known.low[usize::from(number)] = NONE;
    }
    fn rip_base(&mut self) -> V {
        self.slot(slot::RIP_BASE)
    }
    fn flags_result(&mut self) -> V {
        self.flags().0
    }
    fn flags_aux(&mut self) -> V {
        self.flags().1
    }
    fn set_flags(&mut self, result: V, aux: V) {
        self.push(Op::SetFlags(result, aux), 0);
        self.known.flags = Some((result, aux));
        self.known.source = None;
    }
    fn note_flags(&mut self, source: FlagSource<V>) {
        self.known.source = Some(source);
    }
    fn flag_source(&self) -> Option<FlagSource<V>> {
        self.known.source
    }
    fn system_flags(&mut self) -> V {
        self.push(Op::Field(layout::EFLAGS as u32, 2), 32)
    }
    fn set_direction(&mut self, down: bool) {
        let old = self.system_flags();
        let bit = u64::from(Flags::DF.bits());
        let new = if down {
            let bit = self.constant(bit);
            self.or(old, bit)
        } else {
            let mask = self.constant(!bit & 0xFFFF_FFFF);
            self.and(old, mask)
        };
        self.push(Op::SetField(layout::EFLAGS as u32, 2, new), 0);
    }
    fn vector(&mut self, register: u8, lane: usize) -> u8 {
        self.vector_lane(register, lane)
    }
    fn set_vector(&mut self, register: u8, lane: usize, value: u8) {
        self.set_vector_lane(register, lane, value);
    }
    fn mmx(&mut self, _: u8) -> V {
        self.refuse()
    }
    fn set_mmx(&mut self, _: u8, _: V) {
        self.refuse();
    }
    fn enter_mmx(&mut self) {
        self.refuse();
    }
}

impl Recorder {
    fn flags(&mut self) -> (V, V) {
        if let Some(known) = self.known.flags {
            return known;
        }
        let result = self.push(Op::Field(layout::FLAGS_RESULT as u32, 3), 64);
        let aux = self.push(Op::Field(layout::FLAGS_AUX as u32, 3), 64);
        self.known.flags = Some((result, aux));
        (result, aux)
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

/// Checks alignment where the instruction demands it.
impl Recorder {
    pub(super) fn check_alignment(&mut self, i: &Insn, linear: V, bytes: u64) -> Result<(), Faults> {
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
