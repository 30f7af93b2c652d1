//! The baseline compiler, for x86-64 hosts: machine code for warm regions in well under a microsecond an instruction.
//!
//! It runs the semantics of the instructions on an emitter that writes operations down ([`recorder`]), a block at a
//! time, and makes machine code of them in one pass ([`lower`]). The guest's registers and flags are in the CPU's
//! memory at every instruction that can leave the region, so leaving costs nothing and needs no recovery; within a
//! block what is known of them stays in host registers.
//!
//! A region is a handler of the interpreter (see [`Entry::Handler`](emu_core::region::Entry::Handler)): it is jumped to,
//! and leaves by its links to the next region, or by jumping to a handler of the interpreter: see [`exits`].
//!
//! Left to the interpreter, from within a region: floating point, MMX, x87, locked instructions, microcode.

mod exits;
pub mod gates;
mod ir;
mod lower;
mod merge;
#[cfg(test)]
pub mod pieces;
mod recorder;
mod transitions;
mod x64;
#[cfg(test)]
mod x64_tests;

use emu_core::{
    decode::{Insn, flag},
    region::{
        Next, Point, Source, SourceBlock, layout,
        ways::{Places, Way},
    },
    semantics::{Attr, NO_ROW, Pure, Run, Table, integer::deferred::SETTLED},
};
use exits::{Exit, Tails};
use gates::Gates;
use ir::{Op, Test, V};
use lower::{Lower, frame};
use recorder::{Branch, Cond, Recorder};
use rustc_hash::FxHashMap;
use std::{ops::Range, sync::LazyLock};
use x64::{A, Alu, BUDGET, CPU, Cc, INSN, Label, Rm, STACK, W32, W64};

#[cfg(test)]
pub mod exposed {
    //! For tests of the primitives.
    pub use super::{
        ir::{Op, V},
        recorder::{Cond, Recorder},
    };
}

static TABLE: LazyLock<Table<Recorder>> = LazyLock::new(Table::new);

/// Calls a function of Rust's own convention.
///
/// # Safety
/// `f` is the address of a [`Pure`].
unsafe extern "C" fn call_pure(f: *const (), a: u64, b: u64, c: u64) -> u64 {
    // SAFETY: the caller's promise.
    let f = unsafe { std::mem::transmute::<*const (), Pure>(f) };
    f(a, b, c)
}

/// Whether this host has what the compiler uses without asking again.
pub fn is_available() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        is_x86_feature_detected!("lzcnt")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("popcnt")
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Machine code of a region, to be entered at its beginning.
#[derive(Debug)]
pub struct Baseline {
    /// The code.
    pub bytes: Vec<u8>,
    /// Where other regions enter it.
    pub inside: usize,
    /// The points that it names.
    pub points: Vec<Point>,
    /// The ways on from it.
    pub ways: Vec<Way>,
}

/// Compiles `source`, with the gates at `gates`. `None`: there is nothing in it worth translating, or it is too much.
pub fn compile(source: &Source, gates: Gates) -> Option<Baseline> {
    if !source.other_pages().is_empty() {
        return None;
    }
    Compiler::new(source, gates).run()
}

/// How an instruction is executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// By the operations up to that number.
    Operations(usize),
    /// By the interpreter, from within the region.
    Exact,
    /// The region is left at it.
    Leave,
}

struct Compiler<'a> {
    source: &'a Source,
    recorder: Recorder,
    lower: Lower,
    /// By block.
    labels: Vec<Label>,
    reached: Vec<bool>,
    made: Vec<bool>,
    /// By block: in how many ways it is come to, and what is known of the flags in memory then.
    flags: Vec<(u32, Option<u32>)>,
    points: Vec<Point>,
    numbers: FxHashMap<Point, u32>,
    /// Exits to be made: where, what, number of the point.
    exits: Vec<(Label, Exit, u32)>,
    /// Blocks that begin with making the flags, out of line: from where, back to where.
    unsettled: Vec<(Label, Label)>,
    tails: Tails,
    /// The ways out by direct branches, and where their links are.
    ways: Vec<Way>,
    places: Places,
    /// Where other regions enter.
    inside: usize,
    /// Where the code has by how much it counts down.
    weights: Vec<usize>,
    /// There are instructions that a better translation does itself.
    wanting: bool,
    gates: Gates,
}

