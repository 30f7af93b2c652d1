//! Entering a region, and leaving it: for another region, or for the interpreter.
//!
//! All regions have the same frame. Whoever comes from the interpreter makes it; from region to region it stays. A
//! direct branch goes on by its link, an indirect one by the cache for them: see [`emu_core::region::ways`].
//!
//! Where code is not linked, or the run loop has something to do, or flags have to be settled, a handler of Rust's goes
//! on, by way of a [`Gate`].

use super::{
    Compiler, field,
    gates::{self, Gate},
    lower::frame,
    x64::{A, Alu, BUDGET, COUNT, Cc, D, INSN, Label, Rm, STACK, Shift, W32, W64},
};
use emu_core::{
    cpu::slot,
    region::{
        Next, Point, exit,
        layout::{self, far, jumps},
        ways::{Place, Way},
    },
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

/// The RIP base.
fn rip_base() -> Rm {
    field(layout::REGS + 8 * usize::from(slot::RIP_BASE))
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
        self.look_around_or_unlink();
        self.go_through(0);
    }

    /// Whether the branch at the end of block `block` leads to another page, as far as can be told from it.
    fn crosses(&self, block: usize, taken: bool) -> bool {
        let Some(last) = self.source.blocks[block].insns.last() else { return false };
        let target = if taken { last.imm } else { u64::from(last.off) + u64::from(last.len) };
        debug_assert!(!matches!(self.source.blocks[block].next[usize::from(taken)], Next::Block(_)));
        target >= 0x1000
    }

    /// Goes on behind the door whose address is `at` bytes behind [`COUNT`].
    fn go_through(&mut self, at: usize) {
        let asm = &mut self.lower.asm;
        asm.extend(W64, A, Rm::Mem(COUNT, at as i32));
        asm.jump_to(Rm::Mem(A, layout::DOOR_INSIDE as i32));
    }

    /// If the budget is used up, or the run loop has something to do: goes on as if the link in [`COUNT`] led nowhere.
    fn look_around_or_unlink(&mut self) {
        let unlinked = self.unlinked();
        self.look_around_or(unlinked);
    }

    fn unlinked(&mut self) -> Label {
        let asm = &mut self.lower.asm;
        *self.tails.unlinked.get_or_insert_with(|| asm.label())
    }

    fn look_around_or(&mut self, slow: Label) {
        let asm = &mut self.lower.asm;
        asm.extend(W64, A, field(layout::ATTENTION));
        asm.alu(Alu::Compare, W64, BUDGET, Rm::Mem(A, 0));
        asm.jump_if(Cc::Less, slow);
    }

    /// Makes all code that is out of line.
    pub(super) fn finish_exits(&mut self) {
        for (label, exit, number) in std::mem::take(&mut self.exits) {
            self.lower.asm.place(label);
            self.leave_at(exit, number);
        }
        let by_exit = self.tails.by_exit;
        if let Some(tail) = by_exit[Exit::Indirect as usize] {
            self.lower.asm.place(tail);
            self.follow_indirect();
        }
        if let Some(tail) = self.tails.crossing {
            self.lower.asm.place(tail);
            self.follow_crossing();
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

    /// Goes on where the indirect branch leads, to what is in RIP. [`INSN`] is for [`Gate::Indirect`].
    fn follow_indirect(&mut self) {
        let slow = self.lower.asm.label();
        let entry = |at: usize| Rm::Mem(COUNT, at as i32);
        let asm = &mut self.lower.asm;
        asm.extend(W64, A, field(layout::RIP));
        asm.copy(COUNT, A);
        asm.shift(Shift::Right, W64, COUNT, jumps::FOLD as u8);
        asm.alu(Alu::Xor, W64, COUNT, Rm::Reg(A));
        asm.alu_constant(Alu::And, W32, Rm::Reg(COUNT), jumps::ENTRIES as i32 - 1);
        const { assert!(jumps::SIZE.is_power_of_two() && jumps::ENTRIES.is_power_of_two()) };
        asm.shift(Shift::Left, W64, COUNT, jumps::SIZE.trailing_zeros() as u8);
        asm.alu(Alu::Add, W64, COUNT, field(jumps::TABLE));
        asm.alu(Alu::Compare, W64, A, entry(jumps::RIP));
        asm.jump_if(Cc::NotEqual, slow);
        asm.extend(W32, A, field(layout::MODE));
        asm.alu(Alu::Compare, W32, A, entry(jumps::MODE));
        asm.jump_if(Cc::NotEqual, slow);
        self.is_current_or(entry(jumps::STAMP), slow);
        self.look_around_or(slow);
        let asm = &mut self.lower.asm;
        asm.extend(W64, A, entry(jumps::DOOR));
        asm.test(W64, A, A);
        asm.jump_if(Cc::Equal, slow);
        asm.extend(W64, COUNT, entry(jumps::RIP_BASE));
        asm.store(W64, rip_base(), COUNT);
        asm.jump_to(Rm::Mem(A, layout::DOOR_INSIDE as i32));
        asm.place(slow);
        self.jump_to(Gate::Indirect);
    }

    /// Goes on by the link to another page in [`COUNT`].
    fn follow_crossing(&mut self) {
        let slow = self.unlinked();
        let link = |at: usize| Rm::Mem(COUNT, at as i32);
        self.look_around_or(slow);
        self.is_current_or(link(far::STAMP), slow);
        let asm = &mut self.lower.asm;
        asm.extend(W64, A, link(far::FROM_BASE));
        asm.alu(Alu::Compare, W64, A, rip_base());
        asm.jump_if(Cc::NotEqual, slow);
        asm.extend(W64, A, link(far::TO_BASE));
        asm.store(W64, rip_base(), A);
        self.go_through(far::DOOR);
    }

    /// Goes to `slow` unless the stamp at `stamp` is current.
    fn is_current_or(&mut self, stamp: Rm, slow: Label) {
        let asm = &mut self.lower.asm;
        let current = asm.label();
        let [first, second] = layout::STAMPS;
        asm.extend(W32, A, stamp);
        asm.alu(Alu::Compare, W32, A, field(first));
        asm.jump_if(Cc::Equal, current);
        asm.alu(Alu::Compare, W32, A, field(second));
        asm.jump_if(Cc::NotEqual, slow);
        asm.place(current);
    }

    fn jump_to(&mut self, gate: Gate) {
        self.lower.asm.constant(D, self.gates.address(gate) as u64);
        self.lower.asm.jump_to(Rm::Reg(D));
    }
}
