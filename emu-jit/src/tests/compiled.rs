//! Functions made of a few operations, on words in memory, by each of the compilers.

use super::machine;
use crate::{
    code::{Code, CodeMemory},
    emitter::Translator,
    host::Host,
};
use cranelift_codegen::{
    Context,
    ir::{
        BlockArg, InstBuilder, MemFlagsData, Type, Value,
        types::{I8X16, I64},
    },
};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use emu_core::{
    cpu::Cpu,
    region::Called,
    semantics::{Arithmetic, Vectors},
};
use std::{cell::RefCell, sync::Arc};

/// Who makes host code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compiler {
    /// Cranelift, every operation where it is.
    Plain,
    /// Cranelift, which reorders and merges.
    Optimising,
    /// Ours.
    #[cfg(target_arch = "x86_64")]
    Baseline,
}

/// What functions are made and called with.
pub struct Workbench {
    host: Host,
    memory: Arc<CodeMemory>,
    cpu: RefCell<Box<Cpu>>,
}

/// A function.
pub struct Function {
    code: Code,
    entry: usize,
}

/// What a function returns that has not left; no exit is that.
const DONE: u64 = 1 << 40;

/// What a function is made of, whoever makes it.
pub trait Piece {
    /// Emits it, given the address of the words.
    fn build<E: OnWords>(&self, e: &mut E, words: E::Value);
}

/// An emitter of functions on words in memory.
pub trait OnWords: Arithmetic + Vectors {
    /// Loads word `n`.
    fn word(&mut self, words: Self::Value, n: usize) -> Self::Value;
    /// Stores word `n`.
    fn set_word(&mut self, words: Self::Value, n: usize, value: Self::Value);
    /// Loads word `n` of 128 bits.
    fn lane_word(&mut self, words: Self::Value, n: usize) -> Self::Lane;
    /// Stores word `n` of 128 bits.
    fn set_lane_word(&mut self, words: Self::Value, n: usize, value: Self::Lane);
    /// 4 if `c` is true where control depends on it, else 0.
    fn branched(&mut self, c: Self::Cond) -> Self::Value;
}

impl Workbench {
    pub fn new() -> Self {
        emu_core::lane::detect();
        let (host, memory) = (Host::new().unwrap(), CodeMemory::new(64 << 20).unwrap());
        Workbench { host, memory, cpu: RefCell::new(machine::cpu(0, true, machine::memory())) }
    }

    /// Host code of `piece`.
    pub fn compile(&self, compiler: Compiler, piece: &impl Piece) -> Function {
        match compiler {
            Compiler::Plain => self.by_cranelift(false, |e, words| piece.build(e, words)),
            Compiler::Optimising => self.by_cranelift(true, |e, words| piece.build(e, words)),
            #[cfg(target_arch = "x86_64")]
            Compiler::Baseline => {
                let mode = self.cpu.borrow().mode;
                let (bytes, entry) =
                    crate::baseline::pieces::function(mode, DONE, |e, words| piece.build(e, words));
                Function { code: self.memory.place(&bytes).unwrap(), entry }
            }
        }
    }

    /// Host code of what `build` emits, given the address of the words.
    pub fn by_cranelift(&self, optimise: bool, build: impl FnOnce(&mut Translator, Value)) -> Function {
        let (mut context, mut builder_context) = (Context::new(), FunctionBuilderContext::new());
        context.func.signature = self.host.entry_signature();
        let mut builder = FunctionBuilder::new(&mut context.func, &mut builder_context);
        let first = builder.create_block();
        builder.append_block_params_for_function_params(first);
        builder.switch_to_block(first);
        let words = builder.block_params(first)[1];
        // SAFETY: the translator ends before the builder.
        let mut translator =
            unsafe { Translator::new(&mut builder, &self.host, first, self.cpu.borrow().mode, 0) };
        build(&mut translator, words);
        let nothing = translator.builder.ins().iconst(I64, DONE as i64);
        translator.builder.ins().return_(&[nothing]);
        translator.finish_exits();
        let floats = std::mem::take(&mut translator.opaque);
        builder.seal_all_blocks();
        builder.finalize(self.host.frontend_config());
        let bytes = self.host.compile(&mut context, optimise, &floats).unwrap();
        Function { code: self.memory.place(&bytes).unwrap(), entry: 0 }
    }

