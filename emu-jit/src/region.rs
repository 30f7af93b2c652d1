//! Making the function of a region.

use crate::{
    code::CodeMemory,
    emitter::{Branch, Translator, opaque::Opaque, x87::Sequences},
    host::Host,
    plan::{How, Plan, successors},
};
use cranelift_codegen::ir::{Block, Function, Value};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use emu_core::{
    region::{Next, Point, Source, exit, ways::Way, x87},
    semantics::{Arithmetic, Run, Table},
};
use std::sync::{Arc, LazyLock};

/// Targets of an indirect branch that it is compared with one after the other.
const IN_A_ROW: usize = 4;

static TABLE: LazyLock<Table<Translator>> = LazyLock::new(Table::new);

/// What translating tells beside the function.
pub struct Facts {
    /// The points and the ways that exits name.
    pub exits: (Vec<Point>, Vec<Way>),
    /// Host floating-point instructions are in it.
    pub floating_point: bool,
    /// Floating-point operations that are to be revealed.
    pub opaque: Opaque,
    /// What it calls to execute x87 instructions.
    pub sequences: Option<Sequences>,
}

/// Fills `function` with the region. `None`: there is nothing in it worth translating.
pub fn build(
    host: &Host,
    memory: &Arc<CodeMemory>,
    source: &Source,
    function: &mut Function,
    context: &mut FunctionBuilderContext,
) -> Option<Facts> {
    let plan = Plan::new(source, host.target());
    if plan.blocks.first()?.how.first() == Some(&How::Leave) {
        return None;
    }
    function.signature = host.entry_signature();
    let mut builder = FunctionBuilder::new(function, context);
    let entry = builder.create_block();
    builder.append_block_params_for_function_params(entry);
    builder.switch_to_block(entry);
    builder.seal_block(entry);
    // SAFETY: the translator ends before the builder.
    let mut translator = unsafe { Translator::new(&mut builder, host, entry, source.mode, plan.used) };
    if source.apart {
        translator = translator.apart();
    }
    if plan.x87 {
        translator.enter_x87(memory);
    }
    let facts = Regional { translator, source, plan: &plan, blocks: Vec::new() }.run();
    builder.seal_all_blocks();
    builder.finalize(host.frontend_config());
    Some(facts)
}

struct Regional<'a> {
    translator: Translator,
    source: &'a Source,
    plan: &'a Plan,
    blocks: Vec<Block>,
}

