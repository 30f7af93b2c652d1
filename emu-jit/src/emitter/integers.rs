//! Integer operations on lanes that Cranelift has operations for.

use super::Translator;
use cranelift_codegen::ir::{
    InstBuilder, Type, Value,
    condcodes::IntCC,
    types::{I8X16, I16X8, I32, I32X4, I64, I64X2},
};
use emu_core::lane::{Element, LanePrimitive, LanePrimitive3};

/// The vector type with elements of that size.
pub(super) fn vector(element: Element) -> Type {
    match element {
        Element::I8 => I8X16,
        Element::I16 => I16X8,
        Element::I32 => I32X4,
        Element::I64 => I64X2,
    }
}

impl Translator {
    /// The operation, or nothing if it must be called on this host.
    pub(super) fn primitive(
        &mut self,
        primitive: LanePrimitive,
        a: Value,
        b: Value,
        imm: u8,
    ) -> Option<Value> {
        use LanePrimitive as P;
        let r = match primitive {
            P::And => self.builder.ins().band(a, b),
            P::Or => self.builder.ins().bor(a, b),
            P::Xor if a == b => self.zero(I8X16),
            P::Xor => self.builder.ins().bxor(a, b),
            P::AndNot => self.builder.ins().band_not(b, a),
            P::ShiftLeft(e) | P::ShiftRight(e) | P::ShiftRightSigned(e) => {
                self.shift_elements(primitive, e, a, b)
            }
            P::ShiftBytesLeft | P::ShiftBytesRight | P::Align => self.shift_bytes(primitive, a, b, imm),
            P::PackSigned(_) | P::PackUnsigned(_) | P::WidenSigned(..) | P::WidenUnsigned(..) => {
                self.resized(primitive, a, b)
            }
            P::Choose | P::MulAddBytes | P::MulRounded if !self.target.ssse3 => return None,
            P::Choose => self.builder.ins().x86_pshufb(a, b),
            P::MulEvenSigned
            | P::MulEvenUnsigned
            | P::MulAddWords
            | P::MulAddBytes
            | P::MulRounded
            | P::SumDifferences => self.products(primitive, a, b),
            P::Extract(_) | P::Insert(_) | P::SignBits(_) | P::Test => self.single(primitive, a, b, imm),
            _ => self.elementwise(primitive, a, b)?,
        };
        Some(self.cast(I8X16, r))
    }

    fn elementwise(&mut self, primitive: LanePrimitive, a: Value, b: Value) -> Option<Value> {
        use LanePrimitive as P;
        let (P::Add(e)
        | P::Sub(e)
        | P::MulLow(e)
        | P::Equal(e)
        | P::GreaterSigned(e)
        | P::MinSigned(e)
        | P::MinUnsigned(e)
        | P::MaxSigned(e)
        | P::MaxUnsigned(e)
        | P::AddSigned(e)
        | P::AddUnsigned(e)
        | P::SubSigned(e)
        | P::SubUnsigned(e)
        | P::Average(e)
        | P::Absolute(e)
        | P::AddPairs(e)) = primitive
        else {
            return None;
        };
        let (x, y) = (self.cast(vector(e), a), self.cast(vector(e), b));
        let ins = self.builder.ins();
        Some(match primitive {
            P::Add(_) => ins.iadd(x, y),
            P::Sub(_) => ins.isub(x, y),
            P::MulLow(_) => ins.imul(x, y),
            P::Equal(_) => ins.icmp(IntCC::Equal, x, y),
            P::GreaterSigned(_) => ins.icmp(IntCC::SignedGreaterThan, x, y),
            P::MinSigned(_) => ins.smin(x, y),
            P::MinUnsigned(_) => ins.umin(x, y),
            P::MaxSigned(_) => ins.smax(x, y),
            P::MaxUnsigned(_) => ins.umax(x, y),
            P::AddSigned(_) => ins.sadd_sat(x, y),
            P::AddUnsigned(_) => ins.uadd_sat(x, y),
            P::SubSigned(_) => ins.ssub_sat(x, y),
            P::SubUnsigned(_) => ins.usub_sat(x, y),
            P::Average(_) => ins.avg_round(x, y),
            P::Absolute(_) => ins.iabs(y),
            _ => ins.iadd_pairwise(x, y),
        })
    }

