//! The baseline compiler, for x86-64 hosts: machine code for warm regions in well under a microsecond an instruction.
//!
//! It runs the semantics of the instructions on an emitter that writes operations down ([`recorder`]), a block at a
//! time, and makes machine code of them in one pass ([`lower`]). The guest's registers and flags are in the CPU's
//! memory at every instruction that can leave the region, so leaving costs nothing and needs no recovery; within a
//! block what is known of them stays in host registers.
//!
//! A region is a handler of the interpreter (see [`Entry::Handler`](emu_core::region::Entry::Handler)): it is jumped to,
//! and leaves by jumping to the handler of whatever comes next, translated or not.
//!
//! Left to the interpreter, from within a region: floating point, MMX, x87, locked instructions, microcode.

mod ir;

mod lower;
mod merge;
mod recorder;
mod x64;
#[cfg(test)]
mod x64_tests;

use emu_core::{
    decode::{Handler, Insn},
    region::{Next, Point, Source, SourceBlock, exit, layout},
    semantics::{Attr, NO_ROW, Pure, Run, Table},
};
use ir::{Op, Test, V};
use lower::{Lower, PRESERVED, frame};
use recorder::{Branch, Cond, Recorder};
use rustc_hash::FxHashMap;
use std::sync::LazyLock;
use x64::{A, Alu, BUDGET, COUNT, CPU, Cc, INSN, Label, Reg, Rm, STACK, W32, W64};

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

/// Machine code of a region.
#[derive(Debug)]
pub struct Baseline {
    /// The code.
    pub bytes: Vec<u8>,
    /// Where it is entered.
    pub entry: usize,
    /// The points that it names.
    pub points: Vec<Point>,
}

/// Compiles `source`. `None`: there is nothing in it worth translating, or it is too much.
pub fn compile(source: &Source) -> Option<Baseline> {
    if !source.other_pages().is_empty() {
        return None;
    }
    Compiler::new(source).run()
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

/// What a cold exit does, with the number of its point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Exit {
    At,
    LookAround,
    Untaken,
    Taken,
    Indirect,
}

const EXITS: [Exit; 5] = [Exit::At, Exit::LookAround, Exit::Untaken, Exit::Taken, Exit::Indirect];

struct Compiler<'a> {
    source: &'a Source,
    recorder: Recorder,
    lower: Lower,
    /// By block.
    labels: Vec<Label>,
    reached: Vec<bool>,
    points: Vec<Point>,
    numbers: FxHashMap<Point, u32>,
    /// Exits to be made: where, what, number of the point.
    exits: Vec<(Label, Exit, u32)>,
    /// The end of each kind of exit, and of the one with a code.
    tails: [Label; EXITS.len()],
    code: Label,
}

impl<'a> Compiler<'a> {
    fn new(source: &'a Source) -> Self {
        let mut lower = Lower::new();
        let labels = source.blocks.iter().map(|_| lower.asm.label()).collect();
        let tails = EXITS.map(|_| lower.asm.label());
        let code = lower.asm.label();
        Compiler {
            source,
            recorder: Recorder::new(source.mode),
            lower,
            labels,
            reached: vec![false; source.blocks.len()],
            points: Vec::new(),
            numbers: FxHashMap::default(),
            exits: Vec::new(),
            tails,
            code,
        }
    }

    fn run(mut self) -> Option<Baseline> {
        self.reached[0] = true;
        let mut made = vec![false; self.source.blocks.len()];
        // Blocks mostly lead to later ones; another round finds those that only a later block leads to.
        while let Some(number) = (0..made.len()).find(|n| self.reached[*n] && !made[*n]) {
            made[number] = true;
            let worth = self.block(number);
            if !worth && number == 0 {
                return None;
            }
        }
        self.lower.finish_misses();
        self.finish_exits();
        let entry = self.prologue();
        if self.lower.failed {
            return None;
        }
        self.lower.asm.link();
        let entry = self.lower.asm.offset_of(entry);
        Some(Baseline { bytes: self.lower.asm.bytes, entry, points: self.points })
    }