impl Regional<'_> {
    fn run(mut self) -> Facts {
        let builder = &mut self.translator.builder;
        self.blocks = self.source.blocks.iter().map(|_| builder.create_block()).collect();
        builder.ins_jump(self.blocks[0]);
        for number in 0..self.source.blocks.len() {
            if self.plan.blocks[number].reached {
                self.translator.builder.switch_to_block(self.blocks[number]);
                let source = &self.source.blocks[number];
                let known = matches!(source.next[1], Next::Block(_));
                self.translator.begin_block(self.plan.blocks[number].dirty, source, known);
                if let Some(flags) = self.plan.blocks[number].flags {
                    self.translator.expect_flags(flags, number == 0);
                }
                self.block(number);
            }
        }
        self.translator.finish_exits();
        Facts {
            floating_point: self.translator.floating_point,
            exits: self.translator.exits.take(),
            opaque: std::mem::take(&mut self.translator.opaque),
            sequences: self.translator.into_sequences(),
        }
    }

    fn block(&mut self, number: usize) {
        let source = &self.source.blocks[number];
        let last = source.insns.len() - 1;
        for (n, (i, how)) in source.insns.iter().zip(&self.plan.blocks[number].how).enumerate() {
            self.translator.begin(Point { block: number as u16, insn: n as u16 });
            match how {
                How::Leave => return self.leave_at(),
                How::Exact => self.translator.exact(n == last),
                How::Native => {
                    let Some(native) = x87::native(i) else { return self.leave_at() };
                    self.translator.native(i, native);
                }
                How::Emit => {
                    self.translator.before_other();
                    let Run::Emit(run) = TABLE.row(i.row).run else { return self.leave_at() };
                    if run(&mut self.translator, i).is_err() {
                        // It always faults.
                        return self.leave_at();
                    }
                }
            }
            if n == last {
                self.end(number);
            }
        }
    }

    /// Leaves at an instruction that the region does not execute.
    fn leave_at(&mut self) {
        self.translator.end_block();
        self.translator.leave(exit::AT);
    }

    /// After the last instruction of a block.
    fn end(&mut self, number: usize) {
        self.translator.end_block();
        if successors(self.source, number).any(|to| self.plan.blocks[to].flags.is_none()) {
            self.translator.settle_flags();
        }
        self.translator.define_variables();
        match self.translator.branch {
            Some(Branch::To(target)) => {
                self.dispatch(number, target);
            }
            Some(Branch::If(c)) => {
                let (taken, untaken) =
                    (self.translator.builder.create_block(), self.translator.builder.create_block());
                let goes_back = |way: usize| match self.source.blocks[number].next[way] {
                    Next::Block(to) => to <= number,
                    _ => false,
                };
                if goes_back(1) && !goes_back(0) {
                    // What is named second follows at once: better the rest of a loop than what is behind it.
                    let c = self.translator.negate(c);
                    self.translator.branch_if(c, untaken, taken);
                } else {
                    self.translator.branch_if(c, taken, untaken);
                }
                for (way, block) in [(0, untaken), (1, taken)] {
                    self.translator.builder.switch_to_block(block);
                    self.translator.builder.seal_block(block);
                    self.way(number, way);
                }
            }
            // A block ends with a branch; what follows it is not known here.
            None => {
                self.translator.spend(self.source.blocks[number].count());
                self.translator.leave_by_way(false);
            }
        }
    }

    /// Goes on from block `number` to block `to` of the region.
    fn go(&mut self, number: usize, to: usize) {
        self.translator.spend(self.source.blocks[number].count());
        if to <= number {
            let distance = self.source.blocks[to].page_distance;
            self.translator.look_around(Point { block: to as u16, insn: 0 }, distance);
        }
        self.translator.builder.ins_jump(self.blocks[to]);
    }

    /// An indirect branch to `target` from block `number`: goes on in the region if that is one of the blocks that it
    /// is known to lead to.
    fn dispatch(&mut self, number: usize, target: Value) {
        let known = &self.source.blocks[number].targets;
        if known.len() <= IN_A_ROW {
            return self.try_targets(number, target, known);
        }
        let place = |to: &usize| {
            let block = &self.source.blocks[*to];
            self.translator.place_of(block.page_distance, block.key.0 & 0xFFF)
        };
        let mut sorted = known.clone();
        sorted.sort_by_key(place);
        let from_first = self.translator.from_first(target);
        self.search(number, target, from_first, &sorted);
    }

    /// The same among `targets`, which are sorted by their place. `from_first` is that of the target.
    fn search(&mut self, number: usize, target: Value, from_first: Value, targets: &[usize]) {
        if targets.len() <= IN_A_ROW / 2 {
            return self.try_targets(number, target, targets);
        }
        let (lower, upper) = targets.split_at(targets.len() / 2);
        let first = &self.source.blocks[upper[0]];
        let place = self.translator.place_of(first.page_distance, first.key.0 & 0xFFF);
        let c = self.translator.is_before(from_first, place);
        let known = self.translator.known();
        let blocks = [lower, upper].map(|part| (part, self.translator.builder.create_block()));
        self.translator.branch_if(c, blocks[0].1, blocks[1].1);
        for (part, block) in blocks {
            self.translator.builder.switch_to_block(block);
            self.translator.builder.seal_block(block);
            self.search(number, target, from_first, part);
            self.translator.restore(known.clone());
        }
    }

    /// Compares the target with one block after the other; leaves if it is none of them.
    fn try_targets(&mut self, number: usize, target: Value, targets: &[usize]) {
        for &to in targets {
            let block = &self.source.blocks[to];
            let c = self.translator.is_code(target, block.page_distance, block.key.0 & 0xFFF);
            let known = self.translator.known();
            let (same, other) =
                (self.translator.builder.create_block(), self.translator.builder.create_block());
            self.translator.branch_if(c, same, other);
            self.translator.builder.switch_to_block(same);
            self.translator.builder.seal_block(same);
            self.go(number, to);
            self.translator.restore(known);
            self.translator.builder.switch_to_block(other);
            self.translator.builder.seal_block(other);
        }
        self.translator.spend(self.source.blocks[number].count());
        self.translator.leave_to(target);
    }

    /// Goes on where block `number` leads by `way`: not taken, taken.
    fn way(&mut self, number: usize, way: usize) {
        let source = &self.source.blocks[number];
        let known = self.translator.known();
        match source.next[way] {
            Next::Block(to) => self.go(number, to),
            _ => {
                self.translator.spend(source.count());
                self.translator.leave_by_way(way == 1);
            }
        }
        self.translator.restore(known);
    }
}

/// Jumps without arguments.
trait InsJump {
    fn ins_jump(&mut self, to: Block);
}

impl InsJump for FunctionBuilder<'_> {
    fn ins_jump(&mut self, to: Block) {
        use cranelift_codegen::ir::InstBuilder;
        self.ins().jump(to, []);
    }
}