impl<'a> Compiler<'a> {
    fn new(source: &'a Source, gates: Gates) -> Self {
        let mut lower = Lower::new();
        let labels = source.blocks.iter().map(|_| lower.asm.label()).collect();
        Compiler {
            source,
            recorder: Recorder::new(source.mode),
            lower,
            labels,
            reached: vec![false; source.blocks.len()],
            made: vec![false; source.blocks.len()],
            flags: ways_to(source).into_iter().map(|ways| (ways, None)).collect(),
            points: Vec::new(),
            numbers: FxHashMap::default(),
            exits: Vec::new(),
            unsettled: Vec::new(),
            tails: Tails::default(),
            ways: Vec::new(),
            places: Places::default(),
            inside: 0,
            weights: Vec::new(),
            wanting: false,
            gates,
        }
    }

    fn run(mut self) -> Option<Baseline> {
        self.prologue();
        self.reached[0] = true;
        // Blocks mostly lead to later ones; another round finds those that only a later block leads to.
        while let Some(number) = self.next() {
            self.made[number] = true;
            let worth = self.block(number);
            if !worth && number == 0 {
                return None;
            }
        }
        self.lower.finish_misses();
        self.finish_unsettled();
        self.finish_exits();
        if self.lower.failed {
            return None;
        }
        if self.wanting {
            self.count_in_full();
        }
        self.lower.asm.link();
        let Compiler { lower, points, ways, inside, .. } = self;
        Some(Baseline { bytes: lower.asm.bytes, inside, points, ways })
    }

    /// The block that is made next.
    fn next(&self) -> Option<usize> {
        (0..self.made.len()).find(|n| self.reached[*n] && !self.made[*n])
    }

    /// Makes the code of a block. False: nothing of it is translated.
    fn block(&mut self, number: usize) -> bool {
        let source = &self.source.blocks[number];
        let kind = self.flags[number].1;
        self.recorder.begin_block(kind);
        let begun = self.recorder.ops.len();
        let mut hows = Vec::with_capacity(source.insns.len());
        for i in &source.insns {
            let how = self.record(i, source);
            hows.push(how);
            if how == How::Leave {
                break;
            }
        }
        let branch = self.recorder.branch;
        let targets = self.targets(source, branch);
        let mut ops = std::mem::take(&mut self.recorder.ops);
        merge::merge(&mut ops);
        self.lower.begin_block(&ops, kind, |used| {
            match branch {
                Some(Branch::If(Cond::Test(test))) => test.operands(&mut *used),
                Some(Branch::To(target)) => used(target),
                _ => {}
            }
            targets.iter().for_each(|(_, code)| used(*code));
        });
        let label = self.labels[number];
        self.lower.asm.place_next(label);
        self.settle_if_needed();
        self.operations(&ops, 0..begun, Point { block: number as u16, insn: 0 });
        let mut at = begun;
        for (n, how) in hows.iter().enumerate() {
            let point = Point { block: number as u16, insn: n as u16 };
            match *how {
                How::Operations(end) => {
                    self.operations(&ops, at..end, point);
                    at = end;
                }
                How::Exact => {
                    self.exact(point);
                    self.lower.forget();
                    at += 1;
                }
                How::Leave => {
                    self.leave(Exit::At, point);
                    self.recorder.ops = ops;
                    return n > 0;
                }
            }
        }
        let end = ops.len();
        self.operations(&ops, at..end, Point { block: number as u16, insn: hows.len() as u16 - 1 });
        self.end(number, &ops, branch, &targets);
        self.recorder.ops = ops;
        true
    }