    /// A shift of every element by the low 64 bits of `count`.
    fn shift_elements(&mut self, how: LanePrimitive, element: Element, a: Value, count: Value) -> Value {
        let ty = vector(element);
        let width = u64::from(ty.lane_bits());
        let x = self.cast(ty, a);
        let count = self.half(count, false);
        let known = self.known_constant(count);
        if matches!(how, LanePrimitive::ShiftRightSigned(_)) {
            let most = self.builder.ins().iconst(I64, width as i64 - 1);
            let count = match known {
                Some(count) if count < width => self.builder.ins().iconst(I64, count as i64),
                Some(_) => most,
                None => self.builder.ins().umin(count, most),
            };
            return self.builder.ins().sshr(x, count);
        }
        if known.is_some_and(|count| count >= width) {
            return self.zero(ty);
        }
        let left = matches!(how, LanePrimitive::ShiftLeft(_));
        let shifted =
            if left { self.builder.ins().ishl(x, count) } else { self.builder.ins().ushr(x, count) };
        if known.is_some() {
            return shifted;
        }
        let limit = self.builder.ins().iconst(I64, width as i64);
        let zero = self.zero(ty);
        let small = self.builder.ins().icmp(IntCC::UnsignedLessThan, count, limit);
        self.builder.ins().select(small, shifted, zero)
    }

    /// Sixteen of the bytes of two lanes, that of lower numbers first, from number `from` on.
    fn window(&mut self, low: Value, high: Value, from: u8) -> Value {
        self.shuffle(low, high, std::array::from_fn(|n| from + n as u8))
    }

    fn shift_bytes(&mut self, how: LanePrimitive, a: Value, b: Value, imm: u8) -> Value {
        let zero = self.zero(I8X16);
        match how {
            LanePrimitive::ShiftBytesLeft => self.window(zero, a, 16 - imm.min(16)),
            LanePrimitive::ShiftBytesRight => self.window(a, zero, imm.min(16)),
            _ if imm <= 16 => self.window(b, a, imm),
            _ => self.window(a, zero, imm.min(32) - 16),
        }
    }

    /// Elements made wider or narrower.
    fn resized(&mut self, how: LanePrimitive, a: Value, b: Value) -> Value {
        use LanePrimitive as P;
        match how {
            P::PackSigned(e) | P::PackUnsigned(e) => {
                let (x, y) = (self.cast(vector(e), a), self.cast(vector(e), b));
                let ins = self.builder.ins();
                if matches!(how, P::PackSigned(_)) { ins.snarrow(x, y) } else { ins.unarrow(x, y) }
            }
            P::WidenSigned(from, to) | P::WidenUnsigned(from, to) => {
                let mut x = self.cast(vector(from), b);
                while self.builder.func.dfg.value_type(x) != vector(to) {
                    let ins = self.builder.ins();
                    let signed = matches!(how, P::WidenSigned(..));
                    x = if signed { ins.swiden_low(x) } else { ins.uwiden_low(x) };
                }
                x
            }
            _ => a,
        }
    }

    /// Even elements of 32 bits, widened.
    fn even(&mut self, signed: bool, a: Value) -> Value {
        let lower = self.shuffle(a, a, [0, 1, 2, 3, 8, 9, 10, 11, 0, 1, 2, 3, 8, 9, 10, 11]);
        let lower = self.cast(I32X4, lower);
        let ins = self.builder.ins();
        if signed { ins.swiden_low(lower) } else { ins.uwiden_low(lower) }
    }

