//! What is to be done with each instruction of a region, decided before any code is made.
//!
//! [`Effects`] tells which registers an instruction touches, and whether it needs a routine of the interpreter. From
//! that follow the variables that the region has, and which of them may differ from the CPU's memory where.

use crate::{
    emitter::{FLAGS, Translator, lane_bit},
    host::Target,
};
use emu_core::{
    cpu::Mode,
    decode::{Insn, Kind},
    region::{
        Next, Source,
        x87::{self, Native, Operand, Tells},
    },
    semantics::{
        Attr, NO_ROW, Run, Table,
        effects::{Effect, Effects},
        integer::deferred::Deferred,
    },
};
use std::sync::LazyLock;

static EFFECTS: LazyLock<Table<Effects>> = LazyLock::new(Table::new);

/// How an instruction is executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// By code made from its semantics.
    Emit,
    /// By the host's x87, which has the guest's state.
    Native,
    /// By the interpreter, from within the region.
    Exact,
    /// The region is left at it.
    Leave,
}

/// A block's part of the plan.
#[derive(Debug, Clone)]
pub struct BlockPlan {
    /// By instruction. After the first that leaves there is nothing.
    pub how: Vec<How>,
    /// Which variables may differ from memory when it begins.
    pub dirty: u64,
    /// It can be reached.
    pub reached: bool,
    /// What the flags are those of when it begins, if it is the same on all ways from other blocks.
    pub flags: FlagsFrom,
}

/// What all flags are those of, if they follow from two words.
pub type FlagsFrom = Option<Deferred>;

/// See the module.
#[derive(Debug)]
pub struct Plan {
    /// By block.
    pub blocks: Vec<BlockPlan>,
    /// Variables that the region has.
    pub used: u64,
    /// The guest's x87 state is in the host's x87 while the region runs.
    pub x87: bool,
}

/// What an instruction does to variables.
#[derive(Debug, Clone, Copy, Default)]
struct Touches {
    read: u64,
    written: u64,
    /// If flags are written: what they are then those of.
    flags: FlagsFrom,
}

impl Plan {
    /// Plans `source`, to be executed by `target`.
    pub fn new(source: &Source, target: Target) -> Self {
        let mut used = 0;
        let mut touches: Vec<Vec<Touches>> = Vec::new();
        let mut blocks: Vec<BlockPlan> = Vec::new();
        for block in &source.blocks {
            let (mut hows, mut of_block) = (Vec::new(), Vec::new());
            for i in &block.insns {
                let (how, touch) = decide(source.mode, i);
                let how = if never_taken(i, how, &block.next) { How::Leave } else { how };
                hows.push(how);
                if how == How::Leave {
                    break;
                }
                used |= touch.read | touch.written;
                of_block.push(touch);
            }
            blocks.push(BlockPlan { how: hows, dirty: 0, reached: false, flags: None });
            touches.push(of_block);
        }
        let mut plan = Plan { blocks, used, x87: false };
        plan.choose_x87(source, target);
        plan.spread(source, &touches);
        plan.trace_flags(source, &touches);
        plan
    }

    /// Moving the state of the x87 costs as much as some dozens of instructions: there must be enough that use it.
    fn choose_x87(&mut self, source: &Source, target: Target) {
        let hows = || self.blocks.iter().flat_map(|block| &block.how);
        let native = hows().filter(|how| **how == How::Native).count();
        let insns = source
            .blocks
            .iter()
            .zip(&self.blocks)
            .flat_map(|(source, plan)| source.insns.iter().zip(&plan.how));
        // MMX registers are registers of the x87 in the CPU's memory.
        let mmx =
            insns.into_iter().any(|(i, _)| i.row != NO_ROW && EFFECTS.row(i.row).attr.contains(Attr::MMX));
        self.x87 = target.x86 && native * X87_SHARE >= hows().count() && native > 0 && !mmx;
        if !self.x87 {
            for how in self.blocks.iter_mut().flat_map(|block| &mut block.how) {
                *how = if *how == How::Native { How::Exact } else { *how };
            }
        }
    }

    /// Spreads what is dirty from each block to its successors, until nothing changes.
    fn spread(&mut self, source: &Source, touches: &[Vec<Touches>]) {
        let Some(first) = self.blocks.first_mut() else { return };
        first.reached = true;
        let mut work = vec![0];
        while let Some(number) = work.pop() {
            let block = &self.blocks[number];
            if block.how.last() == Some(&How::Leave) {
                continue;
            }
            let mut dirty = block.dirty;
            for (how, touch) in block.how.iter().zip(&touches[number]) {
                dirty = if *how == How::Exact { 0 } else { dirty | touch.written };
            }
            // The budget is accounted for on every way.
            dirty |= crate::emitter::BUDGET;
            for to in successors(source, number) {
                let to_block = &mut self.blocks[to];
                if !to_block.reached || dirty & !to_block.dirty != 0 {
                    to_block.reached = true;
                    to_block.dirty |= dirty;
                    work.push(to);
                }
            }
        }
    }
}

/// What is known of the flags at the beginning of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Incoming {
    /// No way to it has been seen.
    Nothing,
    /// They come from this on all ways seen.
    From(Deferred),
    /// Not the same on all ways, or nothing known.
    Various,
}