    fn record(&mut self, i: &Insn, block: &SourceBlock) -> How {
        if i.row == NO_ROW {
            return How::Leave;
        }
        let row = TABLE.row(i.row);
        if row.attr.contains(Attr::ENDS_BLOCK) {
            return How::Leave;
        }
        let Run::Emit(run) = row.run else {
            return self.otherwise(row.attr);
        };
        let waits = Attr::X87 | Attr::X87_WAITS | Attr::MMX;
        // An unconditional branch that was never executed may lead to no address of code.
        let never_taken = row.attr.contains(Attr::BRANCH) && block.next == [Next::Unknown; 2];
        if never_taken {
            // Going on to an instruction across two pages, which is not linked.
            self.wanting |= i.len == 0;
            return How::Leave;
        }
        if row.attr.intersects(waits) || !self.recorder.record(i, run) {
            self.wanting |= i.has(flag::LOCK);
            return self.otherwise(row.attr);
        }
        // What are calls here are instructions there.
        self.wanting |= self.recorder.lane_calls;
        How::Operations(self.recorder.ops.len())
    }

    fn otherwise(&mut self, attr: Attr) -> How {
        if attr.intersects(Attr::BRANCH | Attr::INDIRECT) {
            return How::Leave;
        }
        self.wanting |= attr.intersects(Attr::SIMD_FP | Attr::X87 | Attr::MMX);
        self.recorder.exact();
        How::Exact
    }

    /// Blocks that an indirect branch is compared with, and the values of where they are.
    fn targets(&mut self, source: &SourceBlock, branch: Option<Branch>) -> Vec<(usize, V)> {
        let Some(Branch::To(_)) = branch else { return Vec::new() };
        let offset = |to: usize| self.source.blocks[to].key.0 & 0xFFF;
        source.targets.iter().map(|&to| (to, self.recorder.code_at(offset(to)))).collect()
    }

    /// Before the first instruction of a block: makes the flags, if they are needed and perhaps deferred.
    fn settle_if_needed(&mut self) {
        let Some((result, aux)) = self.recorder.unsettled else { return };
        if !self.lower.needs(result) && !self.lower.needs(aux) {
            return;
        }
        let asm = &mut self.lower.asm;
        let (cold, back) = (asm.label(), asm.label());
        asm.alu_constant(Alu::Compare, W32, field(layout::DEFERRED), SETTLED as i32);
        asm.jump_if(Cc::NotEqual, cold);
        asm.place(back);
        self.unsettled.push((cold, back));
        self.lower.settled();
    }

    fn finish_unsettled(&mut self) {
        for (cold, back) in std::mem::take(&mut self.unsettled) {
            let asm = &mut self.lower.asm;
            asm.place(cold);
            asm.store(W64, Rm::Mem(STACK, frame::BUDGET), BUDGET);
            asm.constant(A, layout::settle as *const () as u64);
            asm.call(Rm::Reg(A));
            asm.extend(W64, CPU, Rm::Mem(STACK, frame::CPU));
            asm.extend(W64, BUDGET, Rm::Mem(STACK, frame::BUDGET));
            asm.jump(back);
        }
    }

    fn operations(&mut self, ops: &[Op], range: Range<usize>, point: Point) {
        let mut here = None;
        for n in range {
            let (exits, numbers, points) = (&mut self.exits, &mut self.numbers, &mut self.points);
            self.lower.operation(ops, n, &mut |asm| {
                *here.get_or_insert_with(|| {
                    let label = asm.label();
                    exits.push((label, Exit::At, number_of(numbers, points, point)));
                    label
                })
            });
        }
    }

    fn number(&mut self, point: Point) -> u32 {
        number_of(&mut self.numbers, &mut self.points, point)
    }

    /// A call of the interpreter for one instruction.
    fn exact(&mut self, point: Point) {
        let number = self.number(point);
        let asm = &mut self.lower.asm;
        asm.store(W64, field(layout::BUDGET), BUDGET);
        asm.extend(W64, A, Rm::Mem(STACK, frame::INSTANCE));
        asm.extend(W64, A, Rm::Mem(A, layout::INSTANCE_POINTS as i32));
        asm.extend(W64, INSN, Rm::Mem(A, 8 * number as i32));
        asm.constant(A, layout::exact as *const () as u64);
        asm.call(Rm::Reg(A));
        asm.extend(W64, CPU, Rm::Mem(STACK, frame::CPU));
        asm.extend(W64, BUDGET, field(layout::BUDGET));
        // Of 32 bits all ones: no other code has that.
        const { assert!(layout::GO_ON == u32::MAX as u64) };
        asm.alu_constant(Alu::Compare, W32, Rm::Reg(A), -1);
        let code = *self.tails.code.get_or_insert_with(|| asm.label());
        asm.jump_if(Cc::NotEqual, code);
    }

