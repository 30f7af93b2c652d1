//! Vector lanes: 16 bytes in a host vector register. What Cranelift has no operation for is called.

use super::{Faults, Translator};
use cranelift_codegen::ir::{InstBuilder, Value, condcodes::IntCC, types::I16};
use emu_core::{
    lane::{FpOperation, FpOperation3, LaneOperation, LaneOperation3, LanePrimitive},
    region::layout,
    semantics::{Arithmetic, Vectors},
};

#[cfg(target_arch = "x86_64")]
#[expect(
    improper_ctypes_definitions,
    reason = "lanes are passed in vector registers, as the code generator does"
)]
mod calls {
    //! Calls with lanes in vector registers.

    use super::{FpOperation, FpOperation3, InstBuilder, LaneOperation, LaneOperation3, Translator, Value};
    use cranelift_codegen::{
        ir::{
            AbiParam, Signature,
            types::{I8X16, I64},
        },
        isa::CallConv,
    };
    use emu_core::lane::{Lane, bits, lane};

    pub unsafe extern "sysv64" fn apply<O: LaneOperation>(a: Lane, b: Lane, imm: u64) -> Lane {
        lane(O::apply(bits(a), bits(b), imm as u8))
    }
    pub unsafe extern "sysv64" fn apply3<O: LaneOperation3>(a: Lane, b: Lane, c: Lane, imm: u64) -> Lane {
        lane(O::apply(bits(a), bits(b), bits(c), imm as u8))
    }
    pub unsafe extern "sysv64" fn apply_fp<O: FpOperation>(a: Lane, b: Lane, imm: u64) -> Lane {
        lane(O::apply(bits(a), bits(b), imm as u8))
    }
    pub unsafe extern "sysv64" fn apply_fp3<O: FpOperation3>(a: Lane, b: Lane, c: Lane, _: u64) -> Lane {
        lane(O::apply(bits(a), bits(b), bits(c)))
    }

    impl Translator {
        /// Calls `function` with `lanes` and an immediate, for a lane.
        pub(super) fn call_on_lanes(&mut self, function: *const (), lanes: &[Value], imm: Value) -> Value {
            let mut signature = Signature::new(CallConv::SystemV);
            signature.params.extend(lanes.iter().map(|_| AbiParam::new(I8X16)));
            signature.params.push(AbiParam::new(I64));
            signature.returns.push(AbiParam::new(I8X16));
            let signature = self.builder.import_signature(signature);
            let callee = self.builder.ins().iconst(I64, function as i64);
            let args: Vec<Value> = lanes.iter().copied().chain([imm]).collect();
            let call = self.builder.ins().call_indirect(signature, callee, &args);
            self.builder.inst_results(call)[0]
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod calls {
    //! Calls with lanes in memory, as hosts differ in how they pass them.

    use super::{FpOperation, FpOperation3, InstBuilder, LaneOperation, LaneOperation3, Translator, Value};
    use cranelift_codegen::ir::{
        StackSlotData, StackSlotKind,
        types::{I8X16, I64},
    };

    pub unsafe extern "C" fn apply<O: LaneOperation>(
        r: *mut u128,
        a: *const u128,
        b: *const u128,
        imm: u64,
    ) -> u64 {
        // SAFETY: translated code gives addresses of lanes on its stack.
        unsafe { r.write(O::apply(a.read(), b.read(), imm as u8)) };
        0
    }
    pub unsafe extern "C" fn apply3<O: LaneOperation3>(
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
    pub unsafe extern "C" fn apply_fp<O: FpOperation>(
        r: *mut u128,
        a: *const u128,
        b: *const u128,
        imm: u64,
    ) -> u64 {
        // SAFETY: as in `apply`.
        unsafe { r.write(O::apply(a.read(), b.read(), imm as u8)) };
        0
    }
    pub unsafe extern "C" fn apply_fp3<O: FpOperation3>(
        r: *mut u128,
        a: *const u128,
        b: *const u128,
        c: *const u128,
        _: u64,
    ) -> u64 {
        // SAFETY: as in `apply`.
        unsafe { r.write(O::apply(a.read(), b.read(), c.read())) };
        0
    }

    impl Translator {
        /// Calls `function` with the addresses of a result and of `lanes`, and with an immediate.
        pub(super) fn call_on_lanes(&mut self, function: *const (), lanes: &[Value], imm: Value) -> Value {
            let size = 16 * (lanes.len() as u32 + 1);
            let data = StackSlotData::new(StackSlotKind::ExplicitSlot, size, 4);
            let slot = self.builder.create_sized_stack_slot(data);
            let stack = self.spaces.stack;
            let base = self.builder.ins().stack_addr(I64, slot, 0);
            let mut args = vec![base];
            for (n, lane) in lanes.iter().enumerate() {
                let at = 16 * (n as i32 + 1);
                self.builder.ins().store(stack, *lane, base, at);
                args.push(self.builder.ins().stack_addr(I64, slot, at));
            }
            args.push(imm);
            self.call(function, &args);
            self.builder.ins().load(I8X16, stack, base, 0)
        }
    }
}

impl Vectors for Translator {
    fn lane_from(&mut self, low: Value, high: Value) -> Value {
        self.lane_of_halves(low, high)
    }
    fn lane_low(&mut self, a: Value) -> Value {
        self.half(a, false)
    }
    fn lane_high(&mut self, a: Value) -> Value {
        self.half(a, true)
    }
    fn lane_op<O: LaneOperation>(&mut self, a: Value, b: Value, imm: u8) -> Value {
        let primitive = O::OP.primitive();
        if primitive == Some(LanePrimitive::Shuffle) {
            return self.shuffle(a, b, O::apply(numbers(0), numbers(16), imm).to_le_bytes());
        }
        if let Some(r) = primitive.and_then(|primitive| self.primitive(primitive, a, b, imm)) {
            return r;
        }
        let imm = self.constant(imm.into());
        self.call_on_lanes(calls::apply::<O> as *const (), &[a, b], imm)
    }
    fn lane_op3<O: LaneOperation3>(&mut self, a: Value, b: Value, c: Value, imm: u8) -> Value {
        if let Some(primitive) = O::OP.primitive() {
            return self.primitive3(primitive, a, b, c);
        }
        let imm = self.constant(imm.into());
        self.call_on_lanes(calls::apply3::<O> as *const (), &[a, b, c], imm)
    }
    fn fp_lanes<O: FpOperation, const N: usize>(
        &mut self,
        a: [Value; N],
        b: [Value; N],
        imm: u8,
    ) -> Result<[Value; N], Faults> {
        self.floating_point = true;
        Ok(std::array::from_fn(|n| {
            let inline =
                O::OP.primitive().and_then(|primitive| self.fp_primitive(primitive, a[n], b[n], imm));
            inline.unwrap_or_else(|| {
                let imm = self.constant(imm.into());
                self.call_on_lanes(calls::apply_fp::<O> as *const (), &[a[n], b[n]], imm)
            })
        }))
    }
    fn fp_lanes3<O: FpOperation3, const N: usize>(
        &mut self,
        a: [Value; N],
        b: [Value; N],
        c: [Value; N],
    ) -> Result<[Value; N], Faults> {
        self.floating_point = true;
        let imm = self.constant(0);
        Ok(std::array::from_fn(|n| {
            self.call_on_lanes(calls::apply_fp3::<O> as *const (), &[a[n], b[n], c[n]], imm)
        }))
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
