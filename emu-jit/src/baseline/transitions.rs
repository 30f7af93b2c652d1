//! From region to region: what host code looks at before it enters the next one, by a link or by the cache for indirect
//! branches. See [`emu_core::region::ways`] and [`emu_core::region::layout::jumps`].

use super::{
    field,
    x64::{A, Alu, Assembler, BUDGET, COUNT, Cc, Label, Rm, Shift, W32, W64},
};
use emu_core::{
    cpu::slot,
    region::layout::{self, far, jumps},
};

/// The RIP base.
pub fn rip_base() -> Rm {
    field(layout::REGS + 8 * usize::from(slot::RIP_BASE))
}

/// Goes to `slow` if the budget is used up, or the run loop has something to do.
pub fn look_around_or(asm: &mut Assembler, slow: Label) {
    asm.extend(W64, A, field(layout::ATTENTION));
    asm.alu(Alu::Compare, W64, BUDGET, Rm::Mem(A, 0));
    asm.jump_if(Cc::Less, slow);
}

/// Goes to `slow` unless the stamp at `stamp` is current.
pub fn is_current_or(asm: &mut Assembler, stamp: Rm, slow: Label) {
    let current = asm.label();
    let [first, second] = layout::STAMPS;
    asm.extend(W32, A, stamp);
    asm.alu(Alu::Compare, W32, A, field(first));
    asm.jump_if(Cc::Equal, current);
    asm.alu(Alu::Compare, W32, A, field(second));
    asm.jump_if(Cc::NotEqual, slow);
    asm.place(current);
}

/// Goes on behind the door whose address is `at` bytes behind [`COUNT`].
pub fn go_through(asm: &mut Assembler, at: usize) {
    asm.extend(W64, A, Rm::Mem(COUNT, at as i32));
    asm.jump_to(Rm::Mem(A, layout::DOOR_INSIDE as i32));
}

/// Goes on by the far link in [`COUNT`], if it is good here and now.
pub fn follow_far(asm: &mut Assembler, slow: Label) {
    let link = |at: usize| Rm::Mem(COUNT, at as i32);
    look_around_or(asm, slow);
    is_current_or(asm, link(far::STAMP), slow);
    asm.extend(W64, A, link(far::FROM_BASE));
    asm.alu(Alu::Compare, W64, A, rip_base());
    asm.jump_if(Cc::NotEqual, slow);
    asm.extend(W64, A, link(far::TO_BASE));
    asm.store(W64, rip_base(), A);
    go_through(asm, far::DOOR);
}

/// Goes on where an indirect branch leads, to what is in RIP, if the cache knows that.
pub fn follow_indirect(asm: &mut Assembler, slow: Label) {
    let entry = |at: usize| Rm::Mem(COUNT, at as i32);
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
    is_current_or(asm, entry(jumps::STAMP), slow);
    look_around_or(asm, slow);
    asm.extend(W64, A, entry(jumps::DOOR));
    asm.test(W64, A, A);
    asm.jump_if(Cc::Equal, slow);
    asm.extend(W64, COUNT, entry(jumps::RIP_BASE));
    asm.store(W64, rip_base(), COUNT);
    asm.jump_to(Rm::Mem(A, layout::DOOR_INSIDE as i32));
}
