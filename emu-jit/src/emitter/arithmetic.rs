//! Integer arithmetic. Values are 64 bits wide and zero-extended; operations of 32 bits are done in 32, which x86
//! hosts zero-extend by themselves.

use super::{Cond, Translator, opaque::Operation};
use cranelift_codegen::ir::{
    AbiParam, InstBuilder, Opcode, Signature, Type, Value,
    condcodes::{CondCode, FloatCC, IntCC},
    types::{I8, I16, I32, I64},
};
use emu_core::{
    arch::Width,
    semantics::{Arithmetic, Pure},
};

/// The type of `w` bits.
pub(super) fn int(w: Width) -> Type {
    match w {
        Width::W8 => I8,
        Width::W16 => I16,
        Width::W32 => I32,
        Width::W64 => I64,
    }
}

/// Calls a function of Rust's own convention.
///
/// # Safety
/// `f` is the address of a [`Pure`].
unsafe extern "C" fn call_pure(f: *const (), a: u64, b: u64, c: u64) -> u64 {
    // SAFETY: the caller's promise.
    let f = unsafe { std::mem::transmute::<*const (), Pure>(f) };
    f(a, b, c)
}

impl Translator {
    pub(super) fn narrow(&mut self, w: Width, a: Value) -> Value {
        if w == Width::W64 { a } else { self.builder.ins().ireduce(int(w), a) }
    }
    pub(super) fn widen(&mut self, w: Width, a: Value) -> Value {
        if w == Width::W64 { a } else { self.builder.ins().uextend(I64, a) }
    }
    fn signed(&mut self, w: Width, a: Value) -> Value {
        if w == Width::W64 {
            return a;
        }
        let a = self.narrow(w, a);
        self.builder.ins().sextend(I64, a)
    }
    /// The value of a constant.
    pub(super) fn known_constant(&self, a: Value) -> Option<u64> {
        use cranelift_codegen::ir::{InstructionData, ValueDef};
        let dfg = &self.builder.func.dfg;
        let ValueDef::Result(inst, _) = dfg.value_def(a) else { return None };
        match dfg.insts[inst] {
            InstructionData::UnaryImm { opcode: Opcode::Iconst, imm } => Some(imm.bits() as u64),
            _ => None,
        }
    }
    /// What a value is at most, if it is masked.
    fn most_of(&self, a: Value) -> Option<u64> {
        match self.binary(a) {
            Some((Opcode::Band, [_, mask])) => self.known_constant(mask),
            _ => None,
        }
    }
    /// `shifted` if the count is less than 64, else `otherwise`.
    fn if_below_64(&mut self, count: Value, shifted: Value, otherwise: Value) -> Value {
        if self.most_of(count).is_some_and(|most| most < 64) {
            return shifted;
        }
        let limit = self.builder.ins().iconst(I64, 64);
        let small = self.builder.ins().icmp(IntCC::UnsignedLessThan, count, limit);
        self.builder.ins().select(small, shifted, otherwise)
    }
    /// Calls `function`, which takes and gives 64-bit values.
    pub(super) fn call(&mut self, function: *const (), args: &[Value]) -> Value {
        let convention = self.builder.func.signature.call_conv;
        let mut signature = Signature::new(convention);
        signature.params.extend(args.iter().map(|_| AbiParam::new(I64)));
        signature.returns.push(AbiParam::new(I64));
        let signature = self.builder.import_signature(signature);
        let callee = self.builder.ins().iconst(I64, function as i64);
        let call = self.builder.ins().call_indirect(signature, callee, args);
        self.builder.inst_results(call)[0]
    }
    /// A condition as 0 or 1, 8 bits wide.
    pub(super) fn truth(&mut self, c: Cond) -> Value {
        match c {
            Cond::Known(value) => self.builder.ins().iconst(I8, i64::from(value)),
            Cond::Compare(cc, a, b) => self.builder.ins().icmp(cc, a, b),
            Cond::Order(cc, a, b) => self.float(Operation::Compare(cc), I8, &[a, b]),
        }
    }
    fn is_true(&mut self, truth: Value) -> Cond {
        let zero = self.builder.ins().iconst(I8, 0);
        Cond::Compare(IntCC::NotEqual, truth, zero)
    }
}

