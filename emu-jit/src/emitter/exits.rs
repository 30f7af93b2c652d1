//! Ways out of a region: cold blocks that store what has changed and return.

use super::{BUDGET, Cond, FLAGS, Translator, flags::Parts, x87::Note};
use cranelift_codegen::ir::{Block, BlockArg, InstBuilder, Value, condcodes::IntCC, types::I64};
use emu_core::{
    cpu::slot,
    region::{Point, exit, layout, ways::Way},
};
use rustc_hash::FxHashMap;

/// What is to be stored.
#[derive(Debug, PartialEq)]
struct Snapshot {
    /// Values: (offset in the CPU, value).
    values: Vec<(usize, Value)>,
    /// Flags that are yet to be made.
    flags: Option<Parts>,
}

/// A cold block that stores and returns.
#[derive(Debug)]
struct Storing {
    block: Block,
    snapshot: Snapshot,
    /// What the x87 has executed last.
    note: Option<Note>,
    /// Of the page that the interpreter goes on in.
    distance: u64,
}

/// Where an instruction leaves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Here {
    storing: Block,
    exit: u64,
    /// A cold block that leads there, if there is one.
    stub: Option<Block>,
}

/// The exits of a region.
#[derive(Debug, Default)]
pub struct Exits {
    points: Vec<Point>,
    ways: Vec<Way>,
    numbers: FxHashMap<Point, u64>,
    /// Cold blocks to be filled at the end: each gets the exit as its parameter.
    pending: Vec<Storing>,
    /// Cold blocks that give an exit to one of those.
    stubs: Vec<(Block, Block, u64)>,
    /// Where this instruction leaves, as it was when it began.
    here: Option<Here>,
}

impl Exits {
    /// Number of a point.
    pub fn number(&mut self, point: Point) -> u64 {
        let next = self.points.len() as u64;
        let number = *self.numbers.entry(point).or_insert(next);
        if number == next {
            self.points.push(point);
        }
        number
    }

    /// An instruction begins.
    pub fn begin(&mut self) {
        self.here = None;
    }

    /// All points and ways.
    pub fn take(&mut self) -> (Vec<Point>, Vec<Way>) {
        (std::mem::take(&mut self.points), std::mem::take(&mut self.ways))
    }
}

impl Translator {
    /// What would have to be stored now.
    fn snapshot(&mut self) -> Snapshot {
        let flags = if self.dirty & FLAGS != 0 { self.parts() } else { None };
        let dirty = if flags.is_some() { self.dirty & !FLAGS } else { self.dirty };
        let variables: Vec<_> = self.variables().filter(|(bit, ..)| dirty & bit != 0).collect();
        let values =
            variables.into_iter().map(|(_, variable, at)| (at, self.value_of_variable(variable))).collect();
        Snapshot { values, flags }
    }

    /// A cold block that stores everything as it is now, in the page at `distance`, and returns its parameter.
    fn storing(&mut self, distance: u64) -> Block {
        self.call_waiting();
        let snapshot = self.snapshot();
        let note = self.note();
        match self.exits.pending.last() {
            Some(last) if last.snapshot == snapshot && last.distance == distance && last.note == note => {
                last.block
            }
            _ => {
                let block = self.builder.create_block();
                self.builder.append_block_param(block, I64);
                self.builder.set_cold_block(block);
                self.exits.pending.push(Storing { block, snapshot, note, distance });
                block
            }
        }
    }

    /// A cold block that leaves by `kind` at `point`, in the page at `distance`, with everything as it is now.
    fn exit(&mut self, kind: u64, point: Point, distance: u64) -> Block {
        let storing = self.storing(distance);
        let number = self.exits.number(point);
        self.stub(storing, exit::pack(kind, number))
    }

    fn stub(&mut self, storing: Block, exit: u64) -> Block {
        let stub = self.builder.create_block();
        self.builder.set_cold_block(stub);
        self.exits.stubs.push((stub, storing, exit));
        stub
    }

    /// Where to leave at the instruction, as it was before it. Nothing may have been committed.
    pub(super) fn here(&mut self) -> Here {
        if let Some(here) = self.exits.here {
            return here;
        }
        let storing = self.storing(self.page_distance);
        let exit = exit::pack(exit::AT, self.exits.number(self.at));
        let here = Here { storing, exit, stub: None };
        self.exits.here = Some(here);
        here
    }

    /// The same as a cold block.
    fn here_block(&mut self) -> Block {
        let here = self.here();
        let block = here.stub.unwrap_or_else(|| self.stub(here.storing, here.exit));
        self.exits.here = Some(Here { stub: Some(block), ..here });
        block
    }

    /// In a cold block: leaves at the instruction, as it was before it, unless `c`, which leads to `hit`.
    pub(super) fn leave_unless(&mut self, c: Value, hit: Block) {
        let Here { storing, exit, .. } = self.here();
        let exit = self.builder.ins().iconst(I64, exit as i64);
        self.builder.ins().brif(c, hit, [], storing, &[BlockArg::Value(exit)]);
    }

