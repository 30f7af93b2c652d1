//! Floating-point operations that Cranelift has operations for, as the host does them under the guest's MXCSR.
//!
//! What their results and flags are is the host's: so each must become the one instruction that it is meant to, at its
//! place. What Cranelift makes of them on x86-64 hosts was read in its rules; the sweeps hold it against the host.

use super::{Cond, Translator};
use cranelift_codegen::ir::{
    InstBuilder, Type, Value,
    condcodes::{FloatCC, IntCC},
    types::{F32, F32X4, F64, F64X2, I8X16, I32, I32X4, I64},
};
use emu_core::lane::{Floats, FpPrimitive, is_simple_predicate};

/// The predicates of comparisons, in the order of their encoding. Those that are not of equality or order alone raise an
/// exception for quiet NaNs, as the host's do that Cranelift makes of them for vectors.
const PREDICATES: [FloatCC; 8] = [
    FloatCC::Equal,
    FloatCC::LessThan,
    FloatCC::LessThanOrEqual,
    FloatCC::Unordered,
    FloatCC::NotEqual,
    FloatCC::UnorderedOrGreaterThanOrEqual,
    FloatCC::UnorderedOrGreaterThan,
    FloatCC::Ordered,
];

fn vector(double: bool) -> Type {
    if double { F64X2 } else { F32X4 }
}

impl Translator {
    /// The operation, or nothing if it must be called.
    pub(super) fn fp_primitive(
        &mut self,
        primitive: FpPrimitive,
        a: Value,
        b: Value,
        imm: u8,
    ) -> Option<Value> {
        use FpPrimitive as P;
        if !cfg!(target_arch = "x86_64") {
            return None;
        }
        let r = match primitive {
            P::Compare(_) if !is_simple_predicate(imm) => return None,
            P::Compare(f) => self.compare(f, a, b, PREDICATES[usize::from(imm & 7)]),
            P::Order { double, quiet } => return Some(self.compare_order(double, quiet, a, b)),
            P::Truncate { double, wide } => return Some(self.truncate_float(double, wide, b)),
            P::FromInteger { double, wide } => {
                let value = self.half(b, false);
                let value = if wide { value } else { self.builder.ins().ireduce(I32, value) };
                let float = self.builder.ins().fcvt_from_sint(vector(double).lane_type(), value);
                self.place(a, float)
            }
            P::FromIntegers { .. } | P::TruncateAll | P::Widen { .. } | P::Narrow { .. } => {
                self.convert(primitive, a, b)
            }
            P::Add(f) | P::Sub(f) | P::Mul(f) | P::Div(f) | P::Root(f) | P::Min(f) | P::Max(f) => {
                self.arithmetic(primitive, f, a, b)
            }
        };
        if matches!(
            primitive,
            P::Add(_) | P::Sub(_) | P::Mul(_) | P::Div(_) | P::Min(_) | P::Max(_) | P::Compare(_)
        ) {
            self.known.is_seen(a);
        }
        self.known.is_seen(b);
        let r = self.cast(I8X16, r);
        self.known.is_result(r);
        Some(r)
    }

    fn arithmetic(&mut self, primitive: FpPrimitive, f: Floats, a: Value, b: Value) -> Value {
        use FpPrimitive as P;
        let ty = vector(f.double);
        let (x, y) = if f.scalar {
            (self.lowest(f.double, a), self.lowest(f.double, b))
        } else {
            (self.cast(ty, a), self.cast(ty, b))
        };
        let r = match primitive {
            P::Add(_) => self.builder.ins().fadd(x, y),
            P::Sub(_) => self.builder.ins().fsub(x, y),
            P::Mul(_) => self.builder.ins().fmul(x, y),
            P::Div(_) => self.builder.ins().fdiv(x, y),
            P::Root(_) => self.builder.ins().sqrt(y),
            P::Max(_) => self.choose(f, (y, x), x, y),
            _ => self.choose(f, (x, y), x, y),
        };
        if f.scalar { self.place(a, r) } else { r }
    }

    /// `x` where the first of the pair is less than the second, else `y`: one instruction on the host.
    fn choose(&mut self, f: Floats, (p, q): (Value, Value), x: Value, y: Value) -> Value {
        let less = self.builder.ins().fcmp(FloatCC::LessThan, p, q);
        if f.scalar {
            return self.builder.ins().select(less, x, y);
        }
        let less = self.cast(vector(f.double), less);
        self.builder.ins().bitselect(less, x, y)
    }

    /// All of the lowest element's bits, and zeros above, which raise nothing.
    fn alone(&mut self, double: bool, a: Value) -> Value {
        let element = self.lowest(double, a);
        self.builder.ins().scalar_to_vector(vector(double), element)
    }

