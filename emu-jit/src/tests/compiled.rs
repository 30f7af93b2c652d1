//! Functions made of a few operations of the emitter, on words in memory.

use super::machine;
use crate::{
    code::{Code, CodeMemory},
    emitter::Translator,
    host::Host,
};
use cranelift_codegen::{
    Context,
    ir::{InstBuilder, MemFlagsData, Type, Value, types::I64},
};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use emu_core::{
    cpu::Cpu,
    region::{Called, Tier},
};
use std::{cell::RefCell, sync::Arc};

/// What functions are made and called with.
pub struct Workbench {
    host: Host,
    memory: Arc<CodeMemory>,
    cpu: RefCell<Box<Cpu>>,
}

/// What a function returns that has not left; no exit is that.
const DONE: i64 = 1 << 40;

impl Workbench {
    pub fn new() -> Self {
        emu_core::lane::detect();
        let (host, memory) = (Host::new().unwrap(), CodeMemory::new(64 << 20).unwrap());
        Workbench { host, memory, cpu: RefCell::new(machine::cpu(0, true, machine::memory())) }
    }

    /// Host code of what `build` emits, given the address of the words.
    pub fn compile(&self, tier: Tier, build: impl FnOnce(&mut Translator, Value)) -> Code {
        let (mut context, mut builder_context) = (Context::new(), FunctionBuilderContext::new());
        context.func.signature = self.host.entry_signature();
        let mut builder = FunctionBuilder::new(&mut context.func, &mut builder_context);
        let first = builder.create_block();
        builder.append_block_params_for_function_params(first);
        builder.switch_to_block(first);
        let words = builder.block_params(first)[1];
        let signature = self.host.exact_signature();
        // SAFETY: the translator ends before the builder.
        let mut translator =
            unsafe { Translator::new(&mut builder, &signature, first, self.cpu.borrow().mode, 0) };
        build(&mut translator, words);
        let nothing = translator.builder.ins().iconst(I64, DONE);
        translator.builder.ins().return_(&[nothing]);
        translator.finish_exits();
        let reorder = tier == Tier::Hot;
        let floats = std::mem::take(&mut translator.opaque);
        builder.seal_all_blocks();
        builder.finalize(self.host.frontend_config());
        let bytes = self.host.compile(&mut context, reorder, &floats).unwrap();
        self.memory.place(&bytes).unwrap()
    }

    /// Calls `code`, which was made by [`Self::compile`] and stays within `words`. False: it has left what it was to do
    /// to the interpreter.
    pub fn call<T>(&self, code: &Code, words: &mut [T]) -> bool {
        // SAFETY: a function of this signature has been made there.
        let function = unsafe { std::mem::transmute::<*const u8, Called>(code.address()) };
        let mut cpu = self.cpu.borrow_mut();
        // SAFETY: the function takes this CPU, and the address of the words in place of the points.
        unsafe { function(&raw mut **cpu, words.as_mut_ptr().cast()) == DONE as u64 }
    }
}

/// Loads word `n` of those of type `ty` at `words`.
pub fn load(e: &mut Translator, ty: Type, words: Value, n: usize) -> Value {
    e.builder.ins().load(ty, MemFlagsData::trusted(), words, (n * ty.bytes() as usize) as i32)
}

/// Stores word `n`.
pub fn store(e: &mut Translator, words: Value, n: usize, value: Value) {
    let bytes = e.builder.func.dfg.value_type(value).bytes() as usize;
    e.builder.ins().store(MemFlagsData::trusted(), value, words, (n * bytes) as i32);
}