impl Arithmetic for Translator {
    fn constant(&mut self, value: u64) -> Value {
        self.builder.ins().iconst(I64, value as i64)
    }
    fn add(&mut self, w: Width, a: Value, b: Value) -> Value {
        let (a, b) = (self.narrow(w, a), self.narrow(w, b));
        let r = self.builder.ins().iadd(a, b);
        self.widen(w, r)
    }
    fn sub(&mut self, w: Width, a: Value, b: Value) -> Value {
        let (a, b) = (self.narrow(w, a), self.narrow(w, b));
        let r = self.builder.ins().isub(a, b);
        self.widen(w, r)
    }
    fn and(&mut self, a: Value, b: Value) -> Value {
        self.builder.ins().band(a, b)
    }
    fn or(&mut self, a: Value, b: Value) -> Value {
        self.builder.ins().bor(a, b)
    }
    fn xor(&mut self, a: Value, b: Value) -> Value {
        self.builder.ins().bxor(a, b)
    }
    fn not(&mut self, w: Width, a: Value) -> Value {
        let a = self.narrow(w, a);
        let r = self.builder.ins().bnot(a);
        self.widen(w, r)
    }
    fn shl(&mut self, w: Width, a: Value, count: Value) -> Value {
        match self.known_constant(count) {
            Some(0) => self.truncate(w, a),
            Some(count) if count < 64 => {
                let shifted = self.builder.ins().ishl_imm_u(a, count as i64);
                self.truncate(w, shifted)
            }
            Some(_) => self.constant(0),
            None => {
                let shifted = self.builder.ins().ishl(a, count);
                let zero = self.constant(0);
                let r = self.if_below_64(count, shifted, zero);
                self.truncate(w, r)
            }
        }
    }
    fn shr(&mut self, _: Width, a: Value, count: Value) -> Value {
        match self.known_constant(count) {
            Some(0) => a,
            Some(count) if count < 64 => self.builder.ins().ushr_imm_u(a, count as i64),
            Some(_) => self.constant(0),
            None => {
                let shifted = self.builder.ins().ushr(a, count);
                let zero = self.constant(0);
                self.if_below_64(count, shifted, zero)
            }
        }
    }
    fn sar(&mut self, w: Width, a: Value, count: Value) -> Value {
        let signed = self.signed(w, a);
        let r = match self.known_constant(count) {
            Some(count) => self.builder.ins().sshr_imm_u(signed, count.min(63) as i64),
            None => {
                let most = self.constant(63);
                let count = self.if_below_64(count, count, most);
                self.builder.ins().sshr(signed, count)
            }
        };
        self.truncate(w, r)
    }
    fn rol(&mut self, w: Width, a: Value, count: Value) -> Value {
        let a = self.narrow(w, a);
        let r = self.builder.ins().rotl(a, count);
        self.widen(w, r)
    }
    fn mul(&mut self, w: Width, a: Value, b: Value) -> Value {
        let (a, b) = (self.narrow(w, a), self.narrow(w, b));
        let r = self.builder.ins().imul(a, b);
        self.widen(w, r)
    }
    fn mul_high_unsigned(&mut self, w: Width, a: Value, b: Value) -> Value {
        if w == Width::W64 {
            return self.builder.ins().umulhi(a, b);
        }
        let product = self.builder.ins().imul(a, b);
        self.builder.ins().ushr_imm_u(product, i64::from(w.bits()))
    }
    fn mul_high_signed(&mut self, w: Width, a: Value, b: Value) -> Value {
        if w == Width::W64 {
            return self.builder.ins().smulhi(a, b);
        }
        let (a, b) = (self.signed(w, a), self.signed(w, b));
        let product = self.builder.ins().imul(a, b);
        let high = self.builder.ins().ushr_imm_u(product, i64::from(w.bits()));
        self.truncate(w, high)
    }
    fn truncate(&mut self, w: Width, a: Value) -> Value {
        let narrow = self.narrow(w, a);
        let r = self.widen(w, narrow);
        self.known.is_truncated(w, a, r);
        r
    }
    fn sign_extend(&mut self, from: Width, to: Width, a: Value) -> Value {
        let signed = self.signed(from, a);
        self.truncate(to, signed)
    }
    fn swap_bytes(&mut self, w: Width, a: Value) -> Value {
        if w == Width::W8 {
            return a;
        }
        let a = self.narrow(w, a);
        let r = self.builder.ins().bswap(a);
        self.widen(w, r)
    }
    fn leading_zeros(&mut self, w: Width, a: Value) -> Value {
        let zeros = self.builder.ins().clz(a);
        let outside = self.constant(u64::from(64 - w.bits()));
        self.builder.ins().isub(zeros, outside)
    }
    fn trailing_zeros(&mut self, w: Width, a: Value) -> Value {
        if w == Width::W64 {
            return self.builder.ins().ctz(a);
        }
        let end = self.constant(1 << w.bits());
        let a = self.builder.ins().bor(a, end);
        self.builder.ins().ctz(a)
    }
    fn count_ones(&mut self, a: Value) -> Value {
        self.builder.ins().popcnt(a)
    }
    fn pure(&mut self, f: Pure, a: Value, b: Value, c: Value) -> Value {
        let f = self.constant(f as usize as u64);
        self.call(call_pure as *const (), &[f, a, b, c])
    }
    fn known(&mut self, value: bool) -> Cond {
        Cond::Known(value)
    }
    fn equal(&mut self, a: Value, b: Value) -> Cond {
        Cond::Compare(IntCC::Equal, a, b)
    }
    fn below(&mut self, a: Value, b: Value) -> Cond {
        Cond::Compare(IntCC::UnsignedLessThan, a, b)
    }
    fn less(&mut self, w: Width, a: Value, b: Value) -> Cond {
        let (a, b) = (self.narrow(w, a), self.narrow(w, b));
        Cond::Compare(IntCC::SignedLessThan, a, b)
    }
    fn bit(&mut self, a: Value, n: u32) -> Cond {
        if let Some(c) = self.known.order(a, n) {
            return c;
        }
        let zero = self.constant(0);
        if n == 63 {
            return Cond::Compare(IntCC::SignedLessThan, a, zero);
        }
        let mask = self.constant(1 << n);
        let bit = self.builder.ins().band(a, mask);
        Cond::Compare(IntCC::NotEqual, bit, zero)
    }
    fn negate(&mut self, c: Cond) -> Cond {
        match c {
            Cond::Known(value) => Cond::Known(!value),
            Cond::Compare(cc, a, b) => Cond::Compare(cc.complement(), a, b),
            Cond::Order(cc, a, b) => Cond::Order(cc.complement(), a, b),
        }
    }
    fn both(&mut self, a: Cond, b: Cond) -> Cond {
        match (a, b) {
            (Cond::Known(known), other) | (other, Cond::Known(known)) => {
                if known {
                    other
                } else {
                    Cond::Known(false)
                }
            }
            _ => {
                let (a, b) = (self.truth(a), self.truth(b));
                let r = self.builder.ins().band(a, b);
                self.is_true(r)
            }
        }
    }
    fn either(&mut self, a: Cond, b: Cond) -> Cond {
        match (a, b) {
            (
                Cond::Order(FloatCC::UnorderedOrLessThan, x, y),
                Cond::Order(FloatCC::UnorderedOrEqual, v, w),
            ) if (x, y) == (v, w) => Cond::Order(FloatCC::UnorderedOrLessThanOrEqual, x, y),
            (Cond::Known(known), other) | (other, Cond::Known(known)) => {
                if known {
                    Cond::Known(true)
                } else {
                    other
                }
            }
            _ => {
                let (a, b) = (self.truth(a), self.truth(b));
                let r = self.builder.ins().bor(a, b);
                self.is_true(r)
            }
        }
    }
    fn select(&mut self, c: Cond, a: Value, b: Value) -> Value {
        match c {
            Cond::Known(c) => {
                if c {
                    a
                } else {
                    b
                }
            }
            _ => {
                let c = self.truth(c);
                self.builder.ins().select(c, a, b)
            }
        }
    }
    fn value_of(&mut self, c: Cond) -> Value {
        let truth = self.truth(c);
        self.builder.ins().uextend(I64, truth)
    }
}
