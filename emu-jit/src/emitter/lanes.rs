//! What is known of lanes while a region is translated: where their halves and lowest elements are.

use super::{Cond, Translator};
use cranelift_codegen::{
    cursor::{Cursor, FuncCursor},
    ir::{
        ConstantData, Endianness, InstBuilder, InstructionData, MemFlagsData, Opcode, Type, Value, ValueDef,
        condcodes::FloatCC,
        types::{F32, F32X4, F64, F64X2, I8X16, I32, I64, I64X2},
    },
};
use emu_core::arch::Width;
use rustc_hash::FxHashMap;

/// A lane whose lowest element is at hand.
#[derive(Debug, Clone, Copy)]
struct Scalar {
    element: Value,
    /// The lane that has the other elements; none: they are zero.
    rest: Option<Value>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Lanes {
    /// Lanes that were made of two halves.
    halves: FxHashMap<Value, (Value, Value)>,
    /// Halves that were taken from lanes: whether the upper one.
    origins: FxHashMap<Value, (Value, bool)>,
    /// Values that are the low 32 bits of lanes.
    quarters: FxHashMap<Value, Value>,
    /// Lanes that were made of an element.
    scalars: FxHashMap<Value, Scalar>,
    /// Flags that tell the order of two numbers, which may be unordered or not.
    orders: FxHashMap<Value, (Value, Value, bool)>,
}

impl Lanes {
    /// `flags` are ZF, PF and CF of a comparison of `a` and `b`. `quiet`: they may be unordered.
    pub fn is_order(&mut self, flags: Value, a: Value, b: Value, quiet: bool) {
        self.orders.insert(flags, (a, b, quiet));
    }

    /// Bit `n` of `flags` as the condition that it tells.
    pub fn order(&self, flags: Value, n: u32) -> Option<Cond> {
        let &(a, b, quiet) = self.orders.get(&flags)?;
        Some(match n {
            0 => Cond::Order(FloatCC::UnorderedOrLessThan, a, b),
            6 => Cond::Order(FloatCC::UnorderedOrEqual, a, b),
            2 if quiet => Cond::Order(FloatCC::Unordered, a, b),
            _ => Cond::Known(false),
        })
    }

    /// `r` is the low `w` bits of `a`.
    pub fn is_truncated(&mut self, w: Width, a: Value, r: Value) {
        if w == Width::W32
            && let Some(&(lane, false)) = self.origins.get(&a)
        {
            self.quarters.insert(r, lane);
        }
    }
}

impl Translator {
    pub(super) fn cast(&mut self, ty: Type, a: Value) -> Value {
        if self.builder.func.dfg.value_type(a) == ty {
            return a;
        }
        let little = MemFlagsData::new().with_endianness(Endianness::Little);
        self.builder.ins().bitcast(ty, little, a)
    }

    pub(super) fn vector_constant(&mut self, ty: Type, bytes: [u8; 16]) -> Value {
        let constant = self.builder.func.dfg.constants.insert(ConstantData::from(&bytes[..]));
        self.builder.ins().vconst(ty, constant)
    }

    pub(super) fn zero(&mut self, ty: Type) -> Value {
        self.vector_constant(ty, [0; 16])
    }

    /// A shuffle of the bytes of `a` (0 to 15) and `b` (16 to 31).
    pub(super) fn shuffle(&mut self, a: Value, b: Value, mask: [u8; 16]) -> Value {
        // An operand that no byte is taken from is no use of its value: the code generator would find that out after
        // `Opaque::reveal` has counted it as one, and drop the operation that makes it, with its flags.
        let a = if mask.iter().all(|from| *from >= 16) { b } else { a };
        let b = if mask.iter().all(|from| *from < 16) { a } else { b };
        let mask = self.builder.func.dfg.immediates.push(ConstantData::from(&mask[..]));
        self.builder.ins().shuffle(a, b, mask)
    }

    /// `to` with its lowest element replaced. Who needs that element finds it; only who needs more makes a lane of it.
    pub(super) fn place(&mut self, to: Value, element: Value) -> Value {
        let ty = self.builder.func.dfg.value_type(element);
        let of_same_type = |scalar: &&Scalar| self.builder.func.dfg.value_type(scalar.element) == ty;
        let rest = match self.known.scalars.get(&to).filter(of_same_type) {
            Some(scalar) => scalar.rest,
            None => Some(to),
        };
        self.scalar(Scalar { element, rest })
    }

    fn scalar(&mut self, scalar: Scalar) -> Value {
        let lane = self.of_scalar(scalar);
        self.known.scalars.insert(lane, scalar);
        lane
    }

    fn of_scalar(&mut self, Scalar { element, rest }: Scalar) -> Value {
        let double = self.builder.func.dfg.value_type(element) == F64;
        let ty = if double { F64X2 } else { F32X4 };
        let lane = match rest {
            Some(rest) => {
                let rest = self.cast(ty, rest);
                self.builder.ins().insertlane(rest, element, 0)
            }
            None => self.builder.ins().scalar_to_vector(ty, element),
        };
        self.cast(I8X16, lane)
    }

    /// The lowest element of `a`.
    pub(super) fn lowest(&mut self, double: bool, a: Value) -> Value {
        let ty = if double { F64X2 } else { F32X4 };
        if let Some(scalar) = self.known.scalars.get(&a)
            && self.builder.func.dfg.value_type(scalar.element) == ty.lane_type()
        {
            return scalar.element;
        }
        let a = self.cast(ty, a);
        self.builder.ins().extractlane(a, 0)
    }