impl Plan {
    /// Finds out where the flags come from that blocks begin with.
    fn trace_flags(&mut self, source: &Source, touches: &[Vec<Touches>]) {
        let mut incoming = vec![Incoming::Nothing; self.blocks.len()];
        let mut work: Vec<usize> = (0..self.blocks.len()).filter(|n| self.blocks[*n].reached).collect();
        while let Some(number) = work.pop() {
            let block = &self.blocks[number];
            if block.how.last() == Some(&How::Leave) {
                continue;
            }
            // The first block is also entered with what is in memory.
            let mut flags = if number == 0 { Incoming::Various } else { incoming[number] };
            for (how, touch) in block.how.iter().zip(&touches[number]) {
                if *how == How::Exact || touch.written & FLAGS != 0 {
                    let known = touch.flags.filter(|_| *how == How::Emit);
                    flags = known.map_or(Incoming::Various, Incoming::From);
                }
            }
            for to in successors(source, number) {
                let known = incoming[to];
                let both = match known {
                    _ if known == flags => known,
                    Incoming::Nothing => flags,
                    _ if flags == Incoming::Nothing => known,
                    _ => Incoming::Various,
                };
                if both != known {
                    incoming[to] = both;
                    work.push(to);
                }
            }
        }
        for (block, incoming) in self.blocks.iter_mut().zip(incoming) {
            block.flags = if let Incoming::From(flags) = incoming { Some(flags) } else { None };
        }
    }
}

/// Blocks to which block `number` leads.
pub fn successors(source: &Source, number: usize) -> impl Iterator<Item = usize> + use<'_> {
    let block = &source.blocks[number];
    let direct = block.next.iter().filter_map(|next| match next {
        Next::Block(to) => Some(*to),
        _ => None,
    });
    direct.chain(block.targets.iter().copied())
}

/// An unconditional branch that has not been executed: its target may be no address of code, which must be found
/// out before anything is committed.
fn never_taken(i: &Insn, how: How, next: &[Next; 2]) -> bool {
    how == How::Emit && i.row != NO_ROW && {
        let attr = EFFECTS.row(i.row).attr;
        attr.contains(Attr::BRANCH) && *next == [Next::Unknown; 2]
    }
}

fn decide(mode: Mode, i: &Insn) -> (How, Touches) {
    let nothing = Touches::default();
    if i.row == NO_ROW {
        return (How::Leave, nothing);
    }
    let row = EFFECTS.row(i.row);
    if row.attr.contains(Attr::ENDS_BLOCK) {
        return (How::Leave, nothing);
    }
    let branches = row.attr.intersects(Attr::BRANCH | Attr::INDIRECT);
    let otherwise = if branches { How::Leave } else { How::Exact };
    if row.attr.contains(Attr::X87)
        && mode.bitness() != 16
        && let Some(native) = x87::native(i)
    {
        return native_x87(mode, i, native);
    }
    if row.attr.intersects(Attr::X87 | Attr::X87_WAITS) || matches!(row.run, Run::Microcode(_)) {
        return (otherwise, nothing);
    }
    let effects = Effects::of(row, i);
    let stack = i.stack_width();
    let mut touches = Touches::default();
    for effect in &effects.record {
        match effect {
            Effect::Helper => return (otherwise, nothing),
            Effect::ReadGpr(_, at) => touches.read |= 1 << (at / 8),
            Effect::WriteGpr(_, at) => touches.written |= 1 << (at / 8),
            Effect::ReadFlags => touches.read |= FLAGS,
            Effect::WriteFlags => {
                touches.written |= FLAGS;
                touches.flags = None;
            }
            Effect::FlagsOf(source) => {
                touches.flags = Deferred::of(*source).map(|(operation, ..)| operation);
            }
            Effect::ReadVector(register, lane) => touches.read |= lane_bit(*register, *lane),
            Effect::WriteVector(register, lane) => touches.written |= lane_bit(*register, *lane),
            _ => {}
        }
    }
    let accesses = |e: &Effect| matches!(e, Effect::Load(_) | Effect::Store(_) | Effect::Update(_));
    if effects.record.iter().any(accesses) {
        let operand = i.kind.contains(&Kind::Mem);
        if operand && !Translator::is_flat(mode, i) {
            return (otherwise, nothing);
        }
        // What is not an operand is on the stack.
        let uses_stack = !operand || branches || effects.record.iter().filter(|e| accesses(e)).count() > 1;
        if uses_stack && (!mode.is_flat(STACK) || stack.bits() == 16) {
            return (otherwise, nothing);
        }
    }
    for n in [i.base, i.index] {
        if n < 16 {
            touches.read |= 1 << n;
        }
    }
    (How::Emit, touches)
}

fn native_x87(mode: Mode, i: &Insn, native: Native) -> (How, Touches) {
    let mut touches = Touches::default();
    if native.operand != Operand::None {
        if !Translator::is_flat(mode, i) {
            return (How::Exact, touches);
        }
        for n in [i.base, i.index] {
            if n < 16 {
                touches.read |= 1 << n;
            }
        }
    }
    match native.tells {
        Tells::Nothing => {}
        Tells::Flags => touches.written |= FLAGS,
        Tells::Status => touches.written |= 1 << (i.reg[0] / 8),
    }
    (How::Native, touches)
}

/// One instruction in so many must be of the x87 for its state to be moved.
const X87_SHARE: usize = 6;

/// SS.
const STACK: usize = emu_core::arch::Seg::Ss as usize;