    /// Calls `function`, which stays within `words`. False: it has left what it was to do to the interpreter.
    pub fn call<T>(&self, function: &Function, words: &mut [T]) -> bool {
        // SAFETY: a function of this signature, or of the first argument alone, has been made there.
        let called =
            unsafe { std::mem::transmute::<*const u8, Called>(function.code.address().add(function.entry)) };
        let mut cpu = self.cpu.borrow_mut();
        cpu.regs[0] = words.as_mut_ptr() as u64;
        // SAFETY: the function takes this CPU, and the address of the words in place of the points or in the CPU.
        unsafe { called(&raw mut **cpu, words.as_mut_ptr().cast()) == DONE }
    }
}

/// Loads word `n` of those of type `ty` at `words`.
fn load(e: &mut Translator, ty: Type, words: Value, n: usize) -> Value {
    e.builder.ins().load(ty, MemFlagsData::trusted(), words, (n * ty.bytes() as usize) as i32)
}

/// Stores word `n`.
fn store(e: &mut Translator, words: Value, n: usize, value: Value) {
    let bytes = e.builder.func.dfg.value_type(value).bytes() as usize;
    e.builder.ins().store(MemFlagsData::trusted(), value, words, (n * bytes) as i32);
}

impl OnWords for Translator {
    fn word(&mut self, words: Value, n: usize) -> Value {
        load(self, I64, words, n)
    }
    fn set_word(&mut self, words: Value, n: usize, value: Value) {
        store(self, words, n, value);
    }
    fn lane_word(&mut self, words: Value, n: usize) -> Value {
        load(self, I8X16, words, n)
    }
    fn set_lane_word(&mut self, words: Value, n: usize, value: Value) {
        store(self, words, n, value);
    }
    fn branched(&mut self, c: Self::Cond) -> Value {
        let [yes, no, join] = [(); 3].map(|()| self.builder.create_block());
        let four = self.builder.append_block_param(join, I64);
        self.branch_if(c, yes, no);
        for (block, value) in [(yes, 4), (no, 0)] {
            self.builder.switch_to_block(block);
            let value = self.constant(value);
            self.builder.ins().jump(join, &[BlockArg::Value(value)]);
        }
        self.builder.switch_to_block(join);
        four
    }
}

#[cfg(target_arch = "x86_64")]
mod recorded {
    use super::OnWords;
    use crate::baseline::exposed::{Cond, Op, Recorder, V};
    use emu_core::semantics::Arithmetic;

    impl OnWords for Recorder {
        fn word(&mut self, words: V, n: usize) -> V {
            self.push(Op::Read(3, words, 8 * n as i16), 64)
        }
        fn set_word(&mut self, words: V, n: usize, value: V) {
            self.push(Op::Write(3, words, 8 * n as i16, value), 0);
        }
        fn lane_word(&mut self, words: V, n: usize) -> u8 {
            let to = self.lane();
            self.push(Op::LaneRead(to, words, 16 * n as i16), 0);
            to
        }
        fn set_lane_word(&mut self, words: V, n: usize, value: u8) {
            self.push(Op::LaneWrite(words, 16 * n as i16, value), 0);
        }
        // Control does not depend on anything within a block: the opposite chooses instead.
        fn branched(&mut self, c: Cond) -> V {
            let (zero, four) = (self.constant(0), self.constant(4));
            let opposite = self.negate(c);
            self.select(opposite, zero, four)
        }
    }
}