    /// Leaves at the instruction, as it was before it, if `a <cc> b`. Nothing may have been committed.
    pub(super) fn leave_if(&mut self, cc: IntCC, a: Value, b: Value) {
        self.leave_when(Cond::Compare(cc, a, b));
    }

    /// The same if `c` holds.
    pub(super) fn leave_when(&mut self, c: Cond) {
        let c = self.truth(c);
        self.leave_if_true(c);
    }

    /// Leaves at the instruction, as it was before it, if `c` is not zero.
    pub(super) fn leave_if_true(&mut self, c: Value) {
        let here = self.here_block();
        self.unless(c, here);
    }

    /// Goes to `away` if `c` is not zero, else on.
    fn unless(&mut self, c: Value, away: Block) {
        let go_on = self.builder.create_block();
        self.builder.ins().brif(c, away, [], go_on, []);
        self.builder.switch_to_block(go_on);
        self.builder.seal_block(go_on);
    }

    /// Leaves by `kind` at the current instruction, with what it has done.
    pub fn leave(&mut self, kind: u64) {
        let block = self.exit(kind, self.at, self.page_distance);
        self.builder.ins().jump(block, []);
    }

    /// Leaves behind the direct branch that is the current instruction, with what it has done. The block has been
    /// accounted for.
    pub fn leave_by_way(&mut self, taken: bool) {
        let storing = self.storing(self.page_distance);
        let way = self.way(taken);
        let block = self.stub(storing, way);
        self.builder.ins().jump(block, []);
    }

    /// The exit behind the current instruction, the last of its block.
    pub(super) fn way(&mut self, taken: bool) -> u64 {
        let point = self.exits.number(self.at) as u32;
        self.exits.ways.push(Way { point, taken, crosses: true });
        exit::pack(exit::WAY, self.exits.ways.len() as u64 - 1)
    }

    /// Leaves to RIP `target`. The block has been accounted for.
    pub fn leave_to(&mut self, target: Value) {
        self.set_field(layout::RIP, target);
        self.leave(exit::INDIRECT);
    }

    /// Accounts for `count` instructions, as a block of the region goes on to another.
    pub fn spend(&mut self, count: i64) {
        let budget = self.value_of_variable(self.budget);
        let budget = self.builder.ins().iadd_imm_s(budget, -count);
        self.set_variable(self.budget, budget);
        self.dirty |= BUDGET;
    }

    /// Before going back in the region, to `target` in the page at `distance`: leaves for the run loop if it has something to do, or the
    /// budget is used up.
    pub fn look_around(&mut self, target: Point, distance: u64) {
        let block = self.exit(exit::LOOK_AROUND, target, distance);
        // A loop must not be left with the word it loaded once.
        self.builder.ins().sequence_point();
        // Where it is is loaded anew as well: a loop has better use for a register.
        let attention = self.spaces.attention;
        let word = self.builder.ins().load(I64, attention, self.cpu, layout::ATTENTION as i32);
        let least = self.builder.ins().load(I64, attention, word, 0);
        let budget = self.value_of_variable(self.budget);
        let spent = self.builder.ins().icmp(IntCC::SignedLessThan, budget, least);
        self.unless(spent, block);
    }

    /// Fills the cold blocks. The last thing to do.
    pub fn finish_exits(&mut self) {
        for (stub, storing, exit) in std::mem::take(&mut self.exits.stubs) {
            self.builder.switch_to_block(stub);
            let exit = self.builder.ins().iconst(I64, exit as i64);
            self.builder.ins().jump(storing, &[BlockArg::Value(exit)]);
        }
        for Storing { block, snapshot, note, distance } in std::mem::take(&mut self.exits.pending) {
            self.builder.switch_to_block(block);
            if distance != 0 {
                let base = self.base_of(distance);
                self.set_field(layout::REGS + 8 * usize::from(slot::RIP_BASE), base);
            }
            // The budget in memory may be asked for.
            if let Some(parts) = snapshot.flags {
                self.forget_values();
                let (result, aux) = self.make_flags(parts);
                self.set_field(layout::FLAGS_RESULT, result);
                self.set_field(layout::FLAGS_AUX, aux);
            }
            for (at, value) in snapshot.values {
                let value = self.at_exit(value);
                self.set_field(at, value);
            }
            self.store(note);
            self.leave_x87();
            let exit = self.builder.block_params(block)[0];
            self.builder.ins().return_(&[exit]);
        }
    }

    /// A condition as what `brif` takes.
    pub fn branch_if(&mut self, c: Cond, then: Block, otherwise: Block) {
        match c {
            Cond::Known(true) => self.builder.ins().jump(then, []),
            Cond::Known(false) => self.builder.ins().jump(otherwise, []),
            _ => {
                let c = self.truth(c);
                self.builder.ins().brif(c, then, [], otherwise, [])
            }
        };
    }

    /// Whether the flags are in variables.
    pub(super) fn touches_flags(&mut self) {
        self.dirty |= FLAGS;
    }
}