    /// Makes the code of a block. False: nothing of it is translated.
    fn block(&mut self, number: usize) -> bool {
        let source = &self.source.blocks[number];
        self.recorder.begin_block();
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
        self.lower.begin_block(&ops, |used| {
            match branch {
                Some(Branch::If(Cond::Test(test))) => test.operands(&mut *used),
                Some(Branch::To(target)) => used(target),
                _ => {}
            }
            targets.iter().for_each(|(_, code)| used(*code));
        });
        let label = self.labels[number];
        self.lower.asm.place(label);
        let mut at = 0;
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
        let branches = row.attr.intersects(Attr::BRANCH | Attr::INDIRECT);
        let Run::Emit(run) = row.run else {
            return self.otherwise(branches);
        };
        let waits = Attr::X87 | Attr::X87_WAITS | Attr::MMX;
        // An unconditional branch that was never executed may lead to no address of code.
        let never_taken = row.attr.contains(Attr::BRANCH) && block.next == [Next::Unknown; 2];
        if never_taken {
            return How::Leave;
        }
        if row.attr.intersects(waits) || !self.recorder.record(i, run) {
            return self.otherwise(branches);
        }
        How::Operations(self.recorder.ops.len())
    }

    fn otherwise(&mut self, branches: bool) -> How {
        if branches {
            return How::Leave;
        }
        self.recorder.exact();
        How::Exact
    }

    /// Blocks that an indirect branch is compared with, and the values of where they are.
    fn targets(&mut self, source: &SourceBlock, branch: Option<Branch>) -> Vec<(usize, V)> {
        let Some(Branch::To(_)) = branch else { return Vec::new() };
        let offset = |to: usize| self.source.blocks[to].key.0 & 0xFFF;
        source.targets.iter().map(|&to| (to, self.recorder.code_at(offset(to)))).collect()
    }