    /// `value`, for a cold block: a lane made of an element is made there, not where the element was computed.
    pub(super) fn at_exit(&mut self, value: Value) -> Value {
        match self.known.scalars.get(&value) {
            Some(&scalar) => self.of_scalar(scalar),
            None => value,
        }
    }

    /// If `value` has just been loaded from memory: it is loaded to a vector register instead.
    fn loaded(&mut self, value: Value) -> Option<Value> {
        let block = self.builder.current_block()?;
        let dfg = &self.builder.func.dfg;
        let ValueDef::Result(load, 0) = dfg.value_def(value) else { return None };
        let mut last = self.builder.func.layout.last_inst(block)?;
        while last != load && dfg.insts[last].opcode() == Opcode::Iconst {
            last = self.builder.func.layout.prev_inst(last)?;
        }
        let InstructionData::Load { opcode, arg, flags, offset } = dfg.insts[load] else { return None };
        let ty = match opcode {
            Opcode::Load if dfg.value_type(value) == I64 => F64,
            Opcode::Uload32 => F32,
            _ => return None,
        };
        if last != load {
            return None;
        }
        let flags = dfg.mem_flags[flags];
        let mut cursor = FuncCursor::new(self.builder.func).at_inst(load);
        let element = cursor.ins().load(ty, flags, arg, offset);
        let plain = MemFlagsData::new();
        if ty == F64 {
            cursor.func.replace(load).bitcast(I64, plain, element);
        } else {
            let bits = cursor.ins().bitcast(I32, plain, element);
            cursor.func.replace(load).uextend(I64, bits);
        }
        Some(element)
    }

    /// A half of `a` below a half of `b`.
    fn join(&mut self, (a, a_upper): (Value, bool), (b, b_upper): (Value, bool)) -> Value {
        let first = |upper: bool| if upper { 8 } else { 0 };
        let mask = std::array::from_fn(|n| {
            let n = n as u8;
            if n < 8 { n + first(a_upper) } else { n - 8 + 16 + first(b_upper) }
        });
        self.shuffle(a, b, mask)
    }

    pub(super) fn lane_of_halves(&mut self, low: Value, high: Value) -> Value {
        if self.known_constant(high) == Some(0) {
            if let Some(element) = self.loaded(low) {
                return self.scalar(Scalar { element, rest: None });
            }
            if let Some(&(lane, false)) = self.known.origins.get(&low)
                && let Some(Scalar { element, rest: None }) = self.known.scalars.get(&lane)
                && self.builder.func.dfg.value_type(*element) == F64
            {
                return lane;
            }
        }
        let origins = (self.known.origins.get(&low).copied(), self.known.origins.get(&high).copied());
        let lane = match (origins, self.known_constant(low), self.known_constant(high)) {
            (_, Some(0), Some(0)) => self.zero(I8X16),
            ((Some(a), Some(b)), ..) => self.join(a, b),
            ((Some(a), None), _, Some(0)) => {
                let zero = self.zero(I8X16);
                self.join(a, (zero, false))
            }
            ((Some((a, false)), None), ..) => {
                let a = self.cast(I64X2, a);
                self.builder.ins().insertlane(a, high, 1)
            }
            ((None, Some((b, true))), ..) => {
                let b = self.cast(I64X2, b);
                self.builder.ins().insertlane(b, low, 0)
            }
            (.., Some(0)) => self.builder.ins().scalar_to_vector(I64X2, low),
            _ => {
                let lane = self.builder.ins().scalar_to_vector(I64X2, low);
                self.builder.ins().insertlane(lane, high, 1)
            }
        };
        let lane = self.cast(I8X16, lane);
        self.known.halves.insert(lane, (low, high));
        lane
    }

    pub(super) fn half(&mut self, lane: Value, upper: bool) -> Value {
        if let Some(&(low, high)) = self.known.halves.get(&lane) {
            return if upper { high } else { low };
        }
        let scalar = self.known.scalars.get(&lane).copied();
        let half = match scalar {
            Some(Scalar { element, .. }) if !upper && self.builder.func.dfg.value_type(element) == F64 => {
                self.builder.ins().bitcast(I64, MemFlagsData::new(), element)
            }
            _ => {
                let a = self.cast(I64X2, lane);
                self.builder.ins().extractlane(a, u8::from(upper))
            }
        };
        self.known.origins.insert(half, (lane, upper));
        half
    }

    /// What to store for the low `w` bits of `value`: straight from a vector register if it is there.
    pub(super) fn stored(&mut self, w: Width, value: Value) -> Value {
        let lane = match (w, self.known.origins.get(&value), self.known.quarters.get(&value)) {
            (Width::W64, Some(&(lane, false)), _) => Some((lane, F64X2)),
            (Width::W32, Some(&(lane, false)), _) => Some((lane, F32X4)),
            (Width::W32, _, Some(&lane)) => Some((lane, F32X4)),
            _ => None,
        };
        let Some((lane, ty)) = lane else { return self.narrow(w, value) };
        self.lowest(ty == F64X2, lane)
    }

    /// Ends a block.
    pub fn end_block(&mut self) {
        self.call_waiting();
        self.store_note();
    }
}
