//! Vector lanes: 16 bytes in a host vector register. What Cranelift has no operation for is called.

use super::{Faults, Translator};
use cranelift_codegen::ir::{
    ConstantData, InstBuilder, StackSlot, StackSlotData, StackSlotKind, Type, Value,
    condcodes::IntCC,
    types::{F32X4, F64X2, I8X16, I16, I16X8, I32X4, I64, I64X2},
};
use emu_core::{
    lane::{Element, FpOperation, FpOperation3, FpPrimitive, LaneOperation, LaneOperation3, LanePrimitive},
    region::layout,
    semantics::{Arithmetic, Vectors},
};

/// Applies an operation on lanes in memory.
unsafe extern "C" fn apply<O: LaneOperation>(r: *mut u128, a: *const u128, b: *const u128, imm: u64) -> u64 {
    // SAFETY: translated code gives addresses of lanes on its stack.
    unsafe { r.write(O::apply(a.read(), b.read(), imm as u8)) };
    0
}
unsafe extern "C" fn apply3<O: LaneOperation3>(
    r: *mut u128,
    a: *const u128,
    b: *const u128,
    c: *const u128,
    imm: u64,
) -> u64 {
    // SAFETY: as in `apply`.
    unsafe { r.write(O::apply(a.read(), b.read(), c.read(), imm as u8)) };
    0
}
unsafe extern "C" fn apply_fp<O: FpOperation>(r: *mut u128, a: *const u128, b: *const u128, imm: u64) -> u64 {
    // SAFETY: as in `apply`.
    unsafe { r.write(O::apply(a.read(), b.read(), imm as u8)) };
    0
}
unsafe extern "C" fn apply_fp3<O: FpOperation3>(
    r: *mut u128,
    a: *const u128,
    b: *const u128,
    c: *const u128,
) -> u64 {
    // SAFETY: as in `apply`.
    unsafe { r.write(O::apply(a.read(), b.read(), c.read())) };
    0
}

/// The vector type with elements of that size.
fn vector(element: Element) -> Type {
    match element {
        Element::I8 => I8X16,
        Element::I16 => I16X8,
        Element::I32 => I32X4,
        Element::I64 => I64X2,
    }
}

impl Translator {
    fn cast(&mut self, ty: Type, a: Value) -> Value {
        if self.builder.func.dfg.value_type(a) == ty {
            return a;
        }
        let little = cranelift_codegen::ir::MemFlagsData::new()
            .with_endianness(cranelift_codegen::ir::Endianness::Little);
        self.builder.ins().bitcast(ty, little, a)
    }

    /// Calls `function` with the addresses of a result and of `lanes`, and with `rest`.
    fn call_on_lanes(&mut self, function: *const (), lanes: &[Value], rest: &[Value]) -> Value {
        let slot: StackSlot = self.builder.create_sized_stack_slot(StackSlotData::new(
            StackSlotKind::ExplicitSlot,
            16 * (lanes.len() as u32 + 1),
            4,
        ));
        let stack = self.spaces.stack;
        let base = self.builder.ins().stack_addr(I64, slot, 0);
        let mut args = vec![base];
        for (n, lane) in lanes.iter().enumerate() {
            let at = 16 * (n as i32 + 1);
            self.builder.ins().store(stack, *lane, base, at);
            args.push(self.builder.ins().stack_addr(I64, slot, at));
        }
        args.extend(rest);
        self.call(function, &args);
        self.builder.ins().load(I8X16, stack, base, 0)
    }

    fn primitive(&mut self, primitive: LanePrimitive, a: Value, b: Value) -> Value {
        use LanePrimitive as P;
        let of = |translator: &mut Self, element: Element| {
            let ty = vector(element);
            (translator.cast(ty, a), translator.cast(ty, b))
        };
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
        | P::Average(e)) = primitive
        else {
            return match primitive {
                P::And => self.builder.ins().band(a, b),
                P::Or => self.builder.ins().bor(a, b),
                P::Xor => self.builder.ins().bxor(a, b),
                _ => self.builder.ins().band_not(b, a),
            };
        };
        let (x, y) = of(self, e);
        let ins = self.builder.ins();
        let r = match primitive {
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
            _ => ins.avg_round(x, y),
        };
        self.cast(I8X16, r)
    }

    /// A shift of every element by the low 64 bits of `count`.
    fn shift_elements(&mut self, left: bool, element: Element, a: Value, count: Value) -> Value {
        let ty = vector(element);
        let width = i64::from(ty.lane_bits());
        let x = self.cast(ty, a);
        let count = self.lane_low(count);
        let limit = self.builder.ins().iconst(I64, width);
        let shifted =
            if left { self.builder.ins().ishl(x, count) } else { self.builder.ins().ushr(x, count) };
        let zero = self.zero(ty);
        let small = self.builder.ins().icmp(IntCC::UnsignedLessThan, count, limit);
        let r = self.builder.ins().select(small, shifted, zero);
        self.cast(I8X16, r)
    }

    fn zero(&mut self, ty: Type) -> Value {
        let constant = self.builder.func.dfg.constants.insert(ConstantData::from(&[0u8; 16][..]));
        self.builder.ins().vconst(ty, constant)
    }

    /// A shuffle of the bytes of `a` (0 to 15) and `b` (16 to 31).
    fn shuffle(&mut self, a: Value, b: Value, mask: [u8; 16]) -> Value {
        let mask = self.builder.func.dfg.immediates.push(ConstantData::from(&mask[..]));
        self.builder.ins().shuffle(a, b, mask)
    }

    fn fp_primitive(&mut self, primitive: FpPrimitive, a: Value, b: Value) -> Value {
        use FpPrimitive as P;
        self.floating_point = true;
        let (P::Add(f) | P::Sub(f) | P::Mul(f) | P::Div(f) | P::Root(f)) = primitive;
        let ty = if f.double { F64X2 } else { F32X4 };
        let (mut x, mut y) = (self.cast(ty, a), self.cast(ty, b));
        let whole = x;
        if f.scalar {
            (x, y) = (self.builder.ins().extractlane(x, 0), self.builder.ins().extractlane(y, 0));
        }
        let ins = self.builder.ins();
        let r = match primitive {
            P::Add(_) => ins.fadd(x, y),
            P::Sub(_) => ins.fsub(x, y),
            P::Mul(_) => ins.fmul(x, y),
            P::Div(_) => ins.fdiv(x, y),
            P::Root(_) => ins.sqrt(y),
        };
        let r = if f.scalar { self.builder.ins().insertlane(whole, r, 0) } else { r };
        self.cast(I8X16, r)
    }
}

