//! Entering a region, and leaving it: for another region, or for the interpreter.
//!
//! All regions have the same frame. Whoever comes from the interpreter makes it; from region to region it stays. What a
//! region goes on to is an instruction, by whose handler it knows whether that is another region: those lie in one
//! window of addresses, and behind their beginning, which makes the frame, is where regions enter each other.
//!
//! Where code is not linked, or the run loop has something to do, or flags have to be settled, a handler of Rust's goes
//! on: [`layout::handlers`].

use super::{
    Compiler, field,
    lower::{PRESERVED, frame},
    x64::{A, Alu, BUDGET, COUNT, CPU, Cc, D, INSN, Label, Rm, STACK, Shift, W32, W64},
};
use emu_core::{
    cpu::slot,
    decode::Handler,
    region::{
        Point, exit,
        layout::{self, crossing, jumps},
    },
};

/// What an exit does, with the number of its point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    At,
    LookAround,
    Untaken,
    Taken,
    Indirect,
}

const EXITS: [Exit; Exit::COUNT] = [Exit::At, Exit::LookAround, Exit::Untaken, Exit::Taken, Exit::Indirect];

impl Exit {
    /// How many there are.
    pub const COUNT: usize = 5;
}

/// Bytes of code between the beginning of a region and where other regions enter it.
const FRAME_CODE: usize = 29;

/// A field of what [`INSN`] points to.
fn insn(at: usize) -> Rm {
    Rm::Mem(INSN, at as i32)
}

/// The RIP base.
fn rip_base() -> Rm {
    field(layout::REGS + 8 * usize::from(slot::RIP_BASE))
}