    fn operations(&mut self, ops: &[Op], range: std::ops::Range<usize>, point: Point) {
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
        asm.extend(W64, INSN, Rm::Mem(STACK, frame::POINTS));
        asm.extend(W64, INSN, Rm::Mem(INSN, 8 * number as i32));
        asm.constant(A, layout::exact as *const () as u64);
        asm.call(Rm::Reg(A));
        asm.extend(W64, CPU, Rm::Mem(STACK, frame::CPU));
        asm.extend(W64, BUDGET, field(layout::BUDGET));
        // Of 32 bits all ones: no other code has that.
        const { assert!(layout::GO_ON == u32::MAX as u64) };
        asm.alu_constant(Alu::Compare, W32, Rm::Reg(A), -1);
        asm.jump_if(Cc::NotEqual, self.code);
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
                self.leave(Exit::Indirect, last);
            }
            Some(Branch::If(Cond::Test(test))) => {
                let cc = self.lower.test(ops, test);
                let taken = self.lower.asm.label();
                self.lower.asm.jump_if(cc, taken);
                self.way(number, 0, last);
                self.lower.asm.place(taken);
                self.way(number, 1, last);
            }
            Some(Branch::If(Cond::Known(taken))) => self.way(number, usize::from(taken), last),
            // A block ends with a branch; what follows it is not known here.
            None => self.leave(Exit::Untaken, last),
        }
    }

    /// Goes on where block `number` leads by `way`: not taken, taken.
    fn way(&mut self, number: usize, way: usize, last: Point) {
        match self.source.blocks[number].next[way] {
            Next::Block(to) => self.go(number, to),
            _ => self.leave(if way == 1 { Exit::Taken } else { Exit::Untaken }, last),
        }
    }

    /// Goes on from block `number` to block `to` of the region.
    fn go(&mut self, number: usize, to: usize) {
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
            asm.alu_constant(Alu::Sub, W64, Rm::Mem(A, layout::INSTANCE_LEFT as i32), 1);
            asm.jump_if(Cc::Negative, label);
        }
        self.reached[to] = true;
        self.lower.asm.jump(self.labels[to]);
    }

    /// Leaves by `exit` at `point`.
    fn leave(&mut self, exit: Exit, point: Point) {
        let number = self.number(point);
        self.lower.asm.constant(INSN, 8 * u64::from(number));
        self.lower.asm.jump(self.tails[exit as usize]);
    }

    fn finish_exits(&mut self) {
        for (label, exit, number) in std::mem::take(&mut self.exits) {
            self.lower.asm.place(label);
            self.lower.asm.constant(INSN, 8 * u64::from(number));
            self.lower.asm.jump(self.tails[exit as usize]);
        }
        for exit in EXITS {
            let tail = self.tails[exit as usize];
            let asm = &mut self.lower.asm;
            asm.place(tail);
            asm.alu(Alu::Add, W64, INSN, Rm::Mem(STACK, frame::POINTS));
            asm.extend(W64, INSN, Rm::Mem(INSN, 0));
            match exit {
                Exit::At => self.jump_to_handler(),
                Exit::LookAround => self.jump_to(layout::handlers::LOOK_AROUND),
                Exit::Indirect => self.jump_to(layout::handlers::INDIRECT),
                Exit::Untaken => self.follow(0, layout::handlers::UNTAKEN),
                Exit::Taken => self.follow(1, layout::handlers::TAKEN),
            }
        }
        let asm = &mut self.lower.asm;
        asm.place(self.code);
        asm.shift(x64::Shift::Right, W64, A, exit::pack(0, 1).trailing_zeros() as u8);
        self.epilogue();
        self.lower.asm.leave();
    }

    /// Goes on after the direct branch in [`INSN`], by its link if that is known and there is nothing else to do; else
    /// by `otherwise`.
    fn follow(&mut self, way: usize, otherwise: Handler) {
        let asm = &mut self.lower.asm;
        let slow = asm.label();
        let count = Rm::Mem(INSN, layout::COUNT as i32);
        asm.extend(W64, COUNT, Rm::Mem(INSN, layout::LINK as i32 + 8 * way as i32));
        asm.extend(W64, A, field(layout::ATTENTION));
        asm.test(W64, COUNT, COUNT);
        asm.jump_if(Cc::Equal, slow);
        asm.alu_constant(Alu::Compare, W32, Rm::Mem(A, 0), 0);
        asm.jump_if(Cc::NotEqual, slow);
        asm.alu(Alu::Compare, W64, BUDGET, count);
        asm.jump_if(Cc::Less, slow);
        asm.alu(Alu::Sub, W64, BUDGET, count);
        asm.copy(INSN, COUNT);
        self.jump_to_handler();
        self.lower.asm.place(slow);
        self.jump_to(otherwise);
    }

    /// Jumps to the handler of the instruction in [`INSN`].
    fn jump_to_handler(&mut self) {
        self.lower.asm.store(W64, field(layout::BUDGET), BUDGET);
        self.epilogue();
        self.lower.asm.jump_to(Rm::Mem(INSN, layout::HANDLER as i32));
    }

    /// Jumps to a handler, with the instruction in [`INSN`].
    fn jump_to(&mut self, handler: Handler) {
        self.lower.asm.store(W64, field(layout::BUDGET), BUDGET);
        self.epilogue();
        self.lower.asm.constant(A, handler as usize as u64);
        self.lower.asm.jump_to(Rm::Reg(A));
    }

    /// Registers to be given back, in the order in which they are saved.
    fn saved(&self) -> impl DoubleEndedIterator<Item = Reg> + use<> {
        let touched = self.lower.touched;
        PRESERVED.into_iter().filter(move |r| touched & 1 << r.0 != 0)
    }

    /// Bytes of the frame. With what was saved before and the return address it is a multiple of 16.
    fn frame(&self) -> i32 {
        frame::SIZE + if self.saved().count().is_multiple_of(2) { 8 } else { 0 }
    }

    fn epilogue(&mut self) {
        let size = self.frame();
        self.lower.asm.address(STACK, Rm::Mem(STACK, size));
        for r in self.saved().rev() {
            self.lower.asm.restore(r);
        }
    }

    /// The entry, with the handler's arguments.
    fn prologue(&mut self) -> Label {
        let size = self.frame();
        let saved: Vec<Reg> = self.saved().collect();
        let asm = &mut self.lower.asm;
        let (entry, hot) = (asm.label(), asm.label());
        asm.place(entry);
        asm.extend(W64, A, Rm::Mem(INSN, layout::INSTANCE as i32));
        asm.alu_constant(Alu::Sub, W64, Rm::Mem(A, layout::INSTANCE_LEFT as i32), 1);
        asm.jump_if(Cc::Negative, hot);
        for r in saved {
            asm.save(r);
        }
        asm.address(STACK, Rm::Mem(STACK, -size));
        asm.extend(W64, COUNT, Rm::Mem(A, layout::INSTANCE_POINTS as i32));
        asm.extend(W64, BUDGET, field(layout::BUDGET));
        asm.store(W64, Rm::Mem(STACK, frame::CPU), CPU);
        asm.store(W64, Rm::Mem(STACK, frame::INSTANCE), A);
        asm.store(W64, Rm::Mem(STACK, frame::POINTS), COUNT);
        asm.jump(self.labels[0]);
        asm.place(hot);
        asm.constant(A, layout::handlers::HEAT as usize as u64);
        asm.jump_to(Rm::Reg(A));
        entry
    }
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