    fn compare(&mut self, f: Floats, a: Value, b: Value, cc: FloatCC) -> Value {
        let ty = vector(f.double);
        let (x, y) = if f.scalar {
            (self.alone(f.double, a), self.alone(f.double, b))
        } else {
            (self.cast(ty, a), self.cast(ty, b))
        };
        let mask = self.builder.ins().fcmp(cc, x, y);
        if !f.scalar {
            return mask;
        }
        let mask = self.cast(ty, mask);
        let element = self.builder.ins().extractlane(mask, 0);
        self.place(a, element)
    }

    /// ZF, PF and CF of a comparison of the lowest elements. The host's is the quiet one: where the difference would be
    /// seen, the interpreter compares.
    fn compare_order(&mut self, double: bool, quiet: bool, a: Value, b: Value) -> Value {
        let (x, y) = (self.lowest(double, a), self.lowest(double, b));
        if !quiet {
            self.leave_when(Cond::Order(FloatCC::Unordered, x, y));
        }
        let mut flags = self.flag(Cond::Order(FloatCC::UnorderedOrLessThan, x, y), 0);
        let equal = self.flag(Cond::Order(FloatCC::UnorderedOrEqual, x, y), 6);
        flags = self.builder.ins().bor(flags, equal);
        if quiet {
            let unordered = self.flag(Cond::Order(FloatCC::Unordered, x, y), 2);
            flags = self.builder.ins().bor(flags, unordered);
        }
        for operand in [a, b] {
            self.known.is_seen(operand);
        }
        self.known.is_result(flags);
        self.known.is_order(flags, x, y, quiet);
        let nothing = self.builder.ins().iconst(I64, 0);
        self.lane_of_halves(flags, nothing)
    }

    fn flag(&mut self, c: Cond, bit: i64) -> Value {
        let truth = self.truth(c);
        let wide = self.builder.ins().uextend(I64, truth);
        self.builder.ins().ishl_imm_u(wide, bit)
    }

    /// The lowest element as an integer. Where the host's operation does not tell what Cranelift's does, at the ends of
    /// what an integer can be and with NaNs, the interpreter converts.
    fn truncate_float(&mut self, double: bool, wide: bool, b: Value) -> Value {
        let x = self.lowest(double, b);
        let ty = if wide { I64 } else { I32 };
        let r = self.builder.ins().fcvt_to_sint_sat(ty, x);
        let most = if wide { i64::MAX } else { i64::from(i32::MAX) };
        let end = self.builder.ins().iconst(ty, most);
        let above = self.builder.ins().isub(r, end);
        let limit = self.builder.ins().iconst(ty, 1);
        self.leave_when(Cond::Compare(IntCC::UnsignedLessThanOrEqual, above, limit));
        // Without its sign a NaN is above infinity.
        let bits = self.half(b, false);
        let (distance, infinity) = if double { (1, 0x7FF_u64 << 53) } else { (33, 0xFF << 56) };
        let magnitude = self.builder.ins().ishl_imm_u(bits, distance);
        let infinity = self.builder.ins().iconst(I64, infinity as i64);
        self.leave_when(Cond::Compare(IntCC::UnsignedGreaterThan, magnitude, infinity));
        let r = if wide { r } else { self.builder.ins().uextend(I64, r) };
        self.known.is_seen(b);
        self.known.is_result(r);
        let nothing = self.builder.ins().iconst(I64, 0);
        self.lane_of_halves(r, nothing)
    }

    fn convert(&mut self, primitive: FpPrimitive, a: Value, b: Value) -> Value {
        use FpPrimitive as P;
        match primitive {
            P::FromIntegers { double: false } => {
                let y = self.cast(I32X4, b);
                self.builder.ins().fcvt_from_sint(F32X4, y)
            }
            P::FromIntegers { double: true } => {
                let y = self.cast(I32X4, b);
                let wide = self.builder.ins().swiden_low(y);
                self.builder.ins().fcvt_from_sint(F64X2, wide)
            }
            P::Widen { scalar: true } => {
                let y = self.lowest(false, b);
                let r = self.builder.ins().fpromote(F64, y);
                self.place(a, r)
            }
            P::Widen { scalar: false } => {
                let y = self.cast(F32X4, b);
                self.builder.ins().fvpromote_low(y)
            }
            P::Narrow { scalar: true } => {
                let y = self.lowest(true, b);
                let r = self.builder.ins().fdemote(F32, y);
                self.place(a, r)
            }
            P::Narrow { scalar: false } => {
                let y = self.cast(F64X2, b);
                self.builder.ins().fvdemote(y)
            }
            _ => {
                let y = self.cast(F32X4, b);
                self.builder.ins().x86_cvtt2dq(I32X4, y)
            }
        }
    }
}
