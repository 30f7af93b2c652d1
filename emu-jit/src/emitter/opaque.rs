//! Floating-point operations that the optimiser cannot see into.
//!
//! To the code generator they are pure: it drops those whose result is not used, and moves and merges the others, and
//! with them the flags that they leave in MXCSR. While a region is built and optimised they are therefore calls of
//! functions that do not exist, which stay where they are. [`Opaque::reveal`] puts the operations in their places, after
//! which nothing is moved any more.

use super::Translator;
use cranelift_codegen::{
    cursor::{Cursor, FuncCursor},
    ir::{
        AbiParam, ExtFuncData, ExternalName, FuncRef, Function, Inst, InstBuilder, InstructionData, Opcode,
        Signature, StackSlotData, StackSlotKind, Type, UserExternalName, Value, condcodes::FloatCC,
        types::I64,
    },
    isa::CallConv,
};
use rustc_hash::{FxHashMap, FxHashSet};

/// What is done to floating-point numbers, of which type its operands and result tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Sum.
    Add,
    /// Difference.
    Sub,
    /// Product.
    Mul,
    /// Quotient.
    Div,
    /// Square root.
    Root,
    /// The first if it is less, else the second.
    Min,
    /// The first if it is greater, else the second.
    Max,
    /// Comparison.
    Compare(FloatCC),
    /// From signed integers.
    FromIntegers,
    /// To a signed integer, saturating, towards zero.
    Truncate,
    /// To signed integers, as the host does it.
    TruncateAll,
    /// To double precision.
    Widen,
    /// The lower two to double precision.
    WidenLower,
    /// To single precision.
    Narrow,
    /// Both to single precision.
    NarrowBoth,
}

/// The operations of a region.
#[derive(Debug, Default)]
pub struct Opaque {
    functions: FxHashMap<(Operation, Vec<Type>), FuncRef>,
    operations: FxHashMap<FuncRef, Operation>,
}

impl Translator {
    /// `operation`, whose result is of type `ty`.
    pub(super) fn float(&mut self, operation: Operation, ty: Type, operands: &[Value]) -> Value {
        let types = operands.iter().map(|v| self.builder.func.dfg.value_type(*v)).chain([ty]).collect();
        let function = match self.opaque.functions.get(&(operation, types)) {
            Some(function) => *function,
            None => self.declare(operation, ty, operands),
        };
        let call = self.builder.ins().call(function, operands);
        self.builder.inst_results(call)[0]
    }

    fn declare(&mut self, operation: Operation, ty: Type, operands: &[Value]) -> FuncRef {
        let mut types: Vec<Type> = operands.iter().map(|v| self.builder.func.dfg.value_type(*v)).collect();
        let mut signature = Signature::new(CallConv::SystemV);
        signature.params.extend(types.iter().map(|ty| AbiParam::new(*ty)));
        signature.returns.push(AbiParam::new(ty));
        let signature = self.builder.import_signature(signature);
        let index = self.opaque.operations.len() as u32;
        let name = self.builder.func.declare_imported_user_function(UserExternalName { namespace: 0, index });
        let data =
            ExtFuncData { name: ExternalName::User(name), signature, colocated: false, patchable: false };
        let function = self.builder.import_function(data);
        types.push(ty);
        self.opaque.functions.insert((operation, types), function);
        self.opaque.operations.insert(function, operation);
        function
    }
}

impl Opaque {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Puts the operations in their places in `function`, which has been optimised: what is in it is used, unless it is
    /// an operation's result. Such a result is stored where nobody looks.
    pub fn reveal(&self, function: &mut Function) {
        let (calls, used) = self.calls(function);
        let mut slot = None;
        for call in calls {
            let InstructionData::Call { func_ref, .. } = function.dfg.insts[call] else { continue };
            let Some(&operation) = self.operations.get(&func_ref) else { continue };
            let result = function.dfg.first_result(call);
            if !used.contains(&result) {
                let slot = *slot.get_or_insert_with(|| {
                    let data = StackSlotData::new(StackSlotKind::ExplicitSlot, 16, 4);
                    function.create_sized_stack_slot(data)
                });
                let flags = cranelift_codegen::ir::MemFlagsData::trusted();
                let mut cursor = FuncCursor::new(function).after_inst(call);
                let at = cursor.ins().stack_addr(I64, slot, 0);
                cursor.ins().store(flags, result, at, 0);
            }
            put(function, call, operation);
        }
    }

    /// The calls that stand for operations, and the values that something depends on.
    fn calls(&self, function: &Function) -> (Vec<Inst>, FxHashSet<Value>) {
        let (mut calls, mut used) = (Vec::new(), FxHashSet::default());
        for block in function.layout.blocks() {
            for inst in function.layout.block_insts(block) {
                used.extend(function.dfg.inst_values(inst).map(|value| function.dfg.resolve_aliases(value)));
                if function.dfg.insts[inst].opcode() == Opcode::Call {
                    calls.push(inst);
                }
            }
        }
        (calls, used)
    }
}

fn put(function: &mut Function, call: Inst, operation: Operation) {
    let args: Vec<Value> = function.dfg.inst_args(call).to_vec();
    let (x, y) = (args[0], args.last().copied().unwrap_or(args[0]));
    let ty = function.dfg.value_type(function.dfg.first_result(call));
    let mut cursor = FuncCursor::new(function).at_inst(call);
    let less = match operation {
        Operation::Min => Some(cursor.ins().fcmp(FloatCC::LessThan, x, y)),
        Operation::Max => Some(cursor.ins().fcmp(FloatCC::LessThan, y, x)),
        _ => None,
    };
    let less = less.map(|less| {
        if ty.is_vector() {
            let flags = cranelift_codegen::ir::MemFlagsData::new()
                .with_endianness(cranelift_codegen::ir::Endianness::Little);
            cursor.ins().bitcast(ty, flags, less)
        } else {
            less
        }
    });
    let ins = cursor.func.replace(call);
    match (operation, less) {
        (Operation::Min | Operation::Max, Some(less)) if ty.is_vector() => drop(ins.bitselect(less, x, y)),
        (Operation::Min | Operation::Max, Some(less)) => drop(ins.select(less, x, y)),
        (Operation::Add, _) => drop(ins.fadd(x, y)),
        (Operation::Sub, _) => drop(ins.fsub(x, y)),
        (Operation::Mul, _) => drop(ins.fmul(x, y)),
        (Operation::Div, _) => drop(ins.fdiv(x, y)),
        (Operation::Root, _) => drop(ins.sqrt(x)),
        (Operation::Compare(cc), _) => drop(ins.fcmp(cc, x, y)),
        (Operation::FromIntegers, _) => drop(ins.fcvt_from_sint(ty, x)),
        (Operation::Truncate, _) => drop(ins.fcvt_to_sint_sat(ty, x)),
        (Operation::TruncateAll, _) => drop(ins.x86_cvtt2dq(ty, x)),
        (Operation::Widen, _) => drop(ins.fpromote(ty, x)),
        (Operation::WidenLower, _) => drop(ins.fvpromote_low(x)),
        (Operation::Narrow, _) => drop(ins.fdemote(ty, x)),
        _ => drop(ins.fvdemote(x)),
    }
}
