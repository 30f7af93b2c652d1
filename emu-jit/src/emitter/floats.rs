//! Floating-point operations that Cranelift has operations for, as the host does them under the guest's MXCSR.
//!
//! What their results and flags are is the host's: so each must become the one instruction that it is meant to, at its
//! place (see [`opaque`](super::opaque)). What Cranelift makes of them on x86-64 hosts was read in its rules; the sweeps hold it against the host.

use super::{Cond, Translator, opaque::Operation};
use cranelift_codegen::ir::{
    InstBuilder, Type, Value,
    condcodes::{FloatCC, IntCC},
    types::{F32, F32X4, F64, F64X2, I8X16, I32, I32X4, I64, I64X2},
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
        if !self.target.x86 {
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
                let float = self.float(Operation::FromIntegers, vector(double).lane_type(), &[value]);
                self.place(a, float)
            }
            P::FromIntegers { .. } | P::TruncateAll | P::Widen { .. } | P::Narrow { .. } => {
                self.convert(primitive, a, b)
            }
            P::Add(f) | P::Sub(f) | P::Mul(f) | P::Div(f) | P::Root(f) | P::Min(f) | P::Max(f) => {
                self.arithmetic(primitive, f, a, b)
            }
        };
        Some(self.cast(I8X16, r))
    }

    fn arithmetic(&mut self, primitive: FpPrimitive, f: Floats, a: Value, b: Value) -> Value {
        use FpPrimitive as P;
        let ty = vector(f.double);
        let (x, y) = if f.scalar {
            (self.lowest(f.double, a), self.lowest(f.double, b))
        } else {
            (self.cast(ty, a), self.cast(ty, b))
        };
        let of = if f.scalar { ty.lane_type() } else { ty };
        let r = match primitive {
            P::Add(_) => self.float(Operation::Add, of, &[x, y]),
            P::Sub(_) => self.float(Operation::Sub, of, &[x, y]),
            P::Mul(_) => self.float(Operation::Mul, of, &[x, y]),
            P::Div(_) => self.float(Operation::Div, of, &[x, y]),
            P::Root(_) => self.float(Operation::Root, of, &[y]),
            P::Max(_) => self.float(Operation::Max, of, &[x, y]),
            _ => self.float(Operation::Min, of, &[x, y]),
        };
        if f.scalar { self.place(a, r) } else { r }
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
        let mask = self.float(Operation::Compare(cc), if f.double { I64X2 } else { I32X4 }, &[x, y]);
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
        let r = self.float(Operation::Truncate, ty, &[x]);
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
        let nothing = self.builder.ins().iconst(I64, 0);
        self.lane_of_halves(r, nothing)
    }

    fn convert(&mut self, primitive: FpPrimitive, a: Value, b: Value) -> Value {
        use FpPrimitive as P;
        match primitive {
            P::FromIntegers { double: false } => {
                let y = self.cast(I32X4, b);
                self.float(Operation::FromIntegers, F32X4, &[y])
            }
            P::FromIntegers { double: true } => {
                let y = self.cast(I32X4, b);
                let wide = self.builder.ins().swiden_low(y);
                self.float(Operation::FromIntegers, F64X2, &[wide])
            }
            P::Widen { scalar: true } => {
                let y = self.lowest(false, b);
                let r = self.float(Operation::Widen, F64, &[y]);
                self.place(a, r)
            }
            P::Widen { scalar: false } => {
                let y = self.cast(F32X4, b);
                self.float(Operation::WidenLower, F64X2, &[y])
            }
            P::Narrow { scalar: true } => {
                let y = self.lowest(true, b);
                let r = self.float(Operation::Narrow, F32, &[y]);
                self.place(a, r)
            }
            P::Narrow { scalar: false } => {
                let y = self.cast(F64X2, b);
                self.float(Operation::NarrowBoth, F32X4, &[y])
            }
            _ => {
                let y = self.cast(F32X4, b);
                self.float(Operation::TruncateAll, I32X4, &[y])
            }
        }
    }
}