    /// After the last instruction of a block.
    fn end(&mut self, number: usize, ops: &[Op], branch: Option<Branch>, targets: &[(usize, V)]) {
        let last = Point { block: number as u16, insn: self.source.blocks[number].insns.len() as u16 - 1 };
        self.lower.at_end(ops);
        match branch {
            Some(Branch::To(target)) => {
                for &(to, code) in targets {
                    let cc = self.lower.test(ops, Test::Compare(Cc::NotEqual, W64, target, code));
                    let other = self.lower.asm.label();
                    self.lower.asm.jump_if(cc, other);
                    self.go(number, to);
                    self.lower.asm.place(other);
                }
                let target = self.lower.register(ops, target);
                self.lower.asm.store(W64, field(layout::RIP), target);
                self.leave_indirectly(number, last);
            }
            Some(Branch::If(Cond::Test(test))) => {
                // The way to the block that is made next comes last, and needs no jump.
                let second = usize::from(!self.is_next(number, 0));
                let cc = self.lower.test(ops, test);
                let other = self.lower.asm.label();
                self.lower.asm.jump_if(if second == 1 { cc } else { cc.opposite() }, other);
                self.way(number, 1 - second, last);
                self.lower.asm.place(other);
                self.way(number, second, last);
            }
            Some(Branch::If(Cond::Known(taken))) => self.way(number, usize::from(taken), last),
            // A block ends with a branch; what follows it is not known here.
            None => self.leave_by_link(number, false, last),
        }
    }

    /// Whether block `number` leads by `way` to the block that is made next, as far as is known now.
    fn is_next(&self, number: usize, way: usize) -> bool {
        let Next::Block(to) = self.source.blocks[number].next[way] else { return false };
        !self.made[to] && self.next().is_none_or(|next| to <= next)
    }

    /// Goes on where block `number` leads by `way`: not taken, taken.
    fn way(&mut self, number: usize, way: usize, last: Point) {
        match self.source.blocks[number].next[way] {
            Next::Block(to) => self.go(number, to),
            _ => self.leave_by_link(number, way == 1, last),
        }
    }

    /// Goes on from block `number` to block `to` of the region.
    fn go(&mut self, number: usize, to: usize) {
        if self.flags[to].0 == 1 {
            self.flags[to].1 = self.recorder.flags_kind();
        }
        let count = self.source.blocks[number].count() as i32;
        self.lower.asm.alu_constant(Alu::Sub, W64, Rm::Reg(BUDGET), count);
        if to <= number {
            let label = self.lower.asm.label();
            let point = self.number(Point { block: to as u16, insn: 0 });
            self.exits.push((label, Exit::LookAround, point));
            let asm = &mut self.lower.asm;
            asm.jump_if(Cc::Negative, label);
            asm.extend(W64, A, field(layout::ATTENTION));
            asm.alu_constant(Alu::Compare, W32, Rm::Mem(A, 0), 0);
            asm.jump_if(Cc::NotEqual, label);
            asm.extend(W64, A, Rm::Mem(STACK, frame::INSTANCE));
            self.count_down(layout::PASSAGE);
            self.lower.asm.jump_if(Cc::Negative, label);
        }
        self.reached[to] = true;
        self.lower.asm.jump(self.labels[to]);
    }
}

/// For each block of `source`, in how many ways it is come to.
fn ways_to(source: &Source) -> Vec<u32> {
    let mut ways = vec![0; source.blocks.len()];
    ways[0] = 1;
    for block in &source.blocks {
        let direct = block.next.iter().filter_map(|next| match next {
            Next::Block(to) => Some(to),
            _ => None,
        });
        direct.chain(&block.targets).for_each(|to| ways[*to] += 1);
    }
    ways
}

fn number_of(numbers: &mut FxHashMap<Point, u32>, points: &mut Vec<Point>, point: Point) -> u32 {
    *numbers.entry(point).or_insert_with(|| {
        points.push(point);
        points.len() as u32 - 1
    })
}

/// A field of the CPU.
fn field(at: usize) -> Rm {
    Rm::Mem(CPU, at as i32)
}
