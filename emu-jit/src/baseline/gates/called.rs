//! The gate to regions that are called: better translations, which have a frame of their own.
//!
//! It does for them what `interp::hot` does when the interpreter comes to one: sees whether what the region takes for
//! granted is so, calls it, counts, and goes on by its links. What is rare is left to a handler of Rust's.

use super::{
    super::{
        field,
        lower::frame,
        transitions::{follow_far, follow_indirect, is_current_or, rip_base},
        x64::{A, Alu, Assembler, BUDGET, COUNT, CPU, Cc, D, INSN, Label, Rm, STACK, Shift, W32, W64},
    },
    ALL, Gate, take_down,
};
use emu_core::{
    region::{
        exit, fill,
        layout::{self, far},
    },
    semantics::integer::deferred::SETTLED,
};

/// A field of the instance in [`A`].
fn own(at: usize) -> Rm {
    Rm::Mem(A, at as i32)
}

/// Makes the gate. `gates`: where the others are.
pub fn gate(asm: &mut Assembler, gates: &[Label; ALL.len()]) {
    let to = |gate: Gate| gates[gate as usize];
    enter_or(asm, to(Gate::Entry));
    settle(asm);
    call(asm);
    count_or(asm, to(Gate::Returned));
    go_on(asm, to);
}

/// Goes to `slow` if something is not as the region takes it for granted.
fn enter_or(asm: &mut Assembler, slow: Label) {
    let [free, one_page] = [(); 2].map(|()| asm.label());
    asm.extend(0, COUNT, own(layout::INSTANCE_FREE));
    asm.test(W32, COUNT, COUNT);
    asm.jump_if(Cc::NotEqual, free);
    asm.extend(0, COUNT, own(layout::INSTANCE_ONE_PAGE));
    asm.test(W32, COUNT, COUNT);
    asm.jump_if(Cc::NotEqual, one_page);
    asm.extend(W64, COUNT, own(layout::INSTANCE_BASE));
    asm.alu(Alu::Compare, W64, COUNT, rip_base());
    asm.jump_if(Cc::NotEqual, slow);
    // The instance is in the register that the stamp is loaded to.
    asm.copy(COUNT, A);
    let stale = asm.label();
    is_current_or(asm, Rm::Mem(COUNT, layout::INSTANCE_STAMP as i32), stale);
    asm.copy(A, COUNT);
    asm.place(one_page);
    asm.extend(0, COUNT, own(layout::INSTANCE_DEFAULT_MXCSR));
    asm.test(W32, COUNT, COUNT);
    asm.jump_if(Cc::Equal, free);
    asm.extend(W32, COUNT, field(layout::MXCSR));
    asm.alu_constant(Alu::And, W32, Rm::Reg(COUNT), layout::MXCSR_CONTROL as i32);
    asm.alu_constant(Alu::Compare, W32, Rm::Reg(COUNT), layout::MXCSR_DEFAULT as i32);
    asm.jump_if(Cc::Equal, free);
    asm.jump(slow);
    asm.place(stale);
    asm.copy(A, COUNT);
    asm.jump(slow);
    asm.place(free);
}

/// Makes the flags if that has been deferred. From here on the frame has instance and budget.
fn settle(asm: &mut Assembler) {
    let settled = asm.label();
    asm.store(W64, Rm::Mem(STACK, frame::INSTANCE), A);
    asm.store(W64, Rm::Mem(STACK, frame::BUDGET), BUDGET);
    asm.alu_constant(Alu::Compare, W32, field(layout::DEFERRED), SETTLED as i32);
    asm.jump_if(Cc::Equal, settled);
    asm.constant(A, layout::settle as *const () as u64);
    asm.call(Rm::Reg(A));
    asm.extend(W64, CPU, Rm::Mem(STACK, frame::CPU));
    asm.extend(W64, BUDGET, Rm::Mem(STACK, frame::BUDGET));
    asm.extend(W64, A, Rm::Mem(STACK, frame::INSTANCE));
    asm.place(settled);
}