impl Vectors for Translator {
    fn lane_from(&mut self, low: Value, high: Value) -> Value {
        // The upper half is zero now.
        let mut lane = self.builder.ins().scalar_to_vector(I64X2, low);
        if self.known_constant(high) != Some(0) {
            lane = self.builder.ins().insertlane(lane, high, 1);
        }
        let lane = self.cast(I8X16, lane);
        self.halves.insert(lane, (low, high));
        lane
    }
    fn lane_low(&mut self, a: Value) -> Value {
        if let Some((low, _)) = self.halves.get(&a) {
            return *low;
        }
        let a = self.cast(I64X2, a);
        self.builder.ins().extractlane(a, 0)
    }
    fn lane_high(&mut self, a: Value) -> Value {
        if let Some((_, high)) = self.halves.get(&a) {
            return *high;
        }
        let a = self.cast(I64X2, a);
        self.builder.ins().extractlane(a, 1)
    }
    fn lane_op<O: LaneOperation>(&mut self, a: Value, b: Value, imm: u8) -> Value {
        match O::OP.primitive() {
            Some(LanePrimitive::Shuffle) => {
                let (first, second) = (numbers(0), numbers(16));
                self.shuffle(a, b, O::apply(first, second, imm).to_le_bytes())
            }
            Some(LanePrimitive::ShiftLeft(element)) => self.shift_elements(true, element, a, b),
            Some(LanePrimitive::ShiftRight(element)) => self.shift_elements(false, element, a, b),
            Some(primitive) => self.primitive(primitive, a, b),
            None => {
                let imm = self.constant(imm.into());
                self.call_on_lanes(apply::<O> as *const (), &[a, b], &[imm])
            }
        }
    }
    fn lane_op3<O: LaneOperation3>(&mut self, a: Value, b: Value, c: Value, imm: u8) -> Value {
        let imm = self.constant(imm.into());
        self.call_on_lanes(apply3::<O> as *const (), &[a, b, c], &[imm])
    }
    fn fp_lanes<O: FpOperation, const N: usize>(
        &mut self,
        a: [Value; N],
        b: [Value; N],
        imm: u8,
    ) -> Result<[Value; N], Faults> {
        self.floating_point = true;
        Ok(std::array::from_fn(|n| match O::OP.primitive() {
            Some(primitive) => self.fp_primitive(primitive, a[n], b[n]),
            None => {
                let imm = self.constant(imm.into());
                self.call_on_lanes(apply_fp::<O> as *const (), &[a[n], b[n]], &[imm])
            }
        }))
    }
    fn fp_lanes3<O: FpOperation3, const N: usize>(
        &mut self,
        a: [Value; N],
        b: [Value; N],
        c: [Value; N],
    ) -> Result<[Value; N], Faults> {
        self.floating_point = true;
        Ok(std::array::from_fn(|n| self.call_on_lanes(apply_fp3::<O> as *const (), &[a[n], b[n], c[n]], &[])))
    }
    fn check_x87(&mut self) -> Result<(), Faults> {
        let status = self.field(I16, layout::X87_STATUS);
        let pending = self.builder.ins().band_imm_u(status, layout::X87_STATUS_ES as i64);
        let zero = self.builder.ins().iconst(I16, 0);
        self.leave_if(IntCC::NotEqual, pending, zero);
        Ok(())
    }
}

/// A lane whose bytes are the numbers from `first` on.
fn numbers(first: u8) -> u128 {
    u128::from_le_bytes(std::array::from_fn(|n| first + n as u8))
}