    fn products(&mut self, how: LanePrimitive, a: Value, b: Value) -> Value {
        use LanePrimitive as P;
        match how {
            P::MulEvenSigned | P::MulEvenUnsigned => {
                let signed = how == P::MulEvenSigned;
                let (x, y) = (self.even(signed, a), self.even(signed, b));
                self.builder.ins().imul(x, y)
            }
            P::MulAddWords => {
                let (x, y) = (self.cast(I16X8, a), self.cast(I16X8, b));
                let mut product = |upper: bool| {
                    let mut wide = |v| {
                        let ins = self.builder.ins();
                        if upper { ins.swiden_high(v) } else { ins.swiden_low(v) }
                    };
                    let (x, y) = (wide(x), wide(y));
                    self.builder.ins().imul(x, y)
                };
                let (low, high) = (product(false), product(true));
                self.builder.ins().iadd_pairwise(low, high)
            }
            P::MulAddBytes => self.builder.ins().x86_pmaddubsw(b, a),
            P::MulRounded => {
                let (x, y) = (self.cast(I16X8, a), self.cast(I16X8, b));
                self.builder.ins().x86_pmulhrsw(x, y)
            }
            _ => self.sum_differences(a, b),
        }
    }

    fn sum_differences(&mut self, a: Value, b: Value) -> Value {
        let (most, least) = (self.builder.ins().umax(a, b), self.builder.ins().umin(a, b));
        let bytes = self.builder.ins().isub(most, least);
        let (low, high) = (self.builder.ins().uwiden_low(bytes), self.builder.ins().uwiden_high(bytes));
        // No sum here is greater than 8 * 255.
        let words = self.builder.ins().iadd_pairwise(low, high);
        let (low, high) = (self.builder.ins().swiden_low(words), self.builder.ins().swiden_high(words));
        let doubles = self.builder.ins().iadd_pairwise(low, high);
        let quads = self.cast(I64X2, doubles);
        let distance = self.builder.ins().iconst(I64, 32);
        let upper = self.builder.ins().ushr(quads, distance);
        let sum = self.builder.ins().iadd(quads, upper);
        let mask = self.vector_constant(I64X2, std::array::from_fn(|n| if n % 8 < 4 { 0xFF } else { 0 }));
        self.builder.ins().band(sum, mask)
    }

    /// What has to do with a general-purpose register.
    fn single(&mut self, how: LanePrimitive, a: Value, b: Value, imm: u8) -> Value {
        use LanePrimitive as P;
        let value = match how {
            P::Insert(e) => {
                let (x, low) = (self.cast(vector(e), a), self.half(b, false));
                let element = vector(e).lane_type();
                let low = if element == I64 { low } else { self.builder.ins().ireduce(element, low) };
                return self.builder.ins().insertlane(x, low, imm & (vector(e).lane_count() as u8 - 1));
            }
            P::Extract(e) => {
                let y = self.cast(vector(e), b);
                let element = self.builder.ins().extractlane(y, imm & (vector(e).lane_count() as u8 - 1));
                if e == Element::I64 { element } else { self.builder.ins().uextend(I64, element) }
            }
            P::SignBits(e) => {
                let y = self.cast(vector(e), b);
                let bits = self.builder.ins().vhigh_bits(I32, y);
                self.builder.ins().uextend(I64, bits)
            }
            _ => {
                let (common, rest) = (self.builder.ins().band(a, b), self.builder.ins().band_not(b, a));
                let mut none = |v| {
                    let any = self.builder.ins().vany_true(v);
                    let none = self.builder.ins().bxor_imm_u(any, 1);
                    self.builder.ins().uextend(I64, none)
                };
                let (zero, carry) = (none(common), none(rest));
                let zero = self.builder.ins().ishl_imm_u(zero, 6);
                self.builder.ins().bor(zero, carry)
            }
        };
        let nothing = self.builder.ins().iconst(I64, 0);
        self.lane_of_halves(value, nothing)
    }

    pub(super) fn primitive3(&mut self, primitive: LanePrimitive3, a: Value, b: Value, c: Value) -> Value {
        let LanePrimitive3::Blend(e) = primitive;
        let ty = vector(e);
        let (x, y, choice) = (self.cast(ty, a), self.cast(ty, b), self.cast(ty, c));
        let zero = self.zero(ty);
        let mask = self.builder.ins().icmp(IntCC::SignedLessThan, choice, zero);
        let r = self.builder.ins().bitselect(mask, y, x);
        self.cast(I8X16, r)
    }
}