/// Calls the function.
fn call(asm: &mut Assembler) {
    asm.store(W64, field(layout::BUDGET), BUDGET);
    asm.store_constant(W64, field(layout::FILLED), fill::NO as i32);
    asm.extend(W64, INSN, own(layout::INSTANCE_POINTS));
    asm.call(own(layout::INSTANCE_CALLED));
    asm.extend(W64, CPU, Rm::Mem(STACK, frame::CPU));
    asm.extend(W64, BUDGET, field(layout::BUDGET));
    asm.store(W64, Rm::Mem(STACK, frame::EXIT), A);
}

/// Counts what has been executed, and where it has left; goes to `slow` if there is more to do. Then [`COUNT`] has the
/// instance, [`D`] the kind of the exit, and [`A`] the rest of it.
fn count_or(asm: &mut Assembler, slow: Label) {
    let instance = |at: usize| Rm::Mem(COUNT, at as i32);
    asm.extend(W64, COUNT, Rm::Mem(STACK, frame::INSTANCE));
    asm.extend(W64, INSN, Rm::Mem(STACK, frame::BUDGET));
    asm.alu(Alu::Sub, W64, INSN, Rm::Reg(BUDGET));
    asm.extend(W64, D, instance(layout::INSTANCE_LEFT));
    asm.alu(Alu::Sub, W64, D, Rm::Reg(INSN));
    asm.store(W64, instance(layout::INSTANCE_LEFT), D);
    asm.copy(INSN, D);
    asm.extend(W32, D, Rm::Reg(A));
    asm.alu_constant(Alu::And, W32, Rm::Reg(D), exit::pack(0, 1) as i32 - 1);
    let direct = asm.label();
    asm.alu_constant(Alu::Compare, W32, Rm::Reg(D), exit::INDIRECT as i32);
    asm.jump_if(Cc::NotEqual, direct);
    let strays = instance(layout::INSTANCE_STRAYS);
    asm.alu_constant(Alu::Add, W32, strays, 1);
    asm.extend(0, A, strays);
    asm.test(W32, A, A);
    asm.jump_if(Cc::Equal, slow);
    asm.extend(W64, A, Rm::Mem(STACK, frame::EXIT));
    asm.place(direct);
    asm.test(W64, INSN, INSN);
    asm.jump_if(Cc::Negative, slow);
    asm.alu_constant(Alu::Compare, W32, field(layout::FILLED), fill::PART as i32);
    asm.jump_if(Cc::Equal, slow);
    asm.shift(Shift::Right, W64, A, exit::pack(0, 1).trailing_zeros() as u8);
}

/// Goes on by the exit.
fn go_on(asm: &mut Assembler, to: impl Fn(Gate) -> Label) {
    let [indirect, code, at] = [(); 3].map(|()| asm.label());
    let kind = |asm: &mut Assembler, kind: u64, label: Label| {
        asm.alu_constant(Alu::Compare, W32, Rm::Reg(D), kind as i32);
        asm.jump_if(Cc::Equal, label);
    };
    kind(asm, exit::INDIRECT, indirect);
    kind(asm, exit::AT, at);
    kind(asm, exit::CODE, code);
    let way = asm.label();
    kind(asm, exit::WAY, way);
    point(asm);
    asm.jump(to(Gate::LookAround));
    asm.place(way);
    const { assert!(far::SIZE.is_power_of_two()) };
    asm.shift(Shift::Left, W64, A, far::SIZE.trailing_zeros() as u8);
    asm.extend(W64, COUNT, Rm::Mem(COUNT, layout::INSTANCE_FAR as i32));
    asm.alu(Alu::Add, W64, COUNT, Rm::Reg(A));
    follow_far(asm, to(Gate::Unlinked));
    asm.place(indirect);
    point(asm);
    follow_indirect(asm, to(Gate::Indirect));
    asm.place(at);
    point(asm);
    asm.jump(to(Gate::At));
    asm.place(code);
    take_down(asm);
    asm.leave();
}

/// Has 8 times the point's number in [`INSN`].
fn point(asm: &mut Assembler) {
    asm.copy(INSN, A);
    asm.shift(Shift::Left, W64, INSN, 3);
}