impl Compiler<'_> {
    /// The entry, with the handler's arguments.
    pub(super) fn prologue(&mut self) {
        let asm = &mut self.lower.asm;
        for r in PRESERVED {
            asm.save(r);
        }
        asm.address(STACK, Rm::Mem(STACK, -frame::SIZE));
        asm.store(W64, Rm::Mem(STACK, frame::CPU), CPU);
        asm.extend(W64, BUDGET, field(layout::BUDGET));
        assert_eq!(
            asm.bytes.len(),
            FRAME_CODE,
            "regions enter each other behind the code that makes the frame"
        );
        let hot = asm.label();
        asm.extend(W64, A, insn(layout::INSTANCE));
        self.count_down(layout::ENTRY);
        let asm = &mut self.lower.asm;
        asm.jump_if(Cc::Negative, hot);
        asm.store(W64, Rm::Mem(STACK, frame::INSTANCE), A);
        self.hot = Some(hot);
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
        let tail = *self.tails[exit as usize].get_or_insert_with(|| asm.label());
        asm.constant(INSN, 8 * u64::from(number));
        asm.jump(tail);
    }

    /// Makes all code that is out of line.
    pub(super) fn finish_exits(&mut self) {
        for (label, exit, number) in std::mem::take(&mut self.exits) {
            self.lower.asm.place(label);
            self.leave_at(exit, number);
        }
        let dispatch = self.lower.asm.label();
        for exit in EXITS {
            let Some(tail) = self.tails[exit as usize] else { continue };
            let asm = &mut self.lower.asm;
            asm.place(tail);
            asm.extend(W64, A, Rm::Mem(STACK, frame::INSTANCE));
            asm.alu(Alu::Add, W64, INSN, Rm::Mem(A, layout::INSTANCE_POINTS as i32));
            asm.extend(W64, INSN, insn(0));
            match exit {
                Exit::At => self.jump_to(layout::handlers::AT),
                Exit::LookAround => self.jump_to(layout::handlers::LOOK_AROUND),
                Exit::Untaken => self.follow(0, layout::handlers::UNTAKEN, dispatch),
                Exit::Taken => self.follow(1, layout::handlers::TAKEN, dispatch),
                Exit::Indirect => self.follow_indirect(dispatch),
            }
        }
        if self.tails[Exit::Untaken as usize..].iter().any(Option::is_some) {
            self.dispatch(dispatch);
        }
        let asm = &mut self.lower.asm;
        if let Some(hot) = self.hot {
            asm.place(hot);
        }
        self.jump_to(layout::handlers::HEAT);
        let asm = &mut self.lower.asm;
        asm.place(self.code);
        asm.shift(Shift::Right, W64, A, exit::pack(0, 1).trailing_zeros() as u8);
        self.epilogue();
        self.lower.asm.leave();
    }

    /// Goes on after the direct branch in [`INSN`], by its link if that is known and there is nothing else to do; else
    /// by `otherwise`.
    fn follow(&mut self, way: usize, otherwise: Handler, dispatch: Label) {
        let asm = &mut self.lower.asm;
        let slow = asm.label();
        asm.extend(W64, COUNT, insn(layout::LINK + 8 * way));
        asm.test(W64, COUNT, COUNT);
        asm.jump_if(Cc::Equal, slow);
        self.count_or(slow);
        let asm = &mut self.lower.asm;
        asm.copy(INSN, COUNT);
        asm.jump(dispatch);
        asm.place(slow);
        self.jump_to(otherwise);
    }

    /// Takes the instructions of the block that ends with [`INSN`] from the budget, unless that is used up or the run
    /// loop has something to do: then `slow`.
    fn count_or(&mut self, slow: Label) {
        let asm = &mut self.lower.asm;
        let count = insn(layout::COUNT);
        asm.extend(W64, A, field(layout::ATTENTION));
        asm.alu_constant(Alu::Compare, W32, Rm::Mem(A, 0), 0);
        asm.jump_if(Cc::NotEqual, slow);
        asm.alu(Alu::Compare, W64, BUDGET, count);
        asm.jump_if(Cc::Less, slow);
        asm.alu(Alu::Sub, W64, BUDGET, count);
    }

    /// Goes on where the indirect branch in [`INSN`] leads, to what is in RIP.
    fn follow_indirect(&mut self, dispatch: Label) {
        let (slow, same) = (self.lower.asm.label(), self.lower.asm.label());
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
        self.count_or(slow);
        let asm = &mut self.lower.asm;
        // The two that it led to last.
        asm.extend(W64, D, entry(jumps::ENTRY));
        asm.extend(W64, A, insn(layout::LINK + 8));
        asm.alu(Alu::Compare, W64, A, Rm::Reg(D));
        asm.jump_if(Cc::Equal, same);
        asm.store(W64, insn(layout::LINK), A);
        asm.store(W64, insn(layout::LINK + 8), D);
        asm.place(same);
        asm.extend(W64, A, entry(jumps::RIP_BASE));
        asm.store(W64, rip_base(), A);
        asm.copy(INSN, D);
        asm.jump(dispatch);
        asm.place(slow);
        self.jump_to(layout::handlers::INDIRECT);
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

    /// Goes on with the instruction in [`INSN`]: enters a region, passes a link to another page, or lets a handler of
    /// Rust's go on.
    fn dispatch(&mut self, dispatch: Label) {
        let window = self.window.clone();
        let asm = &mut self.lower.asm;
        let (other, slow) = (asm.label(), asm.label());
        asm.place_next(dispatch);
        asm.extend(W64, A, insn(layout::HANDLER));
        asm.constant(COUNT, (window.start as u64).wrapping_neg());
        asm.alu(Alu::Add, W64, COUNT, Rm::Reg(A));
        asm.constant(D, window.len() as u64);
        asm.alu(Alu::Compare, W64, COUNT, Rm::Reg(D));
        asm.jump_if(Cc::NotBelow, other);
        asm.alu_constant(Alu::Add, W64, Rm::Reg(A), FRAME_CODE as i32);
        asm.jump_to(Rm::Reg(A));
        asm.place(other);
        asm.constant(COUNT, layout::handlers::CROSS as usize as u64);
        asm.alu(Alu::Compare, W64, A, Rm::Reg(COUNT));
        asm.jump_if(Cc::NotEqual, slow);
        self.is_current_or(insn(crossing::STAMP), slow);
        let asm = &mut self.lower.asm;
        asm.extend(W64, A, insn(crossing::FROM_BASE));
        asm.alu(Alu::Compare, W64, A, rip_base());
        asm.jump_if(Cc::NotEqual, slow);
        asm.extend(W64, A, insn(crossing::TO_BASE));
        asm.store(W64, rip_base(), A);
        asm.extend(W64, INSN, insn(crossing::ENTRY));
        asm.jump(dispatch);
        asm.place(slow);
        self.jump_to(layout::handlers::AT);
    }

    /// Jumps to a handler of Rust's, with the instruction in [`INSN`].
    fn jump_to(&mut self, handler: Handler) {
        self.lower.asm.store(W64, field(layout::BUDGET), BUDGET);
        self.epilogue();
        self.lower.asm.constant(A, handler as usize as u64);
        self.lower.asm.jump_to(Rm::Reg(A));
    }

    fn epilogue(&mut self) {
        let asm = &mut self.lower.asm;
        asm.address(STACK, Rm::Mem(STACK, frame::SIZE));
        for r in PRESERVED.into_iter().rev() {
            asm.restore(r);
        }
    }
}
