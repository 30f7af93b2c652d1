//! Entering a region, and leaving it: for another region, or for the interpreter.
//!
//! All regions have the same frame. Whoever comes from the interpreter makes it; from region to region it stays. A
//! direct branch goes on by its link, an indirect one by the cache for them: see [`emu_core::region::ways`].
//!
//! Where code is not linked, or the run loop has something to do, or flags have to be settled, a handler of Rust's goes
//! on, by way of a [`Gate`].

use super::{
    Compiler,
    gates::{self, Gate},
    lower::frame,
    transitions,
    x64::{A, Alu, BUDGET, COUNT, Cc, D, INSN, Label, Rm, STACK, Shift, W64},
};
use emu_core::region::{
    Next, Point, exit,
    layout::{self, far},
    ways::{Place, Way},
};

/// What an exit does, with the number of its point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    At,
    LookAround,
    Indirect,
}

/// The ends of exits, which those of a kind share.
#[derive(Default)]
pub struct Tails {
    by_exit: [Option<Label>; 3],
    /// Of ways to other pages, with their link in [`COUNT`].
    crossing: Option<Label>,
    /// Of ways that lead nowhere, the same.
    unlinked: Option<Label>,
    /// With a code.
    pub code: Option<Label>,
    /// Where it goes on when it has been passed through often enough.
    hot: Option<Label>,
}

impl Compiler<'_> {
    /// The entry, with the handler's arguments; and the other one, for who has the frame, with the instance in [`A`].
    pub(super) fn prologue(&mut self) {
        let asm = &mut self.lower.asm;
        gates::set_up(asm);
        asm.extend(W64, A, Rm::Mem(INSN, layout::INSTANCE as i32));
        self.inside = asm.bytes.len();
        let hot = asm.label();
        self.tails.hot = Some(hot);
        self.count_down(layout::ENTRY);
        let asm = &mut self.lower.asm;
        asm.jump_if(Cc::Negative, hot);
        asm.store(W64, Rm::Mem(STACK, frame::INSTANCE), A);
    }

    /// Takes `weight` from what is left until the region is worth a better translation. [`A`] has its instance.
    pub(super) fn count_down(&mut self, weight: i8) {
        let left = Rm::Mem(A, layout::INSTANCE_LEFT as i32);
        self.lower.asm.alu_constant(Alu::Sub, W64, left, weight.into());
        self.weights.push(self.lower.asm.bytes.len() - 1);
    }

    /// Has all that counts down count in full.
    pub(super) fn count_in_full(&mut self) {
        for at in std::mem::take(&mut self.weights) {
            self.lower.asm.bytes[at] = layout::IN_FULL as u8;
        }
    }

    /// Leaves by `exit` at `point`.
    pub(super) fn leave(&mut self, exit: Exit, point: Point) {
        let number = self.number(point);
        self.leave_at(exit, number);
    }

    fn leave_at(&mut self, exit: Exit, number: u32) {
        let asm = &mut self.lower.asm;
        let tail = *self.tails.by_exit[exit as usize].get_or_insert_with(|| asm.label());
        asm.constant(INSN, 8 * u64::from(number));
        asm.jump(tail);
    }

    /// Leaves by the indirect branch at the end of block `block`, to what is in RIP.
    pub(super) fn leave_indirectly(&mut self, block: usize, point: Point) {
        let count = self.source.blocks[block].count() as i32;
        self.lower.asm.alu_constant(Alu::Sub, W64, Rm::Reg(BUDGET), count);
        self.leave(Exit::Indirect, point);
    }

    /// Leaves behind the direct branch at the end of block `block`.
    pub(super) fn leave_by_link(&mut self, block: usize, taken: bool, point: Point) {
        let way = Way { point: self.number(point), taken, crosses: self.crosses(block, taken) };
        self.ways.push(way);
        let place = self.places.next(way.crosses);
        let count = self.source.blocks[block].count() as i32;
        let asm = &mut self.lower.asm;
        asm.alu_constant(Alu::Sub, W64, Rm::Reg(BUDGET), count);
        asm.extend(W64, COUNT, Rm::Mem(STACK, frame::INSTANCE));
        let at = match place {
            Place::Near(n) => layout::INSTANCE_NEAR + 8 * n,
            Place::Far(n) => {
                asm.extend(W64, COUNT, Rm::Mem(COUNT, layout::INSTANCE_FAR as i32));
                far::SIZE * n
            }
        };
        asm.alu_constant(Alu::Add, W64, Rm::Reg(COUNT), at as i32);
        if way.crosses {
            let tail = *self.tails.crossing.get_or_insert_with(|| asm.label());
            asm.jump(tail);
            return;
        }
        let unlinked = self.unlinked();
        transitions::look_around_or(&mut self.lower.asm, unlinked);
        transitions::go_through(&mut self.lower.asm, 0);
    }

    /// Whether the branch at the end of block `block` leads to another page, as far as can be told from it.
    fn crosses(&self, block: usize, taken: bool) -> bool {
        let Some(last) = self.source.blocks[block].insns.last() else { return false };
        let target = if taken { last.imm } else { u64::from(last.off) + u64::from(last.len) };
        debug_assert!(!matches!(self.source.blocks[block].next[usize::from(taken)], Next::Block(_)));
        target >= 0x1000
    }

    fn unlinked(&mut self) -> Label {
        let asm = &mut self.lower.asm;
        *self.tails.unlinked.get_or_insert_with(|| asm.label())
    }

    /// Makes all code that is out of line.
    pub(super) fn finish_exits(&mut self) {
        for (label, exit, number) in std::mem::take(&mut self.exits) {
            self.lower.asm.place(label);
            self.leave_at(exit, number);
        }
        let by_exit = self.tails.by_exit;
        if let Some(tail) = by_exit[Exit::Indirect as usize] {
            let slow = self.lower.asm.label();
            self.lower.asm.place(tail);
            transitions::follow_indirect(&mut self.lower.asm, slow);
            self.lower.asm.place(slow);
            self.jump_to(Gate::Indirect);
        }
        if let Some(tail) = self.tails.crossing {
            let unlinked = self.unlinked();
            self.lower.asm.place(tail);
            transitions::follow_far(&mut self.lower.asm, unlinked);
        }
        let gates = [
            (by_exit[Exit::At as usize], Gate::At),
            (by_exit[Exit::LookAround as usize], Gate::LookAround),
            (self.tails.unlinked, Gate::Unlinked),
            (self.tails.hot, Gate::Heat),
        ];
        for (tail, gate) in gates {
            let Some(tail) = tail else { continue };
            self.lower.asm.place(tail);
            self.jump_to(gate);
        }
        if let Some(code) = self.tails.code {
            let asm = &mut self.lower.asm;
            asm.place(code);
            asm.shift(Shift::Right, W64, A, exit::pack(0, 1).trailing_zeros() as u8);
            gates::take_down(asm);
            asm.leave();
        }
    }

    fn jump_to(&mut self, gate: Gate) {
        self.lower.asm.constant(D, self.gates.address(gate) as u64);
        self.lower.asm.jump_to(Rm::Reg(D));
    }
}
